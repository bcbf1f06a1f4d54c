// AVX-512 (F, BW, DQ, VL, VNNI, VPOPCNTDQ). Empty where the compiler does not target x86-64.
#if defined(VSS_HAVE_AVX512)

#if !defined(__clang__)
// GCC 12's own intrinsics headers set these off.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include "kernels/kernels_impl.h"

namespace vss {
namespace {

struct Simd {
    using F [[gnu::vector_size(64)]] = float;
    using I [[gnu::vector_size(64)]] = std::int32_t;
    using H [[gnu::vector_size(64)]] = std::int16_t;
    using D [[gnu::vector_size(64)]] = double;
    using FloatsOfD [[gnu::vector_size(32)]] = float;
    static constexpr std::size_t width = 16;
    static constexpr std::size_t int8_width = 32;
    // 24 sums, 4 rows and a query, of 32 registers.
    static constexpr std::size_t batch_queries = 6;
    static constexpr std::size_t batch_rows = 4;

    static F load_float16(const std::byte* from) { return _mm512_cvtph_ps(load_as<__m256i>(from)); }
    static F load_bfloat16(const std::byte* from) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_as<__m256i>(from)), 16));
    }
    static H load_int8(const std::byte* from) {
        return reinterpret_cast<H>(_mm512_cvtepi8_epi16(load_as<__m256i>(from)));
    }

    static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
    static F abs(F a) { return reinterpret_cast<F>(reinterpret_cast<I>(a) & 0x7FFFFFFF); }
    static __m256 half(F a) { return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)); }
    static __m128 quarter(__m256 a) { return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)); }
    static float sum(F a) {
        const __m128 four = quarter(half(a));
        const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    }
    static void sum4(F a, F b, F c, F d, float* out) {
        _mm_storeu_ps(out, quarter(_mm256_hadd_ps(_mm256_hadd_ps(half(a), half(b)), _mm256_hadd_ps(half(c), half(d)))));
    }

    // Adds a[2i] * b[2i] + a[2i + 1] * b[2i + 1] to lane i.
    static I multiply_add(I acc, H a, H b) {
        return reinterpret_cast<I>(_mm512_dpwssd_epi32(reinterpret_cast<__m512i>(acc), reinterpret_cast<__m512i>(a),
                                                       reinterpret_cast<__m512i>(b)));
    }
    // Modulo 2^32, which _mm512_reduce_add_epi32, a sum of ints to GCC, does not promise.
    static std::uint32_t sum_integers(I a) {
        const auto all = reinterpret_cast<__m512i>(a);
        const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
        __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
        sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
        sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1));
        return static_cast<std::uint32_t>(_mm_cvtsi128_si32(sum));
    }

    static std::uint64_t popcount(std::uint64_t bits) { return static_cast<std::uint64_t>(_mm_popcnt_u64(bits)); }
    static std::uint64_t different_bits(const std::byte* a, const std::byte* b, std::size_t bytes, std::size_t& done) {
        __m512i counts = _mm512_setzero_si512();
        for (; done + 64 <= bytes; done += 64) {
            const __m512i different = _mm512_xor_si512(load_as<__m512i>(a + done), load_as<__m512i>(b + done));
            counts = _mm512_add_epi64(counts, _mm512_popcnt_epi64(different));
        }
        return done == 0 ? 0 : static_cast<std::uint64_t>(_mm512_reduce_add_epi64(counts));
    }
};

constexpr KernelTable table = make_kernel_table<Simd>();

}  // namespace

const KernelTable& kernel_table_avx512() {
    return table;
}

}  // namespace vss

#endif
