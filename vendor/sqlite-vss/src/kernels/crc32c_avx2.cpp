// CRC-32C by the instruction of SSE4.2, which every CPU with AVX2 has. The instruction takes three cycles but starts
// every cycle, so three stretches are summed side by side and then joined.
#if defined(VSS_HAVE_AVX2)

#include <nmmintrin.h>

#include <cstring>

#include "kernels/crc32c.h"

namespace vss {
namespace {

constexpr std::size_t stretch = 256;

// shift.entry[k][b]: byte b at place k of the register, moved past `stretch` zero bytes.
struct Shift {
    std::uint32_t entry[4][256] = {};
    constexpr Shift() {
        // Moving is linear over the register's bits: move each bit, then combine.
        std::uint32_t moved[32] = {};
        for (int bit = 0; bit < 32; ++bit) {
            std::uint32_t state = std::uint32_t{1} << bit;
            for (std::size_t zero = 0; zero < 8 * stretch; ++zero) {
                state = (state >> 1) ^ ((state & 1U) != 0 ? 0x82F63B78U : 0U);
            }
            moved[bit] = state;
        }
        for (int place = 0; place < 4; ++place) {
            for (int byte = 0; byte < 256; ++byte) {
                for (int bit = 0; bit < 8; ++bit) {
                    if ((byte >> bit & 1) != 0) {
                        entry[place][byte] ^= moved[8 * place + bit];
                    }
                }
            }
        }
    }
    [[nodiscard]] std::uint64_t operator()(std::uint64_t state) const {
        return entry[0][state & 0xFF] ^ entry[1][state >> 8 & 0xFF] ^ entry[2][state >> 16 & 0xFF] ^
               entry[3][state >> 24 & 0xFF];
    }
};

constexpr Shift shift;

inline std::uint64_t word_at(const std::byte* bytes) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes, sizeof word);
    return word;
}

}  // namespace

std::uint32_t crc32c_avx2(std::uint32_t state, const std::byte* bytes, std::size_t n) {
    std::uint64_t a = state;
    for (; n >= 3 * stretch; n -= 3 * stretch, bytes += 3 * stretch) {
        std::uint64_t b = 0;
        std::uint64_t c = 0;
        for (std::size_t i = 0; i < stretch; i += 8) {
            a = _mm_crc32_u64(a, word_at(bytes + i));
            b = _mm_crc32_u64(b, word_at(bytes + stretch + i));
            c = _mm_crc32_u64(c, word_at(bytes + 2 * stretch + i));
        }
        a = shift(shift(a) ^ b) ^ c;
    }
    for (; n >= 8; n -= 8, bytes += 8) {
        a = _mm_crc32_u64(a, word_at(bytes));
    }
    auto rest = static_cast<std::uint32_t>(a);
    for (; n > 0; --n, ++bytes) {
        rest = _mm_crc32_u8(rest, static_cast<unsigned char>(*bytes));
    }
    return rest;
}

}  // namespace vss

#endif
