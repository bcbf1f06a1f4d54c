#include "buffer_table.h"

#include <memory>
#include <new>

#include "registry.h"

namespace vss {
namespace {

enum BufferColumn { column_id = 0, column_vector = 1, column_ticket = 2 };

struct BufferTable : sqlite3_vtab {
    const sqlite3_api_routines* api = nullptr;
};

struct BufferCursor : sqlite3_vtab_cursor {
    std::shared_ptr<const RowsBuffer> rows;
    std::size_t position = 0;
};

const sqlite3_api_routines* api_of(sqlite3_vtab* table) {
    return static_cast<BufferTable*>(table)->api;
}

int connect(sqlite3* db, void* aux, int /*argc*/, const char* const* /*argv*/, sqlite3_vtab** out, char** /*error*/) {
    const auto* api = static_cast<const sqlite3_api_routines*>(aux);
    const ApiScope scope(api);
    std::unique_ptr<BufferTable> table(new (std::nothrow) BufferTable());
    if (table == nullptr) {
        return SQLITE_NOMEM;
    }
    table->api = api;
    const int rc = sqlite3_declare_vtab(db, "create table x(id integer, vector blob, ticket hidden)");
    if (rc != SQLITE_OK) {
        return rc;
    }
    // Buffers are this process's own; a schema from a file has no business with them.
    sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);
    *out = table.release();
    return SQLITE_OK;
}

int disconnect(sqlite3_vtab* table) {
    const std::unique_ptr<BufferTable> owned(static_cast<BufferTable*>(table));
    return SQLITE_OK;
}

int best_index(sqlite3_vtab* /*table*/, sqlite3_index_info* info) {
    for (int i = 0; i < info->nConstraint; ++i) {
        const auto& constraint = info->aConstraint[i];
        if (constraint.iColumn == column_ticket && constraint.op == SQLITE_INDEX_CONSTRAINT_EQ) {
            if (constraint.usable == 0) {
                return SQLITE_CONSTRAINT;
            }
            info->aConstraintUsage[i].argvIndex = 1;
            info->aConstraintUsage[i].omit = 1;
            info->idxNum = 1;
            info->estimatedCost = 1;
            info->estimatedRows = 1000;
            return SQLITE_OK;
        }
    }
    info->estimatedCost = 1e12;
    return SQLITE_OK;
}

int open(sqlite3_vtab* /*table*/, sqlite3_vtab_cursor** out) {
    std::unique_ptr<BufferCursor> cursor(new (std::nothrow) BufferCursor());
    if (cursor == nullptr) {
        return SQLITE_NOMEM;
    }
    *out = cursor.release();
    return SQLITE_OK;
}

int close(sqlite3_vtab_cursor* cursor) {
    const std::unique_ptr<BufferCursor> owned(static_cast<BufferCursor*>(cursor));
    return SQLITE_OK;
}

int filter(sqlite3_vtab_cursor* base, int plan, const char* /*text*/, int argc, sqlite3_value** argv) {
    const ApiScope scope(api_of(base->pVtab));
    auto* cursor = static_cast<BufferCursor*>(base);
    cursor->position = 0;
    cursor->rows = plan == 1 && argc == 1 ? find_rows(sqlite3_value_int64(argv[0])) : nullptr;
    if (cursor->rows == nullptr) {
        sqlite3_free(base->pVtab->zErrMsg);
        base->pVtab->zErrMsg = sqlite3_mprintf("vss_buffer(ticket): expected a ticket that this process has issued");
        return SQLITE_ERROR;
    }
    return SQLITE_OK;
}

int next(sqlite3_vtab_cursor* cursor) {
    ++static_cast<BufferCursor*>(cursor)->position;
    return SQLITE_OK;
}

int eof(sqlite3_vtab_cursor* base) {
    const auto* cursor = static_cast<BufferCursor*>(base);
    return cursor->rows == nullptr || cursor->position >= cursor->rows->n ? 1 : 0;
}

int column(sqlite3_vtab_cursor* base, sqlite3_context* context, int column) {
    const ApiScope scope(api_of(base->pVtab));
    const auto* cursor = static_cast<BufferCursor*>(base);
    const RowsBuffer& rows = *cursor->rows;
    if (column == column_id) {
        sqlite3_result_int64(context, rows.ids[cursor->position]);
    } else if (column == column_vector && rows.rows != nullptr) {
        // The caller keeps the memory until the ticket is released, which is after the statement.
        sqlite3_result_blob64(context, rows.rows + cursor->position * rows.stride, rows.row_bytes, SQLITE_STATIC);
    }
    return SQLITE_OK;
}

int rowid(sqlite3_vtab_cursor* cursor, sqlite3_int64* out) {
    *out = static_cast<sqlite3_int64>(static_cast<BufferCursor*>(cursor)->position);
    return SQLITE_OK;
}

}  // namespace

int register_buffer_table(sqlite3* db) {
    static const sqlite3_module module = [] {
        sqlite3_module m{};
        m.xConnect = connect;
        m.xBestIndex = best_index;
        m.xDisconnect = disconnect;
        m.xOpen = open;
        m.xClose = close;
        m.xFilter = filter;
        m.xNext = next;
        m.xEof = eof;
        m.xColumn = column;
        m.xRowid = rowid;
        return m;
    }();
    return sqlite3_create_module_v2(db, "vss_buffer", &module,
                                    const_cast<sqlite3_api_routines*>(sqlite3_api),  // NOLINT: SQLite's own signature
                                    nullptr);
}

}  // namespace vss
