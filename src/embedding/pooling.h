// From the vectors of a text's tokens to the one vector of the text.
//
// Pure functions over caller-owned memory: nothing is kept or locked. Sizes are the caller's to check.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vss::embedding {

// As sentence-transformers names them.
enum class Pooling : std::uint8_t {
    cls,
    max,
    mean,
    mean_sqrt_len_tokens,
    weightedmean,
    lasttoken,
};

inline constexpr int kPoolingModes = 6;

// One text's token vectors: `tokens` rows of `hidden` values; the first `skip` (those of a prompt) are left out by
// every mode but lasttoken. At least one token counts: 1 <= tokens, and skip < tokens, else nothing but zeros results.
struct TokenVectors {
    const float* values = nullptr;
    std::size_t tokens = 0;
    std::size_t skip = 0;
    std::size_t hidden = 0;
};

// Writes `hidden` values to `out`, which must not overlap the input.
void pool(const TokenVectors& text, Pooling mode, float* out);

// The mean of the rows of a table, each of `width` values, that `ids` names; zeros if it names none. Every id is a
// row's.
void mean_of_rows(const float* table, std::size_t width, const std::int32_t* ids, std::size_t count, float* out);

// Scales `values` to unit length in place; a vector shorter than 1e-12 is divided by that instead, as
// torch.nn.functional.normalize does.
void normalize(float* values, std::size_t count);

// Whether no value is NaN or infinite.
[[nodiscard]] bool all_finite(const float* values, std::size_t count);

// What makes a text's vector of its tokens': poolings side by side, cut to a width, and unit length where it is asked
// for.
struct Finish {
    std::vector<Pooling> modes;
    std::size_t skip = 0;  // as TokenVectors
    bool normalize = false;

    // Writes `width` values to `out`, at most as many as the poolings give; `pooled` is room to work in. Returns
    // whether they are finite.
    bool write(const TokenVectors& text, std::vector<float>& pooled, float* out, std::size_t width) const;
};

}  // namespace vss::embedding
