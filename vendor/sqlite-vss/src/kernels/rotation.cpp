#include "kernels/rotation.h"

#include "base/random.h"
#include "kernels/code_kernels.h"

namespace vss {

Rotation::Rotation(std::size_t dim, std::uint64_t seed) : padded_(padded_dimensions(dim)) {
    SplitMix random(seed);
    flips_.resize(4 * padded_ / 8);
    for (std::uint8_t& byte : flips_) {
        byte = static_cast<std::uint8_t>(random.next() >> 56);
    }
}

void Rotation::apply(float* v) const {
    code_kernels().rotate(v, padded_, flips_.data());
}

}  // namespace vss
