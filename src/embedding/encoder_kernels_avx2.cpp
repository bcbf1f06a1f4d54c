#if defined(VSS_HAVE_AVX2)

#include <immintrin.h>

#include <cstddef>

namespace vss::embedding {
namespace {

constexpr std::size_t kLanes = 8;
constexpr std::size_t kTilePanels = 1;
constexpr std::size_t tile_rows(std::size_t /*panels*/) {
    return 6;
}

struct Lanes {
    __m256 v;

    static Lanes load(const float* from) { return {_mm256_loadu_ps(from)}; }
    static Lanes all(float value) { return {_mm256_set1_ps(value)}; }
    static Lanes fma(Lanes a, Lanes b, Lanes c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
    // Of two values of which one is NaN: b.
    static Lanes max(Lanes a, Lanes b) { return {_mm256_max_ps(a.v, b.v)}; }
    static Lanes min(Lanes a, Lanes b) { return {_mm256_min_ps(a.v, b.v)}; }
    static Lanes abs(Lanes a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0F), a.v)}; }
    static Lanes reciprocal(Lanes a) { return {_mm256_div_ps(_mm256_set1_ps(1.0F), a.v)}; }
    static Lanes round(Lanes a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
    static Lanes where_negative(Lanes sign, Lanes yes, Lanes no) { return {_mm256_blendv_ps(no.v, yes.v, sign.v)}; }
    // a 2^n for whole n from -126 to 127.
    static Lanes times_power_of_two(Lanes a, Lanes n) {
        const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
        return {_mm256_mul_ps(a.v, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)))};
    }
    void store(float* to) const { _mm256_storeu_ps(to, v); }
    [[nodiscard]] float sum() const {
        __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        half = _mm_add_ps(half, _mm_movehl_ps(half, half));
        return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
    }
    [[nodiscard]] float largest() const {
        __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        half = _mm_max_ps(half, _mm_movehl_ps(half, half));
        return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
    }
};

inline Lanes operator+(Lanes a, Lanes b) {
    return {_mm256_add_ps(a.v, b.v)};
}
inline Lanes operator-(Lanes a, Lanes b) {
    return {_mm256_sub_ps(a.v, b.v)};
}
inline Lanes operator*(Lanes a, Lanes b) {
    return {_mm256_mul_ps(a.v, b.v)};
}

}  // namespace
}  // namespace vss::embedding

#include "encoder_kernels_impl.h"

namespace vss::embedding {

const EncoderKernels kEncoderKernelsAvx2 = kTable;

}  // namespace vss::embedding

#endif
