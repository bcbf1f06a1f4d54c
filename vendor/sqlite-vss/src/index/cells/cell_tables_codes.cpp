// CellTables: t_codes<c>, in which the numbers of rows tell codes of cells, batches and 4-bit codes by slot apart.
#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "base/text.h"
#include "index/cells/cell_tables.h"
#include "kernels/kernels.h"

namespace vss {
namespace {

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

}  // namespace vss
