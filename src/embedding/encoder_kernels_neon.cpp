// NEON of 64-bit ARM, part of the base architecture. Empty elsewhere.
#if defined(VSS_HAVE_NEON)

#include "encoder_lanes_neon.h"
//
#include "encoder_kernels_impl.h"

namespace vss::embedding {

const EncoderKernels kEncoderKernelsNeon = kTable;

}  // namespace vss::embedding

#endif
