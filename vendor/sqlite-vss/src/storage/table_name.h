// Names of a table and of its own tables, for SQL and for messages.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "storage/schema.h"
#include "storage/statement.h"

namespace vss {

// Where a table lives, as its layers need it.
struct TableName {
    sqlite3* db = nullptr;
    std::string schema;  // "main", "temp", an attached name
    std::string table;

    std::string database;  // which database it is, for the process's cache; empty: nobody else's

    // "schema"."table_suffix"
    [[nodiscard]] std::string shadow(std::string_view suffix) const;
    // table "t"
    [[nodiscard]] std::string words() const;
    // table "t", column "a"
    [[nodiscard]] std::string words(const Column& column) const;
    // Prepares SQL to one of the table's own tables; where that is missing, says so and what helps.
    Status prepare(Statement& statement, const std::string& sql) const;
};

}  // namespace vss
