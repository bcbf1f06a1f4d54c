// Element types and metrics: the vocabulary that every layer shares.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace vss {

enum class ElementType : std::uint8_t { float32 = 0, float16 = 1, bfloat16 = 2, int8 = 3, bit = 4 };

// Every metric yields a "distance": smaller is nearer.
//   l2             squared Euclidean distance (as Faiss and sqlite-vss report it)
//   inner_product  minus the inner product
//   cosine         1 - cosine similarity, in [0, 2]
//   l1             sum of absolute differences
//   hamming        number of differing bits (element type bit only)
//   from linf on   as sqlite-vss takes them from Faiss (kernels/rare_metrics.h)
enum class Metric : std::uint8_t {
    l2 = 0,
    inner_product = 1,
    cosine = 2,
    l1 = 3,
    hamming = 4,
    linf = 5,
    canberra = 6,
    bray_curtis = 7,
    jensen_shannon = 8
};

// Largest accepted number of dimensions.
inline constexpr std::size_t max_dimensions = 65536;

// Bytes that one vector of `dim` elements takes. `bit` packs 8 to a byte, least significant bit first.
[[nodiscard]] constexpr std::size_t vector_bytes(ElementType type, std::size_t dim) {
    switch (type) {
        case ElementType::float32: return dim * 4;
        case ElementType::float16:
        case ElementType::bfloat16: return dim * 2;
        case ElementType::int8: return dim;
        case ElementType::bit: return (dim + 7) / 8;
    }
    return 0;
}

[[nodiscard]] std::string_view name_of(ElementType type);  // "float32", ...
[[nodiscard]] std::string_view name_of(Metric metric);     // "L2", "INNER_PRODUCT", "COSINE", "L1", "HAMMING"
// Case-insensitive; the inverse of name_of, also "ip" and "l2sq" style synonyms a user would try.
[[nodiscard]] std::optional<ElementType> parse_element_type(std::string_view text);
[[nodiscard]] std::optional<Metric> parse_metric(std::string_view text);

}  // namespace vss
