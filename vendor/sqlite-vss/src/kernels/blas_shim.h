// BLAS and LAPACK for Faiss and for our own clustering, without linking either.
//
// blas_shim.cpp defines the Fortran routines that Faiss calls (sgemm_, ssyrk_, sgeqrf_, ...). The first call looks for
// libscipy_openblas.so, so a process that never multiplies matrices never maps its 25 MB:
//   $VSSNATIVE_OPENBLAS (a path; "builtin" means none), beside vss0, in lib/ beside vss0, and in the scipy_openblas32
//   package where vss0 is installed next to it.
// Without it matrix products are computed by blas_builtin.h, and the LAPACK routines throw.
//
// Threads: all functions may be called from any thread.
#pragma once

#include <stdexcept>
#include <string>

namespace vss {

// A LAPACK routine was called, and there is no OpenBLAS. Passes through Faiss to whoever called it.
class BlasUnavailable : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// Hands threads() of settings.h, which every call may use, to OpenBLAS, if it is loaded. Loading does so, and every
// set_threads from then on. The built-in products use one thread, whatever is set.
void apply_threads_to_blas();

// How many threads a call uses now. Loads the library.
[[nodiscard]] int blas_threads();

// What serves the calls: OpenBLAS's own description and its path, or "built in" and why. Loads it.
[[nodiscard]] std::string blas_description();

}  // namespace vss

// C = alpha op(A) op(B) + beta C, column-major, in BLAS's own words.
extern "C" int sgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k,
                      const float* alpha, const float* a, const int* lda, const float* b, const int* ldb,
                      const float* beta, float* c, const int* ldc);
