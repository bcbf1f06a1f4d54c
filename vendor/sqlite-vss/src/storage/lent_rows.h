// Rows whose bytes still lie in the memory of a statement's caller. An index that goes through all rows of a load reads
// them there, and not the pages that have just been written.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/lease.h"

namespace vss {

class LentRows {
  public:
    struct Row {
        const std::byte* at = nullptr;  // none: not lent
        std::int64_t rowid = 0;
        std::uint32_t crc = 0;  // of the slot as it was stored: its owner may have changed the memory since
    };

    // Of one lease at a time. Where memory fails it knows fewer rows.
    void put(std::uint64_t slot, const Row& row, const std::shared_ptr<const Lease>& lease);
    void forget(std::uint64_t slot) {
        if (slot - first_ < rows_.size()) {
            rows_[slot - first_].at = nullptr;
        }
    }
    void clear() { *this = {}; }
    // nullptr where the row is not lent, or no more.
    [[nodiscard]] const Row* find(std::uint64_t slot) const {
        if (slot - first_ >= rows_.size() || lease_->is_over) {
            return nullptr;
        }
        const Row& row = rows_[slot - first_];
        return row.at != nullptr ? &row : nullptr;
    }

  private:
    std::shared_ptr<const Lease> lease_;
    std::uint64_t first_ = 0;  // slot of rows_[0]
    std::vector<Row> rows_;
};

}  // namespace vss
