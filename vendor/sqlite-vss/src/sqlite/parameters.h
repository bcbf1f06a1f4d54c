// Values that SQL hands to a search by pointer: vss_search_params(...), vss_range_search_params(...), vss_batch(...).
#pragma once

#include <cstdint>
#include <memory>

#include "index/search_settings.h"
#include "storage/sqlite_api.h"

namespace vss {

struct KeptValueDeleter {
    const sqlite3_api_routines* api = nullptr;
    void operator()(sqlite3_value* value) const {
        const ApiScope scope(api);
        sqlite3_value_free(value);
    }
};

// A copy of an SQL value that outlives the statement's register.
class KeptValue {
  public:
    // Nothing, or out of memory.
    KeptValue() = default;
    explicit KeptValue(sqlite3_value* value) : value_(sqlite3_value_dup(value), KeptValueDeleter{sqlite3_api}) {}
    [[nodiscard]] sqlite3_value* get() const { return value_.get(); }

  private:
    std::unique_ptr<sqlite3_value, KeptValueDeleter> value_;
};

struct SearchParameters {
    KeptValue query;
    std::int64_t k = 0;
    double recall = -1;  // negative: the table's default
    KeptValue rows;      // a JSON array of the rowids that may be found; none: any
    SearchSettings settings;
};

struct RangeParameters {
    KeptValue query;
    double distance = 0;
};

struct BatchParameters {
    std::int64_t ticket = 0;
    KeptValue rows;  // as above
    SearchSettings settings;
};

inline constexpr const char* search_pointer = "vss_search_params";
inline constexpr const char* range_pointer = "vss_range_search_params";
inline constexpr const char* batch_pointer = "vss_batch";

// vss_search and vss_range_search where the planner could not hand the condition to the table: an error in words.
void refuse_search(sqlite3_context* context, int argc, sqlite3_value** argv);

// Registers the functions that make them, and the conditions vss_search and vss_range_search, on `db`.
int register_parameters(sqlite3* db);

}  // namespace vss
