// vss_buffer(ticket): the rows of a registered buffer (registry.h) as a table (id, vector), in order, without a copy.
#pragma once

#include "storage/sqlite_api.h"

namespace vss {

int register_buffer_table(sqlite3* db);

}  // namespace vss
