#include "storage/lent_rows.h"

#include <new>

namespace vss {
namespace {

// Slots between two rows of a load that other rows hold. Beyond so many, what came before is forgotten.
constexpr std::uint64_t most_skipped = 4096;

}  // namespace

void LentRows::put(std::uint64_t slot, const Row& row, const std::shared_ptr<const Lease>& lease) {
    if (lease != lease_ || slot < first_ || slot - first_ > rows_.size() + most_skipped) {
        clear();
        lease_ = lease;
        first_ = slot;
    }
    try {
        const std::uint64_t at = slot - first_;
        if (at >= rows_.size()) {
            rows_.resize(at + 1);
        }
        rows_[at] = row;
    } catch (const std::bad_alloc&) {
        clear();
    }
}

}  // namespace vss
