#include "cell_tables.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels.h"
#include "text.h"
#include "vector_value.h"

namespace vss {
namespace {

constexpr std::int64_t state_row = -1;
constexpr std::uint32_t state_magic = 0x31435356;  // "VSC1"
constexpr std::uint32_t spherical_flag = 1;

struct StateHeader {
    std::uint64_t generation = 0;
    std::uint32_t magic = state_magic;
    std::uint32_t crc = 0;  // of the whole row with this field zero
    std::uint64_t directory_version = 0;
    std::uint64_t seed = 0;
    std::uint64_t rows = 0;
    std::uint32_t flags = 0;
    std::uint32_t offset_floats = 0;
    std::uint32_t tail_slots = 0;
    std::uint32_t learned_cells_then = 0;
    std::array<std::uint32_t, LearnedRecall::levels.size()> learned_cells = {};
    std::array<std::uint32_t, LearnedRecall::levels.size()> learned_patience = {};
};
static_assert(sizeof(StateHeader) == 112);

struct CellHeader {
    std::uint64_t version = 0;
    std::uint32_t primaries = 0;
    std::uint32_t entries = 0;
    std::uint32_t retry_at = 0;
    float scale = 0;
    std::uint32_t crc = 0;  // of the cell's number and the whole row with this field zero
    std::uint32_t reserved = 0;
};
static_assert(sizeof(CellHeader) == 32);

// A chunk: crc32c of its number and blocks, then reserved, then the blocks.
constexpr std::size_t chunk_header = 8;

std::int64_t chunk_id(std::uint32_t cell, std::size_t number) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(cell) * max_chunks + number);
}

}  // namespace

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

// --- state and directory ---------------------------------------------------------------------------------------------

Status CellTables::read_state(std::uint64_t known, CellState& state) {
    VSS_TRY(prepare(select_state_, "select data from ", "cells", " where cell = -1"));
    const ResetAtEnd guard(select_state_);
    bool row = false;
    VSS_TRY(select_state_.step(row));
    if (!row) {
        state = {};
        rows_in_cells_ = 0;
        return Status::ok();
    }
    const std::span<const std::byte> data = select_state_.blob(0);
    StateHeader header;
    if (data.size() < sizeof header) {
        return damaged("the state of the cells is too short");
    }
    std::memcpy(&header, data.data(), sizeof header);
    if (header.generation == known && known != 0) {
        return Status::ok();
    }
    const std::size_t expected =
        sizeof header + (std::size_t{header.offset_floats} + std::size_t{header.tail_slots}) * 4;
    std::vector<std::byte> bytes(data.begin(), data.end());
    const std::uint32_t zero = 0;
    if (bytes.size() >= sizeof header) {
        std::memcpy(bytes.data() + offsetof(StateHeader, crc), &zero, 4);
    }
    if (header.magic != state_magic || bytes.size() != expected ||
        (header.offset_floats != 0 && header.offset_floats != padded_) || header.tail_slots > header.rows ||
        tagged_crc(0, bytes.data(), bytes.size()) != header.crc) {
        return damaged("the checksum of the cells' state does not match its bytes");
    }
    rows_in_cells_ = header.rows - header.tail_slots;
    state.generation = header.generation;
    state.directory_version = header.directory_version;
    state.seed = header.seed;
    state.rows = header.rows;
    state.spherical = (header.flags & spherical_flag) != 0;
    state.learned.cells_then = header.learned_cells_then;
    state.learned.cells = header.learned_cells;
    state.learned.patience = header.learned_patience;
    state.offset.resize(header.offset_floats);
    state.tail.resize(header.tail_slots);
    const std::byte* at = bytes.data() + sizeof header;
    if (!state.offset.empty()) {
        std::memcpy(state.offset.data(), at, state.offset.size() * 4);
    }
    if (!state.tail.empty()) {
        std::memcpy(state.tail.data(), at + state.offset.size() * 4, state.tail.size() * 4);
    }
    return Status::ok();
}

Status CellTables::write_state(const CellState& state) {
    StateHeader header;
    header.generation = state.generation;
    header.directory_version = state.directory_version;
    header.seed = state.seed;
    header.rows = state.rows;
    header.flags = state.spherical ? spherical_flag : 0;
    header.offset_floats = static_cast<std::uint32_t>(state.offset.size());
    header.tail_slots = static_cast<std::uint32_t>(state.tail.size());
    header.learned_cells_then = state.learned.cells_then;
    header.learned_cells = state.learned.cells;
    header.learned_patience = state.learned.patience;
    buffer_.resize(sizeof header + (state.offset.size() + state.tail.size()) * 4);
    std::memcpy(buffer_.data(), &header, sizeof header);
    if (!state.offset.empty()) {
        std::memcpy(buffer_.data() + sizeof header, state.offset.data(), state.offset.size() * 4);
    }
    if (!state.tail.empty()) {
        std::memcpy(buffer_.data() + sizeof header + state.offset.size() * 4, state.tail.data(), state.tail.size() * 4);
    }
    const std::uint32_t crc = tagged_crc(0, buffer_.data(), buffer_.size());
    std::memcpy(buffer_.data() + offsetof(StateHeader, crc), &crc, 4);
    VSS_TRY(prepare(upsert_cell_, "insert into ", "cells",
                    "(cell, data) values(?1, ?2) on conflict(cell) do update set data = ?2"));
    upsert_cell_.bind(1, state_row);
    upsert_cell_.bind_blob(2, buffer_);
    rows_in_cells_ = state.rows - state.tail.size();
    return upsert_cell_.run();
}

Status CellTables::read_directory(CellDirectory& out) {
    Statement statement;
    VSS_TRY(prepare(statement, "select cell, data from ", "cells", " where cell >= 0 order by cell"));
    const ResetAtEnd guard(statement);
    std::vector<std::byte> bytes(sizeof(CellHeader) + padded_);
    const std::int64_t most = 2 * static_cast<std::int64_t>(max_celled_slots / 64);
    std::uint64_t primaries = 0;
    for (bool row = true;;) {
        VSS_TRY(statement.step(row));
        if (!row) {
            // A lost cell would make searches miss its rows without a word.
            return primaries == rows_in_cells_
                       ? Status::ok()
                       : damaged(cat("the cells hold ", primaries, " rows, their state counts ", rows_in_cells_));
        }
        const std::int64_t cell = statement.int64(0);
        const std::span<const std::byte> data = statement.blob(1);
        CellHeader header;
        if (data.size() != bytes.size() || cell > most ||
            (cell > 1024 && static_cast<std::size_t>(cell) > 4 * out.size() + 1024)) {
            return damaged(cat("cell ", cell, " is not laid out as one"));
        }
        std::copy(data.begin(), data.end(), bytes.begin());
        std::memcpy(&header, bytes.data(), sizeof header);
        const std::uint32_t zero = 0;
        std::memcpy(bytes.data() + offsetof(CellHeader, crc), &zero, 4);
        if (header.version == 0 || header.primaries > header.entries || !std::isfinite(header.scale) ||
            tagged_crc(static_cast<std::uint64_t>(cell), bytes.data(), bytes.size()) != header.crc) {
            return damaged(cat("the checksum of cell ", cell, " does not match its bytes"));
        }
        CellInfo info;
        info.version = header.version;
        info.primaries = header.primaries;
        primaries += header.primaries;
        info.entries = header.entries;
        info.retry_at = header.retry_at;
        info.scale = header.scale;
        out.put(static_cast<std::uint32_t>(cell), info,
                reinterpret_cast<const std::uint8_t*>(bytes.data() + sizeof header));
    }
}

Status CellTables::write_cell(std::uint32_t cell, const CellInfo& info, const std::uint8_t* centroid) {
    CellHeader header;
    header.version = info.version;
    header.primaries = info.primaries;
    header.entries = info.entries;
    header.retry_at = info.retry_at;
    header.scale = info.scale;
    buffer_.resize(sizeof header + padded_);
    std::memcpy(buffer_.data(), &header, sizeof header);
    std::memcpy(buffer_.data() + sizeof header, centroid, padded_);
    const std::uint32_t crc = tagged_crc(cell, buffer_.data(), buffer_.size());
    std::memcpy(buffer_.data() + offsetof(CellHeader, crc), &crc, 4);
    VSS_TRY(prepare(upsert_cell_, "insert into ", "cells",
                    "(cell, data) values(?1, ?2) on conflict(cell) do update set data = ?2"));
    upsert_cell_.bind(1, cell);
    upsert_cell_.bind_blob(2, buffer_);
    return upsert_cell_.run();
}

Status CellTables::erase_cell(std::uint32_t cell) {
    VSS_TRY(prepare(delete_cell_, "delete from ", "cells", " where cell = ?"));
    delete_cell_.bind(1, cell);
    VSS_TRY(delete_cell_.run());
    VSS_TRY(prepare(delete_chunks_, "delete from ", "codes", " where chunk >= ? and chunk < ?"));
    delete_chunks_.bind(1, chunk_id(cell, 0));
    delete_chunks_.bind(2, chunk_id(cell + 1, 0));
    return delete_chunks_.run();
}

Status CellTables::clear() {
    VSS_TRY(execute(name_.db, cat("delete from ", name_.shadow(cat("cells", index_)))));
    return execute(name_.db, cat("delete from ", name_.shadow(cat("codes", index_))));
}

// --- codes -----------------------------------------------------------------------------------------------------------

Status CellTables::read_codes(std::uint32_t cell, CodeBlocks& out) {
    VSS_TRY(
        prepare(select_codes_, "select chunk, data from ", "codes", " where chunk >= ? and chunk < ? order by chunk"));
    const ResetAtEnd guard(select_codes_);
    select_codes_.bind(1, chunk_id(cell, 0));
    select_codes_.bind(2, chunk_id(cell + 1, 0));
    const std::size_t per_chunk = chunk_blocks(padded_);
    const std::size_t bytes = chunk_header + per_chunk * out.block_bytes();
    for (std::size_t b = 0, number = 0; b < out.blocks(); b += per_chunk, ++number) {
        bool row = false;
        VSS_TRY(select_codes_.step(row));
        const std::int64_t id = chunk_id(cell, number);
        if (!row || select_codes_.int64(0) != id) {
            return damaged(cat("chunk ", number, " of cell ", cell, " is missing"));
        }
        const std::span<const std::byte> data = select_codes_.blob(1);
        std::uint32_t crc = 0;
        if (data.size() == bytes) {
            std::memcpy(&crc, data.data(), 4);
        }
        if (data.size() != bytes ||
            crc != tagged_crc(static_cast<std::uint64_t>(id), data.data() + chunk_header, bytes - chunk_header)) {
            return damaged(cat("the checksum of chunk ", number, " of cell ", cell, " does not match its bytes"));
        }
        const std::size_t n = std::min(per_chunk, out.blocks() - b);
        std::memcpy(out.block(b), data.data() + chunk_header, n * out.block_bytes());
    }
    return Status::ok();
}

Status CellTables::write_codes(std::uint32_t cell, const CodeBlocks& codes, const std::vector<bool>& dirty_chunks) {
    const std::size_t per_chunk = chunk_blocks(padded_);
    const std::size_t chunks = (codes.blocks() + per_chunk - 1) / per_chunk;
    if (chunks > max_chunks) {
        return {Code::too_big, cat(name_.words(store_.column()), ": more equal vectors than a cell can hold")};
    }
    VSS_TRY(prepare(upsert_chunk_, "insert into ", "codes",
                    "(chunk, data) values(?1, ?2) on conflict(chunk) do update set data = ?2"));
    for (std::size_t number = 0; number < chunks; ++number) {
        if (number >= dirty_chunks.size() || !dirty_chunks[number]) {
            continue;
        }
        buffer_.assign(chunk_header + per_chunk * codes.block_bytes(), std::byte{0});
        const std::size_t first = number * per_chunk;
        const std::size_t n = std::min(per_chunk, codes.blocks() - first);
        std::memcpy(buffer_.data() + chunk_header, codes.block(first), n * codes.block_bytes());
        const std::int64_t id = chunk_id(cell, number);
        const std::uint32_t crc =
            tagged_crc(static_cast<std::uint64_t>(id), buffer_.data() + chunk_header, buffer_.size() - chunk_header);
        std::memcpy(buffer_.data(), &crc, 4);
        upsert_chunk_.bind(1, id);
        upsert_chunk_.bind_blob(2, buffer_);
        VSS_TRY(upsert_chunk_.run());
    }
    VSS_TRY(prepare(delete_chunks_, "delete from ", "codes", " where chunk >= ? and chunk < ?"));
    delete_chunks_.bind(1, chunk_id(cell, chunks));
    delete_chunks_.bind(2, chunk_id(cell + 1, 0));
    return delete_chunks_.run();
}

// --- rows ------------------------------------------------------------------------------------------------------------

Status CellTables::segment(const SegmentInfo& info, bool keep, std::shared_ptr<const Segment>& out) {
    return store_.segment(info, Cache::instance().begin_search(), out, keep);
}

Status CellTables::read_slot(std::uint32_t slot, bool& live, std::int64_t& rowid, std::span<std::byte> vector) {
    live = false;
    return store_.read_slots({&slot, 1}, [&](std::size_t /*i*/, std::int64_t id, std::span<const std::byte> bytes) {
        live = true;
        rowid = id;
        std::copy(bytes.begin(), bytes.end(), vector.begin());
    });
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
