#include "storage/read_connection.h"

#include <string_view>

#include "base/parallel.h"
#include "base/text.h"
#include "storage/statement.h"

namespace vss {

std::optional<DatabaseFile> database_file(sqlite3* db, const std::string& schema) {
    const char* path = sqlite3_db_filename(db, schema.c_str());
    const sqlite3_vfs* usual = sqlite3_vfs_find(nullptr);
    char* vfs = nullptr;
    if (path == nullptr || *path == '\0' || usual == nullptr || sqlite3_threadsafe() == 0 ||
        sqlite3_file_control(db, schema.c_str(), SQLITE_FCNTL_VFSNAME, &vfs) != SQLITE_OK || vfs == nullptr) {
        return std::nullopt;
    }
    const bool is_usual = std::string_view(vfs) == usual->zName;
    sqlite3_free(vfs);
    if (!is_usual) {
        return std::nullopt;
    }
    sqlite3_int64 mapped = -1;
    if (sqlite3_file_control(db, schema.c_str(), SQLITE_FCNTL_MMAP_SIZE, &mapped) != SQLITE_OK || mapped < 0) {
        mapped = 0;
    }
    return DatabaseFile{sqlite3_api, path, mapped};
}

ReadConnection::~ReadConnection() {
    HelperThread::has_opened(nullptr);
}

Status ReadConnection::open() {
    sqlite3* opened = nullptr;
    const int rc = sqlite3_open_v2(file_.path.c_str(), &opened, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, nullptr);
    db_.reset(opened);
    if (rc != SQLITE_OK) {
        return {Code::internal, cat("cannot open ", file_.path, " to read it on another thread")};
    }
    HelperThread::has_opened(opened);
    VSS_TRY(execute(opened, cat("pragma mmap_size = ", file_.mapped)));
    return execute(opened, "begin");
}

}  // namespace vss
