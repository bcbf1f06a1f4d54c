// SQL over a sound or a damaged table: the first byte picks the damage, the rest is SQL text, statement after
// statement. No crash, no endless loop, no error without words; and where nothing was damaged and nothing wrote to the
// shadow tables, vss_check is content afterwards.
#include <sqlite3.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "vss0.h"

namespace {

constexpr std::uint64_t memory_budget = std::uint64_t{1} << 20;

constexpr std::array<const char*, 12> damages = {
    "select 1",
    "delete from t_rows where _rowid % 3 = 0",
    "update t_rows set _slot0 = _slot0 + 1",
    "update t_vectors0 set data = zeroblob(length(data)) where block = 0",
    "delete from t_vectors0 where block = (select max(block) from t_vectors0)",
    "delete from t_segments0",
    "update t_segments0 set live = live + 1",
    "insert into t_free0 select _slot0 from t_rows where _slot0 is not null limit 3",
    "delete from t_cells0 where cell = (select max(cell) from t_cells0)",
    "delete from t_codes0",
    "update t_cells0 set data = substr(data, 2)",
    "update t_config set value = value + 1 where key like '%slots%'",
};

// What could leave the database in memory, or change what the test relies on.
int authorize(void* /*unused*/, int action, const char* first, const char* /*second*/, const char* /*third*/,
              const char* /*fourth*/) {
    switch (action) {
        case SQLITE_ATTACH:
        case SQLITE_DETACH: return SQLITE_DENY;
        case SQLITE_PRAGMA:
            for (const char* denied : {"writable_schema", "temp_store_directory", "journal_mode"}) {
                if (sqlite3_stricmp(first, denied) == 0) {
                    return SQLITE_DENY;  // without a journal a rollback leaves what it likes
                }
            }
            return SQLITE_OK;
        default: return SQLITE_OK;
    }
}

int stop(void* steps) {
    return ++*static_cast<int*>(steps) > 200 ? 1 : 0;
}

// Every statement, as far as a budget of steps allows.
void run(sqlite3* db, const std::string& sql) {
    const char* rest = sql.c_str();
    int steps = 0;
    sqlite3_progress_handler(db, 1000, stop, &steps);
    for (int statements = 0; *rest != '\0' && statements < 20; ++statements) {
        sqlite3_stmt* statement = nullptr;
        int rc = sqlite3_prepare_v2(db, rest, -1, &statement, &rest);
        while (statement != nullptr && (rc == SQLITE_OK || rc == SQLITE_ROW)) {
            rc = sqlite3_step(statement);
            for (int i = 0; rc == SQLITE_ROW && i < sqlite3_column_count(statement); ++i) {
                sqlite3_column_blob(statement, i);
            }
        }
        if (rc != SQLITE_OK && rc != SQLITE_DONE && std::string_view(sqlite3_errmsg(db)).empty()) {
            std::abort();
        }
        sqlite3_finalize(statement);
        if (rc != SQLITE_OK && rc != SQLITE_DONE && statement == nullptr) {
            break;  // it cannot be read, nor what follows
        }
    }
    sqlite3_progress_handler(db, 0, nullptr, nullptr);
}

const std::string& image() {
    static const std::string bytes = [] {
        sqlite3* db = nullptr;
        sqlite3_auto_extension(reinterpret_cast<void (*)()>(&sqlite3_vss_init));
        sqlite3_hard_heap_limit64(std::int64_t{512} << 20);
        sqlite3_open(":memory:", &db);
        run(db,
            "create virtual table t using vss0(a(4), b(2) metric_type=COSINE, h(16) type=bit, company text,"
            " n integer partition key, +note text)");
        run(db,
            "update t_config set value = 10 where key = 'cells_from0';"
            "update t_config set value = 4 where key = 'cell_rows0';"
            "alter table t rename to u; alter table u rename to t");
        run(db,
            "with recursive c(i) as (select 1 union all select i + 1 from c where i < 60)"
            " insert into t(rowid, a, b, h, company, n, note) select i, json_array(i % 5, i % 7, 1, i),"
            " json_array(i, -i), vss_bit(json_array(i % 2, 1, 0, i % 3 = 0, 1, 0, 1, 1, i > 9, 1, 1, 1, 0, 1, 1, 1)),"
            " 'company ' || (i % 3), i % 4, 'note' from c");
        run(db, "delete from t where rowid between 10 and 14; create table posts(id integer primary key, title text)");
        sqlite3_int64 size = 0;
        unsigned char* data = sqlite3_serialize(db, "main", &size, 0);
        std::string out(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
        sqlite3_free(data);
        sqlite3_close(db);
        return out;
    }();
    return bytes;
}

// What vss_check finds; nothing where there is no such table any more.
std::string check(sqlite3* db) {
    sqlite3_stmt* statement = nullptr;
    std::string words = "ok";
    if (sqlite3_prepare_v2(db, "select vss_check('t')", -1, &statement, nullptr) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        words = reinterpret_cast<const char*>(sqlite3_column_text(statement, 0));
    }
    sqlite3_finalize(statement);
    return words;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2 || size > 4096) {
        return 0;
    }
    const std::string& whole = image();
    sqlite3* db = nullptr;
    sqlite3_open(":memory:", &db);
    auto* copy = static_cast<unsigned char*>(sqlite3_malloc64(whole.size()));
    std::memcpy(copy, whole.data(), whole.size());
    sqlite3_deserialize(db, "main", copy, static_cast<sqlite3_int64>(whole.size()),
                        static_cast<sqlite3_int64>(whole.size()),
                        SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE);
    sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 1 << 20);
    const std::size_t damage = data[0] % damages.size();
    run(db, damages[damage]);
    sqlite3_set_authorizer(db, authorize, nullptr);
    // Where nothing is damaged, only the table itself may touch its shadow tables.
    if (damage == 0) {
        sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    }
    run(db, std::string(reinterpret_cast<const char*>(data + 1), size - 1));
    if (sqlite3_get_autocommit(db) == 0) {
        run(db, "rollback");
    }
    if (damage == 0 && check(db) != "ok") {
        std::abort();
    }
    sqlite3_close(db);
    // Nothing is left in the cache: the next input finds what this one found, and no memory looks like a leak.
    vss0_set_memory_budget(0);
    vss0_set_memory_budget(memory_budget);
    return 0;
}
