// What the library says of itself.
#include "base/cache.h"
#include "base/text.h"
#include "kernels/cpu.h"
#include "sqlite/functions/functions.h"

namespace vss {
namespace {

using Arguments = std::span<sqlite3_value*>;

Status version(sqlite3_context* context, Arguments /*arguments*/) {
    set_result(context, "v" VSSNATIVE_VERSION);
    return Status::ok();
}

Status debug(sqlite3_context* context, Arguments /*arguments*/) {
    set_result(context, cat("version: v" VSSNATIVE_VERSION "\nsqlite version: ", sqlite3_libversion(),
                            "\ninstruction level: ", name_of(simd_level())));
    return Status::ok();
}

// Bytes that decoded vectors and codes take in this process, over all its databases.
Status memory_usage(sqlite3_context* context, Arguments /*arguments*/) {
    sqlite3_result_int64(context, static_cast<sqlite3_int64>(Cache::instance().used()));
    return Status::ok();
}

// sqlite-vector hands its C interface out through this function's pointer argument; like there, any other argument
// gives NULL. Other extensions use the functions instead.
Status vector0(sqlite3_context* /*context*/, Arguments /*arguments*/) {
    return Status::ok();
}

}  // namespace

int register_about_functions(sqlite3* db) {
    int rc = register_function<&version>(db, "vss_version", 0);
    rc = rc == SQLITE_OK ? register_function<&version>(db, "vector_version", 0) : rc;
    rc = rc == SQLITE_OK ? register_function<&debug>(db, "vss_debug", 0, SQLITE_INNOCUOUS) : rc;
    rc = rc == SQLITE_OK ? register_function<&memory_usage>(db, "vss_memory_usage", 0, SQLITE_DIRECTONLY) : rc;
    rc = rc == SQLITE_OK ? register_function<&vector0>(db, "vector0", 1) : rc;
    return rc;
}

}  // namespace vss
