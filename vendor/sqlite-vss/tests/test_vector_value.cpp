#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/half.h"
#include "kernels/vector_value.h"

using namespace vss;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
const float nan_value = std::numeric_limits<float>::quiet_NaN();

std::vector<float> parsed(std::string_view text) {
    std::vector<float> out;
    const Status status = parse_json_vector(text, out);
    CAPTURE(text);
    CAPTURE(status.message());
    REQUIRE(status.is_ok());
    return out;
}

std::string refused(std::string_view text) {
    std::vector<float> out{1, 2, 3};
    const Status status = parse_json_vector(text, out);
    CAPTURE(text);
    REQUIRE_FALSE(status.is_ok());
    CHECK(out.empty());
    return status.message();
}

std::string encoding_error(ElementType type, std::vector<float> values) {
    std::vector<std::byte> out(vector_bytes(type, values.size()));
    const Status status = encode_vector(type, values, out.data());
    REQUIRE(status.code() == Code::invalid);
    return status.message();
}

std::vector<float> round_trip(ElementType type, std::vector<float> values) {
    std::vector<std::byte> bytes(vector_bytes(type, values.size()));
    REQUIRE(encode_vector(type, values, bytes.data()).is_ok());
    std::vector<float> back(values.size());
    decode_vector(type, bytes.data(), values.size(), back.data());
    return back;
}

}  // namespace

TEST_CASE("JSON arrays of numbers are read") {
    CHECK(parsed("[]").empty());
    CHECK(parsed(" [\t1 ,\n-2.5e-3,\r4E+1 , -0]  ") == std::vector<float>{1, -0.0025F, 40, 0});
    CHECK(parsed("[0.1]")[0] == 0.1F);
    CHECK(parsed("[3.4028235e38]")[0] == std::numeric_limits<float>::max());
    CHECK(parsed("[1e-45]")[0] == std::numeric_limits<float>::denorm_min());
}

TEST_CASE("numbers too small for float32 are 0, numbers too large are refused") {
    for (const char* text : {"[1e-60]", "[0.00001e-45]", "[1e-400]", "[1e-99999999999999999999]",
                             "[0.0000000000000000000000000000000000000000000000000000000001]"}) {
        CHECK(parsed(text)[0] == 0.0F);
    }
    CHECK(std::signbit(parsed("[-1e-60]")[0]));
    CHECK(parsed("[0e999999999999999999999]")[0] == 0.0F);
    for (const char* text : {"[1e39]", "[1e400]", "[-1e400]", "[0.001e50]", "[1e99999999999999999999]",
                             "[1000000000000000000000000000000000000000]"}) {
        CHECK(refused(text).find("expected a number that float32 can hold at byte 1") != std::string::npos);
    }
}

TEST_CASE("what is no JSON array of numbers is refused, with the place in bytes") {
    CHECK(refused("") == "not a JSON array of numbers: expected \"[\" at byte 0, got the end of the text");
    CHECK(refused("null") == "not a JSON array of numbers: expected \"[\" at byte 0, got \"null\"");
    CHECK(refused("[1,null]") == "not a JSON array of numbers: expected a number at byte 3, got \"null\"");
    CHECK(refused("[1") == "not a JSON array of numbers: expected \",\" or \"]\" at byte 2, got the end of the text");
    CHECK(refused("[1,\"x\"]") == "not a JSON array of numbers: expected a number at byte 3, got \"x\"");
    CHECK(refused("[\"a, b\"]").ends_with("got \"a, b\""));
    CHECK(refused("[\"").ends_with("got \"\""));
    CHECK(refused("[1] x") == "not a JSON array of numbers: expected the end of the text at byte 4, got \"x\"");
    for (const char* text :
         {"[,]",   "[1,]",  "[.5]",    "[1.]", "[+1]",   "[01]", "[-]", "[1e]",    "[1e+]", "[0x1]",   "[inf]", "[NaN]",
          "[1 2]", "[[1]]", "[\"1\"]", "{}",   "[true]", "[1}",  "]",   "[1_000]", "[--1]", "[1.5.2]", "[-01]"}) {
        CHECK(refused(text).starts_with("not a JSON array of numbers: expected "));
    }
    CHECK(refused(std::string_view("[1\0]", 4)).find("byte 2") != std::string::npos);
    CHECK(refused("[\x80\xff\x01]").find("got \"???\"") != std::string::npos);  // printable, whatever came
}

TEST_CASE("more numbers than a vector can have are refused") {
    std::string text = "[0";
    for (std::size_t i = 1; i < max_dimensions; ++i) {
        text += ",0";
    }
    CHECK(parsed(text + "]").size() == max_dimensions);
    std::vector<float> out;
    CHECK(parse_json_vector(text + ",0]", out).code() == Code::too_big);
}

TEST_CASE("text reads back to the same floats") {
    CHECK(format_json_vector({}) == "[]");
    CHECK(format_json_vector(std::vector<float>{1, 2.5F, 0.1F, -3e-7F, 0}) == "[1.0,2.5,0.1,-3e-07,0.0]");
    std::mt19937 random(7);
    std::vector<float> values;
    while (values.size() < 10000) {
        const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
        if (std::isfinite(value)) {
            values.push_back(value);
        }
    }
    const std::vector<float> back = parsed(format_json_vector(values));
    REQUIRE(back.size() == values.size());
    CHECK(std::memcmp(back.data(), values.data(), values.size() * sizeof(float)) == 0);
}

TEST_CASE("every float16 reads back, and rounding is to nearest, ties to even") {
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
        const auto half = static_cast<std::uint16_t>(bits);
        if ((half & 0x7C00U) == 0x7C00U && (half & 0x3FFU) != 0) {
            CHECK(std::isnan(float16_to_float(half)));
        } else {
            REQUIRE(float_to_float16(float16_to_float(half)) == half);
        }
    }
    CHECK(float16_to_float(0x0001) == std::ldexp(1.0F, -24));
    CHECK(float16_to_float(0x03FF) == std::ldexp(1023.0F, -24));
    CHECK(float16_to_float(0x7BFF) == 65504.0F);
    CHECK(float_to_float16(65519.0F) == 0x7BFF);
    CHECK(float_to_float16(65520.0F) == 0x7C00);
    CHECK(float_to_float16(1.0F + std::ldexp(1.0F, -11)) == 0x3C00);                        // tie, to even
    CHECK(float_to_float16(1.0F + 3 * std::ldexp(1.0F, -11)) == 0x3C02);                    // tie, to even
    CHECK(float_to_float16(std::nextafter(1.0F + std::ldexp(1.0F, -11), 2.0F)) == 0x3C01);  // just above the tie
    CHECK(float_to_float16(std::ldexp(1.0F, -25)) == 0x0000);
    CHECK(float_to_float16(std::nextafter(std::ldexp(1.0F, -25), 1.0F)) == 0x0001);
    CHECK(float_to_float16(-0.0F) == 0x8000);
    CHECK(float_to_float16(std::nextafter(std::ldexp(1.0F, -14), 0.0F)) == 0x0400);  // rounds up to normal
    // Half-way points and their neighbours, against arithmetic in double.
    std::mt19937 random(3);
    for (int i = 0; i < 200000; ++i) {
        const float value = std::ldexp(static_cast<float>(random() % (1U << 24)), static_cast<int>(random() % 30) - 40);
        const double magnitude = static_cast<double>(value);
        const int exponent = magnitude < std::ldexp(1.0, -14) ? -24 : std::ilogb(magnitude) - 10;
        const double expected = std::ldexp(std::nearbyint(std::ldexp(magnitude, -exponent)), exponent);
        if (expected < 65536) {
            REQUIRE(static_cast<double>(float16_to_float(float_to_float16(value))) == expected);
        }
    }
}

TEST_CASE("bfloat16 rounds to nearest, ties to even") {
    CHECK(float_to_bfloat16(1.0F) == 0x3F80);
    CHECK(float_to_bfloat16(std::bit_cast<float>(0x3F808000U)) == 0x3F80);
    CHECK(float_to_bfloat16(std::bit_cast<float>(0x3F818000U)) == 0x3F82);
    CHECK(float_to_bfloat16(std::bit_cast<float>(0x3F808001U)) == 0x3F81);
    CHECK(float_to_bfloat16(-2.5F) == 0xC020);
    CHECK(std::isnan(bfloat16_to_float(float_to_bfloat16(std::bit_cast<float>(0x7F800001U)))));
    CHECK(bfloat16_to_float(0x0001) == std::bit_cast<float>(0x00010000U));
}

TEST_CASE("what an element type can hold goes through it unchanged") {
    CHECK(round_trip(ElementType::float32, {1.1F, -0.0F, 1e-45F}) == std::vector<float>{1.1F, -0.0F, 1e-45F});
    CHECK(round_trip(ElementType::float16, {1.5F, -65504.0F, 0}) == std::vector<float>{1.5F, -65504.0F, 0});
    CHECK(round_trip(ElementType::bfloat16, {1.5F, -3e38F, 0})[0] == 1.5F);
    CHECK(round_trip(ElementType::int8, {-128, 127, 0, -1}) == std::vector<float>{-128, 127, 0, -1});
    CHECK(round_trip(ElementType::bit, {1, 0, 0, 1, 1, 1, 0, 0, 1}) == std::vector<float>{1, 0, 0, 1, 1, 1, 0, 0, 1});
}

TEST_CASE("bits are packed from the least significant on, unused ones 0") {
    std::vector<std::byte> out(2, std::byte{0xFF});
    REQUIRE(encode_vector(ElementType::bit, std::vector<float>{1, 0, 0, 0, 0, 0, 0, 0, 0, 1}, out.data()).is_ok());
    CHECK(out[0] == std::byte{0x01});
    CHECK(out[1] == std::byte{0x02});
}

TEST_CASE("what an element type cannot hold is refused, naming the element") {
    CHECK(encoding_error(ElementType::float32, {1, nan_value}) == "element 1: expected a finite number, got nan");
    CHECK(encoding_error(ElementType::float32, {-infinity}) == "element 0: expected a finite number, got -inf");
    CHECK(encoding_error(ElementType::float16, {0, 65520}) ==
          "element 1: expected a number that float16 can hold, got 65520");
    CHECK(encoding_error(ElementType::float16, {nan_value}).starts_with("element 0"));
    CHECK(encoding_error(ElementType::bfloat16, {3.4e38F}).starts_with("element 0"));
    CHECK(encoding_error(ElementType::int8, {0, 128}) ==
          "element 1: expected a whole number from -128 to 127, got 128");
    CHECK(encoding_error(ElementType::int8, {0.5F}).starts_with("element 0"));
    CHECK(encoding_error(ElementType::int8, {nan_value}).starts_with("element 0"));
    CHECK(encoding_error(ElementType::bit, {1, 0, 2}) == "element 2: expected 0 or 1, got 2");
    CHECK(encoding_error(ElementType::bit, {nan_value}).starts_with("element 0"));
    // The largest that still round to a finite number.
    CHECK(round_trip(ElementType::float16, {std::nextafter(65520.0F, 0.0F)})[0] == 65504.0F);
    CHECK(std::isfinite(round_trip(ElementType::bfloat16, {std::nextafter(0x1.FFp+127F, 0.0F)})[0]));
}

TEST_CASE("stored vectors are checked") {
    const auto check = [](ElementType type, Metric metric, std::vector<std::uint8_t> bytes, std::size_t dim) {
        return validate_vector(type, metric, reinterpret_cast<const std::byte*>(bytes.data()), dim, "column \"a\"")
            .message();
    };
    CHECK(check(ElementType::float32, Metric::l2, {0, 0, 0x80, 0x3F, 0, 0, 0x80, 0x7F}, 2) ==
          "column \"a\": element 1: expected a finite number, got inf");
    CHECK(check(ElementType::float16, Metric::l2, {0, 0x3C, 0, 0xFC}, 2) ==
          "column \"a\": element 1: expected a finite number, got -inf");
    CHECK(check(ElementType::bfloat16, Metric::l2, {0xC0, 0x7F}, 1) ==
          "column \"a\": element 0: expected a finite number, got nan");
    CHECK(check(ElementType::bit, Metric::hamming, {0xFF, 0x04}, 10).find("6 unused bits") != std::string::npos);
    CHECK(check(ElementType::bit, Metric::hamming, {0xFF, 0x03}, 10).empty());
    CHECK(check(ElementType::int8, Metric::cosine, {0, 0}, 2).find("all zeros") != std::string::npos);
    CHECK(check(ElementType::int8, Metric::l2, {0, 0}, 2).empty());
    CHECK(check(ElementType::int8, Metric::cosine, {0, 0x80}, 2).empty());
    // -0 is zero too.
    CHECK(check(ElementType::float32, Metric::cosine, {0, 0, 0, 0x80, 0, 0, 0, 0}, 2).find("all zeros") !=
          std::string::npos);
    CHECK(check(ElementType::float16, Metric::cosine, {0, 0x80}, 1).find("all zeros") != std::string::npos);
    CHECK(check(ElementType::float32, Metric::cosine, {1, 0, 0, 0}, 1).empty());
}
