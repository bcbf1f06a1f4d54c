// What SQLite calls of a virtual table: no exception leaves, and what went wrong is said where SQLite looks for it.
#pragma once

#include <exception>
#include <new>
#include <string>

#include "base/status.h"
#include "base/text.h"
#include "storage/sqlite_api.h"

namespace vss {

inline void set_error(char** error, const std::string& message) {
    sqlite3_free(*error);
    *error = message.empty() ? nullptr : sqlite3_mprintf("%s", message.c_str());
}

// Runs `body` (which gives a Status) for a library's callback: the api table in force, no exception out.
template <class Body>
int guarded(const sqlite3_api_routines* api, char** error, Body body) {
    const ApiScope scope(api);
    try {
        const Status status = body();
        if (!status.is_ok()) {
            set_error(error, status.message());
        }
        // SQLite looks for the plain code to apply the statement's conflict clause.
        const int rc = status.sqlite_code();
        return (rc & 0xff) == SQLITE_CONSTRAINT ? SQLITE_CONSTRAINT : rc;
    } catch (const std::bad_alloc&) {
        return SQLITE_NOMEM;
    } catch (const std::exception& exception) {
        set_error(error, cat("vss0: ", exception.what()));
        return SQLITE_ERROR;
    } catch (...) {
        return SQLITE_ERROR;
    }
}

}  // namespace vss
