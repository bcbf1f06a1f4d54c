// From the constraints of a plan to SQL over t_rows, and from there to the set of rows that a search may return.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "index/search_request.h"
#include "sqlite/parameters.h"
#include "sqlite/plan.h"
#include "sqlite/search_reading.h"
#include "sqlite/table.h"

namespace vss {

// " where ..." over t_rows for the plan's rowid and value terms (empty where there are none), with a `?` for each
// value, in the order of `terms`. Lists are not among them.
struct RowsCondition {
    std::string sql;
    std::vector<std::size_t> terms;  // those whose value is to be bound, in order
};
// How the terms were written; without a text each could have been written in any way, and the condition lets pass what
// any of them would. SQLite looks once more.
struct TermsAsWritten {
    std::span<const TermReading> readings;  // one for each term, or empty
    std::span<const char> left_out;         // not 0: the term is not asked for; or empty
};
// The values of an IN list, all at once.
struct ValueList {
    std::size_t column = 0;
    char collation = 'b';
    bool is_plain = false;  // nothing has an affinity of its own
    std::vector<KeptValue> values;
};
Status read_value_list(const Term& term, sqlite3_value* list, const TermReading& reading, ValueList& out);
[[nodiscard]] bool is_number(sqlite3_value* value);
// `column in (?, ...)` for values [first, last), which are appended to `bound` as the marks want them.
std::string list_condition(const Schema& schema, const ValueList& list, std::size_t first, std::size_t last,
                           std::vector<const KeptValue*>& bound);

RowsCondition rows_condition(const Schema& schema, const Plan& plan, std::span<sqlite3_value*> values,
                             const TermsAsWritten& written);

// With k nobody may take rows away afterwards. How a column of text compares with a number, or with text that may come
// from a column of numbers, depends on the type of the expression beside it, which SQLite does not tell. Refused where
// there are rows for which it matters.
Status refuse_doubts(Table& table, const Plan& plan, std::span<sqlite3_value*> values, const TermsAsWritten& written);

// Fills request.filter.allowed, and request.members where they are at hand or few. `vector`: the column searched;
// `rows`: a JSON array of rowids that limits the search too, or nullptr; `among`: SQL that limits it further.
Status build_row_filter(Table& table, const Plan& plan, std::span<sqlite3_value*> values, const TermsAsWritten& written,
                        std::size_t vector, sqlite3_value* rows, const std::string& among, SearchRequest& request);

}  // namespace vss
