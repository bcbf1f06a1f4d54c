#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>

namespace vss::embedding {
namespace {

constexpr std::size_t kLanes = 8;
constexpr std::size_t kTileRows = 6;
constexpr std::size_t kTilePanels = 1;

// Plain loops over eight floats, which compilers make what the platform's baseline has for them.
struct Lanes {
    float v[8];

    template <typename Each>
    static Lanes each(Each each_lane) {
        Lanes result;
        for (std::size_t i = 0; i < 8; ++i) {
            result.v[i] = each_lane(i);
        }
        return result;
    }
    static Lanes load(const float* from) {
        return each([&](std::size_t i) { return from[i]; });
    }
    static Lanes all(float value) {
        return each([&](std::size_t) { return value; });
    }
    static Lanes fma(Lanes a, Lanes b, Lanes c) {
        return each([&](std::size_t i) { return a.v[i] * b.v[i] + c.v[i]; });
    }
    // Of two values of which one is NaN: b.
    static Lanes max(Lanes a, Lanes b) {
        return each([&](std::size_t i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
    }
    static Lanes min(Lanes a, Lanes b) {
        return each([&](std::size_t i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
    }
    static Lanes abs(Lanes a) {
        return each([&](std::size_t i) { return std::fabs(a.v[i]); });
    }
    static Lanes round(Lanes a) {
        return each([&](std::size_t i) { return std::nearbyint(a.v[i]); });
    }
    static Lanes where_negative(Lanes sign, Lanes yes, Lanes no) {
        return each([&](std::size_t i) { return std::signbit(sign.v[i]) ? yes.v[i] : no.v[i]; });
    }
    // a 2^n for whole n from -126 to 127.
    static Lanes times_power_of_two(Lanes a, Lanes n) {
        return each([&](std::size_t i) {
            // NaN has no exponent to make; a is NaN then too.
            const std::int32_t power = n.v[i] == n.v[i] ? static_cast<std::int32_t>(n.v[i]) : 0;
            return a.v[i] * std::bit_cast<float>(static_cast<std::uint32_t>(power + 127) << 23U);
        });
    }
    void store(float* to) const { std::copy_n(v, 8, to); }
    [[nodiscard]] float sum() const { return std::accumulate(v, v + 8, 0.0F); }
    [[nodiscard]] float largest() const {
        return std::accumulate(v, v + 8, v[0], [](float a, float b) { return a > b ? a : b; });
    }
};

inline Lanes operator+(Lanes a, Lanes b) {
    return Lanes::each([&](std::size_t i) { return a.v[i] + b.v[i]; });
}
inline Lanes operator-(Lanes a, Lanes b) {
    return Lanes::each([&](std::size_t i) { return a.v[i] - b.v[i]; });
}
inline Lanes operator*(Lanes a, Lanes b) {
    return Lanes::each([&](std::size_t i) { return a.v[i] * b.v[i]; });
}
inline Lanes operator/(Lanes a, Lanes b) {
    return Lanes::each([&](std::size_t i) { return a.v[i] / b.v[i]; });
}

}  // namespace
}  // namespace vss::embedding

#include "bfloat16.h"
#include "encoder_kernels_impl.h"
#include "encoder_tiles_impl.h"

namespace vss::embedding {
namespace {

// Models of the instructions on bfloat16 values. The processor may round sums of two products otherwise.

template <std::size_t parts>
void halve(const Halving& halving) {
    const std::size_t padded = (halving.k + kHalfDepth - 1) / kHalfDepth * kHalfDepth;
    for (std::size_t row = 0; row < halving.m; ++row) {
        for (std::size_t i = 0; i < padded; ++i) {
            const float value = i < halving.k ? halving.rows[row * halving.step + i] : 0.0F;
            std::uint16_t* const to = halving.to + row * halving.to_step + i;
            to[0] = to_bfloat16(value);
            if constexpr (parts == 2) {
                to[halving.to_rest] = to_bfloat16(value - from_bfloat16(to[0]));
            }
        }
    }
}

struct PairLanes {
    std::uint16_t v[2 * kLanes];
};

struct Pairs {
    static constexpr std::size_t kInputs = 2;

    static PairLanes all(const std::uint16_t* a) {
        PairLanes result;
        for (std::size_t i = 0; i < 2 * kLanes; ++i) {
            result.v[i] = a[i % 2];
        }
        return result;
    }
    static PairLanes load(const std::uint16_t* b) {
        PairLanes result;
        std::copy_n(b, 2 * kLanes, result.v);
        return result;
    }
    static Lanes sum(PairLanes a, PairLanes b, Lanes c) {
        return Lanes::each([&](std::size_t i) {
            return c.v[i] + from_bfloat16(a.v[2 * i]) * from_bfloat16(b.v[2 * i]) +
                   from_bfloat16(a.v[2 * i + 1]) * from_bfloat16(b.v[2 * i + 1]);
        });
    }
};

class ModelTiles {
  public:
    void zero() { std::fill_n(&sums_[0][0], sizeof(sums_) / sizeof(float), 0.0F); }
    template <int tile>
    void load(const std::uint16_t* from, std::size_t bytes) {
        for (std::size_t row = 0; row < kTileHeight; ++row) {
            std::copy_n(from + row * (bytes / sizeof(std::uint16_t)), kHalfDepth,
                        factors_[tile - 4] + row * kHalfDepth);
        }
    }
    template <int row, int column>
    void dot() {
        const std::uint16_t* const a = factors_[row];
        const std::uint16_t* const b = factors_[2 + column];
        float* const sums = sums_[2 * row + column];
        for (std::size_t m = 0; m < kTileHeight; ++m) {
            for (std::size_t k = 0; k < kHalfDepth / 2; ++k) {
                for (std::size_t n = 0; n < kPanel; ++n) {
                    for (std::size_t one = 0; one < 2; ++one) {
                        sums[m * kPanel + n] += from_bfloat16(a[m * kHalfDepth + 2 * k + one]) *
                                                from_bfloat16(b[k * 2 * kPanel + 2 * n + one]);
                    }
                }
            }
        }
    }
    template <int tile>
    void store(float* to) {
        std::copy_n(sums_[tile], kTileHeight * kPanel, to);
    }

  private:
    float sums_[4][kTileHeight * kPanel] = {};
    std::uint16_t factors_[4][kTileHeight * kHalfDepth] = {};
};

}  // namespace

const EncoderKernels kEncoderKernelsScalar = kTable;
const EncoderKernels kEncoderKernelsPairsModel{&multiply, &layer_norm, &softmax,
                                               1,         &halve<1>,   &multiply_by<Pairs, HalfProduct>};
const EncoderKernels kEncoderKernelsTilesModel{&multiply, &layer_norm, &softmax,
                                               1,         &halve<1>,   &multiply_in_tiles<ModelTiles, 1>};
const EncoderKernels kEncoderKernelsTilesModelSplit{&multiply, &layer_norm, &softmax,
                                                    2,         &halve<2>,   &multiply_in_tiles<ModelTiles, 2>};

}  // namespace vss::embedding
