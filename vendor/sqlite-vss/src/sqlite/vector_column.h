// From an SQL value to the bytes of one vector of a column.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "storage/schema.h"
#include "storage/sqlite_api.h"

namespace vss {

// Reads a blob (of the column's element type, or of float32) or a JSON array, and checks it: dimensions, finite,
// not zero under cosine. `words` (table "t", column "a") begins a message. `out` points into the value or into
// `storage`, and holds as long as both.
Status read_vector(sqlite3_value* value, const Column& column, std::string_view words, std::vector<std::byte>& storage,
                   std::span<const std::byte>& out);

// The recall of a search that asks for `asked`; 0: it asks for none. The column's own default goes before the
// process's.
[[nodiscard]] double wanted_recall(const Column& column, double asked);

// "integer", "real", "text", "blob", "null"
[[nodiscard]] std::string_view type_words(sqlite3_value* value);

}  // namespace vss
