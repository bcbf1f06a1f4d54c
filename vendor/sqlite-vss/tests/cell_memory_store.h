// Cells and rows in memory, for tests and trials of the layers that need no SQLite.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "base/aligned_bytes.h"
#include "index/cells/cell_search.h"
#include "index/cells/cell_store.h"

namespace vss {

// Rows of float32 by slot; a slot's rowid is `first_rowid` + slot.
class MemoryRows final : public RowStore {
  public:
    MemoryRows(std::size_t dim, Metric metric, std::size_t segment_slots = 1024)
        : dim_(dim), metric_(metric), segment_slots_(segment_slots) {}

    void put(std::uint32_t slot, const float* vector) {
        if (slot >= live_.size()) {
            live_.resize(slot + 1);
            data_.resize((slot + 1) * dim_);
        }
        live_[slot] = true;
        std::memcpy(data_.data() + slot * dim_, vector, dim_ * 4);
        touch(slot);
    }
    void erase(std::uint32_t slot) {
        live_[slot] = false;
        touch(slot);
    }
    [[nodiscard]] bool is_live(std::uint32_t slot) const { return slot < live_.size() && live_[slot]; }
    [[nodiscard]] std::size_t slots() const { return live_.size(); }
    [[nodiscard]] const float* row(std::uint32_t slot) const { return data_.data() + slot * dim_; }
    [[nodiscard]] std::size_t dim() const { return dim_; }

    [[nodiscard]] std::size_t segment_slots() const override { return segment_slots_; }
    [[nodiscard]] std::size_t vector_bytes() const override { return dim_ * 4; }
    Status segments(std::vector<SegmentInfo>& out) override {
        out.clear();
        for (std::size_t first = 0; first < live_.size(); first += segment_slots_) {
            SegmentInfo info{first / segment_slots_, versions_[first / segment_slots_], 0};
            for (std::size_t slot = first; slot < std::min(first + segment_slots_, live_.size()); ++slot) {
                info.live += live_[slot] ? 1U : 0U;
            }
            if (info.live > 0) {
                out.push_back(info);
            }
        }
        return Status::ok();
    }
    Status segment_part(const SegmentInfo& info, std::size_t parts, SegmentPart& part,
                        std::shared_ptr<const Segment>& out) override {
        return ++part.next_block < parts ? Status::ok() : segment(info, true, out);
    }
    Status segment(const SegmentInfo& info, bool /*keep*/, std::shared_ptr<const Segment>& out) override {
        auto made = std::make_shared<Segment>();
        made->stride = dim_ * 4;
        made->rows = AlignedBytes(info.live * made->stride);
        for (std::size_t slot = info.id * segment_slots_; slot < std::min((info.id + 1) * segment_slots_, live_.size());
             ++slot) {
            if (live_[slot]) {
                std::memcpy(made->rows.data() + made->rowids.size() * made->stride,
                            row(static_cast<std::uint32_t>(slot)), made->stride);
                made->rowids.push_back(static_cast<std::int64_t>(slot));
                made->slots.push_back(static_cast<std::uint32_t>(slot));
            }
        }
        finish_segment(ElementType::float32, metric_, dim_, *made);
        out = std::move(made);
        return Status::ok();
    }
    Status segment_info(std::uint64_t id, SegmentInfo& out) override {
        std::vector<SegmentInfo> all;
        VSS_TRY(segments(all));
        out = {id, 0, 0};
        for (const SegmentInfo& info : all) {
            out = info.id == id ? info : out;
        }
        return Status::ok();
    }
    Status read_slots(std::span<const std::uint32_t> slots, const SlotFound& found) override {
        for (std::size_t i = 0; i < slots.size(); ++i) {
            if (is_live(slots[i])) {
                found(i, slots[i], std::as_bytes(std::span(row(slots[i]), dim_)));
            }
        }
        return Status::ok();
    }

  private:
    void touch(std::uint32_t slot) {
        versions_.resize(std::max<std::size_t>(versions_.size(), slot / segment_slots_ + 1));
        versions_[slot / segment_slots_] = ++last_version_;
    }

    std::size_t dim_;
    Metric metric_;
    std::size_t segment_slots_;
    std::vector<bool> live_;
    std::vector<float> data_;
    std::vector<std::uint64_t> versions_;
    std::uint64_t last_version_ = 1;
};

class MemoryCells final : public CellStore {
  public:
    MemoryCells(MemoryRows& rows, std::size_t padded) : rows_(rows), padded_(padded) {}

    std::size_t codes_written = 0;  // cells, each time

    Status read_state(std::uint64_t known, CellState& state) override {
        if (state_.generation != known) {
            state = state_;
        }
        return Status::ok();
    }
    Status write_state(const CellState& state) override {
        state_ = state;
        return Status::ok();
    }
    Status read_directory(CellDirectory& out) override {
        for (const auto& [cell, record] : records_) {
            out.put(cell, record.info, record.centroid.data(), record.taken_to);
        }
        return Status::ok();
    }
    Status reread_directory(CellDirectory& /*out*/, bool& done) override {
        done = false;
        return Status::ok();
    }
    Status read_batches(std::uint32_t begin, std::uint32_t end, const CellDirectory* /*before*/,
                        CellDirectory& out) override {
        for (; begin != end; ++begin) {
            if (!batches_.contains(begin) || !out.add_batch(batches_.at(begin))) {
                return Status::corrupt("batch " + std::to_string(begin) + " is missing or wrong");
            }
        }
        return Status::ok();
    }
    Status write_batch(const CodeBatch& batch) override {
        batches_.insert_or_assign(batch.number(), std::make_shared<const CodeBatch>(batch));
        return Status::ok();
    }
    Status erase_batches(std::uint32_t begin, std::uint32_t end) override {
        batches_.erase(batches_.lower_bound(begin), batches_.lower_bound(end));
        return Status::ok();
    }
    Status write_directory(const CellDirectory& directory, const std::set<std::uint32_t>& changed,
                           const std::set<std::uint32_t>& moved) override {
        for (const std::uint32_t cell : changed) {
            Record& record = records_[cell];
            const StoredCell& stored = directory.stored(cell);
            record.info = directory.info(cell);
            record.info.version = stored.version;
            record.info.primaries = stored.primaries;
            record.info.entries = stored.entries;
            record.taken_to = stored.taken_to;
            if (record.centroid.empty() || moved.contains(cell)) {
                const std::uint8_t* centroid = directory.centroid_bytes(cell);
                record.centroid.assign(centroid, centroid + padded_);
            }
        }
        return Status::ok();
    }
    Status erase_codes(std::uint32_t cell) override {
        chunks_.erase(cell);
        return Status::ok();
    }
    Status clear() override {
        records_.clear();
        chunks_.clear();
        batches_.clear();
        slot_codes_.clear();
        state_ = {};
        return Status::ok();
    }
    Status read_codes(std::uint32_t cell, std::size_t entries, CodeBlocks& out) override {
        out.resize(entries);
        const auto& chunks = chunks_[cell];
        const std::size_t bytes = chunk_blocks(padded_) * out.block_bytes();
        for (std::size_t b = 0; b < out.blocks(); ++b) {
            const std::size_t chunk = b / chunk_blocks(padded_);
            if (chunk >= chunks.size() || chunks[chunk].size() != bytes) {
                return Status::corrupt("a chunk is missing");
            }
            std::memcpy(out.block(b), chunks[chunk].data() + b % chunk_blocks(padded_) * out.block_bytes(),
                        out.block_bytes());
        }
        return Status::ok();
    }
    Status write_codes(std::uint32_t cell, const CodeBlocks& codes, const std::vector<bool>& dirty) override {
        ++codes_written;
        auto& chunks = chunks_[cell];
        const std::size_t per_chunk = chunk_blocks(padded_);
        chunks.resize((codes.blocks() + per_chunk - 1) / per_chunk);
        for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
            if (chunk >= dirty.size() || !dirty[chunk]) {
                continue;
            }
            chunks[chunk].resize(per_chunk * codes.block_bytes());
            for (std::size_t b = chunk * per_chunk; b < std::min((chunk + 1) * per_chunk, codes.blocks()); ++b) {
                std::memcpy(chunks[chunk].data() + b % per_chunk * codes.block_bytes(), codes.block(b),
                            codes.block_bytes());
            }
        }
        return Status::ok();
    }
    Status read_slot_codes(std::uint64_t first, std::size_t count, const SlotCodesFound& found) override {
        for (auto at = slot_codes_.lower_bound(first); at != slot_codes_.end() && at->first < first + count; ++at) {
            found(at->first, at->second);
        }
        return Status::ok();
    }
    Status write_slot_codes(std::uint64_t chunk, SlotCodes& codes) override {
        slot_codes_.erase(chunk);
        if (codes.live() != 0) {
            const std::span<std::byte> bytes = codes.bytes_on_disk();
            slot_codes_[chunk].assign(bytes.begin(), bytes.end());
        }
        return Status::ok();
    }
    Status erase_slot_codes() override {
        slot_codes_.clear();
        return Status::ok();
    }
    Status read_vectors(std::span<const std::uint32_t> slots, float* out) override {
        for (std::size_t i = 0; i < slots.size(); ++i) {
            if (!rows_.is_live(slots[i])) {
                return Status::corrupt("slot " + std::to_string(slots[i]) + " is not live");
            }
            std::memcpy(out + i * rows_.dim(), rows_.row(slots[i]), rows_.dim() * 4);
        }
        return Status::ok();
    }
    Status live_slots(std::vector<std::uint32_t>& out) override {
        out.clear();
        for (std::uint32_t slot = 0; slot < rows_.slots(); ++slot) {
            if (rows_.is_live(slot)) {
                out.push_back(slot);
            }
        }
        return Status::ok();
    }
    [[nodiscard]] std::uint32_t column() const override { return 0; }
    [[nodiscard]] std::size_t segment_slots() const override { return rows_.segment_slots(); }
    [[nodiscard]] std::size_t vector_bytes() const override { return rows_.vector_bytes(); }

    // Every live slot once as a first copy, at most once as a second, in different cells; counts right.
    [[nodiscard]] Status check() const {
        std::map<std::uint32_t, std::uint32_t> firsts;
        std::map<std::uint32_t, std::uint32_t> seconds;
        std::size_t expected = 0;
        for (const auto& [cell, record] : records_) {
            std::uint32_t primaries = 0;
            CodeBlocks codes(padded_);
            VSS_TRY(const_cast<MemoryCells*>(this)->read_codes(cell, record.info.entries, codes));
            for (std::size_t i = 0; i < codes.size(); ++i) {
                const std::uint32_t entry = codes.entry(i);
                const bool second = (entry & second_copy) != 0;
                primaries += second ? 0U : 1U;
                const std::uint32_t slot = entry & ~second_copy;
                if (!rows_.is_live(slot) || !(second ? seconds : firsts).emplace(slot, cell).second) {
                    return Status::corrupt("slot " + std::to_string(slot) + " is dead or twice in cells");
                }
            }
            if (primaries != record.info.primaries) {
                return Status::corrupt("cell " + std::to_string(cell) + " miscounts");
            }
        }
        for (const auto& [number, batch] : batches_) {
            for (std::size_t i = 0; i < batch->size(); ++i) {
                const Record& record = records_.at(batch->cell(i));
                if (number < record.taken_to) {
                    continue;
                }
                const bool second = (batch->entry(i) & second_copy) != 0;
                const std::uint32_t slot = batch->entry(i) & ~second_copy;
                if (record.info.version == 0 || !rows_.is_live(slot) ||
                    !(second ? seconds : firsts).emplace(slot, batch->cell(i)).second) {
                    return Status::corrupt("slot " + std::to_string(slot) + " of a batch is dead or twice in cells");
                }
            }
        }
        for (const std::uint32_t slot : state_.tail) {
            if (!rows_.is_live(slot) || !firsts.emplace(slot, UINT32_MAX).second) {
                return Status::corrupt("the tail's slot " + std::to_string(slot) + " is dead or in a cell");
            }
        }
        for (std::uint32_t slot = 0; slot < rows_.slots(); ++slot) {
            expected += rows_.is_live(slot) ? 1U : 0U;
        }
        for (const auto& [slot, cell] : seconds) {
            if (firsts.at(slot) == cell) {
                return Status::corrupt("slot " + std::to_string(slot) + " is twice in one cell");
            }
        }
        if (state_.is_celled() && firsts.size() != expected) {
            return Status::corrupt(std::to_string(expected) + " rows, " + std::to_string(firsts.size()) + " in cells");
        }
        return state_.rows == expected ? Status::ok() : Status::corrupt("rows miscounted");
    }
    [[nodiscard]] const CellState& state() const { return state_; }

  private:
    struct Record {
        CellInfo info;
        std::vector<std::uint8_t> centroid;
        std::uint32_t taken_to = 0;
    };
    MemoryRows& rows_;
    std::size_t padded_;
    CellState state_;
    std::map<std::uint32_t, Record> records_;
    std::map<std::uint32_t, std::vector<std::vector<std::byte>>> chunks_;
    std::map<std::uint32_t, std::shared_ptr<const CodeBatch>> batches_;
    std::map<std::uint64_t, std::vector<std::byte>> slot_codes_;
};

}  // namespace vss
