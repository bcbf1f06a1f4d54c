#include "kernels/cpu.h"

#include <cstdint>
#include <cstdlib>
#include <optional>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace vss {
namespace {

struct Cpu {
    bool avx2 = false;
    bool avx512 = false;
    bool neon = false;
};

#if defined(__x86_64__)

constexpr bool has(std::uint32_t word, std::uint32_t bits) {
    return (word & bits) == bits;
}
constexpr std::uint32_t bit(int position) {
    return std::uint32_t{1} << position;
}

// Which register files the operating system saves (XCR0). Written in assembly because the intrinsic needs -mxsave.
std::uint32_t saved_registers() {
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

Cpu detect() {
    Cpu cpu;
    std::uint32_t a = 0;
    std::uint32_t b = 0;
    std::uint32_t c = 0;
    std::uint32_t d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0) {
        return cpu;
    }
    // FMA, SSE4.2, POPCNT, OSXSAVE, AVX, F16C
    if (!has(c, bit(12) | bit(20) | bit(23) | bit(27) | bit(28) | bit(29))) {
        return cpu;
    }
    const std::uint32_t saved = saved_registers();
    if (!has(saved, bit(1) | bit(2)) || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) {
        return cpu;
    }
    // LZCNT is told by an extended leaf.
    std::uint32_t extended = 0;
    std::uint32_t unused = 0;
    std::uint32_t unused_too = 0;
    std::uint32_t unused_as_well = 0;
    const bool lzcnt =
        __get_cpuid(0x80000001, &unused, &unused_too, &extended, &unused_as_well) != 0 && has(extended, bit(5));
    cpu.avx2 = has(b, bit(3) | bit(5) | bit(8)) && lzcnt;  // BMI1, AVX2, BMI2
    // F, DQ, CD, BW, VL; VBMI, VNNI, VPOPCNTDQ; mask and upper registers saved
    cpu.avx512 = cpu.avx2 && has(b, bit(16) | bit(17) | bit(28) | bit(30) | bit(31)) &&
                 has(c, bit(1) | bit(11) | bit(14)) && has(saved, bit(5) | bit(6) | bit(7));
    return cpu;
}

#elif defined(__aarch64__)

Cpu detect() {
    return {.neon = true};
}  // part of the base architecture

#else

Cpu detect() {
    return {};
}

#endif

const Cpu& cpu() {
    static const Cpu detected = detect();
    return detected;
}

// Compiled in, and the CPU has it.
bool is_available(SimdLevel level) {
    switch (level) {
        case SimdLevel::scalar: return true;
        case SimdLevel::avx2:
#if defined(VSS_HAVE_AVX2)
            return cpu().avx2;
#else
            return false;
#endif
        case SimdLevel::avx512:
#if defined(VSS_HAVE_AVX512)
            return cpu().avx512;
#else
            return false;
#endif
        case SimdLevel::neon:
#if defined(VSS_HAVE_NEON)
            return cpu().neon;
#else
            return false;
#endif
    }
    return false;
}

constexpr SimdLevel levels_best_first[] = {SimdLevel::avx512, SimdLevel::avx2, SimdLevel::neon, SimdLevel::scalar};

SimdLevel pick() {
    if (const char* wanted = std::getenv("VSSNATIVE_SIMD"); wanted != nullptr) {
        for (const SimdLevel level : levels_best_first) {
            if (name_of(level) == wanted && is_available(level)) {
                return level;
            }
        }
    }
    for (const SimdLevel level : levels_best_first) {
        if (is_available(level)) {
            return level;
        }
    }
    return SimdLevel::scalar;
}

}  // namespace

SimdLevel simd_level() {
    static const SimdLevel level = pick();
    return level;
}

bool cpu_supports(SimdLevel level) {
    return is_available(level);
}

std::string_view name_of(SimdLevel level) {
    switch (level) {
        case SimdLevel::scalar: return "scalar";
        case SimdLevel::avx2: return "avx2";
        case SimdLevel::avx512: return "avx512";
        case SimdLevel::neon: return "neon";
    }
    return "?";
}

}  // namespace vss
