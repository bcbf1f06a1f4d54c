// The writing half of VectorStore: slots given out and taken back, changes gathered per block, and their way into the
// tables.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/random.h"
#include "base/text.h"
#include "storage/storage.h"

namespace vss {
namespace {

constexpr std::size_t gathered_limit = std::size_t{256} << 10;
constexpr std::size_t free_batch = 1024;
constexpr std::size_t most_touched = 4;

}  // namespace

Status VectorStore::load_allocator() {
    if (allocator_loaded_) {
        return Status::ok();
    }
    const std::string vectors = name_.shadow(cat("vectors", index_));
    std::int64_t last = -1;
    {
        VSS_TRY(prepare(select_last_, [&] {
            return cat("select max(block), (select max(slot) from ", name_.shadow(cat("free", index_)), ") from ",
                       vectors);
        }));
        bool row = false;
        VSS_TRY(select_last_.step(row));
        const ResetAtEnd guard(select_last_);
        if (row && !select_last_.is_null(0)) {
            last = select_last_.int64(0);
        }
        more_free_ = row && !select_last_.is_null(1);
        next_slot_ = more_free_ ? static_cast<std::uint64_t>(select_last_.int64(1)) + 1 : 0;
        if (last > static_cast<std::int64_t>(geometry_.block_of(max_slots)) || next_slot_ > max_slots) {
            return Status::corrupt(cat(name_.words(column_), ": the last block or free slot is out of range"));
        }
    }
    if (last >= 0) {
        // The last block's tail may never have been used.
        std::vector<std::byte> data(geometry_.block_bytes());
        bool found = false;
        VSS_TRY(read_block(static_cast<std::uint64_t>(last), data, found));
        std::size_t used = geometry_.block_slots;
        while (used > 0 && header_at(std::span<const std::byte>(data).subspan((used - 1) * geometry_.slot_bytes))
                               .is(SlotState::unused)) {
            --used;
        }
        next_slot_ = std::max(next_slot_, static_cast<std::uint64_t>(last) * geometry_.block_slots + used);
    }
    block_end_ = static_cast<std::uint64_t>(last + 1);
    last_free_ = -1;
    free_.clear();
    allocator_loaded_ = true;
    return Status::ok();
}

Status VectorStore::load_free_slots() {
    VSS_TRY(prepare(select_free_, [&] {
        return cat("select slot from ", name_.shadow(cat("free", index_)), " where slot > ? order by slot limit ",
                   free_batch);
    }));
    const ResetAtEnd guard(select_free_);
    select_free_.bind(1, last_free_);
    bool row = true;
    while (true) {
        VSS_TRY(select_free_.step(row));
        if (!row) {
            break;
        }
        last_free_ = select_free_.int64(0);
        if (last_free_ < 0 || last_free_ > static_cast<std::int64_t>(max_slots)) {
            return Status::corrupt(cat(name_.words(column_), ": free slot ", last_free_, " is out of range"));
        }
        free_.push_back(static_cast<std::uint64_t>(last_free_));
    }
    more_free_ = free_.size() == free_batch;
    return Status::ok();
}

Status VectorStore::allocate(std::uint64_t& slot) {
    VSS_TRY(load_allocator());
    is_fresh_ = false;
    if (!released_.empty()) {
        slot = released_.back();
        released_.pop_back();
        return Status::ok();
    }
    if (free_.empty() && more_free_) {
        VSS_TRY(load_free_slots());
    }
    if (!free_.empty()) {
        taken_.push_back(free_.front());
        slot = free_.front();
        free_.pop_front();
        return Status::ok();
    }
    if (next_slot_ > max_slots) {
        return {Code::too_big, cat(name_.words(column_), ": the column is full (", max_slots, " vectors)")};
    }
    slot = next_slot_++;
    is_fresh_ = true;
    return Status::ok();
}

Status VectorStore::pending_block(std::uint64_t block, PendingBlock*& out) {
    if (const auto at = pending_.find(block); at != pending_.end()) {
        out = &at->second;
        return Status::ok();
    }
    if (pending_.size() * geometry_.block_bytes() >= gathered_limit) {
        VSS_TRY(flush());
    }
    PendingBlock pending;
    pending.data.resize(geometry_.block_bytes());
    if (block < block_end_) {
        VSS_TRY(read_block(block, pending.data, pending.exists));
    }
    out = &pending_.emplace(block, std::move(pending)).first->second;
    block_end_ = std::max(block_end_, block + 1);
    return Status::ok();
}

Status VectorStore::segment_state(std::uint64_t slot, SegmentState*& out) {
    const std::uint64_t id = geometry_.segment_of(slot);
    if (const auto at = segment_states_.find(id); at != segment_states_.end()) {
        out = &at->second;
        return Status::ok();
    }
    VSS_TRY(prepare(select_segment_, [&] {
        return cat("select version, live from ", name_.shadow(cat("segments", index_)), " where segment = ?");
    }));
    const ResetAtEnd guard(select_segment_);
    select_segment_.bind(1, static_cast<std::int64_t>(id));
    bool row = false;
    VSS_TRY(select_segment_.step(row));
    SegmentState state;
    if (row) {
        VSS_TRY(check_segment_row(select_segment_, 1, static_cast<std::int64_t>(id)));
        state.version = static_cast<std::uint64_t>(select_segment_.int64(0));
        state.live = select_segment_.int64(1);
    } else {
        VSS_TRY(check_no_block(static_cast<std::int64_t>(id), static_cast<std::int64_t>(id) + 1));
    }
    out = &segment_states_.emplace(id, state).first->second;
    return Status::ok();
}

Status VectorStore::touch_segment(std::uint64_t slot, int live_change) {
    SegmentState* state = nullptr;
    VSS_TRY(segment_state(slot, state));
    const std::int64_t live = state->live + live_change;
    if (live < 0 || live > static_cast<std::int64_t>(geometry_.segment_slots)) {
        return Status::corrupt(
            cat(name_.words(column_), ": segment ", geometry_.segment_of(slot), " counts ", live, " live rows"));
    }
    if (!state->unread) {
        state->version = random_version();
        state->unread = true;
    }
    state->live = live;
    state->changed = true;
    const auto id = static_cast<std::uint32_t>(geometry_.segment_of(slot));
    if (!many_touched_ && std::find(touched_.begin(), touched_.end(), id) == touched_.end()) {
        touched_.push_back(id);
        many_touched_ = touched_.size() > most_touched;
    }
    return Status::ok();
}

Status VectorStore::reserve(std::uint64_t slot, std::optional<std::int64_t> owner) {
    if (slot > max_slots) {
        return damaged(slot, "the slot is out of range");
    }
    PendingBlock* pending = nullptr;
    std::span<std::byte> bytes;
    VSS_TRY(pending_slot(slot, pending, bytes));
    const SlotHeader header = header_at(bytes);
    if (owner && !(header.is(SlotState::live) && header.rowid == *owner)) {
        return holds_another(slot, *owner, header);
    }
    if (!owner && header.is(SlotState::live)) {
        return damaged(slot, cat("it is listed as free and holds the vector of row ", header.rowid));
    }
    SegmentState* state = nullptr;
    return segment_state(slot, state);
}

void VectorStore::give_back(std::uint64_t slot) {
    // Back to where it came from: a slot that was used before stays listed as free, also when it is the last one.
    if (is_fresh_) {
        --next_slot_;
        is_fresh_ = false;
    } else if (!taken_.empty() && taken_.back() == slot) {
        taken_.pop_back();
        free_.push_front(slot);
    } else {
        released_.push_back(slot);
    }
}

Status VectorStore::pending_slot(std::uint64_t slot, PendingBlock*& pending, std::span<std::byte>& bytes) {
    VSS_TRY(load_allocator());
    VSS_TRY(pending_block(geometry_.block_of(slot), pending));
    bytes = std::span<std::byte>(pending->data)
                .subspan((slot % geometry_.block_slots) * geometry_.slot_bytes, geometry_.slot_bytes);
    return Status::ok();
}

void VectorStore::set_header(PendingBlock& pending, std::uint64_t slot, const SlotHeader& header) const {
    const std::size_t i = slot % geometry_.block_slots;
    std::memcpy(pending.data.data() + i * geometry_.slot_bytes, &header, slot_header_bytes);
    pending.is_dirty = true;
}

Status VectorStore::put(std::uint64_t slot, std::int64_t rowid, std::span<const std::byte> vector,
                        const std::shared_ptr<const Lease>& lease) {
    PendingBlock* pending = nullptr;
    std::span<std::byte> bytes;
    VSS_TRY(pending_slot(slot, pending, bytes));
    VSS_TRY(touch_segment(slot, header_at(bytes).is(SlotState::live) ? 0 : 1));
    const std::span<std::byte> stored = bytes.subspan(slot_header_bytes, geometry_.vector_bytes);
    std::memcpy(stored.data(), vector.data(), stored.size());
    const std::uint32_t crc = slot_checksum(slot, rowid, SlotState::live, stored);
    set_header(*pending, slot, {rowid, crc, static_cast<std::uint32_t>(SlotState::live)});
    if (lease != nullptr) {
        lent_.put(slot, {vector.data(), rowid, crc}, lease);
    } else {
        lent_.forget(slot);
    }
    return Status::ok();
}

Status VectorStore::rename(std::uint64_t slot, std::int64_t old_rowid, std::int64_t new_rowid) {
    std::vector<std::byte> vector(geometry_.vector_bytes);
    VSS_TRY(read(slot, old_rowid, vector));
    return put(slot, new_rowid, vector);
}

Status VectorStore::release(std::uint64_t slot, std::int64_t rowid) {
    PendingBlock* pending = nullptr;
    std::span<std::byte> bytes;
    VSS_TRY(pending_slot(slot, pending, bytes));
    const SlotHeader was = header_at(bytes);
    if (!was.is(SlotState::live) || was.rowid != rowid) {
        return holds_another(slot, rowid, was);
    }
    VSS_TRY(touch_segment(slot, -1));
    set_header(*pending, slot,
               {rowid, slot_checksum(slot, rowid, SlotState::freed, {}), static_cast<std::uint32_t>(SlotState::freed)});
    released_.push_back(slot);
    lent_.forget(slot);
    return Status::ok();
}

Status VectorStore::flush_block(std::uint64_t block, PendingBlock& pending) {
    bool any_live = false;
    for (std::size_t i = 0; i < geometry_.block_slots; ++i) {
        any_live |=
            header_at(std::span<const std::byte>(pending.data).subspan(i * geometry_.slot_bytes)).is(SlotState::live);
    }
    const auto vectors = [&] { return name_.shadow(cat("vectors", index_)); };
    if (!any_live) {
        if (pending.exists) {
            VSS_TRY(prepare(delete_block_, [&] { return cat("delete from ", vectors(), " where block = ?"); }));
            delete_block_.bind(1, static_cast<std::int64_t>(block));
            VSS_TRY(delete_block_.run());
        }
        return Status::ok();
    }
    if (!pending.exists) {
        VSS_TRY(prepare(insert_block_, [&] { return cat("insert into ", vectors(), "(block, data) values(?, ?)"); }));
        insert_block_.bind(1, static_cast<std::int64_t>(block));
        insert_block_.bind_blob(2, pending.data);
        return insert_block_.run();
    }
    // SQLite compares a row that keeps its size with what is there: only pages that differ are written.
    VSS_TRY(prepare(update_block_, [&] { return cat("update ", vectors(), " set data = ? where block = ?"); }));
    update_block_.bind_blob(1, pending.data);
    update_block_.bind(2, static_cast<std::int64_t>(block));
    return update_block_.run();
}

Status VectorStore::flush_segments() {
    const auto segments = [&] { return name_.shadow(cat("segments", index_)); };
    for (auto& [id, state] : segment_states_) {
        if (!state.changed) {
            continue;
        }
        if (state.live == 0) {
            VSS_TRY(prepare(delete_segment_, [&] { return cat("delete from ", segments(), " where segment = ?"); }));
            delete_segment_.bind(1, static_cast<std::int64_t>(id));
            VSS_TRY(delete_segment_.run());
        } else {
            VSS_TRY(prepare(upsert_segment_, [&] {
                return cat("insert into ", segments(), "(segment, version, live) values(?1, ?2, ?3) ",
                           "on conflict(segment) do update set version = ?2, live = ?3");
            }));
            upsert_segment_.bind(1, static_cast<std::int64_t>(id));
            upsert_segment_.bind(2, static_cast<std::int64_t>(state.version));
            upsert_segment_.bind(3, state.live);
            VSS_TRY(upsert_segment_.run());
        }
        state.changed = false;
    }
    return Status::ok();
}

Status VectorStore::flush_free_slots() {
    const auto table = [&] { return name_.shadow(cat("free", index_)); };
    while (!taken_.empty()) {
        VSS_TRY(prepare(delete_free_, [&] { return cat("delete from ", table(), " where slot = ?"); }));
        delete_free_.bind(1, static_cast<std::int64_t>(taken_.back()));
        VSS_TRY(delete_free_.run());
        taken_.pop_back();
    }
    while (!released_.empty()) {
        VSS_TRY(prepare(insert_free_, [&] { return cat("insert or ignore into ", table(), "(slot) values(?)"); }));
        const std::uint64_t slot = released_.back();
        insert_free_.bind(1, static_cast<std::int64_t>(slot));
        VSS_TRY(insert_free_.run());
        released_.pop_back();
        // Still at hand for this transaction, unless a later page of t_free will bring it.
        if (static_cast<std::int64_t>(slot) <= last_free_ || !more_free_) {
            free_.push_back(slot);
        }
    }
    return Status::ok();
}

Status VectorStore::flush() {
    for (auto at = pending_.begin(); at != pending_.end();) {
        if (at->second.is_dirty) {
            VSS_TRY(flush_block(at->first, at->second));
        }
        at = pending_.erase(at);
    }
    VSS_TRY(flush_segments());
    return flush_free_slots();
}

void VectorStore::mark_savepoint() {
    for (auto& [id, state] : segment_states_) {
        state.unread = false;
    }
}

bool VectorStore::take_changed_segments(std::vector<std::uint32_t>& out) {
    out = std::exchange(touched_, {});
    return !std::exchange(many_touched_, false);
}

void VectorStore::discard() {
    touched_.clear();
    many_touched_ = false;
    pending_.clear();
    lent_.clear();
    segment_states_.clear();
    allocator_loaded_ = false;
    free_.clear();
    taken_.clear();
    released_.clear();
}

}  // namespace vss
