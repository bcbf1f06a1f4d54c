// The cells of one vector column on one connection: which rows are in which cell, kept as rows come and go.
//
// Each row stands in two cells: the one whose centroid is nearest, and a second by SOAR (arXiv 2404.00774). New rows
// first go to a small tail, which a search looks through whole; then their entries are coded and written together, as a
// batch (code_batch.h), and move on to their cells' chunks when there are many batches. A cell that grew too
// large, or shrank too much, is clustered again together with its nearest neighbours, so that the partition stays close
// to a global one whatever the order of arrival. Rows added in bulk are clustered in one go.
//
// Changes are gathered in memory and reach the tables at flush(); discard() forgets them. Threads: like the
// connection; clustering in bulk uses the threads of the settings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "index/cells/cell_ranker.h"
#include "index/cells/cell_store.h"
#include "index/cells/cell_tuning.h"

namespace vss {

class CellIndex {
  public:
    CellIndex(CellStore& store, std::size_t dim, Metric metric, const CellTuning& tuning = {});

    // Brings the state up to the snapshot of the running statement. Cheap where nothing changed.
    Status load();
    [[nodiscard]] const CellState& state() const { return state_; }
    [[nodiscard]] const CellTuning& tuning() const { return tuning_; }
    [[nodiscard]] const CellSpace& space() const { return *space_; }
    // For cache keys: of the store's and the cells' space.
    [[nodiscard]] std::uint64_t space_key() const { return space_key_; }
    [[nodiscard]] std::uint32_t column() const { return store_.column(); }
    [[nodiscard]] const std::set<std::uint32_t>& tail() const { return tail_; }
    [[nodiscard]] bool is_dirty() const { return dirty_; }
    // Of the column when the transaction began to change it: rows, and CellState::removed_since.
    [[nodiscard]] std::uint64_t rows_before() const { return rows_before_; }
    [[nodiscard]] std::uint32_t removed_before() const { return removed_before_; }
    // Cells came, changed or went.
    [[nodiscard]] bool is_changed() const { return directory_changed_; }

    // All rows, or most, wait for being clustered in one go.
    [[nodiscard]] bool has_bulk_work() const;
    // What settle() would hold in memory of it until flush().
    [[nodiscard]] std::uint64_t bulk_bytes() const;

    // Something else of the column's rows changes: searches must look again.
    Status note_change();
    // The slot holds a new vector; or its vector is about to go (and can still be read). What goes is gathered, and
    // taken out of its cells by settle(): many at a time in one pass over all of them.
    Status add(std::uint64_t slot);
    Status remove(std::uint64_t slot);
    // The work that is due: the tail into cells, splits, merges. In memory only.
    Status settle(bool all = false);
    // The same where the tables may be written meanwhile, so that less is gathered in memory.
    Status settle_and_write(bool all = false);
    Status flush();
    void discard();

    // Says in words what is wrong with the cells; false from `report` stops.
    Status check(const std::function<bool(const std::string&)>& report);
    // Forgets everything, the tables' word included, and starts from the rows.
    Status restart();
    // Clusters everything again.
    Status rebuild();
    // Clusters again one neighbourhood after another, starting at cell `next`; `next` is max_cells at the end.
    Status optimize_step(std::uint64_t& next);
    void set_learned(const LearnedRecall& learned);
    // What the directory says of how far rows are from their centroids; of files of format 1, which do not say.
    Status measure_all_radii();

    // For searches. Valid after load().
    Status directory(std::shared_ptr<const CellDirectory>& out);
    // `is_cached`: the process's cache holds them.
    Status codes(std::uint32_t cell, const CellInfo& info, std::shared_ptr<const CodeBlocks>& out,
                 bool* is_cached = nullptr);
    // From the tables: the entries of the cell's chunks, then those that wait.
    static Status read_codes(CellStore& store, const CellDirectory& directory, std::uint32_t cell, CodeBlocks& out);
    // None if the tables would have to be read. May be called on several threads while nothing else is.
    [[nodiscard]] std::shared_ptr<const CodeBlocks> codes_in_memory(std::uint32_t cell, const CellInfo& info) const;
    // 4-bit codes as the tables, and what is to be written to them, have them: without those of rows in the tail; where
    // they are not kept, without any. Calls `found` with the bytes of each chunk that is there.
    Status slot_codes(std::uint64_t first_chunk, std::size_t count, const CellStore::SlotCodesFound& found);
    [[nodiscard]] std::size_t chunks_per_segment() const;
    // The chunk of a slot's code, and the code's place in it.
    struct SlotPlace {
        std::uint64_t chunk = 0;
        std::size_t at = 0;
    };
    [[nodiscard]] SlotPlace place_of(std::uint32_t slot) const;

  private:
    struct Working {
        std::shared_ptr<CodeBlocks> codes;
        std::vector<bool> dirty_chunks;
    };
    struct Placement {
        std::uint32_t first = 0;
        std::uint32_t second = 0;  // equal to first: none
        RowCode first_code;
        RowCode second_code;
    };
    struct Region;
    class CrossProducts;
    class Undo;
    // Rows that went and still have their entries in cells.
    struct Leaving {
        std::vector<std::uint32_t> slots;
        std::vector<float> rows;  // rotated; none where there are too many to be sought one by one
        [[nodiscard]] bool has_rows(std::size_t padded) const { return rows.size() == slots.size() * padded; }
    };

    Status read_directory(CellDirectory& out);
    Status reread_directory(std::shared_ptr<CellDirectory>& out);
    [[nodiscard]] Status check_rows(const CellDirectory& directory) const;
    Status load_directory();
    void forget_directory();
    CellDirectory& changing_directory();
    Status working(std::uint32_t cell, Working*& out);
    void begin_working(std::uint32_t cell, std::shared_ptr<CodeBlocks> codes, Working*& out);
    void touch(Working& working, std::size_t entry) const;
    void push(Working& working, CellInfo& info, std::uint32_t entry, const RowCode& code);
    Status rotated(std::span<const std::uint32_t> slots, std::vector<float>& out);
    [[nodiscard]] bool place(const float* x, std::span<const RankedCell> ranked, bool wants_second,
                             CrossProducts& cross, Placement& out) const;
    [[nodiscard]] static Status no_near_cell();
    [[nodiscard]] bool by_direction() const;
    CellRanker* ranker_for(std::size_t rows);
    Status insert_rows(std::span<const std::uint32_t> slots, bool as_batch);
    void add_batch(std::vector<CodeBatch::Item> items);
    Status empty_batches();
    [[nodiscard]] bool has_work(bool all) const;
    Status settle_now(bool all);
    Status take_out_leaving();
    Status take_out_near(const float* x, std::span<const std::uint32_t> entries, std::vector<std::uint32_t>& missed);
    Status take_out_at(std::uint32_t cell, std::span<const std::size_t> places,
                       const std::shared_ptr<const CodeBlocks>& blocks);
    Status take_out_everywhere(std::vector<std::uint32_t> entries);
    Status codes_in_passing(std::uint32_t cell, std::shared_ptr<const CodeBlocks>& out);
    void forget_cells();
    [[nodiscard]] bool may_keep_slot_codes() const;
    Status changing_slot_codes(std::uint64_t chunk, SlotCodes*& out);
    Status put_slot_codes(std::span<const std::uint32_t> slots, const std::byte* codes);
    Status forget_slot_code(std::uint32_t slot);
    Status write_slot_codes();
    Status erase_slot_codes();
    Status code_all_slots();
    Status check_slot_codes(const std::vector<std::uint32_t>& live,
                            const std::function<bool(const std::string&)>& report);
    Status write_working(std::uint64_t version);
    Status write_working_if_large();
    Status balance(std::size_t budget, bool merges_only);
    void note_moved(std::uint32_t cell);
    void measure_radius(std::uint32_t cell);
    void measure_new_radii();
    Status recluster(std::uint32_t cell, std::size_t neighbors, bool thoroughly, std::size_t& touched);
    Status count_misplaced(const Region& region, std::size_t& out);
    [[nodiscard]] std::size_t rows_apart(const Region& region) const;
    Status gather(const std::vector<std::uint32_t>& cells, Region& region);
    Status write_region(const Region& region, const std::vector<std::uint32_t>& cells,
                        const std::vector<float>& centroids);
    Status replace_region(const Region& region, const std::vector<std::uint32_t>& cells,
                          const std::vector<float>& centroids);
    Status train(std::span<const std::uint32_t> slots);
    Status decide_exponent(std::span<const std::uint32_t> slots);
    void decide_space(const std::vector<float>& rows, std::size_t n);
    void make_space();
    [[nodiscard]] std::size_t tail_limit() const;
    [[nodiscard]] std::size_t batched_limit() const;
    [[nodiscard]] std::size_t cells_wanted(std::size_t rows) const;

    CellStore& store_;
    std::size_t dim_;
    Metric metric_;
    CellTuning tuning_;
    CellState state_;
    std::shared_ptr<const CellSpace> space_;
    std::uint64_t space_key_ = 0;
    bool space_is_current_ = false;  // made from state_ as it is
    std::set<std::uint32_t> tail_;
    std::uint64_t rows_before_ = 0;
    std::uint32_t removed_before_ = 0;
    std::shared_ptr<CellDirectory> directory_;
    // The directory of an earlier state, which later batches make this one's if its parts are the same.
    struct Before {
        std::shared_ptr<const CellDirectory> directory;
        std::uint64_t parts_version = 0;
        std::uint32_t batches_begin = 0;
        std::uint32_t batches_end = 0;
    };
    Before before_;
    bool directory_changed_ = false;
    bool directory_shared_ = false;       // with the cache: clone before changing
    std::unique_ptr<CellRanker> ranker_;  // of directory_'s cells; made when enough rows are to be placed
    std::size_t placed_without_ = 0;      // rows since directory_ was read
    std::map<std::uint32_t, Working> working_;
    std::set<std::uint32_t> changed_cells_;  // of which the directory says something else than the table
    std::set<std::uint32_t> moved_cells_;    // and has another centroid
    std::set<std::uint32_t> unmeasured_;     // of them, those whose radius the directory does not know yet
    std::vector<std::shared_ptr<const CodeBatch>> new_batches_;        // not in the table yet
    std::uint32_t erased_to_ = 0;                                      // batches before it are gone from the table
    std::map<std::uint64_t, std::shared_ptr<SlotCodes>> slot_chunks_;  // changed, not in the table yet
    bool erases_slot_codes_ = false;                                   // those in the table count no more
    bool wrote_ = false;                                               // some of it, in the work that goes on
    bool may_write_ = false;                                           // at once, what is gathered in slot_chunks_
    std::set<std::uint32_t> unbalanced_;                               // to be looked at by balance()
    Leaving leaving_;
    std::size_t removed_ = 0;  // rows taken out since the last settle(): they pay for merges
    bool cleared_ = false;     // the tables of cells are to be emptied before anything is written
    bool dirty_ = false;
    bool broken_ = false;  // a change failed half-way: nothing of it may be written
};

}  // namespace vss
