#include "functions.h"

#include <cstdint>
#include <cstring>

#include "kernels.h"
#include "text.h"
#include "types.h"
#include "vector_value.h"

namespace vss {

Status read_vector_argument(sqlite3_value* value, std::string_view what, VectorArgument& out) {
    out.storage_.clear();
    out.values_ = {};
    return Status::invalid(cat(what, ": not yet"));
}

int register_functions(sqlite3* /*db*/) {
    return SQLITE_OK;
}

}  // namespace vss
