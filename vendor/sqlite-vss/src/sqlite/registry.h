// Buffers of this process that SQL statements name by ticket (include/vss0.h). No SQLite in here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "base/lease.h"
#include "base/number_row.h"
#include "base/types.h"

namespace vss {

// The caller's memory: n ids or keys, and their rows, if these matter (include/vss0.h says how they are given).
struct RowsBuffer {
    const std::int64_t* ids = nullptr;
    const char* keys = nullptr;
    const std::int64_t* key_ends = nullptr;
    bool keys_are_text = false;
    const std::byte* rows = nullptr;
    std::size_t n = 0;
    std::size_t row_bytes = 0;
    std::ptrdiff_t stride = 0;
    std::optional<NumberRow> numbers;
    const float* (*piece)(void* host, std::size_t first, std::size_t* count) = nullptr;
    void* host = nullptr;
    // Of `rows`, until the ticket is released.
    LentMemory lent;

    [[nodiscard]] std::string_view key(std::size_t i) const {
        const std::int64_t begin = i == 0 ? 0 : key_ends[i - 1];
        return {keys + begin, static_cast<std::size_t>(key_ends[i] - begin)};
    }
};

// The caller's memory: nq queries, and room for nq * k ids and distances.
struct SearchBuffer {
    const std::byte* queries = nullptr;
    std::size_t nq = 0;
    std::size_t query_bytes = 0;
    std::size_t stride = 0;
    std::size_t k = 0;
    double recall = 0;
    std::int64_t* ids = nullptr;
    float* distances = nullptr;
    std::optional<ElementType> type;  // what the queries are made of, where the caller says it
};

// Tickets are random, so that a number made up by a statement's author finds nothing.
[[nodiscard]] std::int64_t register_rows(const RowsBuffer& rows);
[[nodiscard]] std::int64_t register_search(const SearchBuffer& search);
void release_ticket(std::int64_t ticket);
// The rows that these bytes are part of; else one that holds nothing.
[[nodiscard]] LentMemory find_lender(std::span<const std::byte> bytes);
[[nodiscard]] std::shared_ptr<const RowsBuffer> find_rows(std::int64_t ticket);
[[nodiscard]] std::shared_ptr<const SearchBuffer> find_search(std::int64_t ticket);

}  // namespace vss
