// The level that every CPU of the architecture can run: 16-byte vectors, which compilers turn into the baseline's own
// instructions (SSE2 on x86-64), and no fused multiply-add.
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "kernels/kernels_impl.h"

namespace vss {
namespace {

struct Simd {
    using F = F4;
    using I = I4;
    using H [[gnu::vector_size(16)]] = std::int16_t;
    using D [[gnu::vector_size(16)]] = double;
    using FloatsOfD [[gnu::vector_size(8)]] = float;
    static constexpr std::size_t width = 4;
    static constexpr std::size_t int8_width = 8;
    static constexpr std::size_t batch_queries = 4;
    static constexpr std::size_t batch_rows = 2;

    static F load_float16(const std::byte* from) { return load4_float16(from); }
    static F load_bfloat16(const std::byte* from) { return load4_bfloat16(from); }
    static H load_int8(const std::byte* from) {
        using I8x8 [[gnu::vector_size(8)]] = std::int8_t;
        return __builtin_convertvector(load_as<I8x8>(from), H);
    }

    static F fma(F a, F b, F c) { return a * b + c; }
    static F abs(F a) { return reinterpret_cast<F>(reinterpret_cast<I>(a) & 0x7FFFFFFF); }
    static float sum(F a) { return (a[0] + a[2]) + (a[1] + a[3]); }
    static void sum4(F a, F b, F c, F d, float* out) {
        out[0] = sum(a);
        out[1] = sum(b);
        out[2] = sum(c);
        out[3] = sum(d);
    }

    // Adds a[2i] * b[2i] + a[2i + 1] * b[2i + 1] to lane i.
    static I multiply_add(I acc, H a, H b) {
#if defined(__SSE2__)
        return acc + reinterpret_cast<I>(_mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#else
        const auto even = [](H h) { return reinterpret_cast<I>(h) << 16 >> 16; };
        const auto odd = [](H h) { return reinterpret_cast<I>(h) >> 16; };
        return acc + even(a) * even(b) + odd(a) * odd(b);
#endif
    }
    static std::uint32_t sum_integers(I a) {
        using U [[gnu::vector_size(16)]] = std::uint32_t;
        const auto u = reinterpret_cast<U>(a);
        return u[0] + u[1] + u[2] + u[3];
    }

    static std::uint64_t popcount(std::uint64_t bits) {
        bits -= (bits >> 1) & 0x5555555555555555U;
        bits = (bits & 0x3333333333333333U) + ((bits >> 2) & 0x3333333333333333U);
        bits = (bits + (bits >> 4)) & 0x0F0F0F0F0F0F0F0FU;
        return (bits * 0x0101010101010101U) >> 56;
    }
    static std::uint64_t different_bits(const std::byte* /*a*/, const std::byte* /*b*/, std::size_t /*bytes*/,
                                        std::size_t& /*done*/) {
        return 0;
    }
};

constexpr KernelTable table = make_kernel_table<Simd>();

}  // namespace

const KernelTable& kernel_table_scalar() {
    return table;
}

}  // namespace vss
