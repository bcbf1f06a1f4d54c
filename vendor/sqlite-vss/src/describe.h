// SQL functions about tables rather than values:
//   vss_describe(table [, schema])         what a vss0 table is, as JSON; NULL where there is none
//   vss_count(table, column [, schema])    how many vectors a column holds
#pragma once

#include <string>

#include "schema.h"
#include "sqlite_api.h"

namespace vss {

// {"columns": [{"name": "a", "kind": "vector", "dim": 384, "type": "float32", "metric": "L2"}, ...]}
[[nodiscard]] std::string describe(const Schema& schema);

int register_describe(sqlite3* db);

}  // namespace vss
