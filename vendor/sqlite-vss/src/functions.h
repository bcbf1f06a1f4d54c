// The SQL functions that work on vectors as values: distances, arithmetic, conversions.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "sqlite_api.h"
#include "status.h"

namespace vss {

// Registers every scalar function and table-valued function of functions_*.cpp on `db`; returns a SQLite code.
int register_functions(sqlite3* db);

// A vector argument of a SQL function. Aligned for float, whatever the address of the blob was.
class VectorArgument {
  public:
    [[nodiscard]] std::span<const float> values() const { return values_; }
    [[nodiscard]] std::size_t size() const { return values_.size(); }

  private:
    friend Status read_vector_argument(sqlite3_value* value, std::string_view what, VectorArgument& out);

    std::span<const float> values_;  // into the SQL value (valid while it is) or into storage_
    std::vector<float> storage_;
};

// Reads a float32 blob, JSON text, or what vector_from() returns. Elements are finite. `what` ("vss_length: first
// argument") begins the message of an error.
Status read_vector_argument(sqlite3_value* value, std::string_view what, VectorArgument& out);

}  // namespace vss
