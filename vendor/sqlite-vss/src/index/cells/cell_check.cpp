// CellIndex: what must be true of the cells, and starting again where it is not.
#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/text.h"
#include "index/cells/cells.h"

namespace vss {
namespace {

// Codes may have been made by another instruction set, whose sums differ in the last bits.
bool nearly_equal(float a, float b, float scale) {
    return std::abs(a - b) <= 1e-3F * (std::abs(b) + scale);
}

}  // namespace

// Reads what the tables say, whatever the process's cache remembers. Nothing may be waiting to be flushed.
Status CellIndex::check(const std::function<bool(const std::string&)>& report) {
    VSS_TRY(load());
    CellState stored;
    VSS_TRY(store_.read_state(0, stored));
    std::vector<std::uint32_t> live;
    VSS_TRY(store_.live_slots(live));
    if (state_.rows != live.size() && !report(cat("the cells count ", state_.rows, " rows, there are ", live.size()))) {
        return Status::ok();
    }
    if (!state_.is_celled()) {
        return Status::ok();
    }
    CellDirectory directory(*space_);
    VSS_TRY(read_directory(directory));
    std::unordered_map<std::uint32_t, std::uint32_t> firsts;
    std::unordered_map<std::uint32_t, std::uint32_t> seconds;
    for (const std::uint32_t slot : tail_) {
        firsts.emplace(slot, UINT32_MAX);
    }
    const std::size_t padded = space_->padded();
    std::vector<float> centroid(padded);
    std::vector<float> rows;
    RowCode code;
    for (std::uint32_t cell = 0; cell < directory.size(); ++cell) {
        const CellInfo& info = directory.info(cell);
        if (info.version == 0) {
            continue;
        }
        CodeBlocks blocks(padded);
        if (const Status status = read_codes(store_, directory, cell, blocks); !status.is_ok()) {
            if (status.code() != Code::corrupt || !report(status.message())) {
                return status.code() == Code::corrupt ? Status::ok() : status;
            }
            continue;
        }
        directory.centroid(cell, centroid.data());
        std::uint32_t primaries = 0;
        std::vector<std::uint32_t> slots;
        std::vector<std::size_t> places;
        for (std::size_t i = 0; i < blocks.size(); ++i) {
            const std::uint32_t entry = blocks.entry(i);
            const std::uint32_t slot = entry & ~second_copy;
            primaries += entry == slot ? 1U : 0U;
            if (!std::binary_search(live.begin(), live.end(), slot)) {
                if (!report(cat("cell ", cell, " names slot ", slot, ", which holds no vector"))) {
                    return Status::ok();
                }
                continue;
            }
            if (!(entry == slot ? firsts : seconds).emplace(slot, cell).second &&
                !report(cat("slot ", slot, " is in the cells more often than it should"))) {
                return Status::ok();
            }
            slots.push_back(slot);
            places.push_back(i);
        }
        if (primaries != info.primaries &&
            !report(cat("cell ", cell, " counts ", info.primaries, " rows and holds ", primaries))) {
            return Status::ok();
        }
        VSS_TRY(rotated(slots, rows));
        for (std::size_t i = 0; i < slots.size(); ++i) {
            encode_row(space_->estimate(), rows.data() + i * padded, centroid.data(), padded, code);
            const std::byte* block = blocks.block(places[i] / block_rows);
            float add = 0;
            float rescale = 0;
            std::memcpy(&add, block + (block_rows + places[i] % block_rows) * 4, 4);
            std::memcpy(&rescale, block + (2 * block_rows + places[i] % block_rows) * 4, 4);
            const bool same = nearly_equal(add, code.add, info.norm * info.norm + std::abs(code.rescale)) &&
                              nearly_equal(rescale, code.rescale, 1e-3F);
            if (!same && !report(cat("the code of slot ", slots[i], " in cell ", cell, " is not that of its vector"))) {
                return Status::ok();
            }
        }
    }
    VSS_TRY(check_slot_codes(live, report));
    for (const std::uint32_t slot : live) {
        const auto first = firsts.find(slot);
        if (first == firsts.end()) {
            if (!report(cat("slot ", slot, " is in no cell"))) {
                return Status::ok();
            }
            continue;
        }
        const auto second = seconds.find(slot);
        if (second != seconds.end() && second->second == first->second &&
            !report(cat("slot ", slot, " is twice in cell ", first->second))) {
            return Status::ok();
        }
    }
    return Status::ok();
}

Status CellIndex::restart() {
    discard();
    VSS_TRY(store_.clear());
    space_is_current_ = false;
    state_ = {};
    std::vector<std::uint32_t> live;
    VSS_TRY(store_.live_slots(live));
    state_.rows = live.size();
    dirty_ = true;
    return flush();
}

}  // namespace vss
