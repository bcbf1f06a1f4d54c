// Ranks cells for many rows at a time, by matrix products: what rows are placed by, in bulk and in batches.
//
// Cells are gathered in groups around a centre; a row is measured against all centres and then against the cells of the
// groups nearest to it. Groups far away are passed over, so the ranking is approximate beyond its first places.
// No SQLite in here. Threads: rank() may run on several at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "index/cells/cell_directory.h"
#include "kernels/code_kernels.h"

namespace vss {

class CellRanker {
  public:
    // by_direction: cells are ranked by cosine, else by distance.
    CellRanker(std::size_t padded, bool by_direction) : padded_(padded), by_direction_(by_direction) {}

    // From nothing. `centroids`: padded floats for each of `cells`.
    void build(std::span<const std::uint32_t> cells, const float* centroids);
    // The cell is new, or has a new centroid.
    void set(std::uint32_t cell, const float* centroid);
    void erase(std::uint32_t cell);
    [[nodiscard]] std::size_t size() const { return size_; }

    static constexpr std::uint32_t no_cell = UINT32_MAX;
    // The `count` nearest cells of each of `n` rows (padded floats each), nearest first, into out[row * count + place];
    // places beyond the last cell that was looked at hold no_cell. At least one cell must exist.
    void rank(const float* rows, std::size_t n, std::size_t count, RankedCell* out) const;

  private:
    struct Group {
        std::vector<std::uint32_t> cells;  // of each lane; no_cell: unused
        std::vector<float> bias;           // infinite where unused
        std::vector<float> panels;         // panel_width lanes each
    };
    struct Place {
        std::uint32_t group = no_cell;
        std::uint32_t lane = 0;
    };
    struct Best;

    void put(Group& group, std::size_t lane, std::uint32_t cell, const float* centroid) const;
    std::size_t free_lane(Group& group) const;
    void add(std::uint32_t cell, const float* centroid, std::uint32_t group);
    [[nodiscard]] std::uint32_t nearest_group(const float* centroid) const;
    void regroup();
    void visit(const Group& group, const float* rows, std::span<const std::uint32_t> which, Best& best) const;

    std::size_t padded_;
    bool by_direction_;
    std::size_t size_ = 0;
    std::size_t grouped_ = 0;  // cells when the groups were made
    Group centers_;
    std::vector<Group> groups_;
    std::vector<Place> places_;  // by cell
    std::vector<float> norms_;   // by cell
};

}  // namespace vss
