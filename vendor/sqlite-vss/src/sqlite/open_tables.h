// The vss0 tables that a connection has open. An old object of a table may live on beside a new one, after a change of
// the schema.
//
// Threads: like the connection.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/cache.h"
#include "base/random.h"
#include "sqlite/table.h"

namespace vss {

class OpenTables {
  public:
    void add(const std::shared_ptr<Table>& table) { tables_.push_back(table); }
    void remove(const Table* table);
    // The newest of that name.
    [[nodiscard]] std::shared_ptr<Table> find(std::string_view schema, std::string_view table) const;
    // Writes what other objects of the same table have gathered.
    Status flush_others(const Table& table) const;

    // Which database a schema of this connection is: the same for every connection to one file.
    [[nodiscard]] std::string database(sqlite3* db, const char* schema) const;

  private:
    std::vector<std::weak_ptr<Table>> tables_;
    std::uint64_t connection_ = random_version();  // of databases without a file
};

}  // namespace vss
