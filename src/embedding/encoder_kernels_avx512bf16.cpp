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

const EncoderKernels kEncoderKernelsAvx512Bf16 = kTableOfPairs<Avx512Halver, Pairs>;
// The models of the instructions beside the other kernels of AVX-512.
const EncoderKernels kEncoderKernelsAvx512PairsModel = kTableOfPairs<ModelHalver, ModelPairs>;
const EncoderKernels kEncoderKernelsAvx512TilesModel = kTableOfTiles<ModelTiles, ModelHalver, 1>;
const EncoderKernels kEncoderKernelsAvx512TilesModelSplit = kTableOfTiles<ModelTiles, ModelHalver, 2>;

}  // namespace vss::embedding

#endif
