// The cells' kernels for AVX2. Empty where the compiler does not target x86-64.
#if defined(VSS_HAVE_AVX2)

#include "kernels/code_kernels_x86.h"

namespace vss {
namespace {

using Simd = Avx2;

}  // namespace
}  // namespace vss

#include "kernels/code_kernels_impl.h"

namespace vss {

const CodeKernels& code_kernels_avx2() {
    return table;
}

}  // namespace vss

#endif
