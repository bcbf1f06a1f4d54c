// The SELECTs, UPDATEs and DELETEs of a statement's text: what they read from, and under which conditions.
//
// Threads: any.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "sqlite/search_text.h"
#include "sqlite/sql_tokens.h"

namespace vss {

// Tokens from `begin` to before `end`.
struct Range {
    std::size_t begin = 0;
    std::size_t end = 0;
};

struct FromItem {
    std::string alias;
    bool is_ours = false;
    bool is_optional = false;  // the right side of a LEFT JOIN
};

struct On {
    Range range;
    std::size_t item = 0;
};

// A SELECT, UPDATE or DELETE, as far as a search's reader wants to know it.
struct Core {
    std::vector<FromItem> items;
    std::vector<On> ons;
    Range where;
    std::size_t end = 0;
    bool is_linked = false;   // USING or NATURAL
    bool is_unusual = false;  // RIGHT or FULL JOIN: not read
};

// Those that could be read, wherever they stand; `text` is paired up.
[[nodiscard]] std::vector<Core> cores_in(const SqlText& text, const TableWords& table);

}  // namespace vss
