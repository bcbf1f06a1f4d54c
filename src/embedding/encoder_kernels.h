// The arithmetic of a transformer's layers over packed rows: matrix products with what follows them, GELU, layer
// normalization, attention of one text. One table of functions for each instruction level.
//
// Pure functions over caller-owned memory; sizes are the caller's to check. NaN and infinity pass through.
#pragma once

#include <cstddef>
#include <cstdint>

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
    std::size_t panels_there = 0;  // as HalfProduct's; 0: they need not be asked for
};

// bfloat16 values are multiplied in pairs of neighbouring inputs, and a tile takes so many inputs at once.
inline constexpr std::size_t kHalfDepth = 32;
// Rows of a tile: rows of halves are read up to the next multiple of it.
inline constexpr std::size_t kTileHeight = 16;

// A product of bfloat16 values, summed in float32. Where values are split in two parts, a = a1 + a2 with a1 rounded to
// bfloat16, three products are summed, a1 b1 + a1 b2 + a2 b1: what is left out is about 2^-16 of the product.
//
// Rows of halves lie one after the other; or, where kernels are `tiled`, as tiles: the first kTileHeight rows' first
// kHalfDepth inputs, these rows' next inputs, and so on, then the next rows. Either way `a_step` is a row's values,
// rows from a multiple of kTileHeight on begin at row * a_step, and inputs from a multiple of kHalfDepth on at
// half_offset().
struct HalfProduct {
    const std::uint16_t* a;  // m rows of k values; the second parts `a_rest` behind
    std::size_t a_step;
    std::size_t a_rest;
    std::size_t m;
    std::size_t k;           // a multiple of kHalfDepth
    const std::uint16_t* b;  // panels of k / 2 rows of kPanel pairs, `b_step` values apart; the second parts behind
    std::size_t b_step;
    std::size_t b_rest;
    std::size_t columns;
    std::size_t panels_there;  // columns' panels and those behind them, which the next products are likely to read
    const float* bias;
    float* c;
    std::size_t c_step;
    bool add;
    After after;
    // Only where kernels are `tiled`: where the results go as halves, and nothing to c. kHalfDepth divides the columns.
    std::uint16_t* halved = nullptr;
    std::size_t halved_step = 0;
    std::size_t halved_rest = 0;
};

// Where inputs from `input` on, a multiple of kHalfDepth, begin in rows of halves.
constexpr std::size_t half_offset(bool tiled, std::size_t input) {
    return tiled ? input * kTileHeight : input;
}

// Where a row's value for any input is, in rows of halves that are tiles, each row `step` values.
constexpr std::size_t tile_offset(std::size_t row, std::size_t input, std::size_t step) {
    return row / kTileHeight * kTileHeight * step + row % kTileHeight * kHalfDepth +
           half_offset(true, input / kHalfDepth * kHalfDepth) + input % kHalfDepth;
}

// Rows to be made bfloat16: m rows of k values, and zeros up to a multiple of kHalfDepth.
struct Halving {
    const float* rows;
    std::size_t step;
    std::size_t m;
    std::size_t k;
    std::uint16_t* to;
    std::size_t to_step;
    std::size_t to_rest;
};

// A head's keys or values, to be packed as a product's second factor: keys as columns, values as rows. Columns behind
// the last key repeat it; rows behind the last value are zeros.
struct HeadPacking {
    const float* rows;  // `tokens` rows of `size` values, `step` apart
    std::size_t step;
    std::size_t tokens;
    std::size_t size;  // a multiple of kPanel
    std::uint16_t* to;
    std::size_t to_rest;  // from first parts to second parts
};

// What a gated layer makes of its gate. GELU is exact; SiLU is x / (1 + e^-x).
enum class Gate { gelu, silu };

struct EncoderKernels {
    // c = after(a b) or after(c + a b).
    void (*multiply)(const Product& product);

    // out = normalize(values + residual) * gamma + beta, one row of n values; n a multiple of kPanel. out may be an
    // input.
    void (*layer_norm)(const float* values, const float* residual, const float* gamma, const float* beta, float epsilon,
                       float* out, std::size_t n);

    // Scores to weights, in place: `rows` rows of `columns` values, `step` apart. The values behind them, up to the
    // next multiple of kPanel, must be none above the row's largest, and become 0.
    void (*softmax)(float* scores, std::size_t rows, std::size_t columns, std::size_t step);

    // values = gate(values) * factors, `n` values, a multiple of kPanel.
    void (*apply_gate)(Gate gate, float* values, const float* factors, std::size_t n);

    // How products with a model's weights are made: of float32 values (0), of one bfloat16 part of each value, or of
    // two. The functions for bfloat16 are there only where it is used. Attention's products are made in the same way
    // where kernels are tiled, and of float32 values elsewhere.
    std::size_t parts = 0;
    void (*halve)(const Halving& halving) = nullptr;
    void (*multiply_halves)(const HalfProduct& product) = nullptr;
    bool tiled = false;
    // As softmax, and the weights become halves as `halve` makes them; what the scores become is open.
    void (*softmax_halves)(float* scores, const Halving& halving) = nullptr;
    void (*pack_keys)(const HeadPacking& packing) = nullptr;
    void (*pack_values)(const HeadPacking& packing) = nullptr;
    // Rows to compute together: a part of the second-level cache, and so many that reading the weights for them costs
    // little.
    std::size_t rows = 192;
};

extern const EncoderKernels kEncoderKernelsScalar;
// Models of the instructions on bfloat16 values, in plain loops: for tests on machines without them.
extern const EncoderKernels kEncoderKernelsPairsModel;       // vdpbf16ps
extern const EncoderKernels kEncoderKernelsTilesModel;       // tdpbf16ps
extern const EncoderKernels kEncoderKernelsTilesModelSplit;  // the same in two parts
#if defined(VSS_HAVE_AVX2)
extern const EncoderKernels kEncoderKernelsAvx2;
#endif
#if defined(VSS_HAVE_AVX512)
extern const EncoderKernels kEncoderKernelsAvx512;
#endif
#if defined(VSS_HAVE_AVX512BF16)
extern const EncoderKernels kEncoderKernelsAvx512Bf16;
// The models beside the other kernels of AVX-512: a level's results, to the bit, where it has the instructions.
extern const EncoderKernels kEncoderKernelsAvx512PairsModel;
extern const EncoderKernels kEncoderKernelsAvx512TilesModel;
extern const EncoderKernels kEncoderKernelsAvx512TilesModelSplit;
#endif
#if defined(VSS_HAVE_NEON)
extern const EncoderKernels kEncoderKernelsNeon;
#endif
#if defined(VSS_HAVE_NEONBF16)
extern const EncoderKernels kEncoderKernelsNeonBf16;
#endif
#if defined(VSS_HAVE_AMX)
extern const EncoderKernels kEncoderKernelsAmx;
extern const EncoderKernels kEncoderKernelsAmxSplit;
#endif

}  // namespace vss::embedding
