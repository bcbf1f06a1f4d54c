#include "base/status.h"

#include <sqlite3.h>

namespace vss {

int Status::sqlite_code() const {
    if (code_ != Code::ok && sqlite_code_ != SQLITE_OK) {
        return sqlite_code_;  // SQLite's own word, extended codes included
    }
    switch (code_) {
        case Code::ok: return SQLITE_OK;
        case Code::invalid:
        case Code::unsupported: return SQLITE_ERROR;
        case Code::constraint: return SQLITE_CONSTRAINT;
        case Code::corrupt: return SQLITE_CORRUPT_VTAB;
        case Code::io: return SQLITE_IOERR;
        case Code::no_memory: return SQLITE_NOMEM;
        case Code::too_big: return SQLITE_TOOBIG;
        case Code::interrupted: return SQLITE_INTERRUPT;
        case Code::internal: return SQLITE_INTERNAL;
    }
    return SQLITE_INTERNAL;
}

}  // namespace vss
