// The glue: SQLite's virtual table callbacks, each a few lines over Table, Cursor and plan. No exception leaves here.
#include <cstddef>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include "base/text.h"
#include "sqlite/cursor.h"
#include "sqlite/describe.h"
#include "sqlite/functions/buffer_table.h"
#include "sqlite/functions/functions.h"
#include "sqlite/functions/index_functions.h"
#include "sqlite/guarded.h"
#include "sqlite/maintenance.h"
#include "sqlite/parameters.h"
#include "sqlite/plan.h"
#include "sqlite/table.h"
#include "vss0.h"

namespace vss {
namespace {

// What the module keeps for one connection.
struct Connection {
    const sqlite3_api_routines* api = nullptr;
    std::shared_ptr<OpenTables> tables;
};

struct TableHandle : sqlite3_vtab {
    TableHandle(const Connection& connection, std::shared_ptr<Table> opened)
        : sqlite3_vtab{}, api(connection.api), tables(connection.tables), table(std::move(opened)) {
        tables->add(table);
    }
    ~TableHandle() {
        sqlite3_free(zErrMsg);  // which SQLite does not take where dropping or rolling back fails
        tables->remove(table.get());
    }
    TableHandle(const TableHandle&) = delete;
    TableHandle& operator=(const TableHandle&) = delete;

    const sqlite3_api_routines* api;
    std::shared_ptr<OpenTables> tables;
    std::shared_ptr<Table> table;  // what a SQL function shares lives on until the function ends
};

struct CursorHandle : sqlite3_vtab_cursor {
    CursorHandle(const sqlite3_api_routines* a, Table& table)
        : sqlite3_vtab_cursor{}, api(a), reading(table), cursor(table) {}
    const sqlite3_api_routines* api;
    Table::Reading reading;
    Cursor cursor;
};

TableHandle& handle_of(sqlite3_vtab* table) {
    return *static_cast<TableHandle*>(table);
}

template <class Body>
int guarded(sqlite3_vtab* base, Body body) {
    return vss::guarded(handle_of(base).api, &base->zErrMsg, [&] {
        const Table::Work work(*handle_of(base).table);
        return body();
    });
}

// For what reads or writes rows. A view or a trigger among the table's own tables could lead back to it, without end.
template <class Body>
int guarded_once(sqlite3_vtab* base, Body body) {
    if (Table& table = *handle_of(base).table; table.is_at_work()) {
        return vss::guarded(handle_of(base).api, &base->zErrMsg, [&] { return table.leads_back(); });
    }
    return guarded(base, body);
}

int make_table(sqlite3* db, void* aux, int argc, const char* const* argv, sqlite3_vtab** out, char** error,
               bool is_new) {
    const auto& connection = *static_cast<const Connection*>(aux);
    return vss::guarded(connection.api, error, [&] {
        // argv: the module, the schema ("main"), the table, and then the arguments between the parentheses
        Schema schema;
        VSS_TRY(Schema::parse(argv[2], {argv + 3, static_cast<std::size_t>(argc - 3)}, schema));
        if (is_new) {
            VSS_TRY(schema.check_new(argv[2]));
        }
        const int rc = sqlite3_declare_vtab(db, schema.declaration().c_str());
        if (rc != SQLITE_OK) {
            return sqlite_error(db, rc, cat("table \"", argv[2], '"'));
        }
        sqlite3_vtab_config(db, SQLITE_VTAB_CONSTRAINT_SUPPORT, 1);
        sqlite3_vtab_config(db, SQLITE_VTAB_INNOCUOUS);
        TableName name{db, argv[1], argv[2], connection.tables->database(db, argv[1])};
        auto table = std::make_shared<Table>(std::move(name), std::move(schema), connection.tables);
        if (is_new) {
            VSS_TRY(table->create());
        }
        *out = std::make_unique<TableHandle>(connection, std::move(table)).release();
        return Status::ok();
    });
}

int create(sqlite3* db, void* aux, int argc, const char* const* argv, sqlite3_vtab** out, char** error) {
    return make_table(db, aux, argc, argv, out, error, true);
}

int connect(sqlite3* db, void* aux, int argc, const char* const* argv, sqlite3_vtab** out, char** error) {
    return make_table(db, aux, argc, argv, out, error, false);
}

int best_index_of(sqlite3_vtab* base, sqlite3_index_info* info) {
    return guarded(base, [&] {
        const Table& table = *handle_of(base).table;
        return best_index(table.schema(), table.name().words(), info);
    });
}

int disconnect(sqlite3_vtab* base) {
    const ApiScope scope(handle_of(base).api);
    const std::unique_ptr<TableHandle> owned(&handle_of(base));
    return SQLITE_OK;
}

int destroy(sqlite3_vtab* base) {
    const int rc = guarded(base, [&] { return handle_of(base).table->destroy(); });
    return rc == SQLITE_OK ? disconnect(base) : rc;
}

int open(sqlite3_vtab* base, sqlite3_vtab_cursor** out) {
    return guarded(base, [&] {
        *out = std::make_unique<CursorHandle>(handle_of(base).api, *handle_of(base).table).release();
        return Status::ok();
    });
}

CursorHandle& handle_of(sqlite3_vtab_cursor* cursor) {
    return *static_cast<CursorHandle*>(cursor);
}

int close(sqlite3_vtab_cursor* base) {
    const ApiScope scope(handle_of(base).api);
    const std::unique_ptr<CursorHandle> owned(&handle_of(base));
    return SQLITE_OK;
}

int filter(sqlite3_vtab_cursor* base, int /*plan*/, const char* text, int argc, sqlite3_value** argv) {
    return guarded_once(base->pVtab, [&] {
        return handle_of(base).cursor.filter(text, {argv, static_cast<std::size_t>(argc)});
    });
}

int next(sqlite3_vtab_cursor* base) {
    return guarded_once(base->pVtab, [&] { return handle_of(base).cursor.next(); });
}

int eof(sqlite3_vtab_cursor* base) {
    return handle_of(base).cursor.at_end() ? 1 : 0;
}

int column(sqlite3_vtab_cursor* base, sqlite3_context* context, int i) {
    return guarded_once(base->pVtab, [&] { return handle_of(base).cursor.column(context, i); });
}

int rowid(sqlite3_vtab_cursor* base, sqlite3_int64* out) {
    const ApiScope scope(handle_of(base).api);
    *out = handle_of(base).cursor.rowid();
    return SQLITE_OK;
}

int update(sqlite3_vtab* base, int argc, sqlite3_value** argv, sqlite3_int64* out) {
    return guarded_once(base, [&] {
        Table& table = *handle_of(base).table;
        if (argc == 1) {
            return table.remove(argv[0]);
        }
        const std::span<sqlite3_value*> values(argv + 2, static_cast<std::size_t>(argc - 2));
        if (sqlite3_value_type(argv[0]) != SQLITE_NULL) {
            return table.update(argv[0], argv[1], values);
        }
        WriteResult result;
        VSS_TRY(table.insert(argv[1], values, result));
        *out = result.rowid;
        return Status::ok();
    });
}

int begin(sqlite3_vtab* base) {
    return guarded(base, [&] {
        Table& table = *handle_of(base).table;
        table.discard_after_work();
        return table.refuse_triggers();
    });
}

int sync(sqlite3_vtab* base) {
    return guarded(base, [&] { return handle_of(base).table->flush(); });
}

int forget(sqlite3_vtab* base) {
    return guarded(base, [&] {
        handle_of(base).table->discard_after_work();
        return Status::ok();
    });
}

int savepoint(sqlite3_vtab* base, int /*number*/) {
    return guarded(base, [&] { return handle_of(base).table->savepoint(); });
}

int release(sqlite3_vtab* /*base*/, int /*number*/) {
    return SQLITE_OK;
}

int rollback_to(sqlite3_vtab* base, int /*number*/) {
    return forget(base);
}

int find_function(sqlite3_vtab* base, int argc, const char* name, ScalarFunction* function, void** data) {
    const ApiScope scope(handle_of(base).api);
    const int op = equal_ignoring_case(name, "vss_search")         ? search_function_op
                   : equal_ignoring_case(name, "vss_range_search") ? range_search_function_op
                                                                   : 0;
    if (argc != 2 || op == 0) {
        return 0;
    }
    *function = entry_for_current_api<&refuse_search>();
    *data = nullptr;
    return *function == nullptr ? 0 : op;
}

int rename(sqlite3_vtab* base, const char* name) {
    return guarded(base, [&] { return handle_of(base).table->rename(name); });
}

int shadow_name(const char* suffix) {
    return Table::is_shadow_name(suffix) ? 1 : 0;
}

// xIntegrity came with SQLite 3.44, behind the members that older headers know. SQLite goes by iVersion, so that an
// older one never looks at it.
#if SQLITE_VERSION_NUMBER >= 3044000
struct ModuleWithIntegrity {
    sqlite3_module module;
    [[nodiscard]] auto& integrity() { return module.xIntegrity; }
};
static_assert(offsetof(sqlite3_module, xIntegrity) == offsetof(sqlite3_module, xShadowName) + sizeof(void*));
#else
struct ModuleWithIntegrity {
    sqlite3_module module;
    int (*behind)(sqlite3_vtab*, const char*, const char*, int, char**);
    [[nodiscard]] auto& integrity() { return behind; }
};
static_assert(offsetof(ModuleWithIntegrity, behind) == offsetof(sqlite3_module, xShadowName) + sizeof(void*));
#endif

// `pragma integrity_check`: what is found is text, not an error.
int integrity(sqlite3_vtab* base, const char* /*schema*/, const char* /*table*/, int /*flags*/, char** out) {
    std::string found;
    char* error = nullptr;
    const int rc = vss::guarded(handle_of(base).api, &error, [&] {
        const Table::Work work(*handle_of(base).table);
        return check_text(*handle_of(base).table, found);
    });
    const ApiScope scope(handle_of(base).api);
    if (rc != SQLITE_OK && error != nullptr && (rc & 0xff) != SQLITE_NOMEM && (rc & 0xff) != SQLITE_INTERRUPT) {
        *out = error;
        return SQLITE_OK;
    }
    sqlite3_free(error);
    if (rc == SQLITE_OK && !found.empty()) {
        *out = sqlite3_mprintf("%s", found.c_str());
    }
    return rc;
}

int register_module(sqlite3* db, const std::shared_ptr<OpenTables>& tables) {
    static const ModuleWithIntegrity module = [] {
        ModuleWithIntegrity made{};
        sqlite3_module& m = made.module;
        m.iVersion = 4;
        m.xCreate = create;
        m.xConnect = connect;
        m.xBestIndex = best_index_of;
        m.xDisconnect = disconnect;
        m.xDestroy = destroy;
        m.xOpen = open;
        m.xClose = close;
        m.xFilter = filter;
        m.xNext = next;
        m.xEof = eof;
        m.xColumn = column;
        m.xRowid = rowid;
        m.xUpdate = update;
        m.xBegin = begin;
        m.xSync = sync;
        m.xCommit = forget;
        m.xRollback = forget;
        m.xFindFunction = find_function;
        m.xRename = rename;
        m.xSavepoint = savepoint;
        m.xRelease = release;
        m.xRollbackTo = rollback_to;
        m.xShadowName = shadow_name;
        made.integrity() = integrity;
        return made;
    }();
    auto connection = std::make_unique<Connection>(Connection{sqlite3_api, tables});
    const auto destroy = [](void* data) { const std::unique_ptr<Connection> owned(static_cast<Connection*>(data)); };
    return sqlite3_create_module_v2(db, "vss0", &module.module, connection.release(), destroy);
}

}  // namespace
}  // namespace vss

extern "C" VSS0_EXPORT int vss0_init(sqlite3* db, char** error, const sqlite3_api_routines* api) {
    return vss::guarded(api, error, [&] {
        constexpr int oldest = 3031000;
        if (sqlite3_libversion_number() < oldest) {
            return vss::Status(vss::Code::unsupported,
                               vss::cat("vss0 needs SQLite 3.31 or newer; this is ", sqlite3_libversion()));
        }
        const auto tables = std::make_shared<vss::OpenTables>();
        int rc = vss::register_module(db, tables);
        if (rc == SQLITE_OK) {
            rc = vss::register_maintenance(db, tables);
        }
        if (rc == SQLITE_OK) {
            rc = vss::register_index_functions(db, tables);
        }
        if (rc == SQLITE_OK) {
            rc = vss::register_buffer_table(db);
        }
        if (rc == SQLITE_OK) {
            rc = vss::register_parameters(db);
        }
        if (rc == SQLITE_OK) {
            rc = vss::register_functions(db);
        }
        if (rc == SQLITE_OK) {
            rc = vss::register_describe(db, tables);
        }
        return rc == SQLITE_OK ? vss::Status::ok() : vss::sqlite_error(db, rc, "registering vss0");
    });
}

extern "C" VSS0_EXPORT int sqlite3_vss_init(sqlite3* db, char** error, const sqlite3_api_routines* api) {
    return vss0_init(db, error, api);
}
