// The arithmetic of a transformer's layers over packed rows: matrix products with what follows them, GELU, layer
// normalization, attention of one text. One table of functions for each instruction level.
//
// Pure functions over caller-owned memory; sizes are the caller's to check. NaN and infinity pass through.
#pragma once

#include <cstddef>

namespace vss::embedding {

// Columns of a panel: a packed matrix of k rows and n columns is n / kPanel panels (n rounded up), each k rows of
// kPanel neighbouring columns.
inline constexpr std::size_t kPanel = 16;
// Rows of a packed matrix that are multiplied at once: a panel of so many lies in the first-level cache.
inline constexpr std::size_t kDepth = 384;

constexpr std::size_t panels(std::size_t columns) {
    return (columns + kPanel - 1) / kPanel;
}

// What follows a product's sums.
enum class After { nothing, bias, bias_gelu };

struct Product {
    const float* a;  // m rows of k values, `a_step` apart
    std::size_t a_step;
    std::size_t m;
    std::size_t k;
    const float* b;  // panels of k rows, `b_step` values apart
    std::size_t b_step;
    std::size_t columns;  // a multiple of kPanel
    const float* bias;    // `columns` values, where `after` names it
    float* c;             // m rows of `columns` values, `c_step` apart
    std::size_t c_step;
    bool add;  // to what is in c
    After after;
};

struct EncoderKernels {
    // c = after(a b) or after(c + a b).
    void (*multiply)(const Product& product);

    // out = normalize(values + residual) * gamma + beta, one row of n values; n a multiple of 8. out may be an input.
    void (*layer_norm)(const float* values, const float* residual, const float* gamma, const float* beta, float epsilon,
                       float* out, std::size_t n);

    // Scores to weights, in place: `rows` rows of `columns` values, `step` apart; the values behind them, up to the
    // next multiple of 8, become 0.
    void (*softmax)(float* scores, std::size_t rows, std::size_t columns, std::size_t step);
};

extern const EncoderKernels kEncoderKernelsScalar;
#if defined(VSS_HAVE_AVX2)
extern const EncoderKernels kEncoderKernelsAvx2;
#endif

}  // namespace vss::embedding
