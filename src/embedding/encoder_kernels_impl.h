// The kernels of encoder_kernels.h, written once over a vector type of eight floats. Included by one source for each
// instruction level, which defines `Lanes` in an anonymous namespace first: everything here is local to it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "encoder_kernels.h"

namespace vss::embedding {
namespace {

constexpr std::size_t kLanes = 8;
constexpr std::size_t kTileRows = 6;

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
    const Lanes t = Lanes::all(1.0F) / Lanes::fma(size, Lanes::all(0.3275911F * 0.70710678F), Lanes::all(1.0F));
    Lanes p = Lanes::all(0.5F * 1.061405429F);
    p = Lanes::fma(p, t, Lanes::all(0.5F * -1.453152027F));
    p = Lanes::fma(p, t, Lanes::all(0.5F * 1.421413741F));
    p = Lanes::fma(p, t, Lanes::all(0.5F * -0.284496736F));
    p = Lanes::fma(p, t, Lanes::all(0.5F * 0.254829592F));
    const Lanes tail = p * t * exponential(x * x * Lanes::all(-0.5F));  // erfc(|x| / sqrt 2) / 2
    return Lanes::where_negative(x, x * tail, Lanes::fma(Lanes::all(0.0F) - x, tail, x));
}

template <After after>
inline void finish(Lanes sum, bool add, const float* bias, float* c) {
    if (add) {
        sum = sum + Lanes::load(c);
    }
    if constexpr (after != After::nothing) {
        sum = sum + Lanes::load(bias);
    }
    if constexpr (after == After::bias_gelu) {
        sum = gelu(sum);
    }
    sum.store(c);
}

// A tile of `rows` rows and one panel, its sums in registers.
template <std::size_t rows, After after>
inline void tile(const Product& product, std::size_t row, std::size_t column, const float* b) {
    const float* const a = product.a + row * product.a_step;
    Lanes left[rows];
    Lanes right[rows];
#pragma GCC unroll 6
    for (std::size_t i = 0; i < rows; ++i) {
        left[i] = right[i] = Lanes::all(0.0F);
    }
    for (std::size_t depth = 0; depth < product.k; ++depth) {
        const Lanes b_left = Lanes::load(b + depth * kPanel);
        const Lanes b_right = Lanes::load(b + depth * kPanel + kLanes);
#pragma GCC unroll 6
        for (std::size_t i = 0; i < rows; ++i) {
            const Lanes value = Lanes::all(a[i * product.a_step + depth]);
            left[i] = Lanes::fma(value, b_left, left[i]);
            right[i] = Lanes::fma(value, b_right, right[i]);
        }
    }
    const float* const bias = after == After::nothing ? nullptr : product.bias + column;
    float* c = product.c + row * product.c_step + column;
#pragma GCC unroll 6
    for (std::size_t i = 0; i < rows; ++i, c += product.c_step) {
        finish<after>(left[i], product.add, bias, c);
        finish<after>(right[i], product.add, after == After::nothing ? nullptr : bias + kLanes, c + kLanes);
    }
}

template <After after>
void multiply_tiles(const Product& product) {
    const float* b = product.b;
    for (std::size_t column = 0; column < product.columns; column += kPanel, b += product.b_step) {
        std::size_t row = 0;
        for (; row + kTileRows <= product.m; row += kTileRows) {
            tile<kTileRows, after>(product, row, column, b);
        }
        switch (product.m - row) {
            case 5: tile<5, after>(product, row, column, b); break;
            case 4: tile<4, after>(product, row, column, b); break;
            case 3: tile<3, after>(product, row, column, b); break;
            case 2: tile<2, after>(product, row, column, b); break;
            case 1: tile<1, after>(product, row, column, b); break;
            default: break;
        }
    }
}

void multiply(const Product& product) {
    switch (product.after) {
        case After::nothing: multiply_tiles<After::nothing>(product); break;
        case After::bias: multiply_tiles<After::bias>(product); break;
        case After::bias_gelu: multiply_tiles<After::bias_gelu>(product); break;
    }
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

void softmax(float* scores, std::size_t rows, std::size_t columns, std::size_t step) {
    const std::size_t padded = (columns + kLanes - 1) / kLanes * kLanes;
    for (std::size_t row = 0; row < rows; ++row) {
        float* const line = scores + row * step;
        // Padding takes part as a score that no real one is below.
        std::fill(line + columns, line + padded, line[0]);
        Lanes tops = Lanes::load(line);
        for (std::size_t i = kLanes; i < padded; i += kLanes) {
            tops = Lanes::max(tops, Lanes::load(line + i));
        }
        const Lanes top = Lanes::all(tops.largest());
        for (std::size_t i = 0; i < padded; i += kLanes) {
            exponential(Lanes::load(line + i) - top).store(line + i);
        }
        std::fill(line + columns, line + padded, 0.0F);
        Lanes sums = Lanes::all(0.0F);
        for (std::size_t i = 0; i < padded; i += kLanes) {
            sums = sums + Lanes::load(line + i);
        }
        const Lanes scale = Lanes::all(1.0F / sums.sum());
        for (std::size_t i = 0; i < padded; i += kLanes) {
            (Lanes::load(line + i) * scale).store(line + i);
        }
    }
}

constexpr EncoderKernels kTable{&multiply, &layer_norm, &softmax};

}  // namespace
}  // namespace vss::embedding
