#include "sqlite/functions/buffer_table.h"

#include <memory>
#include <new>
#include <string>
#include <vector>

#include "base/text.h"
#include "sqlite/registry.h"

namespace vss {
namespace {

enum BufferColumn { column_id = 0, column_vector = 1, column_last = 2, column_ticket = 3 };

struct BufferTable : sqlite3_vtab {
    const sqlite3_api_routines* api = nullptr;
};

struct BufferCursor : sqlite3_vtab_cursor {
    std::shared_ptr<const RowsBuffer> rows;
    std::size_t position = 0;
    std::vector<float> converted;
    // The host's float32 rows [piece_begin, piece_end).
    const float* piece = nullptr;
    std::size_t piece_begin = 0;
    std::size_t piece_end = 0;
};

void set_error(sqlite3_vtab* table, const std::string& message) {
    sqlite3_free(table->zErrMsg);
    table->zErrMsg = sqlite3_mprintf("%s", message.c_str());
}

std::string id_words(const RowsBuffer& rows, std::size_t i) {
    if (rows.ids != nullptr) {
        return cat(rows.ids[i]);
    }
    return rows.keys_are_text ? cat('"', rows.key(i), '"') : std::string("a blob");
}

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
    const int rc = sqlite3_declare_vtab(db, "create table x(id, vector blob, last boolean, ticket hidden)");
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
    cursor->piece = nullptr;
    cursor->piece_begin = cursor->piece_end = 0;
    cursor->rows = plan == 1 && argc == 1 ? find_rows(sqlite3_value_int64(argv[0])) : nullptr;
    if (cursor->rows == nullptr) {
        set_error(base->pVtab, "vss_buffer(ticket): expected a ticket that this process has issued");
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

void result_id(sqlite3_context* context, const RowsBuffer& rows, std::size_t i) {
    if (rows.ids != nullptr) {
        sqlite3_result_int64(context, rows.ids[i]);
        return;
    }
    const std::string_view key = rows.key(i);
    if (rows.keys_are_text) {
        sqlite3_result_text64(context, key.data(), key.size(), SQLITE_STATIC, SQLITE_UTF8);
    } else {
        sqlite3_result_blob64(context, key.data(), key.size(), SQLITE_STATIC);
    }
}

int result_vector(sqlite3_context* context, BufferCursor& cursor) {
    const RowsBuffer& rows = *cursor.rows;
    const std::size_t i = cursor.position;
    if (rows.piece != nullptr) {
        if (i < cursor.piece_begin || i >= cursor.piece_end) {
            std::size_t count = 0;
            cursor.piece = rows.piece(rows.host, i, &count);
            if (cursor.piece == nullptr || count == 0) {
                set_error(cursor.pVtab, cat("vss_buffer: row ", i, " could not be read"));
                return SQLITE_ERROR;
            }
            cursor.piece_begin = i;
            cursor.piece_end = i + count;
        }
        sqlite3_result_blob64(context, cursor.piece + (i - cursor.piece_begin) * (rows.row_bytes / sizeof(float)),
                              rows.row_bytes, SQLITE_TRANSIENT);
        return SQLITE_OK;
    }
    const std::byte* row = rows.rows + static_cast<std::ptrdiff_t>(i) * rows.stride;
    if (!rows.numbers) {
        // The caller keeps the memory until the ticket is released, which is after the statement.
        sqlite3_result_blob64(context, row, rows.row_bytes, SQLITE_STATIC);
        return SQLITE_OK;
    }
    cursor.converted.resize(rows.numbers->dim);
    const Status status = convert_row(*rows.numbers, row, cursor.converted.data());
    if (!status.is_ok()) {
        set_error(cursor.pVtab, cat("vss_buffer: row ", i, " (id ", id_words(rows, i), "): ", status.message()));
        return SQLITE_ERROR;
    }
    sqlite3_result_blob64(context, cursor.converted.data(), cursor.converted.size() * sizeof(float), SQLITE_TRANSIENT);
    return SQLITE_OK;
}

int column(sqlite3_vtab_cursor* base, sqlite3_context* context, int column) {
    const ApiScope scope(api_of(base->pVtab));
    auto& cursor = *static_cast<BufferCursor*>(base);
    try {
        if (column == column_id) {
            result_id(context, *cursor.rows, cursor.position);
        } else if (column == column_last) {
            sqlite3_result_int(context, cursor.position + 1 == cursor.rows->n ? 1 : 0);
        } else if (column == column_vector && (cursor.rows->rows != nullptr || cursor.rows->piece != nullptr)) {
            return result_vector(context, cursor);
        }
        return SQLITE_OK;
    } catch (...) {  // std::bad_alloc
        return SQLITE_NOMEM;
    }
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
