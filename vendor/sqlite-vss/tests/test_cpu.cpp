#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <string>

#include "kernels/cpu.h"

using namespace vss;

TEST_CASE("the level in force is one the CPU has") {
    CHECK(cpu_supports(simd_level()));
    CHECK(cpu_supports(SimdLevel::scalar));
#if defined(__x86_64__)
    CHECK_FALSE(cpu_supports(SimdLevel::neon));
    // What the compiler's own detection says of a few features that belong to a level.
    if (cpu_supports(SimdLevel::avx2)) {
        CHECK(__builtin_cpu_supports("avx2"));
        CHECK(__builtin_cpu_supports("fma"));
        CHECK(__builtin_cpu_supports("popcnt"));
        CHECK(__builtin_cpu_supports("bmi2"));
    }
    if (cpu_supports(SimdLevel::avx512)) {
        CHECK(cpu_supports(SimdLevel::avx2));
        CHECK(__builtin_cpu_supports("avx512bw"));
        CHECK(__builtin_cpu_supports("avx512vnni"));
        CHECK(__builtin_cpu_supports("avx512vpopcntdq"));
    }
#endif
}

TEST_CASE("the environment pins the level where the CPU has it") {
    const char* wanted = std::getenv("VSSNATIVE_SIMD");
    constexpr std::array levels{SimdLevel::scalar, SimdLevel::avx2, SimdLevel::avx512, SimdLevel::neon};
    SimdLevel best = SimdLevel::scalar;
    for (const SimdLevel level : levels) {
        best = cpu_supports(level) ? level : best;
    }
    for (const SimdLevel level : levels) {
        if (wanted != nullptr && name_of(level) == wanted && cpu_supports(level)) {
            best = level;
        }
    }
    CHECK(simd_level() == best);
}

TEST_CASE("names are C strings") {
    for (const SimdLevel level : {SimdLevel::scalar, SimdLevel::avx2, SimdLevel::avx512, SimdLevel::neon}) {
        CHECK(std::string(name_of(level).data()) == name_of(level));
    }
}
