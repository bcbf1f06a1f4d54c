// The blocking is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): blocks of
// both operands are packed so that the innermost loop reads them in order, and stay in cache while they are reused.
#include "kernels/blas_builtin.h"

#include <algorithm>
#include <array>
#include <vector>

namespace vss {
namespace {

constexpr std::size_t tile_rows = 8;
constexpr std::size_t tile_columns = 4;
constexpr std::size_t block_rows = 128;     // of op(A): a packed block fits the second-level cache
constexpr std::size_t block_depth = 256;    // of both
constexpr std::size_t block_columns = 512;  // of op(B)

constexpr std::size_t round_up(std::size_t value, std::size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

// Element (row, column) of op(X), X being column-major.
template <typename Real>
struct Operand {
    const Real* values;
    std::size_t leading;
    bool transposed;

    Real at(std::size_t row, std::size_t column) const {
        return transposed ? values[row * leading + column] : values[column * leading + row];
    }
};

// Packs `rows` x `depth` of op(A) as strips of tile_rows rows, one column of a strip after the other, padded with
// zeros.
template <typename Real>
void pack_rows(const Operand<Real>& a, std::size_t row, std::size_t rows, std::size_t from, std::size_t depth,
               Real* out) {
    for (std::size_t strip = 0; strip < rows; strip += tile_rows) {
        for (std::size_t p = 0; p < depth; ++p) {
            for (std::size_t i = 0; i < tile_rows; ++i) {
                *out++ = strip + i < rows ? a.at(row + strip + i, from + p) : Real{0};
            }
        }
    }
}

// The same for op(B), as strips of tile_columns columns.
template <typename Real>
void pack_columns(const Operand<Real>& b, std::size_t column, std::size_t columns, std::size_t from, std::size_t depth,
                  Real* out) {
    for (std::size_t strip = 0; strip < columns; strip += tile_columns) {
        for (std::size_t p = 0; p < depth; ++p) {
            for (std::size_t j = 0; j < tile_columns; ++j) {
                *out++ = strip + j < columns ? b.at(from + p, column + strip + j) : Real{0};
            }
        }
    }
}

// One tile of the product of two packed strips, column by column.
template <typename Real>
std::array<Real, tile_rows * tile_columns> tile(const Real* a, const Real* b, std::size_t depth) {
    std::array<Real, tile_rows * tile_columns> sums{};
    for (std::size_t p = 0; p < depth; ++p, a += tile_rows, b += tile_columns) {
        for (std::size_t j = 0; j < tile_columns; ++j) {
            for (std::size_t i = 0; i < tile_rows; ++i) {
                sums[j * tile_rows + i] += a[i] * b[j];
            }
        }
    }
    return sums;
}

}  // namespace

template <typename Real>
void multiply(bool transpose_a, bool transpose_b, std::size_t m, std::size_t n, std::size_t k, Real alpha,
              const Real* a, std::size_t lda, const Real* b, std::size_t ldb, Real beta, Real* c, std::size_t ldc) {
    for (std::size_t column = 0; column < n; ++column) {
        Real* const values = c + column * ldc;
        if (beta == Real{0}) {
            std::fill_n(values, m, Real{0});
        } else {
            std::for_each_n(values, m, [beta](Real& value) { value *= beta; });
        }
    }
    if (m == 0 || n == 0 || k == 0 || alpha == Real{0}) {
        return;
    }
    const Operand<Real> left{a, lda, transpose_a};
    const Operand<Real> right{b, ldb, transpose_b};
    const std::size_t most_depth = std::min(k, block_depth);
    std::vector<Real> packed_a(round_up(std::min(m, block_rows), tile_rows) * most_depth);
    std::vector<Real> packed_b(round_up(std::min(n, block_columns), tile_columns) * most_depth);

    for (std::size_t column = 0; column < n; column += block_columns) {
        const std::size_t columns = std::min(block_columns, n - column);
        for (std::size_t from = 0; from < k; from += block_depth) {
            const std::size_t depth = std::min(block_depth, k - from);
            pack_columns(right, column, columns, from, depth, packed_b.data());
            for (std::size_t row = 0; row < m; row += block_rows) {
                const std::size_t rows = std::min(block_rows, m - row);
                pack_rows(left, row, rows, from, depth, packed_a.data());
                for (std::size_t j = 0; j < columns; j += tile_columns) {
                    for (std::size_t i = 0; i < rows; i += tile_rows) {
                        const auto sums = tile(packed_a.data() + i * depth, packed_b.data() + j * depth, depth);
                        for (std::size_t jj = 0; jj < std::min(tile_columns, columns - j); ++jj) {
                            Real* const out = c + (column + j + jj) * ldc + row + i;
                            for (std::size_t ii = 0; ii < std::min(tile_rows, rows - i); ++ii) {
                                out[ii] += alpha * sums[jj * tile_rows + ii];
                            }
                        }
                    }
                }
            }
        }
    }
}

template void multiply<float>(bool, bool, std::size_t, std::size_t, std::size_t, float, const float*, std::size_t,
                              const float*, std::size_t, float, float*, std::size_t);
template void multiply<double>(bool, bool, std::size_t, std::size_t, std::size_t, double, const double*, std::size_t,
                               const double*, std::size_t, double, double*, std::size_t);

}  // namespace vss
