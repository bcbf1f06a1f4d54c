#include "cell_search.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <chrono>
#include <cmath>
#include <limits>

#include "kernels.h"
#include "ordered_key.h"
#include "vector_value.h"

namespace vss {
namespace {

// Candidates that sign codes must leave for k = 10: in 384 dimensions the true neighbours are among the best 100 in
// 99 of 100 cases.
constexpr std::size_t candidates_for_ten = 90;
// Where 4-bit codes are not kept in the tables: chunks that one query makes of their vectors at most.
constexpr std::size_t chunks_made_per_query = 8;
// A segment's rows are decoded whole, where memory has room for all, once so many were read one by one, and for one
// query in so many: it takes ten times as long as a search.
constexpr std::uint32_t cold_rows_per_segment = 24;
constexpr std::uint64_t queries_per_segment = 16;
// Above it most segments must be there: what a damaged number asks for must not be allocated.
constexpr std::uint64_t many_segments = std::uint64_t{1} << 20;
// What looking at one 4-bit code costs, in sign codes scanned.
constexpr double refine_cost = 14;

constexpr std::size_t blocks_ahead = 5;
constexpr std::size_t cells_ahead = 4;
constexpr std::size_t rows_ahead = 3;

void prefetch(const std::byte* from, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; i += 64) {
        __builtin_prefetch(from + i);
    }
}

std::size_t candidates_for(double recall, std::size_t k) {
    const double share = static_cast<double>(k) / 10;
    double wanted = candidates_for_ten * (k <= 10 ? std::max(share, 0.4) : std::pow(share, 0.85));
    if (recall >= 0.985) {
        wanted *= recall >= 0.9925 ? 2.6 : 1.9;
    } else if (recall < 0.92) {
        wanted *= 0.7;
    }
    return static_cast<std::size_t>(wanted) + 8;
}

std::size_t reranked_for(double recall, std::size_t k) {
    return recall >= 0.985 ? 2 * k + 12 : k + k / 2 + 6;
}

// How many deviations nearer than its 4-bit code says a row may be that is still looked at.
float deviations_for(double recall) {
    return recall >= 0.985 ? 3.5F : 2.5F;
}

}  // namespace

double CellSearch::now_us() {
    using Clock = std::chrono::steady_clock;
    return std::chrono::duration<double, std::micro>(Clock::now().time_since_epoch()).count();
}

void SlotFilter::allow(std::uint32_t slot) {
    limited = true;
    if (slot / 64 >= bits.size()) {
        bits.resize(std::max<std::size_t>(slot / 64 + 1, bits.size() * 2));
    }
    std::uint64_t& word = bits[slot / 64];
    const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
    count += (word & bit) == 0 ? 1U : 0U;
    word |= bit;
}

CellSearch::CellSearch(CellIndex& index, RowStore& rows, ElementType type, std::size_t dim, Metric metric)
    : index_(index), rows_(rows), type_(type), dim_(dim), metric_(metric) {}

// What cells and filters name is live, or the tables are damaged: passing over it would lose rows without a word.
Status CellSearch::no_vector(std::uint32_t slot) {
    return Status::corrupt("slot " + std::to_string(slot) + " is named by a cell or a row and holds no vector");
}

float CellSearch::reported(float distance) const {
    return metric_ == Metric::cosine ? distance / 2 : distance;
}

Status RowStore::read_slot(std::uint32_t slot, bool& live, std::int64_t& rowid, std::span<std::byte> vector) {
    live = false;
    return read_slots({&slot, 1}, [&](std::size_t /*i*/, std::int64_t id, std::span<const std::byte> bytes) {
        live = true;
        rowid = id;
        std::copy(bytes.begin(), bytes.end(), vector.begin());
    });
}

// --- what the snapshot holds -----------------------------------------------------------------------------------------

Status CellSearch::refresh() {
    release_chunks();
    VSS_TRY(index_.load());
    VSS_TRY(index_.settle());
    cache_is_full_ = Cache::instance().is_full();
    const std::uint64_t evictions = Cache::instance().evictions();
    if (evictions != evictions_) {
        // What was evicted must not be kept alive here.
        evictions_ = evictions;
        std::fill(cells_.begin(), cells_.end(), CellView{});
        for (SegmentView& view : segments_) {
            view.chunks.clear();
            view.rows.reset();
        }
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
        if (info.id < segments_.size() && segments_[info.id].info.version == info.version &&
            segments_[info.id].info.live == info.live) {
            view = std::move(segments_[info.id]);
        }
        view.info = info;
    }
    segments_ = std::move(views);
    if (index_.state().is_celled()) {
        VSS_TRY(index_.directory(directory_));
        cells_.resize(directory_->size());
    }
    generation_ = generation;
    return Status::ok();
}

bool CellSearch::is_current(const CellView& view, const CellInfo& info) const {
    return generation_ != 0 && view.codes != nullptr && view.version == info.version;
}

Status CellSearch::cell_codes(std::uint32_t cell, std::shared_ptr<const CodeBlocks>& held, const CodeBlocks*& out) {
    const CellInfo& info = directory_->info(cell);
    CellView& view = cells_[cell];
    if (is_current(view, info)) {
        out = view.codes.get();
        return Status::ok();
    }
    bool is_cached = false;
    VSS_TRY(index_.codes(cell, info, held, &is_cached));
    out = held.get();
    if (generation_ != 0 && is_cached) {
        view = {info.version, held, scan_of(*out)};
    }
    return Status::ok();
}

CellSearch::CellScan CellSearch::scan_of(const CodeBlocks& codes) {
    return {codes.blocks() > 0 ? codes.block(0) : nullptr, static_cast<std::uint32_t>(codes.size()),
            static_cast<std::uint32_t>(codes.blocks()), 0};
}

// The codes of the cells ranked up to `end`, which are scanned in this order.
Status CellSearch::open_cells(std::size_t end) {
    const bool product = index_.space().estimate() == Estimate::product;
    for (std::size_t i = scans_.size(); i < std::min(end, ranked_.size()); ++i) {
        const RankedCell& at = ranked_[i];
        const CellInfo& info = directory_->info(at.cell);
        const CellView& view = cells_[at.cell];
        CellScan scan = view.scan;
        if (!is_current(view, info)) {
            std::shared_ptr<const CodeBlocks> held;
            const CodeBlocks* codes = nullptr;
            VSS_TRY(cell_codes(at.cell, held, codes));
            scan = scan_of(*codes);
            held_.push_back(std::move(held));
        } else if (cache_is_full_) {
            view.codes->touch();
        }
        scan.offset = product ? -at.product : query_.square + info.norm * info.norm - 2 * at.product;
        scans_.push_back(scan);
    }
    return Status::ok();
}

CellSearch::SegmentView* CellSearch::view_of(std::uint32_t slot) {
    const std::uint32_t id = slot / static_cast<std::uint32_t>(rows_.segment_slots());
    return id < segments_.size() && segments_[id].info.live > 0 ? &segments_[id] : nullptr;
}

// Whether the budget has room for full vectors beside all codes.
bool CellSearch::rows_fit() const {
    const std::uint64_t row = rows_.vector_bytes() + index_.space().padded() * 3 / 4 + 96;
    return index_.state().rows * row < Cache::instance().budget() / 10 * 9;
}

CellSearch::ChunkView& CellSearch::chunk_view(SegmentView& view, std::size_t number) {
    if (view.chunks.empty()) {
        view.chunks.resize(index_.chunks_per_segment());
    }
    return view.chunks[number];
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
    return rows_.read_slots(slots, [&](std::size_t i, std::int64_t /*rowid*/, std::span<const std::byte> vector) {
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
    const CacheKey key{view.info.version, CacheKind::slots, index_.column(),
                       view.info.id * index_.chunks_per_segment() + number, space_key_};
    if (!Cache::instance().put(key, made)) {
        passing_chunks_.push_back(&chunk);
    }
    chunk = {made, made->code(0), made->live()};
    return Status::ok();
}

bool CellSearch::find_chunk(SegmentView& view, std::size_t number) {
    ChunkView& chunk = chunk_view(view, number);
    if (chunk.first == nullptr) {
        const CacheKey key{view.info.version, CacheKind::slots, index_.column(),
                           view.info.id * index_.chunks_per_segment() + number, space_key_};
        if (auto codes = Cache::instance().get_as<SlotCodes>(key);
            codes != nullptr && codes->fits(index_.space().padded())) {
            const std::byte* first = codes->code(0);
            const std::uint32_t live = codes->live();
            chunk = {std::move(codes), first, live};
        }
    }
    return chunk.first != nullptr;
}

// The chunk stays shut where making its codes must wait.
Status CellSearch::open_chunk(SegmentView& view, std::size_t number) {
    // Few rows are asked to learn, and most chunks would be read for them.
    if (find_chunk(view, number) || keeps_slots_ || (!index_.state().slot_codes && made_ >= chunks_made_per_query)) {
        return Status::ok();
    }
    auto made = std::make_shared<SlotCodes>(index_.space().padded());
    VSS_TRY(index_.slot_codes(view.info.id * index_.chunks_per_segment() + number, 1,
                              [&](std::uint64_t /*chunk*/, std::span<const std::byte> bytes) {
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
    std::vector<std::shared_ptr<SlotCodes>> made(chunks);
    const std::uint64_t first = view.info.id * chunks;
    VSS_TRY(index_.slot_codes(first, chunks, [&](std::uint64_t chunk, std::span<const std::byte> bytes) {
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

CellSearch::RowPlace CellSearch::row_in_memory(std::uint32_t slot) {
    const SegmentView* view = view_of(slot);
    if (view == nullptr || view->rows == nullptr) {
        return {};
    }
    const std::vector<std::uint32_t>& slots = view->rows->slots;
    std::size_t at = slot % rows_.segment_slots();
    if (at >= slots.size() || slots[at] != slot) {
        at = static_cast<std::size_t>(std::lower_bound(slots.begin(), slots.end(), slot) - slots.begin());
        if (at == slots.size() || slots[at] != slot) {
            return {};
        }
    }
    return {view->rows->row(at), view->rows->rowids[at]};
}

// Where memory has room for all rows, they are decoded a segment at a time.
Status CellSearch::keep_rows(SegmentView& view) {
    if (view.rows != nullptr || view.cold < cold_rows_per_segment || queries_ < kept_at_ + queries_per_segment) {
        return Status::ok();
    }
    kept_at_ = queries_;
    view.cold = 0;
    return rows_fit() ? rows_.segment(view.info, true, view.rows) : Status::ok();
}

Status CellSearch::slots_end(std::uint64_t& out) {
    VSS_TRY(refresh());
    out = segments_.size() * rows_.segment_slots();
    return Status::ok();
}

// --- one query -------------------------------------------------------------------------------------------------------

Status CellSearch::begin(const CellQuery& query) {
    const std::size_t padded = index_.space().padded();
    std::vector<float> raw(dim_);
    decode_vector(type_, query.vector, dim_, raw.data());
    query_.vector.resize(padded);
    const bool whole = index_.space().enter(raw.data(), query_.vector.data());
    query_.prepare(padded);
    fine_.prepare(query_.vector.data(), padded, index_.space().estimate());
    if (!whole) {
        fine_.set_lost();
    }
    candidates_.clear();
    vector_.resize(rows_.vector_bytes());
    costs_ = {};
    made_ = 0;
    ++queries_;
    return Status::ok();
}

// `i`: which of scans_. `ahead`: the block to fetch meanwhile, some blocks further on, across pages and into the cells
// that come next, where the processor's own prefetching does not follow.
Status CellSearch::scan_cell(std::size_t i, BlockAt& ahead, const CellQuery& query) {
    const CodeKernels& kernels = code_kernels();
    const std::size_t padded = index_.space().padded();
    const std::size_t block_bytes = code_block_bytes(padded);
    const CellScan& cell = scans_[i];
    alignas(32) std::array<float, block_rows> estimates;
    std::array<std::uint32_t, block_rows> entries;
    const std::size_t limit = segments_.size() * rows_.segment_slots();
    for (std::size_t b = 0; b < cell.blocks; ++b) {
        const std::byte* block = cell.codes + b * block_bytes;
        const std::byte* next = block;
        if (find_block(ahead)) {
            assert(scans_[ahead.scan].codes != nullptr);  // as it is for a cell without blocks
            next = scans_[ahead.scan].codes + ahead.block * block_bytes;
            ++ahead.block;
        }
        std::uint32_t below =
            kernels.scan(block, next, query_.tables, padded, cell.offset, best_.limit(), estimates.data());
        const std::size_t n = std::min<std::size_t>(block_rows, cell.entries - b * block_rows);
        below &= n == block_rows ? ~0U : (1U << n) - 1;
        if (below == 0) {
            continue;
        }
        std::memcpy(entries.data(), block, sizeof entries);
        for (; below != 0; below &= below - 1) {
            const auto lane = static_cast<std::size_t>(std::countr_zero(below));
            const std::uint32_t slot = entries[lane] & ~second_copy;
            if (slot >= limit) {
                return Status::corrupt("cell " + std::to_string(ranked_[i].cell) + " names a slot that does not exist");
            }
            std::uint64_t& word = seen_[slot / 64];
            const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
            if ((word & bit) != 0 || (query.slots != nullptr && !query.slots->passes(slot))) {
                continue;
            }
            word |= bit;
            seen_slots_.push_back(slot);
            best_.add(estimates[lane], slot);
            brought_ |= estimates[lane] < near_;
        }
        best_.thin_out();
    }
    return Status::ok();
}

// Goes on, where its cell has no block there, to the first of the cells behind it; false at the end of those opened.
bool CellSearch::find_block(BlockAt& at) const {
    while (at.scan < scans_.size() && at.block >= scans_[at.scan].blocks) {
        ++at.scan;
        at.block = 0;
    }
    return at.scan < scans_.size();
}

Status CellSearch::scan_cells(const CellQuery& query) {
    const bool filtered = query.slots != nullptr && query.slots->limited;
    const double rows = static_cast<double>(std::max<std::uint64_t>(index_.state().rows, 1));
    const double share = filtered ? std::min(static_cast<double>(query.slots->count) / rows, 1.0) : 1.0;
    const std::size_t live = directory_->live();
    best_.begin(std::min(candidates_for(query.recall, query.k), segments_.size() * rows_.segment_slots()));
    const Stopping stop = stopping_for(query.recall, query.k);
    const std::size_t cells = query.cells > 0 ? query.cells : cells_for(query.recall, query.k);
    const bool by_number = filtered || query.cells > 0 || !stop.is_patient;
    const double start = now_us();
    std::size_t first = stop.least + 3 * stop.patience + 16;
    if (by_number) {
        // With few matches among many rows the neighbours lie farther apart, so more cells are needed.
        first = filtered ? static_cast<std::size_t>(
                               std::min(static_cast<double>(cells) / std::sqrt(share) + 1, static_cast<double>(live)))
                         : cells;
    }
    ranked_.clear();
    directory_->begin_ranking(query_, ranking_);
    const auto rank_more = [&](std::size_t count) {
        directory_->rank_more(query_, std::min(count, live), CellDirectory::For::query, ranking_, ranked_);
    };
    rank_more(first);
    if (keeps_slots_) {
        VSS_TRY(rank_as_stranger(stranger_, ranked_));
    }
    double rank_us = now_us() - start;
    const double entries_per_cell = 2 * rows / static_cast<double>(std::max<std::size_t>(live, 1));
    const double matches_wanted = static_cast<double>(cells) * entries_per_cell * std::sqrt(share);
    seen_.resize(segments_.size() * rows_.segment_slots() / 64 + 1);
    Status status = Status::ok();
    double matches = 0;
    scans_.clear();
    held_.clear();
    near_cells_.clear();
    near_ = std::numeric_limits<float>::infinity();
    std::size_t last_near = 0;
    const std::size_t ranked_now = ranked_.size();
    BlockAt ahead;
    for (std::size_t i = 0; status.is_ok(); ++i) {
        // What a filter asks costs more than the scan, so it may wait longer.
        const bool waits = i < stop.least || i - last_near <= (filtered ? stop.patience + 2 + last_near
                                                                        : awaited(stop.patience, last_near));
        if (filtered) {
            // A filter whose rows lie far from the query: go on until enough of them were seen, and while cells still
            // bring some.
            if (i >= ranked_now && matches >= matches_wanted && !waits) {
                break;
            }
        } else if (by_number ? i == ranked_.size() : !waits) {
            break;
        }
        if (i == ranked_.size()) {
            if (i == live) {
                break;
            }
            const double more = now_us();
            rank_more(2 * i);
            rank_us += now_us() - more;
            if (i == ranked_.size()) {
                break;
            }
        }
        // What is not scanned should not be read.
        status = open_cells(i + cells_ahead);
        if (!status.is_ok()) {
            break;
        }
        if (i == 0) {
            ahead = {0, 0};
            for (std::size_t step = 0; step < blocks_ahead && find_block(ahead); ++step) {
                ++ahead.block;
            }
        }
        const std::size_t seen_before = seen_slots_.size();
        brought_ = false;
        status = scan_cell(i, ahead, query);
        const auto entries = static_cast<double>(scans_[i].entries);
        costs_.entries += scans_[i].entries;
        ++costs_.cells;
        if (filtered) {
            // Only what beats the threshold is known to match; the rest is taken to match as often as the whole.
            matches += (seen_before == seen_slots_.size() ? 0.5 : 1) * share * entries;
        }
        if (brought_ && (filtered || !by_number)) {
            last_near = i + 1;
            near_ = best_.nth(stop.near);
        } else if (brought_ && keeps_slots_) {
            near_cells_.push_back(static_cast<std::uint32_t>(i));
            near_ = best_.nth(stop.near);
        }
    }
    costs_.rank_us = rank_us;
    for (const std::uint32_t slot : seen_slots_) {
        seen_[slot / 64] = 0;
    }
    seen_slots_.clear();
    best_.finish();
    held_.clear();
    costs_.candidates = best_.numbers().size();
    costs_.scan_us = now_us() - start - rank_us;
    return status;
}

Status CellSearch::refine(const CellQuery& query) {
    const double start = now_us();
    slots_.assign(best_.numbers().begin(), best_.numbers().end());
    for (const std::uint32_t slot : index_.tail()) {
        if (query.slots == nullptr || query.slots->passes(slot)) {
            slots_.push_back(slot);
        }
    }
    // In three steps, so that what is needed next is on its way from memory meanwhile.
    const auto segment_slots = static_cast<std::uint32_t>(rows_.segment_slots());
    const std::size_t padded = index_.space().padded();
    const auto chunk_slots = static_cast<std::uint32_t>(SlotCodes::chunk_slots(padded));
    const std::size_t code_bytes = SlotCodes::code_bytes(padded);
    places_.clear();
    cold_.clear();
    for (const std::uint32_t slot : slots_) {
        SegmentView* view = view_of(slot);
        if (view == nullptr) {
            return no_vector(slot);
        }
        const std::uint32_t within = slot % segment_slots;
        ChunkView& chunk = chunk_view(*view, within / chunk_slots);
        __builtin_prefetch(&chunk);
        places_.push_back({&chunk, nullptr, slot, within % chunk_slots});
    }
    for (CodePlace& place : places_) {
        if (place.chunk->first == nullptr) {
            VSS_TRY(open_chunk(*view_of(place.slot), place.slot % segment_slots / chunk_slots));
        }
        if (place.chunk->first == nullptr || (place.chunk->live >> place.at & 1) == 0) {
            cold_.push_back(place.slot);
            continue;
        }
        if (cache_is_full_) {
            place.chunk->codes->touch();
        }
        place.code = place.chunk->first + place.at * code_bytes;
        prefetch(place.code, code_bytes);
    }
    refined_.clear();
    for (std::uint32_t i = 0; i < places_.size(); ++i) {
        if (places_[i].code != nullptr) {
            refined_.push_back(ordered_key(fine_.distance(places_[i].code), i));
        }
    }
    costs_.refined += refined_.size();
    const std::size_t wanted = std::min(reranked_for(query.recall, query.k), refined_.size());
    std::partial_sort(refined_.begin(), refined_.begin() + static_cast<std::ptrdiff_t>(wanted), refined_.end());
    refined_.resize(wanted);
    costs_.refine_us = now_us() - start;
    return Status::ok();
}

Status CellSearch::measure(std::uint32_t slot, const CellQuery& query, bool& passes, Neighbor& out) {
    passes = false;
    SegmentView* view = view_of(slot);
    if (view == nullptr) {
        return no_vector(slot);
    }
    if (const RowPlace row = row_in_memory(slot); row.vector != nullptr) {
        out.rowid = row.rowid;
        return measure(slot, row.vector, query, passes, out);
    }
    bool live = false;
    VSS_TRY(rows_.read_slot(slot, live, out.rowid, vector_));
    if (!live) {
        return no_vector(slot);
    }
    ++costs_.cold_rows;
    if (!keeps_slots_) {
        ++view->cold;
        VSS_TRY(keep_rows(*view));
    }
    return measure(slot, vector_.data(), query, passes, out);
}

// `out` has its rowid already.
Status CellSearch::measure(std::uint32_t slot, const std::byte* vector, const CellQuery& query, bool& passes,
                           Neighbor& out) {
    ++costs_.reranked;
    passes = false;
    if (query.rows != nullptr && !query.rows->passes(out.rowid)) {
        return query.slots == nullptr ? Status::ok()
                                      : Status::corrupt("a row names slot " + std::to_string(slot) +
                                                        ", which holds the vector of row " + std::to_string(out.rowid));
    }
    out.distance = static_cast<float>(exact_distance(type_, metric_, query.vector, vector, dim_));
    passes = query.rows == nullptr || query.rows->passes_distance(out.distance);
    return Status::ok();
}

// `best`: a heap of the k best, the farthest on top.
void CellSearch::offer(const Neighbor& neighbor, std::uint32_t slot, std::size_t k, std::vector<Neighbor>& best) {
    if (keeps_slots_) {
        measured_slots_.emplace(neighbor.rowid, slot);
    }
    best.push_back(neighbor);
    std::push_heap(best.begin(), best.end());
    if (best.size() > k) {
        std::pop_heap(best.begin(), best.end());
        best.pop_back();
    }
}

Status CellSearch::rerank(const CellQuery& query, std::vector<Neighbor>& out) {
    const double start = now_us();
    out.clear();
    measured_slots_.clear();
    for (const std::uint32_t slot : cold_) {
        bool passes = false;
        Neighbor neighbor;
        VSS_TRY(measure(slot, query, passes, neighbor));
        if (passes) {
            offer(neighbor, slot, query.k, out);
        }
    }
    const auto prefetch_row = [&](std::size_t i) {
        if (i < refined_.size()) {
            const RowPlace row = row_in_memory(places_[key_number(refined_[i])].slot);
            if (row.vector != nullptr) {
                prefetch(row.vector, rows_.vector_bytes());
            }
        }
    };
    for (std::size_t i = 0; i < rows_ahead; ++i) {
        prefetch_row(i);
    }
    const float deviations = deviations_for(query.recall);
    for (std::size_t i = 0; i < refined_.size(); ++i) {
        prefetch_row(i + rows_ahead);
        const CodePlace& place = places_[key_number(refined_[i])];
        if (out.size() == query.k && !keeps_slots_ &&
            reported(key_value(refined_[i]) - deviations * fine_.deviation(place.code)) > out.front().distance) {
            break;  // those behind it are not nearer, most likely
        }
        bool passes = false;
        Neighbor neighbor;
        VSS_TRY(measure(place.slot, query, passes, neighbor));
        if (passes) {
            offer(neighbor, place.slot, query.k, out);
        }
    }
    release_chunks();
    std::sort_heap(out.begin(), out.end());
    costs_.rerank_us = now_us() - start;
    return Status::ok();
}

Status CellSearch::search(const CellQuery& query, std::vector<Neighbor>& out) {
    out.clear();
    VSS_TRY(refresh());
    if (!index_.state().is_celled()) {
        return search_exact(query, out);
    }
    VSS_TRY(begin(query));
    if (query.k == 0 || (query.slots != nullptr && query.slots->limited && query.slots->count == 0)) {
        return Status::ok();
    }
    bool direct = false;
    const bool filtered = query.slots != nullptr && query.slots->limited;
    if (filtered) {
        const double rows = static_cast<double>(std::max<std::uint64_t>(index_.state().rows, 1));
        const double share = static_cast<double>(query.slots->count) / rows;
        const double entries = static_cast<double>(cells_for(query.recall, query.k)) * 2 * rows /
                               static_cast<double>(std::max<std::size_t>(directory_->live(), 1));
        direct =
            static_cast<double>(query.slots->count) * refine_cost <= std::min(entries / std::sqrt(share), 2 * rows) ||
            query.slots->count <= 4 * query.k;
    }
    if (direct) {
        return search_exact(query, out);
    }
    VSS_TRY(scan_cells(query));
    VSS_TRY(refine(query));
    VSS_TRY(rerank(query, out));
    const std::uint64_t there = filtered ? query.slots->count : index_.state().rows;
    if (costs_.reranked < std::min<std::uint64_t>(query.k, there) && costs_.cells < directory_->live()) {
        // k holds: whatever the cells missed is found by looking at every row that may be returned.
        return search_exact(query, out);
    }
    return Status::ok();
}

}  // namespace vss
