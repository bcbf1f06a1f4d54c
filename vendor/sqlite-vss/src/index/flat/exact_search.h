// Brute force over every vector of a column that a filter lets pass: what recall 1.0 means.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "index/filter.h"
#include "index/nearest.h"
#include "storage/storage.h"

namespace vss {

struct SearchRequest {
    std::vector<const std::byte*> queries;  // the bytes of one vector each
    std::size_t k = 0;
    RowFilter filter;
    // Where the filter's set is small: its rows (rowid, slot) that have a vector.
    std::vector<std::pair<std::int64_t, std::uint64_t>> members;
    bool members_known = false;
    int threads = 1;
};

// results[i]: the neighbours of queries[i], nearest first.
Status exact_search(VectorStore& store, const SearchRequest& request, std::vector<std::vector<Neighbor>>& results);

}  // namespace vss
