// A BERT encoder (Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019) that computes the
// tokens of many texts as the rows of one matrix: no padding, so no work but the tokens' own. Also its descendants with
// gated layers (Shazeer, "GLU Variants Improve Transformer", 2020), rotated queries and keys (Su et al., "RoFormer",
// 2021), attention to near tokens only, and normalization before a layer instead of behind it.
//
// Weights are packed once into the order in which products read them; calls only read them, so threads share an
// encoder. A call computes on its own thread, or with some that it starts. Every product takes a block of rows that
// stays in the second-level cache, and queries, keys and values are made for one head at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "encoder_kernels.h"
#include "encoder_memory.h"

namespace vss::embedding {

// Of encoder_parts.h.
struct Norm;
struct Outputs;
struct Rows;
class HalvedRows;

struct BertSizes {
    std::size_t vocabulary = 0;
    std::size_t positions = 0;
    std::size_t hidden = 0;
    std::size_t heads = 0;
    std::size_t inner = 0;
    std::size_t layers = 0;
    std::size_t types = 1;
    float epsilon = 0.0F;

    // Whether the kernels take these sizes: heads and inner layers in whole panels, numbers that a model can have.
    [[nodiscard]] bool fit() const;
};

// A matrix as torch's Linear keeps it, (outputs, inputs), and its bias.
struct LinearWeights {
    const float* weight = nullptr;
    const float* bias = nullptr;
};

struct NormWeights {
    const float* gamma = nullptr;
    const float* beta = nullptr;
};

// Normalizations are behind attention and the inner layer; or before them, where BertWeights::norms_first says so, and
// attention's may then be missing (null). Where layers are gated, `wide` has the gates' outputs first and then as many
// factors.
struct BertLayerWeights {
    LinearWeights query, key, value, output;
    NormWeights attention_norm;
    LinearWeights wide, narrow;
    NormWeights inner_norm;
    std::size_t rotation = 0;  // which of BertWeights::rotations
    std::size_t window = 0;    // how far tokens look to either side; 0: at all
};

// Weights in the caller's memory, of the sizes that BertSizes says.
struct BertWeights {
    const float* words = nullptr;      // (vocabulary, hidden)
    const float* positions = nullptr;  // (positions, hidden), or null
    const float* types = nullptr;      // (types, hidden)
    // Added to each head's scores by the distance from query to key: (heads, 2 positions - 1), from 1 - positions on.
    // Null: nothing is. (MPNet: Song et al., 2020; its biases are Raffel et al.'s of T5, 2020.)
    const float* distances = nullptr;
    // For each kind of rotation and position, cosines and then sines of the angles by which neighbouring halves of a
    // head's queries and keys are rotated: (rotation_kinds, positions, head size). Null: they are not.
    const float* rotations = nullptr;
    std::size_t rotation_kinds = 0;
    std::optional<Gate> gate;  // none: layers are not gated, and GELU is between wide and narrow
    bool norms_first = false;
    NormWeights embedded;
    NormWeights last;  // where norms are first
    std::vector<BertLayerWeights> layers;
};

class BertEncoder {
  public:
    // Copies all weights. Throws std::invalid_argument if the sizes do not fit, std::bad_alloc.
    BertEncoder(const BertSizes& sizes, const BertWeights& weights, const EncoderKernels& kernels);
    ~BertEncoder();
    BertEncoder(const BertEncoder&) = delete;
    BertEncoder& operator=(const BertEncoder&) = delete;

    [[nodiscard]] const BertSizes& sizes() const { return sizes_; }

    // Token vectors of `texts` texts, tokens() rows of `hidden` values in `out`. Text i has the tokens ids[starts[i]]
    // to ids[starts[i + 1]]; starts has texts + 1 values and begins with 0. Checked by the caller: ids are in the
    // vocabulary, starts ascend, no text is longer than the positions. `types` has each token's type, one of the
    // model's, or is null: all are of type 0. Up to `threads` threads compute, this one among them (encoder_team.h);
    // what they compute is the same, to the bit, however many they are. Throws std::bad_alloc.
    void encode(const std::int32_t* ids, const std::int32_t* types, const std::size_t* starts, std::size_t texts,
                float* out, std::size_t threads = 1) const;

  private:
    struct Layer;
    struct Scratch;
    struct Shared;
    class Lent;
    class Crew;

    void embed(const std::int32_t* ids, const std::int32_t* types, const std::size_t* starts, std::size_t texts,
               float* out) const;
    void rotate(const Layer& layer, float* rows, std::size_t tokens) const;
    void attend(const Layer& layer, const Scratch& scratch, std::size_t head, std::size_t tokens, const float* queries,
                float* out) const;
    void attend_halved(const Layer& layer, const Scratch& scratch, std::size_t head, std::size_t tokens,
                       const float* queries, float* out) const;
    void add_distances(float* scores, std::size_t step, std::size_t head, std::size_t row, std::size_t rows,
                       std::size_t tokens) const;
    void pack_keys(const float* keys, std::size_t tokens, float* to) const;
    void pack_values(const float* values, std::size_t tokens, float* to) const;
    void normalize(const Norm& norm, const float* values, std::size_t rows, float* out) const;
    void finish_rows(const Layer& layer, Crew& crew, std::size_t row, std::size_t rows, float* out) const;
    void apply_inner(const Layer& layer, Crew& crew, const float* state, std::size_t row, std::size_t rows, float* out,
                     bool add) const;
    [[nodiscard]] bool becomes_halves(std::size_t count) const;
    void widen(const Layer& layer, const Rows& inputs, std::size_t rows, const Outputs& some, float* wide,
               float* factors, const HalvedRows* halved) const;
    void share_inner(const Layer& layer, Crew& crew, const Rows& inputs, std::size_t rows, float* out, bool add) const;

    BertSizes sizes_;
    const EncoderKernels& kernels_;
    Floats words_;
    Floats positions_;  // those of type 0 added; one row, the type's, where there are no positions
    bool has_positions_;
    Floats types_;  // from type 0 to each
    std::vector<float> distances_;
    std::vector<float> rotations_;
    std::vector<float> zeros_;  // a row
    std::optional<Gate> gate_;
    bool norms_first_;
    std::unique_ptr<Norm> embedded_;
    std::unique_ptr<Norm> last_;
    std::unique_ptr<Arena> arena_;  // the layers' packed weights
    std::vector<Layer> layers_;
    // What ended calls worked in, for the next ones: pages that are at hand need not be cleared.
    mutable std::mutex mutex_;
    mutable std::vector<std::unique_ptr<Scratch>> scratches_;
};

}  // namespace vss::embedding
