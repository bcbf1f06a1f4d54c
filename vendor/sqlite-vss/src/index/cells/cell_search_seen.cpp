// CellSearch: what this connection saw of the tables last, and what of it is in memory.
#include <algorithm>
#include <cstring>
#include <utility>

#include "index/cells/cell_search.h"
#include "kernels/vector_value.h"

namespace vss {
namespace {

// Where 4-bit codes are not kept in the tables: chunks that one query makes of their vectors at most.
constexpr std::size_t chunks_made_per_query = 8;
// A segment's rows are decoded in so many steps, one by each second query.
constexpr std::size_t steps_per_segment = 8;
constexpr std::uint64_t queries_per_step = 2;
// Above it most segments must be there: what a damaged number asks for must not be allocated.
constexpr std::uint64_t many_segments = std::uint64_t{1} << 20;

}  // namespace

Status CellSearch::not_in_memory() {
    return {Code::internal, "what must be read from the tables is wanted on a thread that may not"};
}

Status CellSearch::refresh() {
    release_chunks();
    VSS_TRY(index_.load());
    VSS_TRY(index_.settle());
    cache_is_full_ = Cache::instance().is_full();
    // A commit changes cells and segments, whose new views are named beside the old ones.
    const std::size_t most_views = 4 * (cells_.size() + segments_.size() * index_.chunks_per_segment()) + 4096;
    if (Cache::instance().must_let_go(evicted_) || viewed_cells_.size() + viewed_chunks_.size() > most_views) {
        // Only so much of what was evicted may be kept alive here.
        evicted_ = Cache::instance().evicted();
        drop_views();
    }
    if (index_.space_key() != space_key_) {
        // Another rotation: what was coded by the old one says nothing.
        space_key_ = index_.space_key();
        segments_.clear();
    }
    const std::uint64_t generation = index_.is_dirty() ? 0 : index_.state().generation;
    if (generation != 0 && generation == generation_) {
        return Status::ok();
    }
    // Until it has seen all of the new one it has seen none: the old one may come back by a rollback.
    const std::uint64_t before = std::exchange(generation_, 0);
    VSS_TRY(refresh_segments(before, generation));
    if (index_.state().is_celled()) {
        std::shared_ptr<const CellDirectory> directory;
        VSS_TRY(index_.directory(directory));
        cells_.resize(directory->size());
        if (directory != directory_ || generation == 0) {
            directory_.reset();
            model_.use(*directory);
        }
        directory_ = std::move(directory);
    }
    generation_ = generation;
    return Status::ok();
}

// What was looked at since the last time, not all there is.
void CellSearch::drop_views() {
    for (const std::uint32_t cell : viewed_cells_) {
        if (cell < cells_.size()) {
            cells_[cell] = {};
        }
    }
    viewed_cells_.clear();
    for (const auto& [segment, number] : viewed_chunks_) {
        if (segment < segments_.size() && number < segments_[segment].chunks.size()) {
            segments_[segment].chunks[number] = {};
        }
    }
    viewed_chunks_.clear();
    for (SegmentView& view : segments_) {
        if (view.rows() != nullptr) {
            view.hold(nullptr);
        }
    }
}

// All segments, or those that commits have changed since the generation `before`.
Status CellSearch::refresh_segments(std::uint64_t before, std::uint64_t generation) {
    const std::span<const std::uint32_t> changed = index_.state().changed.since(before);
    if (generation == 0 || segments_.empty() || changed.empty()) {
        return refresh_all_segments();
    }
    for (const std::uint32_t id : changed) {
        SegmentInfo info;
        VSS_TRY(rows_.segment_info(id, info));
        if (id > segments_.size()) {
            return refresh_all_segments();
        }
        segments_.resize(std::max<std::size_t>(segments_.size(), id + 1));
        SegmentView& view = segments_[id];
        if (!view.info.has_rows_of(info)) {
            view = {};
        }
        view.info = info;
    }
    while (!segments_.empty() && segments_.back().info.live == 0) {
        segments_.pop_back();
    }
    return Status::ok();
}

Status CellSearch::refresh_all_segments() {
    std::vector<SegmentInfo> infos;
    VSS_TRY(rows_.segments(infos));
    const std::uint64_t count = infos.empty() ? 0 : infos.back().id + 1;
    if (count > many_segments && count / 64 > infos.size()) {
        return Status::corrupt("segment " + std::to_string(count - 1) + " is out of all proportion to the " +
                               std::to_string(infos.size()) + " that are listed");
    }
    std::vector<SegmentView> views(count);
    for (const SegmentInfo& info : infos) {
        SegmentView& view = views[info.id];
        if (info.id < segments_.size() && segments_[info.id].info.has_rows_of(info)) {
            view = std::move(segments_[info.id]);
        }
        view.info = info;
    }
    segments_ = std::move(views);
    return Status::ok();
}

Status CellSearch::cell_codes(std::uint32_t cell, std::shared_ptr<const CodeBlocks>& held, const CodeBlocks*& out) {
    const CellInfo& info = directory_->info(cell);
    CellView& view = cells_[cell];
    if (is_current(view, info)) {
        out = view.codes.get();
        return Status::ok();
    }
    bool is_cached = false;
    if (in_memory_only_) {
        held = index_.codes_in_memory(cell, info);
        is_cached = held != nullptr;
        if (!is_cached) {
            VSS_TRY(read_cell_codes(cell, info, held, is_cached));
        }
    } else {
        VSS_TRY(index_.codes(cell, info, held, &is_cached));
    }
    out = held.get();
    if (generation_ != 0 && is_cached) {
        view = {info.version, held, scan_of(*out)};
        viewed_cells_.push_back(cell);
    }
    return Status::ok();
}

bool CellSearch::may_read() {
    if (in_memory_only_ && source_ == nullptr && open_ != nullptr) {
        source_ = (*open_)(generation_);
        open_ = source_ != nullptr ? open_ : nullptr;
    }
    return !in_memory_only_ || source_ != nullptr;
}

// By a thread that helps.
Status CellSearch::read_cell_codes(std::uint32_t cell, const CellInfo& info, std::shared_ptr<const CodeBlocks>& out,
                                   bool& is_cached) {
    if (!may_read()) {
        return not_in_memory();
    }
    const auto read = std::make_shared<CodeBlocks>(index_.space().padded());
    VSS_TRY(CellIndex::read_codes(source_->cells(), *directory_, cell, *read));
    is_cached = Cache::instance().put({info.version, CacheKind::codes, index_.column(), cell, space_key_}, read);
    out = read;
    return Status::ok();
}

Status CellSearch::read_slot_codes(std::uint64_t first, std::size_t count, const CellStore::SlotCodesFound& found) {
    return source_ != nullptr ? source_->cells().read_slot_codes(first, count, found)
                              : index_.slot_codes(first, count, found);
}

CellSearch::CellScan CellSearch::scan_of(const CodeBlocks& codes) {
    return {codes.blocks() > 0 ? codes.block(0) : nullptr,
            static_cast<std::uint32_t>(codes.size()),
            static_cast<std::uint32_t>(codes.blocks()),
            0,
            0,
            false,
            0};
}

// Whether the budget has room for full vectors beside all codes.
bool CellSearch::rows_fit() const {
    const std::uint64_t row = rows_.vector_bytes() + index_.space().padded() * 3 / 4 + 96;
    return index_.state().rows * row < Cache::instance().budget() / 10 * 9;
}

// Adds the codes of those of `slots` that are live.
Status CellSearch::complete_chunk(std::span<const std::uint32_t> slots, SlotCodes& codes) {
    if (slots.empty()) {
        return Status::ok();
    }
    const CellSpace& space = index_.space();
    std::vector<float> raw(dim_);
    std::vector<float> x(space.padded());
    std::vector<std::byte> code(SlotCodes::code_bytes(space.padded()));
    return rows().read_slots(slots, [&](std::size_t i, std::int64_t /*rowid*/, std::span<const std::byte> vector) {
        decode_vector(type_, vector.data(), dim_, raw.data());
        const bool whole = space.enter(raw.data(), x.data());
        SlotCodes::encode(x.data(), whole, space.padded(), code.data());
        codes.set(index_.place_of(slots[i]).at, code.data());
    });
}

// A chunk's codes are a function of its segment's vectors, whose version stands for them: what is not in the tables,
// since its rows are in the tail or codes are not kept, is made of the vectors.
Status CellSearch::finish_chunk(SegmentView& view, std::size_t number, const std::shared_ptr<SlotCodes>& made) {
    const std::size_t chunk_slots = SlotCodes::chunk_slots(index_.space().padded());
    const auto first = static_cast<std::uint32_t>(view.info.id * rows_.segment_slots() + number * chunk_slots);
    const auto end = static_cast<std::uint32_t>(
        std::min(first + chunk_slots, std::size_t{view.info.id + 1} * rows_.segment_slots()));
    std::vector<std::uint32_t> slots;
    if (index_.state().slot_codes) {
        const std::set<std::uint32_t>& tail = index_.tail();
        slots.assign(tail.lower_bound(first), tail.lower_bound(end));
    } else {
        for (std::uint32_t slot = first; slot < end; ++slot) {
            slots.push_back(slot);
        }
        ++made_;
    }
    VSS_TRY(complete_chunk(slots, *made));
    ++costs_.chunks_read;
    ChunkView& chunk = chunk_view(view, number);
    if (Cache::instance().put(chunk_key(view, number), made)) {
        viewed_chunks_.emplace_back(view.info.id, number);
    } else {
        passing_chunks_.push_back(&chunk);
    }
    chunk = {made, made->code(0), made->live(), 0};
    return Status::ok();
}

// Of all segments' chunks.
std::uint64_t CellSearch::chunk_id(const SegmentView& view, std::size_t number) const {
    return view.info.id * index_.chunks_per_segment() + number;
}

CacheKey CellSearch::chunk_key(const SegmentView& view, std::size_t number) const {
    return {view.info.version, CacheKind::slots, index_.column(), chunk_id(view, number), space_key_};
}

bool CellSearch::find_chunk(SegmentView& view, std::size_t number) {
    ChunkView& chunk = chunk_view(view, number);
    const std::uint64_t insertions = Cache::instance().insertions() + 1;
    if (chunk.first == nullptr && chunk.absent_at != insertions) {
        if (auto codes = Cache::instance().get_as<SlotCodes>(chunk_key(view, number));
            codes != nullptr && codes->fits(index_.space().padded())) {
            const std::byte* first = codes->code(0);
            const std::uint32_t live = codes->live();
            chunk = {std::move(codes), first, live, 0};
            viewed_chunks_.emplace_back(view.info.id, number);
        } else {
            chunk.absent_at = insertions;
        }
    }
    return chunk.first != nullptr;
}

// Where the cache takes in no more chunks, one that is read for one code is not made.
bool CellSearch::codes_pass_by() {
    return cache_is_full_ && may_read() && trace_ == nullptr && index_.state().slot_codes &&
           Cache::instance().refuses(CacheKind::slots, SlotCodes::bytes_of(index_.space().padded()));
}

// place.code: in passing_codes_; nullptr if there is none.
Status CellSearch::read_code(const SegmentView& view, std::size_t number, CodePlace& place) {
    const std::size_t padded = index_.space().padded();
    const std::size_t code_bytes = SlotCodes::code_bytes(padded);
    // Once for all places: their codes stay where they are.
    passing_codes_.resize(std::max(passing_codes_.size(), places_.size() * code_bytes));
    ++costs_.chunks_read;
    Cache::instance().note_refused(SlotCodes::bytes_of(padded));
    return read_slot_codes(chunk_id(view, number), 1, [&](std::uint64_t /*chunk*/, std::span<const std::byte> bytes) {
        if (!SlotCodes::has(bytes, place.at)) {
            return;
        }
        std::byte* to = passing_codes_.data() + static_cast<std::size_t>(&place - places_.data()) * code_bytes;
        std::memcpy(to, SlotCodes::code(bytes, place.at, padded), code_bytes);
        place.code = to;
    });
}

// The chunk stays shut where making its codes must wait.
Status CellSearch::open_chunk(SegmentView& view, std::size_t number) {
    const bool is_found = find_chunk(view, number);
    if (!is_found && !may_read()) {
        return not_in_memory();
    }
    if (is_found || (!index_.state().slot_codes && (trace_ != nullptr || made_ >= chunks_made_per_query))) {
        return Status::ok();
    }
    auto made = std::make_shared<SlotCodes>(index_.space().padded());
    VSS_TRY(read_slot_codes(chunk_id(view, number), 1, [&](std::uint64_t /*chunk*/, std::span<const std::byte> bytes) {
        std::copy(bytes.begin(), bytes.end(), made->bytes_on_disk().begin());
    }));
    return finish_chunk(view, number, made);
}

// All chunks of the segment.
Status CellSearch::open_segment(SegmentView& view) {
    const std::size_t chunks = index_.chunks_per_segment();
    std::size_t missing = 0;
    for (std::size_t number = 0; number < chunks; ++number) {
        missing += find_chunk(view, number) ? 0U : 1U;
    }
    if (missing == 0) {
        return Status::ok();
    }
    if (!may_read()) {
        return not_in_memory();
    }
    std::vector<std::shared_ptr<SlotCodes>> made(chunks);
    const std::uint64_t first = chunk_id(view, 0);
    VSS_TRY(read_slot_codes(first, chunks, [&](std::uint64_t chunk, std::span<const std::byte> bytes) {
        if (view.chunks[chunk - first].first == nullptr) {
            made[chunk - first] = std::make_shared<SlotCodes>(index_.space().padded());
            std::copy(bytes.begin(), bytes.end(), made[chunk - first]->bytes_on_disk().begin());
        }
    }));
    for (std::size_t number = 0; number < chunks; ++number) {
        if (view.chunks[number].first == nullptr) {
            auto codes = made[number] != nullptr ? std::move(made[number])
                                                 : std::make_shared<SlotCodes>(index_.space().padded());
            VSS_TRY(finish_chunk(view, number, codes));
        }
    }
    return Status::ok();
}

// Lets go of the chunks that the cache did not take.
void CellSearch::release_chunks() {
    for (ChunkView* chunk : passing_chunks_) {
        *chunk = {};
    }
    passing_chunks_.clear();
}

void CellSearch::SegmentView::hold(std::shared_ptr<const Segment> rows) {
    rows_ = std::move(rows);
    count_ = 0;
    if (rows_ == nullptr || rows_->size() == 0) {
        return;
    }
    // They ascend, so the last is as many further on only if none is missing.
    const std::size_t last = rows_->size() - 1;
    if (rows_->slots[last] - rows_->slots[0] == last) {
        first_ = rows_->row(0);
        rowids_ = rows_->rowids.data();
        first_slot_ = rows_->slots[0];
        count_ = static_cast<std::uint32_t>(rows_->size());
        stride_ = rows_->stride;
    }
}

// Where memory has room for all rows, they are decoded a segment at a time.
Status CellSearch::decode(SegmentView& view, bool keep) {
    std::shared_ptr<const Segment> rows;
    VSS_TRY(rows_.segment(view.info, keep, rows));
    view.hold(std::move(rows));
    return Status::ok();
}

// Its rows are decoded by the searches that follow; or now, in a transaction whose next statement may change them.
Status CellSearch::keep_rows(SegmentView& view) {
    if (view.rows() != nullptr || view.cold < cold_rows_per_segment || keeping_ || !rows_fit()) {
        return Status::ok();
    }
    if (generation_ != 0) {
        view.cold = 0;
        keeping_ = {view.info, {}};
        return Status::ok();
    }
    if (queries_ < kept_at_ + steps_per_segment * queries_per_step) {
        return Status::ok();
    }
    view.cold = 0;
    kept_at_ = queries_;
    return decode(view, true);
}

// Some rows at a time: to decode a segment's takes as long as several searches.
Status CellSearch::go_on_keeping() {
    if (!keeping_ || queries_ % queries_per_step != 0 || generation_ == 0) {
        return Status::ok();
    }
    const std::uint64_t id = keeping_->info.id;
    if (id >= segments_.size() || !segments_[id].info.has_rows_of(keeping_->info) || segments_[id].rows() != nullptr ||
        !rows_fit()) {
        keeping_.reset();
        return Status::ok();
    }
    std::shared_ptr<const Segment> rows;
    Status status = rows_.segment_part(keeping_->info, steps_per_segment, keeping_->part, rows);
    if (!status.is_ok() || rows != nullptr) {
        keeping_.reset();
    }
    if (rows != nullptr) {
        segments_[id].hold(std::move(rows));
    }
    return status;
}

Status CellSearch::slots_end(std::uint64_t& out) {
    VSS_TRY(refresh());
    out = segments_.size() * rows_.segment_slots();
    return Status::ok();
}

}  // namespace vss
