#if defined(VSS_HAVE_AVX512)

#include "encoder_lanes_avx512.h"
//
#include "encoder_kernels_impl.h"

namespace vss::embedding {

const EncoderKernels kEncoderKernelsAvx512 = kTable;

}  // namespace vss::embedding

#endif
