// What the cells need of the tables, so that they can be tried without SQLite.
//
// On disk, for vector column c of table t (FORMAT.md has it byte by byte):
//   t_segments<c>, last row                           the state
//   t_cells<c>(cell INTEGER PRIMARY KEY, data BLOB)   the directory in parts of `part_cells` cells: what is counted of
//                                                     them, their centroids
//   t_codes<c>(chunk INTEGER PRIMARY KEY, data BLOB)  chunk = cell * 2^24 + number within the cell, fixed size;
//                                                     2^55 + number of a batch (code_batch.h);
//                                                     2^55 + 2^48 + number of a chunk of 4-bit codes (slot_codes.h)
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <vector>

#include "base/status.h"
#include "index/cells/cell_directory.h"
#include "index/cells/codes.h"
#include "index/cells/slot_codes.h"

namespace vss {

// When a search may end, measured by the table on its own rows (cell_learn.cpp).
struct LearnedRecall {
    static constexpr std::array<float, 7> levels = {0.8F, 0.9F, 0.95F, 0.97F, 0.98F, 0.99F, 0.995F};
    static constexpr std::array<std::uint32_t, 4> ks = {1, 10, 100, 1000};
    std::uint32_t cells_then = 0;  // cells when it was measured; 0: never
    std::uint32_t samples = 0;     // rows asked
    std::uint64_t rows = 0;        // of the column then
    std::int64_t when = 0;         // seconds since 1970
    // The misses expected for each neighbour wanted at which a search ends, for each of ks and levels.
    std::array<std::array<float, levels.size()>, ks.size()> misses = {};
    // Misses for the last of ks as they go on from those before.
    void go_on_to_last();
    // Mean and variance of the cosines (cell_model.h) that the rows asked have shown.
    float cosine_mean = 0;
    float cosine_variance = 0;
    // What such searches scanned, for k = 10: mean number of cells, share of all entries.
    std::array<float, levels.size()> cells = {};
    std::array<float, levels.size()> scanned = {};
};

// Which segments the last commits changed, so that who knows the rows as they were before one of them looks at these
// alone. Only changes of a single segment are kept, as one row more or less is.
struct ChangedSegments {
    static constexpr std::size_t most = 4;
    std::array<std::uint64_t, most> before = {};  // the generation that the change was made to; 0: no change is named
    std::array<std::uint32_t, most> segment = {};

    void clear() { *this = {}; }
    // The newest comes last.
    void push(std::uint64_t generation, std::uint32_t changed) {
        std::rotate(before.begin(), before.begin() + 1, before.end());
        std::rotate(segment.begin(), segment.begin() + 1, segment.end());
        before.back() = generation;
        segment.back() = changed;
    }
    // Those changed since a generation; empty: it is not known.
    [[nodiscard]] std::span<const std::uint32_t> since(std::uint64_t generation) const {
        const auto at = static_cast<std::size_t>(std::find(before.begin(), before.end(), generation) - before.begin());
        return generation == 0 || at == most ? std::span<const std::uint32_t>() : std::span(segment).subspan(at);
    }
};

// One small row; everything that a search or a write must know before it looks at any cell.
struct CellState {
    static constexpr std::uint32_t most_removed = (std::uint32_t{1} << 21) - 1;

    std::uint64_t generation = 0;         // drawn by every transaction that changes the column
    std::uint64_t directory_version = 0;  // drawn by every change of the directory; 0: there are no cells
    std::uint64_t seed = 0;               // of the rotation
    bool spherical = false;
    bool slot_codes = false;    // every live slot that is not in the tail has its 4-bit code in the tables
    std::int8_t exponent = 0;   // vectors are multiplied by 2 to its power, as they are very long or short
    std::vector<float> offset;  // of the rotated vectors, where a common one would cost precision; or empty
    std::uint64_t rows = 0;     // live vectors of the column
    ChangedSegments changed;
    LearnedRecall learned;
    std::uint32_t removed_since = 0;  // rows that left since then, or most_removed if they are more
    std::uint64_t parts_version = 0;  // drawn by every change of the directory beside new batches
    std::uint32_t batches_begin = 0;  // numbers of the batches that are there
    std::uint32_t batches_end = 0;
    std::vector<std::uint32_t> tail;  // slots whose rows are in no cell yet, ascending

    [[nodiscard]] bool is_celled() const { return directory_version != 0; }
};

// Rows of codes that one chunk holds.
[[nodiscard]] constexpr std::size_t chunk_blocks(std::size_t padded) {
    const std::size_t fit = 4032 / code_block_bytes(padded);  // a leaf page of 4,096 bytes, its overhead and ours
    return fit == 0 ? 1 : fit;
}
inline constexpr std::uint64_t max_chunks = std::uint64_t{1} << 24;
// Cells of one part of the directory. What a flush of rows changes lies close together, apart from the centroids, which
// it leaves alone.
inline constexpr std::size_t part_cells = 100;
inline constexpr std::uint64_t max_cells = std::uint64_t{1} << 30;

class CellStore {
  public:
    CellStore() = default;
    CellStore(const CellStore&) = delete;
    CellStore& operator=(const CellStore&) = delete;
    virtual ~CellStore() = default;

    // `state` is left alone if its generation is `known`.
    virtual Status read_state(std::uint64_t known, CellState& state) = 0;
    virtual Status write_state(const CellState& state) = 0;
    // Without batches.
    virtual Status read_directory(CellDirectory& out) = 0;
    // The same where `out` has the centroids of an earlier state: those are read that differ. `done`: whether that
    // could be said.
    virtual Status reread_directory(CellDirectory& out, bool& done) = 0;
    // Adds the batches from number `begin` up to `end` to the directory; those that `before` has are taken from it.
    virtual Status read_batches(std::uint32_t begin, std::uint32_t end, const CellDirectory* before,
                                CellDirectory& out) = 0;
    virtual Status write_batch(const CodeBatch& batch) = 0;
    virtual Status erase_batches(std::uint32_t begin, std::uint32_t end) = 0;
    // Writes what the directory says of the cells in `changed`, and the centroids of those in `moved`.
    virtual Status write_directory(const CellDirectory& directory, const std::set<std::uint32_t>& changed,
                                   const std::set<std::uint32_t>& moved) = 0;
    // No cells, no codes, no state.
    virtual Status clear() = 0;
    // The entries of the cell's chunks. What is not there is not allocated either, however many it says there are.
    virtual Status read_codes(std::uint32_t cell, std::size_t entries, CodeBlocks& out) = 0;
    virtual Status erase_codes(std::uint32_t cell) = 0;
    // Writes the chunks whose bit is set; chunks beyond the last entry are erased.
    virtual Status write_codes(std::uint32_t cell, const CodeBlocks& codes, const std::vector<bool>& dirty_chunks) = 0;

    // Chunks of 4-bit codes from number `first` on: calls `found` with each that is there, and its bytes, checked.
    using SlotCodesFound = std::function<void(std::uint64_t, std::span<const std::byte>)>;
    virtual Status read_slot_codes(std::uint64_t first, std::size_t count, const SlotCodesFound& found) = 0;
    // Seals the chunk with its checksum; one without any code is erased.
    virtual Status write_slot_codes(std::uint64_t chunk, SlotCodes& codes) = 0;
    virtual Status erase_slot_codes() = 0;

    // The vectors of live slots as float32, dim floats each.
    virtual Status read_vectors(std::span<const std::uint32_t> slots, float* out) = 0;
    // Every live slot of the column, ascending.
    virtual Status live_slots(std::vector<std::uint32_t>& out) = 0;

    // The segments in which rows were changed since it was last asked, in this transaction; false: they are many.
    virtual bool take_changed_segments(std::vector<std::uint32_t>& out) {
        out.clear();
        return false;
    }

    // For cache keys.
    [[nodiscard]] virtual std::uint32_t column() const = 0;
    [[nodiscard]] virtual std::uint64_t space() const { return 0; }
    [[nodiscard]] virtual std::size_t segment_slots() const = 0;
    [[nodiscard]] virtual std::size_t vector_bytes() const = 0;
};

}  // namespace vss
