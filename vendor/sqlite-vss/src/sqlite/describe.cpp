#include "sqlite/describe.h"

#include <string_view>

#include "base/json.h"
#include "base/text.h"
#include "sqlite/functions/functions.h"
#include "sqlite/maintenance.h"
#include "storage/statement.h"
#include "storage/storage.h"

namespace vss {
namespace {

std::string_view kind_words(ColumnKind kind) {
    switch (kind) {
        case ColumnKind::vector: return "vector";
        case ColumnKind::metadata: return "metadata";
        case ColumnKind::partition: return "partition";
        case ColumnKind::auxiliary: return "auxiliary";
        case ColumnKind::rowid: return "rowid";
        case ColumnKind::key: return "key";
    }
    return "";
}

Status table_argument(sqlite3_context* context, sqlite3_value* table, sqlite3_value* schema, TableName& out) {
    out.db = sqlite3_context_db_handle(context);
    out.table = text_of(table);
    return schema_argument(out.db, schema, out.table, out.schema);
}

// The description kept in t_config; nothing where there is no such vss0 table.
Status find_description(const TableName& name, std::string& out) {
    out.clear();
    Statement find;
    VSS_TRY(find.prepare(name.db,
                         cat("select sql from ", quote_identifier(name.schema),
                             ".sqlite_master where type = 'table' and name = ? collate nocase"),
                         false));
    find.bind_text(1, name.table);
    bool row = false;
    VSS_TRY(find.step(row));
    const ResetAtEnd guard(find);
    constexpr std::string_view how = "create virtual table";
    if (!row || !equal_ignoring_case(find.text(0).substr(0, how.size()), how)) {
        return Status::ok();
    }
    Statement statement;
    VSS_TRY(
        statement.prepare(name.db, cat("select value from ", name.shadow("config"), " where key = 'columns'"), false));
    VSS_TRY(statement.step(row));
    const ResetAtEnd guard_statement(statement);
    if (row) {
        out = statement.text(0);
    }
    return Status::ok();
}

Status describe_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    std::string text;
    TableName name;
    VSS_TRY(table_argument(context, arguments[0], arguments.size() > 1 ? arguments[1] : nullptr, name));
    Snapshot snapshot;
    VSS_TRY(snapshot.hold(name.db, name.schema));
    bool is_old = false;
    VSS_TRY(OldFile::is_there(name, is_old));
    if (is_old) {
        // As sqlite-vss 0.1.2 wrote it, if it is a vss0 table at all.
        HeldTable held;
        const Status status = held.hold(context, name.schema, name.table);
        if (status.code() == Code::invalid) {
            return Status::ok();
        }
        VSS_TRY(status);
        text = describe((*held).schema());
    } else {
        VSS_TRY(find_description(name, text));
    }
    if (!text.empty()) {
        set_result(context, text);
    }
    return Status::ok();
}

Status count_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    TableName name;
    VSS_TRY(table_argument(context, arguments[0], arguments.size() > 2 ? arguments[2] : nullptr, name));
    const std::string column = text_of(arguments[1]);
    // The table first: what is read next is of the same state.
    HeldTable held;
    if (const Status status = held.hold(context, name.schema, name.table); !status.is_ok()) {
        return status.code() == Code::invalid ? Status::invalid(cat("there is no vss0 table \"", name.table, '"'))
                                              : status;
    }
    Table& table = *held;
    const Schema& schema = table.schema();
    for (std::size_t c = 0; c < schema.vectors().size(); ++c) {
        if (equal_ignoring_case(schema.vector(c).name, column)) {
            std::uint64_t count = 0;
            VSS_TRY(table.index(c).count(count));
            sqlite3_result_int64(context, static_cast<sqlite3_int64>(count));
            return Status::ok();
        }
    }
    return Status::invalid(cat(name.words(), " has no vector column \"", column, '"'));
}

}  // namespace

Status schema_argument(sqlite3* db, sqlite3_value* given, const std::string& table, std::string& out) {
    if (given != nullptr && sqlite3_value_type(given) != SQLITE_NULL) {
        out = text_of(given);
        return Status::ok();
    }
    std::vector<std::string> schemas = {"temp", "main"};
    {
        Statement list;
        VSS_TRY(list.prepare(db, "pragma database_list", false));
        for (bool row = true;;) {
            VSS_TRY(list.step(row));
            if (!row) {
                break;
            }
            if (const std::string name(list.text(1)); name != "temp" && name != "main") {
                schemas.push_back(name);
            }
        }
    }
    for (const std::string& schema : schemas) {
        Statement find;
        VSS_TRY(find.prepare(
            db, cat("select 1 from ", quote_identifier(schema), ".sqlite_master where name = ? collate nocase"),
            false));
        find.bind_text(1, table);
        bool row = false;
        VSS_TRY(find.step(row));
        if (row) {
            out = schema;
            return Status::ok();
        }
    }
    out = "main";
    return Status::ok();
}

std::string describe(const Schema& schema) {
    std::string columns;
    for (const Column& column : schema.columns()) {
        columns += cat(columns.empty() ? "" : ", ", "{\"name\": ", json_text(column.name),
                       ", \"kind\": ", json_text(kind_words(column.kind)));
        if (column.is_vector()) {
            columns += cat(", \"dim\": ", column.dim, ", \"type\": ", json_text(name_of(column.type)),
                           ", \"metric\": ", json_text(column.metric_name()));
            columns +=
                cat(", \"index\": ", json_text(column.index.empty() ? index_kinds().front()->name() : column.index));
            if (column.scale != 0) {
                columns += cat(", \"scale\": ", column.scale);
            }
            if (column.recall != 0) {
                columns += cat(", \"recall\": ", column.recall);
            }
            if (!column.factory.empty()) {
                columns += cat(", \"factory\": ", json_text(column.factory));
            }
        } else {
            columns += cat(", \"declared\": ", json_text(column.declared_type));
        }
        columns += '}';
    }
    return cat("{\"columns\": [", columns, "]}");
}

int register_describe(sqlite3* db, const std::shared_ptr<OpenTables>& tables) {
    int rc = SQLITE_OK;
    for (const int argc : {1, 2}) {
        if (rc == SQLITE_OK) {
            rc = register_table_function<&describe_function>(db, "vss_describe", argc, tables);
        }
    }
    for (const int argc : {2, 3}) {
        if (rc == SQLITE_OK) {
            rc = register_table_function<&count_function>(db, "vss_count", argc, tables);
        }
    }
    return rc;
}

}  // namespace vss
