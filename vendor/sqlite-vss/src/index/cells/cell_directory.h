// The directory of cells: where vectors enter the cells' space, each cell's centroid and counts, and the ranking of
// cells for a vector. No SQLite in here.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "base/cache.h"
#include "base/types.h"
#include "index/cells/code_batch.h"
#include "index/cells/codes.h"
#include "index/cells/shared_parts.h"
#include "kernels/rotation.h"

namespace vss {

// How a column's vectors are looked at: rotated, and of length 1 for cosine.
class CellSpace {
  public:
    // `offset`: padded floats that rotated vectors are moved by (L2 of places only), or empty. `exponent`: vectors are
    // multiplied by 2 to its power, where their squares would be too large or too small for floats.
    CellSpace(std::size_t dim, Metric metric, bool spherical, std::uint64_t seed, std::vector<float> offset = {},
              int exponent = 0);

    // Metrics and element types that have codes; the others are searched exactly.
    [[nodiscard]] static bool supports(ElementType type, Metric metric);

    [[nodiscard]] std::size_t dim() const { return dim_; }
    [[nodiscard]] std::size_t padded() const { return rotation_.padded(); }
    [[nodiscard]] Metric metric() const { return metric_; }
    [[nodiscard]] Estimate estimate() const {
        return metric_ == Metric::inner_product ? Estimate::product : Estimate::l2;
    }
    // Cells gather directions (norms are equal, or nearly), else places.
    [[nodiscard]] bool is_spherical() const { return spherical_; }
    // `v`: dim floats; `out`: padded floats. False: the vector is so long that squares of floats could overflow, and
    // enters shortened, so that what is estimated of it means nothing.
    bool enter(const float* v, float* out) const { return enter(v, out, exponent_); }
    bool enter(const float* v, float* out, int exponent) const;
    [[nodiscard]] int exponent() const { return exponent_; }

  private:
    std::size_t dim_;
    Metric metric_;
    bool spherical_;
    Rotation rotation_;
    std::vector<float> offset_;
    int exponent_;
};

// The power of two that brings the largest element to about 1, where it is far from it; else 0.
[[nodiscard]] int extreme_exponent(std::span<const float> v);

// With what waits for the cell in batches.
struct CellInfo {
    std::uint64_t version = 0;    // of its codes; 0: there is no such cell
    std::uint32_t primaries = 0;  // rows whose first copy is here
    std::uint32_t entries = 0;    // both copies
    std::uint32_t retry_at = 0;   // splitting failed (equal vectors); not again below so many primaries
    float scale = 0;              // centroid = scale * (bytes - 128)
    float norm = 0;               // of the centroid
    float radius = 0;             // mean distance of its rows (first copies) to the centroid; 0: not known
    float spread = 0;             // standard deviation of it
    float farthest = 0;           // distance of the row farthest out, where that is more than three deviations
};

// Without: what the cell's own chunks hold.
struct StoredCell {
    std::uint64_t version = 0;
    std::uint32_t primaries = 0;
    std::uint32_t entries = 0;
    std::uint32_t taken_to = 0;  // entries of earlier batches are in the chunks already, or gone
    std::uint32_t checksum = 0;  // of the centroid, as stored; 0: not known
};

struct RankedCell {
    float score = 0;  // smaller is nearer
    std::uint32_t cell = 0;
    float product = 0;  // <q, c>
    float square = -1;  // |q - c|^2 where it was taken of floats, else below 0
};

// A ranking under way. Reusable.
struct CellRanking {
    std::vector<float> estimates;  // by sign codes, of all cells; empty where each is measured
    float limit = 0;               // all cells of estimates below it were measured
    std::vector<RankedCell> pool;  // measured, and not ranked yet
    bool measured_all = false;
};

class CellDirectory final : public CacheEntry {
  public:
    explicit CellDirectory(const CellSpace& space)
        : CellDirectory(space.padded(), space.estimate(), space.is_spherical()) {}
    [[nodiscard]] std::shared_ptr<CellDirectory> clone() const;
    // What the tables say of the cells, without batches.
    [[nodiscard]] std::shared_ptr<CellDirectory> clone_stored() const;
    [[nodiscard]] bool fits(const CellSpace& space) const {
        return padded_ == space.padded() && estimate_ == space.estimate() && spherical_ == space.is_spherical();
    }

    // Ids run from 0; some may be unused (version 0).
    [[nodiscard]] std::size_t size() const { return infos_.size(); }
    [[nodiscard]] std::size_t live() const { return live_; }
    [[nodiscard]] const CellInfo& info(std::uint32_t cell) const { return infos_[cell]; }
    [[nodiscard]] CellInfo& changing_info(std::uint32_t cell) { return infos_.change(cell); }
    [[nodiscard]] const std::uint8_t* centroid_bytes(std::uint32_t cell) const {
        return centroids_[cell / shared_cells]->data() + cell % shared_cells * padded_;
    }
    void centroid(std::uint32_t cell, float* out) const;

    // An unused id.
    [[nodiscard]] std::uint32_t next_id() const;
    // From floats: the centroid becomes what its bytes say.
    void set_centroid(std::uint32_t cell, const float* centroid);
    void reserve(std::size_t cells);
    // As stored: `info` with its version and norm, and without what waits. `centroid`: null where it is the same still.
    void put(std::uint32_t cell, const CellInfo& info, const std::uint8_t* centroid, std::uint32_t taken_to = 0,
             std::uint32_t checksum = 0);
    void erase(std::uint32_t cell);

    [[nodiscard]] const StoredCell& stored(std::uint32_t cell) const { return stored_[cell]; }
    // The cell's chunks hold all of its entries from now on, of every batch before number `taken_to`.
    void set_stored(std::uint32_t cell, std::uint32_t taken_to);
    // Batches in the order of their numbers. False: one of its entries is of a cell that does not exist.
    [[nodiscard]] bool add_batch(std::shared_ptr<const CodeBatch> batch);
    // The one of that number, if it is of this version.
    [[nodiscard]] std::shared_ptr<const CodeBatch> batch(std::uint32_t number, std::uint64_t version) const;
    void drop_first_batch();
    [[nodiscard]] const std::deque<std::shared_ptr<const CodeBatch>>& batches() const { return batches_; }
    [[nodiscard]] std::size_t batched_entries() const { return batched_entries_; }
    [[nodiscard]] bool waits(const CodeBatch& batch, std::size_t i) const {
        return batch.number() >= stored_[batch.cell(i)].taken_to;
    }
    // Appends what waits for the cell.
    void append_waiting(std::uint32_t cell, CodeBlocks& out) const;

    // The `count` nearest cells, nearest first: those likely to hold a query's neighbours, or the ones where a row
    // belongs (which differ for inner products of vectors of unequal norms: rows are gathered by direction).
    enum class For { query, row };
    void rank(const CodeQuery& query, std::size_t count, For purpose, std::vector<RankedCell>& out) const;
    // The same in steps, where it is not known beforehand how many are wanted: appends to `out` until it holds `count`.
    void begin_ranking(const CodeQuery& query, CellRanking& ranking) const;
    void rank_more(const CodeQuery& query, std::size_t count, For purpose, CellRanking& ranking,
                   std::vector<RankedCell>& out) const;

    // All cells for a query, measured in floats: where they are too close together for the rounded query to tell apart.
    void rank_finely(const CodeQuery& query, std::vector<RankedCell>& out) const;
    // How far off the products of measured cells may be: the deviation, for each unit of a centroid's length.
    [[nodiscard]] static float product_deviation(const CodeQuery& query) {
        constexpr float rounding_deviation = 0.28867513F;  // of values to whole steps
        return rounding_deviation * query.small_step;
    }

    [[nodiscard]] std::size_t bytes() const override {
        return sizeof(*this) +
               infos_.size() *
                   (sizeof(CellInfo) + sizeof(StoredCell) + padded_ + code_block_bytes(padded_) / block_rows) +
               batched_entries_ * batch_entry_bytes(padded_);
    }

  private:
    CellDirectory(std::size_t padded, Estimate estimate, bool spherical)
        : padded_(padded), estimate_(estimate), spherical_(spherical) {}
    void refresh(std::uint32_t cell);
    void grow(std::uint32_t cell);
    [[nodiscard]] std::uint8_t* changing_centroid(std::uint32_t cell);
    void code(std::uint32_t cell, CodeBlocks& codes) const;
    // Null where there are none yet. Copies of a directory share them until one of them changes.
    [[nodiscard]] CodeBlocks* changing_codes();
    [[nodiscard]] std::shared_ptr<const CodeBlocks> codes_for_ranking() const;
    [[nodiscard]] RankedCell measure(const CodeQuery& query, std::uint32_t cell, For purpose) const;
    std::size_t padded_;
    Estimate estimate_;
    bool spherical_;
    std::size_t live_ = 0;
    SharedParts<CellInfo> infos_;
    SharedParts<StoredCell> stored_;
    std::deque<std::shared_ptr<const CodeBatch>> batches_;
    std::size_t batched_entries_ = 0;
    // Of so many cells each. Copies of a directory share them until one of them changes: a batch of new rows must not
    // cost a copy of all centroids.
    static constexpr std::size_t shared_cells = 128;
    std::vector<std::shared_ptr<std::vector<std::uint8_t>>> centroids_;
    // Sign codes of the centroids, by id. Made once it was asked for often enough: a process that asks once need not
    // wait. Whoever changes the directory has it alone; readers may share it.
    mutable std::atomic<std::shared_ptr<CodeBlocks>> coarse_;
    mutable std::atomic<std::uint32_t> ranked_ = 0;
    // What is made of them so far, some by each ranking, so that none waits long.
    mutable std::mutex making_;
    mutable std::shared_ptr<CodeBlocks> made_;
};

}  // namespace vss
