#include "maintenance.h"

#include <algorithm>
#include <exception>

#include "text.h"

namespace vss {
namespace {

std::string text_argument(sqlite3_value* value) {
    const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(value));
    return text == nullptr ? std::string() : std::string(text, static_cast<std::size_t>(sqlite3_value_bytes(value)));
}

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

template <class Body>
void guarded(sqlite3_context* context, int argc, sqlite3_value** argv, Body body) {
    try {
        const auto& tables = **static_cast<const std::shared_ptr<OpenTables>*>(sqlite3_user_data(context));
        Table* table = nullptr;
        Findings findings;
        Status status = open_table(sqlite3_context_db_handle(context), tables,
                                   argc > 1 ? text_argument(argv[1]) : "main", text_argument(argv[0]), table);
        if (status.is_ok()) {
            status = body(*table, findings);
        }
        if (!status.is_ok()) {
            sqlite3_result_error(context, status.message().data(), static_cast<int>(status.message().size()));
            sqlite3_result_error_code(context, status.sqlite_code());
            return;
        }
        const std::string& text = findings.count == 0 ? "ok" : findings.text;
        sqlite3_result_text64(context, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    } catch (const std::bad_alloc&) {
        sqlite3_result_error_nomem(context);
    } catch (const std::exception& exception) {
        sqlite3_result_error(context, exception.what(), -1);
    }
}

void check_function(sqlite3_context* context, int argc, sqlite3_value** argv) {
    guarded(context, argc, argv, [](Table& table, Findings& findings) {
        return table.check([&](const std::string& sentence) { return findings.add(sentence); });
    });
}

void repair_function(sqlite3_context* context, int argc, sqlite3_value** argv) {
    guarded(context, argc, argv, [](Table& table, Findings& findings) {
        sqlite3* db = table.name().db;
        VSS_TRY(execute(db, "savepoint vss_repair"));
        Status status = table.repair([&](const std::string& sentence) { return findings.add(sentence); });
        if (!status.is_ok()) {
            const Status undone = execute(db, "rollback to vss_repair");
            const Status left = execute(db, "release vss_repair");
            return undone.is_ok() && left.is_ok() ? status : undone;
        }
        return execute(db, "release vss_repair");
    });
}

}  // namespace

Status open_table(sqlite3* db, const OpenTables& tables, const std::string& schema, const std::string& table,
                  Table*& out) {
    Statement statement;
    VSS_TRY(statement.prepare(
        db, cat("select 1 from ", quote_identifier(schema), '.', quote_identifier(table), " limit 0"), false));
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

Status check_text(Table& table, std::string& out) {
    Findings findings;
    VSS_TRY(table.check([&](const std::string& sentence) { return findings.add(sentence); }));
    out = std::move(findings.text);
    return Status::ok();
}

int register_maintenance(sqlite3* db, const std::shared_ptr<OpenTables>& tables) {
    int rc = SQLITE_OK;
    const auto destroy = [](void* data) {
        const std::unique_ptr<std::shared_ptr<OpenTables>> owned(static_cast<std::shared_ptr<OpenTables>*>(data));
    };
    const auto shared = [&] { return std::make_unique<std::shared_ptr<OpenTables>>(tables).release(); };
    for (const int argc : {1, 2}) {
        if (rc == SQLITE_OK) {
            rc = register_scalar<&check_function>(db, "vss_check", argc, SQLITE_DIRECTONLY, shared(), destroy);
        }
        if (rc == SQLITE_OK) {
            rc = register_scalar<&repair_function>(db, "vss_repair", argc, SQLITE_DIRECTONLY, shared(), destroy);
        }
    }
    return rc;
}

}  // namespace vss
