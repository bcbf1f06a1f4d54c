// Products of bfloat16 values by tiles: registers of 16 rows of 64 bytes, as AMX has eight of. Written once over
// `Tiles`, the instructions that are needed, and `Halver`, which rounds float32 values: those of the processor
// (encoder_kernels_amx.cpp), or loops that do what its manual says (encoder_models_impl.h). Included after
// encoder_kernels_impl.h; everything here is local to the including source.
//
// Two by two tiles of sums (0 to 3) take two tiles of rows (4, 5) and two of weights (6, 7). Loading is what bounds
// this:
//  - two panels' inputs stay in the first-level cache while all rows pass them, which are loaded so as not to stay
//  there;
//  - of two parts, a tile is loaded twice for the three products in which it takes part, and not three times;
//  - a block's sums stay in tiles until all inputs are summed, and are stored where the last block's were;
//  - what follows them (bias, GELU, rounding, adding) is computed in pieces while the next block is multiplied.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "encoder_kernels.h"

namespace vss::embedding {
namespace {

// Rows that pass two panels of weights before the next two.
constexpr std::size_t kPassing = 384;
// Rows that go through a layer together: what they need beside the weights takes half of a second-level cache of 2 MiB.
constexpr std::size_t kTogether = 192;
constexpr std::size_t kSumsOfTile = kTileHeight * kPanel;

// The sums of up to four tiles, and what is still to be done with them.
template <std::size_t parts, typename Halver, After after>
class Finishing {
  public:
    explicit Finishing(const HalfProduct& product) : product_(product) {}

    void begin(const float* sums, std::size_t row, std::size_t column, std::size_t rows, std::size_t columns,
               bool add) {
        add_ = add;
        sums_ = sums;
        row_ = row;
        column_ = column;
        // What is beyond the last row is not looked at.
        lines_ = std::min(rows * kTileHeight, product_.m - row);
        columns_ = columns;
        next_ = 0;
    }
    // Finishes some lines of all columns, if there are any left.
    void some(std::size_t lines) {
        const std::size_t stop = std::min(lines_, next_ + lines);
        for (; next_ < stop; ++next_) {
            line();
        }
    }
    void all() { some(lines_); }

  private:
    void line() const {
        const std::size_t row = row_ + next_;
        const float* sums = sums_ + (next_ / kTileHeight * columns_ * kTileHeight + next_ % kTileHeight) * kPanel;
        // Not read where nothing follows.
        const float* bias = after == After::nothing ? sums : product_.bias + column_;
        float* c = product_.c + row * product_.c_step + column_;
        if (product_.halved == nullptr) {
            for (std::size_t i = 0; i < columns_; ++i, sums += kSumsOfTile, bias += kPanel, c += kPanel) {
                for (std::size_t j = 0; j < kPanel; j += kLanes) {
                    finish<after>(Lanes::load(sums + j), add_, bias + j, c + j);
                }
            }
            return;
        }
        std::uint16_t* to = product_.halved + tile_offset(row, column_, product_.halved_step);
        for (std::size_t i = 0; i < columns_; ++i, sums += kSumsOfTile, bias += kPanel, c += kPanel, to += kPanel) {
            for (std::size_t j = 0; j < kPanel; j += kLanes) {
                store_halves<Halver, parts>(finished<after, kPrecise>(Lanes::load(sums + j), add_, bias + j, c + j),
                                            to + j, product_.halved_rest);
            }
        }
    }

    static constexpr Precise kPrecise = parts == 1 ? Precise::as_halves : Precise::fully;

    const HalfProduct& product_;
    const float* sums_ = nullptr;
    bool add_ = false;
    std::size_t row_ = 0;
    std::size_t column_ = 0;
    std::size_t columns_ = 1;
    std::size_t next_ = 0;
    std::size_t lines_ = 0;
};

// One part of two tiles of rows with one part of two tiles of weights.
template <typename Tiles, int rows, int count>
inline void dots(Tiles& tiles) {
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

template <typename Tiles, int rows>
inline void load_rows(Tiles& tiles, const std::uint16_t* a, std::size_t next) {
    constexpr std::size_t kLine = kHalfDepth * sizeof(std::uint16_t);
    tiles.template load<4>(a, kLine);
    if constexpr (rows == 2) {
        tiles.template load<5>(a + next, kLine);
    }
}

template <typename Tiles, int count>
inline void load_weights(Tiles& tiles, const std::uint16_t* b, std::size_t next) {
    constexpr std::size_t kLine = 2 * kPanel * sizeof(std::uint16_t);
    tiles.template load<6>(b, kLine);
    if constexpr (count == 2) {
        tiles.template load<7>(b + next, kLine);
    }
}

// Where the sums of a block's tiles go: one tile behind the other, or into the rows of a matrix.
struct Place {
    float* values;
    std::size_t step;  // of a row
    std::size_t down;  // to the tiles of the next rows
    std::size_t right;

    static Place alone(float* values, std::size_t count) { return {values, kPanel, count * kSumsOfTile, kSumsOfTile}; }
    static Place within(float* values, std::size_t step) { return {values, step, kTileHeight * step, kPanel}; }
};

template <typename Tiles, int rows, int count>
inline void end_sums(Tiles& tiles, const Place& to) {
    const std::size_t bytes = to.step * sizeof(float);
    tiles.template store<0>(to.values, bytes);
    if constexpr (count == 2) {
        tiles.template store<1>(to.values + to.right, bytes);
    }
    if constexpr (rows == 2) {
        tiles.template store<2>(to.values + to.down, bytes);
    }
    if constexpr (rows == 2 && count == 2) {
        tiles.template store<3>(to.values + to.down + to.right, bytes);
    }
}

// The sums of `rows` tiles of rows by `count` panels.
template <typename Tiles, std::size_t parts, int rows, int count, typename Pending>
inline void tile_block(Tiles& tiles, const HalfProduct& product, std::size_t row, std::size_t column, const Place& end,
                       Pending& pending) {
    const std::size_t next_rows = kTileHeight * product.a_step;
    const std::uint16_t* a = product.a + row * product.a_step;
    const std::uint16_t* b = product.b + column / kPanel * product.b_step;
    const std::size_t steps = product.k / kHalfDepth;
    // After each group of products: many lines at once would keep the next products waiting.
    constexpr std::size_t kGroups = parts == 2 ? 3 : 1;
    const std::size_t lines = (2 * kTileHeight + kGroups * steps - 1) / (kGroups * steps);
    const auto multiply_loaded = [&] {
        dots<Tiles, rows, count>(tiles);
        pending.some(lines);
    };
    tiles.zero();
    for (std::size_t step = 0; step < steps; ++step, a += kHalfDepth * kTileHeight, b += kHalfDepth * kPanel) {
        load_rows<Tiles, rows>(tiles, a, next_rows);
        if constexpr (parts == 2) {
            load_weights<Tiles, count>(tiles, b + product.b_rest, product.b_step);
            multiply_loaded();
        }
        load_weights<Tiles, count>(tiles, b, product.b_step);
        multiply_loaded();
        if constexpr (parts == 2) {
            load_rows<Tiles, rows>(tiles, a + product.a_rest, next_rows);
            multiply_loaded();
        }
    }
    pending.all();
    end_sums<Tiles, rows, count>(tiles, end);
}

// Asks for the weights that are next, while the `part`-th of `of` row blocks is computed.
template <std::size_t parts>
inline void ask_for(const HalfProduct& product, std::size_t column, std::size_t part, std::size_t of) {
    constexpr std::size_t kLine = 64 / sizeof(std::uint16_t);
    const std::size_t values = product.k * kPanel;
    const std::size_t share = (values / kLine + of - 1) / of * kLine;
    const std::size_t start = part * share;
    for (std::size_t panel = column / kPanel; panel < column / kPanel + 2 && panel < product.panels_there; ++panel) {
        const std::uint16_t* const b = product.b + panel * product.b_step;
        for (std::size_t i = start; i < std::min(start + share, values); i += kLine) {
            __builtin_prefetch(b + i, 0, 2);
            if constexpr (parts == 2) {
                __builtin_prefetch(b + product.b_rest + i, 0, 2);
            }
        }
    }
}

// `rows` tiles of rows by `count` panels, and whatever is to follow.
template <After after, typename Tiles, std::size_t parts, int rows, int count, typename Pending>
inline void pass_block(Tiles& tiles, const HalfProduct& product, std::size_t row, std::size_t column, float* sums,
                       Pending& pending) {
    if (after == After::nothing && product.halved == nullptr && !product.add && row + rows * kTileHeight <= product.m) {
        const Place within = Place::within(product.c + row * product.c_step + column, product.c_step);
        tile_block<Tiles, parts, rows, count>(tiles, product, row, column, within, pending);
        return;
    }
    tile_block<Tiles, parts, rows, count>(tiles, product, row, column, Place::alone(sums, count), pending);
    pending.begin(sums, row, column, rows, count, product.add);
}

// All rows from `first` to `end` by `count` panels.
template <After after, typename Tiles, std::size_t parts, int count, typename Pending>
void tile_column(Tiles& tiles, const HalfProduct& product, std::size_t first, std::size_t end, std::size_t column,
                 float* sums, Pending& pending) {
    const std::size_t blocks = (end - first + 2 * kTileHeight - 1) / (2 * kTileHeight);
    for (std::size_t block = 0; block < blocks; ++block) {
        const std::size_t row = first + 2 * block * kTileHeight;
        ask_for<parts>(product, column + 2 * kPanel, block, blocks);
        if (row + kTileHeight < end) {
            pass_block<after, Tiles, parts, 2, count>(tiles, product, row, column, sums, pending);
        } else {
            pass_block<after, Tiles, parts, 1, count>(tiles, product, row, column, sums, pending);
        }
    }
}

template <typename Tiles, typename Halver, std::size_t parts, After after>
void multiply_by_tiles(const HalfProduct& product) {
    alignas(64) float sums[4 * kSumsOfTile];
    Tiles tiles;
    Finishing<parts, Halver, after> pending(product);
    for (std::size_t first = 0; first < product.m; first += kPassing) {
        const std::size_t end = std::min(product.m, first + kPassing);
        std::size_t column = 0;
        for (; column + 2 * kPanel <= product.columns; column += 2 * kPanel) {
            tile_column<after, Tiles, parts, 2>(tiles, product, first, end, column, sums, pending);
        }
        if (column < product.columns) {
            tile_column<after, Tiles, parts, 1>(tiles, product, first, end, column, sums, pending);
        }
    }
    pending.all();
}

template <typename Tiles, typename Halver, std::size_t parts>
void multiply_in_tiles(const HalfProduct& product) {
    switch (product.after) {
        case After::nothing: multiply_by_tiles<Tiles, Halver, parts, After::nothing>(product); break;
        case After::bias: multiply_by_tiles<Tiles, Halver, parts, After::bias>(product); break;
        case After::bias_gelu: multiply_by_tiles<Tiles, Halver, parts, After::bias_gelu>(product); break;
    }
}

// The tables of levels whose weights are of bfloat16 values, by what makes these and what multiplies them.
template <class Halver, class Pair>
constexpr EncoderKernels kTableOfPairs{
    &multiply, &layer_norm, &softmax, &apply_gate, 1, &halve<Halver, 1, false>, &multiply_by<Pair, HalfProduct>};
template <class Tiles, class Halver, std::size_t parts>
constexpr EncoderKernels kTableOfTiles{&multiply,
                                       &layer_norm,
                                       &softmax,
                                       &apply_gate,
                                       parts,
                                       &halve<Halver, parts, true>,
                                       &multiply_in_tiles<Tiles, Halver, parts>,
                                       true,
                                       &softmax_halves<Halver, parts>,
                                       &pack_keys<Halver, parts>,
                                       &pack_values<Halver, parts>,
                                       kTogether};

}  // namespace
}  // namespace vss::embedding
