// AVX2 with FMA, F16C and POPCNT. Empty where the compiler does not target x86-64.
#if defined(VSS_HAVE_AVX2)

#include <immintrin.h>

#include "kernels/kernels_impl.h"

namespace vss {
namespace {

struct Simd {
    using F [[gnu::vector_size(32)]] = float;
    using I [[gnu::vector_size(32)]] = std::int32_t;
    using H [[gnu::vector_size(32)]] = std::int16_t;
    using D [[gnu::vector_size(32)]] = double;
    using FloatsOfD = F4;
    static constexpr std::size_t width = 8;
    static constexpr std::size_t int8_width = 16;
    // 12 sums, 3 rows and a query fill the 16 registers.
    static constexpr std::size_t batch_queries = 4;
    static constexpr std::size_t batch_rows = 3;

    static F load_float16(const std::byte* from) { return _mm256_cvtph_ps(load_as<__m128i>(from)); }
    static F load_bfloat16(const std::byte* from) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_as<__m128i>(from)), 16));
    }
    static H load_int8(const std::byte* from) {
        return reinterpret_cast<H>(_mm256_cvtepi8_epi16(load_as<__m128i>(from)));
    }

    static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
    static F abs(F a) { return reinterpret_cast<F>(reinterpret_cast<I>(a) & 0x7FFFFFFF); }
    static __m128 fold(F a) { return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)); }
    static float sum(F a) {
        const __m128 four = fold(a);
        const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    }
    static void sum4(F a, F b, F c, F d, float* out) {
        _mm_storeu_ps(out, fold(_mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d))));
    }

    // Adds a[2i] * b[2i] + a[2i + 1] * b[2i + 1] to lane i.
    static I multiply_add(I acc, H a, H b) {
        return acc + reinterpret_cast<I>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
    }
    static std::uint32_t sum_integers(I a) {
        const auto v = reinterpret_cast<__m256i>(a);
        const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
        return static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1))));
    }

    static std::uint64_t popcount(std::uint64_t bits) { return static_cast<std::uint64_t>(_mm_popcnt_u64(bits)); }
    static std::uint64_t different_bits(const std::byte* /*a*/, const std::byte* /*b*/, std::size_t /*bytes*/,
                                        std::size_t& /*done*/) {
        return 0;
    }
};

constexpr KernelTable table = make_kernel_table<Simd>();

}  // namespace

const KernelTable& kernel_table_avx2() {
    return table;
}

}  // namespace vss

#endif
