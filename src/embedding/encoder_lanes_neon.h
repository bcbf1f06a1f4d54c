// Four floats of NEON, for encoder_kernels_impl.h. Included by the sources of the levels that have it.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace vss::embedding {
namespace {

constexpr std::size_t kLanes = 4;
constexpr std::size_t kTilePanels = 1;
// 24 sums, 4 registers of weights and a value, of 32.
constexpr std::size_t tile_rows(std::size_t /*panels*/) {
    return 6;
}

struct Lanes {
    float32x4_t v;

    static Lanes load(const float* from) { return {vld1q_f32(from)}; }
    static Lanes all(float value) { return {vdupq_n_f32(value)}; }
    static Lanes fma(Lanes a, Lanes b, Lanes c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
    // NaN where one of two values is.
    static Lanes max(Lanes a, Lanes b) { return {vmaxq_f32(a.v, b.v)}; }
    static Lanes min(Lanes a, Lanes b) { return {vminq_f32(a.v, b.v)}; }
    static Lanes abs(Lanes a) { return {vabsq_f32(a.v)}; }
    static Lanes reciprocal(Lanes a) { return {vdivq_f32(vdupq_n_f32(1.0F), a.v)}; }
    static Lanes round(Lanes a) { return {vrndnq_f32(a.v)}; }
    static Lanes where_negative(Lanes sign, Lanes yes, Lanes no) {
        const int32x4_t negative = vshrq_n_s32(vreinterpretq_s32_f32(sign.v), 31);
        return {vbslq_f32(vreinterpretq_u32_s32(negative), yes.v, no.v)};
    }
    // a 2^n for whole n from -126 to 127; NaN becomes 2^0, and a is NaN then too.
    static Lanes times_power_of_two(Lanes a, Lanes n) {
        const int32x4_t exponent = vaddq_s32(vcvtnq_s32_f32(n.v), vdupq_n_s32(127));
        return {vmulq_f32(a.v, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)))};
    }
    void store(float* to) const { vst1q_f32(to, v); }
    [[nodiscard]] float sum() const { return vaddvq_f32(v); }
    [[nodiscard]] float largest() const { return vmaxvq_f32(v); }
};

inline Lanes operator+(Lanes a, Lanes b) {
    return {vaddq_f32(a.v, b.v)};
}
inline Lanes operator-(Lanes a, Lanes b) {
    return {vsubq_f32(a.v, b.v)};
}
inline Lanes operator*(Lanes a, Lanes b) {
    return {vmulq_f32(a.v, b.v)};
}

}  // namespace
}  // namespace vss::embedding
