// What layers are made of: rows in the forms that kernels multiply, packed weights, norms.
//
// Threads: constant once made, but for HalvedRows, which is its user's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bert_encoder.h"
#include "bfloat16.h"
#include "encoder_kernels.h"
#include "encoder_memory.h"

namespace vss::embedding {

constexpr std::size_t round_up(std::size_t value, std::size_t step) {
    return (value + step - 1) / step * step;
}

// Rows that are multiplied, as the kernels take them: float32, and bfloat16 where products are made of it.
struct Rows {
    const float* values;
    std::size_t step;
    const std::uint16_t* halves;
    std::size_t halves_step;
    std::size_t rest;  // from a row's first parts to its second parts
};

// Room for the bfloat16 parts of some rows. Tiles read whole tiles, so there are rows up to the next multiple.
class HalvedRows {
  public:
    HalvedRows(const EncoderKernels& kernels, std::size_t rows, std::size_t values)
        : kernels_(kernels),
          step_(round_up(values, kHalfDepth)),
          rest_(round_up(rows, kTileHeight) * step_),
          halves_(kernels.parts * rest_) {
        std::fill_n(halves_.data(), kernels.parts * rest_, std::uint16_t{0});
    }

    // Rows from `row` on, made of `m` rows of k values.
    [[nodiscard]] Rows make(const float* rows, std::size_t step, std::size_t m, std::size_t k,
                            std::size_t row = 0) const {
        if (kernels_.parts == 0) {
            return {rows, step, nullptr, 0, 0};
        }
        std::uint16_t* const to = halves_.data() + row * step_;
        kernels_.halve({.rows = rows, .step = step, .m = m, .k = k, .to = to, .to_step = step_, .to_rest = rest_});
        return {rows, step, to, step_, rest_};
    }
    // The weights of attention, made of their scores.
    [[nodiscard]] Rows soften(float* scores, std::size_t step, std::size_t m, std::size_t k) const {
        kernels_.softmax_halves(
            scores,
            {.rows = scores, .step = step, .m = m, .k = k, .to = halves_.data(), .to_step = step_, .to_rest = rest_});
        return halved();
    }
    // What is there already.
    [[nodiscard]] Rows halved() const { return {nullptr, 0, halves_.data(), step_, rest_}; }
    // Has a product write them, from `column` on.
    void take(HalfProduct& product, std::size_t column) const {
        product.halved = halves_.data() + half_offset(kernels_.tiled, column);
        product.halved_step = step_;
        product.halved_rest = rest_;
    }

  private:
    const EncoderKernels& kernels_;
    std::size_t step_;
    std::size_t rest_;
    Halves halves_;
};

// Some of a Linear's outputs, whole panels of them.
struct Outputs {
    std::size_t first;
    std::size_t count;
    bool alone = false;      // those behind them are another thread's, and not asked for
    std::size_t column = 0;  // where the first one goes in rows that become halves, a multiple of kHalfDepth
};

// A Linear's weights, packed: blocks of kDepth inputs, each in panels of outputs. As bfloat16, a panel's rows are pairs
// of inputs, the last block is filled with zeros up to a multiple of kHalfDepth, and second parts follow the first
// ones.
struct Linear {
    std::size_t inputs;
    std::size_t outputs;
    std::size_t parts;
    float* packed;
    std::uint16_t* halves;
    std::vector<float> bias;

    Linear(const EncoderKernels& kernels, Arena& arena, std::size_t in, std::size_t out)
        : inputs(in),
          outputs(out),
          parts(kernels.parts),
          packed(arena.take<float>(parts == 0 ? in * out : 0)),
          halves(arena.take<std::uint16_t>(parts * round_up(in, kHalfDepth) * out)),
          bias(out) {}
    Linear(const EncoderKernels& kernels, Arena& arena, std::size_t in, std::size_t out, const LinearWeights& from)
        : Linear(kernels, arena, in, out) {
        fill(0, 0, out, from, 1.0F);
    }

    static std::size_t bytes(const EncoderKernels& kernels, std::size_t in, std::size_t out) {
        return Arena::bytes<float>(kernels.parts == 0 ? in * out : 0) +
               Arena::bytes<std::uint16_t>(kernels.parts * round_up(in, kHalfDepth) * out);
    }

    [[nodiscard]] std::size_t rest() const { return round_up(inputs, kHalfDepth) * outputs; }

    // Makes `count` outputs from `first` on those of `from` from `start` on, times `factor`.
    void fill(std::size_t first, std::size_t start, std::size_t count, const LinearWeights& from, float factor) {
        for (std::size_t output = 0; output < count; ++output) {
            const std::size_t column = first + output;
            bias[column] = from.bias[start + output] * factor;
            const float* const weights = from.weight + (start + output) * inputs;
            if (parts == 0) {
                fill_singles(column, weights, factor);
            } else {
                fill_halves(column, weights, factor);
            }
        }
    }

    void fill_singles(std::size_t column, const float* weights, float factor) const {
        for (std::size_t start = 0; start < inputs; start += kDepth) {
            const std::size_t depth = std::min(kDepth, inputs - start);
            float* to = packed + start * outputs + column / kPanel * kPanel * depth + column % kPanel;
            for (std::size_t i = 0; i < depth; ++i, to += kPanel) {
                *to = weights[start + i] * factor;
            }
        }
    }

    void fill_halves(std::size_t column, const float* weights, float factor) const {
        for (std::size_t start = 0; start < inputs; start += kDepth) {
            const std::size_t depth = round_up(std::min(kDepth, inputs - start), kHalfDepth);
            std::uint16_t* const panel =
                halves + start * outputs + column / kPanel * kPanel * depth + column % kPanel * 2;
            for (std::size_t i = 0; i < depth; ++i) {
                const float value = start + i < inputs ? weights[start + i] * factor : 0.0F;
                std::uint16_t* const to = panel + i / 2 * 2 * kPanel + i % 2;
                to[0] = to_bfloat16(value);
                if (parts == 2) {
                    to[rest()] = to_bfloat16(value - from_bfloat16(to[0]));
                }
            }
        }
    }

    // The product of some inputs (at most kDepth, one block's) with some outputs, added to what is in c where `add`
    // says so or where it is not the first block. a begins at these inputs, c at these outputs. Where `halved` is given
    // and kernels are tiled, the results become these rows instead.
    void block(const EncoderKernels& kernels, const Rows& a, std::size_t m, std::size_t input, const Outputs& some,
               float* c, std::size_t c_step, After after, bool add = false, const HalvedRows* halved = nullptr) const {
        const std::size_t there = (some.alone ? some.count : outputs - some.first) / kPanel;
        std::size_t depth = std::min(kDepth, inputs - input);
        const bool last = input + depth == inputs;
        if (parts != 0) {
            depth = round_up(depth, kHalfDepth);
            HalfProduct product{.a = a.halves,
                                .a_step = a.halves_step,
                                .a_rest = a.rest,
                                .m = m,
                                .k = depth,
                                .b = halves + input * outputs + some.first * depth,
                                .b_step = depth * kPanel,
                                .b_rest = rest(),
                                .columns = some.count,
                                .panels_there = there,
                                .bias = bias.data() + some.first,
                                .c = c,
                                .c_step = c_step,
                                .add = add || input != 0,
                                .after = last ? after : After::nothing};
            if (last && halved != nullptr) {
                halved->take(product, some.column);
            }
            kernels.multiply_halves(product);
            return;
        }
        kernels.multiply({.a = a.values,
                          .a_step = a.step,
                          .m = m,
                          .k = depth,
                          .b = packed + input * outputs + some.first * depth,
                          .b_step = depth * kPanel,
                          .columns = some.count,
                          .bias = bias.data() + some.first,
                          .c = c,
                          .c_step = c_step,
                          .add = add || input != 0,
                          .after = last ? after : After::nothing,
                          .panels_there = there});
    }

    // The product of all inputs with some outputs.
    void apply(const EncoderKernels& kernels, const Rows& a, std::size_t m, const Outputs& some, float* c,
               std::size_t c_step, After after, bool add = false, const HalvedRows* halved = nullptr) const {
        for (std::size_t input = 0; input < inputs; input += kDepth) {
            Rows part = a;
            if (parts == 0) {
                part.values += input;
            } else {
                part.halves += half_offset(kernels.tiled, input);
            }
            block(kernels, part, m, input, some, c, c_step, after, add, halved);
        }
    }
};

struct Norm {
    std::vector<float> gamma;
    std::vector<float> beta;

    Norm(const NormWeights& from, std::size_t n) {
        if (from.gamma != nullptr) {
            gamma.assign(from.gamma, from.gamma + n);
            beta.assign(from.beta, from.beta + n);
        }
    }

    [[nodiscard]] bool is_there() const { return !gamma.empty(); }

    void apply(const EncoderKernels& kernels, const float* values, const float* residual, float epsilon,
               float* out) const {
        kernels.layer_norm(values, residual, gamma.data(), beta.data(), epsilon, out, gamma.size());
    }
};

}  // namespace vss::embedding
