#include "maintenance.h"

#include <algorithm>

#include "describe.h"
#include "text.h"

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

// Answers with what `body` finds in the table that the arguments name.
template <class Body>
Status answer(sqlite3_context* context, std::span<sqlite3_value*> arguments, Body body) {
    Table* table = nullptr;
    Findings findings;
    sqlite3* db = sqlite3_context_db_handle(context);
    std::string schema;
    VSS_TRY(schema_argument(db, arguments.size() > 1 ? arguments[1] : nullptr, text_of(arguments[0]), schema));
    VSS_TRY(open_table(db, open_tables(context), schema, text_of(arguments[0]), table));
    const Table::Work work(*table);
    VSS_TRY(body(*table, findings));
    set_result(context, std::string_view(findings.count == 0 ? "ok" : findings.text));
    return Status::ok();
}

Status check_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    return answer(context, arguments, [](Table& table, Findings& findings) {
        return table.check([&](const std::string& sentence) { return findings.add(sentence); });
    });
}

Status repair_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    return answer(context, arguments, [](Table& table, Findings& findings) {
        return in_savepoint(table.name().db, "vss_repair", [&] {
            VSS_TRY(table.begin_writing());
            return table.repair([&](const std::string& sentence) { return findings.add(sentence); });
        });
    });
}

}  // namespace

Status open_table(sqlite3* db, const OpenTables& tables, const std::string& schema, const std::string& table,
                  Table*& out) {
    Statement statement;
    const Status status = statement.prepare(
        db, cat("select 1 from ", quote_identifier(schema), '.', quote_identifier(table), " limit 0"), false);
    if (status.message().ends_with(cat("no such table: ", schema, '.', table))) {
        return Status::invalid(cat("there is no table \"", table, "\" in \"", schema, '"'));
    }
    VSS_TRY(status);
    out = tables.find(schema, table);
    return out == nullptr ? Status::invalid(cat("\"", table, "\" is not a vss0 table")) : Status::ok();
}

Table* OpenTables::find(std::string_view schema, std::string_view table) const {
    // The newest: after a change of the schema an older one of that name can live on in a cached statement.
    const auto at = std::find_if(tables_.rbegin(), tables_.rend(), [&](const Table* open) {
        return equal_ignoring_case(open->name().schema, schema) && equal_ignoring_case(open->name().table, table);
    });
    return at == tables_.rend() ? nullptr : *at;
}

const OpenTables& open_tables(sqlite3_context* context) {
    return **static_cast<const std::shared_ptr<OpenTables>*>(sqlite3_user_data(context));
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
    return rc;
}

}  // namespace vss
