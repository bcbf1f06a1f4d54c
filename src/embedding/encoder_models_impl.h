// Models of the instructions on bfloat16 values, in plain loops, as Intel's manual writes their operation (Software
// Developer's Manual, volume 2: VDPBF16PS, TDPBF16PS). They run everywhere, and beside the other kernels of a level
// they give the instruction's results to the bit. Included after encoder_kernels_impl.h and encoder_tiles_impl.h;
// everything here is local to the including source.
//
// A product of two bfloat16 values is exact in float32, so the instructions' fused sums are ordinary sums of products,
// except where a product is below float32's normal numbers.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "bfloat16.h"
#include "encoder_kernels.h"

namespace vss::embedding {
namespace {

// Denormal values and results are zeros to both instructions.
inline float flushed(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    return std::bit_cast<float>((bits & 0x7F800000U) == 0 ? bits & 0x80000000U : bits);
}

inline float factor(std::uint16_t bits) {
    return flushed(from_bfloat16(bits));
}

struct ModelHalver {
    static Lanes put(Lanes values, std::uint16_t* to) {
        float left[kLanes];
        values.store(left);
        for (std::size_t i = 0; i < kLanes; ++i) {
            to[i] = to_bfloat16(left[i]);
            left[i] -= from_bfloat16(to[i]);
        }
        return Lanes::load(left);
    }
    // 16 lines of 16 pairs: the first pairs of all, the second ones, and so on.
    static void transpose_pairs(const std::uint16_t* lines, std::uint16_t* to) {
        for (std::size_t pair = 0; pair < kPanel; ++pair) {
            for (std::size_t line = 0; line < kPanel; ++line) {
                std::copy_n(lines + line * kHalfDepth + 2 * pair, 2, to + (pair * kPanel + line) * 2);
            }
        }
    }
    // Two lines of 16 values to 16 pairs.
    static void interleave(const std::uint16_t* lines, std::uint16_t* to) {
        for (std::size_t i = 0; i < kPanel; ++i) {
            to[2 * i] = lines[i];
            to[2 * i + 1] = lines[kPanel + i];
        }
    }
};

// A register of pairs for each register of sums.
struct ModelPairs {
    static constexpr std::size_t kInputs = 2;

    struct Pairs {
        std::uint16_t v[2 * kLanes];
    };

    static Pairs all(const std::uint16_t* a) {
        Pairs result;
        for (std::size_t i = 0; i < 2 * kLanes; ++i) {
            result.v[i] = a[i % 2];
        }
        return result;
    }
    static Pairs load(const std::uint16_t* b) {
        Pairs result;
        std::copy_n(b, 2 * kLanes, result.v);
        return result;
    }
    static Lanes sum(const Pairs& a, const Pairs& b, Lanes c) {
        float sums[kLanes];
        c.store(sums);
        for (std::size_t i = 0; i < kLanes; ++i) {
            // The odd ones first.
            for (const std::size_t j : {2 * i + 1, 2 * i}) {
                sums[i] = flushed(flushed(sums[i]) + factor(a.v[j]) * factor(b.v[j]));
            }
        }
        return Lanes::load(sums);
    }
};

class ModelTiles {
  public:
    void zero() { std::fill_n(&sums_[0][0], sizeof(sums_) / sizeof(float), 0.0F); }
    template <int tile>
    void load(const std::uint16_t* from, std::size_t bytes) {
        for (std::size_t row = 0; row < kTileHeight; ++row) {
            for (std::size_t i = 0; i < kHalfDepth; ++i) {
                factors_[tile - 4][row * kHalfDepth + i] = factor(from[row * (bytes / sizeof(std::uint16_t)) + i]);
            }
        }
    }
    // Products of even and of odd inputs are summed apart, from zero; their sum is added to the tile's.
    template <int row, int column>
    void dot() {
        const float* const a = factors_[row];
        const float* const b = factors_[2 + column];
        float* const sums = sums_[2 * row + column];
        for (std::size_t m = 0; m < kTileHeight; ++m) {
            float evens[kPanel] = {};
            float odds[kPanel] = {};
            for (std::size_t k = 0; k < kHalfDepth / 2; ++k) {
                const float even = a[m * kHalfDepth + 2 * k];
                const float odd = a[m * kHalfDepth + 2 * k + 1];
                for (std::size_t n = 0; n < kPanel; ++n) {
                    evens[n] = flushed(evens[n] + even * b[k * 2 * kPanel + 2 * n]);
                    odds[n] = flushed(odds[n] + odd * b[k * 2 * kPanel + 2 * n + 1]);
                }
            }
            for (std::size_t n = 0; n < kPanel; ++n) {
                float& sum = sums[m * kPanel + n];
                sum = flushed(flushed(sum) + flushed(evens[n] + odds[n]));
            }
        }
    }
    template <int tile>
    void store(float* to, std::size_t bytes) {
        for (std::size_t row = 0; row < kTileHeight; ++row) {
            std::copy_n(sums_[tile] + row * kPanel, kPanel, to + row * (bytes / sizeof(float)));
        }
    }

  private:
    float sums_[4][kTileHeight * kPanel] = {};
    float factors_[4][kTileHeight * kHalfDepth] = {};
};

}  // namespace
}  // namespace vss::embedding
