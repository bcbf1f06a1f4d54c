// Another connection to the file behind a schema: for threads that read while the caller's connection is busy.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/status.h"
#include "storage/sqlite_api.h"

namespace vss {

// What a thread must know to open it.
struct DatabaseFile {
    const sqlite3_api_routines* api = nullptr;
    std::string path;
    std::int64_t mapped = 0;  // bytes
};

// None: the schema is no file, or not one that SQLite's default VFS opens, or this SQLite is for one thread.
[[nodiscard]] std::optional<DatabaseFile> database_file(sqlite3* db, const std::string& schema);

// Reads one state of the file from its first statement on. Used and closed by the thread that opened it.
class ReadConnection {
  public:
    explicit ReadConnection(const DatabaseFile& file) : file_(file), scope_(file.api) {}
    ~ReadConnection();
    ReadConnection(const ReadConnection&) = delete;
    ReadConnection& operator=(const ReadConnection&) = delete;

    Status open();
    [[nodiscard]] sqlite3* db() const { return db_.get(); }

  private:
    struct Closer {
        void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
    };

    DatabaseFile file_;
    ApiScope scope_;
    std::unique_ptr<sqlite3, Closer> db_;
};

}  // namespace vss
