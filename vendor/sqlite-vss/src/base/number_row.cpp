#include "base/number_row.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include "base/half.h"
#include "base/text.h"

namespace vss {
namespace {

constexpr std::array<std::pair<std::string_view, NumberKind>, 13> kind_names{{
    {"bool", NumberKind::boolean},
    {"int8", NumberKind::int8},
    {"int16", NumberKind::int16},
    {"int32", NumberKind::int32},
    {"int64", NumberKind::int64},
    {"uint8", NumberKind::uint8},
    {"uint16", NumberKind::uint16},
    {"uint32", NumberKind::uint32},
    {"uint64", NumberKind::uint64},
    {"float16", NumberKind::float16},
    {"bfloat16", NumberKind::bfloat16},
    {"float32", NumberKind::float32},
    {"float64", NumberKind::float64},
}};

template <class Number>
Status refuse(std::size_t i, Number value, std::string_view expected) {
    return Status::invalid(cat("element ", i, ": expected ", expected, ", got ", value));
}

template <class Bits>
Bits bits_at(const std::byte* at, bool swapped) {
    std::array<std::byte, sizeof(Bits)> bytes{};
    std::copy_n(at, sizeof(Bits), bytes.begin());
    if (swapped) {
        std::reverse(bytes.begin(), bytes.end());
    }
    return std::bit_cast<Bits>(bytes);
}

// Whole numbers up to 2^24 are all held; of larger ones those with enough zeros at the end.
template <class Integer>
bool is_held(Integer value, float as_float) {
    if constexpr (sizeof(Integer) <= 2) {
        return true;
    } else {
        constexpr float limit = std::is_signed_v<Integer>
                                    ? -static_cast<float>(std::numeric_limits<Integer>::min())
                                    : 2 * static_cast<float>(Integer{1} << (sizeof(Integer) * 8 - 1));
        return as_float < limit && static_cast<Integer>(as_float) == value;
    }
}

template <class Integer>
Status convert_integers(const NumberRow& layout, const std::byte* row, float* out) {
    for (std::size_t i = 0; i < layout.dim; ++i) {
        const auto value = bits_at<Integer>(row + static_cast<std::ptrdiff_t>(i) * layout.step, layout.swapped);
        out[i] = static_cast<float>(value);
        if (!is_held(value, out[i])) {
            return refuse(i, value, "a whole number that float32 holds exactly");
        }
    }
    return Status::ok();
}

template <class Bits, class Convert>
Status convert_floats(const NumberRow& layout, const std::byte* row, float* out, Convert convert) {
    for (std::size_t i = 0; i < layout.dim; ++i) {
        const auto value = convert(bits_at<Bits>(row + static_cast<std::ptrdiff_t>(i) * layout.step, layout.swapped));
        out[i] = static_cast<float>(value);
        if (!std::isfinite(out[i])) {
            return refuse(i, value, std::isfinite(value) ? "a number that float32 can hold" : "a finite number");
        }
    }
    return Status::ok();
}

}  // namespace

std::optional<NumberKind> parse_number_kind(std::string_view name) {
    const auto* const at =
        std::find_if(kind_names.begin(), kind_names.end(), [&](const auto& entry) { return entry.first == name; });
    return at == kind_names.end() ? std::nullopt : std::optional(at->second);
}

Status convert_row(const NumberRow& layout, const std::byte* row, float* out) {
    switch (layout.kind) {
        case NumberKind::boolean:
        case NumberKind::uint8: return convert_integers<std::uint8_t>(layout, row, out);
        case NumberKind::int8: return convert_integers<std::int8_t>(layout, row, out);
        case NumberKind::int16: return convert_integers<std::int16_t>(layout, row, out);
        case NumberKind::int32: return convert_integers<std::int32_t>(layout, row, out);
        case NumberKind::int64: return convert_integers<std::int64_t>(layout, row, out);
        case NumberKind::uint16: return convert_integers<std::uint16_t>(layout, row, out);
        case NumberKind::uint32: return convert_integers<std::uint32_t>(layout, row, out);
        case NumberKind::uint64: return convert_integers<std::uint64_t>(layout, row, out);
        case NumberKind::float16: return convert_floats<std::uint16_t>(layout, row, out, float16_to_float);
        case NumberKind::bfloat16: return convert_floats<std::uint16_t>(layout, row, out, bfloat16_to_float);
        case NumberKind::float32:
            return convert_floats<std::uint32_t>(layout, row, out,
                                                 [](std::uint32_t bits) { return std::bit_cast<float>(bits); });
        case NumberKind::float64:
            return convert_floats<std::uint64_t>(layout, row, out,
                                                 [](std::uint64_t bits) { return std::bit_cast<double>(bits); });
    }
    return {Code::internal, "unknown kind of number"};
}

}  // namespace vss
