// Matrix products for when OpenBLAS is not at hand: correct everywhere, as fast as plain code gets.
#pragma once

#include <cstddef>

namespace vss {

// C = alpha op(A) op(B) + beta C for column-major matrices: op(A) is m x k, op(B) is k x n, C is m x n with leading
// dimension ldc. A transposed operand is stored k x m (n x k). As in BLAS, C is not read where beta is 0.
// Throws std::bad_alloc.
template <typename Real>
void multiply(bool transpose_a, bool transpose_b, std::size_t m, std::size_t n, std::size_t k, Real alpha,
              const Real* a, std::size_t lda, const Real* b, std::size_t ldb, Real beta, Real* c, std::size_t ldc);

extern template void multiply<float>(bool, bool, std::size_t, std::size_t, std::size_t, float, const float*,
                                     std::size_t, const float*, std::size_t, float, float*, std::size_t);
extern template void multiply<double>(bool, bool, std::size_t, std::size_t, std::size_t, double, const double*,
                                      std::size_t, const double*, std::size_t, double, double*, std::size_t);

}  // namespace vss
