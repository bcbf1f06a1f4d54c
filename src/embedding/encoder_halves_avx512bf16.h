// bfloat16 values by AVX-512: made of float32 values. Included by the sources of the levels that have AVX512_BF16;
// everything here is local to them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "encoder_kernels.h"
#include "encoder_lanes_avx512.h"

namespace vss::embedding {
namespace {

inline __m256i rounded(__m512 values) {
    return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values));
}

template <std::size_t parts>
void halve(const Halving& halving) {
    const std::size_t padded = (halving.k + kHalfDepth - 1) / kHalfDepth * kHalfDepth;
    for (std::size_t row = 0; row < halving.m; ++row) {
        const float* const from = halving.rows + row * halving.step;
        std::uint16_t* const to = halving.to + row * halving.to_step;
        for (std::size_t i = 0; i < padded; i += 16) {
            const std::size_t left = halving.k > i ? halving.k - i : 0;
            const auto some = static_cast<__mmask16>(left >= 16 ? 0xFFFFU : (1U << left) - 1U);
            const __m512 values = _mm512_maskz_loadu_ps(some, from + i);
            const __m256i first = rounded(values);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), first);
            if constexpr (parts == 2) {
                const __m512 back = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(first), 16));
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + halving.to_rest + i),
                                    rounded(_mm512_sub_ps(values, back)));
            }
        }
    }
}

}  // namespace
}  // namespace vss::embedding
