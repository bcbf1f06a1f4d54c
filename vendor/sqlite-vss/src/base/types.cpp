#include "base/types.h"

#include <array>
#include <utility>

#include "base/text.h"

namespace vss {
namespace {

constexpr std::array<std::pair<std::string_view, ElementType>, 12> element_type_names{{
    {"float32", ElementType::float32},
    {"float", ElementType::float32},
    {"f32", ElementType::float32},
    {"float16", ElementType::float16},
    {"half", ElementType::float16},
    {"f16", ElementType::float16},
    {"bfloat16", ElementType::bfloat16},
    {"bf16", ElementType::bfloat16},
    {"int8", ElementType::int8},
    {"i8", ElementType::int8},
    {"bit", ElementType::bit},
    {"binary", ElementType::bit},
}};

constexpr std::array<std::pair<std::string_view, Metric>, 14> metric_names{{
    {"l2", Metric::l2},
    {"l2sq", Metric::l2},
    {"euclidean", Metric::l2},
    {"inner_product", Metric::inner_product},
    {"ip", Metric::inner_product},
    {"dot", Metric::inner_product},
    {"cosine", Metric::cosine},
    {"cos", Metric::cosine},
    {"l1", Metric::l1},
    {"hamming", Metric::hamming},
    {"linf", Metric::linf},
    {"canberra", Metric::canberra},
    {"braycurtis", Metric::bray_curtis},
    {"jensenshannon", Metric::jensen_shannon},
}};

template <class Names>
auto find(const Names& names, std::string_view text) -> std::optional<decltype(names[0].second)> {
    for (const auto& [name, value] : names) {
        if (equal_ignoring_case(text, name)) {
            return value;
        }
    }
    return std::nullopt;
}

}  // namespace

std::string_view name_of(ElementType type) {
    switch (type) {
        case ElementType::float32: return "float32";
        case ElementType::float16: return "float16";
        case ElementType::bfloat16: return "bfloat16";
        case ElementType::int8: return "int8";
        case ElementType::bit: return "bit";
    }
    return "?";
}

std::string_view name_of(Metric metric) {
    switch (metric) {
        case Metric::l2: return "L2";
        case Metric::inner_product: return "INNER_PRODUCT";
        case Metric::cosine: return "COSINE";
        case Metric::l1: return "L1";
        case Metric::hamming: return "HAMMING";
        case Metric::linf: return "LINF";
        case Metric::canberra: return "CANBERRA";
        case Metric::bray_curtis: return "BRAYCURTIS";
        case Metric::jensen_shannon: return "JENSENSHANNON";
    }
    return "?";
}

std::optional<ElementType> parse_element_type(std::string_view text) {
    return find(element_type_names, text);
}

std::optional<Metric> parse_metric(std::string_view text) {
    return find(metric_names, text);
}

}  // namespace vss
