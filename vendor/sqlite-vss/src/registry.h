// Buffers of this process that SQL statements name by ticket (include/vss0.h). No SQLite in here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace vss {

// The caller's memory: n ids, and n rows `stride` bytes apart (nullptr where only the ids matter).
struct RowsBuffer {
    const std::int64_t* ids = nullptr;
    const std::byte* rows = nullptr;
    std::size_t n = 0;
    std::size_t row_bytes = 0;
    std::size_t stride = 0;
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
};

// Tickets are random, so that a number made up by a statement's author finds nothing.
[[nodiscard]] std::int64_t register_rows(const RowsBuffer& rows);
[[nodiscard]] std::int64_t register_search(const SearchBuffer& search);
void release_ticket(std::int64_t ticket);
[[nodiscard]] std::shared_ptr<const RowsBuffer> find_rows(std::int64_t ticket);
[[nodiscard]] std::shared_ptr<const SearchBuffer> find_search(std::int64_t ticket);

}  // namespace vss
