#include "bert_encoder.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <new>
#include <stdexcept>

#include "bfloat16.h"

namespace vss::embedding {

namespace {

constexpr std::align_val_t kAlignment{64};
// Beyond any model; products of two of them fit 64 bits by far.
constexpr std::size_t kLargest = std::size_t{1} << 24U;
// Rows computed together: with `hidden` values each they are a part of the second-level cache, and long enough a block
// that reading the weights for it costs little.
constexpr std::size_t kRows = 192;

constexpr std::size_t round_up(std::size_t value, std::size_t step) {
    return (value + step - 1) / step * step;
}

}  // namespace

bool BertSizes::fit() const {
    for (const std::size_t size : {vocabulary, positions, hidden, heads, inner, layers, types}) {
        if (size == 0 || size > kLargest) {
            return false;
        }
    }
    return hidden % heads == 0 && hidden / heads % kPanel == 0 && inner % kPanel == 0 && epsilon >= 0.0F;
}

template <typename Value>
Aligned<Value>::Aligned(std::size_t count) {
    if (count > std::numeric_limits<std::size_t>::max() / sizeof(Value)) {
        throw std::bad_alloc();
    }
    values_.reset(static_cast<Value*>(::operator new(std::max<std::size_t>(count, 1) * sizeof(Value), kAlignment)));
}

template <typename Value>
void Aligned<Value>::Free::operator()(Value* values) const {
    ::operator delete(values, kAlignment);
}

namespace {

// Rows that are multiplied, as the kernels take them: float32, and bfloat16 where products are made of it.
struct Rows {
    const float* values;
    std::size_t step;
    const std::uint16_t* halves;
    std::size_t halves_step;
    std::size_t rest;  // from a row's first parts to its second parts

    // The same rows from an input on.
    [[nodiscard]] Rows from(std::size_t input) const {
        return {values + input, step, halves == nullptr ? nullptr : halves + input, halves_step, rest};
    }
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

    [[nodiscard]] Rows of(const float* rows, std::size_t step, std::size_t m, std::size_t k) const {
        if (kernels_.parts == 0) {
            return {rows, step, nullptr, 0, 0};
        }
        kernels_.halve(
            {.rows = rows, .step = step, .m = m, .k = k, .to = halves_.data(), .to_step = step_, .to_rest = rest_});
        return {rows, step, halves_.data(), step_, rest_};
    }

  private:
    const EncoderKernels& kernels_;
    std::size_t step_;
    std::size_t rest_;
    Halves halves_;
};

}  // namespace

// A Linear's weights, packed: blocks of kDepth inputs, each in panels of outputs. As bfloat16, a panel's rows are pairs
// of inputs, the last block is filled with zeros up to a multiple of kHalfDepth, and second parts follow the first
// ones.
struct BertEncoder::Linear {
    std::size_t inputs;
    std::size_t outputs;
    std::size_t parts;
    Floats packed;
    Halves halves;
    std::vector<float> bias;

    Linear(const EncoderKernels& kernels, std::size_t in, std::size_t out)
        : inputs(in),
          outputs(out),
          parts(kernels.parts),
          packed(parts == 0 ? in * out : 0),
          halves(parts * round_up(in, kHalfDepth) * out),
          bias(out) {}
    Linear(const EncoderKernels& kernels, std::size_t in, std::size_t out, const LinearWeights& from)
        : Linear(kernels, in, out) {
        fill(0, out, from, 1.0F);
    }

    [[nodiscard]] std::size_t rest() const { return round_up(inputs, kHalfDepth) * outputs; }

    // Makes the outputs from `first` on those of `from`, times `factor`.
    void fill(std::size_t first, std::size_t count, const LinearWeights& from, float factor) {
        for (std::size_t output = 0; output < count; ++output) {
            const std::size_t column = first + output;
            bias[column] = from.bias[output] * factor;
            const float* const weights = from.weight + output * inputs;
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
            float* to = packed.data() + start * outputs + column / kPanel * kPanel * depth + column % kPanel;
            for (std::size_t i = 0; i < depth; ++i, to += kPanel) {
                *to = weights[start + i] * factor;
            }
        }
    }

    void fill_halves(std::size_t column, const float* weights, float factor) const {
        for (std::size_t start = 0; start < inputs; start += kDepth) {
            const std::size_t depth = round_up(std::min(kDepth, inputs - start), kHalfDepth);
            std::uint16_t* const panel =
                halves.data() + start * outputs + column / kPanel * kPanel * depth + column % kPanel * 2;
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

    // The product of some inputs (at most kDepth, one block's) with some outputs. a begins at these inputs, c at these
    // outputs.
    void block(const EncoderKernels& kernels, const Rows& a, std::size_t m, std::size_t input, std::size_t output,
               std::size_t count, float* c, std::size_t c_step, After after) const {
        std::size_t depth = std::min(kDepth, inputs - input);
        const bool last = input + depth == inputs;
        if (parts != 0) {
            depth = round_up(depth, kHalfDepth);
            kernels.multiply_halves({.a = a.halves,
                                     .a_step = a.halves_step,
                                     .a_rest = a.rest,
                                     .m = m,
                                     .k = depth,
                                     .b = halves.data() + input * outputs + output * depth,
                                     .b_step = depth * kPanel,
                                     .b_rest = rest(),
                                     .columns = count,
                                     .bias = bias.data() + output,
                                     .c = c,
                                     .c_step = c_step,
                                     .add = input != 0,
                                     .after = last ? after : After::nothing});
            return;
        }
        kernels.multiply({.a = a.values,
                          .a_step = a.step,
                          .m = m,
                          .k = depth,
                          .b = packed.data() + input * outputs + output * depth,
                          .b_step = depth * kPanel,
                          .columns = count,
                          .bias = bias.data() + output,
                          .c = c,
                          .c_step = c_step,
                          .add = input != 0,
                          .after = last ? after : After::nothing});
    }

    // The product of all inputs with some outputs.
    void apply(const EncoderKernels& kernels, const Rows& a, std::size_t m, std::size_t output, std::size_t count,
               float* c, std::size_t c_step, After after) const {
        for (std::size_t input = 0; input < inputs; input += kDepth) {
            block(kernels, a.from(input), m, input, output, count, c, c_step, after);
        }
    }
};

struct BertEncoder::Norm {
    std::vector<float> gamma;
    std::vector<float> beta;

    Norm(const NormWeights& from, std::size_t n) : gamma(from.gamma, from.gamma + n), beta(from.beta, from.beta + n) {}

    void apply(const EncoderKernels& kernels, const float* values, const float* residual, float epsilon,
               float* out) const {
        kernels.layer_norm(values, residual, gamma.data(), beta.data(), epsilon, out, gamma.size());
    }
};

struct BertEncoder::Layer {
    Linear qkv;  // queries carry the scores' factor 1 / sqrt(head size)
    Linear output;
    Norm after_attention;
    Linear wide;
    Linear narrow;
    Norm after_inner;

    Layer(const EncoderKernels& kernels, const BertSizes& sizes, const BertLayerWeights& from)
        : qkv(kernels, sizes.hidden, 3 * sizes.hidden),
          output(kernels, sizes.hidden, sizes.hidden, from.output),
          after_attention(from.after_attention, sizes.hidden),
          wide(kernels, sizes.hidden, sizes.inner, from.wide),
          narrow(kernels, sizes.inner, sizes.hidden, from.narrow),
          after_inner(from.after_inner, sizes.hidden) {
        const std::size_t size = sizes.hidden / sizes.heads;
        const float factor = 1.0F / std::sqrt(static_cast<float>(size));
        qkv.fill(0, sizes.hidden, from.query, factor);
        qkv.fill(sizes.hidden, sizes.hidden, from.key, 1.0F);
        qkv.fill(2 * sizes.hidden, sizes.hidden, from.value, 1.0F);
    }
};

// What a call works in.
struct BertEncoder::Scratch {
    Floats qkv;       // (tokens, 3 hidden)
    Floats attended;  // (tokens, hidden)
    Floats keys;      // one head's, transposed, in panels of tokens
    Floats values;    // one head's, in panels
    Floats scores;    // (kRows, longest text)
    Floats wide;      // (kRows, kDepth)
    Floats narrow;    // (kRows, hidden)
    HalvedRows halved_state;
    HalvedRows halved_wide;

    Scratch(const EncoderKernels& kernels, const BertSizes& sizes, std::size_t tokens, std::size_t longest)
        : qkv(tokens * 3 * sizes.hidden),
          attended(tokens * sizes.hidden),
          keys(round_up(longest, kPanel) * (sizes.hidden / sizes.heads)),
          values(longest * (sizes.hidden / sizes.heads)),
          scores(std::min(longest, kRows) * round_up(longest, kPanel)),
          wide(std::min(tokens, kRows) * kDepth),
          narrow(std::min(tokens, kRows) * sizes.hidden),
          halved_state(kernels, std::min(tokens, kRows), sizes.hidden),
          halved_wide(kernels, std::min(tokens, kRows), kDepth) {}
};

BertEncoder::BertEncoder(const BertSizes& sizes, const BertWeights& weights, const EncoderKernels& kernels)
    : sizes_(sizes), kernels_(kernels) {
    if (!sizes.fit() || weights.layers.size() != sizes.layers) {
        throw std::invalid_argument("sizes that this encoder does not take");
    }
    words_ = Floats(sizes.vocabulary * sizes.hidden);
    std::copy_n(weights.words, sizes.vocabulary * sizes.hidden, words_.data());
    positions_ = Floats(sizes.positions * sizes.hidden);
    for (std::size_t position = 0; position < sizes.positions; ++position) {
        const std::size_t start = position * sizes.hidden;
        std::transform(weights.types, weights.types + sizes.hidden, weights.positions + start,
                       positions_.data() + start, std::plus<>());
    }
    types_ = Floats(sizes.types * sizes.hidden);
    for (std::size_t type = 0; type < sizes.types; ++type) {
        const std::size_t start = type * sizes.hidden;
        std::transform(weights.types + start, weights.types + start + sizes.hidden, weights.types,
                       types_.data() + start, std::minus<>());
    }
    embedded_ = std::make_unique<Norm>(weights.embedded, sizes.hidden);
    layers_.reserve(sizes.layers);
    for (const BertLayerWeights& layer : weights.layers) {
        layers_.emplace_back(kernels, sizes, layer);
    }
}

BertEncoder::~BertEncoder() = default;

void BertEncoder::encode(const std::int32_t* ids, const std::int32_t* types, const std::size_t* starts,
                         std::size_t texts, float* out) const {
    const std::size_t tokens = starts[texts];
    std::size_t longest = 0;
    for (std::size_t text = 0; text < texts; ++text) {
        longest = std::max(longest, starts[text + 1] - starts[text]);
    }
    if (longest == 0) {
        return;
    }
    const Scratch scratch(kernels_, sizes_, tokens, longest);
    embed(ids, types, starts, texts, out);
    const std::size_t hidden = sizes_.hidden;
    for (const Layer& layer : layers_) {
        for (std::size_t row = 0; row < tokens; row += kRows) {
            const std::size_t rows = std::min(kRows, tokens - row);
            layer.qkv.apply(kernels_, scratch.halved_state.of(out + row * hidden, hidden, rows, hidden), rows, 0,
                            3 * hidden, scratch.qkv.data() + row * 3 * hidden, 3 * hidden, After::bias);
        }
        for (std::size_t text = 0; text < texts; ++text) {
            attend(scratch, starts[text], starts[text + 1] - starts[text]);
        }
        for (std::size_t row = 0; row < tokens; row += kRows) {
            finish_rows(layer, scratch, row, std::min(kRows, tokens - row), out);
        }
    }
}

void BertEncoder::embed(const std::int32_t* ids, const std::int32_t* types, const std::size_t* starts,
                        std::size_t texts, float* out) const {
    const std::size_t hidden = sizes_.hidden;
    std::vector<float> typed(types == nullptr ? 0 : hidden);
    for (std::size_t text = 0; text < texts; ++text) {
        for (std::size_t row = starts[text]; row < starts[text + 1]; ++row) {
            const float* place = positions_.data() + (row - starts[text]) * hidden;
            if (types != nullptr && types[row] != 0) {
                const float* const step = types_.data() + static_cast<std::size_t>(types[row]) * hidden;
                std::transform(place, place + hidden, step, typed.begin(), std::plus<>());
                place = typed.data();
            }
            embedded_->apply(kernels_, words_.data() + static_cast<std::size_t>(ids[row]) * hidden, place,
                             sizes_.epsilon, out + row * hidden);
        }
    }
}

void BertEncoder::attend(const Scratch& scratch, std::size_t start, std::size_t tokens) const {
    const std::size_t hidden = sizes_.hidden;
    const std::size_t size = hidden / sizes_.heads;
    const std::size_t padded = round_up(tokens, kPanel);
    for (std::size_t head = 0; head < sizes_.heads; ++head) {
        const float* const queries = scratch.qkv.data() + start * 3 * hidden + head * size;
        pack_keys(queries + hidden, tokens, scratch.keys.data());
        pack_values(queries + 2 * hidden, tokens, scratch.values.data());
        for (std::size_t row = 0; row < tokens; row += kRows) {
            const std::size_t rows = std::min(kRows, tokens - row);
            kernels_.multiply({.a = queries + row * 3 * hidden,
                               .a_step = 3 * hidden,
                               .m = rows,
                               .k = size,
                               .b = scratch.keys.data(),
                               .b_step = size * kPanel,
                               .columns = padded,
                               .bias = nullptr,
                               .c = scratch.scores.data(),
                               .c_step = padded,
                               .add = false,
                               .after = After::nothing});
            kernels_.softmax(scratch.scores.data(), rows, tokens, padded);
            kernels_.multiply({.a = scratch.scores.data(),
                               .a_step = padded,
                               .m = rows,
                               .k = tokens,
                               .b = scratch.values.data(),
                               .b_step = tokens * kPanel,
                               .columns = size,
                               .bias = nullptr,
                               .c = scratch.attended.data() + (start + row) * hidden + head * size,
                               .c_step = hidden,
                               .add = false,
                               .after = After::nothing});
        }
    }
}

void BertEncoder::pack_keys(const float* keys, std::size_t tokens, float* to) const {
    const std::size_t size = sizes_.hidden / sizes_.heads;
    const std::size_t step = 3 * sizes_.hidden;
    for (std::size_t first = 0; first < tokens; first += kPanel, to += size * kPanel) {
        const std::size_t count = std::min(kPanel, tokens - first);
        for (std::size_t column = 0; column < kPanel; ++column) {
            // Columns behind the last token repeat it; softmax makes nothing of them.
            const float* const key = keys + (first + std::min(column, count - 1)) * step;
            for (std::size_t i = 0; i < size; ++i) {
                to[i * kPanel + column] = key[i];
            }
        }
    }
}

void BertEncoder::pack_values(const float* values, std::size_t tokens, float* to) const {
    const std::size_t size = sizes_.hidden / sizes_.heads;
    const std::size_t step = 3 * sizes_.hidden;
    for (std::size_t first = 0; first < size; first += kPanel) {
        for (std::size_t token = 0; token < tokens; ++token, to += kPanel) {
            std::copy_n(values + token * step + first, kPanel, to);
        }
    }
}

void BertEncoder::finish_rows(const Layer& layer, const Scratch& scratch, std::size_t row, std::size_t rows,
                              float* out) const {
    const std::size_t hidden = sizes_.hidden;
    float* const state = out + row * hidden;
    float* const narrow = scratch.narrow.data();
    const Rows attended = scratch.halved_state.of(scratch.attended.data() + row * hidden, hidden, rows, hidden);
    layer.output.apply(kernels_, attended, rows, 0, hidden, narrow, hidden, After::bias);
    for (std::size_t i = 0; i < rows * hidden; i += hidden) {
        layer.after_attention.apply(kernels_, narrow + i, state + i, sizes_.epsilon, state + i);
    }
    const Rows normed = scratch.halved_state.of(state, hidden, rows, hidden);
    // A part of the wide layer is used up while it is in the cache.
    for (std::size_t inner = 0; inner < sizes_.inner; inner += kDepth) {
        const std::size_t count = std::min(kDepth, sizes_.inner - inner);
        layer.wide.apply(kernels_, normed, rows, inner, count, scratch.wide.data(), kDepth, After::bias_gelu);
        const Rows wide = scratch.halved_wide.of(scratch.wide.data(), kDepth, rows, count);
        layer.narrow.block(kernels_, wide, rows, inner, 0, hidden, narrow, hidden, After::bias);
    }
    for (std::size_t i = 0; i < rows * hidden; i += hidden) {
        layer.after_inner.apply(kernels_, narrow + i, state + i, sizes_.epsilon, state + i);
    }
}

}  // namespace vss::embedding
