// Vectors as SQL values: blobs, JSON arrays, and the element types. No SQLite in here.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"

namespace vss {

// The two bytes that begin a blob of vector_to_blob(): 'v', and 1 for float32.
inline constexpr std::byte vector_blob_header[] = {std::byte{'v'}, std::byte{1}};

// Parses a JSON array of numbers ("[1, 2.5e-3, -4]"); anything else is Code::invalid with the byte offset in words.
Status parse_json_vector(std::string_view text, std::vector<float>& out);
// Shortest text that reads back to the same floats, whole numbers as "1.0". The values are finite.
std::string format_json_vector(std::span<const float> values);

// Element conversions; `out` / `in` hold vector_bytes(type, values.size()) bytes. int8 and bit conversions from
// floats refuse values out of range / not in {0, 1} (Code::invalid, naming the element).
Status encode_vector(ElementType type, std::span<const float> values, std::byte* out);
// Each value times `scale`, rounded to the nearest whole number (ties to even), which must be within -128 and 127.
Status scale_to_int8(std::span<const float> values, double scale, std::vector<float>& out);
void decode_vector(ElementType type, const std::byte* in, std::size_t dim, float* out);

// Whether every element of the stored form is a finite number.
[[nodiscard]] bool is_finite(ElementType type, const std::byte* bytes, std::size_t dim);

// Checks the stored form of a vector for a column: every element finite (float types), not all zero under cosine.
// `what` ("table \"t\", column \"a\"") begins the message.
Status validate_vector(ElementType type, Metric metric, const std::byte* bytes, std::size_t dim, std::string_view what);

}  // namespace vss
