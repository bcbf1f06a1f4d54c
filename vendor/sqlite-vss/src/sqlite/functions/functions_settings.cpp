// vss_setting(name): a setting of the process. vss_setting(name, value): changes it, and gives the new one.
#include <cmath>

#include "base/cache.h"
#include "base/settings.h"
#include "base/text.h"
#include "sqlite/functions/functions.h"

namespace vss {
namespace {

using Arguments = std::span<sqlite3_value*>;

constexpr int most_threads = 256;

Status set_memory(sqlite3_value* value) {
    const std::optional<std::uint64_t> bytes =
        sqlite3_value_type(value) == SQLITE_NULL ? std::nullopt : parse_bytes(text_of(value));
    if (!bytes) {
        return Status::invalid("vss_setting: expected memory as a number of bytes, or text like '256MB', got " +
                               described(value));
    }
    Cache::instance().set_budget(*bytes);
    return Status::ok();
}

Status set_thread_count(sqlite3_value* value) {
    const std::int64_t count = sqlite3_value_int64(value);
    if (sqlite3_value_numeric_type(value) != SQLITE_INTEGER || count < 0 || count > most_threads) {
        return Status::invalid(cat("vss_setting: expected threads as an integer from 0 (one for each core) to ",
                                   most_threads, ", got ",
                                   sqlite3_value_type(value) == SQLITE_INTEGER ? cat(count) : described(value)));
    }
    set_threads(static_cast<int>(count));
    return Status::ok();
}

Status set_recall(sqlite3_value* value) {
    const int type = sqlite3_value_numeric_type(value);
    const double recall = sqlite3_value_double(value);
    if ((type != SQLITE_INTEGER && type != SQLITE_FLOAT) || !(recall > 0 && recall <= 1)) {
        return Status::invalid(cat("vss_setting: expected recall above 0 and at most 1, got ",
                                   type == SQLITE_INTEGER || type == SQLITE_FLOAT ? cat(recall) : described(value)));
    }
    set_default_recall(recall);
    return Status::ok();
}

Status setting(sqlite3_context* context, Arguments arguments) {
    const std::string name = text_of(arguments[0]);
    sqlite3_value* const value = arguments.size() > 1 ? arguments[1] : nullptr;
    if (name == "memory") {
        VSS_TRY(value == nullptr ? Status::ok() : set_memory(value));
        sqlite3_result_int64(context, static_cast<sqlite3_int64>(Cache::instance().budget()));
    } else if (name == "threads") {
        VSS_TRY(value == nullptr ? Status::ok() : set_thread_count(value));
        sqlite3_result_int64(context, threads());
    } else if (name == "recall") {
        VSS_TRY(value == nullptr ? Status::ok() : set_recall(value));
        sqlite3_result_double(context, default_recall());
    } else {
        return Status::invalid(cat("vss_setting: expected memory, threads or recall, got \"", name, '"'));
    }
    return Status::ok();
}

}  // namespace

int register_settings_function(sqlite3* db) {
    // Neither deterministic nor for the schema of an untrusted file.
    const int rc = register_function<&setting>(db, "vss_setting", 1, SQLITE_DIRECTONLY);
    return rc == SQLITE_OK ? register_function<&setting>(db, "vss_setting", 2, SQLITE_DIRECTONLY) : rc;
}

}  // namespace vss
