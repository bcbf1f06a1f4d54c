// Sixteen floats in an AVX-512 register, and the tile that 32 registers hold. Included by the sources of the levels
// that have AVX-512, before encoder_kernels_impl.h; everything here is local to them.
#pragma once

// GCC 12's own headers begin from a value that they leave undefined on purpose, and warn of it.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <cstddef>

namespace vss::embedding {
namespace {

constexpr std::size_t kLanes = 16;
// 24 sums, three vectors of weights and one value of a row: of all shapes the one that loads least. What three panels
// leave over is computed as 12 rows of two panels or one.
constexpr std::size_t kTilePanels = 3;
constexpr std::size_t tile_rows(std::size_t panels) {
    return panels == 3 ? 8 : 12;
}

struct Lanes {
    __m512 v;

    static Lanes load(const float* from) { return {_mm512_loadu_ps(from)}; }
    static Lanes all(float value) { return {_mm512_set1_ps(value)}; }
    static Lanes fma(Lanes a, Lanes b, Lanes c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
    // Of two values of which one is NaN: b.
    static Lanes max(Lanes a, Lanes b) { return {_mm512_max_ps(a.v, b.v)}; }
    static Lanes min(Lanes a, Lanes b) { return {_mm512_min_ps(a.v, b.v)}; }
    static Lanes abs(Lanes a) { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0F), a.v)}; }
    // To 2^-23 or so.
    static Lanes reciprocal(Lanes a) {
        const __m512 near = _mm512_rcp14_ps(a.v);
        return {_mm512_fmadd_ps(_mm512_fnmadd_ps(a.v, near, _mm512_set1_ps(1.0F)), near, near)};
    }
    static Lanes round(Lanes a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
    static Lanes where_negative(Lanes sign, Lanes yes, Lanes no) {
        return {_mm512_mask_mov_ps(no.v, _mm512_movepi32_mask(_mm512_castps_si512(sign.v)), yes.v)};
    }
    // a 2^n for whole n from -126 to 127.
    static Lanes times_power_of_two(Lanes a, Lanes n) { return {_mm512_scalef_ps(a.v, n.v)}; }
    void store(float* to) const { _mm512_storeu_ps(to, v); }
    [[nodiscard]] float sum() const {
        const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
        __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
        quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
        return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
    }
    [[nodiscard]] float largest() const {
        const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
        __m128 quarter = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
        quarter = _mm_max_ps(quarter, _mm_movehl_ps(quarter, quarter));
        return _mm_cvtss_f32(_mm_max_ss(quarter, _mm_movehdup_ps(quarter)));
    }
};

inline Lanes operator+(Lanes a, Lanes b) {
    return {_mm512_add_ps(a.v, b.v)};
}
inline Lanes operator-(Lanes a, Lanes b) {
    return {_mm512_sub_ps(a.v, b.v)};
}
inline Lanes operator*(Lanes a, Lanes b) {
    return {_mm512_mul_ps(a.v, b.v)};
}

}  // namespace
}  // namespace vss::embedding
