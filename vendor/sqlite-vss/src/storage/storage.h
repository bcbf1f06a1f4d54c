// The vectors of one column as rows of shadow tables: the only file that speaks SQL to them.
//
// On disk, for vector column c of table t (FORMAT.md has it byte by byte):
//   t_vectors<c>(block INTEGER PRIMARY KEY, data BLOB)      fixed-size blocks of block_slots slots
//   t_segments<c>(segment INTEGER PRIMARY KEY, version, live, data)   segment_slots consecutive slots each; the last
//                                                           row is for the column's index
//   t_free<c>(slot INTEGER PRIMARY KEY)                     slots whose row was deleted, to be used again
// A slot is a 16-byte header (rowid i64, crc32c u32, state u32) and the vector's bytes, little-endian.
//
// Invariants, after every transaction:
//   - t_rows names slot s for rowid r if and only if slot s is live and says r;
//   - segments.live counts the live slots of the segment; segments.version was drawn by the last change in it;
//   - every freed slot is in t_free, and so are those of a block that was given back; no live slot is.
//
// Writes are gathered in memory per block and reach the tables at flush(): when a block run is full, before a
// savepoint, and in xSync. Reads look at what is gathered first, so they never write. discard() forgets what is
// gathered: after a rollback to a savepoint, which flush() preceded, or of the whole transaction.
//
// Threads: like the connection.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/cache.h"
#include "base/status.h"
#include "storage/blob_reader.h"
#include "storage/lent_rows.h"
#include "storage/schema.h"
#include "storage/segment.h"
#include "storage/statement.h"
#include "storage/table_name.h"

namespace vss {

struct Geometry {
    std::size_t vector_bytes = 0;
    std::size_t slot_bytes = 0;
    std::size_t block_slots = 0;
    std::size_t segment_slots = 0;  // a multiple of block_slots

    // For a new column, from the size of a vector and of the database's pages.
    static Geometry choose(std::size_t vector_bytes, std::size_t page_bytes);
    [[nodiscard]] bool is_valid() const;
    [[nodiscard]] std::size_t block_bytes() const { return block_slots * slot_bytes; }
    [[nodiscard]] std::uint64_t block_of(std::uint64_t slot) const { return slot / block_slots; }
    [[nodiscard]] std::uint64_t segment_of(std::uint64_t slot) const { return slot / segment_slots; }
};

struct SegmentInfo {
    std::uint64_t id = 0;
    std::uint64_t version = 0;
    std::uint64_t live = 0;

    // Of one segment: whether both say the same of its rows.
    [[nodiscard]] bool has_rows_of(const SegmentInfo& other) const {
        return version == other.version && live == other.live;
    }
};

enum class SlotState : std::uint32_t { unused = 0, live = 1, freed = 2 };

struct SlotHeader {
    std::int64_t rowid = 0;
    std::uint32_t crc = 0;
    std::uint32_t state = 0;

    [[nodiscard]] bool is(SlotState wanted) const { return state == static_cast<std::uint32_t>(wanted); }
};
inline constexpr std::size_t slot_header_bytes = 16;
static_assert(sizeof(SlotHeader) == slot_header_bytes);

[[nodiscard]] SlotHeader header_at(std::span<const std::byte> slot);
// The checksum binds the bytes to their row and slot, so that a copied or moved slot is noticed too.
[[nodiscard]] std::uint32_t slot_checksum(std::uint64_t slot, std::int64_t rowid, SlotState state,
                                          std::span<const std::byte> vector);

// Slots are numbered in 32 bits: 4,294,967,295 vectors a column.
inline constexpr std::uint64_t max_slots = 0xFFFFFFFF;

// The row of t_segments after the last segment that can be: the column's index may keep its state there. Every commit
// changes such a state and, mostly, the newest segment's row, which lies in the same page.
inline constexpr std::int64_t state_segment = std::int64_t{1} << 32;

// Takes one sentence; false asks the caller to stop.
using Report = std::function<bool(const std::string&)>;

class VectorStore {
  public:
    // `name` and `column` must outlive the store.
    VectorStore(const TableName& name, const Column& column, std::size_t index, const Geometry& geometry);

    // `where_missing`: a table that is there already is left as it is, not an error.
    static Status create_tables(const TableName& name, std::size_t index, bool where_missing = false);
    static std::vector<std::string> table_suffixes(std::size_t index);

    [[nodiscard]] const Geometry& geometry() const { return geometry_; }
    [[nodiscard]] const Column& column() const { return column_; }
    // For cache keys: of the database, the table, and all that decides how the column lies in memory.
    [[nodiscard]] std::uint64_t space() const { return space_; }

    // --- writing, inside a write transaction ---
    // A slot for a new vector. It counts as taken from now on; give_back() undoes it if nothing was put there, and is
    // called before the next allocate().
    Status allocate(std::uint64_t& slot);
    void give_back(std::uint64_t slot);
    // Loads what a change of this slot needs, so that a following put() or release() can fail for lack of memory only.
    // The slot must hold `owner`'s vector; none: must hold no vector.
    Status reserve(std::uint64_t slot, std::optional<std::int64_t> owner);
    // Puts a vector (geometry().vector_bytes bytes) into an allocated or live slot. Memory that is lent is read again
    // where the row is, until its lease is over, or forget_lent().
    Status put(std::uint64_t slot, std::int64_t rowid, std::span<const std::byte> vector,
               const std::shared_ptr<const Lease>& lease = nullptr);
    void forget_lent() { lent_.clear(); }
    // The slot's row keeps its vector but is called otherwise.
    Status rename(std::uint64_t slot, std::int64_t old_rowid, std::int64_t new_rowid);
    Status release(std::uint64_t slot, std::int64_t rowid);
    Status flush();
    // A savepoint begins: later changes need versions of their own.
    void mark_savepoint();
    void discard();
    // The segments in which slots were changed since it was last asked, in this transaction; false: they are many.
    bool take_changed_segments(std::vector<std::uint32_t>& out);

    // --- reading ---
    // The vector of a live slot, checked against its checksum and `rowid`.
    Status read(std::uint64_t slot, std::int64_t rowid, std::span<std::byte> out);
    // Every segment of the column in the snapshot of the running statement, by id.
    Status segments(std::vector<SegmentInfo>& out);
    // Of one segment; `live` is 0 where there is none.
    Status segment_info(std::uint64_t id, SegmentInfo& out);
    // Live vectors, by what the segments say.
    Status count(std::uint64_t& out);
    // Code::interrupted if sqlite3_interrupt() was called meanwhile.
    Status check_interrupt();
    // A segment's decoded rows, from the cache or from the tables. `keep`: the cache is to hold them.
    Status segment(const SegmentInfo& info, std::shared_ptr<const Segment>& out, bool keep = true);
    // The same in steps, of which each decodes one of `parts`; `out` is set by the last one, and the cache is to hold
    // it.
    Status segment_part(const SegmentInfo& info, std::size_t parts, SegmentPart& part,
                        std::shared_ptr<const Segment>& out);
    // Calls found(i, rowid, vector) for each of `slots` that is live, checksums checked. Neighbours in one block cost
    // one read, rows that are at hand none.
    using SlotFound = std::function<void(std::size_t, std::int64_t, std::span<const std::byte>)>;
    Status read_slots(std::span<const std::uint32_t> slots, const SlotFound& found);
    // While it lives, single slots are read at less cost; within a statement of the caller.
    class SingleReads {
      public:
        explicit SingleReads(VectorStore& store) : scope_(store.blobs_) {}

      private:
        BlobReader::Scope scope_;
    };
    [[nodiscard]] bool is_at_hand(std::uint64_t slot) const { return lent_.find(slot) != nullptr; }

    // --- checking and repair (storage_check.cpp), with nothing gathered ---
    // Every way in which the column's tables break the invariants above, in words, one call of `report` each.
    Status check(const Report& report);
    // Makes the invariants hold again: what can be derived is derived, what is lost is unlinked. Reports each change.
    Status repair(const Report& report);

  private:
    struct PendingBlock {
        std::vector<std::byte> data;
        bool is_dirty = false;
        bool exists = false;  // there is a row for it in the table
    };
    struct SegmentState {
        std::uint64_t version = 0;
        std::int64_t live = 0;
        bool changed = false;  // differs from the table
        bool unread = false;   // the version was drawn here, and nobody has seen it yet
    };

    Status load_allocator();
    Status load_free_slots();
    Status pending_block(std::uint64_t block, PendingBlock*& out);
    // The gathered block of a slot, and the slot's bytes in it.
    Status pending_slot(std::uint64_t slot, PendingBlock*& pending, std::span<std::byte>& bytes);
    // Overwrites the slot's header and marks it to be written.
    void set_header(PendingBlock& pending, std::uint64_t slot, const SlotHeader& header) const;
    Status read_block(std::uint64_t block, std::span<std::byte> out, bool& found);
    Status segment_state(std::uint64_t slot, SegmentState*& out);
    Status check_segment_row(const Statement& row, int live_column, std::int64_t id) const;
    Status check_no_block(std::int64_t first_segment, std::int64_t end_segment);
    Status touch_segment(std::uint64_t slot, int live_change);
    Status decode_block(std::uint64_t block, std::span<const std::byte> data, Segment& segment) const;
    // Blocks from `first` to before `end`, behind the rows that are there.
    Status decode_blocks(std::uint64_t first, std::uint64_t end, Segment& out);
    [[nodiscard]] CacheKey segment_key(const SegmentInfo& info) const;
    [[nodiscard]] std::shared_ptr<const Segment> cached_segment(const SegmentInfo& info) const;
    [[nodiscard]] std::shared_ptr<Segment> empty_segment(const SegmentInfo& info) const;
    Status finish_decoded(const SegmentInfo& info, std::shared_ptr<Segment> decoded, bool keep,
                          std::shared_ptr<const Segment>& out) const;
    Status flush_block(std::uint64_t block, PendingBlock& pending);
    Status flush_segments();
    Status flush_free_slots();
    Status check_size(std::uint64_t block, std::size_t bytes) const;
    // What a checksum says nothing of: no vector with such an element was ever taken.
    Status check_finite(std::uint64_t slot, std::int64_t rowid, std::span<const std::byte> vector) const;
    Status damaged(std::uint64_t slot, std::string_view what) const;
    Status holds_another(std::uint64_t slot, std::int64_t rowid, const SlotHeader& header) const;
    // `sql` makes the text, which is wanted once.
    template <class Text>
    Status prepare(Statement& statement, Text sql) {
        return statement.is_prepared() ? Status::ok() : name_.prepare(statement, sql());
    }
    Status prepare_select_block();
    // The slot's bytes, into slot_bytes_; empty: they are to be read by a statement.
    std::span<const std::byte> read_slot_bytes(std::uint64_t slot);

    const TableName& name_;
    const Column& column_;
    std::size_t index_;
    Geometry geometry_;
    std::uint64_t space_;

    // Gathered changes.
    std::map<std::uint64_t, PendingBlock> pending_;
    LentRows lent_;
    std::map<std::uint64_t, SegmentState> segment_states_;
    std::vector<std::uint32_t> touched_;  // segments, as take_changed_segments() returns them
    bool many_touched_ = false;

    // The allocator's knowledge, true for the running write transaction only.
    bool allocator_loaded_ = false;
    std::uint64_t next_slot_ = 0;  // the first slot never used
    bool is_fresh_ = false;        // the slot allocated last was never used before
    std::uint64_t block_end_ = 0;  // blocks at or beyond this have no row and are not gathered
    bool more_free_ = false;       // t_free may hold slots beyond last_free_
    std::int64_t last_free_ = -1;
    std::deque<std::uint64_t> free_;       // loaded from t_free and still there
    std::vector<std::uint64_t> taken_;     // to be deleted from t_free
    std::vector<std::uint64_t> released_;  // to be inserted into t_free

    BlobReader blobs_;
    std::vector<std::byte> slot_bytes_;
    Statement select_nothing_;
    Statement select_last_;
    Statement select_stray_;
    Statement select_block_;
    Statement select_blocks_;
    Statement insert_block_;
    Statement update_block_;
    Statement delete_block_;
    Statement select_segments_;
    Statement select_segment_;
    Statement upsert_segment_;
    Statement delete_segment_;
    Statement select_free_;
    Statement insert_free_;
    Statement delete_free_;
};

}  // namespace vss
