// Which rows a search may return: sets of rowids, and their join. No SQLite in here.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

namespace vss {

// An immutable set of rowids: a bitmap where they lie close together, else a sorted array.
class RowidSet {
  public:
    RowidSet() = default;
    explicit RowidSet(std::vector<std::int64_t> rowids);

    [[nodiscard]] bool contains(std::int64_t rowid) const;
    [[nodiscard]] std::size_t size() const { return rowids_.size(); }
    // Ascending, without repeats.
    [[nodiscard]] const std::vector<std::int64_t>& rowids() const { return rowids_; }

  private:
    std::vector<std::int64_t> rowids_;
    std::vector<std::uint64_t> bits_;
    std::int64_t first_ = 0;
};

// What a search is limited to. Without a set every row passes.
struct RowFilter {
    std::optional<RowidSet> allowed;
    // distance bounds, as SQL compares them
    double distance_above = -std::numeric_limits<double>::infinity();
    double distance_below = std::numeric_limits<double>::infinity();
    bool above_inclusive = true;
    bool below_inclusive = true;

    [[nodiscard]] bool passes(std::int64_t rowid) const { return !allowed || allowed->contains(rowid); }
    [[nodiscard]] bool passes_distance(double d) const {
        return (above_inclusive ? d >= distance_above : d > distance_above) &&
               (below_inclusive ? d <= distance_below : d < distance_below);
    }
};

}  // namespace vss
