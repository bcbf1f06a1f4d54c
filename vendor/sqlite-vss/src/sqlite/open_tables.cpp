#include "sqlite/open_tables.h"

#if defined(__unix__) || defined(__APPLE__)
#include <sys/stat.h>
#endif

#include "base/text.h"

namespace vss {
namespace {

bool is_same(const Table& open, std::string_view schema, std::string_view table) {
    return equal_ignoring_case(open.declared().schema, schema) && equal_ignoring_case(open.declared().table, table);
}

}  // namespace

void OpenTables::remove(const Table* table) {
    std::erase_if(tables_, [&](const std::weak_ptr<Table>& open) { return open.lock().get() == table; });
}

std::shared_ptr<Table> OpenTables::find(std::string_view schema, std::string_view table) const {
    // After a change of the schema an older one of that name can live on in a cached statement.
    for (auto at = tables_.rbegin(); at != tables_.rend(); ++at) {
        if (std::shared_ptr<Table> open = at->lock(); open != nullptr && is_same(*open, schema, table)) {
            return open;
        }
    }
    return nullptr;
}

std::string OpenTables::database(sqlite3* db, const char* schema) const {
    const char* path = sqlite3_db_filename(db, schema);
    if (path == nullptr || *path == '\0') {
        return cat("memory ", connection_, ' ', schema);
    }
#if defined(__unix__) || defined(__APPLE__)
    // A file put in the place of another has another number.
    struct stat file = {};
    if (stat(path, &file) == 0) {
        return cat("file ", static_cast<std::uint64_t>(file.st_dev), ' ', static_cast<std::uint64_t>(file.st_ino));
    }
#endif
    return cat("path ", path);
}

Status OpenTables::flush_others(const Table& table) const {
    for (const std::weak_ptr<Table>& at : tables_) {
        const std::shared_ptr<Table> other = at.lock();
        if (other != nullptr && other.get() != &table &&
            is_same(*other, table.declared().schema, table.declared().table)) {
            VSS_TRY(other->flush());
        }
    }
    return Status::ok();
}

}  // namespace vss
