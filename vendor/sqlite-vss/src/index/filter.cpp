#include "index/filter.h"

#include <algorithm>

namespace vss {
namespace {

// A bitmap may take this many bits for each member (an array takes 64).
constexpr std::uint64_t bits_per_member = 256;

}  // namespace

RowidSet::RowidSet(std::vector<std::int64_t> rowids) : rowids_(std::move(rowids)) {
    if (!std::is_sorted(rowids_.begin(), rowids_.end())) {
        std::sort(rowids_.begin(), rowids_.end());
    }
    rowids_.erase(std::unique(rowids_.begin(), rowids_.end()), rowids_.end());
    if (rowids_.empty()) {
        return;
    }
    first_ = rowids_.front();
    const std::uint64_t span = static_cast<std::uint64_t>(rowids_.back()) - static_cast<std::uint64_t>(first_);
    if (span / bits_per_member <= rowids_.size()) {
        bits_.resize(span / 64 + 1);
        for (const std::int64_t rowid : rowids_) {
            const std::uint64_t offset = static_cast<std::uint64_t>(rowid) - static_cast<std::uint64_t>(first_);
            bits_[offset / 64] |= std::uint64_t{1} << (offset % 64);
        }
    }
}

bool RowidSet::contains(std::int64_t rowid) const {
    if (bits_.empty()) {
        return std::binary_search(rowids_.begin(), rowids_.end(), rowid);
    }
    if (rowid < first_) {
        return false;
    }
    const std::uint64_t offset = static_cast<std::uint64_t>(rowid) - static_cast<std::uint64_t>(first_);
    return offset / 64 < bits_.size() && (bits_[offset / 64] >> (offset % 64) & 1) != 0;
}

}  // namespace vss
