// A row of numbers of any kind, as a host language keeps them, converted to float32. No SQLite in here.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "base/status.h"

namespace vss {

enum class NumberKind : int {
    boolean = 1,
    int8 = 2,
    int16 = 3,
    int32 = 4,
    int64 = 5,
    uint8 = 6,
    uint16 = 7,
    uint32 = 8,
    uint64 = 9,
    float16 = 10,
    bfloat16 = 11,
    float32 = 12,
    float64 = 13
};

// How the elements of a row lie in memory.
struct NumberRow {
    NumberKind kind = NumberKind::float32;
    bool swapped = false;  // in the other byte order than this machine's
    std::size_t dim = 0;
    std::ptrdiff_t step = 0;  // bytes from one element to the next; may be negative
};

// "int64", "float16", ... as numpy names them.
[[nodiscard]] std::optional<NumberKind> parse_number_kind(std::string_view name);

// Floats are rounded to nearest; whole numbers must be ones that float32 holds exactly. Code::invalid names the element
// where a number is not finite, or beyond float32, or not held exactly.
Status convert_row(const NumberRow& layout, const std::byte* row, float* out);

}  // namespace vss
