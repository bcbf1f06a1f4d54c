#include "kernels/code_kernels.h"

namespace vss {

const CodeKernels& code_kernels(SimdLevel level) {
    if (!cpu_supports(level)) {
        level = simd_level();
    }
    switch (level) {
#if defined(VSS_HAVE_AVX2)
        case SimdLevel::avx2: return code_kernels_avx2();
#endif
#if defined(VSS_HAVE_AVX512)
        case SimdLevel::avx512: return code_kernels_avx512();
#endif
#if defined(VSS_HAVE_NEON)
        case SimdLevel::neon: return code_kernels_neon();
#endif
        default: return code_kernels_scalar();
    }
}

}  // namespace vss
