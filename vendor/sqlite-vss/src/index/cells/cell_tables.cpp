#include "index/cells/cell_tables.h"

#include <algorithm>
#include <memory>

#include "base/text.h"
#include "kernels/kernels.h"
#include "kernels/vector_value.h"

namespace vss {

CellTables::CellTables(const TableName& name, VectorStore& store, std::size_t index)
    : name_(name), store_(store), index_(index), padded_(padded_dimensions(store.column().dim)) {}

Status CellTables::create_tables(const TableName& name, std::size_t index, bool where_missing) {
    const std::string_view create = where_missing ? "create table if not exists " : "create table ";
    VSS_TRY(execute(name.db,
                    cat(create, name.shadow(cat("cells", index)), "(cell integer primary key, data blob not null)")));
    return execute(name.db,
                   cat(create, name.shadow(cat("codes", index)), "(chunk integer primary key, data blob not null)"));
}

// Bound to the column and to the row's number, so that bytes that were moved are noticed.
std::uint32_t CellTables::tagged_crc(std::uint64_t row, const void* bytes, std::size_t n) const {
    const std::uint64_t tag = row + (static_cast<std::uint64_t>(index_) << 56);
    return crc32c(crc32c(0, &tag, sizeof tag), bytes, n);
}

Status CellTables::damaged(std::string_view what) const {
    return Status::corrupt(cat(name_.words(store_.column()), ": ", what));
}

Status CellTables::prepare(Statement& statement, std::string_view before, std::string_view table,
                           std::string_view after) {
    return statement.is_prepared() ? Status::ok()
                                   : name_.prepare(statement, cat(before, name_.shadow(cat(table, index_)), after));
}

Status CellTables::clear() {
    VSS_TRY(execute(name_.db,
                    cat("delete from ", name_.shadow(cat("segments", index_)), " where segment = ", state_segment)));
    VSS_TRY(execute(name_.db, cat("delete from ", name_.shadow(cat("cells", index_)))));
    return execute(name_.db, cat("delete from ", name_.shadow(cat("codes", index_))));
}

Status CellTables::segment(const SegmentInfo& info, bool keep, std::shared_ptr<const Segment>& out) {
    return store_.segment(info, out, keep);
}

Status CellTables::segment_part(const SegmentInfo& info, std::size_t parts, SegmentPart& part,
                                std::shared_ptr<const Segment>& out) {
    return store_.segment_part(info, parts, part, out);
}

Status CellTables::read_slots(std::span<const std::uint32_t> slots, const SlotFound& found) {
    return store_.read_slots(slots, found);
}

Status CellTables::read_vectors(std::span<const std::uint32_t> slots, float* out) {
    const Column& column = store_.column();
    std::size_t found = 0;
    VSS_TRY(store_.read_slots(slots, [&](std::size_t i, std::int64_t /*rowid*/, std::span<const std::byte> bytes) {
        decode_vector(column.type, bytes.data(), column.dim, out + i * column.dim);
        ++found;
    }));
    return found == slots.size() ? Status::ok() : damaged("a cell names a slot that holds no vector");
}

Status CellTables::live_slots(std::vector<std::uint32_t>& out) {
    out.clear();
    Statement statement;
    VSS_TRY(statement.prepare(
        name_.db, cat("select _slot", index_, " from ", name_.shadow("rows"), " where _slot", index_, " is not null")));
    const ResetAtEnd guard(statement);
    for (bool row = true;;) {
        VSS_TRY(statement.step(row));
        if (!row) {
            break;
        }
        const std::int64_t slot = statement.int64(0);
        if (slot < 0 || slot > static_cast<std::int64_t>(max_celled_slots)) {
            return damaged(cat("slot ", slot, " is out of range"));
        }
        out.push_back(static_cast<std::uint32_t>(slot));
    }
    std::sort(out.begin(), out.end());
    return Status::ok();
}

}  // namespace vss
