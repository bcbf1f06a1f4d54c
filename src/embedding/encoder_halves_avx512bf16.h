// Rounding to bfloat16, and moving its values, by AVX512_BF16. Included by the sources of the levels that have it;
// everything here is local to them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "encoder_lanes_avx512.h"

namespace vss::embedding {
namespace {

struct Avx512Halver {
    // Stores the rounded values, and gives what rounding left.
    static Lanes put(Lanes values, std::uint16_t* to) {
        const auto first = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values.v));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), first);
        const __m512 back = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(first), 16));
        return {_mm512_sub_ps(values.v, back)};
    }
    // 16 lines of 16 pairs: the first pairs of all, the second ones, and so on.
    static void transpose_pairs(const std::uint16_t* lines, std::uint16_t* to) {
        __m512i a[16];
        __m512i b[16];
        for (int i = 0; i < 16; ++i) {
            a[i] = _mm512_loadu_si512(static_cast<const void*>(lines + 32 * i));
        }
        // Within each quarter of a register: four lines by four pairs.
        for (int i = 0; i < 16; i += 4) {
            const __m512i low01 = _mm512_unpacklo_epi32(a[i], a[i + 1]);
            const __m512i high01 = _mm512_unpackhi_epi32(a[i], a[i + 1]);
            const __m512i low23 = _mm512_unpacklo_epi32(a[i + 2], a[i + 3]);
            const __m512i high23 = _mm512_unpackhi_epi32(a[i + 2], a[i + 3]);
            b[i] = _mm512_unpacklo_epi64(low01, low23);
            b[i + 1] = _mm512_unpackhi_epi64(low01, low23);
            b[i + 2] = _mm512_unpacklo_epi64(high01, high23);
            b[i + 3] = _mm512_unpackhi_epi64(high01, high23);
        }
        // Then the quarters: b[4 l + p] has lines 4 l and following, pairs p, p + 4, p + 8, p + 12.
        for (int p = 0; p < 4; ++p) {
            const __m512i even01 = _mm512_shuffle_i32x4(b[p], b[4 + p], 0x88);
            const __m512i odd01 = _mm512_shuffle_i32x4(b[p], b[4 + p], 0xDD);
            const __m512i even23 = _mm512_shuffle_i32x4(b[8 + p], b[12 + p], 0x88);
            const __m512i odd23 = _mm512_shuffle_i32x4(b[8 + p], b[12 + p], 0xDD);
            const auto store = [&](int pair, __m512i values) {
                _mm512_storeu_si512(static_cast<void*>(to + 32 * pair), values);
            };
            store(p, _mm512_shuffle_i32x4(even01, even23, 0x88));
            store(p + 8, _mm512_shuffle_i32x4(even01, even23, 0xDD));
            store(p + 4, _mm512_shuffle_i32x4(odd01, odd23, 0x88));
            store(p + 12, _mm512_shuffle_i32x4(odd01, odd23, 0xDD));
        }
    }
    // Two lines of 16 values to 16 pairs.
    static void interleave(const std::uint16_t* lines, std::uint16_t* to) {
        const __m512i first = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(lines)));
        const __m512i second = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(lines + 16)));
        _mm512_storeu_si512(static_cast<void*>(to), _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
    }
};

}  // namespace
}  // namespace vss::embedding
