// SQLite statements and blobs as values that clean up after themselves.
//
// Threads: like the connection they belong to. Lifetime: before the connection closes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "storage/sqlite_api.h"

namespace vss {

// What the connection says of the last failed call, as a Status that keeps SQLite's result code.
[[nodiscard]] Status sqlite_error(sqlite3* db, int rc, std::string_view doing);

struct StatementDeleter {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};

// A prepared statement, prepared on first use and kept.
class Statement {
  public:
    Statement() = default;

    [[nodiscard]] bool is_prepared() const { return handle_ != nullptr; }
    // Virtual tables cannot be named: a file's shadow table may in truth be a view of the very table that it belongs
    // to.
    Status prepare(sqlite3* db, const std::string& sql, bool persistent = true);
    // They can.
    Status prepare_with_virtual_tables(sqlite3* db, const std::string& sql);
    void finalize() { handle_.reset(); }

    void bind(int i, std::int64_t value) { sqlite3_bind_int64(handle_.get(), i, value); }
    void bind_null(int i) { sqlite3_bind_null(handle_.get(), i); }
    void bind_text(int i, std::string_view text);
    // The bytes must stay until the next reset.
    void bind_blob(int i, std::span<const std::byte> bytes);
    void bind_value(int i, sqlite3_value* value) { sqlite3_bind_value(handle_.get(), i, value); }

    // One step: `row` says whether there is a row to read. After the last row the statement is reset.
    Status step(bool& row);
    // Runs to the end and resets.
    Status run();
    void reset() { sqlite3_reset(handle_.get()); }

    [[nodiscard]] std::int64_t int64(int i) const { return sqlite3_column_int64(handle_.get(), i); }
    [[nodiscard]] bool is_null(int i) const { return sqlite3_column_type(handle_.get(), i) == SQLITE_NULL; }
    [[nodiscard]] int type(int i) const { return sqlite3_column_type(handle_.get(), i); }
    // Valid until the next step or reset.
    [[nodiscard]] std::span<const std::byte> blob(int i) const;
    [[nodiscard]] std::string_view text(int i) const;
    [[nodiscard]] sqlite3_value* value(int i) const { return sqlite3_column_value(handle_.get(), i); }
    [[nodiscard]] sqlite3_stmt* handle() const { return handle_.get(); }

  private:
    Status prepare_flagged(sqlite3* db, const std::string& sql, unsigned flags);

    std::unique_ptr<sqlite3_stmt, StatementDeleter> handle_;
};

// Resets a statement at the end of a scope, so that no read transaction stays open behind an early return.
class ResetAtEnd {
  public:
    explicit ResetAtEnd(Statement& statement) : statement_(statement) {}
    ~ResetAtEnd() { statement_.reset(); }
    ResetAtEnd(const ResetAtEnd&) = delete;
    ResetAtEnd& operator=(const ResetAtEnd&) = delete;

  private:
    Statement& statement_;
};

// Nested statements change what last_insert_rowid() says; the caller's INSERT alone should.
class KeepLastRowid {
  public:
    explicit KeepLastRowid(sqlite3* db) : db_(db), rowid_(sqlite3_last_insert_rowid(db)) {}
    ~KeepLastRowid() { sqlite3_set_last_insert_rowid(db_, rowid_); }
    KeepLastRowid(const KeepLastRowid&) = delete;
    KeepLastRowid& operator=(const KeepLastRowid&) = delete;

  private:
    sqlite3* db_;
    std::int64_t rowid_;
};

// Runs one SQL statement without parameters.
Status execute(sqlite3* db, const std::string& sql);

// One state of a schema's file for all that is read while this object lives.
class Snapshot {
  public:
    // Where there is no such schema, nothing is held: whatever is read next says so.
    Status hold(sqlite3* db, const std::string& schema);

  private:
    Statement statement_;
};

// A savepoint that is undone unless end() gets an ok status.
//
// sqlite3_interrupt() stops the statements that would undo it, too. Then the whole transaction is rolled back, as
// SQLite itself does when an INSERT is interrupted: a statement that writes and is interrupted makes it do so.
class Savepoint {
  public:
    // `writing`: SQL that writes, and changes nothing.
    Status begin(sqlite3* db, const std::string& name, const std::string& writing);
    // Keeps what was done if `status` is ok, else undoes it; the status that remains.
    Status end(Status status);
    Savepoint() = default;
    ~Savepoint();
    Savepoint(const Savepoint&) = delete;
    Savepoint& operator=(const Savepoint&) = delete;

  private:
    Status undo();

    sqlite3* db_ = nullptr;
    bool is_open_ = false;
    Statement rollback_;
    Statement release_;
    Statement writing_;
};

// Runs `body` (which gives a Status) inside a savepoint of that name: all of its changes, or none.
template <class Body>
Status in_savepoint(sqlite3* db, const std::string& name, const std::string& writing, Body body) {
    Savepoint savepoint;
    VSS_TRY(savepoint.begin(db, name, writing));
    return savepoint.end(body());
}

// Whether a statement that writes is under way: savepoints can neither be released nor rolled back to meanwhile.
[[nodiscard]] bool is_writing(sqlite3* db);

}  // namespace vss
