// t_config: how a table is laid out, as keys and values (FORMAT.md lists them).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "storage/statement.h"
#include "storage/table_name.h"

namespace vss {

namespace config_keys {
inline constexpr std::string_view format = "format";
inline constexpr std::string_view columns = "columns";
// 1: there are still the two tables of sqlite-vss 0.1.2, emptied by the upgrade.
inline constexpr std::string_view old_tables = "old_tables";
// Followed by the column's number:
inline constexpr std::string_view name = "name";
inline constexpr std::string_view block_slots = "block_slots";
inline constexpr std::string_view segment_slots = "segment_slots";
inline constexpr std::string_view flat = "flat";
inline constexpr std::string_view index = "index";
}  // namespace config_keys

// What a table's config says, all of it.
class TableConfig {
  public:
    Status read(const TableName& name);
    // -1 where it says nothing.
    [[nodiscard]] std::int64_t number(std::string_view key) const;
    [[nodiscard]] std::int64_t number(std::string_view key, std::size_t c) const;
    // Empty where it says nothing.
    [[nodiscard]] std::string text(std::string_view key, std::size_t c) const;

  private:
    struct Value {
        std::string text;
        std::int64_t number = 0;
    };
    std::map<std::string, Value, std::less<>> values_;
};

class ConfigWriter {
  public:
    explicit ConfigWriter(const TableName& name) : name_(name) {}

    static Status create_table(const TableName& name);
    Status put(std::string_view key, std::int64_t value);
    Status put(std::string_view key, std::string_view value);
    // Of a column.
    Status put(std::string_view key, std::size_t c, std::int64_t value);
    Status put(std::string_view key, std::size_t c, std::string_view value);
    Status remove(std::string_view key);
    // Raises the format to `format` if it is lower.
    Status raise_format(int format);

  private:
    Status prepare();

    const TableName& name_;
    Statement set_;
};

}  // namespace vss
