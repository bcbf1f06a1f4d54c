// Entries of rows that came a few at a time, of whatever cells they belong to. They are written together, and wait in
// batches until there are enough of them to be moved to their cells' own chunks: a row costs a share of one page then,
// not two pages. No SQLite in here.
//
// An entry, on disk and in memory: cell u32, slot u32 (its top bit marks a second copy), add f32, rescale f32, code
// bits. Entries are ordered by cell.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "index/cells/codes.h"

namespace vss {

[[nodiscard]] constexpr std::size_t batch_entry_bytes(std::size_t padded) {
    return 16 + padded / 8;
}
// Rows of a batch, each with two entries: as many as fit in a leaf page of 4,096 bytes.
[[nodiscard]] constexpr std::size_t batch_rows(std::size_t padded) {
    return std::clamp<std::size_t>(4016 / (2 * batch_entry_bytes(padded)), 8, 64);
}

class CodeBatch {
  public:
    struct Item {
        std::uint32_t cell = 0;
        std::uint32_t entry = 0;
        const RowCode* code = nullptr;
    };

    CodeBatch(std::uint32_t number, std::uint64_t version, std::size_t padded, std::vector<Item> items);
    // As stored: a whole number of entries.
    CodeBatch(std::uint32_t number, std::uint64_t version, std::size_t padded, std::span<const std::byte> bytes);

    [[nodiscard]] std::uint32_t number() const { return number_; }
    // What a cell's codes are known by as long as none of a later batch waits for it.
    [[nodiscard]] std::uint64_t version() const { return version_; }
    [[nodiscard]] std::size_t size() const { return bytes_.size() / entry_bytes_; }
    [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
    [[nodiscard]] std::uint32_t cell(std::size_t i) const { return word(i, 0); }
    [[nodiscard]] std::uint32_t entry(std::size_t i) const { return word(i, 4); }
    [[nodiscard]] bool is_ordered() const;
    // Appends the cell's entries to `out`.
    void append(std::uint32_t cell, CodeBlocks& out) const;

  private:
    [[nodiscard]] std::uint32_t word(std::size_t i, std::size_t offset) const;

    std::uint32_t number_;
    std::uint64_t version_;
    std::size_t entry_bytes_;
    std::vector<std::byte> bytes_;
};

}  // namespace vss
