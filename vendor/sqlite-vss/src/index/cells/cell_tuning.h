// How large cells are, and when they are made, split and merged.
#pragma once

#include <cstddef>
#include <optional>

#include "base/defaults.h"

namespace vss {

// Trials set these; the tables use the defaults.
struct CellTuning {
    std::size_t first_cells_at = defaults::first_indexed_rows;  // rows; below, a search is exact
    std::size_t cell_rows = defaults::cell_rows;                // primaries of a fresh cell
    std::size_t split_above = 225;
    std::size_t merge_below = 22;
    std::size_t neighbors = 10;           // cells clustered again together with one that is split
    std::size_t optimize_neighbors = 24;  // the same where cells are clustered again at leisure
    std::size_t second_choices = 16;      // cells considered for the second copy
    std::size_t tail_rows = 64;           // or as many as a batch holds
    std::size_t most_batched = 8192;      // rows in batches
    std::size_t sample_per_cell = 28;     // rows per cell that bulk clustering learns from
    std::size_t iterations = 3;
    std::size_t most_working_bytes = std::size_t{128} << 20;  // of codes that a bulk load gathers before it writes them
    float soar = 2;
    bool copies = true;
    // Whether 4-bit codes are kept in the tables, and then used wherever all rows are looked at. None: kept where they
    // are small enough, used where that is cheaper.
    std::optional<bool> slot_codes;
};

// From the figures that a table keeps; sensible for any.
[[nodiscard]] CellTuning cell_tuning(std::size_t first_cells_at, std::size_t cell_rows);

}  // namespace vss
