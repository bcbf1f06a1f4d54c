// NEON of 64-bit ARM, part of the base architecture. Empty elsewhere.
#if defined(VSS_HAVE_NEON)

#include <arm_neon.h>

#include "kernels/kernels_impl.h"

namespace vss {
namespace {

struct Simd {
    using F = F4;
    using I = I4;
    using H [[gnu::vector_size(16)]] = std::int16_t;
    using D [[gnu::vector_size(16)]] = double;
    using FloatsOfD [[gnu::vector_size(8)]] = float;
    static constexpr std::size_t width = 4;
    static constexpr std::size_t int8_width = 8;
    // 20 sums, 4 rows and a query, of 32 registers.
    static constexpr std::size_t batch_queries = 5;
    static constexpr std::size_t batch_rows = 4;

    static F load_float16(const std::byte* from) { return (F)vcvt_f32_f16(load_as<float16x4_t>(from)); }
    static F load_bfloat16(const std::byte* from) { return load4_bfloat16(from); }
    static H load_int8(const std::byte* from) { return (H)vmovl_s8(load_as<int8x8_t>(from)); }

    static F fma(F a, F b, F c) { return (F)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
    static F abs(F a) { return (F)vabsq_f32((float32x4_t)a); }
    static float sum(F a) { return vaddvq_f32((float32x4_t)a); }
    static void sum4(F a, F b, F c, F d, float* out) {
        const float32x4_t ab = vpaddq_f32((float32x4_t)a, (float32x4_t)b);
        const float32x4_t cd = vpaddq_f32((float32x4_t)c, (float32x4_t)d);
        vst1q_f32(out, vpaddq_f32(ab, cd));
    }

    // Adds products of eight pairs to four lanes; which pair goes to which lane does not matter.
    static I multiply_add(I acc, H a, H b) {
        const auto x = (int16x8_t)a;
        const auto y = (int16x8_t)b;
        return (I)vmlal_high_s16(vmlal_s16((int32x4_t)acc, vget_low_s16(x), vget_low_s16(y)), x, y);
    }
    static std::uint32_t sum_integers(I a) { return static_cast<std::uint32_t>(vaddvq_s32((int32x4_t)a)); }

    static std::uint64_t popcount(std::uint64_t bits) { return vaddv_u8(vcnt_u8(vcreate_u8(bits))); }
    static std::uint64_t different_bits(const std::byte* a, const std::byte* b, std::size_t bytes, std::size_t& done) {
        uint64x2_t counts = vdupq_n_u64(0);
        for (; done + 16 <= bytes; done += 16) {
            const uint8x16_t different = veorq_u8(load_as<uint8x16_t>(a + done), load_as<uint8x16_t>(b + done));
            counts = vaddq_u64(counts, vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(vcntq_u8(different)))));
        }
        return vaddvq_u64(counts);
    }
};

constexpr KernelTable table = make_kernel_table<Simd>();

}  // namespace

const KernelTable& kernel_table_neon() {
    return table;
}

}  // namespace vss

#endif
