#include "bert_encoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>

#include "encoder_parts.h"
#include "encoder_team.h"

namespace vss::embedding {

namespace {

// Beyond any model; products of two of them fit 64 bits by far.
constexpr std::size_t kLargest = std::size_t{1} << 24U;
// Scratches of ended calls that are kept: as many as threads that may use an encoder at once.
constexpr std::size_t kKept = 16;
// A layer's outputs in the parts that threads take, where several compute it: whole tiles of their level.
class Portions {
  public:
    Portions(const EncoderKernels& kernels, std::size_t outputs)
        : outputs_(outputs), taken_(kernels.tiled ? kOfTiles : kOfPanels) {}

    [[nodiscard]] std::size_t count() const { return (outputs_ + taken_ - 1) / taken_; }
    [[nodiscard]] Outputs operator[](std::size_t i) const {
        return {.first = i * taken_, .count = std::min(taken_, outputs_ - i * taken_), .alone = true};
    }

  private:
    static constexpr std::size_t kOfPanels = 3 * kPanel;
    static constexpr std::size_t kOfTiles = 2 * kHalfDepth;
    // Those of the wide layer lie within its blocks.
    static_assert(kDepth % kOfPanels == 0 && kDepth % kOfTiles == 0);

    std::size_t outputs_;
    std::size_t taken_;
};

}  // namespace

bool BertSizes::fit() const {
    for (const std::size_t size : {vocabulary, positions, hidden, heads, inner, layers, types}) {
        if (size == 0 || size > kLargest) {
            return false;
        }
    }
    return hidden % heads == 0 && hidden / heads % kPanel == 0 && inner % kPanel == 0 && epsilon >= 0.0F;
}

struct BertEncoder::Layer {
    Linear qkv;  // each head's queries, keys and values; queries carry the scores' factor 1 / sqrt(head size)
    Linear output;
    Norm attention_norm;
    Linear wide;
    Linear narrow;
    Norm inner_norm;
    std::size_t rotation;
    std::size_t window;

    Layer(const EncoderKernels& kernels, Arena& arena, const BertSizes& sizes, bool gated, const BertLayerWeights& from)
        : qkv(kernels, arena, sizes.hidden, 3 * sizes.hidden),
          output(kernels, arena, sizes.hidden, sizes.hidden, from.output),
          attention_norm(from.attention_norm, sizes.hidden),
          wide(kernels, arena, sizes.hidden, (gated ? 2 : 1) * sizes.inner, from.wide),
          narrow(kernels, arena, sizes.inner, sizes.hidden, from.narrow),
          inner_norm(from.inner_norm, sizes.hidden),
          rotation(from.rotation),
          window(from.window) {
        const std::size_t size = sizes.hidden / sizes.heads;
        const float factor = 1.0F / std::sqrt(static_cast<float>(size));
        for (std::size_t start = 0; start < sizes.hidden; start += size) {
            qkv.fill(3 * start, start, size, from.query, factor);
            qkv.fill(3 * start + size, start, size, from.key, 1.0F);
            qkv.fill(3 * start + 2 * size, start, size, from.value, 1.0F);
        }
    }

    static std::size_t bytes(const EncoderKernels& kernels, const BertSizes& sizes, bool gated) {
        return Linear::bytes(kernels, sizes.hidden, 3 * sizes.hidden) +
               Linear::bytes(kernels, sizes.hidden, sizes.hidden) +
               Linear::bytes(kernels, sizes.hidden, (gated ? 2 : 1) * sizes.inner) +
               Linear::bytes(kernels, sizes.inner, sizes.hidden);
    }
};

// The whole wide layer of some rows, where several threads compute it: blocks of kDepth outputs.
struct BertEncoder::Shared {
    std::size_t rows;
    Floats wide;     // (blocks, rows, kDepth)
    Floats factors;  // the same, where layers are gated
    std::vector<HalvedRows> halved;
    std::vector<Rows> made;

    Shared(const EncoderKernels& kernels, const BertSizes& sizes, bool gated, std::size_t most)
        : rows(most),
          wide(blocks(sizes) * rows * kDepth),
          factors(gated ? blocks(sizes) * rows * kDepth : 0),
          made(blocks(sizes)) {
        halved.reserve(blocks(sizes));
        for (std::size_t block = 0; block < blocks(sizes); ++block) {
            halved.emplace_back(kernels, rows, kDepth);
        }
    }

    static std::size_t blocks(const BertSizes& sizes) { return (sizes.inner + kDepth - 1) / kDepth; }
};

// What a call works in.
struct BertEncoder::Scratch {
    std::size_t tokens;
    std::size_t longest;
    Floats qkv;       // (tokens, 3 head size), one head's
    Floats attended;  // (tokens, hidden)
    Floats keys;      // one head's, transposed, in panels of tokens
    Floats values;    // one head's, in panels
    Floats scores;    // (rows, longest text)
    Floats wide;      // (rows, kDepth)
    Floats factors;   // the same, where layers are gated
    Floats normed;    // (tokens, hidden), where norms are first
    Floats narrow;    // (rows, hidden)
    HalvedRows halved_state;
    HalvedRows halved_wide;
    // Of one head, where attention's products are of halves.
    HalvedRows halved_queries;
    HalvedRows halved_scores;
    Halves halved_keys;
    Halves halved_values;
    std::unique_ptr<Shared> shared;  // made when several threads first compute with it

    Scratch(const EncoderKernels& kernels, const BertSizes& sizes, bool gated, bool norms_first, std::size_t all,
            std::size_t most)
        : tokens(all),
          longest(most),
          qkv(tokens * 3 * (sizes.hidden / sizes.heads)),
          attended(tokens * sizes.hidden),
          keys(round_up(longest, kPanel) * (sizes.hidden / sizes.heads)),
          values(longest * (sizes.hidden / sizes.heads)),
          scores(std::min(longest, kernels.rows) * round_up(longest, kPanel)),
          wide(std::min(tokens, kernels.rows) * kDepth),
          factors(gated ? std::min(tokens, kernels.rows) * kDepth : 0),
          normed(norms_first ? tokens * sizes.hidden : 0),
          narrow(std::min(tokens, kernels.rows) * sizes.hidden),
          halved_state(kernels, tokens, sizes.hidden),
          halved_wide(kernels, std::min(tokens, kernels.rows), kDepth),
          halved_queries(kernels, kernels.tiled ? std::min(longest, kernels.rows) : 0, sizes.hidden / sizes.heads),
          halved_scores(kernels, kernels.tiled ? std::min(longest, kernels.rows) : 0, longest),
          halved_keys(kernels.tiled ? kernels.parts * keys_rest(sizes) : 0),
          halved_values(kernels.tiled ? kernels.parts * values_rest(sizes) : 0) {}

    // From first parts to second parts.
    [[nodiscard]] std::size_t keys_rest(const BertSizes& sizes) const {
        return round_up(longest, kPanel) * round_up(sizes.hidden / sizes.heads, kHalfDepth);
    }
    [[nodiscard]] std::size_t values_rest(const BertSizes& sizes) const {
        return round_up(longest, kHalfDepth) * (sizes.hidden / sizes.heads);
    }
};

// A call's scratch, new or one of an ended call.
class BertEncoder::Lent {
  public:
    Lent(const BertEncoder& encoder, std::size_t tokens, std::size_t longest) : encoder_(encoder) {
        {
            const std::lock_guard<std::mutex> lock(encoder.mutex_);
            auto& free = encoder.scratches_;
            const auto found = std::find_if(free.begin(), free.end(), [&](const auto& scratch) {
                return scratch->tokens >= tokens && scratch->longest >= longest;
            });
            if (found != free.end()) {
                scratch_ = std::move(*found);
                free.erase(found);
                return;
            }
            if (!free.empty()) {
                free.pop_back();  // too small: the new one takes its place
            }
        }
        scratch_ =
            std::make_unique<Scratch>(encoder.kernels_, encoder.sizes_, encoder.gate_.has_value(), encoder.norms_first_,
                                      std::max(tokens, kUsualTokens), std::max(longest, kUsualTokens / 2));
    }
    ~Lent() {
        if (scratch_->tokens <= kMostKept) {
            const std::lock_guard<std::mutex> lock(encoder_.mutex_);
            if (encoder_.scratches_.size() < encoder_.scratches_.capacity()) {
                encoder_.scratches_.push_back(std::move(scratch_));
            }
        }
    }
    Lent(const Lent&) = delete;
    Lent& operator=(const Lent&) = delete;

    Scratch& operator*() const { return *scratch_; }

  private:
    static constexpr std::size_t kUsualTokens = 512;
    static constexpr std::size_t kMostKept = 4096;

    const BertEncoder& encoder_;
    std::unique_ptr<Scratch> scratch_;
};

// Who computes a call's batch, and what each of them works in.
class BertEncoder::Crew {
  public:
    Crew(const BertEncoder& encoder, std::size_t tokens, std::size_t longest, std::size_t threads)
        : own_(encoder, tokens, longest), team_(threads) {
        for (std::size_t i = 0; i + 1 < team_.members(); ++i) {
            others_[i].emplace(encoder, tokens, longest);
        }
        const std::size_t rows = std::min(tokens, encoder.kernels_.rows);
        std::unique_ptr<Shared>& shared = (*own_).shared;
        if (team_.members() > 1 && (shared == nullptr || shared->rows < rows)) {
            shared = std::make_unique<Shared>(encoder.kernels_, encoder.sizes_, encoder.gate_.has_value(), rows);
        }
    }

    [[nodiscard]] bool alone() const { return team_.members() == 1; }
    // The caller's, which holds what all work on.
    [[nodiscard]] const Scratch& own() const { return *own_; }
    [[nodiscard]] const Scratch& of(std::size_t member) const { return member == 0 ? *own_ : **others_[member - 1]; }
    [[nodiscard]] Shared& shared() const { return *(*own_).shared; }

    template <typename Part>
    void share(std::size_t parts, const Part& part) {
        team_.share(parts, part);
    }

  private:
    Lent own_;
    Team team_;
    std::array<std::optional<Lent>, Team::kMostMembers - 1> others_;
};

BertEncoder::BertEncoder(const BertSizes& sizes, const BertWeights& weights, const EncoderKernels& kernels)
    : sizes_(sizes),
      kernels_(kernels),
      has_positions_(weights.positions != nullptr),
      zeros_(sizes.hidden),
      gate_(weights.gate),
      norms_first_(weights.norms_first) {
    if (!sizes.fit() || weights.layers.size() != sizes.layers) {
        throw std::invalid_argument("sizes that this encoder does not take");
    }
    words_ = Floats(sizes.vocabulary * sizes.hidden);
    std::copy_n(weights.words, sizes.vocabulary * sizes.hidden, words_.data());
    const std::size_t positions = has_positions_ ? sizes.positions : 1;
    positions_ = Floats(positions * sizes.hidden);
    for (std::size_t position = 0; position < positions; ++position) {
        const std::size_t start = position * sizes.hidden;
        const float* const place = has_positions_ ? weights.positions + start : zeros_.data();
        std::transform(weights.types, weights.types + sizes.hidden, place, positions_.data() + start, std::plus<>());
    }
    types_ = Floats(sizes.types * sizes.hidden);
    for (std::size_t type = 0; type < sizes.types; ++type) {
        const std::size_t start = type * sizes.hidden;
        std::transform(weights.types + start, weights.types + start + sizes.hidden, weights.types,
                       types_.data() + start, std::minus<>());
    }
    if (weights.distances != nullptr) {
        distances_.assign(weights.distances, weights.distances + sizes.heads * (2 * sizes.positions - 1));
    }
    if (weights.rotations != nullptr) {
        const std::size_t of_kind = sizes.positions * (sizes.hidden / sizes.heads);
        rotations_.assign(weights.rotations, weights.rotations + weights.rotation_kinds * of_kind);
    }
    embedded_ = std::make_unique<Norm>(weights.embedded, sizes.hidden);
    last_ = std::make_unique<Norm>(weights.last, sizes.hidden);
    arena_ = std::make_unique<Arena>(sizes.layers * Layer::bytes(kernels, sizes, gate_.has_value()));
    layers_.reserve(sizes.layers);
    for (const BertLayerWeights& layer : weights.layers) {
        if (weights.rotations != nullptr && layer.rotation >= weights.rotation_kinds) {
            throw std::invalid_argument("a layer without a rotation of its kind");
        }
        layers_.emplace_back(kernels, *arena_, sizes, gate_.has_value(), layer);
    }
    scratches_.reserve(kKept);
}

BertEncoder::~BertEncoder() = default;

void BertEncoder::encode(const std::int32_t* ids, const std::int32_t* types, const std::size_t* starts,
                         std::size_t texts, float* out, std::size_t threads) const {
    const std::size_t tokens = starts[texts];
    std::size_t longest = 0;
    for (std::size_t text = 0; text < texts; ++text) {
        longest = std::max(longest, starts[text + 1] - starts[text]);
    }
    if (longest == 0) {
        return;
    }
    Crew crew(*this, tokens, longest, threads);
    embed(ids, types, starts, texts, out);
    const std::size_t hidden = sizes_.hidden;
    const std::size_t of_head = 3 * (hidden / sizes_.heads);
    const Scratch& own = crew.own();
    for (const Layer& layer : layers_) {
        const float* attending = out;
        if (norms_first_ && layer.attention_norm.is_there()) {
            normalize(layer.attention_norm, out, tokens, own.normed.data());
            attending = own.normed.data();
        }
        const Rows state = own.halved_state.make(attending, hidden, tokens, hidden);
        crew.share(sizes_.heads, [&](std::size_t head, std::size_t member) {
            const Scratch& scratch = crew.of(member);
            layer.qkv.apply(kernels_, state, tokens, {head * of_head, of_head, !crew.alone()}, scratch.qkv.data(),
                            of_head, After::bias);
            for (std::size_t text = 0; text < texts; ++text) {
                const std::size_t length = starts[text + 1] - starts[text];
                float* const queries = scratch.qkv.data() + starts[text] * of_head;
                float* const attended = own.attended.data() + starts[text] * hidden + head * (of_head / 3);
                rotate(layer, queries, length);
                if (kernels_.tiled) {
                    attend_halved(layer, scratch, head, length, queries, attended);
                } else {
                    attend(layer, scratch, head, length, queries, attended);
                }
            }
        });
        for (std::size_t row = 0; row < tokens; row += kernels_.rows) {
            finish_rows(layer, crew, row, std::min(kernels_.rows, tokens - row), out);
        }
    }
    if (norms_first_) {
        normalize(*last_, out, tokens, out);
    }
}

void BertEncoder::embed(const std::int32_t* ids, const std::int32_t* types, const std::size_t* starts,
                        std::size_t texts, float* out) const {
    const std::size_t hidden = sizes_.hidden;
    std::vector<float> typed(types == nullptr ? 0 : hidden);
    for (std::size_t text = 0; text < texts; ++text) {
        for (std::size_t row = starts[text]; row < starts[text + 1]; ++row) {
            const float* place = positions_.data() + (has_positions_ ? row - starts[text] : 0) * hidden;
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

// Of a text's queries and keys, value i and value i + half a head are a point in the plane.
void BertEncoder::rotate(const Layer& layer, float* rows, std::size_t tokens) const {
    if (rotations_.empty()) {
        return;
    }
    const std::size_t size = sizes_.hidden / sizes_.heads;
    const std::size_t half = size / 2;
    const float* cosines = rotations_.data() + layer.rotation * sizes_.positions * size;
    for (std::size_t token = 0; token < tokens; ++token, rows += 3 * size, cosines += size) {
        const float* const sines = cosines + half;
        for (float* const low : {rows, rows + size}) {
            float* const high = low + half;
            for (std::size_t i = 0; i < half; ++i) {
                const float x = low[i];
                const float y = high[i];
                low[i] = x * cosines[i] - y * sines[i];
                high[i] = y * cosines[i] + x * sines[i];
            }
        }
    }
}

namespace {

// Takes what is out of reach out of the scores of tokens from `row` on: columns stand for tokens from `first` to before
// `last`, and those behind them, up to `step`, for none.
void mask(float* scores, std::size_t step, std::size_t row, std::size_t rows, std::size_t first, std::size_t last,
          std::size_t window) {
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    for (std::size_t token = row; token < row + rows; ++token, scores += step) {
        const std::size_t from = token > first + window ? token - window - first : 0;
        const std::size_t to = std::min(token + window + 1, last) - first;
        std::fill_n(scores, from, kNone);
        std::fill(scores + to, scores + step, kNone);
    }
}

}  // namespace

// A head's queries, keys and values of one text to what its tokens attend to, in `out`, rows of `hidden` values.
void BertEncoder::attend(const Layer& layer, const Scratch& scratch, std::size_t head, std::size_t tokens,
                         const float* queries, float* out) const {
    const std::size_t hidden = sizes_.hidden;
    const std::size_t size = hidden / sizes_.heads;
    pack_keys(queries + size, tokens, scratch.keys.data());
    pack_values(queries + 2 * size, tokens, scratch.values.data());
    for (std::size_t row = 0; row < tokens; row += kernels_.rows) {
        const std::size_t rows = std::min(kernels_.rows, tokens - row);
        // The keys that these rows reach, from a panel's first on.
        std::size_t first = 0;
        std::size_t last = tokens;
        if (layer.window != 0) {
            first = row > layer.window ? (row - layer.window) / kPanel * kPanel : 0;
            last = std::min(tokens, row + rows + layer.window);
        }
        const std::size_t padded = round_up(last - first, kPanel);
        kernels_.multiply({.a = queries + row * 3 * size,
                           .a_step = 3 * size,
                           .m = rows,
                           .k = size,
                           .b = scratch.keys.data() + first * size,
                           .b_step = size * kPanel,
                           .columns = padded,
                           .bias = nullptr,
                           .c = scratch.scores.data(),
                           .c_step = padded,
                           .add = false,
                           .after = After::nothing});
        add_distances(scratch.scores.data(), padded, head, row, rows, tokens);
        if (layer.window != 0) {
            mask(scratch.scores.data(), padded, row, rows, first, last, layer.window);
        }
        kernels_.softmax(scratch.scores.data(), rows, last - first, padded);
        kernels_.multiply({.a = scratch.scores.data(),
                           .a_step = padded,
                           .m = rows,
                           .k = last - first,
                           .b = scratch.values.data() + first * kPanel,
                           .b_step = tokens * kPanel,
                           .columns = size,
                           .bias = nullptr,
                           .c = out + row * hidden,
                           .c_step = hidden,
                           .add = false,
                           .after = After::nothing});
    }
}

void BertEncoder::attend_halved(const Layer& layer, const Scratch& scratch, std::size_t head, std::size_t tokens,
                                const float* queries, float* out) const {
    const std::size_t hidden = sizes_.hidden;
    const std::size_t size = hidden / sizes_.heads;
    const std::size_t padded = round_up(tokens, kPanel);
    const std::size_t step = 3 * size;
    kernels_.pack_keys({.rows = queries + size,
                        .step = step,
                        .tokens = tokens,
                        .size = size,
                        .to = scratch.halved_keys.data(),
                        .to_rest = scratch.keys_rest(sizes_)});
    kernels_.pack_values({.rows = queries + 2 * size,
                          .step = step,
                          .tokens = tokens,
                          .size = size,
                          .to = scratch.halved_values.data(),
                          .to_rest = scratch.values_rest(sizes_)});
    HalfProduct product{};
    const auto multiply = [&](const Rows& a, std::size_t k) {
        product.a = a.halves;
        product.a_step = a.halves_step;
        product.a_rest = a.rest;
        product.k = round_up(k, kHalfDepth);
        product.b_step = product.k * kPanel;
        kernels_.multiply_halves(product);
    };
    for (std::size_t row = 0; row < tokens; row += kernels_.rows) {
        product.m = std::min(kernels_.rows, tokens - row);
        product.b = scratch.halved_keys.data();
        product.b_rest = scratch.keys_rest(sizes_);
        product.columns = padded;
        product.panels_there = padded / kPanel;
        product.c = scratch.scores.data();
        product.c_step = padded;
        multiply(scratch.halved_queries.make(queries + row * step, step, product.m, size), size);
        add_distances(scratch.scores.data(), padded, head, row, product.m, tokens);
        if (layer.window != 0) {
            mask(scratch.scores.data(), padded, row, product.m, 0, tokens, layer.window);
        }
        const Rows weights = scratch.halved_scores.soften(scratch.scores.data(), padded, product.m, tokens);
        product.b = scratch.halved_values.data();
        product.b_rest = scratch.values_rest(sizes_);
        product.columns = size;
        product.panels_there = size / kPanel;
        product.c = out + row * hidden;
        product.c_step = hidden;
        multiply(weights, tokens);
    }
}

void BertEncoder::add_distances(float* scores, std::size_t step, std::size_t head, std::size_t row, std::size_t rows,
                                std::size_t tokens) const {
    if (distances_.empty()) {
        return;
    }
    // Where the distance is 0.
    const float* const middle = distances_.data() + head * (2 * sizes_.positions - 1) + sizes_.positions - 1;
    for (std::size_t i = 0; i < rows; ++i) {
        float* const line = scores + i * step;
        std::transform(line, line + tokens, middle - (row + i), line, std::plus<>());
        std::fill(line + tokens, line + step, line[tokens - 1]);
    }
}

void BertEncoder::pack_keys(const float* keys, std::size_t tokens, float* to) const {
    const std::size_t size = sizes_.hidden / sizes_.heads;
    const std::size_t step = 3 * size;
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
    const std::size_t step = 3 * size;
    for (std::size_t first = 0; first < size; first += kPanel) {
        for (std::size_t token = 0; token < tokens; ++token, to += kPanel) {
            std::copy_n(values + token * step + first, kPanel, to);
        }
    }
}

void BertEncoder::normalize(const Norm& norm, const float* values, std::size_t rows, float* out) const {
    for (std::size_t i = 0; i < rows * sizes_.hidden; i += sizes_.hidden) {
        norm.apply(kernels_, values + i, zeros_.data(), sizes_.epsilon, out + i);
    }
}

void BertEncoder::finish_rows(const Layer& layer, Crew& crew, std::size_t row, std::size_t rows, float* out) const {
    const Scratch& own = crew.own();
    const std::size_t hidden = sizes_.hidden;
    float* const state = out + row * hidden;
    const Rows attended = own.halved_state.make(own.attended.data() + row * hidden, hidden, rows, hidden, row);
    const auto project = [&](float* to, bool add) {
        if (crew.alone()) {
            layer.output.apply(kernels_, attended, rows, {0, hidden}, to, hidden, After::bias, add);
            return;
        }
        const Portions portions(kernels_, hidden);
        crew.share(portions.count(), [&](std::size_t i, std::size_t /*member*/) {
            const Outputs some = portions[i];
            layer.output.apply(kernels_, attended, rows, some, to + some.first, hidden, After::bias, add);
        });
    };
    if (norms_first_) {
        project(state, true);
        float* const normed = own.normed.data() + row * hidden;
        normalize(layer.inner_norm, state, rows, normed);
        apply_inner(layer, crew, normed, row, rows, state, true);
        return;
    }
    float* const narrow = own.narrow.data();
    project(narrow, false);
    for (std::size_t i = 0; i < rows * hidden; i += hidden) {
        layer.attention_norm.apply(kernels_, narrow + i, state + i, sizes_.epsilon, state + i);
    }
    apply_inner(layer, crew, state, row, rows, narrow, false);
    for (std::size_t i = 0; i < rows * hidden; i += hidden) {
        layer.inner_norm.apply(kernels_, narrow + i, state + i, sizes_.epsilon, state + i);
    }
}

// The inner layer of some rows of the state, or what it is added to.
void BertEncoder::apply_inner(const Layer& layer, Crew& crew, const float* state, std::size_t row, std::size_t rows,
                              float* out, bool add) const {
    const Scratch& own = crew.own();
    const std::size_t hidden = sizes_.hidden;
    const Rows inputs = own.halved_state.make(state, hidden, rows, hidden, row);
    if (!crew.alone()) {
        share_inner(layer, crew, inputs, rows, out, add);
        return;
    }
    // A part of the wide layer is used up while it is in the cache.
    for (std::size_t inner = 0; inner < sizes_.inner; inner += kDepth) {
        const std::size_t count = std::min(kDepth, sizes_.inner - inner);
        const bool halves = becomes_halves(count);
        widen(layer, inputs, rows, {inner, count}, own.wide.data(), own.factors.data(),
              halves ? &own.halved_wide : nullptr);
        const Rows made =
            halves ? own.halved_wide.halved() : own.halved_wide.make(own.wide.data(), kDepth, rows, count);
        layer.narrow.block(kernels_, made, rows, inner, {0, hidden}, out, hidden, After::bias, add);
    }
}

// Whether so many outputs of the wide layer go to the next product as halves at once.
bool BertEncoder::becomes_halves(std::size_t count) const {
    return !gate_.has_value() && kernels_.tiled && count % kHalfDepth == 0;
}

// Some outputs of the wide layer, at most kDepth, in `wide`, or `halved`.
void BertEncoder::widen(const Layer& layer, const Rows& inputs, std::size_t rows, const Outputs& some, float* wide,
                        float* factors, const HalvedRows* halved) const {
    if (!gate_.has_value()) {
        layer.wide.apply(kernels_, inputs, rows, some, wide, kDepth, After::bias_gelu, false, halved);
        return;
    }
    layer.wide.apply(kernels_, inputs, rows, some, wide, kDepth, After::bias);
    Outputs behind = some;
    behind.first += sizes_.inner;
    layer.wide.apply(kernels_, inputs, rows, behind, factors, kDepth, After::bias);
    for (std::size_t i = 0; i < rows * kDepth; i += kDepth) {
        kernels_.apply_gate(*gate_, wide + i, factors + i, some.count);
    }
}

// All of the wide layer first: then threads need not wait for each other between its parts.
void BertEncoder::share_inner(const Layer& layer, Crew& crew, const Rows& inputs, std::size_t rows, float* out,
                              bool add) const {
    const std::size_t hidden = sizes_.hidden;
    Shared& shared = crew.shared();
    const std::size_t step = shared.rows * kDepth;  // from block to block
    const auto outputs_of = [&](std::size_t block) { return std::min(kDepth, sizes_.inner - block * kDepth); };
    const Portions wide(kernels_, sizes_.inner);
    crew.share(wide.count(), [&](std::size_t i, std::size_t /*member*/) {
        Outputs some = wide[i];
        const std::size_t block = some.first / kDepth;
        some.column = some.first % kDepth;
        const std::size_t at = block * step + some.column;
        float* const factors = gate_.has_value() ? shared.factors.data() + at : nullptr;
        widen(layer, inputs, rows, some, shared.wide.data() + at, factors,
              becomes_halves(outputs_of(block)) ? &shared.halved[block] : nullptr);
    });
    for (std::size_t block = 0; block < shared.made.size(); ++block) {
        const HalvedRows& halved = shared.halved[block];
        shared.made[block] = becomes_halves(outputs_of(block))
                                 ? halved.halved()
                                 : halved.make(shared.wide.data() + block * step, kDepth, rows, outputs_of(block));
    }
    const Portions narrow(kernels_, hidden);
    crew.share(narrow.count(), [&](std::size_t i, std::size_t /*member*/) {
        const Outputs some = narrow[i];
        for (std::size_t block = 0; block < shared.made.size(); ++block) {
            layer.narrow.block(kernels_, shared.made[block], rows, block * kDepth, some, out + some.first, hidden,
                               After::bias, add);
        }
    });
}

}  // namespace vss::embedding
