#include "index/cells/cells.h"

#include <algorithm>
#include <utility>

#include "base/random.h"
#include "base/text.h"
#include "index/cells/cell_model.h"

namespace vss {
namespace {

// Entries that splits and merges may look at for each row that comes or goes.
constexpr std::size_t work_per_row = 24;
// How often a large change asks how much memory the codes take: after so many pieces of rows, or cells.
constexpr std::size_t looks_at_memory = 16;

}  // namespace

CellIndex::CellIndex(CellStore& store, std::size_t dim, Metric metric, const CellTuning& tuning)
    : store_(store), dim_(dim), metric_(metric), tuning_(tuning) {
    make_space();
}

void CellIndex::make_space() {
    space_ =
        std::make_shared<const CellSpace>(dim_, metric_, state_.spherical, state_.seed, state_.offset, state_.exponent);
    const std::string_view offset(reinterpret_cast<const char*>(state_.offset.data()), state_.offset.size() * 4);
    space_key_ = cache_space(cat(store_.space(), state_.spherical ? " s " : " p ", state_.seed, ' ',
                                 static_cast<int>(state_.exponent), ' ', offset));
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
    const Before before{directory_changed_ ? nullptr : directory_, state_.parts_version, state_.batches_begin,
                        state_.batches_end};
    space_is_current_ = space_is_current_ && read.seed == state_.seed && read.spherical == state_.spherical &&
                        read.exponent == state_.exponent && read.offset == state_.offset;
    // What needs memory comes before anything is changed, or can be done again.
    std::set<std::uint32_t> tail(read.tail.begin(), read.tail.end());
    state_ = std::move(read);
    tail_ = std::move(tail);
    rows_before_ = state_.rows;
    removed_before_ = state_.removed_since;
    erased_to_ = state_.batches_begin;
    if (!same_directory) {
        before_ = before.directory != nullptr ? before : before_;
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

Status CellIndex::read_directory(CellDirectory& out) {
    VSS_TRY(store_.read_directory(out));
    VSS_TRY(store_.read_batches(state_.batches_begin, state_.batches_end, nullptr, out));
    return check_rows(out);
}

// Of what is known of an earlier state, what has changed since is read.
Status CellIndex::reread_directory(std::shared_ptr<CellDirectory>& out) {
    if (before_.directory == nullptr || !before_.directory->fits(*space_)) {
        return Status::ok();
    }
    const CellDirectory& before = *before_.directory;
    std::shared_ptr<CellDirectory> read;
    const bool same_parts = before_.parts_version == state_.parts_version;
    if (same_parts && before_.batches_begin == state_.batches_begin && before_.batches_end <= state_.batches_end) {
        read = before.clone();
        VSS_TRY(store_.read_batches(before_.batches_end, state_.batches_end, nullptr, *read));
    } else {
        read = before.clone_stored();
        if (!same_parts) {
            bool done = false;
            VSS_TRY(store_.reread_directory(*read, done));
            if (!done) {
                return Status::ok();
            }
        }
        VSS_TRY(store_.read_batches(state_.batches_begin, state_.batches_end, &before, *read));
    }
    VSS_TRY(check_rows(*read));
    out = std::move(read);
    return Status::ok();
}

Status CellIndex::check_rows(const CellDirectory& directory) const {
    std::uint64_t rows = 0;
    for (std::uint32_t cell = 0; cell < directory.size(); ++cell) {
        rows += directory.info(cell).primaries;
    }
    // What is lost would make searches miss its rows without a word.
    const std::uint64_t expected = state_.rows - tail_.size();
    return rows == expected ? Status::ok()
                            : Status::corrupt(cat("the cells hold ", rows, " rows, their state counts ", expected));
}

Status CellIndex::read_codes(CellStore& store, const CellDirectory& directory, std::uint32_t cell, CodeBlocks& out) {
    const StoredCell& stored = directory.stored(cell);
    VSS_TRY(store.read_codes(cell, stored.entries, out));
    directory.append_waiting(cell, out);
    return Status::ok();
}

Status CellIndex::load_directory() {
    if (directory_ != nullptr) {
        return Status::ok();
    }
    const CacheKey key{state_.directory_version, CacheKind::cell_directory, store_.column(), 0, space_key_};
    auto cached = Cache::instance().get_as<CellDirectory>(key);
    if (cached == nullptr || !cached->fits(*space_)) {
        std::shared_ptr<CellDirectory> read;
        VSS_TRY(reread_directory(read));
        if (read == nullptr) {
            read = std::make_shared<CellDirectory>(*space_);
            VSS_TRY(read_directory(*read));
        }
        before_ = {};
        cached = read;
        Cache::instance().put(key, cached);
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
    measure_new_radii();
    out = directory_;
    return Status::ok();
}

void CellIndex::measure_radius(std::uint32_t cell) {
    if (const auto at = working_.find(cell); at != working_.end()) {
        CellInfo& info = directory_->changing_info(cell);
        measure_radii(*at->second.codes, space_->estimate(), space_->padded(), info);
    }
}

// What was clustered again since it was last asked for; then the directory is this connection's own.
void CellIndex::measure_new_radii() {
    for (const std::uint32_t cell : unmeasured_) {
        measure_radius(cell);
    }
    unmeasured_.clear();
}

Status CellIndex::measure_all_radii() {
    VSS_TRY(load_directory());
    CellDirectory& directory = changing_directory();
    for (std::uint32_t cell = 0; cell < directory.size(); ++cell) {
        const CellInfo& info = directory.info(cell);
        if (info.version != 0 && info.primaries > 0 && info.radius == 0) {
            Working* changed = nullptr;
            VSS_TRY(working(cell, changed));
            measure_radius(cell);
        }
    }
    dirty_ = true;
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

Status CellIndex::codes(std::uint32_t cell, const CellInfo& info, std::shared_ptr<const CodeBlocks>& out,
                        bool* is_cached) {
    bool unasked = false;
    bool& cached = is_cached != nullptr ? *is_cached : unasked;
    cached = false;
    if (const auto at = working_.find(cell); at != working_.end()) {
        out = at->second.codes;
        return Status::ok();
    }
    const CacheKey key{info.version, CacheKind::codes, store_.column(), cell, space_key_};
    out = Cache::instance().get_as<CodeBlocks>(key);
    if (out != nullptr && out->fits(space_->padded(), info.entries)) {
        cached = true;
        return Status::ok();
    }
    // The transaction may have ended since the caller got the directory.
    VSS_TRY(load_directory());
    // Its chunks may be there, from before rows were added.
    const CacheKey chunks{directory_->stored(cell).version, CacheKind::codes, store_.column(), cell, space_key_};
    const auto before = info.version == chunks.version ? nullptr : Cache::instance().get_as<CodeBlocks>(chunks);
    std::shared_ptr<CodeBlocks> read;
    if (before != nullptr && before->fits(space_->padded(), directory_->stored(cell).entries)) {
        read = before->clone();
        directory_->append_waiting(cell, *read);
    } else {
        read = std::make_shared<CodeBlocks>(space_->padded());
        VSS_TRY(read_codes(store_, *directory_, cell, *read));
    }
    out = read;
    cached = Cache::instance().put(key, std::move(read));
    return Status::ok();
}

std::shared_ptr<const CodeBlocks> CellIndex::codes_in_memory(std::uint32_t cell, const CellInfo& info) const {
    auto out =
        Cache::instance().get_as<CodeBlocks>({info.version, CacheKind::codes, store_.column(), cell, space_key_});
    return out != nullptr && out->fits(space_->padded(), info.entries) ? out : nullptr;
}

Status CellIndex::working(std::uint32_t cell, Working*& out) {
    if (const auto at = working_.find(cell); at != working_.end()) {
        out = &at->second;
        if (out->codes.use_count() > 1) {
            out->codes = out->codes->clone();  // what Undo holds stays as it is
        }
        return Status::ok();
    }
    std::shared_ptr<const CodeBlocks> codes_now;
    VSS_TRY(codes(cell, directory_->info(cell), codes_now));
    begin_working(cell, codes_now->clone(), out);
    return Status::ok();
}

void CellIndex::begin_working(std::uint32_t cell, std::shared_ptr<CodeBlocks> codes, Working*& out) {
    out = &working_.emplace(cell, Working{std::move(codes), {}}).first->second;
    changed_cells_.insert(cell);
    // What waited for the cell goes into its chunks with whatever changes them.
    for (std::size_t i = directory_->stored(cell).entries; i < out->codes->size(); ++i) {
        touch(*out, i);
    }
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

// All rows that were in cells went.
void CellIndex::forget_cells() {
    forget_directory();
    before_ = {};
    working_.clear();
    changed_cells_.clear();
    moved_cells_.clear();
    new_batches_.clear();
    unbalanced_.clear();
    tail_.clear();
    leaving_ = {};
    directory_changed_ = false;
    state_.directory_version = 0;
    state_.parts_version = 0;
    state_.batches_begin = 0;
    state_.batches_end = 0;
    state_.learned = {};
    state_.slot_codes = false;
    slot_chunks_.clear();
    erased_to_ = 0;
    cleared_ = true;
}

std::size_t CellIndex::tail_limit() const {
    return std::min(batch_rows(space_->padded()), tuning_.tail_rows);
}

std::size_t CellIndex::batched_limit() const {
    return std::clamp<std::size_t>(state_.rows / 32, 16 * tail_limit(), tuning_.most_batched);
}

// Everything that settle() changes, put back unless it succeeds. A search may have asked for it, and be interrupted in
// the middle of it: the transaction that it is part of goes on.
class CellIndex::Undo {
  public:
    explicit Undo(CellIndex& index)
        : index_(index),
          state_(index.state_),
          space_(index.space_),
          space_key_(index.space_key_),
          space_is_current_(index.space_is_current_),
          tail_(index.tail_),
          directory_(index.directory_),
          before_(index.before_),
          directory_changed_(index.directory_changed_),
          directory_shared_(index.directory_shared_),
          working_(index.working_),
          changed_cells_(index.changed_cells_),
          moved_cells_(index.moved_cells_),
          unmeasured_(index.unmeasured_),
          new_batches_(index.new_batches_),
          erased_to_(index.erased_to_),
          slot_chunks_(index.slot_chunks_),
          erases_slot_codes_(index.erases_slot_codes_),
          unbalanced_(index.unbalanced_),
          leaving_(index.leaving_),
          removed_(index.removed_),
          cleared_(index.cleared_),
          dirty_(index.dirty_) {
        index.directory_shared_ = true;  // with this: cloned before it is changed
    }
    ~Undo() {
        if (is_kept_) {
            return;
        }
        index_.state_ = std::move(state_);
        index_.space_ = std::move(space_);
        index_.space_key_ = space_key_;
        index_.space_is_current_ = space_is_current_;
        index_.tail_ = std::move(tail_);
        index_.directory_ = std::move(directory_);
        index_.before_ = std::move(before_);
        index_.directory_changed_ = directory_changed_;
        index_.directory_shared_ = directory_shared_;
        index_.working_ = std::move(working_);
        index_.changed_cells_ = std::move(changed_cells_);
        index_.moved_cells_ = std::move(moved_cells_);
        index_.unmeasured_ = std::move(unmeasured_);
        index_.new_batches_ = std::move(new_batches_);
        index_.erased_to_ = erased_to_;
        index_.slot_chunks_ = std::move(slot_chunks_);
        index_.erases_slot_codes_ = erases_slot_codes_;
        index_.unbalanced_ = std::move(unbalanced_);
        index_.leaving_ = std::move(leaving_);
        index_.removed_ = removed_;
        index_.cleared_ = cleared_;
        index_.dirty_ = dirty_;
        index_.ranker_.reset();
        index_.placed_without_ = 0;
        index_.broken_ = false;
    }
    Undo(const Undo&) = delete;
    Undo& operator=(const Undo&) = delete;
    void keep() { is_kept_ = true; }

  private:
    CellIndex& index_;
    bool is_kept_ = false;
    CellState state_;
    std::shared_ptr<const CellSpace> space_;
    std::uint64_t space_key_;
    bool space_is_current_;
    std::set<std::uint32_t> tail_;
    std::shared_ptr<CellDirectory> directory_;
    Before before_;
    bool directory_changed_;
    bool directory_shared_;
    std::map<std::uint32_t, Working> working_;
    std::set<std::uint32_t> changed_cells_;
    std::set<std::uint32_t> moved_cells_;
    std::set<std::uint32_t> unmeasured_;
    std::vector<std::shared_ptr<const CodeBatch>> new_batches_;
    std::uint32_t erased_to_;
    std::map<std::uint64_t, std::shared_ptr<SlotCodes>> slot_chunks_;
    bool erases_slot_codes_;
    std::set<std::uint32_t> unbalanced_;
    Leaving leaving_;
    std::size_t removed_;
    bool cleared_;
    bool dirty_;
};

bool CellIndex::has_work(bool all) const {
    if (!state_.is_celled()) {
        return state_.rows >= tuning_.first_cells_at;
    }
    return all || !leaving_.slots.empty() || removed_ > 0 || tail_.size() >= tail_limit() ||
           2 * tail_.size() > state_.rows;
}

bool CellIndex::has_bulk_work() const {
    return dirty_ && !broken_ &&
           (state_.is_celled() ? 2 * tail_.size() > state_.rows : state_.rows >= tuning_.first_cells_at);
}

std::uint64_t CellIndex::bulk_bytes() const {
    const std::size_t padded = space_->padded();
    const std::size_t copies = tuning_.copies ? 2 : 1;
    const std::size_t slot_code = may_keep_slot_codes() ? SlotCodes::code_bytes(padded) : 0;
    return state_.rows * (copies * code_block_bytes(padded) / block_rows + slot_code);
}

Status CellIndex::settle(bool all) {
    if (broken_) {
        return load();
    }
    if ((!dirty_ && !all) || !has_work(all)) {
        return Status::ok();
    }
    Undo undo(*this);
    VSS_TRY(settle_now(all));
    undo.keep();
    return Status::ok();
}

Status CellIndex::settle_now(bool all) {
    Status status = Status::ok();
    const bool gone_in_bulk = !leaving_.has_rows(space_->padded());
    if (state_.is_celled() && state_.rows == tail_.size() && !leaving_.slots.empty()) {
        forget_cells();
    }
    const bool is_celled = state_.is_celled();
    const bool mostly_new = is_celled && tail_.size() > state_.rows - tail_.size();
    bool mostly_gone = false;
    if (is_celled && !mostly_new && gone_in_bulk) {
        status = load_directory();
        // Nearly all cells would be merged.
        mostly_gone = status.is_ok() && state_.rows - tail_.size() < directory_->live() * tuning_.merge_below;
    }
    if (status.is_ok() && is_celled && !mostly_new && !mostly_gone) {
        status = take_out_leaving();
    }
    if (!status.is_ok()) {
        return status;
    }
    if (!is_celled) {
        if (state_.rows >= tuning_.first_cells_at) {
            status = rebuild();
        }
    } else if (mostly_new || mostly_gone) {
        status = rebuild();
    } else if (tail_.size() >= tail_limit() || removed_ > 0 || all) {
        status = load_directory();
        // Rows that go pay for merges; splits are paid for by rows that come.
        if (status.is_ok() && removed_ > 0) {
            status = balance(1 + work_per_row * removed_, true);
        }
        if (status.is_ok() && (tail_.size() >= tail_limit() || (all && !tail_.empty()))) {
            std::vector<std::uint32_t> slots(tail_.begin(), tail_.end());
            const bool as_batches = slots.size() <= batched_limit();
            constexpr std::size_t many = 1024;
            const std::size_t together = as_batches ? tail_limit() : many;
            if (!all && as_batches) {
                slots.resize(slots.size() / together * together);  // full batches only
            }
            for (std::size_t i = 0; i < slots.size() && status.is_ok(); i += together) {
                const std::size_t n = std::min(together, slots.size() - i);
                status = insert_rows(std::span(slots).subspan(i, n), as_batches);
                if (status.is_ok()) {
                    status = balance(work_per_row * n, false);
                }
                if (status.is_ok() && !as_batches && i / together % looks_at_memory == looks_at_memory - 1) {
                    status = write_working_if_large();
                }
            }
            for (const std::uint32_t slot : slots) {
                tail_.erase(slot);
            }
        }
        if (status.is_ok()) {
            status = empty_batches();
        }
    }
    removed_ = 0;
    return status;
}

// The oldest batches' entries go to their cells' chunks, with whatever waits there in later ones.
Status CellIndex::empty_batches() {
    const std::size_t most = 2 * batched_limit();
    const auto waits = [&](const CodeBatch& batch, std::size_t i) {
        const std::uint32_t cell = batch.cell(i);
        return directory_->waits(batch, i) && directory_->info(cell).version != 0 && !working_.contains(cell);
    };
    const auto is_empty = [&](const CodeBatch& batch) {
        for (std::size_t i = 0; i < batch.size(); ++i) {
            if (waits(batch, i)) {
                return false;
            }
        }
        return true;
    };
    bool too_many = directory_->batched_entries() > most + most / 8;
    while (!directory_->batches().empty()) {
        const std::shared_ptr<const CodeBatch> batch = directory_->batches().front();
        if (!too_many && !is_empty(*batch)) {
            break;
        }
        CellDirectory& directory = changing_directory();
        for (std::size_t i = 0; i < batch->size(); ++i) {
            Working* changed = nullptr;
            if (waits(*batch, i)) {
                VSS_TRY(working(batch->cell(i), changed));
            }
        }
        directory.drop_first_batch();
        state_.batches_begin = batch->number() + 1;
        too_many = too_many && directory.batched_entries() > most;
    }
    return Status::ok();
}

// Codes of changed cells go to the tables and, as far as there is room, to the cache.
Status CellIndex::write_working(std::uint64_t version) {
    for (auto& [cell, changed] : working_) {
        if (directory_->info(cell).version == 0) {
            continue;
        }
        measure_radius(cell);
        VSS_TRY(store_.write_codes(cell, *changed.codes, changed.dirty_chunks));
        directory_->changing_info(cell).version = version;
        directory_->set_stored(cell, state_.batches_end);
        Cache::instance().put({version, CacheKind::codes, store_.column(), cell, space_key_}, std::move(changed.codes));
    }
    working_.clear();
    return Status::ok();
}

// In the middle of a bulk load, so that not all codes are held in memory until its end.
Status CellIndex::write_working_if_large() {
    std::size_t bytes = 0;
    for (const auto& [cell, changed] : working_) {
        bytes += changed.codes->bytes();
    }
    if (!may_write_ || bytes < tuning_.most_working_bytes) {
        return Status::ok();
    }
    wrote_ = true;
    return write_working(random_version());
}

Status CellIndex::flush() {
    if (!dirty_) {
        return Status::ok();
    }
    VSS_TRY(settle_and_write());
    const std::uint64_t version = random_version();
    broken_ = true;
    VSS_TRY(write_slot_codes());
    unmeasured_.clear();
    for (const std::uint32_t cell : changed_cells_) {
        if (directory_->info(cell).version == 0) {
            VSS_TRY(store_.erase_codes(cell));
            directory_->set_stored(cell, state_.batches_end);
        }
    }
    VSS_TRY(write_working(version));
    for (const auto& batch : new_batches_) {
        if (batch->number() >= state_.batches_begin) {
            VSS_TRY(store_.write_batch(*batch));
        }
    }
    if (erased_to_ < state_.batches_begin) {
        VSS_TRY(store_.erase_batches(erased_to_, state_.batches_begin));
    }
    if (!changed_cells_.empty()) {
        VSS_TRY(store_.write_directory(*directory_, changed_cells_, moved_cells_));
        state_.parts_version = version;
    }
    if (directory_changed_) {
        state_.directory_version = version;
    }
    std::vector<std::uint32_t> segments;
    if (!store_.take_changed_segments(segments) || state_.generation == 0 || segments.size() != 1) {
        state_.changed.clear();
    } else {
        state_.changed.push(state_.generation, segments.front());
    }
    state_.generation = version;
    state_.tail.assign(tail_.begin(), tail_.end());
    VSS_TRY(store_.write_state(state_));
    if (directory_changed_) {
        Cache::instance().put({version, CacheKind::cell_directory, store_.column(), 0, space_key_}, directory_);
        directory_shared_ = true;
    }
    changed_cells_.clear();
    moved_cells_.clear();
    new_batches_.clear();
    erased_to_ = state_.batches_begin;
    directory_changed_ = false;
    rows_before_ = state_.rows;
    removed_before_ = state_.removed_since;
    dirty_ = false;
    broken_ = false;
    return Status::ok();
}

void CellIndex::discard() {
    working_.clear();
    changed_cells_.clear();
    moved_cells_.clear();
    unmeasured_.clear();
    new_batches_.clear();
    erased_to_ = 0;
    slot_chunks_.clear();
    erases_slot_codes_ = false;
    unbalanced_.clear();
    // What is known of this state saves reading, whatever state comes next: another's commit may have changed little.
    // Not its batches, which a rollback may have undone, so that others have their numbers.
    if (directory_ != nullptr && !directory_changed_) {
        before_ = {directory_, state_.parts_version, UINT32_MAX, UINT32_MAX};
    }
    forget_directory();
    directory_changed_ = false;
    leaving_ = {};
    removed_ = 0;
    cleared_ = false;
    tail_.clear();
    state_.generation = 0;
    state_.directory_version = 0;
    dirty_ = false;
    broken_ = false;
}

void CellIndex::set_learned(const LearnedRecall& learned) {
    state_.learned = learned;
    state_.removed_since = 0;
    dirty_ = true;
}

}  // namespace vss
