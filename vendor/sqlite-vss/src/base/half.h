// IEEE half precision and bfloat16 as 16-bit patterns, in portable integer arithmetic.
#pragma once

#include <bit>
#include <cstdint>

namespace vss {

[[nodiscard]] constexpr float bfloat16_to_float(std::uint16_t bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

// Round to nearest, ties to even. NaN stays NaN, what is too large becomes infinity.
[[nodiscard]] constexpr std::uint16_t float_to_bfloat16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7FFFFFFFU) > 0x7F800000U) {
        return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
    }
    return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

[[nodiscard]] constexpr float float16_to_float(std::uint16_t half) {
    const std::uint32_t sign = (half & 0x8000U) << 16;
    const std::uint32_t exponent = (half >> 10) & 0x1FU;
    std::uint32_t mantissa = half & 0x3FFU;
    if (exponent == 0x1F) {
        return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
    }
    if (exponent != 0) {
        return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
    }
    if (mantissa == 0) {
        return std::bit_cast<float>(sign);
    }
    // Subnormal half: normal in float32. Move its leading one to the hidden place.
    const int shift = std::countl_zero(mantissa) - 21;
    mantissa = (mantissa << shift) & 0x3FFU;
    return std::bit_cast<float>(sign | static_cast<std::uint32_t>(113 - shift) << 23 | (mantissa << 13));
}

// Round to nearest, ties to even. NaN stays NaN, what is too large becomes infinity.
[[nodiscard]] constexpr std::uint16_t float_to_float16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
    const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
    if (magnitude > 0x7F800000U) {
        return static_cast<std::uint16_t>(sign | 0x7E00U | ((magnitude >> 13) & 0x3FFU));
    }
    if (magnitude >= 0x47800000U) {  // 65536
        return static_cast<std::uint16_t>(sign | 0x7C00U);
    }
    if (magnitude >= 0x38800000U) {  // 2^-14, the smallest normal half; a carry may reach infinity, as it should
        const std::uint32_t rounded = magnitude + 0xFFFU + ((magnitude >> 13) & 1U);
        return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000U) >> 13));
    }
    if (magnitude < 0x33000000U) {  // below 2^-25, half of the smallest subnormal
        return sign;
    }
    const int shift = 126 - static_cast<int>(magnitude >> 23);  // 14 to 24
    const std::uint32_t mantissa = (magnitude & 0x7FFFFFU) | 0x800000U;
    const std::uint32_t kept = mantissa >> shift;
    const std::uint32_t dropped = mantissa & ((std::uint32_t{1} << shift) - 1);
    const std::uint32_t tie = std::uint32_t{1} << (shift - 1);
    const bool up = dropped > tie || (dropped == tie && (kept & 1U) != 0);
    return static_cast<std::uint16_t>(sign | (kept + (up ? 1U : 0U)));
}

}  // namespace vss
