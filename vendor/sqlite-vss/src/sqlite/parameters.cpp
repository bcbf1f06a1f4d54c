#include "sqlite/parameters.h"

#include <new>
#include <string_view>

#include "base/text.h"
#include "sqlite/functions/functions.h"

namespace vss {
namespace {

template <class Parameters>
void result_pointer(sqlite3_context* context, std::unique_ptr<Parameters> parameters, const char* name) {
    sqlite3_result_pointer(context, parameters.release(), name,
                           [](void* data) { const std::unique_ptr<Parameters> owned(static_cast<Parameters*>(data)); });
}

void fail(sqlite3_context* context, const std::string& message) {
    sqlite3_result_error(context, message.data(), static_cast<int>(message.size()));
}

template <class Parameters>
std::unique_ptr<Parameters> make(sqlite3_context* context) {
    std::unique_ptr<Parameters> parameters(new (std::nothrow) Parameters());
    if (parameters == nullptr) {
        sqlite3_result_error_nomem(context);
    }
    return parameters;
}

// Keeps the JSON array of rowids, if there is one; false after an error.
bool keep_rows(sqlite3_context* context, sqlite3_value* value, KeptValue& out) {
    if (sqlite3_value_type(value) == SQLITE_NULL) {
        return true;
    }
    if (sqlite3_value_type(value) != SQLITE_TEXT) {
        fail(context, "expected the rows to search among as a JSON array of rowids");
        return false;
    }
    out = KeptValue(value);
    if (out.get() == nullptr) {
        sqlite3_result_error_nomem(context);
        return false;
    }
    return true;
}

// "nprobe=16", or NULL for none; false after an error.
bool keep_settings(sqlite3_context* context, sqlite3_value* value, SearchSettings& out) {
    if (sqlite3_value_type(value) == SQLITE_NULL) {
        return true;
    }
    const Status status = sqlite3_value_type(value) == SQLITE_TEXT
                              ? parse_search_settings(text_of(value), out)
                              : Status::invalid("expected search settings as a text such as 'nprobe=16'");
    if (!status.is_ok()) {
        fail(context, status.message());
    }
    return status.is_ok();
}

// Whether a value that may be something else is a text of settings: no number, and no JSON array.
bool is_settings(sqlite3_value* value) {
    return sqlite3_value_type(value) == SQLITE_TEXT && sqlite3_value_numeric_type(value) == SQLITE_TEXT &&
           text_of(value).find('=') != std::string::npos;
}

// vss_search_params(vector, k [, recall [, rows]] [, settings])
void search_params(sqlite3_context* context, int argc, sqlite3_value** argv) {
    if (sqlite3_value_numeric_type(argv[1]) != SQLITE_INTEGER || sqlite3_value_int64(argv[1]) < 0) {
        fail(context, cat("Limit must be greater than 0, got ", sqlite3_value_int64(argv[1]),
                          ": vss_search_params(vector, k): expected k as an integer of 0 or more"));
        return;
    }
    // The last one may be settings, whatever may be left out before it.
    const bool has_settings = argc == 5 || (argc >= 3 && is_settings(argv[argc - 1]));
    const int others = argc - (has_settings ? 1 : 0);
    double recall = -1;
    if (others >= 3 && sqlite3_value_type(argv[2]) != SQLITE_NULL) {
        recall = sqlite3_value_double(argv[2]);
        if (!(recall > 0 && recall <= 1)) {
            fail(context, "vss_search_params(vector, k, recall): expected recall above 0 and at most 1");
            return;
        }
    }
    if (auto parameters = make<SearchParameters>(context)) {
        parameters->query = KeptValue(argv[0]);
        parameters->k = sqlite3_value_int64(argv[1]);
        parameters->recall = recall;
        if (parameters->query.get() == nullptr) {
            sqlite3_result_error_nomem(context);
            return;
        }
        if ((others == 4 && !keep_rows(context, argv[3], parameters->rows)) ||
            (has_settings && !keep_settings(context, argv[argc - 1], parameters->settings))) {
            return;
        }
        result_pointer(context, std::move(parameters), search_pointer);
    }
}

// vss_range_search_params(vector, distance)
void range_params(sqlite3_context* context, int /*argc*/, sqlite3_value** argv) {
    const int type = sqlite3_value_numeric_type(argv[1]);
    if (type != SQLITE_INTEGER && type != SQLITE_FLOAT) {
        fail(context, "vss_range_search_params(vector, distance): expected distance as a number");
        return;
    }
    if (auto parameters = make<RangeParameters>(context)) {
        parameters->query = KeptValue(argv[0]);
        parameters->distance = sqlite3_value_double(argv[1]);
        if (parameters->query.get() == nullptr) {
            sqlite3_result_error_nomem(context);
            return;
        }
        result_pointer(context, std::move(parameters), range_pointer);
    }
}

// vss_batch(ticket [, rows [, settings]]): see include/vss0.h
void batch(sqlite3_context* context, int argc, sqlite3_value** argv) {
    if (auto parameters = make<BatchParameters>(context)) {
        parameters->ticket = sqlite3_value_int64(argv[0]);
        if ((argc >= 2 && !keep_rows(context, argv[1], parameters->rows)) ||
            (argc == 3 && !keep_settings(context, argv[2], parameters->settings))) {
            return;
        }
        result_pointer(context, std::move(parameters), batch_pointer);
    }
}

}  // namespace

void refuse_search(sqlite3_context* context, int /*argc*/, sqlite3_value** /*argv*/) {
    constexpr std::string_view message =
        "vss_search and vss_range_search are conditions of a where clause, joined to others by \"and\"";
    sqlite3_result_error(context, message.data(), static_cast<int>(message.size()));
}

int register_parameters(sqlite3* db) {
    int rc = SQLITE_OK;
    for (const int argc : {2, 3, 4, 5}) {
        if (rc == SQLITE_OK) {
            rc = register_scalar<&search_params>(db, "vss_search_params", argc, SQLITE_INNOCUOUS);
        }
    }
    if (rc == SQLITE_OK) {
        rc = register_scalar<&range_params>(db, "vss_range_search_params", 2, SQLITE_INNOCUOUS);
    }
    for (const int argc : {1, 2, 3}) {
        if (rc == SQLITE_OK) {
            rc = register_scalar<&batch>(db, "vss_batch", argc, SQLITE_DIRECTONLY);
        }
    }
    // Not by sqlite3_overload_function(): its functions are not innocuous, and so could not be used in views and
    // triggers of a schema that is not trusted.
    for (const char* name : {"vss_search", "vss_range_search"}) {
        if (rc == SQLITE_OK) {
            rc = register_scalar<&refuse_search>(db, name, 2, SQLITE_INNOCUOUS);
        }
    }
    return rc;
}

}  // namespace vss
