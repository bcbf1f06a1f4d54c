// vector_fvecs_each(blob): the records of an fvecs file's contents, a row each. A record is a little-endian int32, its
// number of dimensions, and as many float32 values (http://corpus-texmex.irisa.fr). It takes a blob, never a path.
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "base/text.h"
#include "base/types.h"
#include "kernels/vector_value.h"
#include "sqlite/functions/functions.h"
#include "sqlite/guarded.h"

namespace vss {
namespace {

enum FvecsColumn { column_dimensions = 0, column_vector = 1, column_input = 2 };
constexpr std::size_t length_bytes = 4;

struct FvecsTable : sqlite3_vtab {
    const sqlite3_api_routines* api = nullptr;
};

struct FvecsCursor : sqlite3_vtab_cursor {
    std::vector<std::byte> input;  // kept for as long as rows come from it
    std::size_t at = 0;            // of the record
    std::size_t dim = 0;
    sqlite3_int64 record = 0;  // from 1; 0 past the end
};

const sqlite3_api_routines* api_of(sqlite3_vtab* table) {
    return static_cast<FvecsTable*>(table)->api;
}

// Reads the length at `at`; at the end of the input leaves record 0.
Status read_record(FvecsCursor& cursor) {
    const std::size_t left = cursor.input.size() - cursor.at;
    if (left == 0) {
        cursor.record = 0;
        return Status::ok();
    }
    const std::string what = cat("vector_fvecs_each: record ", cursor.record, " at byte ", cursor.at);
    std::uint32_t dim = 0;
    if (left < length_bytes) {
        return Status::invalid(
            cat(what, ": expected a 4-byte number of dimensions, got ", left, left == 1 ? " byte" : " bytes"));
    }
    for (std::size_t i = 0; i < length_bytes; ++i) {
        dim |= static_cast<std::uint32_t>(cursor.input[cursor.at + i]) << (8 * i);
    }
    if (dim > max_dimensions) {
        return Status::invalid(
            cat(what, ": expected at most ", max_dimensions, " dimensions, got ", static_cast<std::int32_t>(dim)));
    }
    const std::size_t bytes = vector_bytes(ElementType::float32, dim);
    if (left - length_bytes < bytes) {
        return Status::invalid(
            cat(what, ": expected ", bytes, " bytes of ", dim, " dimensions, got ", left - length_bytes));
    }
    cursor.dim = dim;
    return validate_vector(ElementType::float32, Metric::l2, cursor.input.data() + cursor.at + length_bytes, dim, what);
}

template <class Body>
int guarded(sqlite3_vtab* table, Body body) {
    return vss::guarded(api_of(table), &table->zErrMsg, body);
}

int connect(sqlite3* db, void* aux, int /*argc*/, const char* const* /*argv*/, sqlite3_vtab** out, char** /*error*/) {
    const auto* api = static_cast<const sqlite3_api_routines*>(aux);
    const ApiScope scope(api);
    std::unique_ptr<FvecsTable> table(new (std::nothrow) FvecsTable());
    if (table == nullptr) {
        return SQLITE_NOMEM;
    }
    table->api = api;
    const int rc = sqlite3_declare_vtab(db, "create table x(dimensions integer, vector blob, input hidden)");
    if (rc != SQLITE_OK) {
        return rc;
    }
    sqlite3_vtab_config(db, SQLITE_VTAB_INNOCUOUS);
    *out = table.release();
    return SQLITE_OK;
}

int disconnect(sqlite3_vtab* table) {
    const std::unique_ptr<FvecsTable> owned(static_cast<FvecsTable*>(table));
    return SQLITE_OK;
}

int best_index(sqlite3_vtab* /*table*/, sqlite3_index_info* info) {
    for (int i = 0; i < info->nConstraint; ++i) {
        const auto& constraint = info->aConstraint[i];
        if (constraint.iColumn == column_input && constraint.op == SQLITE_INDEX_CONSTRAINT_EQ) {
            if (constraint.usable == 0) {
                return SQLITE_CONSTRAINT;
            }
            info->aConstraintUsage[i].argvIndex = 1;
            info->aConstraintUsage[i].omit = 1;
            info->idxNum = 1;
            info->estimatedCost = 1000;
            info->estimatedRows = 1000;
            return SQLITE_OK;
        }
    }
    info->estimatedCost = 1e12;
    return SQLITE_OK;
}

int open(sqlite3_vtab* /*table*/, sqlite3_vtab_cursor** out) {
    std::unique_ptr<FvecsCursor> cursor(new (std::nothrow) FvecsCursor());
    if (cursor == nullptr) {
        return SQLITE_NOMEM;
    }
    *out = cursor.release();
    return SQLITE_OK;
}

int close(sqlite3_vtab_cursor* cursor) {
    const std::unique_ptr<FvecsCursor> owned(static_cast<FvecsCursor*>(cursor));
    return SQLITE_OK;
}

int filter(sqlite3_vtab_cursor* base, int plan, const char* /*text*/, int argc, sqlite3_value** argv) {
    return guarded(base->pVtab, [&]() -> Status {
        auto& cursor = *static_cast<FvecsCursor*>(base);
        cursor.input.clear();
        cursor.at = 0;
        cursor.record = 0;
        if (plan != 1 || argc != 1) {
            return Status::invalid("vector_fvecs_each(blob): expected an argument, got none");
        }
        if (sqlite3_value_type(argv[0]) == SQLITE_NULL) {
            return Status::ok();
        }
        if (sqlite3_value_type(argv[0]) != SQLITE_BLOB) {
            return Status::invalid(cat(
                "vector_fvecs_each(blob): expected the contents of an fvecs file as a blob, got ", described(argv[0])));
        }
        const std::span<const std::byte> bytes = blob_of(argv[0]);
        cursor.input.assign(bytes.begin(), bytes.end());
        cursor.record = 1;
        return read_record(cursor);
    });
}

int next(sqlite3_vtab_cursor* base) {
    return guarded(base->pVtab, [&]() -> Status {
        auto& cursor = *static_cast<FvecsCursor*>(base);
        cursor.at += length_bytes + vector_bytes(ElementType::float32, cursor.dim);
        ++cursor.record;
        return read_record(cursor);
    });
}

int eof(sqlite3_vtab_cursor* cursor) {
    return static_cast<FvecsCursor*>(cursor)->record == 0 ? 1 : 0;
}

int column(sqlite3_vtab_cursor* base, sqlite3_context* context, int column) {
    const ApiScope scope(api_of(base->pVtab));
    const auto& cursor = *static_cast<FvecsCursor*>(base);
    const std::span<const std::byte> input = cursor.input;
    switch (column) {
        case column_dimensions: sqlite3_result_int64(context, static_cast<sqlite3_int64>(cursor.dim)); break;
        case column_vector:
            set_result(context,
                       input.subspan(cursor.at + length_bytes, vector_bytes(ElementType::float32, cursor.dim)));
            break;
        default: set_result(context, input); break;
    }
    return SQLITE_OK;
}

int rowid(sqlite3_vtab_cursor* cursor, sqlite3_int64* out) {
    *out = static_cast<FvecsCursor*>(cursor)->record;
    return SQLITE_OK;
}

}  // namespace

int register_fvecs_table(sqlite3* db) {
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
    return sqlite3_create_module_v2(db, "vector_fvecs_each", &module,
                                    const_cast<sqlite3_api_routines*>(sqlite3_api),  // NOLINT: SQLite's own signature
                                    nullptr);
}

}  // namespace vss
