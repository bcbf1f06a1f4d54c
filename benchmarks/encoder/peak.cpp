// What this machine's units can do at most: independent instructions on registers, on one thread for a short while, by
// processor time. Prints one line for each unit that the processor has: its name and GFLOP/s. Built and run by
// levels.py.
#include <cstdio>
#include <ctime>
#if defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define TWELVE(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11)
#define CLOBBERED \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm14", "xmm15"
#define AVX2(n) "vfmadd231ps %%ymm14,%%ymm15,%%ymm" #n "\n"
#define AVX512(n) "vfmadd231ps %%zmm14,%%zmm15,%%zmm" #n "\n"
#define BF16(n) "vdpbf16ps %%zmm14,%%zmm15,%%zmm" #n "\n"

namespace {

template <typename Block>
void report(const char* unit, double flop, Block block) {
    constexpr long kBlocks = 2000000;
    double best = 0.0;
    for (int round = 0; round < 5; ++round) {
        const std::clock_t start = std::clock();
        for (long i = 0; i < kBlocks; ++i) {
            block();
        }
        const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
        best = flop * kBlocks / seconds > best ? flop * kBlocks / seconds : best;
    }
    std::printf("%s %.1f\n", unit, best / 1e9);
}

#if defined(__linux__)
struct alignas(64) TileConfig {
    unsigned char palette = 1;
    unsigned char rest[15] = {};
    unsigned short bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    unsigned char rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// AMX-BF16, and the tiles' registers granted (ARCH_REQ_XCOMP_PERM).
bool has_amx() {
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    constexpr unsigned kTilesAndBf16 = 1U << 24U | 1U << 22U;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kTilesAndBf16) == kTilesAndBf16 &&
           syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}
#endif

}  // namespace

int main() {
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        __asm__ volatile("vxorps %%ymm14,%%ymm14,%%ymm14\nvxorps %%ymm15,%%ymm15,%%ymm15\n" ::: CLOBBERED);
        report("avx2", 12.0 * 16, [] { __asm__ volatile(TWELVE(AVX2)::: CLOBBERED); });
    }
    if (__builtin_cpu_supports("avx512f")) {
        report("avx512", 12.0 * 32, [] { __asm__ volatile(TWELVE(AVX512)::: CLOBBERED); });
    }
    if (__builtin_cpu_supports("avx512bf16")) {
        report("avx512bf16", 12.0 * 64, [] { __asm__ volatile(TWELVE(BF16)::: CLOBBERED); });
    }
#if defined(__linux__)
    if (has_amx()) {
        const TileConfig config;
        __asm__ volatile("ldtilecfg %0" ::"m"(config));
        // Four tiles of sums, as long a chain as the instruction takes.
        report("amx", 4.0 * 16 * 16 * 32 * 2, [] {
            __asm__ volatile(
                "tdpbf16ps %tmm6,%tmm4,%tmm0\ntdpbf16ps %tmm7,%tmm4,%tmm1\n"
                "tdpbf16ps %tmm6,%tmm5,%tmm2\ntdpbf16ps %tmm7,%tmm5,%tmm3\n");
        });
        __asm__ volatile("tilerelease");
    }
#endif
}
