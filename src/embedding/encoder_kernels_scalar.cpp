#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>

namespace vss::embedding {
namespace {

constexpr std::size_t kLanes = 8;
constexpr std::size_t kTilePanels = 1;
constexpr std::size_t tile_rows(std::size_t /*panels*/) {
    return 6;
}

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
    static Lanes reciprocal(Lanes a) {
        return each([&](std::size_t i) { return 1.0F / a.v[i]; });
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

}  // namespace
}  // namespace vss::embedding

#include "encoder_kernels_impl.h"
//
#include "encoder_halves_impl.h"
#include "encoder_tiles_impl.h"
//
#include "encoder_models_impl.h"

namespace vss::embedding {

const EncoderKernels kEncoderKernelsScalar = kTable;
const EncoderKernels kEncoderKernelsPairsModel = kTableOfPairs<ModelHalver, ModelPairs>;
const EncoderKernels kEncoderKernelsTilesModel = kTableOfTiles<ModelTiles, ModelHalver, 1>;
const EncoderKernels kEncoderKernelsTilesModelSplit = kTableOfTiles<ModelTiles, ModelHalver, 2>;

}  // namespace vss::embedding
