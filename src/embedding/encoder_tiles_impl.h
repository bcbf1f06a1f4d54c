// Products of bfloat16 values by tiles: registers of 16 rows of 64 bytes, as AMX has eight of. Written once over
// `Tiles`, the instructions that are needed: those of the processor (encoder_kernels_amx.cpp), or loops that do what
// its manual says (encoder_kernels_scalar.cpp). Included after encoder_kernels_impl.h; everything here is local to the
// including source.
//
// Two by two tiles of sums (0 to 3) take two tiles of rows (4, 5) and two of weights (6, 7).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "encoder_kernels.h"

namespace vss::embedding {
namespace {

// Adds the products of one of a's parts with one of b's to the sums of `rows` by `count` tiles.
template <typename Tiles, int rows, int count>
inline void add_tiles(Tiles& tiles, const HalfProduct& product, const std::uint16_t* a, const std::uint16_t* b) {
    for (std::size_t input = 0; input < product.k; input += kHalfDepth) {
        const std::size_t a_bytes = product.a_step * sizeof(std::uint16_t);
        tiles.template load<4>(a + input, a_bytes);
        if constexpr (rows == 2) {
            tiles.template load<5>(a + input + kTileHeight * product.a_step, a_bytes);
        }
        constexpr std::size_t kLine = 2 * kPanel * sizeof(std::uint16_t);
        tiles.template load<6>(b + input * kPanel, kLine);
        if constexpr (count == 2) {
            tiles.template load<7>(b + input * kPanel + product.b_step, kLine);
        }
        tiles.template dot<0, 0>();
        if constexpr (count == 2) {
            tiles.template dot<0, 1>();
        }
        if constexpr (rows == 2) {
            tiles.template dot<1, 0>();
        }
        if constexpr (rows == 2 && count == 2) {
            tiles.template dot<1, 1>();
        }
    }
}

template <After after>
inline void finish_tile(const HalfProduct& product, const float* sums, std::size_t row, std::size_t column) {
    const std::size_t rows = std::min(kTileHeight, product.m - row);
    for (std::size_t i = 0; i < rows; ++i) {
        float* const c = product.c + (row + i) * product.c_step + column;
        for (std::size_t j = 0; j < kPanel; j += kLanes) {
            const float* const bias = after == After::nothing ? nullptr : product.bias + column + j;
            finish<after>(Lanes::load(sums + i * kPanel + j), product.add, bias, c + j);
        }
    }
}

template <typename Tiles, std::size_t parts, After after, int rows, int count>
inline void tile_block(Tiles& tiles, const HalfProduct& product, std::size_t row, std::size_t column) {
    const std::uint16_t* const a = product.a + row * product.a_step;
    const std::uint16_t* const b = product.b + column / kPanel * product.b_step;
    tiles.zero();
    add_tiles<Tiles, rows, count>(tiles, product, a, b);
    if constexpr (parts == 2) {
        add_tiles<Tiles, rows, count>(tiles, product, a, b + product.b_rest);
        add_tiles<Tiles, rows, count>(tiles, product, a + product.a_rest, b);
    }
    alignas(64) float sums[kTileHeight * kPanel];
    tiles.template store<0>(sums);
    finish_tile<after>(product, sums, row, column);
    if constexpr (count == 2) {
        tiles.template store<1>(sums);
        finish_tile<after>(product, sums, row, column + kPanel);
    }
    if constexpr (rows == 2) {
        tiles.template store<2>(sums);
        finish_tile<after>(product, sums, row + kTileHeight, column);
    }
    if constexpr (rows == 2 && count == 2) {
        tiles.template store<3>(sums);
        finish_tile<after>(product, sums, row + kTileHeight, column + kPanel);
    }
}

template <typename Tiles, std::size_t parts, After after, int count>
void tile_column(Tiles& tiles, const HalfProduct& product, std::size_t column) {
    std::size_t row = 0;
    for (; row + kTileHeight < product.m; row += 2 * kTileHeight) {
        tile_block<Tiles, parts, after, 2, count>(tiles, product, row, column);
    }
    if (row < product.m) {
        tile_block<Tiles, parts, after, 1, count>(tiles, product, row, column);
    }
}

template <typename Tiles, std::size_t parts, After after>
void multiply_by_tiles(const HalfProduct& product) {
    Tiles tiles;
    std::size_t column = 0;
    for (; column + 2 * kPanel <= product.columns; column += 2 * kPanel) {
        tile_column<Tiles, parts, after, 2>(tiles, product, column);
    }
    if (column < product.columns) {
        tile_column<Tiles, parts, after, 1>(tiles, product, column);
    }
}

template <typename Tiles, std::size_t parts>
void multiply_in_tiles(const HalfProduct& product) {
    switch (product.after) {
        case After::nothing: multiply_by_tiles<Tiles, parts, After::nothing>(product); break;
        case After::bias: multiply_by_tiles<Tiles, parts, After::bias>(product); break;
        case After::bias_gelu: multiply_by_tiles<Tiles, parts, After::bias_gelu>(product); break;
    }
}

}  // namespace
}  // namespace vss::embedding
