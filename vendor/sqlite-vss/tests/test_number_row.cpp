#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/number_row.h"

using namespace vss;

namespace {

template <class Number>
std::string converted(NumberKind kind, std::vector<Number> numbers, std::vector<float>& out) {
    out.assign(numbers.size(), -7.0F);
    const NumberRow layout{kind, false, numbers.size(), sizeof(Number)};
    const Status status = convert_row(layout, reinterpret_cast<const std::byte*>(numbers.data()), out.data());
    return status.is_ok() ? "" : status.message();
}

template <class Number>
std::string refused(NumberKind kind, Number number) {
    std::vector<float> out;
    return converted<Number>(kind, {0, number}, out);
}

}  // namespace

TEST_CASE("whole numbers are taken where float32 holds them") {
    std::vector<float> out;
    CHECK(converted<std::int64_t>(NumberKind::int64, {0, -1, 1 << 24, std::int64_t{1} << 62}, out).empty());
    CHECK(out == std::vector<float>{0, -1, 16777216.0F, 4611686018427387904.0F});
    CHECK(converted<std::int64_t>(NumberKind::int64, {std::numeric_limits<std::int64_t>::min()}, out).empty());
    CHECK(out[0] == -9223372036854775808.0F);
    CHECK(converted<std::uint64_t>(NumberKind::uint64, {std::uint64_t{1} << 63}, out).empty());
    CHECK(converted<std::int8_t>(NumberKind::int8, {-128, 127}, out).empty());
    CHECK(out == std::vector<float>{-128, 127});
    CHECK(refused<std::int64_t>(NumberKind::int64, (1 << 24) + 1).find("element 1: ") == 0);
    CHECK(refused<std::int64_t>(NumberKind::int64, std::numeric_limits<std::int64_t>::max())
              .find("9223372036854775807") != std::string::npos);
    CHECK(refused<std::uint64_t>(NumberKind::uint64, std::numeric_limits<std::uint64_t>::max())
              .find("18446744073709551615") != std::string::npos);
    CHECK(refused<std::uint32_t>(NumberKind::uint32, std::numeric_limits<std::uint32_t>::max()).find("4294967295") !=
          std::string::npos);
    CHECK(refused<std::int32_t>(NumberKind::int32, std::numeric_limits<std::int32_t>::max()).find("2147483647") !=
          std::string::npos);
}

TEST_CASE("floats are rounded, and must stay finite") {
    std::vector<float> out;
    CHECK(converted<double>(NumberKind::float64, {0.1, 1e-50, -3.4e38}, out).empty());
    CHECK(out == std::vector<float>{0.1F, 0.0F, -3.4e38F});
    CHECK(refused<double>(NumberKind::float64, 1e39) ==
          "element 1: expected a number that float32 can hold, got 1e+39");
    CHECK(refused<double>(NumberKind::float64, std::numeric_limits<double>::quiet_NaN()) ==
          "element 1: expected a finite number, got nan");
    CHECK(refused<float>(NumberKind::float32, std::numeric_limits<float>::infinity()) ==
          "element 1: expected a finite number, got inf");
    CHECK(converted<std::uint16_t>(NumberKind::float16, {0x3C00, 0xC000}, out).empty());
    CHECK(out == std::vector<float>{1, -2});
    CHECK(converted<std::uint16_t>(NumberKind::bfloat16, {0x3F80, 0xC000}, out).empty());
    CHECK(out == std::vector<float>{1, -2});
}

TEST_CASE("any step and byte order") {
    const std::array<std::int32_t, 6> numbers = {1, 100, 2, 200, 3, 300};
    std::array<float, 3> out{};
    const auto* bytes = reinterpret_cast<const std::byte*>(numbers.data());
    CHECK(convert_row({NumberKind::int32, false, 3, 8}, bytes, out.data()).is_ok());
    CHECK(out == std::array<float, 3>{1, 2, 3});
    CHECK(convert_row({NumberKind::int32, false, 3, -8}, bytes + 20, out.data()).is_ok());
    CHECK(out == std::array<float, 3>{300, 200, 100});
    std::array<std::byte, 12> swapped{};
    for (std::size_t i = 0; i < 3; ++i) {
        std::reverse_copy(bytes + 8 * i, bytes + 8 * i + 4, swapped.data() + 4 * i);
    }
    CHECK(convert_row({NumberKind::int32, true, 3, 4}, swapped.data(), out.data()).is_ok());
    CHECK(out == std::array<float, 3>{1, 2, 3});
    // At no multiple of its size.
    std::array<std::byte, 13> moved{};
    std::copy(swapped.begin(), swapped.end(), moved.begin() + 1);
    CHECK(convert_row({NumberKind::int32, true, 3, 4}, moved.data() + 1, out.data()).is_ok());
    CHECK(out == std::array<float, 3>{1, 2, 3});
}

TEST_CASE("kinds have numpy's names") {
    CHECK(parse_number_kind("float64") == NumberKind::float64);
    CHECK(parse_number_kind("bool") == NumberKind::boolean);
    CHECK_FALSE(parse_number_kind("complex64"));
    CHECK_FALSE(parse_number_kind(""));
}
