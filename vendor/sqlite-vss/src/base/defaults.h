// Default values that readers look for, each with its reason. What a search, a column or the process says itself goes
// before them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vss::defaults {

// The recall of a search that asks for none: of twenty neighbours one may be missing. 0.99 takes about twice as long
// (docs/measurements/cells.md).
inline constexpr double recall = 0.95;

// What decoded rows and codes of all connections of the process may take together. The codes that searches through
// cells scan take 120 bytes a row of 384 dimensions, so that those of two million rows fit.
inline constexpr std::uint64_t memory_bytes = std::uint64_t{256} << 20;

// Vectors from which a column has cells, or its Faiss index. To look at all of fewer is to read 6 MB at most (of 384
// floats), which leaves little to save.
inline constexpr std::size_t first_indexed_rows = 4096;

// Rows of a fresh cell, by their first copies. Smaller ones make the ranking of cells longer, larger ones the scan of
// those that a search looks into.
inline constexpr std::size_t cell_rows = 90;

}  // namespace vss::defaults
