// The cells' kernels on any CPU, and the ones that other levels are tested against.
#include <cstdint>
#include <cstring>

#include "kernels/code_kernels.h"

// See code_kernels_impl.h.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace vss {
namespace {

struct Simd {
    using Mask [[gnu::vector_size(32)]] = std::int32_t;
    // What matrix products are summed in, and how many rows at a time.
    using Lanes [[gnu::vector_size(16)]] = float;
    using LanesMask [[gnu::vector_size(16)]] = std::int32_t;
    static constexpr std::size_t panel_rows = 2;

    static unsigned mask(Mask m) {
        unsigned out = 0;
        for (unsigned i = 0; i < 8; ++i) {
            out |= (m[i] != 0 ? 1U : 0U) << i;
        }
        return out;
    }
    static unsigned mask(LanesMask m) { return (m[0] & 1U) | (m[1] & 2U) | (m[2] & 4U) | (m[3] & 8U); }

    static void store_bytes(std::uint8_t* to, Mask a, Mask b) {
        for (std::size_t i = 0; i < 8; ++i) {
            to[i] = static_cast<std::uint8_t>(a[i]);
            to[i + 8] = static_cast<std::uint8_t>(b[i]);
        }
    }

    // `pairs` pairs of code bytes for each of 32 rows, 4 table look-ups a pair.
    static void sum_pairs(const std::uint8_t* codes, const std::uint8_t* ahead, const std::uint8_t* entries,
                          std::size_t pairs, float* sums) {
        std::uint32_t total[block_rows] = {};
        for (std::size_t p = 0; p < 2 * pairs; ++p) {
            __builtin_prefetch(ahead + p * 32);
            const std::uint8_t* low = entries + p * 32;
            for (std::size_t i = 0; i < block_rows; ++i) {
                const std::uint8_t code = codes[p * block_rows + i];
                total[i] += static_cast<std::uint32_t>(low[code & 15]) + low[16 + (code >> 4)];
            }
        }
        for (std::size_t i = 0; i < block_rows; ++i) {
            sums[i] = static_cast<float>(total[i]);
        }
    }

    static std::int32_t dot_u8(const std::uint8_t* a, const std::int8_t* q, std::size_t padded) {
        std::int32_t sum = 0;
        for (std::size_t i = 0; i < padded; ++i) {
            sum += static_cast<std::int32_t>(a[i]) * q[i];
        }
        return sum;
    }

    static std::int32_t dot_u4(const std::uint8_t* a, const std::int8_t* q, std::size_t padded) {
        std::int32_t sum = 0;
        for (std::size_t i = 0; i < padded; i += 64) {
            for (std::size_t j = 0; j < 32; ++j) {
                const std::uint8_t pair = a[i / 2 + j];
                sum += (pair & 15) * q[i + j] + (pair >> 4) * q[i + 32 + j];
            }
        }
        return sum;
    }
};

}  // namespace
}  // namespace vss

#include "kernels/code_kernels_impl.h"

namespace vss {

const CodeKernels& code_kernels_scalar() {
    return table;
}

}  // namespace vss
