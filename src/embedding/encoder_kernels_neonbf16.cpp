// NEON with the instructions on bfloat16 values (ARMv8.2's BF16, part of ARMv8.6). Empty elsewhere.
#if defined(VSS_HAVE_NEONBF16)

#include "encoder_lanes_neon.h"
//
#include "encoder_kernels_impl.h"
//
#include "encoder_halves_impl.h"
#include "encoder_tiles_impl.h"

namespace vss::embedding {
namespace {

struct NeonHalver {
    // Rounds four values, and returns what is left of them.
    static Lanes put(Lanes values, std::uint16_t* to) {
        const bfloat16x4_t rounded = vcvt_bf16_f32(values.v);
        vst1_bf16(reinterpret_cast<bfloat16_t*>(to), rounded);
        return {vsubq_f32(values.v, vcvt_f32_bf16(rounded))};
    }
};

// Pairs of neighbouring inputs, as bfdot takes them.
struct Pairs {
    static constexpr std::size_t kInputs = 2;

    static bfloat16x8_t all(const std::uint16_t* a) {
        std::uint32_t pair = 0;
        __builtin_memcpy(&pair, a, sizeof(pair));
        return vreinterpretq_bf16_u32(vdupq_n_u32(pair));
    }
    static bfloat16x8_t load(const std::uint16_t* b) { return vreinterpretq_bf16_u16(vld1q_u16(b)); }
    static Lanes sum(bfloat16x8_t a, bfloat16x8_t b, Lanes c) { return {vbfdotq_f32(c.v, a, b)}; }
};

}  // namespace

const EncoderKernels kEncoderKernelsNeonBf16 = kTableOfPairs<NeonHalver, Pairs>;

}  // namespace vss::embedding

#endif
