#include "storage/config.h"

#include "base/text.h"

namespace vss {

Status TableConfig::read(const TableName& name) {
    values_.clear();
    Statement statement;
    VSS_TRY(statement.prepare(name.db, cat("select key, value from ", name.shadow("config")), false));
    for (bool row = true;;) {
        VSS_TRY(statement.step(row));
        if (!row) {
            return Status::ok();
        }
        // In this order: as text, the number stays what it is.
        Value value;
        value.number = statement.int64(1);
        value.text = statement.text(1);
        values_.emplace(statement.text(0), std::move(value));
    }
}

std::int64_t TableConfig::number(std::string_view key) const {
    const auto at = values_.find(key);
    return at == values_.end() ? -1 : at->second.number;
}

std::int64_t TableConfig::number(std::string_view key, std::size_t c) const {
    return number(cat(key, c));
}

std::string TableConfig::text(std::string_view key, std::size_t c) const {
    const auto at = values_.find(cat(key, c));
    return at == values_.end() ? std::string() : at->second.text;
}

Status ConfigWriter::create_table(const TableName& name) {
    return execute(name.db, cat("create table ", name.shadow("config"), "(key text primary key, value)"));
}

Status ConfigWriter::prepare() {
    return set_.is_prepared()
               ? Status::ok()
               : set_.prepare(name_.db,
                              cat("insert or replace into ", name_.shadow("config"), "(key, value) values(?, ?)"),
                              false);
}

Status ConfigWriter::put(std::string_view key, std::int64_t value) {
    VSS_TRY(prepare());
    set_.bind_text(1, key);
    set_.bind(2, value);
    return set_.run();
}

Status ConfigWriter::put(std::string_view key, std::string_view value) {
    VSS_TRY(prepare());
    set_.bind_text(1, key);
    set_.bind_text(2, value);
    return set_.run();
}

Status ConfigWriter::put(std::string_view key, std::size_t c, std::int64_t value) {
    return put(cat(key, c), value);
}

Status ConfigWriter::put(std::string_view key, std::size_t c, std::string_view value) {
    return put(cat(key, c), value);
}

Status ConfigWriter::remove(std::string_view key) {
    return execute(name_.db, cat("delete from ", name_.shadow("config"), " where key = ", quote_literal(key)));
}

Status ConfigWriter::raise_format(int format) {
    return execute(name_.db, cat("update ", name_.shadow("config"), " set value = ", format, " where key = '",
                                 config_keys::format, "' and value < ", format));
}

}  // namespace vss
