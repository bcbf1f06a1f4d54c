#include "kernels/blas_shim.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/settings.h"
#include "kernels/blas_builtin.h"

namespace vss {
namespace {

constexpr const char* library_name = "libscipy_openblas.so";

// gfortran passes the length of every CHARACTER argument by value, after all other arguments. C callers leave them out,
// which works until the compiler of the Fortran side makes use of their stack slots: pass them.
using Length = std::size_t;

using Gemm32 = void (*)(const char*, const char*, const int*, const int*, const int*, const float*, const float*,
                        const int*, const float*, const int*, const float*, float*, const int*, Length, Length);
using Gemm64 = void (*)(const char*, const char*, const int*, const int*, const int*, const double*, const double*,
                        const int*, const double*, const int*, const double*, double*, const int*, Length, Length);
using Syrk32 = void (*)(const char*, const char*, const int*, const int*, const float*, const float*, const int*,
                        const float*, float*, const int*, Length, Length);
template <typename Real>
using Geqrf = void (*)(const int*, const int*, Real*, const int*, Real*, Real*, const int*, int*);
template <typename Real>
using Orgqr = void (*)(const int*, const int*, const int*, Real*, const int*, const Real*, Real*, const int*, int*);
template <typename Real>
using Getrf = void (*)(const int*, const int*, Real*, const int*, int*, int*);
template <typename Real>
using Getri = void (*)(const int*, Real*, const int*, const int*, Real*, const int*, int*);
template <typename Real>
using Gesvd = void (*)(const char*, const char*, const int*, const int*, Real*, const int*, Real*, Real*, const int*,
                       Real*, const int*, Real*, const int*, int*, Length, Length);
using Syev64 = void (*)(const char*, const char*, const int*, double*, const int*, double*, double*, const int*, int*,
                        Length, Length);
using Gelsd32 = void (*)(const int*, const int*, const int*, float*, const int*, float*, const int*, float*,
                         const float*, int*, float*, const int*, int*, int*);

// OpenBLAS, once found. Never unloaded: its threads run its code.
struct OpenBlas {
    std::string path;
    std::string missing;  // why there is none; empty if there is one

    Gemm32 sgemm = nullptr;
    Gemm64 dgemm = nullptr;
    Syrk32 ssyrk = nullptr;
    Geqrf<float> sgeqrf = nullptr;
    Orgqr<float> sorgqr = nullptr;
    Getrf<float> sgetrf = nullptr;
    Getrf<double> dgetrf = nullptr;
    Getri<float> sgetri = nullptr;
    Getri<double> dgetri = nullptr;
    Gesvd<float> sgesvd = nullptr;
    Gesvd<double> dgesvd = nullptr;
    Syev64 dsyev = nullptr;
    Gelsd32 sgelsd = nullptr;
    void (*set_num_threads)(int) = nullptr;
    int (*get_num_threads)() = nullptr;
    char* (*get_config)() = nullptr;

    [[nodiscard]] bool loaded() const { return missing.empty(); }
};

std::filesystem::path own_directory() {
    Dl_info info{};
    if (dladdr(reinterpret_cast<const void*>(&apply_threads_to_blas), &info) == 0 || info.dli_fname == nullptr) {
        return {};
    }
    std::error_code error;
    const auto path = std::filesystem::weakly_canonical(info.dli_fname, error);
    return error ? std::filesystem::path() : path.parent_path();
}

std::vector<std::filesystem::path> candidates() {
    const char* const named = std::getenv("VSSNATIVE_OPENBLAS");
    if (named != nullptr && *named != '\0') {
        return std::string_view(named) == "builtin" ? std::vector<std::filesystem::path>()
                                                    : std::vector<std::filesystem::path>{named};
    }
    const std::filesystem::path here = own_directory();
    if (here.empty()) {
        return {};
    }
    return {here / library_name, here / "lib" / library_name,
            here.parent_path() / "scipy_openblas32" / "lib" / library_name};
}

template <typename Pointer>
bool find(void* library, const char* name, Pointer& pointer) {
    pointer = reinterpret_cast<Pointer>(dlsym(library, name));
    return pointer != nullptr;
}

bool find_all(void* library, OpenBlas& blas) {
    return find(library, "scipy_sgemm_", blas.sgemm) && find(library, "scipy_dgemm_", blas.dgemm) &&
           find(library, "scipy_ssyrk_", blas.ssyrk) && find(library, "scipy_sgeqrf_", blas.sgeqrf) &&
           find(library, "scipy_sorgqr_", blas.sorgqr) && find(library, "scipy_sgetrf_", blas.sgetrf) &&
           find(library, "scipy_dgetrf_", blas.dgetrf) && find(library, "scipy_sgetri_", blas.sgetri) &&
           find(library, "scipy_dgetri_", blas.dgetri) && find(library, "scipy_sgesvd_", blas.sgesvd) &&
           find(library, "scipy_dgesvd_", blas.dgesvd) && find(library, "scipy_dsyev_", blas.dsyev) &&
           find(library, "scipy_sgelsd_", blas.sgelsd) &&
           find(library, "scipy_openblas_set_num_threads", blas.set_num_threads) &&
           find(library, "scipy_openblas_get_num_threads", blas.get_num_threads) &&
           find(library, "scipy_openblas_get_config", blas.get_config);
}

OpenBlas load() {
    std::string tried;
    for (const auto& path : candidates()) {
        void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr) {
            const char* const error = dlerror();
            tried += std::string(tried.empty() ? "" : "; ") + (error != nullptr ? error : path.c_str());
            continue;
        }
        OpenBlas blas;
        if (find_all(library, blas)) {
            blas.path = path.string();
            return blas;
        }
        dlclose(library);
        tried +=
            std::string(tried.empty() ? "" : "; ") + path.string() + " lacks routines of OpenBLAS with prefix scipy_";
    }
    OpenBlas none;
    none.missing = tried.empty() ? "no place to look in" : tried;
    return none;
}

std::atomic<const OpenBlas*> in_force{nullptr};

const OpenBlas& blas() {
    static const OpenBlas& instance = []() -> const OpenBlas& {
        static const OpenBlas loaded = load();
        // Published before the setting is read: a set_threads at the same time finds the library, or is found here.
        in_force.store(&loaded);
        set_threads_listener(&apply_threads_to_blas);
        apply_threads_to_blas();
        return loaded;
    }();
    return instance;
}

// The library, for a routine that has no built-in stand-in.
const OpenBlas& lapack(const char* routine) {
    const OpenBlas& library = blas();
    if (!library.loaded()) {
        throw BlasUnavailable(std::string("this index needs the LAPACK routine ") + routine +
                              ", which OpenBLAS provides: expected " + library_name +
                              " beside vss0, or its path in VSSNATIVE_OPENBLAS (" + library.missing + ")");
    }
    return library;
}

constexpr Length one = 1;

bool transposed(const char* flag) {
    return *flag != 'N' && *flag != 'n';
}

std::size_t size_of(const int* value) {
    return static_cast<std::size_t>(std::max(*value, 0));
}

template <typename Real>
void multiply_builtin(const char* transa, const char* transb, const int* m, const int* n, const int* k, Real alpha,
                      const Real* a, const int* lda, const Real* b, const int* ldb, Real beta, Real* c,
                      const int* ldc) {
    multiply<Real>(transposed(transa), transposed(transb), size_of(m), size_of(n), size_of(k), alpha, a, size_of(lda),
                   b, size_of(ldb), beta, c, size_of(ldc));
}

}  // namespace

void apply_threads_to_blas() {
    if (const OpenBlas* const library = in_force.load(); library != nullptr && library->loaded()) {
        library->set_num_threads(threads());
    }
}

int blas_threads() {
    const OpenBlas& library = blas();
    return library.loaded() ? library.get_num_threads() : 1;
}

std::string blas_description() {
    const OpenBlas& library = blas();
    return library.loaded() ? std::string(library.get_config()) + " from " + library.path
                            : "built in (" + library.missing + ")";
}

}  // namespace vss

// Fortran's calling convention as Faiss declares it: everything by address, CHARACTER lengths left out, int returned.
extern "C" {

int sgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k, const float* alpha,
           const float* a, const int* lda, const float* b, const int* ldb, const float* beta, float* c,
           const int* ldc) {
    if (const auto& library = vss::blas(); library.loaded()) {
        library.sgemm(transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, vss::one, vss::one);
    } else {
        vss::multiply_builtin(transa, transb, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc);
    }
    return 0;
}

int dgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k, const double* alpha,
           const double* a, const int* lda, const double* b, const int* ldb, const double* beta, double* c,
           const int* ldc) {
    if (const auto& library = vss::blas(); library.loaded()) {
        library.dgemm(transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, vss::one, vss::one);
    } else {
        vss::multiply_builtin(transa, transb, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc);
    }
    return 0;
}

// C = alpha op(A) op(A)^T + beta C, of which only the triangle `uplo` is written.
int ssyrk_(const char* uplo, const char* trans, const int* n, const int* k, const float* alpha, const float* a,
           const int* lda, const float* beta, float* c, const int* ldc) {
    if (const auto& library = vss::blas(); library.loaded()) {
        library.ssyrk(uplo, trans, n, k, alpha, a, lda, beta, c, ldc, vss::one, vss::one);
        return 0;
    }
    const std::size_t order = vss::size_of(n);
    const std::size_t leading = vss::size_of(ldc);
    std::vector<float> product(order * order);
    const bool flip = vss::transposed(trans);
    vss::multiply<float>(flip, !flip, order, order, vss::size_of(k), *alpha, a, vss::size_of(lda), a, vss::size_of(lda),
                         0.0F, product.data(), order);
    const bool upper = *uplo == 'U' || *uplo == 'u';
    for (std::size_t column = 0; column < order; ++column) {
        for (std::size_t row = upper ? 0 : column; row < (upper ? column + 1 : order); ++row) {
            float& value = c[column * leading + row];
            value = product[column * order + row] + (*beta == 0.0F ? 0.0F : *beta * value);
        }
    }
    return 0;
}

int sgeqrf_(const int* m, const int* n, float* a, const int* lda, float* tau, float* work, const int* lwork,
            int* info) {
    vss::lapack("sgeqrf").sgeqrf(m, n, a, lda, tau, work, lwork, info);
    return 0;
}

int sorgqr_(const int* m, const int* n, const int* k, float* a, const int* lda, const float* tau, float* work,
            const int* lwork, int* info) {
    vss::lapack("sorgqr").sorgqr(m, n, k, a, lda, tau, work, lwork, info);
    return 0;
}

int sgetrf_(const int* m, const int* n, float* a, const int* lda, int* ipiv, int* info) {
    vss::lapack("sgetrf").sgetrf(m, n, a, lda, ipiv, info);
    return 0;
}

int dgetrf_(const int* m, const int* n, double* a, const int* lda, int* ipiv, int* info) {
    vss::lapack("dgetrf").dgetrf(m, n, a, lda, ipiv, info);
    return 0;
}

int sgetri_(const int* n, float* a, const int* lda, const int* ipiv, float* work, const int* lwork, int* info) {
    vss::lapack("sgetri").sgetri(n, a, lda, ipiv, work, lwork, info);
    return 0;
}

int dgetri_(const int* n, double* a, const int* lda, const int* ipiv, double* work, const int* lwork, int* info) {
    vss::lapack("dgetri").dgetri(n, a, lda, ipiv, work, lwork, info);
    return 0;
}

int sgesvd_(const char* jobu, const char* jobvt, const int* m, const int* n, float* a, const int* lda, float* s,
            float* u, const int* ldu, float* vt, const int* ldvt, float* work, const int* lwork, int* info) {
    vss::lapack("sgesvd").sgesvd(jobu, jobvt, m, n, a, lda, s, u, ldu, vt, ldvt, work, lwork, info, vss::one, vss::one);
    return 0;
}

int dgesvd_(const char* jobu, const char* jobvt, const int* m, const int* n, double* a, const int* lda, double* s,
            double* u, const int* ldu, double* vt, const int* ldvt, double* work, const int* lwork, int* info) {
    vss::lapack("dgesvd").dgesvd(jobu, jobvt, m, n, a, lda, s, u, ldu, vt, ldvt, work, lwork, info, vss::one, vss::one);
    return 0;
}

int dsyev_(const char* jobz, const char* uplo, const int* n, double* a, const int* lda, double* w, double* work,
           const int* lwork, int* info) {
    vss::lapack("dsyev").dsyev(jobz, uplo, n, a, lda, w, work, lwork, info, vss::one, vss::one);
    return 0;
}

int sgelsd_(const int* m, const int* n, const int* nrhs, float* a, const int* lda, float* b, const int* ldb, float* s,
            const float* rcond, int* rank, float* work, const int* lwork, int* iwork, int* info) {
    vss::lapack("sgelsd").sgelsd(m, n, nrhs, a, lda, b, ldb, s, rcond, rank, work, lwork, iwork, info);
    return 0;
}

}  // extern "C"
