#include "index/cells/code_batch.h"

#include <cstring>

namespace vss {

CodeBatch::CodeBatch(std::uint32_t number, std::uint64_t version, std::size_t padded, std::vector<Item> items)
    : number_(number), version_(version), entry_bytes_(batch_entry_bytes(padded)) {
    std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.cell < b.cell; });
    bytes_.resize(items.size() * entry_bytes_);
    std::byte* at = bytes_.data();
    for (const Item& item : items) {
        std::memcpy(at, &item.cell, 4);
        std::memcpy(at + 4, &item.entry, 4);
        std::memcpy(at + 8, &item.code->add, 4);
        std::memcpy(at + 12, &item.code->rescale, 4);
        std::memcpy(at + 16, item.code->bits.data(), entry_bytes_ - 16);
        at += entry_bytes_;
    }
}

CodeBatch::CodeBatch(std::uint32_t number, std::uint64_t version, std::size_t padded, std::span<const std::byte> bytes)
    : number_(number), version_(version), entry_bytes_(batch_entry_bytes(padded)), bytes_(bytes.begin(), bytes.end()) {}

std::uint32_t CodeBatch::word(std::size_t i, std::size_t offset) const {
    std::uint32_t value = 0;
    std::memcpy(&value, bytes_.data() + i * entry_bytes_ + offset, 4);
    return value;
}

bool CodeBatch::is_ordered() const {
    for (std::size_t i = 1; i < size(); ++i) {
        if (cell(i - 1) > cell(i)) {
            return false;
        }
    }
    return true;
}

void CodeBatch::append(std::uint32_t wanted, CodeBlocks& out) const {
    std::size_t first = 0;
    for (std::size_t end = size(); first < end;) {
        const std::size_t middle = first + (end - first) / 2;
        if (cell(middle) < wanted) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    RowCode code;
    for (; first < size() && cell(first) == wanted; ++first) {
        const std::byte* at = bytes_.data() + first * entry_bytes_;
        std::memcpy(&code.add, at + 8, 4);
        std::memcpy(&code.rescale, at + 12, 4);
        code.bits.resize(entry_bytes_ - 16);
        std::memcpy(code.bits.data(), at + 16, code.bits.size());
        out.push(entry(first), code);
    }
}

}  // namespace vss
