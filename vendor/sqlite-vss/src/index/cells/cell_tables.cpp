#include "index/cells/cell_tables.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "base/text.h"
#include "kernels/kernels.h"
#include "kernels/vector_value.h"

namespace vss {
namespace {

constexpr std::uint32_t state_magic = 0x32435356;        // "VSC2"
constexpr std::uint32_t first_state_magic = 0x31435356;  // "VSC1", of format 1: its header ends before what was learned
constexpr std::uint32_t spherical_flag = 1;
// Another version that knows nothing of it drops it, and then the codes are not believed.
constexpr std::uint32_t slot_codes_flag = 2;
// What was learned is by cell scanned (LearnedRecall::misses). What was learned before says nothing of that.
constexpr std::uint32_t by_cell_flag = 4;
constexpr float largest_offset = 1e18F;       // rotated vectors are shorter
constexpr std::uint32_t exponent_shift = 24;  // of a signed byte

// What a checksum says nothing of. Vectors enter the cells' space no longer than that.
bool is_length(float x) {
    return x >= 0 && x <= 100 * largest_offset;  // and a number
}

// The state's row beside generation and rows, which are its version and live.
struct StateHeader {
    std::uint32_t magic = state_magic;
    std::uint32_t crc = 0;  // of generation, rows, and all of this with this field zero
    std::uint64_t directory_version = 0;
    std::uint64_t seed = 0;
    std::uint32_t flags = 0;
    std::uint32_t offset_floats = 0;
    std::uint32_t tail_slots = 0;
    std::uint32_t learned_cells_then = 0;
    // Of format 1: what searches of that time had learned.
    std::array<std::uint64_t, ChangedSegments::most> changed_before = {};
    std::array<std::uint32_t, ChangedSegments::most> changed_segment = {};
    std::array<std::uint32_t, 2> unused = {};
    std::uint32_t batches_begin = 0;
    std::uint32_t batches_end = 0;
    std::uint64_t parts_version = 0;
};
static_assert(sizeof(StateHeader) == 112);

// Behind it, since format 2.
struct StateLearned {
    std::uint64_t rows = 0;
    std::int64_t when = 0;
    std::uint32_t samples = 0;
    float cosine_mean = 0;
    std::array<std::array<float, LearnedRecall::levels.size()>, LearnedRecall::ks.size()> misses = {};
    std::array<float, LearnedRecall::levels.size()> cells = {};
    std::array<float, LearnedRecall::levels.size()> scanned = {};
    float cosine_variance = 0;
};
static_assert(sizeof(StateLearned) == 168);

}  // namespace

// What is counted of one cell; version 0: there is no such cell.
struct CellFigures {
    std::uint64_t version = 0;
    std::uint32_t primaries = 0;
    std::uint32_t entries = 0;
    std::uint32_t retry_at = 0;
    float scale = 0;
    float norm = 0;
    std::uint32_t centroid_crc = 0;  // of the cell's number and the centroid
    std::uint32_t taken_to = 0;      // of a cell that is gone too
    std::uint16_t radius = 0;        // bfloat16; 0: not known
    std::uint16_t spread = 0;
};
static_assert(sizeof(CellFigures) == 40);

namespace {

// Figures of a part: crc32c of its number and figures, then reserved, then the figures.
constexpr std::size_t figures_header = 8;
constexpr std::size_t figures_bytes = figures_header + part_cells * sizeof(CellFigures);
// Rows of t_cells from this one on hold centroids.
constexpr std::int64_t centroid_rows = std::int64_t{1} << 32;
constexpr auto most_parts = static_cast<std::int64_t>(2 * (max_celled_slots / 64) / part_cells);

// A chunk: crc32c of its number and blocks, then reserved, then the blocks.
constexpr std::size_t chunk_header = 8;
// Entries that room is made for at once: more than most cells have.
constexpr std::size_t first_reserve = 512;

// Rows of t_codes from this one on are batches.
constexpr std::int64_t batch_chunks = std::int64_t{1} << 55;
// And from this one on, 4-bit codes by slot.
constexpr std::int64_t slot_chunks = batch_chunks + (std::int64_t{1} << 48);

struct BatchHeader {
    std::uint32_t crc = 0;  // of the row's number and all behind this field
    std::uint32_t entries = 0;
    std::uint64_t version = 0;
};
static_assert(sizeof(BatchHeader) == 16);

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

std::uint32_t CellTables::state_crc(std::uint64_t generation, std::uint64_t rows,
                                    std::span<const std::byte> data) const {
    StateHeader header;
    std::memcpy(&header, data.data(), sizeof header);
    header.crc = 0;
    std::uint32_t crc = tagged_crc(0, &generation, sizeof generation);
    crc = crc32c(crc, &rows, sizeof rows);
    crc = crc32c(crc, &header, sizeof header);
    return crc32c(crc, data.data() + sizeof header, data.size() - sizeof header);
}

Status CellTables::read_state(std::uint64_t known, CellState& state) {
    if (!select_state_.is_prepared()) {
        VSS_TRY(
            name_.prepare(select_state_, cat("select version, live, data from ", name_.shadow(cat("segments", index_)),
                                             " where segment = ", state_segment)));
    }
    const ResetAtEnd guard(select_state_);
    bool row = false;
    VSS_TRY(select_state_.step(row));
    if (!row) {
        state = {};
        return Status::ok();
    }
    const auto generation = static_cast<std::uint64_t>(select_state_.int64(0));
    if (generation == known && known != 0) {
        return Status::ok();
    }
    const auto rows = static_cast<std::uint64_t>(select_state_.int64(1));
    const std::span<const std::byte> data = select_state_.blob(2);
    StateHeader header;
    if (data.size() < sizeof header) {
        return damaged("the state of the cells is too short");
    }
    std::memcpy(&header, data.data(), sizeof header);
    const std::size_t learned_bytes = header.magic == state_magic ? sizeof(StateLearned) : 0;
    const std::size_t expected =
        sizeof header + learned_bytes + (std::size_t{header.offset_floats} + std::size_t{header.tail_slots}) * 4;
    if ((header.magic != state_magic && header.magic != first_state_magic) || data.size() != expected ||
        (header.offset_floats != 0 && header.offset_floats != padded_) || header.tail_slots > rows ||
        header.batches_begin > header.batches_end || state_crc(generation, rows, data) != header.crc) {
        return damaged("the checksum of the cells' state does not match its bytes");
    }
    state.generation = generation;
    state.directory_version = header.directory_version;
    state.seed = header.seed;
    state.rows = rows;
    state.spherical = (header.flags & spherical_flag) != 0;
    state.slot_codes = (header.flags & slot_codes_flag) != 0;
    state.exponent = static_cast<std::int8_t>(header.flags >> exponent_shift);
    state.learned = {};
    state.changed = {};
    if (learned_bytes > 0) {
        state.changed.before = header.changed_before;
        state.changed.segment = header.changed_segment;
    }
    if (learned_bytes > 0 && (header.flags & by_cell_flag) != 0) {
        StateLearned learned;
        std::memcpy(&learned, data.data() + sizeof header, sizeof learned);
        state.learned.cells_then = header.learned_cells_then;
        state.learned.samples = learned.samples;
        state.learned.rows = learned.rows;
        state.learned.when = learned.when;
        state.learned.misses = learned.misses;
        state.learned.cosine_mean = learned.cosine_mean;
        state.learned.cosine_variance = learned.cosine_variance;
        state.learned.cells = learned.cells;
        state.learned.scanned = learned.scanned;
        bool are_numbers = std::isfinite(learned.cosine_mean) && std::isfinite(learned.cosine_variance);
        for (const auto& misses : learned.misses) {
            are_numbers =
                are_numbers && std::none_of(misses.begin(), misses.end(), [](float x) { return std::isnan(x); });
        }
        if (!are_numbers) {
            return damaged("the state of the cells has learned what cannot be");
        }
    }
    state.batches_begin = header.batches_begin;
    state.batches_end = header.batches_end;
    state.parts_version = header.parts_version;
    state.offset.resize(header.offset_floats);
    state.tail.resize(header.tail_slots);
    const std::byte* at = data.data() + sizeof header + learned_bytes;
    if (!state.offset.empty()) {
        std::memcpy(state.offset.data(), at, state.offset.size() * 4);
    }
    if (!state.tail.empty()) {
        std::memcpy(state.tail.data(), at + state.offset.size() * 4, state.tail.size() * 4);
    }
    const auto is_place = [](float x) { return std::abs(x) <= largest_offset; };  // and a number
    if (!std::all_of(state.offset.begin(), state.offset.end(), is_place)) {
        return damaged("the state of the cells has an offset that cannot be");
    }
    return Status::ok();
}

Status CellTables::write_state(const CellState& state) {
    StateHeader header;
    header.directory_version = state.directory_version;
    header.seed = state.seed;
    header.flags = by_cell_flag | (state.spherical ? spherical_flag : 0) | (state.slot_codes ? slot_codes_flag : 0) |
                   static_cast<std::uint32_t>(static_cast<std::uint8_t>(state.exponent)) << exponent_shift;
    header.offset_floats = static_cast<std::uint32_t>(state.offset.size());
    header.tail_slots = static_cast<std::uint32_t>(state.tail.size());
    header.learned_cells_then = state.learned.cells_then;
    header.changed_before = state.changed.before;
    header.changed_segment = state.changed.segment;
    header.batches_begin = state.batches_begin;
    header.batches_end = state.batches_end;
    header.parts_version = state.parts_version;
    StateLearned learned;
    learned.rows = state.learned.rows;
    learned.when = state.learned.when;
    learned.samples = state.learned.samples;
    learned.misses = state.learned.misses;
    learned.cosine_mean = state.learned.cosine_mean;
    learned.cosine_variance = state.learned.cosine_variance;
    learned.cells = state.learned.cells;
    learned.scanned = state.learned.scanned;
    constexpr std::size_t begin = sizeof header + sizeof learned;
    buffer_.resize(begin + (state.offset.size() + state.tail.size()) * 4);
    std::memcpy(buffer_.data(), &header, sizeof header);
    std::memcpy(buffer_.data() + sizeof header, &learned, sizeof learned);
    if (!state.offset.empty()) {
        std::memcpy(buffer_.data() + begin, state.offset.data(), state.offset.size() * 4);
    }
    if (!state.tail.empty()) {
        std::memcpy(buffer_.data() + begin + state.offset.size() * 4, state.tail.data(), state.tail.size() * 4);
    }
    const std::uint32_t crc = state_crc(state.generation, state.rows, buffer_);
    std::memcpy(buffer_.data() + offsetof(StateHeader, crc), &crc, 4);
    VSS_TRY(prepare(upsert_state_, "insert into ", "segments",
                    "(segment, version, live, data) values(?1, ?2, ?3, ?4) on conflict(segment) do update set "
                    "version = ?2, live = ?3, data = ?4"));
    upsert_state_.bind(1, state_segment);
    upsert_state_.bind(2, static_cast<std::int64_t>(state.generation));
    upsert_state_.bind(3, static_cast<std::int64_t>(state.rows));
    upsert_state_.bind_blob(4, buffer_);
    return upsert_state_.run();
}

Status CellTables::read_directory(CellDirectory& out) {
    Statement statement;
    VSS_TRY(prepare(statement, "select cell, data from ", "cells", " order by cell"));
    const ResetAtEnd guard(statement);
    std::vector<std::byte> figures;
    std::int64_t parts = 0;
    std::int64_t with_centroids = 0;
    for (bool row = true;;) {
        VSS_TRY(statement.step(row));
        if (!row) {
            break;
        }
        const std::int64_t id = statement.int64(0);
        if (id < centroid_rows) {
            if (id != parts || parts >= most_parts) {
                return damaged(cat("row ", id, " of the cells is out of place"));
            }
            VSS_TRY(read_figures(parts++, statement.blob(1), figures));
            continue;
        }
        if (id != centroid_rows + with_centroids || with_centroids >= parts) {
            return damaged(cat("row ", id, " of the cells is out of place"));
        }
        const std::size_t offset = static_cast<std::size_t>(with_centroids) * figures_bytes;
        VSS_TRY(read_centroids(with_centroids++, statement.blob(1),
                               std::span<const std::byte>(figures).subspan(offset, figures_bytes), out));
    }
    if (with_centroids != parts) {
        return damaged(cat("centroids of the cells from ", with_centroids * static_cast<std::int64_t>(part_cells),
                           " on are missing"));
    }
    return Status::ok();
}

Status CellTables::read_figures(std::int64_t part, std::span<const std::byte> data,
                                std::vector<std::byte>& figures) const {
    std::uint32_t crc = 0;
    if (data.size() == figures_bytes) {
        std::memcpy(&crc, data.data(), 4);
    }
    if (data.size() != figures_bytes ||
        crc != tagged_crc(static_cast<std::uint64_t>(part), data.data() + figures_header,
                          figures_bytes - figures_header)) {
        return damaged(cat("the checksum of part ", part, " of the cells does not match its bytes"));
    }
    figures.insert(figures.end(), data.begin(), data.end());
    return Status::ok();
}

Status CellTables::read_centroids(std::int64_t part, std::span<const std::byte> data,
                                  std::span<const std::byte> figures, CellDirectory& out) const {
    if (data.size() != part_cells * padded_) {
        return damaged(cat("the centroids of part ", part, " of the cells have ", data.size(), " bytes, expected ",
                           part_cells * padded_));
    }
    for (std::size_t i = 0; i < part_cells; ++i) {
        CellFigures cell;
        std::memcpy(&cell, figures.data() + figures_header + i * sizeof cell, sizeof cell);
        const std::size_t id = static_cast<std::size_t>(part) * part_cells + i;
        const std::byte* centroid = data.data() + i * padded_;
        if (cell.version == 0 &&
            std::any_of(centroid, centroid + padded_, [](std::byte b) { return b != std::byte{0}; })) {
            return damaged(cat("cell ", id, " does not exist and has a centroid"));
        }
        if (cell.version != 0 && tagged_crc(id, centroid, padded_) != cell.centroid_crc) {
            return damaged(cat("the checksum of cell ", id, " does not match its bytes"));
        }
        VSS_TRY(put_cell(id, cell, centroid, out));
    }
    return Status::ok();
}

Status CellTables::put_cell(std::size_t id, const CellFigures& cell, const std::byte* centroid,
                            CellDirectory& out) const {
    if (cell.version == 0) {
        if (cell.taken_to != 0 || id < out.size()) {
            const std::vector<std::uint8_t> nowhere(padded_);
            out.put(static_cast<std::uint32_t>(id), {}, nowhere.data(), cell.taken_to);
        }
        return Status::ok();
    }
    const CellInfo info{cell.version,
                        cell.primaries,
                        cell.entries,
                        cell.retry_at,
                        cell.scale,
                        cell.norm,
                        bfloat16_to_float(cell.radius),
                        bfloat16_to_float(cell.spread)};
    if (info.primaries > info.entries || !is_length(info.scale) || !is_length(info.norm) || !is_length(info.radius) ||
        !is_length(info.spread)) {
        return damaged(cat("what is counted of cell ", id, " cannot be"));
    }
    out.put(static_cast<std::uint32_t>(id), info, reinterpret_cast<const std::uint8_t*>(centroid), cell.taken_to,
            cell.centroid_crc);
    return Status::ok();
}

// A split changes a dozen cells: their centroids are read, of all others what is counted, a tenth of the bytes.
Status CellTables::reread_directory(CellDirectory& out, bool& done) {
    done = false;
    std::vector<std::byte> figures;
    std::int64_t parts = 0;
    {
        Statement statement;
        VSS_TRY(prepare(statement, "select cell, data from ", "cells", " where cell < ? order by cell"));
        const ResetAtEnd guard(statement);
        statement.bind(1, centroid_rows);
        for (bool row = true;;) {
            VSS_TRY(statement.step(row));
            if (!row) {
                break;
            }
            if (statement.int64(0) != parts || parts >= most_parts) {
                return damaged(cat("row ", statement.int64(0), " of the cells is out of place"));
            }
            VSS_TRY(read_figures(parts++, statement.blob(1), figures));
        }
    }
    if (static_cast<std::size_t>(parts) * part_cells < out.size()) {
        return Status::ok();
    }
    Statement statement;
    VSS_TRY(prepare(statement, "select data from ", "cells", " where cell = ?"));
    for (std::int64_t part = 0; part < parts; ++part) {
        const auto of_part =
            std::span<const std::byte>(figures).subspan(static_cast<std::size_t>(part) * figures_bytes, figures_bytes);
        const auto each_cell = [&](const auto& look) {
            for (std::size_t i = 0; i < part_cells; ++i) {
                CellFigures cell;
                std::memcpy(&cell, of_part.data() + figures_header + i * sizeof cell, sizeof cell);
                VSS_TRY(look(static_cast<std::size_t>(part) * part_cells + i, cell));
            }
            return Status::ok();
        };
        bool moved = false;
        VSS_TRY(each_cell([&](std::size_t id, const CellFigures& cell) {
            moved = moved || (cell.version != 0 && !has_centroid(out, id, cell.centroid_crc));
            return Status::ok();
        }));
        if (!moved) {
            VSS_TRY(
                each_cell([&](std::size_t id, const CellFigures& cell) { return put_cell(id, cell, nullptr, out); }));
            continue;
        }
        const ResetAtEnd guard(statement);
        statement.bind(1, centroid_rows + part);
        bool row = false;
        VSS_TRY(statement.step(row));
        if (!row) {
            return damaged(
                cat("centroids of the cells from ", part * static_cast<std::int64_t>(part_cells), " on are missing"));
        }
        VSS_TRY(read_centroids(part, statement.blob(0), of_part, out));
    }
    done = true;
    return Status::ok();
}

// Whether the cell is known and has the centroid of this checksum.
bool CellTables::has_centroid(const CellDirectory& directory, std::size_t id, std::uint32_t crc) const {
    if (id >= directory.size() || directory.info(static_cast<std::uint32_t>(id)).version == 0) {
        return false;
    }
    const auto cell = static_cast<std::uint32_t>(id);
    const std::uint32_t known = directory.stored(cell).checksum;
    return (known != 0 ? known : tagged_crc(id, directory.centroid_bytes(cell), padded_)) == crc;
}

// buffer_ becomes the row. SQLite compares an overwritten row of the same size with what is there: only pages that
// differ are written.
Status CellTables::write_part(std::int64_t row) {
    VSS_TRY(prepare(upsert_cell_, "insert into ", "cells",
                    "(cell, data) values(?1, ?2) on conflict(cell) do update set data = ?2"));
    upsert_cell_.bind(1, row);
    upsert_cell_.bind_blob(2, buffer_);
    return upsert_cell_.run();
}

Status CellTables::write_directory(const CellDirectory& directory, const std::set<std::uint32_t>& changed,
                                   const std::set<std::uint32_t>& moved) {
    const auto each_part = [](const std::set<std::uint32_t>& cells, const auto& write) {
        for (auto at = cells.begin(); at != cells.end();) {
            const std::uint32_t part = *at / part_cells;
            VSS_TRY(write(part));
            at = cells.lower_bound((part + 1) * static_cast<std::uint32_t>(part_cells));
        }
        return Status::ok();
    };
    const auto centroid_of = [&](std::size_t cell) {
        return cell < directory.size() && directory.info(static_cast<std::uint32_t>(cell)).version != 0
                   ? directory.centroid_bytes(static_cast<std::uint32_t>(cell))
                   : nullptr;
    };
    VSS_TRY(each_part(changed, [&](std::uint32_t part) {
        buffer_.assign(figures_bytes, std::byte{0});
        for (std::size_t i = 0; i < part_cells && part * part_cells + i < directory.size(); ++i) {
            const auto id = static_cast<std::uint32_t>(part * part_cells + i);
            const StoredCell& stored = directory.stored(id);
            CellFigures cell;
            cell.taken_to = stored.taken_to;
            if (const std::uint8_t* centroid = centroid_of(id); centroid != nullptr) {
                const CellInfo& info = directory.info(id);
                cell = {stored.version,
                        stored.primaries,
                        stored.entries,
                        info.retry_at,
                        info.scale,
                        info.norm,
                        tagged_crc(id, centroid, padded_),
                        stored.taken_to,
                        float_to_bfloat16(info.radius),
                        float_to_bfloat16(info.spread)};
            }
            std::memcpy(buffer_.data() + figures_header + i * sizeof cell, &cell, sizeof cell);
        }
        const std::uint32_t crc = tagged_crc(part, buffer_.data() + figures_header, buffer_.size() - figures_header);
        std::memcpy(buffer_.data(), &crc, 4);
        return write_part(part);
    }));
    return each_part(moved, [&](std::uint32_t part) {
        buffer_.assign(part_cells * padded_, std::byte{0});
        for (std::size_t i = 0; i < part_cells; ++i) {
            if (const std::uint8_t* centroid = centroid_of(part * part_cells + i); centroid != nullptr) {
                std::memcpy(buffer_.data() + i * padded_, centroid, padded_);
            }
        }
        return write_part(centroid_rows + part);
    });
}

// --- batches ---------------------------------------------------------------------------------------------------------

Status CellTables::read_batches(std::uint32_t begin, std::uint32_t end, const CellDirectory* before,
                                CellDirectory& out) {
    if (begin == end) {
        return Status::ok();
    }
    VSS_TRY(prepare(select_batches_, "select chunk, data from ", "codes",
                    " where chunk >= ? and chunk < ? order by chunk"));
    const ResetAtEnd guard(select_batches_);
    select_batches_.bind(1, batch_chunks + begin);
    select_batches_.bind(2, batch_chunks + end);
    for (std::uint32_t number = begin; number != end; ++number) {
        bool row = false;
        VSS_TRY(select_batches_.step(row));
        const std::int64_t id = batch_chunks + number;
        if (!row || select_batches_.int64(0) != id) {
            return damaged(cat("batch ", number, " of codes is missing"));
        }
        const std::span<const std::byte> data = select_batches_.blob(1);
        BatchHeader header;
        if (data.size() >= sizeof header) {
            std::memcpy(&header, data.data(), sizeof header);
        }
        if (const auto known = before == nullptr ? nullptr : before->batch(number, header.version); known != nullptr) {
            if (!out.add_batch(known)) {
                return damaged(cat("batch ", number, " of codes names a cell that does not exist"));
            }
            continue;
        }
        if (data.size() < sizeof header || header.version == 0 ||
            data.size() != sizeof header + std::size_t{header.entries} * batch_entry_bytes(padded_) ||
            tagged_crc(static_cast<std::uint64_t>(id), data.data() + 4, data.size() - 4) != header.crc) {
            return damaged(cat("the checksum of batch ", number, " of codes does not match its bytes"));
        }
        auto batch = std::make_shared<CodeBatch>(number, header.version, padded_, data.subspan(sizeof header));
        if (!batch->is_ordered() || !out.add_batch(std::move(batch))) {
            return damaged(cat("batch ", number, " of codes names a cell that does not exist"));
        }
    }
    return Status::ok();
}

Status CellTables::write_batch(const CodeBatch& batch) {
    const std::int64_t id = batch_chunks + batch.number();
    BatchHeader header;
    header.version = batch.version();
    header.entries = static_cast<std::uint32_t>(batch.size());
    buffer_.resize(sizeof header + batch.bytes().size());
    std::memcpy(buffer_.data(), &header, sizeof header);
    std::copy(batch.bytes().begin(), batch.bytes().end(), buffer_.begin() + sizeof header);
    const std::uint32_t crc = tagged_crc(static_cast<std::uint64_t>(id), buffer_.data() + 4, buffer_.size() - 4);
    std::memcpy(buffer_.data(), &crc, 4);
    VSS_TRY(prepare(upsert_chunk_, "insert into ", "codes",
                    "(chunk, data) values(?1, ?2) on conflict(chunk) do update set data = ?2"));
    upsert_chunk_.bind(1, id);
    upsert_chunk_.bind_blob(2, buffer_);
    return upsert_chunk_.run();
}

Status CellTables::erase_batches(std::uint32_t begin, std::uint32_t end) {
    VSS_TRY(prepare(delete_chunks_, "delete from ", "codes", " where chunk >= ? and chunk < ?"));
    delete_chunks_.bind(1, batch_chunks + begin);
    delete_chunks_.bind(2, batch_chunks + end);
    return delete_chunks_.run();
}

Status CellTables::clear() {
    VSS_TRY(execute(name_.db,
                    cat("delete from ", name_.shadow(cat("segments", index_)), " where segment = ", state_segment)));
    VSS_TRY(execute(name_.db, cat("delete from ", name_.shadow(cat("cells", index_)))));
    return execute(name_.db, cat("delete from ", name_.shadow(cat("codes", index_))));
}

// --- codes -----------------------------------------------------------------------------------------------------------

Status CellTables::read_codes(std::uint32_t cell, std::size_t entries, CodeBlocks& out) {
    VSS_TRY(
        prepare(select_codes_, "select chunk, data from ", "codes", " where chunk >= ? and chunk < ? order by chunk"));
    const ResetAtEnd guard(select_codes_);
    select_codes_.bind(1, chunk_id(cell, 0));
    select_codes_.bind(2, chunk_id(cell + 1, 0));
    const std::size_t per_chunk = chunk_blocks(padded_);
    const std::size_t bytes = chunk_header + per_chunk * out.block_bytes();
    const std::size_t blocks = (entries + block_rows - 1) / block_rows;
    for (std::size_t b = 0, number = 0; b < blocks; b += per_chunk, ++number) {
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
        const std::size_t n = std::min(per_chunk, blocks - b);
        if (const std::size_t end = std::min(entries, (b + n) * block_rows); out.capacity() < end) {
            out.reserve(std::min(entries, std::max(2 * end, first_reserve)));
        }
        out.resize(std::min(entries, (b + n) * block_rows));
        std::memcpy(out.block(b), data.data() + chunk_header, n * out.block_bytes());
    }
    return Status::ok();
}

Status CellTables::erase_codes(std::uint32_t cell) {
    VSS_TRY(prepare(delete_chunks_, "delete from ", "codes", " where chunk >= ? and chunk < ?"));
    delete_chunks_.bind(1, chunk_id(cell, 0));
    delete_chunks_.bind(2, chunk_id(cell + 1, 0));
    return delete_chunks_.run();
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

// --- 4-bit codes by slot ---------------------------------------------------------------------------------------------

Status CellTables::read_slot_codes(std::uint64_t first, std::size_t count, const SlotCodesFound& found) {
    Statement& select = count == 1 ? select_slot_codes_ : select_many_slot_codes_;
    VSS_TRY(prepare(select, "select chunk, data from ", "codes",
                    count == 1 ? " where chunk = ?" : " where chunk >= ? and chunk < ? order by chunk"));
    const ResetAtEnd guard(select);
    select.bind(1, slot_chunks + static_cast<std::int64_t>(first));
    if (count != 1) {
        select.bind(2, slot_chunks + static_cast<std::int64_t>(first + count));
    }
    for (bool row = true;;) {
        VSS_TRY(select.step(row));
        if (!row) {
            return Status::ok();
        }
        const std::int64_t id = select.int64(0);
        const std::span<const std::byte> data = select.blob(1);
        std::uint32_t crc = 0;
        if (data.size() == SlotCodes::chunk_bytes(padded_)) {
            std::memcpy(&crc, data.data(), 4);
        }
        if (data.size() != SlotCodes::chunk_bytes(padded_) ||
            tagged_crc(static_cast<std::uint64_t>(id), data.data() + 4, data.size() - 4) != crc) {
            return damaged(
                cat("the checksum of chunk ", id - slot_chunks, " of the 4-bit codes does not match its bytes"));
        }
        found(static_cast<std::uint64_t>(id - slot_chunks), data);
        if (count == 1) {
            return Status::ok();
        }
    }
}

Status CellTables::write_slot_codes(std::uint64_t chunk, SlotCodes& codes) {
    const std::int64_t id = slot_chunks + static_cast<std::int64_t>(chunk);
    if (codes.live() == 0) {
        VSS_TRY(prepare(delete_chunks_, "delete from ", "codes", " where chunk >= ? and chunk < ?"));
        delete_chunks_.bind(1, id);
        delete_chunks_.bind(2, id + 1);
        return delete_chunks_.run();
    }
    const std::span<std::byte> data = codes.bytes_on_disk();
    const std::uint32_t crc = tagged_crc(static_cast<std::uint64_t>(id), data.data() + 4, data.size() - 4);
    std::memcpy(data.data(), &crc, 4);
    VSS_TRY(prepare(upsert_chunk_, "insert into ", "codes",
                    "(chunk, data) values(?1, ?2) on conflict(chunk) do update set data = ?2"));
    upsert_chunk_.bind(1, id);
    upsert_chunk_.bind_blob(2, data);
    return upsert_chunk_.run();
}

Status CellTables::erase_slot_codes() {
    VSS_TRY(prepare(delete_chunks_, "delete from ", "codes", " where chunk >= ? and chunk < ?"));
    delete_chunks_.bind(1, slot_chunks);
    delete_chunks_.bind(2, slot_chunks + (std::int64_t{1} << 48));
    return delete_chunks_.run();
}

// --- rows ------------------------------------------------------------------------------------------------------------

Status CellTables::segment(const SegmentInfo& info, bool keep, std::shared_ptr<const Segment>& out) {
    return store_.segment(info, out, keep);
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
