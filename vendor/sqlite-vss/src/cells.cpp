#include "cells.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "text.h"

namespace vss {
namespace {

// Cells of the ranking in which a row's entries are looked for before all are.
constexpr std::size_t likely_cells = 24;
// Entries that splits and merges may look at for each row that comes or goes.
constexpr std::size_t work_per_row = 24;

}  // namespace

CellIndex::CellIndex(CellStore& store, std::size_t dim, Metric metric, const CellTuning& tuning)
    : store_(store), dim_(dim), metric_(metric), tuning_(tuning) {
    make_space();
}

void CellIndex::make_space() {
    space_ = std::make_unique<CellSpace>(dim_, metric_, state_.spherical, state_.seed, state_.offset);
    space_is_current_ = true;
}

Status CellIndex::load() {
    if (broken_) {
        return {Code::internal, "an earlier change of this transaction failed half-way; roll it back"};
    }
    if (dirty_) {
        return Status::ok();
    }
    CellState read;
    const std::uint64_t known = space_is_current_ ? state_.generation : 0;
    read.generation = known;
    VSS_TRY(store_.read_state(known, read));
    if (read.generation == known && known != 0) {
        return Status::ok();
    }
    const bool same_directory = read.directory_version == state_.directory_version;
    space_is_current_ = space_is_current_ && read.seed == state_.seed && read.spherical == state_.spherical &&
                        read.offset == state_.offset;
    // What needs memory comes before anything is changed, or can be done again.
    std::set<std::uint32_t> tail(read.tail.begin(), read.tail.end());
    state_ = std::move(read);
    tail_ = std::move(tail);
    if (!same_directory) {
        forget_directory();
    }
    if (!space_is_current_) {
        make_space();
    }
    return Status::ok();
}

void CellIndex::forget_directory() {
    directory_.reset();
    ranker_.reset();
    placed_without_ = 0;
}

Status CellIndex::load_directory() {
    if (directory_ != nullptr) {
        return Status::ok();
    }
    const CacheKey key{state_.directory_version, CacheKind::cell_directory, store_.column(), 0};
    auto cached = Cache::instance().get_as<CellDirectory>(key);
    if (cached == nullptr) {
        auto read = std::make_shared<CellDirectory>(*space_);
        VSS_TRY(store_.read_directory(*read));
        cached = read;
        Cache::instance().put(key, cached, Cache::instance().begin_search());
    }
    directory_ = std::const_pointer_cast<CellDirectory>(cached);
    directory_shared_ = true;
    for (std::uint32_t cell = 0; cell < directory_->size(); ++cell) {
        if (directory_->info(cell).primaries > tuning_.split_above) {
            unbalanced_.insert(cell);
        }
    }
    return Status::ok();
}

Status CellIndex::directory(std::shared_ptr<const CellDirectory>& out) {
    VSS_TRY(load_directory());
    out = directory_;
    return Status::ok();
}

CellDirectory& CellIndex::changing_directory() {
    if (directory_shared_) {
        directory_ = directory_->clone();
        directory_shared_ = false;
    }
    directory_changed_ = true;
    return *directory_;
}

Status CellIndex::codes(std::uint32_t cell, const CellInfo& info, std::shared_ptr<const CodeBlocks>& out) {
    if (const auto at = working_.find(cell); at != working_.end()) {
        out = at->second.codes;
        return Status::ok();
    }
    const CacheKey key{info.version, CacheKind::codes, store_.column(), cell};
    out = Cache::instance().get_as<CodeBlocks>(key);
    if (out != nullptr && out->size() == info.entries) {
        return Status::ok();
    }
    auto read = std::make_shared<CodeBlocks>(space_->padded());
    read->resize(info.entries);
    VSS_TRY(store_.read_codes(cell, *read));
    out = read;
    Cache::instance().put(key, std::move(read), Cache::instance().begin_search());
    return Status::ok();
}

Status CellIndex::working(std::uint32_t cell, Working*& out) {
    if (const auto at = working_.find(cell); at != working_.end()) {
        out = &at->second;
        return Status::ok();
    }
    std::shared_ptr<const CodeBlocks> codes_now;
    VSS_TRY(codes(cell, directory_->info(cell), codes_now));
    out = &working_.emplace(cell, Working{codes_now->clone(), {}}).first->second;
    return Status::ok();
}

void CellIndex::touch(Working& working, std::size_t entry) const {
    const std::size_t chunk = entry / (chunk_blocks(space_->padded()) * block_rows);
    if (working.dirty_chunks.size() <= chunk) {
        working.dirty_chunks.resize(chunk + 1);
    }
    working.dirty_chunks[chunk] = true;
}

void CellIndex::push(Working& working, CellInfo& info, std::uint32_t entry, const RowCode& code) {
    touch(working, working.codes->size());
    working.codes->push(entry, code);
    ++info.entries;
    info.primaries += (entry & second_copy) == 0 ? 1U : 0U;
}

Status CellIndex::rotated(std::span<const std::uint32_t> slots, std::vector<float>& out) {
    const std::size_t padded = space_->padded();
    std::vector<float> raw(slots.size() * dim_);
    VSS_TRY(store_.read_vectors(slots, raw.data()));
    out.resize(slots.size() * padded);
    for (std::size_t i = 0; i < slots.size(); ++i) {
        space_->enter(raw.data() + i * dim_, out.data() + i * padded);
    }
    return Status::ok();
}

// --- changes ---------------------------------------------------------------------------------------------------------

Status CellIndex::add(std::uint64_t slot) {
    if (slot > max_celled_slots) {
        return {Code::too_big, cat("the column is full (", max_celled_slots, " vectors)")};
    }
    VSS_TRY(load());
    dirty_ = true;
    ++state_.rows;
    if (state_.is_celled()) {
        tail_.insert(static_cast<std::uint32_t>(slot));
    }
    return Status::ok();
}

Status CellIndex::note_change() {
    VSS_TRY(load());
    dirty_ = true;
    return Status::ok();
}

Status CellIndex::remove(std::uint64_t slot) {
    VSS_TRY(load());
    if (state_.rows == 0) {
        return Status::corrupt("more rows are removed than were counted");
    }
    const auto entry = static_cast<std::uint32_t>(slot);
    if (!state_.is_celled() || tail_.erase(entry) > 0) {
        dirty_ = true;
        --state_.rows;
        return Status::ok();
    }
    VSS_TRY(load_directory());
    std::vector<float> x;
    VSS_TRY(rotated({&entry, 1}, x));
    CodeQuery query;
    query.vector = std::move(x);
    query.prepare(space_->padded());
    std::vector<RankedCell> ranked;
    directory_->rank(query, likely_cells, CellDirectory::For::row, ranked);
    dirty_ = true;
    --state_.rows;
    ++removed_;
    for (const std::uint32_t wanted : {entry, entry | second_copy}) {
        bool found = false;
        Status status = take_out(wanted, ranked, found);
        if (status.is_ok() && !found && !((wanted & second_copy) != 0 && directory_->live() == 1)) {
            status = take_out_everywhere(wanted);
        }
        if (!status.is_ok()) {
            broken_ = true;
            return status;
        }
    }
    return Status::ok();
}

Status CellIndex::take_out(std::uint32_t entry, const std::vector<RankedCell>& ranked, bool& found) {
    found = false;
    for (const RankedCell& at : ranked) {
        std::shared_ptr<const CodeBlocks> blocks;
        VSS_TRY(codes(at.cell, directory_->info(at.cell), blocks));
        const std::size_t i = blocks->find(entry);
        if (i == blocks->size()) {
            continue;
        }
        Working* changed = nullptr;
        VSS_TRY(working(at.cell, changed));
        touch(*changed, i);
        touch(*changed, changed->codes->size() - 1);
        changed->codes->remove(i);
        CellInfo& info = changing_directory().info(at.cell);
        --info.entries;
        changed_cells_.insert(at.cell);
        if ((entry & second_copy) == 0) {
            --info.primaries;
            if (info.primaries < tuning_.merge_below) {
                unbalanced_.insert(at.cell);
            }
        }
        found = true;
        return Status::ok();
    }
    return Status::ok();
}

Status CellIndex::take_out_everywhere(std::uint32_t entry) {
    std::vector<RankedCell> all;
    for (std::uint32_t cell = 0; cell < directory_->size(); ++cell) {
        if (directory_->info(cell).version != 0) {
            all.push_back({0, cell, 0});
        }
    }
    bool found = false;
    VSS_TRY(take_out(entry, all, found));
    // A row of a table with a single cell never got a second copy.
    return found || (entry & second_copy) != 0 ? Status::ok() : Status::corrupt(cat("slot ", entry, " is in no cell"));
}

std::size_t CellIndex::tail_limit() const {
    return std::clamp<std::size_t>(state_.rows / 512, tuning_.least_tail, tuning_.most_tail);
}

Status CellIndex::settle(bool all) {
    if (broken_) {
        return load();
    }
    if (!dirty_ && !all) {
        return Status::ok();
    }
    Status status = Status::ok();
    broken_ = true;  // until it is done, so that an exception leaves it so
    if (!state_.is_celled()) {
        if (state_.rows >= tuning_.first_cells_at) {
            status = rebuild();
        }
    } else if (tail_.size() > state_.rows - tail_.size()) {
        status = rebuild();
    } else {
        status = load_directory();
        const bool due = tail_.size() >= tail_limit() || (all && !tail_.empty());
        if (status.is_ok() && due) {
            const std::vector<std::uint32_t> slots(tail_.begin(), tail_.end());
            constexpr std::size_t batch = 1024;
            for (std::size_t i = 0; i < slots.size() && status.is_ok(); i += batch) {
                const std::size_t n = std::min(batch, slots.size() - i);
                status = insert_rows(std::span(slots).subspan(i, n));
                if (status.is_ok()) {
                    status = balance(work_per_row * (n + std::exchange(removed_, 0)));
                }
            }
            tail_.clear();
        } else if (status.is_ok()) {
            status = balance(1 + work_per_row * removed_);
        }
    }
    removed_ = 0;
    broken_ = !status.is_ok();
    return status;
}

Status CellIndex::flush() {
    if (!dirty_) {
        return Status::ok();
    }
    VSS_TRY(settle());
    const std::uint64_t version = random_version();
    broken_ = true;
    for (const std::uint32_t cell : changed_cells_) {
        CellInfo& info = directory_->info(cell);
        const auto at = working_.find(cell);
        if (info.version == 0) {
            VSS_TRY(store_.erase_cell(cell));
            continue;
        }
        if (at != working_.end()) {
            VSS_TRY(store_.write_codes(cell, *at->second.codes, at->second.dirty_chunks));
            info.version = version;
        }
        VSS_TRY(store_.write_cell(cell, info, directory_->centroid_bytes(cell)));
    }
    if (directory_changed_) {
        state_.directory_version = version;
    }
    state_.generation = version;
    state_.tail.assign(tail_.begin(), tail_.end());
    VSS_TRY(store_.write_state(state_));
    const std::uint64_t search = Cache::instance().begin_search();
    for (auto& [cell, changed] : working_) {
        const CacheKey key{version, CacheKind::codes, store_.column(), cell};
        Cache::instance().put(key, std::move(changed.codes), search);
    }
    if (directory_changed_) {
        Cache::instance().put({version, CacheKind::cell_directory, store_.column(), 0}, directory_, search);
        directory_shared_ = true;
    }
    working_.clear();
    changed_cells_.clear();
    directory_changed_ = false;
    dirty_ = false;
    broken_ = false;
    return Status::ok();
}

void CellIndex::discard() {
    working_.clear();
    changed_cells_.clear();
    unbalanced_.clear();
    forget_directory();
    directory_changed_ = false;
    removed_ = 0;
    tail_.clear();
    state_.generation = 0;
    state_.directory_version = 0;
    dirty_ = false;
    broken_ = false;
}

void CellIndex::set_learned(const LearnedRecall& learned) {
    state_.learned = learned;
    dirty_ = true;
}

}  // namespace vss
