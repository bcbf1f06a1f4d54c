// What the text of a SQL statement says of a search in it: its own conditions, and whether a LIMIT ends it.
//
// SQLite hands a virtual table conditions without saying where they were written (in the search's own WHERE, in a join,
// in a query round it), and says nothing of those it keeps to itself. The k nearest rows are those under the
// conditions of the search's own WHERE, so that has to be read. A text that cannot be understood gives no searches.
// No SQLite in here.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace vss {

// A table as SQL may speak of it.
struct TableWords {
    std::string schema;
    std::string table;
    std::vector<std::string> vectors;  // vector columns
    std::vector<std::string> columns;  // all others, hidden ones too
    std::vector<std::string> values;   // those of them that t_rows has
    std::string rowid;                 // a column that names the rowid, or empty
};

// One of the conditions that AND joins and that speaks of the searched table.
struct WrittenCondition {
    bool is_own = true;      // of it alone; else it joins another table
    std::string text;        // as written
    std::string probe;       // with every value from elsewhere as ?
    std::string bare_probe;  // and every subquery as (select ?)
    std::string collation;   // as written; empty where none is
    bool has_list = false;   // in (...)
    bool has_between = false;
    // The same over t_rows, in pieces with a parameter of the statement between each two (by its place among all
    // parameters); no pieces where anything but columns, literals, parameters and well-known functions is in it.
    std::vector<std::string> pieces;
    std::vector<std::size_t> parameters;
    bool is_whole = false;       // x is not null, x like y, x glob y: one term says all of it
    bool is_plain_value = true;  // compared with literals, parameters and functions, which have no affinity
};

struct WrittenSearch {
    std::string alias;
    std::string column;        // the vector column
    bool by_function = false;  // vss_search, vss_range_search
    bool has_k = false;
    bool has_limit = false;                    // a LIMIT ends it, and nothing that needs all rows stands between
    std::vector<WrittenCondition> conditions;  // in the order in which SQLite takes them
    std::vector<std::string> drops;            // on joined tables alone: they drop rows that the search found
    std::string odd_setting;                   // a condition that speaks of k or recall and does not set it by =
};

[[nodiscard]] std::vector<WrittenSearch> searches_in(std::string_view sql, const TableWords& table);

}  // namespace vss
