// A fixed random rotation: fast Hadamard transforms with random signs (FHT-Kac, as the RaBitQ library does it), which
// spreads a vector evenly over its coordinates. Only the seed is stored.
//
// Threads: immutable after construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vss {

// Sign codes need some 256 coordinates to tell neighbours apart; a vector with fewer is rotated into that many.
inline constexpr std::size_t least_padded = 256;

[[nodiscard]] constexpr std::size_t padded_dimensions(std::size_t dim) {
    const std::size_t padded = (dim + 63) / 64 * 64;
    return padded < least_padded ? least_padded : padded;
}

class Rotation {
  public:
    Rotation(std::size_t dim, std::uint64_t seed);

    [[nodiscard]] std::size_t padded() const { return padded_; }
    // `v`: padded() floats, of which those at dim and beyond are zero. Norms and inner products stay as they are.
    void apply(float* v) const;

  private:
    std::size_t padded_;
    std::vector<std::uint8_t> flips_;
};

}  // namespace vss
