// CRC-32C by the instruction of ARMv8's CRC extension.
#if defined(VSS_HAVE_NEON)

#include <arm_acle.h>

#if defined(__linux__)
#include <sys/auxv.h>
#endif

#include <cstring>

#include "kernels/crc32c.h"

namespace vss {

bool cpu_has_crc32c_neon() {
#if defined(__linux__)
    constexpr unsigned long crc32_capability = 1UL << 7;  // HWCAP_CRC32
    return (getauxval(AT_HWCAP) & crc32_capability) != 0;
#elif defined(__APPLE__)
    return true;
#else
    return false;
#endif
}

__attribute__((target("+crc"))) std::uint32_t crc32c_neon(std::uint32_t state, const std::byte* bytes, std::size_t n) {
    for (; n >= 8; n -= 8, bytes += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes, sizeof word);
        state = __builtin_aarch64_crc32cx(state, word);
    }
    for (; n > 0; --n, ++bytes) {
        state = __builtin_aarch64_crc32cb(state, static_cast<unsigned char>(*bytes));
    }
    return state;
}

}  // namespace vss

#endif
