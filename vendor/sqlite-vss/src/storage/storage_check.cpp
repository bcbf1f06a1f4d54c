// Checking and repairing a column's tables: VectorStore::check and ::repair.
//
// Both walk the same three tables and t_rows once. A check only reports; a repair takes the slots whose checksum
// holds as the truth, since they carry their rowid, and makes everything else agree with them.
#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/random.h"
#include "base/text.h"
#include "kernels/vector_value.h"
#include "storage/storage.h"

namespace vss {

Status VectorStore::check(const Report& report) {
    const std::string where = name_.words(column_);
    // Which row claims which slot.
    std::unordered_map<std::uint64_t, std::int64_t> owner;
    bool more = true;
    {
        Statement rows;
        VSS_TRY(rows.prepare(
            name_.db,
            cat("select _rowid, _slot", index_, " from ", name_.shadow("rows"), " where _slot", index_, " is not null"),
            false));
        for (bool row = true; more;) {
            VSS_TRY(rows.step(row));
            if (!row) {
                break;
            }
            const std::int64_t slot = rows.int64(1);
            if (rows.type(1) != SQLITE_INTEGER || slot < 0 || slot > static_cast<std::int64_t>(max_slots)) {
                more = report(cat(where, ": row ", rows.int64(0), " names slot ", slot, ", which cannot be"));
            } else if (!owner.emplace(static_cast<std::uint64_t>(slot), rows.int64(0)).second) {
                more = report(cat(where, ": rows ", owner[static_cast<std::uint64_t>(slot)], " and ", rows.int64(0),
                                  " both name slot ", slot));
            }
        }
    }
    std::unordered_map<std::uint64_t, std::uint64_t> live;  // by segment
    std::unordered_set<std::uint64_t> freed;
    std::unordered_set<std::uint64_t> unused;
    std::unordered_set<std::uint64_t> blocks;
    {
        Statement statement;
        VSS_TRY(
            statement.prepare(name_.db, cat("select block, data from ", name_.shadow(cat("vectors", index_))), false));
        for (bool row = true; more;) {
            VSS_TRY(statement.step(row));
            if (!row) {
                break;
            }
            const std::int64_t block = statement.int64(0);
            const std::span<const std::byte> data = statement.blob(1);
            if (block < 0 || block > static_cast<std::int64_t>(geometry_.block_of(max_slots)) ||
                data.size() != geometry_.block_bytes()) {
                more = report(
                    cat(where, ": block ", block, " has ", data.size(), " bytes, expected ", geometry_.block_bytes()));
                continue;
            }
            blocks.insert(static_cast<std::uint64_t>(block));
            for (std::size_t i = 0; i < geometry_.block_slots && more; ++i) {
                const std::uint64_t slot = static_cast<std::uint64_t>(block) * geometry_.block_slots + i;
                const std::span<const std::byte> bytes = data.subspan(i * geometry_.slot_bytes, geometry_.slot_bytes);
                const SlotHeader header = header_at(bytes);
                if (header.is(SlotState::unused)) {
                    unused.insert(slot);
                    continue;
                }
                const auto state = static_cast<SlotState>(header.state);
                if ((state != SlotState::live && state != SlotState::freed) ||
                    slot_checksum(slot, header.rowid, state,
                                  bytes.subspan(slot_header_bytes, geometry_.vector_bytes)) != header.crc) {
                    more = report(cat(where, ": slot ", slot, " (row ", header.rowid,
                                      "): the checksum does not match the bytes"));
                    owner.erase(slot);
                    continue;
                }
                if (state == SlotState::live) {
                    const Status valid =
                        validate_vector(column_.type, column_.metric, bytes.data() + slot_header_bytes, column_.dim,
                                        cat(where, ": slot ", slot, " (row ", header.rowid, ')'));
                    more = (valid.is_ok() || report(valid.message())) && more;
                }
                if (state == SlotState::freed) {
                    freed.insert(slot);
                    continue;
                }
                ++live[geometry_.segment_of(slot)];
                const auto at = owner.find(slot);
                if (at == owner.end()) {
                    more = report(cat(where, ": slot ", slot, " holds a vector of row ", header.rowid,
                                      ", which does not name it"));
                } else {
                    if (at->second != header.rowid) {
                        more = report(
                            cat(where, ": row ", at->second, " names slot ", slot, ", which holds row ", header.rowid));
                    }
                    owner.erase(at);
                }
            }
        }
    }
    for (auto at = owner.begin(); at != owner.end() && more; ++at) {
        more = report(cat(where, ": row ", at->second, " names slot ", at->first, ", which holds no vector"));
    }
    std::vector<SegmentInfo> infos;
    Status status = segments(infos);
    if (!status.is_ok()) {
        more = more && report(status.message());
    }
    for (const SegmentInfo& info : infos) {
        const auto at = live.find(info.id);
        const std::uint64_t count = at == live.end() ? 0 : at->second;
        if (more && status.is_ok() && count != info.live) {
            more = report(cat(where, ": segment ", info.id, " counts ", info.live, " rows and holds ", count));
        }
        live.erase(info.id);
    }
    for (auto at = live.begin(); status.is_ok() && at != live.end() && more; ++at) {
        more = report(cat(where, ": segment ", at->first, " holds ", at->second, " rows and is not listed"));
    }
    Statement list;
    VSS_TRY(list.prepare(name_.db, cat("select slot from ", name_.shadow(cat("free", index_))), false));
    for (bool row = true; more;) {
        VSS_TRY(list.step(row));
        if (!row) {
            break;
        }
        const auto slot = static_cast<std::uint64_t>(list.int64(0));
        // A block that was given back and came again starts with unused slots, which are still listed.
        if (freed.erase(slot) == 0 && !unused.contains(slot) && blocks.contains(geometry_.block_of(slot))) {
            more = report(cat(where, ": slot ", list.int64(0), " is listed as free and is not"));
        }
    }
    for (auto at = freed.begin(); at != freed.end() && more; ++at) {
        more = report(cat(where, ": slot ", *at, " is free and not listed"));
    }
    return Status::ok();
}

Status VectorStore::repair(const Report& report) {
    const std::string where = name_.words(column_);
    const std::string vectors = name_.shadow(cat("vectors", index_));
    const std::string rows = name_.shadow("rows");
    const std::string slot_column = cat("_slot", index_);
    discard();

    // What is listed as free. A block without a vector has no row, and its slots stay listed.
    std::set<std::uint64_t> listed;
    std::int64_t last_block = -1;
    bool free_is_sound = true;
    {
        Statement list;
        VSS_TRY(list.prepare(name_.db, cat("select slot from ", name_.shadow(cat("free", index_))), false));
        for (bool row = true;;) {
            VSS_TRY(list.step(row));
            if (!row) {
                break;
            }
            const std::int64_t slot = list.int64(0);
            if (slot >= 0 && slot <= static_cast<std::int64_t>(max_slots)) {
                listed.insert(static_cast<std::uint64_t>(slot));
            } else {
                free_is_sound = false;
                report(cat(where, ": slot ", slot, " was listed as free and cannot be"));
            }
        }
        Statement last;
        VSS_TRY(last.prepare(name_.db, cat("select max(block) from ", vectors), false));
        bool row = false;
        VSS_TRY(last.step(row));
        const ResetAtEnd guard(last);
        last_block = row && !last.is_null(0) ? last.int64(0) : -1;
    }

    // Blocks that cannot be read as such go; slots whose checksum fails are wiped.
    std::unordered_map<std::int64_t, std::uint64_t> found;  // rowid -> slot
    std::unordered_map<std::uint64_t, std::uint64_t> live;
    std::set<std::uint64_t> freed;
    std::set<std::uint64_t> blocks;
    std::set<std::uint64_t> changed_segments;
    std::vector<std::pair<std::int64_t, std::vector<std::byte>>> rewritten;
    std::vector<std::int64_t> dropped;
    {
        Statement statement;
        VSS_TRY(statement.prepare(name_.db, cat("select block, data from ", vectors, " order by block"), false));
        for (bool row = true;;) {
            VSS_TRY(statement.step(row));
            if (!row) {
                break;
            }
            const std::int64_t block = statement.int64(0);
            const std::span<const std::byte> data = statement.blob(1);
            if (block < 0 || block > static_cast<std::int64_t>(geometry_.block_of(max_slots))) {
                dropped.push_back(block);
                report(cat(where, ": block ", block, " is out of range and was removed"));
                continue;
            }
            // A block of another size is read as far as it goes.
            std::vector<std::byte> copy(data.begin(), data.end());
            bool changed = copy.size() != geometry_.block_bytes();
            copy.resize(geometry_.block_bytes());
            if (changed) {
                report(cat(where, ": block ", block, " had ", data.size(), " bytes, expected ", copy.size()));
            }
            bool any_live = false;
            std::size_t used = geometry_.block_slots;  // those behind, in the last block, need not be used yet
            while (block == last_block && used > 0 &&
                   header_at(std::span<const std::byte>(copy).subspan((used - 1) * geometry_.slot_bytes))
                       .is(SlotState::unused)) {
                --used;
            }
            blocks.insert(static_cast<std::uint64_t>(block));
            for (std::size_t i = 0; i < geometry_.block_slots; ++i) {
                const std::uint64_t slot = static_cast<std::uint64_t>(block) * geometry_.block_slots + i;
                const std::span<std::byte> bytes =
                    std::span(copy).subspan(i * geometry_.slot_bytes, geometry_.slot_bytes);
                const SlotHeader header = header_at(bytes);
                const auto state = static_cast<SlotState>(header.state);
                const bool sound =
                    (state == SlotState::live || state == SlotState::freed) &&
                    slot_checksum(slot, header.rowid, state,
                                  bytes.subspan(slot_header_bytes, geometry_.vector_bytes)) == header.crc &&
                    (state == SlotState::freed ||
                     is_finite(column_.type, bytes.data() + slot_header_bytes, column_.dim));
                if (sound && state == SlotState::live && found.emplace(header.rowid, slot).second) {
                    any_live = true;
                    ++live[geometry_.segment_of(slot)];
                    continue;
                }
                if (!header.is(SlotState::unused) && !(sound && state == SlotState::freed)) {
                    report(cat(where, ": slot ", slot, " (row ", header.rowid, ") was unreadable and was freed"));
                }
                // An unused slot that is not listed, before used ones, would be taken for the end.
                const bool unused = header.is(SlotState::unused) && (listed.contains(slot) || i >= used);
                if (unused && !listed.contains(slot)) {
                    continue;
                }
                if (!unused && !(sound && state == SlotState::freed)) {
                    if (header.is(SlotState::unused)) {
                        report(cat(where, ": slot ", slot, " was in no list and was freed"));
                    }
                    std::fill(bytes.begin(), bytes.end(), std::byte{0});
                    const SlotHeader empty{0, slot_checksum(slot, 0, SlotState::freed, {}),
                                           static_cast<std::uint32_t>(SlotState::freed)};
                    std::copy_n(reinterpret_cast<const std::byte*>(&empty), slot_header_bytes, bytes.begin());
                    changed = true;
                }
                freed.insert(slot);
            }
            if (changed) {
                changed_segments.insert(
                    geometry_.segment_of(static_cast<std::uint64_t>(block) * geometry_.block_slots));
            }
            if (!any_live) {
                dropped.push_back(block);
            } else if (changed) {
                rewritten.emplace_back(block, std::move(copy));
            }
        }
    }
    for (const std::int64_t block : dropped) {
        VSS_TRY(execute(name_.db, cat("delete from ", vectors, " where block = ", block)));
    }
    if (!rewritten.empty()) {
        Statement update;
        VSS_TRY(update.prepare(name_.db, cat("update ", vectors, " set data = ? where block = ?"), false));
        for (const auto& [block, data] : rewritten) {
            update.bind_blob(1, data);
            update.bind(2, block);
            VSS_TRY(update.run());
        }
    }

    // t_rows: each row names the slot that says it.
    std::vector<std::pair<std::int64_t, std::int64_t>> links;  // rowid, slot or -1
    {
        Statement statement;
        VSS_TRY(statement.prepare(name_.db, cat("select _rowid, ", slot_column, " from ", rows), false));
        for (bool row = true;;) {
            VSS_TRY(statement.step(row));
            if (!row) {
                break;
            }
            const std::int64_t rowid = statement.int64(0);
            const auto at = found.find(rowid);
            const bool named = !statement.is_null(1);
            if (at == found.end()) {
                if (named) {
                    links.emplace_back(rowid, -1);
                    report(cat(where, ": the vector of row ", rowid, " is lost; it is NULL now"));
                }
                continue;
            }
            if (!named || statement.type(1) != SQLITE_INTEGER ||
                statement.int64(1) != static_cast<std::int64_t>(at->second)) {
                links.emplace_back(rowid, static_cast<std::int64_t>(at->second));
                report(cat(where, ": row ", rowid, " names its vector again"));
            }
            found.erase(at);
        }
    }
    Statement link;
    VSS_TRY(link.prepare(name_.db, cat("update ", rows, " set ", slot_column, " = ? where _rowid = ?"), false));
    for (const auto& [rowid, slot] : links) {
        slot < 0 ? link.bind_null(1) : link.bind(1, slot);
        link.bind(2, rowid);
        VSS_TRY(link.run());
    }
    Statement insert;
    VSS_TRY(insert.prepare(name_.db, cat("insert into ", rows, "(_rowid, ", slot_column, ") values(?, ?)"), false));
    for (const auto& [rowid, slot] : found) {
        insert.bind(1, rowid);
        insert.bind(2, static_cast<std::int64_t>(slot));
        VSS_TRY(insert.run());
        report(cat(where, ": row ", rowid, " was missing and was restored from its vector, without other values"));
    }

    // What is derived: the segments' counts, and the list of free slots.
    const std::string segment_table = name_.shadow(cat("segments", index_));
    bool segments_are_sound = changed_segments.empty();
    {
        std::unordered_map<std::uint64_t, std::uint64_t> missing = live;
        Statement list;
        VSS_TRY(list.prepare(
            name_.db, cat("select segment, version, live from ", segment_table, " where segment <> ", state_segment),
            false));
        for (bool row = true;;) {
            VSS_TRY(list.step(row));
            if (!row) {
                break;
            }
            const std::int64_t id = list.int64(0);
            const auto at = id < 0 ? missing.end() : missing.find(static_cast<std::uint64_t>(id));
            const std::uint64_t holds = at == missing.end() ? 0 : at->second;
            if (list.type(1) != SQLITE_INTEGER || list.type(2) != SQLITE_INTEGER || holds == 0 ||
                list.int64(2) != static_cast<std::int64_t>(holds)) {
                segments_are_sound = false;
                report(cat(where, ": segment ", id, " counted ", list.text(2), " rows and holds ", holds));
            }
            if (at != missing.end()) {
                missing.erase(at);
            }
        }
        for (const auto& [id, count] : missing) {
            segments_are_sound = false;
            report(cat(where, ": segment ", id, " holds ", count, " rows and was not listed"));
        }
    }
    if (!segments_are_sound) {
        VSS_TRY(execute(name_.db, cat("delete from ", segment_table, " where segment <> ", state_segment)));
        for (const auto& [id, count] : live) {
            VSS_TRY(execute(name_.db, cat("insert into ", segment_table, "(segment, version, live) values(", id, ", ",
                                          static_cast<std::int64_t>(random_version()), ", ", count, ")")));
        }
    }
    // Slots of blocks that have no row stay listed if they were.
    for (const std::uint64_t slot : listed) {
        if (!blocks.contains(geometry_.block_of(slot))) {
            freed.insert(slot);
        }
    }
    std::size_t added = 0;
    for (const std::uint64_t slot : freed) {
        added += listed.contains(slot) ? 0U : 1U;
    }
    const std::size_t taken = listed.size() + added - freed.size();
    if (added > 0 || taken > 0) {
        report(cat(where, ": ", added, " free slots were not listed, and ", taken, " were listed that are not free"));
    }
    if (added > 0 || taken > 0 || !free_is_sound) {
        const std::string free_table = name_.shadow(cat("free", index_));
        VSS_TRY(execute(name_.db, cat("delete from ", free_table)));
        Statement free_slot;
        VSS_TRY(free_slot.prepare(name_.db, cat("insert into ", free_table, "(slot) values(?)"), false));
        for (const std::uint64_t slot : freed) {
            free_slot.bind(1, static_cast<std::int64_t>(slot));
            VSS_TRY(free_slot.run());
        }
    }
    return Status::ok();
}

}  // namespace vss
