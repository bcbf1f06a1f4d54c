// CellIndex: the 4-bit codes of its rows, kept by slot beside the cells.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/scoped_value.h"
#include "base/text.h"
#include "index/cells/cells.h"

namespace vss {
namespace {

// Chunks that are gathered before they are written, where they may be: about 1 MB.
constexpr std::size_t most_gathered = 256;
constexpr std::size_t rows_at_once = 2048;
// Where a code is a larger share of its vector, reading vectors in its place costs about as much, and the file would
// grow by more than it is worth.
constexpr std::size_t least_ratio = 3;

}  // namespace

bool CellIndex::may_keep_slot_codes() const {
    return tuning_.slot_codes.value_or(SlotCodes::code_bytes(space_->padded()) * least_ratio <= store_.vector_bytes());
}

std::size_t CellIndex::chunks_per_segment() const {
    return SlotCodes::chunks_of(store_.segment_slots(), space_->padded());
}

CellIndex::SlotPlace CellIndex::place_of(std::uint32_t slot) const {
    const auto segment_slots = static_cast<std::uint32_t>(store_.segment_slots());
    const auto chunk_slots = static_cast<std::uint32_t>(SlotCodes::chunk_slots(space_->padded()));
    const std::uint32_t segment = slot / segment_slots;
    const std::uint32_t within = slot % segment_slots;
    return {std::uint64_t{segment} * chunks_per_segment() + within / chunk_slots, within % chunk_slots};
}

Status CellIndex::slot_codes(std::uint64_t first_chunk, std::size_t count, const CellStore::SlotCodesFound& found) {
    const std::uint64_t end = first_chunk + count;
    auto gathered = slot_chunks_.lower_bound(first_chunk);
    const auto gathered_before = [&](std::uint64_t chunk) {
        for (; gathered != slot_chunks_.end() && gathered->first < chunk; ++gathered) {
            found(gathered->first, std::as_const(*gathered->second).bytes_on_disk());
        }
    };
    const bool covered = count == 1 && gathered != slot_chunks_.end() && gathered->first == first_chunk;
    if (state_.slot_codes && !erases_slot_codes_ && !covered) {
        VSS_TRY(store_.read_slot_codes(first_chunk, count, [&](std::uint64_t chunk, std::span<const std::byte> bytes) {
            gathered_before(chunk);
            if (gathered == slot_chunks_.end() || gathered->first != chunk) {
                found(chunk, bytes);
            }
        }));
    }
    gathered_before(end);
    return Status::ok();
}

Status CellIndex::changing_slot_codes(std::uint64_t chunk, SlotCodes*& out) {
    auto at = slot_chunks_.find(chunk);
    if (at == slot_chunks_.end()) {
        auto codes = std::make_shared<SlotCodes>(space_->padded());
        VSS_TRY(slot_codes(chunk, 1, [&](std::uint64_t /*chunk*/, std::span<const std::byte> bytes) {
            std::copy(bytes.begin(), bytes.end(), codes->bytes_on_disk().begin());
        }));
        at = slot_chunks_.emplace(chunk, std::move(codes)).first;
    } else if (at->second.use_count() > 1) {
        // What Undo holds stays as it is.
        auto codes = std::make_shared<SlotCodes>(space_->padded());
        std::copy_n(at->second->bytes_on_disk().data(), codes->bytes_on_disk().size(), codes->bytes_on_disk().data());
        at->second = std::move(codes);
    }
    out = at->second.get();
    return Status::ok();
}

// `codes`: one behind the other.
Status CellIndex::put_slot_codes(std::span<const std::uint32_t> slots, const std::byte* codes) {
    const std::size_t bytes = SlotCodes::code_bytes(space_->padded());
    std::uint64_t held = UINT64_MAX;
    SlotCodes* chunk = nullptr;
    for (std::size_t i = 0; i < slots.size(); ++i) {
        const SlotPlace place = place_of(slots[i]);
        if (place.chunk != held) {
            if (may_write_ && slot_chunks_.size() >= most_gathered) {
                VSS_TRY(write_slot_codes());
            }
            VSS_TRY(changing_slot_codes(place.chunk, chunk));
            held = place.chunk;
        }
        chunk->set(place.at, codes + i * bytes);
    }
    return Status::ok();
}

Status CellIndex::forget_slot_code(std::uint32_t slot) {
    if (!state_.slot_codes) {
        return Status::ok();
    }
    // A row is taken out by a statement that writes.
    if (slot_chunks_.size() >= most_gathered) {
        VSS_TRY(write_slot_codes());
    }
    const SlotPlace place = place_of(slot);
    SlotCodes* chunk = nullptr;
    VSS_TRY(changing_slot_codes(place.chunk, chunk));
    chunk->remove(place.at);
    return Status::ok();
}

Status CellIndex::write_slot_codes() {
    wrote_ = wrote_ || cleared_ || erases_slot_codes_ || !slot_chunks_.empty();
    if (cleared_) {
        VSS_TRY(store_.clear());
        cleared_ = false;
    }
    if (erases_slot_codes_) {
        VSS_TRY(store_.erase_slot_codes());
        erases_slot_codes_ = false;
    }
    for (const auto& [chunk, codes] : slot_chunks_) {
        VSS_TRY(store_.write_slot_codes(chunk, *codes));
    }
    slot_chunks_.clear();
    return Status::ok();
}

Status CellIndex::erase_slot_codes() {
    slot_chunks_.clear();
    erases_slot_codes_ = true;
    return may_write_ ? write_slot_codes() : Status::ok();
}

Status CellIndex::settle_and_write(bool all) {
    // What is in the tables is not put back with what is in memory: only a rollback does.
    struct BrokenUnlessDone {
        CellIndex& index;
        bool done = false;
        ~BrokenUnlessDone() { index.broken_ = index.broken_ || (!done && index.wrote_); }
    };
    const ScopedValue scope(may_write_, true);
    wrote_ = false;
    BrokenUnlessDone guard{*this};
    Status status = settle(all);
    guard.done = status.is_ok();
    return status;
}

// Of all rows in cells.
Status CellIndex::code_all_slots() {
    const std::size_t padded = space_->padded();
    std::vector<std::uint32_t> slots;
    VSS_TRY(store_.live_slots(slots));
    std::erase_if(slots, [&](std::uint32_t slot) { return tail_.contains(slot); });
    dirty_ = true;
    broken_ = true;
    const ScopedValue scope(may_write_, true);
    VSS_TRY(erase_slot_codes());
    state_.slot_codes = true;
    std::vector<float> raw;
    std::vector<float> x(padded);
    std::vector<std::byte> codes;
    const std::size_t bytes = SlotCodes::code_bytes(padded);
    Status status = Status::ok();
    for (std::size_t done = 0; done < slots.size() && status.is_ok(); done += rows_at_once) {
        const auto part = std::span(slots).subspan(done, std::min(rows_at_once, slots.size() - done));
        raw.resize(part.size() * dim_);
        codes.resize(part.size() * bytes);
        status = store_.read_vectors(part, raw.data());
        for (std::size_t i = 0; i < part.size() && status.is_ok(); ++i) {
            const bool whole = space_->enter(raw.data() + i * dim_, x.data());
            SlotCodes::encode(x.data(), whole, padded, codes.data() + i * bytes);
        }
        status = status.is_ok() ? put_slot_codes(part, codes.data()) : status;
    }
    broken_ = !status.is_ok();
    return status;
}

// Nothing is waiting to be written.
Status CellIndex::check_slot_codes(const std::vector<std::uint32_t>& live,
                                   const std::function<bool(const std::string&)>& report) {
    if (!state_.slot_codes) {
        return Status::ok();
    }
    const std::size_t padded = space_->padded();
    // Those that have no code where there should be one, and those that have one and should not.
    std::vector<std::uint32_t> coded;
    const std::uint64_t per_segment = chunks_per_segment();
    const std::size_t per_chunk = SlotCodes::chunk_slots(padded);
    std::vector<float> raw(dim_);
    std::vector<float> x(padded);
    Status failed = Status::ok();
    bool more = true;
    SlotCodes chunk(padded);
    const auto look = [&](std::uint64_t number, std::span<const std::byte> bytes) {
        std::copy(bytes.begin(), bytes.end(), chunk.bytes_on_disk().begin());
        for (std::size_t i = 0; i < 32 && more && failed.is_ok(); ++i) {
            if (!chunk.has(i)) {
                continue;
            }
            const std::uint64_t within = number % per_segment * per_chunk + i;
            const std::uint64_t slot = number / per_segment * store_.segment_slots() + within;
            if (i >= per_chunk || within >= store_.segment_slots() || slot > max_celled_slots ||
                !std::binary_search(live.begin(), live.end(), static_cast<std::uint32_t>(slot)) ||
                tail_.contains(static_cast<std::uint32_t>(slot))) {
                more = report(cat("the 4-bit codes name slot ", slot, ", which is in no cell"));
                continue;
            }
            const auto known = static_cast<std::uint32_t>(slot);
            coded.push_back(known);
            failed = store_.read_vectors({&known, 1}, raw.data());
            if (!failed.is_ok()) {
                return;
            }
            const bool whole = space_->enter(raw.data(), x.data());
            if (!SlotCodes::is_code_of(x.data(), whole, padded, chunk.code(i))) {
                more = report(cat("the 4-bit code of slot ", slot, " is not that of its vector"));
            }
        }
    };
    const Status read = store_.read_slot_codes(0, std::size_t{1} << 48, look);
    VSS_TRY(failed);
    if (read.code() == Code::corrupt) {
        report(read.message());
        return Status::ok();
    }
    VSS_TRY(read);
    for (const std::uint32_t slot : live) {
        if (!more) {
            break;
        }
        if (!tail_.contains(slot) && !std::binary_search(coded.begin(), coded.end(), slot)) {
            more = report(cat("slot ", slot, " has no 4-bit code"));
        }
    }
    return Status::ok();
}

}  // namespace vss
