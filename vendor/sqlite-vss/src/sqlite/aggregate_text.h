// What the text of a SQL statement says of aggregates over a vector column: SQLite's avg(), sum() and total() take a
// vector, a blob, for the number 0 and say nothing. No SQLite in here.
#pragma once

#include <string>
#include <string_view>

#include "sqlite/search_text.h"

namespace vss {

// Whether one of these words is in the text at all.
[[nodiscard]] bool may_sum_vectors(std::string_view sql);
// A vector column of the table that stands alone in such a function, in a SELECT from the table; empty: none does.
[[nodiscard]] std::string summed_vector(std::string_view sql, const TableWords& table);

}  // namespace vss
