// The cells of one column in shadow tables, and its rows by slot: what CellIndex and CellSearch work on in a database.
// Nothing else speaks SQL to t_cells<c> (cell_tables_directory.cpp), t_codes<c> (cell_tables_codes.cpp) and the last
// row of t_segments<c>, the cells' state (cell_tables_state.cpp).
//
// Threads: like the connection.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "index/cells/cell_search.h"
#include "index/cells/cell_store.h"
#include "storage/statement.h"
#include "storage/storage.h"

namespace vss {

struct CellFigures;

class CellTables final : public CellStore, public RowStore {
  public:
    // All must outlive this object.
    CellTables(const TableName& name, VectorStore& store, std::size_t index);

    static Status create_tables(const TableName& name, std::size_t index, bool where_missing = false);

    Status read_state(std::uint64_t known, CellState& state) override;
    Status write_state(const CellState& state) override;
    Status read_directory(CellDirectory& out) override;
    Status reread_directory(CellDirectory& out, bool& done) override;
    Status read_batches(std::uint32_t begin, std::uint32_t end, const CellDirectory* before,
                        CellDirectory& out) override;
    Status write_batch(const CodeBatch& batch) override;
    Status erase_batches(std::uint32_t begin, std::uint32_t end) override;
    Status write_directory(const CellDirectory& directory, const std::set<std::uint32_t>& changed,
                           const std::set<std::uint32_t>& moved) override;
    Status clear() override;
    Status read_codes(std::uint32_t cell, std::size_t entries, CodeBlocks& out) override;
    Status erase_codes(std::uint32_t cell) override;
    Status write_codes(std::uint32_t cell, const CodeBlocks& codes, const std::vector<bool>& dirty_chunks) override;
    Status read_slot_codes(std::uint64_t first, std::size_t count, const SlotCodesFound& found) override;
    Status write_slot_codes(std::uint64_t chunk, SlotCodes& codes) override;
    Status erase_slot_codes() override;
    Status read_vectors(std::span<const std::uint32_t> slots, float* out) override;
    Status live_slots(std::vector<std::uint32_t>& out) override;
    bool take_changed_segments(std::vector<std::uint32_t>& out) override { return store_.take_changed_segments(out); }
    [[nodiscard]] std::uint32_t column() const override { return static_cast<std::uint32_t>(index_); }
    [[nodiscard]] std::uint64_t space() const override { return store_.space(); }

    [[nodiscard]] std::size_t segment_slots() const override { return store_.geometry().segment_slots; }
    [[nodiscard]] std::size_t vector_bytes() const override { return store_.geometry().vector_bytes; }
    Status segments(std::vector<SegmentInfo>& out) override { return store_.segments(out); }
    Status segment_info(std::uint64_t id, SegmentInfo& out) override { return store_.segment_info(id, out); }
    Status segment(const SegmentInfo& info, bool keep, std::shared_ptr<const Segment>& out) override;
    Status segment_part(const SegmentInfo& info, std::size_t parts, SegmentPart& part,
                        std::shared_ptr<const Segment>& out) override;
    [[nodiscard]] bool is_at_hand(std::uint32_t slot) const override { return store_.is_at_hand(slot); }
    Status read_slots(std::span<const std::uint32_t> slots, const SlotFound& found) override;

  private:
    static constexpr float largest_offset = 1e18F;  // rotated vectors are shorter

    [[nodiscard]] Status damaged(std::string_view what) const;
    [[nodiscard]] std::uint32_t tagged_crc(std::uint64_t row, const void* bytes, std::size_t n) const;
    Status prepare(Statement& statement, std::string_view before, std::string_view table, std::string_view after);

    // --- the state
    [[nodiscard]] std::uint32_t state_crc(std::uint64_t generation, std::uint64_t rows,
                                          std::span<const std::byte> data) const;
    // --- the directory
    Status read_figures(std::int64_t part, std::span<const std::byte> data, std::vector<std::byte>& figures) const;
    Status read_centroids(std::int64_t part, std::span<const std::byte> data, std::span<const std::byte> figures,
                          CellDirectory& out) const;
    Status put_cell(std::size_t id, const CellFigures& cell, const std::byte* centroid, CellDirectory& out) const;
    [[nodiscard]] bool has_centroid(const CellDirectory& directory, std::size_t id, std::uint32_t crc) const;
    Status write_part(std::int64_t row);

    const TableName& name_;
    VectorStore& store_;
    std::size_t index_;
    std::size_t padded_;
    std::vector<std::byte> buffer_;
    Statement select_state_;
    Statement upsert_state_;
    Statement upsert_cell_;
    Statement select_codes_;
    Statement select_batches_;
    Statement select_slot_codes_;
    Statement select_many_slot_codes_;
    Statement upsert_chunk_;
    Statement delete_chunks_;
};

}  // namespace vss
