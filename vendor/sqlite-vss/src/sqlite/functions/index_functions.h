// SQL functions about the index of a column, each giving JSON text:
//   vss_stats(table, column)                       what the index holds and has learned, the process's cache
//   vss_explain(table, column, vector, k, recall)  what a search looks at, its time by stage, the recall it reaches
//   vss_measure_recall(table, column, queries, k, recall)  the recall that searches reach, beside exact ones: `queries`
//                                                  is a blob of vectors, or NULL for the column's own rows left out
//   vss_optimize(table, column, start)             clusters some neighbourhoods again, from cell `start` on; "next" is
//                                                  where to go on, or null at the end
//   vss_rebuild(table, column)                     clusters all rows again
//   vss_export_index(table, column)                the index as other programs read it, with rowids: a blob
//   vss_relearn(table, column)                     measures again what a recall needs
//   vss_set_index(table, column, kind)             gives the column another kind of index: 'flat' (exact), 'cells', ...
// A schema may follow; without it the table is found as SQLite finds it.
#pragma once

#include <memory>

#include "sqlite/maintenance.h"

namespace vss {

int register_index_functions(sqlite3* db, const std::shared_ptr<OpenTables>& tables);

}  // namespace vss
