#include "storage/table_name.h"

#include "base/text.h"

namespace vss {

std::string TableName::shadow(std::string_view suffix) const {
    return cat(quote_identifier(schema), '.', quote_identifier(cat(table, '_', suffix)));
}

std::string TableName::words() const {
    return cat("table \"", table, '"');
}

std::string TableName::words(const Column& column) const {
    return cat(words(), ", column \"", column.name, '"');
}

Status TableName::prepare(Statement& statement, const std::string& sql) const {
    Status status = statement.prepare(db, sql);
    constexpr std::string_view missing = "no such table: ";
    const std::size_t at = status.message().find(missing);
    if (status.extended_code() != SQLITE_ERROR || at == std::string::npos) {
        return status;
    }
    return Status::corrupt(cat(words(), ": its own table ", status.message().substr(at + missing.size()),
                               " is missing: it was dropped, or the file was written before vss0 0.1.0. "
                               "select vss_repair('",
                               table, "') rebuilds what can be"));
}

}  // namespace vss
