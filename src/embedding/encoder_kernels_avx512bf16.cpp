#if defined(VSS_HAVE_AVX512BF16)

#include "encoder_halves_avx512bf16.h"
//
#include "encoder_kernels_impl.h"
//
#include "encoder_halves_impl.h"
#include "encoder_tiles_impl.h"
//
#include "encoder_models_impl.h"

namespace vss::embedding {
namespace {

// Pairs of neighbouring inputs, as vdpbf16ps takes them.
struct Pairs {
    static constexpr std::size_t kInputs = 2;

    static __m512bh all(const std::uint16_t* a) {
        std::int32_t pair = 0;
        __builtin_memcpy(&pair, a, sizeof(pair));
        return reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
    }
    static __m512bh load(const std::uint16_t* b) {
        return reinterpret_cast<__m512bh>(_mm512_loadu_si512(static_cast<const void*>(b)));
    }
    static Lanes sum(__m512bh a, __m512bh b, Lanes c) { return {_mm512_dpbf16_ps(c.v, a, b)}; }
};

}  // namespace

const EncoderKernels kEncoderKernelsAvx512Bf16{
    &multiply, &layer_norm, &softmax, 1, &halve<Avx512Halver, 1, false>, &multiply_by<Pairs, HalfProduct>};
// The models of the instructions beside the other kernels of AVX-512.
const EncoderKernels kEncoderKernelsAvx512PairsModel{
    &multiply, &layer_norm, &softmax, 1, &halve<ModelHalver, 1, false>, &multiply_by<ModelPairs, HalfProduct>};
const EncoderKernels kEncoderKernelsAvx512TilesModel{&multiply,
                                                     &layer_norm,
                                                     &softmax,
                                                     1,
                                                     &halve<ModelHalver, 1, true>,
                                                     &multiply_in_tiles<ModelTiles, ModelHalver, 1>,
                                                     true,
                                                     &softmax_halves<ModelHalver, 1>,
                                                     &pack_keys<ModelHalver, 1>,
                                                     &pack_values<ModelHalver, 1>,
                                                     kPassing};
const EncoderKernels kEncoderKernelsAvx512TilesModelSplit{&multiply,
                                                          &layer_norm,
                                                          &softmax,
                                                          2,
                                                          &halve<ModelHalver, 2, true>,
                                                          &multiply_in_tiles<ModelTiles, ModelHalver, 2>,
                                                          true,
                                                          &softmax_halves<ModelHalver, 2>,
                                                          &pack_keys<ModelHalver, 2>,
                                                          &pack_values<ModelHalver, 2>,
                                                          kPassing};

}  // namespace vss::embedding

#endif
