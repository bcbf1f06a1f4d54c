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

// 2^x: 2^n 2^f with |f| <= 1 / 2, the latter by a polynomial (fitted at Chebyshev's nodes). Relative error below 1e-7.
inline Lanes power_of_two(Lanes x) {
    // Below, the result is so near 0 that it stands for it; the comparison's order lets NaN through.
    x = Lanes::max(Lanes::all(-126.0F), x);
    const Lanes n = Lanes::round(x);
    const Lanes f = x - n;
    Lanes p = Lanes::all(1.54697320e-4F);
    p = Lanes::fma(p, f, Lanes::all(1.34004322e-3F));
    p = Lanes::fma(p, f, Lanes::all(9.61802560e-3F));
    p = Lanes::fma(p, f, Lanes::all(5.55032721e-2F));
    p = Lanes::fma(p, f, Lanes::all(2.40226512e-1F));
    p = Lanes::fma(p, f, Lanes::all(6.93147207e-1F));
    p = Lanes::fma(p, f, Lanes::all(1.0F));
    return Lanes::times_power_of_two(p, n);
}

// e^x: of x log2 e, whose rounding makes the relative error as many times float32's as x is large.
inline Lanes exponential(Lanes x) {
    return power_of_two(Lanes::min(Lanes::all(126.0F), x * Lanes::all(1.44269504F)));
}

// How exactly GELU is computed: to float32's precision, or to what bfloat16 values can tell.
enum class Precise { fully, as_halves };

// What GELU takes from x where x is positive, and is where it is negative, is the same: a erfc(a / sqrt 2) / 2 of the
// size a of x. From 0 to `end` a polynomial of 2 a / end - 1 (fitted at Chebyshev's nodes), highest power first; beyond
// it as at it, where next to nothing is left.
template <std::size_t n>
inline Lanes gelu_by(const float (&polynomial)[n], float end, Lanes x) {
    const Lanes size = Lanes::min(Lanes::all(end), Lanes::abs(x));
    const Lanes s = Lanes::fma(size, Lanes::all(2.0F / end), Lanes::all(-1.0F));
    Lanes p = Lanes::all(polynomial[0]);
    for (std::size_t i = 1; i < n; ++i) {
        p = Lanes::fma(p, s, Lanes::all(polynomial[i]));
    }
    return Lanes::max(Lanes::all(0.0F), x) - p;
}

// x / 2 erfc(-x / sqrt 2), with an error below 2.2e-7 or, as halves, 1e-4.
template <Precise precise>
inline Lanes gelu(Lanes x) {
    if constexpr (precise == Precise::fully) {
        static constexpr float kPolynomial[] = {
            -0.0156969205F, -0.000522047339F, 0.0989243686F, -0.0374604091F, -0.256906211F, 0.232402071F,
            0.272212535F,   -0.545276403F,    0.151383862F,  0.459697336F,   -0.628322899F, 0.260418266F,
            0.178947583F,   -0.308680892F,    0.191263378F,  -0.0605779812F, 0.0081943702F};
        return gelu_by(kPolynomial, 5.5F, x);
    } else {
        static constexpr float kPolynomial[] = {0.0225840509F, 0.0696877316F, -0.17805323F,  -0.111316159F,
                                                0.436025232F,  -0.236494511F, -0.147540793F, 0.250798464F,
                                                -0.133017063F, 0.0274126381F};
        return gelu_by(kPolynomial, 4.5F, x);
    }
}

inline Lanes silu(Lanes x) {
    return x * Lanes::reciprocal(Lanes::all(1.0F) + exponential(Lanes::all(0.0F) - x));
}

template <After after, Precise precise = Precise::fully>
inline Lanes finished(Lanes sum, bool add, const float* bias, const float* c) {
    if (add) {
        sum = sum + Lanes::load(c);
    }
    if constexpr (after != After::nothing) {
        sum = sum + Lanes::load(bias);
    }
    if constexpr (after == After::bias_gelu) {
        sum = gelu<precise>(sum);
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
    // The first rows ask for the panels that are next: where rows are few, as those of a query are, most time goes into
    // waiting for weights. How many is known when this is compiled, as the inner loop has no register to spare.
    const bool asks = row == 0 && column / kPanel + 2 * count <= product.panels_there;
    const std::size_t steps = product.k / Factors::kInputs;
    for (std::size_t step = 0; step < steps; ++step) {
        if (asks) {
#pragma GCC unroll 4
            for (std::size_t j = count; j < 2 * count; ++j) {
                __builtin_prefetch(b + j * product.b_step + step * kRow, 0, 2);
            }
        }
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

// term(i) summed over i from 0 to n in steps of kLanes: four sums at once, as each waits for the one before.
template <typename Term>
inline float sum_of(std::size_t n, Term term) {
    Lanes sums[4] = {Lanes::all(0.0F), Lanes::all(0.0F), Lanes::all(0.0F), Lanes::all(0.0F)};
    std::size_t i = 0;
    for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
        for (std::size_t j = 0; j < 4; ++j) {
            sums[j] = sums[j] + term(i + j * kLanes);
        }
    }
    for (; i < n; i += kLanes) {
        sums[0] = sums[0] + term(i);
    }
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum();
}

void layer_norm(const float* values, const float* residual, const float* gamma, const float* beta, float epsilon,
                float* out, std::size_t n) {
    const float count = static_cast<float>(n);
    const Lanes mean = Lanes::all(sum_of(n,
                                         [&](std::size_t i) {
                                             const Lanes value = Lanes::load(values + i) + Lanes::load(residual + i);
                                             value.store(out + i);
                                             return value;
                                         }) /
                                  count);
    const float squares = sum_of(n, [&](std::size_t i) {
        const Lanes off = Lanes::load(out + i) - mean;
        return off * off;
    });
    const Lanes scale = Lanes::all(1.0F / std::sqrt(squares / count + epsilon));
    for (std::size_t i = 0; i < n; i += kLanes) {
        const Lanes off = (Lanes::load(out + i) - mean) * scale;
        Lanes::fma(off, Lanes::load(gamma + i), Lanes::load(beta + i)).store(out + i);
    }
}

// Rows of scores to weights, `rows` of them, `step` apart; store(row, i, weights) takes them from column i on, up to
// the next multiple of kPanel. Some rows at once, as each waits for its largest score and for its sum.
template <typename Store>
inline void soften_rows(float* scores, std::size_t rows, std::size_t columns, std::size_t step, Store store) {
    alignas(64) static constexpr float kOnes[2 * kPanel] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    // Scores are taken to powers of two: e^(x - top) = 2^(x log2 e - top log2 e).
    constexpr float kLog2e = 1.44269504F;
    constexpr std::size_t kAtOnce = 8;
    const std::size_t padded = panels(columns) * kPanel;
    const std::size_t last = padded - kPanel;
    const float* const real = kOnes + (padded - columns);  // ones for the last panel's columns, then zeros
    for (std::size_t first = 0; first < rows; first += kAtOnce) {
        const std::size_t count = std::min(kAtOnce, rows - first);
        float tops[kAtOnce];
        float scales[kAtOnce];
        for (std::size_t row = 0; row < count; ++row) {
            const float* const line = scores + (first + row) * step;
            Lanes top = Lanes::load(line);
            for (std::size_t i = kLanes; i < padded; i += kLanes) {
                top = Lanes::max(top, Lanes::load(line + i));
            }
            tops[row] = -kLog2e * top.largest();
        }
        for (std::size_t row = 0; row < count; ++row) {
            float* const line = scores + (first + row) * step;
            const Lanes top = Lanes::all(tops[row]);
            Lanes sums = Lanes::all(0.0F);
            for (std::size_t i = 0; i < last; i += kLanes) {
                const Lanes weights = power_of_two(Lanes::fma(Lanes::load(line + i), Lanes::all(kLog2e), top));
                weights.store(line + i);
                sums = sums + weights;
            }
            for (std::size_t i = last; i < padded; i += kLanes) {
                const Lanes weights = power_of_two(Lanes::fma(Lanes::load(line + i), Lanes::all(kLog2e), top)) *
                                      Lanes::load(real + i - last);
                weights.store(line + i);
                sums = sums + weights;
            }
            scales[row] = 1.0F / sums.sum();
        }
        for (std::size_t row = 0; row < count; ++row) {
            const float* const line = scores + (first + row) * step;
            const Lanes scale = Lanes::all(scales[row]);
            for (std::size_t i = 0; i < padded; i += kLanes) {
                store(first + row, i, Lanes::load(line + i) * scale);
            }
        }
    }
}

void softmax(float* scores, std::size_t rows, std::size_t columns, std::size_t step) {
    soften_rows(scores, rows, columns, step,
                [&](std::size_t row, std::size_t i, Lanes weights) { weights.store(scores + row * step + i); });
}

template <typename Function>
inline void gate_values(float* values, const float* factors, std::size_t n, Function function) {
    for (std::size_t i = 0; i < n; i += kLanes) {
        (function(Lanes::load(values + i)) * Lanes::load(factors + i)).store(values + i);
    }
}

void apply_gate(Gate gate, float* values, const float* factors, std::size_t n) {
    switch (gate) {
        case Gate::gelu: gate_values(values, factors, n, [](Lanes x) { return gelu<Precise::fully>(x); }); break;
        case Gate::silu: gate_values(values, factors, n, [](Lanes x) { return silu(x); }); break;
    }
}

constexpr EncoderKernels kTable{&multiply, &layer_norm, &softmax, &apply_gate};

}  // namespace
}  // namespace vss::embedding
