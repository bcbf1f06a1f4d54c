// What the files of CellIndex share beside its class.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "index/cells/cells.h"

namespace vss {

// Rows that are read, rotated and placed together.
inline constexpr std::size_t rows_at_once = 2048;

// Some cells and the rows that have an entry in them.
struct CellIndex::Region {
    std::vector<std::uint32_t> slots;  // rows whose first copy is here, then those with a second copy only
    std::vector<bool> has_second;      // here
    std::size_t primaries = 0;
    std::vector<float> rows;  // rotated
};

// Inner products of centroids: known beforehand for a few cells, else taken when asked for.
class CellIndex::CrossProducts {
  public:
    explicit CrossProducts(const CellDirectory& directory, std::size_t padded)
        : directory_(directory), padded_(padded), first_(padded), other_(padded) {}

    void remember(std::span<const std::uint32_t> cells, std::span<const float> centroids) {
        cells_.assign(cells.begin(), cells.end());
        products_.resize(cells.size() * cells.size());
        for (std::size_t i = 0; i < cells.size(); ++i) {
            for (std::size_t j = 0; j < cells.size(); ++j) {
                products_[i * cells.size() + j] =
                    code_kernels().dot(centroids.data() + i * padded_, centroids.data() + j * padded_, padded_);
            }
        }
    }
    // With the cell of the last first() from now on.
    void first(std::uint32_t cell) {
        at_ = place_of(cell);
        directory_.centroid(cell, first_.data());
    }
    [[nodiscard]] const float* first_centroid() const { return first_.data(); }
    [[nodiscard]] float with(std::uint32_t cell) {
        const std::size_t j = place_of(cell);
        if (at_ < cells_.size() && j < cells_.size()) {
            return products_[at_ * cells_.size() + j];
        }
        return code_kernels().dot(first_.data(), centroid(cell), padded_);
    }
    [[nodiscard]] const float* centroid(std::uint32_t cell) {
        directory_.centroid(cell, other_.data());
        return other_.data();
    }

  private:
    [[nodiscard]] std::size_t place_of(std::uint32_t cell) const {
        return static_cast<std::size_t>(std::find(cells_.begin(), cells_.end(), cell) - cells_.begin());
    }

    const CellDirectory& directory_;
    std::size_t padded_;
    std::vector<float> first_;
    std::vector<float> other_;
    std::vector<std::uint32_t> cells_;
    std::vector<float> products_;
    std::size_t at_ = 0;
};

}  // namespace vss
