// SQL functions about tables rather than values:
//   vss_describe(table [, schema])         what a vss0 table is, as JSON; NULL where there is none
//   vss_count(table, column [, schema])    how many vectors a column holds: kept, not counted
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "storage/schema.h"
#include "storage/sqlite_api.h"

namespace vss {

class OpenTables;

// {"columns": [{"name": "a", "kind": "vector", "dim": 384, "type": "float32", "metric": "L2"}, ...]}
[[nodiscard]] std::string describe(const Schema& schema);

// The schema that a function's argument names; where it names none (nullptr, NULL), the one in which SQLite finds the
// table: temp before main before attached ones, and main where there is no such table.
Status schema_argument(sqlite3* db, sqlite3_value* given, const std::string& table, std::string& out);

int register_describe(sqlite3* db, const std::shared_ptr<OpenTables>& tables);

}  // namespace vss
