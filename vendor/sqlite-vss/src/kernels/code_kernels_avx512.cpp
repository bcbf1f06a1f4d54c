// The cells' kernels for AVX512. Empty where the compiler does not target x86-64.
#if defined(VSS_HAVE_AVX512)

#if !defined(__clang__)
// GCC 12's own intrinsics headers set these off.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "kernels/code_kernels_x86.h"

namespace vss {
namespace {

struct Simd : Avx2 {
    using Lanes [[gnu::vector_size(64)]] = float;
    using LanesMask [[gnu::vector_size(64)]] = std::int32_t;
    static constexpr std::size_t panel_rows = 8;

    using Avx2::mask;
    static unsigned mask(LanesMask m) {
        return static_cast<unsigned>(_mm512_movepi32_mask(reinterpret_cast<__m512i>(m)));
    }

    // The two halves of a pair's codes in one register: their sums are added at the end.
    static void sum_pairs(const std::uint8_t* codes, const std::uint8_t* ahead, const std::uint8_t* entries,
                          std::size_t pairs, float* sums) {
        const __m512i nibble = _mm512_set1_epi8(15);
        // As Avx2's.
        __m512i all = _mm512_setzero_si512();
        __m512i odd = _mm512_setzero_si512();
        const auto looked_up = [&](std::size_t p) {
            prefetch(ahead + p * 64);
            const __m512i x = _mm512_loadu_si512(codes + p * 64);
            const __m512i tables = _mm512_loadu_si512(entries + p * 64);
            const __m512i low = _mm512_shuffle_i32x4(tables, tables, 0xA0);   // the first twice, the third twice
            const __m512i high = _mm512_shuffle_i32x4(tables, tables, 0xF5);  // the second, the fourth
            return _mm512_add_epi8(_mm512_shuffle_epi8(low, _mm512_and_si512(x, nibble)),
                                   _mm512_shuffle_epi8(high, _mm512_and_si512(_mm512_srli_epi16(x, 4), nibble)));
        };
        // Two pairs at a time: 4 entries of at most 63 are below 256. (Pairs are even, as `padded` is in whole 64.)
        for (std::size_t p = 0; p < pairs; p += 2) {
            const __m512i four = _mm512_add_epi8(looked_up(p), looked_up(p + 1));
            all = _mm512_add_epi16(all, four);
            odd = _mm512_add_epi16(odd, _mm512_srli_epi16(four, 8));
        }
        const __m256i odds = _mm256_add_epi16(_mm512_castsi512_si256(odd), _mm512_extracti64x4_epi64(odd, 1));
        const __m256i sum = _mm256_add_epi16(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
        store_sums(sum, odds, sums);
    }

    // VNNI adds four products to 32 bits.
    static std::int32_t dot_u8(const std::uint8_t* a, const std::int8_t* q, std::size_t padded) {
        __m512i sum = _mm512_setzero_si512();
        for (std::size_t i = 0; i < padded; i += 64) {
            sum = _mm512_dpbusd_epi32(sum, _mm512_loadu_si512(a + i), _mm512_loadu_si512(q + i));
        }
        return sum_int32(_mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64(sum, 1)));
    }

    static std::int32_t dot_u4(const std::uint8_t* a, const std::int8_t* q, std::size_t padded) {
        const __m256i nibble = _mm256_set1_epi8(15);
        __m256i low = _mm256_setzero_si256();
        __m256i high = _mm256_setzero_si256();
        for (std::size_t i = 0; i < padded; i += 64) {
            const __m256i x = load_bytes(a + i / 2);
            low = _mm256_dpbusd_epi32(low, _mm256_and_si256(x, nibble), load_bytes(q + i));
            high = _mm256_dpbusd_epi32(high, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble), load_bytes(q + i + 32));
        }
        return sum_int32(_mm256_add_epi32(low, high));
    }
};

}  // namespace
}  // namespace vss

#include "kernels/code_kernels_impl.h"

namespace vss {

const CodeKernels& code_kernels_avx512() {
    return table;
}

}  // namespace vss

#endif
