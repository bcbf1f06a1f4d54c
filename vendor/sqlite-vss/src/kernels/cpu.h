// Which instruction set the kernels may use: picked once by CPUID (XGETBV included), or pinned by the
// environment variable VSSNATIVE_SIMD=scalar|avx2|avx512|neon (a level the CPU lacks falls back to the best it has).
#pragma once

#include <string_view>

namespace vss {

// avx2 means AVX2 + FMA + F16C + POPCNT + BMI2; avx512 means F, BW, DQ, VL, VNNI, VBMI and VPOPCNTDQ beside it.
enum class SimdLevel { scalar = 0, avx2 = 1, avx512 = 2, neon = 3 };

[[nodiscard]] SimdLevel simd_level();  // the level in force in this process
[[nodiscard]] bool cpu_supports(SimdLevel level);
[[nodiscard]] std::string_view name_of(SimdLevel level);

}  // namespace vss
