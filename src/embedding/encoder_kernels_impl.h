// The kernels of encoder_kernels.h, written once over a vector type of `kLanes` floats: 4, 8 or 16. Included by one
// source for each instruction level, which defines in an anonymous namespace first: `Lanes`, `kLanes`, and the tile
// that its registers hold, `kTilePanels` panels at most and tile_rows() rows. Everything here is local to it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "encoder_kernels.h"

namespace vss::embedding {
namespace {

// e^x: 2^n e^r with |r| <= ln 2 / 2, the latter by a polynomial (Cephes' expf). Relative error below 2e-7.
inline Lanes exponential(Lanes x) {
    // Below, the result is so near 0 that it stands for it; the comparison's order lets NaN through.
    x = Lanes::max(Lanes::all(-87.0F), x);
    x = Lanes::min(Lanes::all(88.0F), x);
    const Lanes n = Lanes::round(x * Lanes::all(1.44269504F));
    Lanes r = Lanes::fma(n, Lanes::all(-0.693359375F), x);
    r = Lanes::fma(n, Lanes::all(2.12194440e-4F), r);
    Lanes p = Lanes::all(1.9875691500e-4F);
    p = Lanes::fma(p, r, Lanes::all(1.3981999507e-3F));
    p = Lanes::fma(p, r, Lanes::all(8.3334519073e-3F));
    p = Lanes::fma(p, r, Lanes::all(4.1665795894e-2F));
    p = Lanes::fma(p, r, Lanes::all(1.6666665459e-1F));
    p = Lanes::fma(p, r, Lanes::all(5.0000001201e-1F));
    p = Lanes::fma(p, r * r, r + Lanes::all(1.0F));
    return Lanes::times_power_of_two(p, n);
}

// x / 2 erfc(-x / sqrt 2). erfc by Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: error
// below 1.5e-7.
inline Lanes gelu(Lanes x) {
    const Lanes size = Lanes::abs(x);
    const Lanes t = Lanes::reciprocal(Lanes::fma(size, Lanes::all(0.3275911F * 0.70710678F), Lanes::all(1.0F)));
    Lanes p = Lanes::all(0.5F * 1.061405429F);
    p = Lanes::fma(p, t, Lanes::all(0.5F * -1.453152027F));
    p = Lanes::fma(p, t, Lanes::all(0.5F * 1.421413741F));
    p = Lanes::fma(p, t, Lanes::all(0.5F * -0.284496736F));
    p = Lanes::fma(p, t, Lanes::all(0.5F * 0.254829592F));
    const Lanes tail = p * t * exponential(x * x * Lanes::all(-0.5F));  // erfc(|x| / sqrt 2) / 2
    return Lanes::where_negative(x, x * tail, Lanes::fma(Lanes::all(0.0F) - x, tail, x));
}

inline Lanes silu(Lanes x) {
    return x * Lanes::reciprocal(Lanes::all(1.0F) + exponential(Lanes::all(0.0F) - x));
}

template <After after>
inline Lanes finished(Lanes sum, bool add, const float* bias, const float* c) {
    if (add) {
        sum = sum + Lanes::load(c);
    }
    if constexpr (after != After::nothing) {
        sum = sum + Lanes::load(bias);
    }
    if constexpr (after == After::bias_gelu) {
        sum = gelu(sum);
    }
    return sum;
}

template <After after>
inline void finish(Lanes sum, bool add, const float* bias, float* c) {
    finished<after>(sum, add, bias, c).store(c);
}

// How a float32 product takes its factors: one input at a time.
struct Singles {
    static constexpr std::size_t kInputs = 1;

    static Lanes all(const float* a) { return Lanes::all(*a); }
    static Lanes load(const float* b) { return Lanes::load(b); }
    static Lanes sum(Lanes a, Lanes b, Lanes c) { return Lanes::fma(a, b, c); }
};

// A tile of `rows` rows and `count` neighbouring panels, its sums in registers. `Factors` says how many inputs are
// multiplied at once, and how.
template <typename Factors, std::size_t rows, std::size_t count, After after, typename Factor, typename Task>
inline void tile(const Task& product, const Factor* a, std::size_t row, std::size_t column, const Factor* b) {
    constexpr std::size_t kVectors = kPanel / kLanes;
    constexpr std::size_t kRow = kPanel * Factors::kInputs;  // values of a panel's row
    constexpr std::size_t kSums = count * kVectors;
    Lanes sums[rows][kSums];
#pragma GCC unroll 14
    for (std::size_t i = 0; i < rows; ++i) {
#pragma GCC unroll 4
        for (std::size_t j = 0; j < kSums; ++j) {
            sums[i][j] = Lanes::all(0.0F);
        }
    }
    const std::size_t steps = product.k / Factors::kInputs;
    for (std::size_t step = 0; step < steps; ++step) {
        decltype(Factors::load(b)) right[kSums];
#pragma GCC unroll 4
        for (std::size_t j = 0; j < kSums; ++j) {
            right[j] = Factors::load(b + j / kVectors * product.b_step + step * kRow +
                                     j % kVectors * kLanes * Factors::kInputs);
        }
#pragma GCC unroll 14
        for (std::size_t i = 0; i < rows; ++i) {
            const auto left = Factors::all(a + i * product.a_step + step * Factors::kInputs);
#pragma GCC unroll 4
            for (std::size_t j = 0; j < kSums; ++j) {
                sums[i][j] = Factors::sum(left, right[j], sums[i][j]);
            }
        }
    }
    float* c = product.c + row * product.c_step + column;
#pragma GCC unroll 14
    for (std::size_t i = 0; i < rows; ++i, c += product.c_step) {
#pragma GCC unroll 4
        for (std::size_t j = 0; j < kSums; ++j) {
            const float* const bias = after == After::nothing ? nullptr : product.bias + column + j * kLanes;
            finish<after>(sums[i][j], product.add, bias, c + j * kLanes);
        }
    }
}

template <typename Factors, std::size_t rows, std::size_t count, After after, typename Task>
inline void tile_of(std::size_t wanted, const Task& product, std::size_t row, std::size_t column) {
    if constexpr (rows > 1) {
        if (wanted < rows) {
            tile_of<Factors, rows - 1, count, after>(wanted, product, row, column);
            return;
        }
    }
    tile<Factors, rows, count, after>(product, product.a + row * product.a_step, row, column,
                                      product.b + column / kPanel * product.b_step);
}

template <typename Factors, std::size_t count, After after, typename Task>
void multiply_column(const Task& product, std::size_t column) {
    // Tiles of about the same height: a last one of few rows would use its registers badly.
    std::size_t tiles = (product.m + tile_rows(count) - 1) / tile_rows(count);
    for (std::size_t row = 0; row < product.m; --tiles) {
        const std::size_t rows = (product.m - row + tiles - 1) / tiles;
        tile_of<Factors, tile_rows(count), count, after>(rows, product, row, column);
        row += rows;
    }
}

template <typename Factors, std::size_t count, After after, typename Task>
void multiply_columns(const Task& product, std::size_t column) {
    for (; column + count * kPanel <= product.columns; column += count * kPanel) {
        multiply_column<Factors, count, after>(product, column);
    }
    if constexpr (count > 1) {
        multiply_columns<Factors, count - 1, after>(product, column);
    }
}

template <typename Factors, After after, typename Task>
void multiply_tiles(const Task& product) {
    multiply_columns<Factors, kTilePanels, after>(product, 0);
}

template <typename Factors, typename Task>
void multiply_by(const Task& product) {
    switch (product.after) {
        case After::nothing: multiply_tiles<Factors, After::nothing>(product); break;
        case After::bias: multiply_tiles<Factors, After::bias>(product); break;
        case After::bias_gelu: multiply_tiles<Factors, After::bias_gelu>(product); break;
    }
}

void multiply(const Product& product) {
    multiply_by<Singles>(product);
}

void layer_norm(const float* values, const float* residual, const float* gamma, const float* beta, float epsilon,
                float* out, std::size_t n) {
    Lanes sums = Lanes::all(0.0F);
    for (std::size_t i = 0; i < n; i += kLanes) {
        const Lanes value = Lanes::load(values + i) + Lanes::load(residual + i);
        value.store(out + i);
        sums = sums + value;
    }
    const float count = static_cast<float>(n);
    const Lanes mean = Lanes::all(sums.sum() / count);
    Lanes squares = Lanes::all(0.0F);
    for (std::size_t i = 0; i < n; i += kLanes) {
        const Lanes off = Lanes::load(out + i) - mean;
        squares = Lanes::fma(off, off, squares);
    }
    const Lanes scale = Lanes::all(1.0F / std::sqrt(squares.sum() / count + epsilon));
    for (std::size_t i = 0; i < n; i += kLanes) {
        const Lanes off = (Lanes::load(out + i) - mean) * scale;
        Lanes::fma(off, Lanes::load(gamma + i), Lanes::load(beta + i)).store(out + i);
    }
}

// One row of scores to weights; store(i, weights) takes them from column i on, up to the next multiple of kPanel.
template <typename Store>
inline void softmax_row(float* line, std::size_t columns, Store store) {
    alignas(64) static constexpr float kOnes[2 * kPanel] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const std::size_t padded = panels(columns) * kPanel;
    const std::size_t last = padded - kPanel;
    const float* const real = kOnes + (padded - columns);  // ones for the last panel's columns, then zeros
    Lanes tops = Lanes::load(line);
    for (std::size_t i = kLanes; i < padded; i += kLanes) {
        tops = Lanes::max(tops, Lanes::load(line + i));
    }
    const Lanes top = Lanes::all(tops.largest());
    Lanes sums = Lanes::all(0.0F);
    for (std::size_t i = 0; i < last; i += kLanes) {
        const Lanes weights = exponential(Lanes::load(line + i) - top);
        weights.store(line + i);
        sums = sums + weights;
    }
    for (std::size_t i = last; i < padded; i += kLanes) {
        const Lanes weights = exponential(Lanes::load(line + i) - top) * Lanes::load(real + i - last);
        weights.store(line + i);
        sums = sums + weights;
    }
    const Lanes scale = Lanes::all(1.0F / sums.sum());
    for (std::size_t i = 0; i < padded; i += kLanes) {
        store(i, Lanes::load(line + i) * scale);
    }
}

void softmax(float* scores, std::size_t rows, std::size_t columns, std::size_t step) {
    for (std::size_t row = 0; row < rows; ++row) {
        float* const line = scores + row * step;
        softmax_row(line, columns, [&](std::size_t i, Lanes weights) { weights.store(line + i); });
    }
}

template <typename Function>
inline void gate_values(float* values, const float* factors, std::size_t n, Function function) {
    for (std::size_t i = 0; i < n; i += kLanes) {
        (function(Lanes::load(values + i)) * Lanes::load(factors + i)).store(values + i);
    }
}

void apply_gate(Gate gate, float* values, const float* factors, std::size_t n) {
    switch (gate) {
        case Gate::gelu: gate_values(values, factors, n, [](Lanes x) { return gelu(x); }); break;
        case Gate::silu: gate_values(values, factors, n, [](Lanes x) { return silu(x); }); break;
    }
}

constexpr EncoderKernels kTable{&multiply, &layer_norm, &softmax, &apply_gate};

}  // namespace
}  // namespace vss::embedding
