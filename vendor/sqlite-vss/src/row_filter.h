// From the constraints of a plan to SQL over t_rows, and from there to the set of rows that a search may return.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "exact_search.h"
#include "plan.h"
#include "table.h"

namespace vss {

// " where ..." over t_rows for the plan's rowid and value terms (empty where there are none), with a `?` for each
// value, in the order of the terms. Lists are not among them.
struct RowsCondition {
    std::string sql;
    std::vector<std::size_t> terms;  // those whose value is to be bound, in order
};
RowsCondition rows_condition(const Schema& schema, const Plan& plan);

// Fills request.filter.allowed, and request.members where they are at hand or few. `vector`: the column searched;
// `rows`: a JSON array of rowids that limits the search too, or nullptr.
Status build_row_filter(Table& table, const Plan& plan, std::span<sqlite3_value*> values, std::size_t vector,
                        sqlite3_value* rows, SearchRequest& request);

}  // namespace vss
