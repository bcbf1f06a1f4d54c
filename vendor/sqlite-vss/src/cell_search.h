// Searching the cells: rank cells, scan their sign codes, refine by 4-bit codes, measure the few best exactly.
//
// Queries differ: the neighbours of some lie in two cells, those of others in two hundred. So a search goes on until
// cells bring nothing near any more: it ends after a row of cells of which none had an entry that was estimated nearer
// than the k / 2 + 15 best before it. How long that row must be is `patience` cells and half of the cells scanned up to
// the last that brought something; the table learns the patience that a recall needs. At recall 0.99 that scans half of
// what as many cells for every query would; for recalls that few cells are enough for, the number of cells decides.
// (Patience on the stability of results: Busolin et al., Early exit strategies for approximate k-NN search, 2024.)
//
// Threads: like the connection.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "best_of.h"
#include "cells.h"
#include "filter.h"
#include "nearest.h"
#include "slot_codes.h"
#include "storage.h"

namespace vss {

// The rows behind the cells, by slot. VectorStore offers it; trials have one in memory.
class RowStore {
  public:
    RowStore() = default;
    RowStore(const RowStore&) = delete;
    RowStore& operator=(const RowStore&) = delete;
    virtual ~RowStore() = default;

    [[nodiscard]] virtual std::size_t segment_slots() const = 0;
    [[nodiscard]] virtual std::size_t vector_bytes() const = 0;
    virtual Status segments(std::vector<SegmentInfo>& out) = 0;
    // `keep`: let the process's cache hold the rows.
    virtual Status segment(const SegmentInfo& info, bool keep, std::shared_ptr<const Segment>& out) = 0;
    // Calls found(i, rowid, vector) for each of `slots` that is live. Neighbours cost less than others.
    using SlotFound = std::function<void(std::size_t, std::int64_t, std::span<const std::byte>)>;
    virtual Status read_slots(std::span<const std::uint32_t> slots, const SlotFound& found) = 0;
    // One slot's row; rowid and vector are left alone if the slot is not live.
    Status read_slot(std::uint32_t slot, bool& live, std::int64_t& rowid, std::span<std::byte> vector);
};

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

struct CellQuery {
    const std::byte* vector = nullptr;  // of the column's element type
    std::size_t k = 0;
    double recall = 0.95;
    const SlotFilter* slots = nullptr;
    const RowFilter* rows = nullptr;  // distance bounds, and rowids where `slots` is null
    std::size_t cells = 0;            // scan exactly so many; 0: as the recall needs
};

class CellSearch {
  public:
    CellSearch(CellIndex& index, RowStore& rows, ElementType type, std::size_t dim, Metric metric);

    // Nearest first, distances as exact_distance gives them, rounded to float32.
    Status search(const CellQuery& query, std::vector<Neighbor>& out);
    // Every row is considered, by a bound that cannot fail: what brute force gives, ties by rowid.
    Status search_exact(const CellQuery& query, std::vector<Neighbor>& out);
    // Measures on `samples` of the table's own rows how many cells each recall needs.
    Status learn(std::size_t samples, LearnedRecall& out);

    // Slots at or beyond this number hold nothing.
    Status slots_end(std::uint64_t& out);

    [[nodiscard]] const SearchCosts& costs() const { return costs_; }
    // Cells that every query scans, where it goes by their number: under a filter.
    [[nodiscard]] std::size_t cells_for(double recall, std::size_t k) const;
    // Cells that may bring nothing near before the search ends; `last_near`: those scanned up to the last that did.
    [[nodiscard]] static std::size_t awaited(std::size_t patience, std::size_t last_near) {
        return patience + last_near / 2;
    }

  private:
    // A chunk of 4-bit codes that the cache holds.
    struct ChunkView {
        std::shared_ptr<const SlotCodes> codes;
        const std::byte* first = nullptr;  // code; nullptr: not looked at yet
        std::uint32_t live = 0;
    };
    struct SegmentView {
        SegmentInfo info;
        std::vector<ChunkView> chunks;  // empty: none was looked at yet
        std::shared_ptr<const Segment> rows;
        std::uint32_t cold = 0;  // rows read one by one since `rows` are not there
    };
    // A cell to scan.
    struct CellScan {
        const std::byte* codes = nullptr;
        std::uint32_t entries = 0;
        std::uint32_t blocks = 0;
        float offset = 0;  // what its centroid adds to its rows' estimates
    };
    struct CellView {
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
    // A row of a decoded segment.
    struct RowPlace {
        const std::byte* vector = nullptr;  // nullptr: not in memory
        std::int64_t rowid = 0;
    };

    // When a search without a filter ends.
    struct Stopping {
        std::size_t least = 1;     // cells that are scanned whatever they bring
        std::size_t patience = 0;  // of cells that bring nothing, beside half of those scanned before
        std::size_t near = 20;     // an entry among so many best is near
        bool is_patient = false;   // else every query scans equally many cells
    };

    static double now_us();
    Status refresh();
    Status rank_as_stranger(std::uint32_t slot, std::vector<RankedCell>& ranked);
    [[nodiscard]] Stopping stopping_for(double recall, std::size_t k) const;
    [[nodiscard]] double least_cells(std::size_t k) const;
    [[nodiscard]] double learned_for(float recall, const std::array<std::uint32_t, LearnedRecall::levels.size()>& of,
                                     const std::array<std::uint32_t, LearnedRecall::levels.size()>& typical) const;
    Status begin(const CellQuery& query);
    Status scan_cells(const CellQuery& query);
    Status open_cells(std::size_t end);
    Status scan_cell(std::size_t i, BlockAt& ahead, const CellQuery& query);
    static CellScan scan_of(const CodeBlocks& codes);
    bool find_block(BlockAt& at) const;
    [[nodiscard]] RowPlace row_in_memory(std::uint32_t slot);
    Status refine(const CellQuery& query);
    Status rerank(const CellQuery& query, std::vector<Neighbor>& out);
    void offer(const Neighbor& neighbor, std::uint32_t slot, std::size_t k, std::vector<Neighbor>& best);
    static Status no_vector(std::uint32_t slot);
    Status measure(std::uint32_t slot, const CellQuery& query, bool& passes, Neighbor& out);
    Status measure(std::uint32_t slot, const std::byte* vector, const CellQuery& query, bool& passes, Neighbor& out);
    [[nodiscard]] bool is_current(const CellView& view, const CellInfo& info) const;
    Status cell_codes(std::uint32_t cell, std::shared_ptr<const CodeBlocks>& held, const CodeBlocks*& out);
    [[nodiscard]] ChunkView& chunk_view(SegmentView& view, std::size_t number);
    [[nodiscard]] bool find_chunk(SegmentView& view, std::size_t number);
    Status open_chunk(SegmentView& view, std::size_t number);
    Status open_segment(SegmentView& view);
    Status finish_chunk(SegmentView& view, std::size_t number, const std::shared_ptr<SlotCodes>& made);
    Status complete_chunk(std::span<const std::uint32_t> slots, SlotCodes& codes);
    void release_chunks();
    Status add_uncoded(const SegmentView& view, std::vector<std::uint32_t>& out);
    Status keep_rows(SegmentView& view);
    [[nodiscard]] bool rows_fit() const;
    [[nodiscard]] SegmentView* view_of(std::uint32_t slot);
    [[nodiscard]] float reported(float distance) const;

    CellIndex& index_;
    RowStore& rows_;
    ElementType type_;
    std::size_t dim_;
    Metric metric_;

    // What this connection saw last, valid for one generation.
    std::uint64_t generation_ = 0;
    std::uint64_t evictions_ = 0;
    bool cache_is_full_ = false;
    std::uint64_t space_key_ = 0;
    std::shared_ptr<const CellDirectory> directory_;
    std::vector<SegmentView> segments_;  // by id
    std::vector<CellView> cells_;        // by id

    // Scratch of one query.
    CodeQuery query_;
    SlotCodes::Query fine_;
    std::vector<RankedCell> ranked_;
    CellRanking ranking_;
    std::vector<CellScan> scans_;  // of the first of ranked_
    std::vector<std::shared_ptr<const CodeBlocks>> held_;
    std::vector<ChunkView*> passing_chunks_;  // that the cache did not take
    std::vector<Candidate> candidates_;       // of an exact search
    BestOf best_;                             // slots, by sign codes
    std::vector<std::uint32_t> slots_;        // these and those of the tail
    std::vector<CodePlace> places_;           // theirs
    std::vector<std::uint32_t> cold_;         // slots of the others
    std::vector<std::uint64_t> refined_;      // by 4-bit codes, nearest first: keys of estimate and index into places_
    std::vector<std::uint64_t> seen_;         // bits by slot; all zero between queries
    std::vector<std::uint32_t> seen_slots_;
    std::vector<std::byte> vector_;
    // While recall is learned: rowid to slot of the rows that the last search measured.
    std::unordered_map<std::int64_t, std::uint32_t> measured_slots_;
    bool keeps_slots_ = false;
    std::uint32_t stranger_ = 0;             // meanwhile, the slot whose own pull does not count
    std::vector<std::uint32_t> near_cells_;  // and the places in ranked_ that brought something near
    float near_ = 0;                         // what is nearer than the best so far
    bool brought_ = false;                   // the cell scanned last had an entry that is
    std::size_t made_ = 0;                   // chunks whose codes this query made of vectors
    std::uint64_t kept_at_ = 0;              // the query that a segment's rows were last decoded for
    std::uint64_t queries_ = 0;
    SearchCosts costs_;
};

}  // namespace vss
