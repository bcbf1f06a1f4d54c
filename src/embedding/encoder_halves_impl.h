// float32 values to bfloat16 parts: rows, one after the other or as tiles, and the second factors of attention. Written
// once over `Halver`, which rounds a register of values and moves halves. Included after encoder_kernels_impl.h;
// everything here is local to it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "encoder_kernels.h"

namespace vss::embedding {
namespace {

// Values as halves to `to`, and their second parts, where there are any, `rest` behind.
template <typename Halver, std::size_t parts>
inline void store_halves(Lanes values, std::uint16_t* to, std::size_t rest) {
    const Lanes left = Halver::put(values, to);
    if constexpr (parts == 2) {
        Halver::put(left, to + rest);
    }
}

template <typename Halver, std::size_t parts, bool tiled>
void halve(const Halving& halving) {
    const std::size_t padded = (halving.k + kHalfDepth - 1) / kHalfDepth * kHalfDepth;
    for (std::size_t row = 0; row < halving.m; ++row) {
        const float* const from = halving.rows + row * halving.step;
        for (std::size_t i = 0; i < padded; i += kLanes) {
            float last[kLanes] = {};
            const float* values = from + i;
            if (i + kLanes > halving.k) {
                std::copy(from + std::min(i, halving.k), from + halving.k, last);
                values = last;
            }
            const std::size_t offset = tiled ? tile_offset(row, i, halving.to_step) : row * halving.to_step + i;
            store_halves<Halver, parts>(Lanes::load(values), halving.to + offset, halving.to_rest);
        }
    }
}

// Weights of attention as tiles.
template <typename Halver, std::size_t parts>
void softmax_halves(float* scores, const Halving& halving) {
    const std::size_t padded = panels(halving.k) * kPanel;
    const auto store = [&](std::size_t row, std::size_t i, Lanes weights) {
        store_halves<Halver, parts>(weights, halving.to + tile_offset(row, i, halving.to_step), halving.to_rest);
    };
    soften_rows(scores, halving.m, halving.k, halving.step, store);
    if (padded % kHalfDepth != 0) {
        for (std::size_t row = 0; row < halving.m; ++row) {
            for (std::size_t i = padded; i < padded + kPanel; i += kLanes) {
                store(row, i, Lanes::all(0.0F));
            }
        }
    }
}

template <typename Halver, std::size_t parts>
void pack_keys(const HeadPacking& packing) {
    const std::size_t depth = (packing.size + kHalfDepth - 1) / kHalfDepth * kHalfDepth;
    std::uint16_t* to = packing.to;
    for (std::size_t first = 0; first < packing.tokens; first += kPanel, to += depth * kPanel) {
        for (std::size_t input = 0; input < depth; input += kHalfDepth) {
            alignas(64) std::uint16_t lines[2][kPanel * kHalfDepth];
            const std::size_t some = std::min(kHalfDepth, packing.size - input);
            for (std::size_t column = 0; column < kPanel; ++column) {
                const float* const key =
                    packing.rows + std::min(first + column, packing.tokens - 1) * packing.step + input;
                for (std::size_t i = 0; i < kHalfDepth; i += kLanes) {
                    const Lanes values = i < some ? Lanes::load(key + i) : Lanes::all(0.0F);
                    store_halves<Halver, parts>(values, lines[0] + column * kHalfDepth + i, kPanel * kHalfDepth);
                }
            }
            for (std::size_t part = 0; part < parts; ++part) {
                Halver::transpose_pairs(lines[part], to + part * packing.to_rest + input * kPanel);
            }
        }
    }
}

template <typename Halver, std::size_t parts>
void pack_values(const HeadPacking& packing) {
    const std::size_t depth = (packing.tokens + kHalfDepth - 1) / kHalfDepth * kHalfDepth;
    std::uint16_t* to = packing.to;
    for (std::size_t column = 0; column < packing.size; column += kPanel) {
        for (std::size_t token = 0; token < depth; token += 2, to += 2 * kPanel) {
            alignas(64) std::uint16_t lines[2][2 * kPanel];  // of each part, two tokens
            for (std::size_t one = 0; one < 2; ++one) {
                const bool there = token + one < packing.tokens;
                const float* const row = packing.rows + (there ? token + one : 0) * packing.step + column;
                for (std::size_t i = 0; i < kPanel; i += kLanes) {
                    const Lanes values = there ? Lanes::load(row + i) : Lanes::all(0.0F);
                    const Lanes left = Halver::put(values, lines[0] + one * kPanel + i);
                    if constexpr (parts == 2) {
                        Halver::put(left, lines[1] + one * kPanel + i);
                    }
                }
            }
            for (std::size_t part = 0; part < parts; ++part) {
                Halver::interleave(lines[part], to + part * packing.to_rest);
            }
        }
    }
}

}  // namespace
}  // namespace vss::embedding
