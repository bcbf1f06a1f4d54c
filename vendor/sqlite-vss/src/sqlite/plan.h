// What SQLite's planner and the cursor agree on: which constraints the table takes inside, and in what order their
// values arrive. The plan travels in idxStr, as codes and then in words, which EXPLAIN QUERY PLAN shows.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "storage/schema.h"
#include "storage/sqlite_api.h"

namespace vss {

// One value that xFilter gets.
enum class TermKind : char {
    match = 'm',         // vector column match ?
    search = 's',        // vss_search(vector column, ?)
    range_search = 'g',  // vss_range_search(vector column, ?)
    k = 'k',
    recall = 'c',
    limit = 'l',   // a hint only
    offset = 'o',  // a hint only
    distance = 'd',
    rowid = 'r',
    value = 'v',   // a metadata, partition or auxiliary column
    vector = 'n',  // vector column is [not] null
};

struct Term {
    TermKind kind = TermKind::k;
    std::size_t column = 0;  // match, search, range_search: vector column; value: value column
    int op = 0;              // distance, rowid, value: SQLITE_INDEX_CONSTRAINT_...
    bool is_list = false;    // rowid, value: the right side of IN, all at once
    char collation = 'b';    // value: b(inary), n(ocase), r(trim), c(olumn's own)
};

// By rowid, of rows; by distance, of neighbours. `farthest_first` is asked for, and SQLite sorts.
enum class RowOrder : char { none = '-', ascending = 'a', descending = 'd', nearest_first = 'n', farthest_first = 'f' };

struct Plan {
    std::vector<Term> terms;  // in the order of xFilter's values
    RowOrder order = RowOrder::none;

    // The term that asks for neighbours, if any.
    [[nodiscard]] const Term* nearest() const;
    // Whether a plan without a search asks for k, recall or distances, which no row has.
    [[nodiscard]] bool has_search_terms() const;

    [[nodiscard]] std::string encode(const Schema& schema) const;
    static Status decode(std::string_view text, Plan& out);
};

// xBestIndex. SQLITE_CONSTRAINT as sqlite_code means: this combination cannot be used, try another.
Status best_index(const Schema& schema, std::string_view words, sqlite3_index_info* info);

// The function codes that xFindFunction gives to vss_search and vss_range_search.
inline constexpr int search_function_op = SQLITE_INDEX_CONSTRAINT_FUNCTION;
inline constexpr int range_search_function_op = SQLITE_INDEX_CONSTRAINT_FUNCTION + 1;

// Whether values of the column become numbers where they look like numbers (INTEGER, REAL and NUMERIC affinity).
[[nodiscard]] bool has_numeric_affinity(const Column& column);

// "=", "<", "like", ... ; "is null" forms take no value on the right.
[[nodiscard]] std::string_view operator_words(int op);
[[nodiscard]] bool takes_value(int op);

}  // namespace vss
