// Brute force over every vector of a column that a filter lets pass: what recall 1.0 means, and what every kind of
// index may fall back on.
#pragma once

#include <vector>

#include "index/nearest.h"
#include "index/search_request.h"
#include "storage/storage.h"

namespace vss {

// results[i]: the neighbours of queries[i], nearest first.
Status exact_search(VectorStore& store, const SearchRequest& request, std::vector<std::vector<Neighbor>>& results);

}  // namespace vss
