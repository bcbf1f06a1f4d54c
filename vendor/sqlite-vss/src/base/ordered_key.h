// A float and a number in one integer that orders as (float, number) does: to select and sort by it is to compare one
// register.
#pragma once

#include <bit>
#include <cstdint>

namespace vss {

// `value` is not NaN.
[[nodiscard]] inline std::uint64_t ordered_key(float value, std::uint32_t number) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t ordered = bits ^ ((bits >> 31U) != 0 ? 0xFFFFFFFFU : 0x80000000U);
    return std::uint64_t{ordered} << 32U | number;
}

[[nodiscard]] inline float key_value(std::uint64_t key) {
    const auto ordered = static_cast<std::uint32_t>(key >> 32U);
    return std::bit_cast<float>(ordered ^ ((ordered >> 31U) != 0 ? 0x80000000U : 0xFFFFFFFFU));
}

[[nodiscard]] inline std::uint32_t key_number(std::uint64_t key) {
    return static_cast<std::uint32_t>(key);
}

}  // namespace vss
