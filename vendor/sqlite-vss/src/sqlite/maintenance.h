// The SQL functions that look after tables:
//   vss_check(table [, schema])    'ok', or what is wrong, one line each
//   vss_repair(table [, schema])   mends what can be mended and says what was done and what is lost, one line each;
//                                  'ok' if there was nothing to do
//   vss_upgrade(table [, schema [, function]])  makes this version's tables of what sqlite-vss 0.1.2 wrote
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sqlite/functions/functions.h"
#include "sqlite/open_tables.h"
#include "sqlite/table.h"
#include "storage/sqlite_api.h"

namespace vss {

// A table for the length of a SQL function, whatever becomes of the schema meanwhile.
class HeldTable {
  public:
    // For reading: all that is read of the schema's file while it is held is of one state.
    Status hold(sqlite3_context* context, const std::string& schema, const std::string& table);
    // For writing, inside the transaction.
    Status hold_for_writing(sqlite3_context* context, const std::string& schema, const std::string& table);
    [[nodiscard]] Table& operator*() const { return *table_; }

  private:
    Status find(sqlite3_context* context, const std::string& schema, const std::string& table);

    Snapshot snapshot_;
    std::shared_ptr<Table> table_;
    std::optional<Table::Work> work_;
};

// SQL that changes nothing and needs the right to write.
[[nodiscard]] std::string writing_nothing(const std::string& schema, const std::string& table);
// Waits for the right to write, as the busy handler says. A transaction that has read something cannot wait any more,
// so a function that reads before it writes begins with this.
Status begin_writing(sqlite3* db, const std::string& schema, const std::string& table);
// `old_too`: it also works on what sqlite-vss 0.1.2 wrote.
// A function that changes the table cannot run inside a statement that writes, nor while the table is being read.
Status refuse_inside_statements(sqlite3_context* context, const std::string& function, const std::string& schema,
                                const std::string& table, bool old_too = false);

// Runs `body`, which gets the table and gives a Status, so that all of its changes are made or none, and written when
// it ends. `function`, for messages, and as the name of a savepoint.
template <class Body>
Status change_table(sqlite3_context* context, const std::string& function, const std::string& schema,
                    const std::string& table, Body body) {
    sqlite3* db = sqlite3_context_db_handle(context);
    VSS_TRY(refuse_inside_statements(context, function, schema, table));
    return in_savepoint(db, function, writing_nothing(schema, table), [&] {
        VSS_TRY(begin_writing(db, schema, table));
        HeldTable held;
        VSS_TRY(held.hold_for_writing(context, schema, table));
        const Table::DiscardAtEnd discard(*held);
        VSS_TRY(body(*held));
        return (*held).flush();
    });
}

// A SQL function about open tables: its body finds them by its context.
template <auto Body>
int register_table_function(sqlite3* db, const char* name, int argc, const std::shared_ptr<OpenTables>& tables) {
    return register_function<Body>(
        db, name, argc, SQLITE_DIRECTONLY, std::make_unique<std::shared_ptr<OpenTables>>(tables).release(),
        [](void* data) {
            const std::unique_ptr<std::shared_ptr<OpenTables>> owned(static_cast<std::shared_ptr<OpenTables>*>(data));
        });
}

// At most this many lines are told.
inline constexpr std::size_t most_findings = 100;

// Lines of check() or repair(), joined; empty if there are none.
Status check_text(Table& table, std::string& out);

int register_maintenance(sqlite3* db, const std::shared_ptr<OpenTables>& tables);

}  // namespace vss
