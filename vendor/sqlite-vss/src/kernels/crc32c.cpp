#include "kernels/crc32c.h"

#include <array>
#include <bit>
#include <cstring>

#include "kernels/cpu.h"
#include "kernels/kernels.h"

namespace vss {
namespace {

constexpr std::uint32_t polynomial = 0x82F63B78;  // Castagnoli's, bits reversed

// tables[k][b]: the effect of byte b followed by k zero bytes.
constexpr std::array<std::array<std::uint32_t, 256>, 8> make_tables() {
    std::array<std::array<std::uint32_t, 256>, 8> tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t state = byte;
        for (int bit = 0; bit < 8; ++bit) {
            state = (state >> 1) ^ ((state & 1U) != 0 ? polynomial : 0U);
        }
        tables[0][byte] = state;
    }
    for (std::size_t k = 1; k < tables.size(); ++k) {
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const std::uint32_t before = tables[k - 1][byte];
            tables[k][byte] = (before >> 8) ^ tables[0][before & 0xFFU];
        }
    }
    return tables;
}

constexpr auto tables = make_tables();

Crc32cKernel pick() {
#if defined(VSS_HAVE_AVX2)
    if (simd_level() == SimdLevel::avx2 || simd_level() == SimdLevel::avx512) {
        return &crc32c_avx2;
    }
#endif
#if defined(VSS_HAVE_NEON)
    if (simd_level() == SimdLevel::neon && cpu_has_crc32c_neon()) {
        return &crc32c_neon;
    }
#endif
    return &crc32c_portable;
}

}  // namespace

std::uint32_t crc32c_portable(std::uint32_t state, const std::byte* bytes, std::size_t n) {
    if constexpr (std::endian::native == std::endian::little) {
        for (; n >= 8; n -= 8, bytes += 8) {
            std::uint64_t word = 0;
            std::memcpy(&word, bytes, sizeof word);
            word ^= state;
            state = 0;
            for (std::size_t k = 0; k < 8; ++k) {
                state ^= tables[7 - k][(word >> (8 * k)) & 0xFFU];
            }
        }
    }
    for (; n > 0; --n, ++bytes) {
        state = (state >> 8) ^ tables[0][(state ^ static_cast<std::uint32_t>(*bytes)) & 0xFFU];
    }
    return state;
}

std::uint32_t crc32c(std::uint32_t crc, const void* bytes, std::size_t n) {
    static const Crc32cKernel kernel = pick();
    return ~kernel(~crc, static_cast<const std::byte*>(bytes), n);
}

}  // namespace vss
