#include "encoder_levels.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#include "vss0.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace vss::embedding {
namespace {

#if defined(__x86_64__) && (defined(VSS_HAVE_AVX512BF16) || defined(VSS_HAVE_AMX))

constexpr std::uint32_t bit(int position) {
    return std::uint32_t{1} << position;
}

struct Leaf {
    std::uint32_t a = 0;
    std::uint32_t b = 0;
    std::uint32_t c = 0;
    std::uint32_t d = 0;
};

Leaf leaf7(std::uint32_t subleaf) {
    Leaf leaf;
    if (__get_cpuid_count(7, subleaf, &leaf.a, &leaf.b, &leaf.c, &leaf.d) == 0) {
        return {};
    }
    return leaf;
}

// AVX512_BF16; AVX-512 itself is known to be there.
bool has_bf16() {
    return leaf7(0).a >= 1 && (leaf7(1).a & bit(5)) != 0;
}

// Linux hands out the tiles' registers, which are large, on request, once for a process.
bool tiles_granted() {
#if defined(__linux__) && defined(SYS_arch_prctl)
    constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr int kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

bool has_amx() {
    constexpr std::uint32_t kTilesAndBf16 = bit(24) | bit(22);
    if ((leaf7(0).d & kTilesAndBf16) != kTilesAndBf16) {
        return false;
    }
    std::uint32_t saved = 0;
    std::uint32_t high = 0;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    constexpr std::uint32_t kTileState = bit(17) | bit(18);
    return (saved & kTileState) == kTileState && tiles_granted();
}

// Intel's cores do half as many sums a cycle by vdpbf16ps as by float32's instructions; AMD's do twice as many.
// Measured on both (docs/embedding.md).
bool float32_is_faster() {
    std::uint32_t highest = 0;
    std::uint32_t b = 0;
    std::uint32_t c = 0;
    std::uint32_t d = 0;
    return __get_cpuid(0, &highest, &b, &c, &d) != 0 && b == signature_INTEL_ebx && c == signature_INTEL_ecx &&
           d == signature_INTEL_edx;
}

#endif

std::string_view pinned_level() {
    const char* const named = std::getenv("VSSNATIVE_SIMD");
    return named == nullptr ? "" : named;
}

#if defined(VSS_HAVE_NEONBF16)

// The system says what it lets a process use.
bool has_neon_bf16() {
#if defined(__linux__)
    constexpr unsigned long kBf16 = 1UL << 14U;  // HWCAP2_BF16
    return (getauxval(AT_HWCAP2) & kBf16) != 0;
#else
    return false;
#endif
}

#endif

// The levels, in order.
std::vector<std::string> find_levels() {
    std::vector<std::string> levels{"scalar"};
    const std::string_view vss0 = vss0_simd_level();
    const std::string_view pinned = pinned_level();
    if (vss0 == "avx2" || vss0 == "avx512") {
#if defined(VSS_HAVE_AVX2)
        levels.emplace_back("avx2");
#endif
    }
#if defined(VSS_HAVE_NEON)
    if (vss0 == "neon") {
        levels.emplace_back("neon");
#if defined(VSS_HAVE_NEONBF16)
        if (pinned != "neon" && has_neon_bf16()) {
            levels.emplace_back("neonbf16");
        }
#endif
    }
#endif
    if (vss0 != "avx512") {
        return levels;
    }
#if defined(VSS_HAVE_AVX512)
    levels.emplace_back("avx512");
#endif
    if (pinned == "avx512") {
        return levels;
    }
#if defined(VSS_HAVE_AVX512BF16)
    if (has_bf16()) {
        levels.emplace_back("avx512bf16");
#if defined(VSS_HAVE_AMX)
        if (pinned != "avx512bf16" && has_amx()) {
            levels.emplace_back("amx");
        }
#endif
    }
#endif
    return levels;
}

// Models of the instructions beside the other kernels of AVX-512.
constexpr std::string_view kPairsBeside = "avx512 pairs model";
constexpr std::string_view kTilesBeside = "avx512 tiles model";

const EncoderKernels* find_kernels(std::string_view level, Precision precision) {
    const bool halves = precision == Precision::bfloat16;
    if (level == "pairs model") {
        return halves ? &kEncoderKernelsPairsModel : &kEncoderKernelsScalar;
    }
    if (level == "tiles model") {
        return halves ? &kEncoderKernelsTilesModel : &kEncoderKernelsTilesModelSplit;
    }
    const std::vector<std::string> levels = encoder_levels();
#if defined(VSS_HAVE_AVX512BF16)
    if (level == kPairsBeside && std::find(levels.begin(), levels.end(), "avx512bf16") != levels.end()) {
        return halves ? &kEncoderKernelsAvx512PairsModel : &kEncoderKernelsAvx512;
    }
    if (level == kTilesBeside && std::find(levels.begin(), levels.end(), "avx512bf16") != levels.end()) {
        return halves ? &kEncoderKernelsAvx512TilesModel : &kEncoderKernelsAvx512TilesModelSplit;
    }
#endif
    if (std::find(levels.begin(), levels.end(), level) == levels.end()) {
        return nullptr;
    }
#if defined(VSS_HAVE_AMX)
    if (level == "amx") {
        return halves ? &kEncoderKernelsAmx : &kEncoderKernelsAmxSplit;
    }
#endif
#if defined(VSS_HAVE_AVX512BF16)
    if (level == "avx512bf16" && halves) {
        return &kEncoderKernelsAvx512Bf16;
    }
#endif
#if defined(VSS_HAVE_AVX512)
    if (level == "avx512" || level == "avx512bf16") {
        return &kEncoderKernelsAvx512;
    }
#endif
#if defined(VSS_HAVE_AVX2)
    if (level == "avx2") {
        return &kEncoderKernelsAvx2;
    }
#endif
#if defined(VSS_HAVE_NEONBF16)
    if (level == "neonbf16" && halves) {
        return &kEncoderKernelsNeonBf16;
    }
#endif
#if defined(VSS_HAVE_NEON)
    if (level == "neon" || level == "neonbf16") {
        return &kEncoderKernelsNeon;
    }
#endif
    return &kEncoderKernelsScalar;
}

}  // namespace

std::vector<std::string> encoder_levels() {
    static const std::vector<std::string> levels = find_levels();
    return levels;
}

std::string fastest_level([[maybe_unused]] Precision precision) {
    std::string best = encoder_levels().back();
#if defined(VSS_HAVE_AVX512BF16)
    if (precision == Precision::bfloat16 && best == "avx512bf16" && pinned_level() != best && float32_is_faster()) {
        return "avx512";
    }
#endif
    return best;
}

std::vector<std::string> encoder_models() {
    std::vector<std::string> models{"pairs model", "tiles model"};
    const std::vector<std::string> levels = encoder_levels();
    if (std::find(levels.begin(), levels.end(), "avx512bf16") != levels.end()) {
        models.emplace_back(kPairsBeside);
        models.emplace_back(kTilesBeside);
    }
    return models;
}

const EncoderKernels& encoder_kernels(std::string_view level, Precision precision) {
    const EncoderKernels* const found = find_kernels(level, precision);
    if (found == nullptr) {
        throw std::invalid_argument("no kernels for level " + std::string(level) + " here");
    }
    return *found;
}

}  // namespace vss::embedding
