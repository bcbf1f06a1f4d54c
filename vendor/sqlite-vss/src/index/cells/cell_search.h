// Searching the cells: rank cells, scan their sign codes, refine by 4-bit codes, measure the few best exactly.
//
// Rows are lost at each stage, and each has its own estimate of what it loses (docs/design/cells.md):
// * cells: the scan ends when the rows expected to be nearer than the k-th found in cells not scanned (cell_model.h)
//   are few enough for each neighbour wanted and each cell scanned, so that scanning half as much again finds little.
//   How few is few enough for a recall the table learns (cell_learn.cpp).
// * codes: an entry is passed over when it would have to be several deviations of its code's error nearer than
//   estimated to come among the k best measured so far. How many deviations follows from the recall.
// So where codes tell little more rows are measured; and where that costs more than looking at every row, every row is
// looked at.
//
// Threads: like the connection.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/random.h"
#include "index/cells/cell_model.h"
#include "index/cells/cell_source.h"
#include "index/cells/cells.h"
#include "index/cells/slot_codes.h"
#include "index/cells/unit_costs.h"
#include "index/filter.h"
#include "index/nearest.h"
#include "index/row_store.h"
#include "storage/storage.h"

namespace vss {

// What a search looked at; explain shows it.
struct SearchCosts {
    std::uint64_t cells = 0;        // scanned
    std::uint64_t entries = 0;      // sign codes scanned
    std::uint64_t candidates = 0;   // kept by sign codes
    std::uint64_t refined = 0;      // by 4-bit codes
    std::uint64_t reranked = 0;     // measured on full vectors
    std::uint64_t cold_rows = 0;    // of them read from the file's pages
    std::uint64_t chunks_read = 0;  // of 4-bit codes, that were not in memory
    double rank_us = 0;
    double scan_us = 0;
    double refine_us = 0;
    double rerank_us = 0;
};

// Slots that may be returned, as bits; empty: all.
struct SlotFilter {
    std::vector<std::uint64_t> bits;
    std::size_t count = 0;
    bool limited = false;

    [[nodiscard]] bool passes(std::uint32_t slot) const {
        return !limited || (slot / 64 < bits.size() && (bits[slot / 64] >> (slot % 64) & 1) != 0);
    }
    void allow(std::uint32_t slot);
};

// How many rows that pass a filter the cells hold.
struct CellMatches {
    std::vector<float> rows;             // first copies in each cell, and up to a multiple of 8
    std::vector<std::uint32_t> entries;  // second copies too
    bool is_uneven = false;              // more lie in some cells and fewer in others than by chance
};

struct CellQuery {
    const std::byte* vector = nullptr;  // of the column's element type
    std::size_t k = 0;
    double recall = 0.95;
    const SlotFilter* slots = nullptr;
    const RowFilter* rows = nullptr;       // distance bounds, and rowids where `slots` is null
    std::size_t cells = 0;                 // scan exactly so many; 0: as the recall needs
    const CellMatches* matches = nullptr;  // of `slots`, once they were counted

    // Where rows that pass lie together; null: they lie in all cells, or where they lie is not known.
    [[nodiscard]] const CellMatches* uneven() const {
        return matches != nullptr && matches->is_uneven ? matches : nullptr;
    }
};

class CellSearch {
  public:
    CellSearch(CellIndex& index, RowStore& rows, ElementType type, std::size_t dim, Metric metric);

    // Nearest first, distances as exact_distance gives them, rounded to float32.
    Status search(const CellQuery& query, std::vector<Neighbor>& out);
    // The same for each of `vectors`, on several threads. `check`: is asked before each, and ends it if it fails.
    // `open`: how other threads than this one read the tables; empty: they cannot.
    Status search_many(CellQuery query, std::span<const std::byte* const> vectors, int threads,
                       const std::function<Status()>& check, const OpenSource& open,
                       std::vector<std::vector<Neighbor>>& out);
    // Every row is considered, by a bound that cannot fail: what brute force gives, ties by rowid.
    Status search_exact(const CellQuery& query, std::vector<Neighbor>& out);
    // Measures on up to `samples` of the table's own rows when a search of each recall may end.
    Status learn(std::size_t samples, LearnedRecall& out);
    // Whether what was learned is enough for some rows: of those that came since, or of all.
    enum class Sample { newest, any };
    Status holds_for(Sample sample, bool& holds);

    // Slots at or beyond this number hold nothing.
    Status slots_end(std::uint64_t& out);

    // What the parts of searches take here.
    [[nodiscard]] const UnitCosts& unit_costs() const { return units_; }
    [[nodiscard]] const SearchCosts& costs() const { return costs_; }
    // Codes tell next to nothing of these rows: to measure every row in order is faster than to search.
    [[nodiscard]] bool is_brute_better(double recall, std::size_t k) const;
    // The last search looked at every row, since that was cheaper.
    [[nodiscard]] bool took_all() const { return took_all_; }
    // And it measured every row, without a look at codes.
    [[nodiscard]] bool took_rows() const { return took_rows_; }

  private:
    // A chunk of 4-bit codes that the cache holds.
    struct ChunkView {
        std::shared_ptr<const SlotCodes> codes;
        const std::byte* first = nullptr;  // code; nullptr: not looked at yet
        std::uint32_t live = 0;
        std::uint64_t absent_at = 0;  // insertions of the cache, and one, when it had no such chunk
    };
    // A row of a decoded segment.
    struct RowPlace {
        const std::byte* vector = nullptr;  // nullptr: not in memory
        const std::int64_t* rowid = nullptr;
    };
    struct SegmentView {
        SegmentInfo info;
        std::vector<ChunkView> chunks;  // empty: none was looked at yet
        std::uint32_t cold = 0;         // rows read one by one since decoded ones are not there

        [[nodiscard]] const std::shared_ptr<const Segment>& rows() const { return rows_; }
        void hold(std::shared_ptr<const Segment> rows);
        // Where the slot's row is; {} if it is not in memory.
        [[nodiscard]] RowPlace row(std::uint32_t slot) const;

      private:
        std::shared_ptr<const Segment> rows_;
        // Of rows_ where no slot between its first and its last is without a row, so that finding one touches nothing
        // else.
        const std::byte* first_ = nullptr;
        const std::int64_t* rowids_ = nullptr;
        std::uint32_t first_slot_ = 0;
        std::uint32_t count_ = 0;
        std::size_t stride_ = 0;
    };
    // A cell to scan.
    struct CellScan {
        const std::byte* codes = nullptr;
        std::uint32_t entries = 0;
        std::uint32_t blocks = 0;
        float offset = 0;   // what its centroid adds to its rows' estimates
        float square = 0;   // |q - c|^2
        bool fine = false;  // it was taken of floats
        float norm = 0;     // |c|
    };
    struct alignas(64) CellView {
        std::uint64_t version = 0;
        std::shared_ptr<const CodeBlocks> codes;
        CellScan scan;  // of `codes`
    };
    struct Candidate {
        float distance = 0;
        std::uint32_t slot = 0;

        friend bool operator<(const Candidate& a, const Candidate& b) {
            return a.distance < b.distance || (a.distance == b.distance && a.slot < b.slot);
        }
    };

    // An entry whose sign code lets it be among the k nearest.
    struct Passed {
        float bound = 0;  // the distance less the deviations allowed for
        float estimate = 0;
        float deviation = 0;  // of the estimate; infinite: nothing is known
        std::uint32_t slot = 0;
    };
    // A cell's part in its entries' estimates.
    struct CellTerms {
        ScanTables tables;    // that give bounds
        float offset = 0;     // the same
        float slack = 0;      // what `offset` is less by
        float deviation = 0;  // of an estimate, for each unit of |rescale|
        float common = 0;     // of all of them together
    };

    // A block of scans_.
    struct BlockAt {
        std::size_t scan = 0;
        std::size_t block = 0;
    };
    // Where a candidate's 4-bit code is, or will be found.
    struct CodePlace {
        const ChunkView* chunk = nullptr;
        const std::byte* code = nullptr;
        std::uint32_t slot = 0;
        std::uint32_t at = 0;  // in its chunk
    };
    // What a search that learns writes down: after each cell, the misses expected for each of LearnedRecall::ks.
    struct Trace {
        std::array<std::vector<float>, LearnedRecall::ks.size()> expected;
        std::size_t first = 0;  // of these, the ones that it is about
        std::size_t end = LearnedRecall::ks.size() - 1;
        std::vector<std::uint64_t> entries;                     // scanned up to there
        std::unordered_map<std::uint32_t, std::uint32_t> at;    // slots that passed: after how many cells
        std::unordered_map<std::int64_t, std::uint32_t> slots;  // of the rowids that were measured
        double variance = 0;                                    // of the cosines seen
        bool flooded = false;                                   // so many passed that the search was given up
    };

    // Of the clock, or the thread's own where the parts of the search are measured.
    [[nodiscard]] double now_us() const { return is_timed_ ? thread_us() : clock_us(); }
    // Covers the float32 rounding of rotation and sums, relative to the squares that are summed.
    static constexpr float rounding = 1e-6F;
    // A segment's rows are decoded whole, where memory has room for all, once so many were read one by one.
    static constexpr std::uint32_t cold_rows_per_segment = 24;
    [[nodiscard]] static double width_for_codes(double recall);
    Status refresh();
    void drop_views();
    Status refresh_segments(std::uint64_t before, std::uint64_t generation);
    Status refresh_all_segments();
    Status ask_any_row(SplitMix& random, std::uint64_t from, std::size_t wanted, Trace& trace,
                       std::vector<std::byte>& vector, std::vector<Neighbor>& found, bool& is_there);
    Status ask_for_row(std::uint32_t slot, const std::byte* vector, std::size_t wanted, Trace& trace,
                       std::vector<Neighbor>& found);
    Status learn_last_k(std::size_t samples, SplitMix& random, LearnedRecall& out);
    void forget_rows();
    Status rank_as_stranger(std::uint32_t slot, std::vector<RankedCell>& ranked);
    [[nodiscard]] double misses_for(double recall, std::size_t k) const;
    [[nodiscard]] std::size_t wanted_among_all(const CellQuery& query) const;
    [[nodiscard]] double scanned_grew() const;
    [[nodiscard]] double learned_cells(double recall, std::size_t k) const;
    [[nodiscard]] double most_cells_counted(double recall, std::size_t k) const;
    [[nodiscard]] double learned_share(double recall) const;
    Status begin(const CellQuery& query);
    struct Scan;
    Status scan_cells(const CellQuery& query, std::vector<Neighbor>& out, bool& exact);
    Status begin_scan(Scan& scan);
    Status begin_with_tail(Scan& scan);
    Status scan_until_found(Scan& scan, bool& exact);
    Status scan_next(Scan& scan, bool& at_end);
    [[nodiscard]] bool is_look_due(const Scan& scan) const;
    Status look(Scan& scan);
    [[nodiscard]] double may_be_left(const Scan& scan) const;
    [[nodiscard]] bool is_found(const Scan& scan, bool& exact) const;
    void note_units();
    void rank_more(std::size_t count);
    void place_ranked();
    void rank_finely_if_close();
    [[nodiscard]] CellTerms terms_of(const CellScan& cell) const;
    [[nodiscard]] float reach(const CellQuery& query, const std::vector<Neighbor>& best) const;
    Status look_at_passed(const CellQuery& query, bool is_first, std::vector<Neighbor>& best);
    Status look_at(std::span<const Passed> rows, const CellQuery& query, std::vector<Neighbor>& best);
    [[nodiscard]] const LearnedRecall& learned() const;
    // What looking at every row takes, the cheaper way.
    struct AllRows {
        bool by_rows = false;  // else by codes
        double ns = 0;
    };
    [[nodiscard]] AllRows all_rows(double recall, std::size_t k) const;
    [[nodiscard]] double spent_ns() const;
    [[nodiscard]] bool costs_more_than_all(double target, std::uint64_t passed, std::uint64_t from_entries,
                                           const CellQuery& query) const;
    void note_by_cells(const CellQuery& query, bool went_over);
    [[nodiscard]] bool cells_cost_more(const CellQuery& query) const;
    Status take_all(const CellQuery& query, std::vector<Neighbor>& out);
    Status measure_in_order(const CellQuery& query, std::vector<Neighbor>& out);
    [[nodiscard]] static std::size_t sort_of(double recall, std::size_t k);
    void note_by_codes(double recall, std::size_t k, std::uint64_t measured, double us);
    Status decide_ways(std::span<const std::byte> samples, LearnedRecall& out);
    static std::size_t cells_per_sum(std::size_t live);
    [[nodiscard]] bool may_end(float limit, double target, std::size_t cells) const;
    void expect_near(float limit);
    [[nodiscard]] double most_expected(double recall) const;
    [[nodiscard]] double usual_to_nearest() const;
    [[nodiscard]] float square_to(const RankedCell& at) const;
    void expect_by_k(const std::vector<Neighbor>& best);
    bool note_expected(double rows);
    bool has_told_enough(double rows, const std::vector<Neighbor>& best);
    Status consider_all(const CellQuery& query, std::vector<Neighbor>& out);
    Status open_cells(std::size_t end, const CellMatches* matches);
    Status scan_cell(std::size_t i, BlockAt& ahead, const CellQuery& query, float limit);
    static CellScan scan_of(const CodeBlocks& codes);
    void forget_seen();
    bool find_block(BlockAt& at) const;
    [[nodiscard]] RowPlace row_in_memory(std::uint32_t slot);
    static void offer(const Neighbor& neighbor, std::size_t k, std::vector<Neighbor>& best);
    static Status no_vector(std::uint32_t slot);
    Status measure(std::uint32_t slot, const RowPlace& row, const CellQuery& query, bool& passes, Neighbor& out);
    Status measure(std::uint32_t slot, const CellQuery& query, bool& passes, Neighbor& out) {
        return measure(slot, row_in_memory(slot), query, passes, out);
    }
    Status measure_vector(std::uint32_t slot, const std::byte* vector, const CellQuery& query, bool& passes,
                          Neighbor& out);
    [[nodiscard]] bool is_current(const CellView& view, const CellInfo& info) const;
    Status cell_codes(std::uint32_t cell, std::shared_ptr<const CodeBlocks>& held, const CodeBlocks*& out);
    [[nodiscard]] ChunkView& chunk_view(SegmentView& view, std::size_t number);
    [[nodiscard]] std::uint64_t chunk_id(const SegmentView& view, std::size_t number) const;
    [[nodiscard]] CacheKey chunk_key(const SegmentView& view, std::size_t number) const;
    [[nodiscard]] bool find_chunk(SegmentView& view, std::size_t number);
    Status open_chunk(SegmentView& view, std::size_t number);
    Status read_code(const SegmentView& view, std::size_t number, CodePlace& place);
    [[nodiscard]] bool codes_pass_by();
    Status open_segment(SegmentView& view);
    Status finish_chunk(SegmentView& view, std::size_t number, const std::shared_ptr<SlotCodes>& made);
    Status complete_chunk(std::span<const std::uint32_t> slots, SlotCodes& codes);
    void release_chunks();
    class Queue;
    Status search_seen(const CellQuery& query, std::vector<Neighbor>& out);
    [[nodiscard]] bool takes_matches_by_codes(const CellQuery& query) const;
    [[nodiscard]] bool needs_matches(const CellQuery& query) const;
    Status count_matches(CellQuery& query, CellMatches& out);
    [[nodiscard]] static Status not_in_memory();
    void see_as(const CellSearch& other, const OpenSource& open);
    void close_source() { source_.reset(); }
    Status add_uncoded(const SegmentView& view, std::vector<std::uint32_t>& out);
    Status keep_rows(SegmentView& view);
    Status go_on_keeping();
    Status decode(SegmentView& view, bool keep);
    [[nodiscard]] bool rows_fit() const;
    [[nodiscard]] SegmentView* view_of(std::uint32_t slot);
    [[nodiscard]] double reported(float distance) const;

    // Whether this thread may read the tables; one that helps opens them when it first wants to.
    [[nodiscard]] bool may_read();
    [[nodiscard]] RowStore& rows() const { return source_ != nullptr ? source_->rows() : rows_; }
    Status read_slot_codes(std::uint64_t first, std::size_t count, const CellStore::SlotCodesFound& found);
    Status read_cell_codes(std::uint32_t cell, const CellInfo& info, std::shared_ptr<const CodeBlocks>& out,
                           bool& is_cached);

    CellIndex& index_;
    RowStore& rows_;
    ElementType type_;
    std::size_t dim_;
    Metric metric_;

    // What this connection saw last, valid for one generation.
    std::uint64_t generation_ = 0;
    Cache::Evicted evicted_;  // when it last let go of all
    bool cache_is_full_ = false;
    std::uint64_t space_key_ = 0;
    std::shared_ptr<const CellDirectory> directory_;
    std::vector<SegmentView> segments_;  // by id
    std::vector<CellView> cells_;        // by id
    // Those of cells_, and of the segments' chunks (segment, number), that hold something.
    std::vector<std::uint32_t> viewed_cells_;
    std::vector<std::pair<std::uint64_t, std::size_t>> viewed_chunks_;

    MissModel model_;

    // Of many queries some on other threads, which may not ask the statement's connection.
    std::vector<std::unique_ptr<CellSearch>> helpers_;
    bool in_memory_only_ = false;
    const OpenSource* open_ = nullptr;  // of the batch; nullptr: there is none, or it has failed
    std::unique_ptr<CellSource> source_;

    // Scratch of one query.
    double unit_ = 1;  // what the distance 1 between cells' vectors stands for
    CodeQuery query_;
    ExactDistance exact_;  // from the query
    SlotCodes::Query fine_;
    double width_ = 0;       // deviations of sign codes that are allowed for
    double fine_width_ = 0;  // of all codes together
    std::vector<RankedCell> ranked_;
    std::size_t placed_ = 0;  // of ranked_, those whose place model_ knows
    CellRanking ranking_;
    std::vector<CellScan> scans_;  // of the first of ranked_
    std::vector<std::shared_ptr<const CodeBlocks>> held_;
    std::vector<Candidate> candidates_;  // of an exact search
    std::vector<Passed> passed_;         // not looked at yet
    Expected expected_;
    std::size_t expected_at_ = 0;  // cells scanned when it was made; 0: not by this search, or at its beginning
    double expected_slope_ = 0;    // of its logarithm, by what the limit falls
    std::array<Expected, LearnedRecall::ks.size()> expected_by_k_;  // while recall is learned
    std::vector<ChunkView*> passing_chunks_;                        // that the cache did not take
    std::vector<CodePlace> places_;                                 // of the rows looked at together
    std::vector<std::byte> passing_codes_;                          // of places_, read from chunks that are not kept
    std::vector<Passed> cold_;                                      // the others
    std::vector<float> bounds_;                                     // by all codes together, of places_
    std::vector<RowPlace> row_places_;                              // of refined_
    std::vector<std::uint64_t> refined_;  // nearest first: keys of estimate and index into places_
    std::vector<std::uint64_t> seen_;     // bits by slot; all zero between queries
    std::vector<std::uint32_t> seen_slots_;
    std::vector<std::byte> vector_;
    Trace* trace_ = nullptr;      // while recall is learned
    float enough_misses_ = 0;     // where the search of a row that learns ends
    std::uint32_t stranger_ = 0;  // meanwhile, the slot of the row that asks, which is no neighbour of its own
    bool took_all_ = false;
    UnitCosts& units_;
    bool is_timed_ = false;
    double expecting_us_ = 0;               // of a search that is timed
    const LearnedRecall* tried_ = nullptr;  // while it is decided what to learn
    double trial_limit_ = 0;                // nanoseconds that a search may take meanwhile
    // What searches of one sort, sort_of(), took lately.
    struct Lately {
        // Through all codes:
        float share = 0;  // of the rows that were measured
        std::uint32_t searches = 0;
        float ns = 0;  // for each row of the table
        std::uint32_t timed = 0;
        // Through cells, with those that turned to every row:
        float cells_ns = 0;
        std::uint32_t by_cells = 0;
    };
    static constexpr std::size_t sorts = 36;
    std::array<Lately, sorts> lately_ = {};
    std::uint64_t in_order_generation_ = 0;  // of which every row was measured in order
    bool took_rows_ = false;
    std::size_t made_ = 0;  // chunks whose codes this query made of vectors
    // A segment whose rows are being decoded, to be kept.
    struct Keeping {
        SegmentInfo info;
        SegmentPart part;
    };
    std::optional<Keeping> keeping_;
    std::uint64_t kept_at_ = 0;  // the query that a segment's rows were last decoded for at once
    std::uint64_t queries_ = 0;
    SearchCosts costs_;
};

// What each row looked at asks.
inline bool CellSearch::is_current(const CellView& view, const CellInfo& info) const {
    return generation_ != 0 && view.codes != nullptr && view.version == info.version;
}

inline CellSearch::SegmentView* CellSearch::view_of(std::uint32_t slot) {
    const std::uint32_t id = slot / static_cast<std::uint32_t>(rows_.segment_slots());
    return id < segments_.size() && segments_[id].info.live > 0 ? &segments_[id] : nullptr;
}

inline CellSearch::ChunkView& CellSearch::chunk_view(SegmentView& view, std::size_t number) {
    if (view.chunks.empty()) {
        view.chunks.resize(index_.chunks_per_segment());
    }
    return view.chunks[number];
}

inline CellSearch::RowPlace CellSearch::SegmentView::row(std::uint32_t slot) const {
    if (slot - first_slot_ < count_) {
        const std::size_t at = slot - first_slot_;
        return {first_ + at * stride_, rowids_ + at};
    }
    if (rows_ == nullptr) {
        return {};
    }
    const std::vector<std::uint32_t>& slots = rows_->slots;
    const auto at = static_cast<std::size_t>(std::lower_bound(slots.begin(), slots.end(), slot) - slots.begin());
    return at < slots.size() && slots[at] == slot ? RowPlace{rows_->row(at), &rows_->rowids[at]} : RowPlace{};
}

inline CellSearch::RowPlace CellSearch::row_in_memory(std::uint32_t slot) {
    const SegmentView* view = view_of(slot);
    return view != nullptr ? view->row(slot) : RowPlace{};
}

}  // namespace vss
