// Table: commands about the index of a column, inside a transaction of the caller.
#include "base/text.h"
#include "sqlite/describe.h"
#include "sqlite/table.h"

namespace vss {

// The tables of every kind are dropped and those of the new one made: a change of the schema is what makes other
// connections read again how the column is searched.
Status Table::set_index(std::size_t c, const IndexKind& kind) {
    const Column& column = schema_.vector(c);
    if (!kind.supports(column)) {
        return Status::invalid(cat(name_.words(column), ": vectors of type=", name_of(column.type), " under ",
                                   column.metric_name(), " are always searched exactly"));
    }
    if (&kind == kinds_[c] && (column.index.empty() || &kind == find_kind(column.index))) {
        return Status::ok();
    }
    VSS_TRY(flush());
    discard();
    for (const IndexKind* other : index_kinds()) {
        for (const std::string_view table : other->tables()) {
            VSS_TRY(execute(name_.db, cat("drop table if exists ", name_.shadow(cat(table, c)))));
        }
    }
    VSS_TRY(kinds_[c]->forget(name_, c));
    VSS_TRY(kind.create_tables(name_, c, false));
    schema_.set_index(c, kind.name());
    ConfigWriter config(name_);
    VSS_TRY(config.put(config_keys::index, c, kind.name()));
    VSS_TRY(config.put(config_keys::columns, describe(schema_)));
    VSS_TRY(config.raise_format(format_version));  // no older version knows that key
    VSS_TRY(read_config());
    VSS_TRY(indexes_[c]->restart([](const std::string& /*sentence*/) { return true; }));
    return indexes_[c]->rebuild();
}

}  // namespace vss
