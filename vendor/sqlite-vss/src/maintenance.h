// The vss0 tables that a connection has open, and the SQL functions that look after them:
//   vss_check(table [, schema])    'ok', or what is wrong, one line each
//   vss_repair(table [, schema])   mends what can be mended and says what was done and what is lost, one line each;
//                                  'ok' if there was nothing to do
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "functions.h"
#include "sqlite_api.h"
#include "table.h"

namespace vss {

class OpenTables {
  public:
    void add(Table* table) { tables_.push_back(table); }
    void remove(Table* table) { std::erase(tables_, table); }
    [[nodiscard]] Table* find(std::string_view schema, std::string_view table) const;

  private:
    std::vector<Table*> tables_;
};

// Opening a table makes SQLite connect it, if it has not yet.
Status open_table(sqlite3* db, const OpenTables& tables, const std::string& schema, const std::string& table,
                  Table*& out);

// A SQL function about open tables: its body finds them with open_tables(context).
template <auto Body>
int register_table_function(sqlite3* db, const char* name, int argc, const std::shared_ptr<OpenTables>& tables) {
    return register_function<Body>(
        db, name, argc, SQLITE_DIRECTONLY, std::make_unique<std::shared_ptr<OpenTables>>(tables).release(),
        [](void* data) {
            const std::unique_ptr<std::shared_ptr<OpenTables>> owned(static_cast<std::shared_ptr<OpenTables>*>(data));
        });
}
[[nodiscard]] const OpenTables& open_tables(sqlite3_context* context);

// At most this many lines are told.
inline constexpr std::size_t most_findings = 100;

// Lines of check() or repair(), joined; empty if there are none.
Status check_text(Table& table, std::string& out);

int register_maintenance(sqlite3* db, const std::shared_ptr<OpenTables>& tables);

}  // namespace vss
