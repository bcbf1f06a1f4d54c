// Operations on bytes with AVX2, for its level and for those above it.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "base/prefetch.h"
#include "kernels/code_kernels.h"

namespace vss {
namespace {

inline __m256i load_bytes(const void* from) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}
inline __m256i load_table(const std::uint8_t* from) {
    return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(from)));
}
inline std::int32_t sum_int32(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1));
    return _mm_cvtsi128_si32(s);
}

struct Avx2 {
    using Mask [[gnu::vector_size(32)]] = std::int32_t;
    // What matrix products are summed in, and how many rows at a time.
    using Lanes [[gnu::vector_size(32)]] = float;
    static constexpr std::size_t panel_rows = 6;

    static unsigned mask(Mask m) { return static_cast<unsigned>(_mm256_movemask_ps(reinterpret_cast<__m256>(m))); }

    // 16 numbers below 256, as bytes.
    static void store_bytes(std::uint8_t* to, Mask a, Mask b) {
        const auto x = reinterpret_cast<__m256i>(a);
        const auto y = reinterpret_cast<__m256i>(b);
        const __m128i low = _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
        const __m128i high = _mm_packus_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(low, high));
    }

    static void sum_pairs(const std::uint8_t* codes, const std::uint8_t* ahead, const std::uint8_t* entries,
                          std::size_t pairs, float* sums) {
        const __m256i nibble = _mm256_set1_epi8(15);
        // `all` sums 16-bit lanes whole, `odd` their upper bytes; the lower bytes follow by subtraction.
        __m256i all = _mm256_setzero_si256();
        __m256i odd = _mm256_setzero_si256();
        for (std::size_t p = 0; p < pairs; ++p) {
            prefetch(ahead + p * 64);
            const __m256i x = load_bytes(codes + p * 64);
            const __m256i y = load_bytes(codes + p * 64 + 32);
            const std::uint8_t* at = entries + p * 64;
            const __m256i a = _mm256_shuffle_epi8(load_table(at), _mm256_and_si256(x, nibble));
            const __m256i b =
                _mm256_shuffle_epi8(load_table(at + 16), _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));
            const __m256i c = _mm256_shuffle_epi8(load_table(at + 32), _mm256_and_si256(y, nibble));
            const __m256i d =
                _mm256_shuffle_epi8(load_table(at + 48), _mm256_and_si256(_mm256_srli_epi16(y, 4), nibble));
            const __m256i four = _mm256_add_epi8(_mm256_add_epi8(a, b), _mm256_add_epi8(c, d));
            all = _mm256_add_epi16(all, four);
            odd = _mm256_add_epi16(odd, _mm256_srli_epi16(four, 8));
        }
        store_sums(all, odd, sums);
    }

    // `all` has the sums of 16-bit lanes, `odd` those of their upper bytes.
    static void store_sums(__m256i all, __m256i odd, float* sums) {
        const __m256i even = _mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8));
        const __m256i low = _mm256_unpacklo_epi16(even, odd);   // rows 0 to 7, 16 to 23
        const __m256i high = _mm256_unpackhi_epi16(even, odd);  // rows 8 to 15, 24 to 31
        store(sums, _mm256_castsi256_si128(low));
        store(sums + 8, _mm256_castsi256_si128(high));
        store(sums + 16, _mm256_extracti128_si256(low, 1));
        store(sums + 24, _mm256_extracti128_si256(high, 1));
    }

    // Two products are added in 16 bits: 2 * 255 * 63 fits.
    static std::int32_t dot_u8(const std::uint8_t* a, const std::int8_t* q, std::size_t padded) {
        const __m256i ones = _mm256_set1_epi16(1);
        __m256i s0 = _mm256_setzero_si256();
        __m256i s1 = _mm256_setzero_si256();
        for (std::size_t i = 0; i < padded; i += 64) {
            const __m256i p0 = _mm256_maddubs_epi16(load_bytes(a + i), load_bytes(q + i));
            const __m256i p1 = _mm256_maddubs_epi16(load_bytes(a + i + 32), load_bytes(q + i + 32));
            s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(p0, ones));
            s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(p1, ones));
        }
        return sum_int32(_mm256_add_epi32(s0, s1));
    }

    static std::int32_t dot_u4(const std::uint8_t* a, const std::int8_t* q, std::size_t padded) {
        const __m256i nibble = _mm256_set1_epi8(15);
        const __m256i ones = _mm256_set1_epi16(1);
        __m256i sum = _mm256_setzero_si256();
        for (std::size_t i = 0; i < padded; i += 64) {
            const __m256i x = load_bytes(a + i / 2);
            const __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(x, nibble), load_bytes(q + i));
            const __m256i high =
                _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(x, 4), nibble), load_bytes(q + i + 32));
            // At most 2 * 2 * 15 * 127 in 16 bits.
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_add_epi16(low, high), ones));
        }
        return sum_int32(sum);
    }

  private:
    static void store(float* to, __m128i u16) { _mm256_storeu_ps(to, _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(u16))); }
};

}  // namespace
}  // namespace vss
