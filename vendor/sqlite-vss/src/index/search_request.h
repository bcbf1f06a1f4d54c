// What a search asks a column's index for, and what it gets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "index/filter.h"
#include "index/nearest.h"
#include "index/search_settings.h"

namespace vss {

struct SearchRequest {
    std::vector<const std::byte*> queries;  // the bytes of one vector each
    std::size_t k = 0;
    // The share of the k nearest that is wanted; 1: what brute force gives, ties by rowid.
    double recall = 1;
    // As the searcher wants them, beside what is known to reach the recall; taken by ColumnIndex::check_settings().
    SearchSettings settings;
    RowFilter filter;
    // The rows (rowid, slot) of the filter's set that have a vector. Without members_known an exact search can do
    // without them.
    std::vector<std::pair<std::int64_t, std::uint64_t>> members;
    bool members_known = false;
    int threads = 1;
};

struct SearchAnswer {
    // neighbors[i]: those of queries[i], nearest first, distances as exact_distance gives them, rounded to float32.
    std::vector<std::vector<Neighbor>> neighbors;
    // Every row was considered, so that nothing can be missing.
    bool is_exact = true;
    // Of everything there is to look at, the share that the last query looked at.
    double looked_at = 1;
};

}  // namespace vss
