#include "sqlite/maintenance.h"

#include <algorithm>

#include "base/json.h"
#include "base/text.h"
#include "sqlite/describe.h"

namespace vss {
namespace {

// Gathers sentences, up to most_findings.
struct Findings {
    std::string text;
    std::size_t count = 0;

    bool add(const std::string& sentence) {
        ++count;
        if (count <= most_findings) {
            text += cat(text.empty() ? "" : "\n", sentence);
        } else if (count == most_findings + 1) {
            text += "\n...";
        }
        return count <= most_findings;
    }
};

Status find_schema(sqlite3_context* context, std::span<sqlite3_value*> arguments, std::string& out) {
    return schema_argument(sqlite3_context_db_handle(context), arguments.size() > 1 ? arguments[1] : nullptr,
                           text_of(arguments[0]), out);
}

std::string describe_upgrade(const Schema& schema, const OldImage& image) {
    std::string columns;
    for (std::size_t c = 0; c < image.columns.size(); ++c) {
        const OldFile::ColumnSummary& column = image.columns[c];
        columns += cat(c == 0 ? "" : ", ", Json()
                                               .add_text("name", schema.vector(c).name)
                                               .add("vectors", column.vectors)
                                               .add_json("lossy", column.is_lossy ? "true" : "false")
                                               .add("not_finite", column.not_finite)
                                               .text());
    }
    return Json().add("rows", image.rows).add_json("columns", cat('[', columns, ']')).text();
}

void set_findings(sqlite3_context* context, const Findings& findings) {
    set_result(context, std::string_view(findings.count == 0 ? "ok" : findings.text));
}

Status check_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    HeldTable table;
    Findings findings;
    std::string schema;
    VSS_TRY(find_schema(context, arguments, schema));
    VSS_TRY(table.hold(context, schema, text_of(arguments[0])));
    VSS_TRY((*table).check([&](const std::string& sentence) { return findings.add(sentence); }));
    set_findings(context, findings);
    return Status::ok();
}

Status repair_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    Findings findings;
    std::string schema;
    VSS_TRY(find_schema(context, arguments, schema));
    VSS_TRY(change_table(context, "vss_repair", schema, text_of(arguments[0]), [&](Table& table) {
        return table.repair([&](const std::string& sentence) { return findings.add(sentence); });
    }));
    set_findings(context, findings);
    return Status::ok();
}

// vss_upgrade(table [, schema [, function]]): what sqlite-vss 0.1.2 wrote becomes this version's. JSON, or NULL where
// there was nothing to do. function(done, total), which the connection has, hears of progress.
Status upgrade_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    sqlite3* db = sqlite3_context_db_handle(context);
    const std::string table = text_of(arguments[0]);
    std::string schema;
    VSS_TRY(find_schema(context, arguments, schema));
    VSS_TRY(refuse_inside_statements(context, "vss_upgrade", schema, table, true));
    bool is_old = false;
    VSS_TRY(OldFile::is_there({db, schema, table, {}}, is_old));
    Statement report;
    Table::Progress progress;
    if (arguments.size() > 2 && sqlite3_value_type(arguments[2]) != SQLITE_NULL) {
        VSS_TRY(report.prepare(db, cat("select ", quote_identifier(text_of(arguments[2])), "(?, ?)"), false));
        progress = [&](std::uint64_t done, std::uint64_t total) {
            report.bind(1, static_cast<std::int64_t>(done));
            report.bind(2, static_cast<std::int64_t>(total));
            return report.run();
        };
    }
    const TableName name{db, schema, table, {}};
    const std::string nothing =
        is_old ? cat("update ", name.shadow("data"), " set _ = _ where 0") : writing_nothing(schema, table);
    std::string found;
    VSS_TRY(in_savepoint(db, "vss_upgrade", nothing, [&] {
        VSS_TRY(sqlite3_db_readonly(db, schema.c_str()) != 0 ? Status::ok() : execute(db, nothing));
        HeldTable held;
        VSS_TRY(held.hold_for_writing(context, schema, table));
        const Table::DiscardAtEnd discard(*held);
        if (const OldImage* image = (*held).image(); image != nullptr) {
            found = describe_upgrade((*held).schema(), *image);
        }
        VSS_TRY((*held).upgrade(progress));
        VSS_TRY((*held).drop_old_tables());
        return (*held).flush();
    }));
    if (!found.empty()) {
        set_result(context, found);
    }
    return Status::ok();
}

const OpenTables& open_tables(sqlite3_context* context) {
    return **static_cast<const std::shared_ptr<OpenTables>*>(sqlite3_user_data(context));
}

// Makes SQLite connect the table, if it has not yet.
Status open_table(sqlite3_context* context, const std::string& schema, const std::string& table,
                  std::shared_ptr<Table>& out) {
    Statement statement;
    const Status status = statement.prepare_with_virtual_tables(
        sqlite3_context_db_handle(context),
        cat("select 1 from ", quote_identifier(schema), '.', quote_identifier(table), " limit 0"));
    if (status.message().ends_with(cat("no such table: ", schema, '.', table))) {
        return Status::invalid(cat("there is no table \"", table, "\" in \"", schema, '"'));
    }
    VSS_TRY(status);
    out = open_tables(context).find(schema, table);
    return out == nullptr ? Status::invalid(cat("\"", table, "\" is not a vss0 table")) : Status::ok();
}

}  // namespace

Status HeldTable::hold(sqlite3_context* context, const std::string& schema, const std::string& table) {
    VSS_TRY(snapshot_.hold(sqlite3_context_db_handle(context), schema));
    return find(context, schema, table);
}

Status HeldTable::hold_for_writing(sqlite3_context* context, const std::string& schema, const std::string& table) {
    return find(context, schema, table);
}

Status HeldTable::find(sqlite3_context* context, const std::string& schema, const std::string& table) {
    VSS_TRY(open_table(context, schema, table, table_));
    work_.emplace(*table_);
    return table_->ready();
}

std::string writing_nothing(const std::string& schema, const std::string& table) {
    return cat("update ", TableName{nullptr, schema, table, {}}.shadow("config"), " set value = value where 0");
}

Status begin_writing(sqlite3* db, const std::string& schema, const std::string& table) {
    if (sqlite3_db_readonly(db, schema.c_str()) != 0) {
        return Status::ok();  // there may be nothing to write
    }
    return execute(db, writing_nothing(schema, table));
}

Status refuse_inside_statements(sqlite3_context* context, const std::string& function, const std::string& schema,
                                const std::string& table, bool old_too) {
    if (is_writing(sqlite3_context_db_handle(context))) {
        return Status::invalid(cat(function, " changes table \"", table,
                                   "\", which cannot be done inside a statement "
                                   "that writes; call it by itself: select ",
                                   function, "(...)"));
    }
    HeldTable open;
    VSS_TRY(open.hold(context, schema, table));
    if ((*open).image() != nullptr && !old_too) {
        return Status::invalid(cat("table \"", table, "\" is as sqlite-vss wrote it; before ", function,
                                   "(...): select vss_upgrade(", quote_literal(table), ")"));
    }
    if ((*open).readers() > 0) {
        return Status::invalid(cat(function, " changes table \"", table,
                                   "\", which is being read: by this query, or by "
                                   "another of this connection whose rows were not all fetched; call it by itself: "
                                   "select ",
                                   function, "(...)"));
    }
    return Status::ok();
}

Status check_text(Table& table, std::string& out) {
    Findings findings;
    VSS_TRY(table.check([&](const std::string& sentence) { return findings.add(sentence); }));
    out = std::move(findings.text);
    return Status::ok();
}

int register_maintenance(sqlite3* db, const std::shared_ptr<OpenTables>& tables) {
    int rc = SQLITE_OK;
    for (const int argc : {1, 2}) {
        if (rc == SQLITE_OK) {
            rc = register_table_function<&check_function>(db, "vss_check", argc, tables);
        }
        if (rc == SQLITE_OK) {
            rc = register_table_function<&repair_function>(db, "vss_repair", argc, tables);
        }
    }
    for (const int argc : {1, 2, 3}) {
        if (rc == SQLITE_OK) {
            rc = register_table_function<&upgrade_function>(db, "vss_upgrade", argc, tables);
        }
    }
    return rc;
}

}  // namespace vss
