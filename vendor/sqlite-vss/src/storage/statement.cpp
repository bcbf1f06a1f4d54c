#include "storage/statement.h"

#include <cassert>

#include "base/parallel.h"
#include "base/text.h"
#include "storage/schema.h"

namespace vss {
namespace {

// The connection is another thread's, which is using it.
Status not_here() {
    assert(!"a statement is used on a helper's thread");
    return {Code::internal, "a thread that may not ask the tables does"};
}

}  // namespace

Status sqlite_error(sqlite3* db, int rc, std::string_view doing) {
    const int primary = rc & 0xff;
    if (db != nullptr && (sqlite3_errcode(db) & 0xff) == primary) {
        rc = sqlite3_extended_errcode(db);
    }
    const Code code = primary == SQLITE_NOMEM        ? Code::no_memory
                      : primary == SQLITE_INTERRUPT  ? Code::interrupted
                      : primary == SQLITE_CONSTRAINT ? Code::constraint
                      : primary == SQLITE_TOOBIG     ? Code::too_big
                      : primary == SQLITE_CORRUPT    ? Code::corrupt
                                                     : Code::io;
    const char* message = db != nullptr && sqlite3_errcode(db) != SQLITE_OK ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
    // A broken constraint is the user's to read, and the statement behind it is not.
    return {code, code == Code::constraint ? std::string(message) : cat(doing, ": ", message), rc};
}

Status Statement::prepare(sqlite3* db, const std::string& sql, bool persistent) {
    return prepare_flagged(db, sql, SQLITE_PREPARE_NO_VTAB | (persistent ? SQLITE_PREPARE_PERSISTENT : 0U));
}

Status Statement::prepare_with_virtual_tables(sqlite3* db, const std::string& sql) {
    return prepare_flagged(db, sql, 0);
}

Status Statement::prepare_flagged(sqlite3* db, const std::string& sql, unsigned flags) {
    if (!HelperThread::may_use(db)) {
        return not_here();
    }
    if (handle_ != nullptr) {
        return Status::ok();
    }
    sqlite3_stmt* statement = nullptr;
    const int rc = sqlite3_prepare_v3(db, sql.data(), static_cast<int>(sql.size()), flags, &statement, nullptr);
    handle_.reset(statement);
    if (rc != SQLITE_OK) {
        return sqlite_error(db, rc, cat("preparing [", sql, "]"));
    }
    return Status::ok();
}

void Statement::bind_text(int i, std::string_view text) {
    sqlite3_bind_text(handle_.get(), i, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
}

void Statement::bind_blob(int i, std::span<const std::byte> bytes) {
    sqlite3_bind_blob64(handle_.get(), i, bytes.data(), bytes.size(), SQLITE_STATIC);
}

Status Statement::step(bool& row) {
    if (!HelperThread::may_use(sqlite3_db_handle(handle_.get()))) {
        row = false;
        return not_here();
    }
    const int rc = sqlite3_step(handle_.get());
    row = rc == SQLITE_ROW;
    if (row) {
        return Status::ok();
    }
    if (rc == SQLITE_DONE) {
        reset();
        return Status::ok();
    }
    // Also where there is no memory for the message: a statement that is not reset would ignore its next bindings.
    const ResetAtEnd guard(*this);
    return sqlite_error(sqlite3_db_handle(handle_.get()), rc, sqlite3_sql(handle_.get()));
}

Status Statement::run() {
    for (bool row = true; row;) {
        VSS_TRY(step(row));
    }
    return Status::ok();
}

std::span<const std::byte> Statement::blob(int i) const {
    // sqlite3_column_bytes after sqlite3_column_blob, as SQLite's manual asks.
    const void* data = sqlite3_column_blob(handle_.get(), i);
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(handle_.get(), i));
    return {static_cast<const std::byte*>(data), data == nullptr ? 0 : size};
}

std::string_view Statement::text(int i) const {
    const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(handle_.get(), i));
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(handle_.get(), i));
    return data == nullptr ? std::string_view() : std::string_view(data, size);
}

Status execute(sqlite3* db, const std::string& sql) {
    Statement statement;
    VSS_TRY(statement.prepare(db, sql, false));
    return statement.run();
}

Status Snapshot::hold(sqlite3* db, const std::string& schema) {
    const Status status =
        statement_.prepare(db, cat("select 1 from ", quote_identifier(schema), ".sqlite_master"), false);
    if (status.extended_code() == SQLITE_ERROR) {
        return Status::ok();
    }
    VSS_TRY(status);
    bool row = false;
    return statement_.step(row);  // and stays there
}

Status Savepoint::begin(sqlite3* db, const std::string& name, const std::string& writing) {
    db_ = db;
    // All that undoing needs is there before anything is done: an interrupted connection prepares nothing.
    VSS_TRY(rollback_.prepare(db, "rollback to " + name, false));
    VSS_TRY(release_.prepare(db, "release " + name, false));
    VSS_TRY(writing_.prepare(db, writing, false));
    Statement savepoint;
    VSS_TRY(savepoint.prepare(db, "savepoint " + name, false));
    VSS_TRY(savepoint.run());
    is_open_ = true;
    return Status::ok();
}

Status Savepoint::end(Status status) {
    if (status.is_ok()) {
        status = release_.run();
        if (status.is_ok()) {
            is_open_ = false;
            return status;
        }
    }
    const Status undone = undo();
    return undone.is_ok() ? status : undone;
}

Savepoint::~Savepoint() {
    if (is_open_) {
        static_cast<void>(undo());
    }
}

Status Savepoint::undo() {
    is_open_ = false;
    Status status;
    constexpr int tries = 4;  // of a progress handler that interrupts now and then
    for (int i = 0; i < tries; ++i) {
        if (sqlite3_get_autocommit(db_) != 0) {
            return Status::ok();  // SQLite has rolled back the whole transaction
        }
        status = rollback_.run();
        if (status.is_ok()) {
            status = release_.run();
        }
        if (status.is_ok() || status.code() != Code::interrupted) {
            return status;
        }
        static_cast<void>(writing_.run());
    }
    return sqlite3_get_autocommit(db_) != 0 ? Status::ok() : status;
}

bool is_writing(sqlite3* db) {
    for (sqlite3_stmt* at = sqlite3_next_stmt(db, nullptr); at != nullptr; at = sqlite3_next_stmt(db, at)) {
        if (sqlite3_stmt_busy(at) != 0 && sqlite3_stmt_readonly(at) == 0) {
            return true;
        }
    }
    return false;
}

}  // namespace vss
