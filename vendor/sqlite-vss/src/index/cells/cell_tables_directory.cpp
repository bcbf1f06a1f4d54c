// CellTables: t_cells<c>, what is counted of each cell and the centroids, in parts.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "base/text.h"
#include "index/cells/cell_tables.h"
#include "kernels/kernels.h"

namespace vss {

// What is counted of one cell; version 0: there is no such cell.
struct CellFigures {
    std::uint64_t version = 0;
    std::uint32_t primaries = 0;
    std::uint32_t entries = 0;
    std::uint32_t retry_at = 0;  // and far_out in the highest byte
    float scale = 0;
    float norm = 0;
    std::uint32_t centroid_crc = 0;  // of the cell's number and the centroid
    std::uint32_t taken_to = 0;      // of a cell that is gone too
    std::uint16_t radius = 0;        // bfloat16; 0: not known
    std::uint16_t spread = 0;
};
static_assert(sizeof(CellFigures) == 40);

namespace {

constexpr int retry_bits = 24;
constexpr std::uint32_t most_retry_at = (std::uint32_t{1} << retry_bits) - 1;

// How far out the farthest row is, beside three deviations: sixteenths of a doubling; 0: no farther, or not known.
constexpr double far_steps = 16;

std::uint32_t far_out(const CellInfo& info) {
    const float three = far_deviations * bfloat16_to_float(float_to_bfloat16(info.spread));
    const float beside = info.farthest - bfloat16_to_float(float_to_bfloat16(info.radius));
    if (!(three > 0) || !(beside > three)) {
        return 0;
    }
    constexpr double most = 255;
    return static_cast<std::uint32_t>(
        std::min(std::ceil(far_steps * std::log2(static_cast<double>(beside / three))), most));
}

float farthest_of(const CellFigures& cell) {
    const std::uint32_t steps = cell.retry_at >> retry_bits;
    return steps == 0 ? 0
                      : bfloat16_to_float(cell.radius) +
                            far_deviations * bfloat16_to_float(cell.spread) *
                                static_cast<float>(std::exp2(static_cast<double>(steps) / far_steps));
}

// Figures of a part: crc32c of its number and figures, then reserved, then the figures.
constexpr std::size_t figures_header = 8;
constexpr std::size_t figures_bytes = figures_header + part_cells * sizeof(CellFigures);
// Rows of t_cells from this one on hold centroids.
constexpr std::int64_t centroid_rows = std::int64_t{1} << 32;
constexpr auto most_parts = static_cast<std::int64_t>(2 * (max_celled_slots / 64) / part_cells);

}  // namespace

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
                        cell.retry_at & most_retry_at,
                        cell.scale,
                        cell.norm,
                        bfloat16_to_float(cell.radius),
                        bfloat16_to_float(cell.spread),
                        farthest_of(cell)};
    // What a checksum says nothing of. Vectors enter the cells' space no longer than that.
    const auto is_length = [](float x) { return x >= 0 && x <= 100 * largest_offset; };  // and a number
    if (info.primaries > info.entries || !is_length(info.scale) || !is_length(info.norm) || !is_length(info.radius) ||
        !is_length(info.spread) || !(info.farthest >= 0)) {
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
                        std::min(info.retry_at, most_retry_at) | far_out(info) << retry_bits,
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

}  // namespace vss
