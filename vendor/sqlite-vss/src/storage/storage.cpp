#include "storage/storage.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "base/aligned_bytes.h"
#include "base/text.h"
#include "kernels/kernels.h"
#include "kernels/vector_value.h"

namespace vss {
namespace {

static_assert(std::endian::native == std::endian::little, "the file format is little-endian; add byte swaps here");

constexpr std::size_t largest_block = std::size_t{1} << 16;
constexpr std::size_t segment_target = std::size_t{2} << 20;
// What a damaged number asks for must not be allocated.
constexpr std::size_t largest_segment = std::size_t{16} << 20;

// Bytes of the file that one block of `payload` bytes takes, by SQLite's rules for table b-tree pages.
double file_bytes(std::size_t payload, std::size_t page) {
    const std::size_t usable = page;
    payload += 6;  // the record's header
    std::size_t local = payload;
    std::size_t overflow = 0;
    if (payload > usable - 35) {
        const std::size_t least = (usable - 12) * 32 / 255 - 23;
        const std::size_t candidate = least + (payload - least) % (usable - 4);
        local = candidate <= usable - 35 ? candidate : least;
        overflow = (payload - local + usable - 5) / (usable - 4);
    }
    const std::size_t cell = local + 12 + (overflow > 0 ? 4 : 0);
    const std::size_t cells_per_page = std::max<std::size_t>((usable - 8) / (cell + 2), 1);
    return static_cast<double>(usable) / static_cast<double>(cells_per_page) + static_cast<double>(overflow * usable);
}

}  // namespace

std::uint32_t slot_checksum(std::uint64_t slot, std::int64_t rowid, SlotState state,
                            std::span<const std::byte> vector) {
    std::array<std::byte, 20> head{};
    const auto tag = static_cast<std::uint32_t>(state);
    std::memcpy(head.data(), &slot, 8);
    std::memcpy(head.data() + 8, &rowid, 8);
    std::memcpy(head.data() + 16, &tag, 4);
    const std::uint32_t crc = crc32c(0, head.data(), head.size());
    return state == SlotState::live ? crc32c(crc, vector.data(), vector.size()) : crc;
}

SlotHeader header_at(std::span<const std::byte> slot) {
    SlotHeader header;
    std::memcpy(&header, slot.data(), slot_header_bytes);
    return header;
}

Geometry Geometry::choose(std::size_t vector_bytes, std::size_t page_bytes) {
    Geometry geometry;
    geometry.vector_bytes = vector_bytes;
    geometry.slot_bytes = slot_header_bytes + (vector_bytes + 7) / 8 * 8;
    const std::size_t most = std::clamp<std::size_t>(largest_block / geometry.slot_bytes, 1, 64);
    const auto cost = [&](std::size_t n) {
        return file_bytes(n * geometry.slot_bytes, page_bytes) / static_cast<double>(n);
    };
    double best = cost(1);
    for (std::size_t n = 2; n <= most; ++n) {
        best = std::min(best, cost(n));
    }
    // The smallest block that wastes little: one row changed rewrites little.
    geometry.block_slots = 1;
    while (cost(geometry.block_slots) > best * 1.03) {
        ++geometry.block_slots;
    }
    const std::size_t blocks = std::clamp<std::size_t>(segment_target / geometry.block_bytes(), 1, 1024);
    geometry.segment_slots = blocks * geometry.block_slots;
    return geometry;
}

bool Geometry::is_valid() const {
    return vector_bytes > 0 && slot_bytes == slot_header_bytes + (vector_bytes + 7) / 8 * 8 && block_slots > 0 &&
           block_slots <= 64 && segment_slots > 0 && segment_slots <= (1U << 20) && segment_slots % block_slots == 0 &&
           (segment_slots == block_slots || segment_slots * slot_bytes <= largest_segment);
}

VectorStore::VectorStore(const TableName& name, const Column& column, std::size_t index, const Geometry& geometry)
    : name_(name),
      column_(column),
      index_(index),
      geometry_(geometry),
      space_(cache_space(cat(name.database, '\n', name.table, '\n', index, ' ', column.dim, ' ', name_of(column.type),
                             ' ', name_of(column.metric), ' ', geometry.block_slots, ' ', geometry.segment_slots))) {}

std::vector<std::string> VectorStore::table_suffixes(std::size_t index) {
    return {cat("vectors", index), cat("segments", index), cat("free", index)};
}

Status VectorStore::create_tables(const TableName& name, std::size_t index, bool where_missing) {
    const std::string_view create = where_missing ? "create table if not exists " : "create table ";
    VSS_TRY(execute(
        name.db, cat(create, name.shadow(cat("vectors", index)), "(block integer primary key, data blob not null)")));
    VSS_TRY(execute(name.db,
                    cat(create, name.shadow(cat("segments", index)),
                        "(segment integer primary key, version integer not null, live integer not null, data blob)")));
    return execute(name.db, cat(create, name.shadow(cat("free", index)), "(slot integer primary key)"));
}

Status VectorStore::damaged(std::uint64_t slot, std::string_view what) const {
    return Status::corrupt(
        cat(name_.words(column_), ", block ", geometry_.block_of(slot), ", slot ", slot, ": ", what));
}

Status VectorStore::holds_another(std::uint64_t slot, std::int64_t rowid, const SlotHeader& header) const {
    return damaged(slot, cat("expected the vector of row ", rowid, ", found that of row ", header.rowid, ", state ",
                             header.state));
}

Status VectorStore::check_size(std::uint64_t block, std::size_t bytes) const {
    if (bytes == geometry_.block_bytes()) {
        return Status::ok();
    }
    return damaged(block * geometry_.block_slots,
                   cat("expected a block of ", geometry_.block_bytes(), " bytes, got ", bytes));
}

Status VectorStore::check_finite(std::uint64_t slot, std::int64_t rowid, std::span<const std::byte> vector) const {
    return is_finite(column_.type, vector.data(), column_.dim)
               ? Status::ok()
               : damaged(slot, cat("the vector of row ", rowid, " has an element that is not a finite number"));
}

Status VectorStore::prepare_select_block() {
    return prepare(select_block_,
                   [&] { return cat("select data from ", name_.shadow(cat("vectors", index_)), " where block = ?"); });
}

Status VectorStore::read_block(std::uint64_t block, std::span<std::byte> out, bool& found) {
    VSS_TRY(prepare_select_block());
    const ResetAtEnd guard(select_block_);
    select_block_.bind(1, static_cast<std::int64_t>(block));
    VSS_TRY(select_block_.step(found));
    if (found) {
        const std::span<const std::byte> data = select_block_.blob(0);
        VSS_TRY(check_size(block, data.size()));
        std::copy(data.begin(), data.end(), out.begin());
    }
    return Status::ok();
}

Status VectorStore::read(std::uint64_t slot, std::int64_t rowid, std::span<std::byte> out) {
    if (slot > max_slots) {
        return damaged(slot, cat("row ", rowid, " names a slot out of range"));
    }
    const std::uint64_t block = geometry_.block_of(slot);
    const std::size_t offset = (slot % geometry_.block_slots) * geometry_.slot_bytes;
    const auto take = [&](std::span<const std::byte> data) {
        const std::span<const std::byte> bytes = data.subspan(offset, geometry_.slot_bytes);
        const SlotHeader header = header_at(bytes);
        const std::span<const std::byte> vector = bytes.subspan(slot_header_bytes, geometry_.vector_bytes);
        if (!header.is(SlotState::live) || header.rowid != rowid) {
            return holds_another(slot, rowid, header);
        }
        if (slot_checksum(slot, rowid, SlotState::live, vector) != header.crc) {
            return damaged(slot, cat("the checksum of row ", rowid, " does not match its bytes"));
        }
        VSS_TRY(check_finite(slot, rowid, vector));
        std::copy(vector.begin(), vector.end(), out.begin());
        return Status::ok();
    };
    if (const auto at = pending_.find(block); at != pending_.end()) {
        return take(at->second.data);
    }
    VSS_TRY(prepare_select_block());
    const ResetAtEnd guard(select_block_);
    select_block_.bind(1, static_cast<std::int64_t>(block));
    bool found = false;
    VSS_TRY(select_block_.step(found));
    if (!found) {
        return damaged(slot, cat("the block of row ", rowid, " is missing"));
    }
    const std::span<const std::byte> data = select_block_.blob(0);
    VSS_TRY(check_size(block, data.size()));
    return take(data);
}

// A segment without live rows has no row.
Status VectorStore::check_segment_row(const Statement& row, int live_column, std::int64_t id) const {
    const std::int64_t live = row.int64(live_column);
    const auto last = static_cast<std::int64_t>(geometry_.segment_of(max_slots));
    if (id >= 0 && id <= last && row.type(live_column) == SQLITE_INTEGER && live > 0 &&
        live <= static_cast<std::int64_t>(geometry_.segment_slots)) {
        return Status::ok();
    }
    return Status::corrupt(cat(name_.words(column_), ": segment ", id, " with ", live, " live rows is out of range"));
}

// Segments that are not listed hold no block, or a search would pass over rows.
Status VectorStore::check_no_block(std::int64_t first_segment, std::int64_t end_segment) {
    if (first_segment >= end_segment) {
        return Status::ok();
    }
    VSS_TRY(prepare(select_stray_, [&] {
        return cat("select min(block) from ", name_.shadow(cat("vectors", index_)), " where block >= ? and block < ?");
    }));
    const ResetAtEnd guard(select_stray_);
    const auto blocks = static_cast<std::int64_t>(geometry_.segment_slots / geometry_.block_slots);
    select_stray_.bind(1, first_segment * blocks);
    select_stray_.bind(2, end_segment * blocks);
    bool row = false;
    VSS_TRY(select_stray_.step(row));
    if (!row || select_stray_.is_null(0)) {
        return Status::ok();
    }
    const std::int64_t block = select_stray_.int64(0);
    return Status::corrupt(
        cat(name_.words(column_), ", block ", block, ": its segment ", block / blocks, " is not listed"));
}

Status VectorStore::segments(std::vector<SegmentInfo>& out) {
    out.clear();
    VSS_TRY(prepare(select_segments_, [&] {
        return cat("select segment, version, live from ", name_.shadow(cat("segments", index_)), " where segment <> ",
                   state_segment, " order by segment");
    }));
    const ResetAtEnd guard(select_segments_);
    std::int64_t seen = 0;  // every segment below this was looked at
    const auto pass = [&](std::int64_t id) {
        VSS_TRY(check_no_block(seen, id));
        seen = id + 1;
        return Status::ok();
    };
    const auto accept = [&](std::uint64_t id, const SegmentState& state) {
        if (state.live > 0) {
            out.push_back({id, state.version, static_cast<std::uint64_t>(state.live)});
        }
    };
    // What is gathered overrides the table, also where it has no live row any more.
    auto state = segment_states_.begin();
    const auto accept_states_before = [&](std::int64_t id) {
        for (; state != segment_states_.end() && static_cast<std::int64_t>(state->first) < id; ++state) {
            VSS_TRY(pass(static_cast<std::int64_t>(state->first)));
            accept(state->first, state->second);
        }
        return Status::ok();
    };
    for (bool row = true;;) {
        VSS_TRY(select_segments_.step(row));
        if (!row) {
            break;
        }
        const std::int64_t id = select_segments_.int64(0);
        VSS_TRY(check_segment_row(select_segments_, 2, id));
        VSS_TRY(accept_states_before(id));
        VSS_TRY(pass(id));
        if (state != segment_states_.end() && static_cast<std::int64_t>(state->first) == id) {
            accept(state->first, state->second);
            ++state;
        } else {
            out.push_back({static_cast<std::uint64_t>(id), static_cast<std::uint64_t>(select_segments_.int64(1)),
                           static_cast<std::uint64_t>(select_segments_.int64(2))});
        }
    }
    const auto end = static_cast<std::int64_t>(geometry_.segment_of(max_slots)) + 1;
    VSS_TRY(accept_states_before(end));
    VSS_TRY(check_no_block(seen, end));
    for (auto& [id, known] : segment_states_) {
        known.unread = false;
    }
    return Status::ok();
}

Status VectorStore::segment_info(std::uint64_t id, SegmentInfo& out) {
    out = {id, 0, 0};
    for (auto& [other, known] : segment_states_) {
        known.unread = false;
    }
    if (const auto at = segment_states_.find(id); at != segment_states_.end()) {
        out.version = at->second.version;
        out.live = static_cast<std::uint64_t>(std::max<std::int64_t>(at->second.live, 0));
        return Status::ok();
    }
    VSS_TRY(prepare(select_segment_, [&] {
        return cat("select version, live from ", name_.shadow(cat("segments", index_)), " where segment = ?");
    }));
    const ResetAtEnd guard(select_segment_);
    select_segment_.bind(1, static_cast<std::int64_t>(id));
    bool row = false;
    VSS_TRY(select_segment_.step(row));
    if (!row) {
        return check_no_block(static_cast<std::int64_t>(id), static_cast<std::int64_t>(id) + 1);
    }
    VSS_TRY(check_segment_row(select_segment_, 1, static_cast<std::int64_t>(id)));
    out.version = static_cast<std::uint64_t>(select_segment_.int64(0));
    out.live = static_cast<std::uint64_t>(select_segment_.int64(1));
    return Status::ok();
}

Status VectorStore::count(std::uint64_t& out) {
    std::vector<SegmentInfo> infos;
    VSS_TRY(segments(infos));
    out = 0;
    for (const SegmentInfo& segment : infos) {
        out += segment.live;
    }
    return Status::ok();
}

Status VectorStore::check_interrupt() {
    // A statement asks at its first step, on every SQLite version.
    VSS_TRY(prepare(select_nothing_, [] { return std::string("select 1"); }));
    const ResetAtEnd guard(select_nothing_);
    bool row = false;
    return select_nothing_.step(row);
}

Status VectorStore::decode_block(std::uint64_t block, std::span<const std::byte> data, Segment& segment) const {
    VSS_TRY(check_size(block, data.size()));
    const std::size_t capacity = segment.rows.size() / segment.stride;
    for (std::size_t i = 0; i < geometry_.block_slots; ++i) {
        const std::uint64_t slot = block * geometry_.block_slots + i;
        const std::span<const std::byte> bytes = data.subspan(i * geometry_.slot_bytes, geometry_.slot_bytes);
        const SlotHeader header = header_at(bytes);
        if (header.is(SlotState::unused)) {
            continue;
        }
        const std::span<const std::byte> vector = bytes.subspan(slot_header_bytes, geometry_.vector_bytes);
        const auto state = static_cast<SlotState>(header.state);
        if ((state != SlotState::live && state != SlotState::freed) ||
            slot_checksum(slot, header.rowid, state, vector) != header.crc) {
            return damaged(slot, cat("the checksum of row ", header.rowid, " does not match its bytes"));
        }
        if (state == SlotState::freed) {
            continue;
        }
        VSS_TRY(check_finite(slot, header.rowid, vector));
        const std::size_t n = segment.rowids.size();
        if (n >= capacity) {
            return damaged(slot, "the segment holds more live rows than it says");
        }
        std::memcpy(segment.rows.data() + n * segment.stride, vector.data(), vector.size());
        segment.rowids.push_back(header.rowid);
        segment.slots.push_back(static_cast<std::uint32_t>(slot));
    }
    return Status::ok();
}

std::span<const std::byte> VectorStore::read_slot_bytes(std::uint64_t slot) {
    const std::uint64_t block = geometry_.block_of(slot);
    if (pending_.contains(block)) {
        return {};
    }
    slot_bytes_.resize(geometry_.slot_bytes);
    const std::size_t offset = (slot % geometry_.block_slots) * geometry_.slot_bytes;
    const bool done = blobs_.read(name_, cat("vectors", index_), static_cast<std::int64_t>(block),
                                  geometry_.block_bytes(), offset, slot_bytes_);
    return done ? std::span<const std::byte>(slot_bytes_) : std::span<const std::byte>();
}

Status VectorStore::read_slots(std::span<const std::uint32_t> slots, const SlotFound& found) {
    VSS_TRY(prepare_select_block());
    const ResetAtEnd guard(select_block_);
    std::uint64_t held = UINT64_MAX;
    std::span<const std::byte> data;
    const auto take = [&](std::size_t i, std::span<const std::byte> bytes) {
        const std::uint64_t slot = slots[i];
        const SlotHeader header = header_at(bytes);
        if (!header.is(SlotState::live)) {
            return Status::ok();
        }
        const std::span<const std::byte> vector = bytes.subspan(slot_header_bytes, geometry_.vector_bytes);
        if (slot_checksum(slot, header.rowid, SlotState::live, vector) != header.crc) {
            return damaged(slot, cat("the checksum of row ", header.rowid, " does not match its bytes"));
        }
        VSS_TRY(check_finite(slot, header.rowid, vector));
        found(i, header.rowid, vector);
        return Status::ok();
    };
    for (std::size_t i = 0; i < slots.size(); ++i) {
        const std::uint64_t slot = slots[i];
        if (const LentRows::Row* row = lent_.find(slot); row != nullptr) {
            const std::span<const std::byte> vector(row->at, geometry_.vector_bytes);
            if (slot_checksum(slot, row->rowid, SlotState::live, vector) == row->crc) {
                found(i, row->rowid, vector);
                continue;
            }
        }
        if (slots.size() == 1) {
            if (const std::span<const std::byte> bytes = read_slot_bytes(slot); !bytes.empty()) {
                return take(i, bytes);
            }
        }
        const std::uint64_t block = geometry_.block_of(slot);
        if (block != held) {
            held = block;
            data = {};
            select_block_.reset();
            if (const auto at = pending_.find(block); at != pending_.end()) {
                data = at->second.data;
            } else {
                select_block_.bind(1, static_cast<std::int64_t>(block));
                bool row = false;
                VSS_TRY(select_block_.step(row));
                if (row) {
                    data = select_block_.blob(0);
                    VSS_TRY(check_size(block, data.size()));
                }
            }
        }
        if (data.empty()) {
            continue;
        }
        VSS_TRY(take(i, data.subspan((slot % geometry_.block_slots) * geometry_.slot_bytes, geometry_.slot_bytes)));
    }
    return Status::ok();
}

std::shared_ptr<const Segment> VectorStore::cached_segment(const SegmentInfo& info) const {
    auto out = Cache::instance().get_as<Segment>(segment_key(info));
    const bool by_norms = column_.type == ElementType::float32 && column_.metric == Metric::cosine;
    return out != nullptr && out->stride == geometry_.vector_bytes && out->size() == info.live &&
                   out->inverse_norms.size() == (by_norms ? out->size() : 0)
               ? out
               : nullptr;
}

CacheKey VectorStore::segment_key(const SegmentInfo& info) const {
    return {info.version, CacheKind::segment, static_cast<std::uint32_t>(index_), info.id, space_};
}

std::shared_ptr<Segment> VectorStore::empty_segment(const SegmentInfo& info) const {
    auto out = std::make_shared<Segment>();
    out->stride = geometry_.vector_bytes;
    out->rows = AlignedBytes(info.live * out->stride);
    out->rowids.reserve(info.live);
    out->slots.reserve(info.live);
    return out;
}

Status VectorStore::decode_blocks(std::uint64_t first, std::uint64_t end, Segment& out) {
    VSS_TRY(prepare(select_blocks_, [&] {
        return cat("select block, data from ", name_.shadow(cat("vectors", index_)),
                   " where block >= ? and block < ? order by block");
    }));
    const ResetAtEnd guard(select_blocks_);
    select_blocks_.bind(1, static_cast<std::int64_t>(first));
    select_blocks_.bind(2, static_cast<std::int64_t>(end));
    auto gathered = pending_.lower_bound(first);
    const auto decode_gathered_before = [&](std::uint64_t block) {
        for (; gathered != pending_.end() && gathered->first < block; ++gathered) {
            VSS_TRY(decode_block(gathered->first, gathered->second.data, out));
        }
        return Status::ok();
    };
    for (bool row = true;;) {
        VSS_TRY(select_blocks_.step(row));
        if (!row) {
            return decode_gathered_before(end);
        }
        const auto block = static_cast<std::uint64_t>(select_blocks_.int64(0));
        VSS_TRY(decode_gathered_before(block));
        if (gathered != pending_.end() && gathered->first == block) {
            VSS_TRY(decode_gathered_before(block + 1));
        } else {
            VSS_TRY(decode_block(block, select_blocks_.blob(1), out));
        }
    }
}

Status VectorStore::finish_decoded(const SegmentInfo& info, std::shared_ptr<Segment> decoded, bool keep,
                                   std::shared_ptr<const Segment>& out) const {
    if (decoded->size() != info.live) {
        return Status::corrupt(cat(name_.words(column_), ": segment ", info.id, " says ", info.live,
                                   " live rows and holds ", decoded->size()));
    }
    finish_segment(column_.type, column_.metric, column_.dim, *decoded);
    out = decoded;
    if (keep) {
        Cache::instance().put(segment_key(info), std::move(decoded));
    }
    return Status::ok();
}

Status VectorStore::segment(const SegmentInfo& info, std::shared_ptr<const Segment>& out, bool keep) {
    out = cached_segment(info);
    if (out != nullptr) {
        return Status::ok();
    }
    std::shared_ptr<Segment> decoded = empty_segment(info);
    const std::uint64_t blocks = geometry_.segment_slots / geometry_.block_slots;
    VSS_TRY(decode_blocks(info.id * blocks, (info.id + 1) * blocks, *decoded));
    return finish_decoded(info, std::move(decoded), keep, out);
}

Status VectorStore::segment_part(const SegmentInfo& info, std::size_t parts, SegmentPart& part,
                                 std::shared_ptr<const Segment>& out) {
    const std::uint64_t blocks = geometry_.segment_slots / geometry_.block_slots;
    if (part.rows == nullptr) {
        out = cached_segment(info);
        if (out != nullptr) {
            return Status::ok();
        }
        part = {empty_segment(info), info.id * blocks};
    }
    const std::uint64_t end = (info.id + 1) * blocks;
    const std::uint64_t step = std::max<std::uint64_t>(blocks / std::max<std::size_t>(parts, 1), 1);
    const std::uint64_t next = std::min(part.next_block + step, end);
    VSS_TRY(decode_blocks(part.next_block, next, *part.rows));
    part.next_block = next;
    return next < end ? Status::ok() : finish_decoded(info, std::exchange(part.rows, nullptr), true, out);
}

}  // namespace vss
