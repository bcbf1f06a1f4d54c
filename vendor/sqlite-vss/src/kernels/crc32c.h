// The pieces of crc32c() (kernels.h): a portable one, and one per instruction set that has the polynomial built in.
// They work on the raw register: no inversion before or after.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vss {

using Crc32cKernel = std::uint32_t (*)(std::uint32_t state, const std::byte* bytes, std::size_t n);

std::uint32_t crc32c_portable(std::uint32_t state, const std::byte* bytes, std::size_t n);
std::uint32_t crc32c_avx2(std::uint32_t state, const std::byte* bytes, std::size_t n);
std::uint32_t crc32c_neon(std::uint32_t state, const std::byte* bytes, std::size_t n);
// The architecture leaves the instruction out of some early ARMv8 processors.
bool cpu_has_crc32c_neon();

}  // namespace vss
