// Rows as an index reads them: by segment, or by slot.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "storage/segment.h"
#include "storage/storage.h"

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
    // Of one segment; `live` is 0 where there is none.
    virtual Status segment_info(std::uint64_t id, SegmentInfo& out) = 0;
    // `keep`: let the process's cache hold the rows.
    virtual Status segment(const SegmentInfo& info, bool keep, std::shared_ptr<const Segment>& out) = 0;
    // The same in steps, of which each decodes one of `parts`; `out` is set by the last one. The segment must not have
    // changed since the first.
    virtual Status segment_part(const SegmentInfo& info, std::size_t parts, SegmentPart& part,
                                std::shared_ptr<const Segment>& out) = 0;
    // Whether the slot's row can be read at no cost.
    [[nodiscard]] virtual bool is_at_hand(std::uint32_t /*slot*/) const { return false; }
    // Calls found(i, rowid, vector) for each of `slots` that is live. Neighbours cost less than others.
    using SlotFound = std::function<void(std::size_t, std::int64_t, std::span<const std::byte>)>;
    virtual Status read_slots(std::span<const std::uint32_t> slots, const SlotFound& found) = 0;
    // One slot's row; rowid and vector are left alone if the slot is not live.
    Status read_slot(std::uint32_t slot, bool& live, std::int64_t& rowid, std::span<std::byte> vector);
};

}  // namespace vss
