// The cells' kernels for NEON. Empty where the compiler does not target AArch64.
#if defined(VSS_HAVE_NEON)

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/code_kernels.h"

// See code_kernels_impl.h.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace vss {
namespace {

struct Simd {
    using Mask [[gnu::vector_size(32)]] = std::int32_t;
    // What matrix products are summed in, and how many rows at a time.
    using Lanes [[gnu::vector_size(16)]] = float;
    using LanesMask [[gnu::vector_size(16)]] = std::int32_t;
    static constexpr std::size_t panel_rows = 6;

    static unsigned mask(Mask m) {
        unsigned out = 0;
        for (unsigned i = 0; i < 8; ++i) {
            out |= (m[i] != 0 ? 1U : 0U) << i;
        }
        return out;
    }
    static unsigned mask(LanesMask m) { return (m[0] & 1U) | (m[1] & 2U) | (m[2] & 4U) | (m[3] & 8U); }

    static void store_bytes(std::uint8_t* to, Mask a, Mask b) {
        for (std::size_t i = 0; i < 8; ++i) {
            to[i] = static_cast<std::uint8_t>(a[i]);
            to[i + 8] = static_cast<std::uint8_t>(b[i]);
        }
    }

    static void sum_pairs(const std::uint8_t* codes, const std::uint8_t* ahead, const std::uint8_t* entries,
                          std::size_t pairs, float* sums) {
        for (std::size_t half = 0; half < 2; ++half) {
            uint16x8_t low = vdupq_n_u16(0);
            uint16x8_t high = vdupq_n_u16(0);
            for (std::size_t p = 0; p < pairs; ++p) {
                __builtin_prefetch(ahead + p * 64 + half * 32);
                const uint8x16_t x = vld1q_u8(codes + p * 64 + half * 16);
                const uint8x16_t y = vld1q_u8(codes + p * 64 + 32 + half * 16);
                const std::uint8_t* at = entries + p * 64;
                const uint8x16_t nibble = vdupq_n_u8(15);
                const uint8x16_t a = vqtbl1q_u8(vld1q_u8(at), vandq_u8(x, nibble));
                const uint8x16_t b = vqtbl1q_u8(vld1q_u8(at + 16), vshrq_n_u8(x, 4));
                const uint8x16_t c = vqtbl1q_u8(vld1q_u8(at + 32), vandq_u8(y, nibble));
                const uint8x16_t d = vqtbl1q_u8(vld1q_u8(at + 48), vshrq_n_u8(y, 4));
                const uint8x16_t four = vaddq_u8(vaddq_u8(a, b), vaddq_u8(c, d));
                low = vaddw_u8(low, vget_low_u8(four));
                high = vaddw_u8(high, vget_high_u8(four));
            }
            float* to = sums + half * 16;
            vst1q_f32(to, vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))));
            vst1q_f32(to + 4, vcvtq_f32_u32(vmovl_u16(vget_high_u16(low))));
            vst1q_f32(to + 8, vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))));
            vst1q_f32(to + 12, vcvtq_f32_u32(vmovl_u16(vget_high_u16(high))));
        }
    }

    static std::int32_t dot_u8(const std::uint8_t* a, const std::int8_t* q, std::size_t padded) {
        int32x4_t sum = vdupq_n_s32(0);
        for (std::size_t i = 0; i < padded; i += 16) {
            const uint8x16_t x = vld1q_u8(a + i);
            const int8x16_t y = vld1q_s8(q + i);
            const int16x8_t x0 = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x)));
            const int16x8_t x1 = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(x)));
            const int16x8_t y0 = vmovl_s8(vget_low_s8(y));
            const int16x8_t y1 = vmovl_s8(vget_high_s8(y));
            sum = vmlal_s16(sum, vget_low_s16(x0), vget_low_s16(y0));
            sum = vmlal_s16(sum, vget_high_s16(x0), vget_high_s16(y0));
            sum = vmlal_s16(sum, vget_low_s16(x1), vget_low_s16(y1));
            sum = vmlal_s16(sum, vget_high_s16(x1), vget_high_s16(y1));
        }
        return vaddvq_s32(sum);
    }

    static std::int32_t dot_u4(const std::uint8_t* a, const std::int8_t* q, std::size_t padded) {
        int32x4_t sum = vdupq_n_s32(0);
        for (std::size_t i = 0; i < padded; i += 64) {
            for (std::size_t j = 0; j < 32; j += 16) {
                const uint8x16_t x = vld1q_u8(a + i / 2 + j);
                const int8x16_t low = vreinterpretq_s8_u8(vandq_u8(x, vdupq_n_u8(15)));
                const int8x16_t high = vreinterpretq_s8_u8(vshrq_n_u8(x, 4));
                const int8x16_t y = vld1q_s8(q + i + j);
                const int8x16_t z = vld1q_s8(q + i + 32 + j);
                sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(low), vget_low_s8(y)));
                sum = vpadalq_s16(sum, vmull_high_s8(low, y));
                sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(high), vget_low_s8(z)));
                sum = vpadalq_s16(sum, vmull_high_s8(high, z));
            }
        }
        return vaddvq_s32(sum);
    }
};

}  // namespace
}  // namespace vss

#include "kernels/code_kernels_impl.h"

namespace vss {

const CodeKernels& code_kernels_neon() {
    return table;
}

}  // namespace vss

#endif
