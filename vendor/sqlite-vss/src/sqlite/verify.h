// Verification, a mode for tests: every answer of a search is computed a second way and compared.
//
// The second way shares little with the first: the rows are those of t_rows, each vector is read from its page and
// checked, and distances are measured in double precision and sorted. No cache, no segments, no cells, no kernels.
//
// Threads: the switch is the process's; the rest like the connection.
#pragma once

#include <cstddef>
#include <vector>

#include "index/search_request.h"
#include "sqlite/table.h"

namespace vss {

// Off, unless VSSNATIVE_VERIFY in the environment says 1, or set_verification.
[[nodiscard]] bool verification();
void set_verification(bool on);

// What `request` must find in vector column `vector` against what was found. `exact`: nothing may be missing; else each
// row must be one that matches, at its true distance, in order and once, and k of them where k match.
Status verify_search(Table& table, std::size_t vector, const SearchRequest& request, bool exact,
                     const std::vector<std::vector<Neighbor>>& results);

}  // namespace vss
