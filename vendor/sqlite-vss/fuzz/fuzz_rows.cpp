// A table whose shadow rows are damaged as the input says, then used in every way: no crash, no endless loop, and no
// error without words. Input: changes of 6 bytes or more, each
//   which shadow row (2 bytes), where in it (2), how (1), how many bytes of new content (1), the content.
#include <sqlite3.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "vss0.h"

namespace {

constexpr std::uint64_t memory_budget = std::uint64_t{1} << 20;

constexpr std::array<std::string_view, 17> shadows = {
    "t_config.value",  "t_config.key",     "t_rows._slot0",    "t_rows._rowid",       "t_vectors0.data",
    "t_vectors1.data", "t_vectors0.block", "t_segments0.live", "t_segments0.segment", "t_free0.slot",
    "t_cells0.data",   "t_codes0.data",    "t_cells0.cell",    "t_codes0.chunk",      "t_segments1.version",
    "t_rows._slot1",   "t_free1.slot"};

constexpr std::array<const char*, 19> uses = {
    "select rowid, a, n, note from t",
    "select rowid, distance from t where a match '[1, 2, 3, 4]' and k = 5",
    "select rowid, distance, a from t where a match '[1, 2, 3, 4]' and k = 100 and recall = 1.0",
    "select rowid from t where a match '[1, 2, 3, 4]' and k = 5 and n < 20",
    "select rowid from t where a match '[1, 2, 3, 4]' and rowid in (1, 2, 3)",
    "select a from t where rowid = 7",
    "select rowid, distance from t where b match '[1, 2]' and k = 5",
    "select rowid from t where a match '[1, 2, 3, 4]' limit 3",
    "select vss_explain('t', 'a', '[1, 2, 3, 4]', 5, 0.9), vss_stats('t', 'a')",
    "insert into t(a, b, n) values('[9, 9, 9, 9]', '[1, 1]', 3)",
    "insert into t(a, n) values('[9, 8, 9, 9]', 3), ('[9, 7, 9, 9]', 3), ('[9, 6, 9, 9]', 3)",
    "update t set a = '[8, 8, 8, 8]' where rowid < 12",
    "update t set rowid = rowid + 1000 where rowid < 5",
    "delete from t where rowid % 3 = 0",
    "select vss_optimize('t', 'a', 0)",
    "select vss_check('t')",
    "select vss_repair('t')",
    "select vss_check('t')",
    "drop table t"};

void run(sqlite3* db, const char* sql) {
    sqlite3_stmt* statement = nullptr;
    int rc = sqlite3_prepare_v2(db, sql, -1, &statement, nullptr);
    for (int rows = 0; rc == SQLITE_OK || rc == SQLITE_ROW; ++rows) {
        rc = sqlite3_step(statement);
        for (int i = 0; rc == SQLITE_ROW && i < sqlite3_column_count(statement); ++i) {
            sqlite3_column_blob(statement, i);
        }
        if (rows > 100000) {
            std::abort();
        }
    }
    if (rc != SQLITE_DONE && std::string_view(sqlite3_errmsg(db)).empty()) {
        std::abort();
    }
    sqlite3_finalize(statement);
}

// The table, made once: column a has cells of a few rows, column b none.
const std::string& image() {
    static const std::string bytes = [] {
        sqlite3* db = nullptr;
        sqlite3_auto_extension(reinterpret_cast<void (*)()>(&sqlite3_vss_init));
        sqlite3_open(":memory:", &db);
        run(db, "pragma page_size = 1024");
        run(db, "create virtual table t using vss0(a(4), b(2), n integer, +note text)");
        run(db, "update t_config set value = 10 where key = 'cells_from0'");
        run(db, "update t_config set value = 4 where key = 'cell_rows0'");
        run(db, "alter table t rename to u");  // a renamed table reads its configuration again
        run(db, "alter table u rename to t");
        run(db,
            "with recursive c(i) as (select 1 union all select i + 1 from c where i < 60)"
            " insert into t(rowid, a, b, n, note)"
            " select i, json_array(i % 5, i % 7, 1, i), json_array(i, -i), i, 'note' from c");
        run(db, "delete from t where rowid between 10 and 14");
        sqlite3_int64 size = 0;
        unsigned char* data = sqlite3_serialize(db, "main", &size, 0);
        std::string out(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
        sqlite3_free(data);
        sqlite3_close(db);
        return out;
    }();
    return bytes;
}

void damage(sqlite3* db, std::span<const std::uint8_t>& input) {
    const std::string_view place = shadows[input[0] % shadows.size()];
    const std::string table(place.substr(0, place.find('.')));
    const std::string column(place.substr(place.find('.') + 1));
    const unsigned row = input[1];
    const unsigned offset = input[2] + 256U * input[3];
    const unsigned how = input[4] % 6;
    const std::size_t length = std::min<std::size_t>(input[5] % 32, input.size() - 6);
    const std::span<const std::uint8_t> content = input.subspan(6, length);
    input = input.subspan(6 + length);
    const std::string where = " where rowid = (select rowid from " + table + " limit 1 offset " + std::to_string(row) +
                              " % max(1, (select count(*) from " + table + ")))";
    constexpr std::array<const char*, 6> new_values = {
        // ?1 content, ?2 offset
        "case when length(VALUE) > ?2 + length(?1) then cast(substr(VALUE, 1, ?2) || ?1 as blob) ||"
        " substr(VALUE, ?2 + length(?1) + 1) else ?1 end",
        "substr(VALUE, 1, ?2)",
        "VALUE || ?1",
        "?2",
        "-1 - ?2",
        "null"};
    std::string value = new_values[how];
    for (std::size_t at = 0; (at = value.find("VALUE", at)) != std::string::npos;) {
        value.replace(at, 5, column);
    }
    const std::string sql = how == 5 && offset % 2 == 1
                                ? "delete from " + table + where
                                : "update or ignore " + table + " set " + column + " = " + value + where;
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db, sql.c_str(), -1, &statement, nullptr) == SQLITE_OK) {
        sqlite3_bind_blob(statement, 1, content.data(), static_cast<int>(content.size()), SQLITE_STATIC);
        sqlite3_bind_int(statement, 2, static_cast<int>(offset));
        sqlite3_step(statement);
    }
    sqlite3_finalize(statement);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string& whole = image();
    sqlite3* db = nullptr;
    sqlite3_open(":memory:", &db);
    auto* copy = static_cast<unsigned char*>(sqlite3_malloc64(whole.size()));
    std::memcpy(copy, whole.data(), whole.size());
    sqlite3_deserialize(db, "main", copy, static_cast<sqlite3_int64>(whole.size()),
                        static_cast<sqlite3_int64>(whole.size()),
                        SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE);
    std::span<const std::uint8_t> input(data, size);
    while (input.size() >= 6) {
        damage(db, input);
    }
    for (const char* sql : uses) {
        run(db, sql);
    }
    sqlite3_close(db);
    // Nothing is left in the cache: the next input finds what this one found, and no memory looks like a leak.
    vss0_set_memory_budget(0);
    vss0_set_memory_budget(memory_budget);
    return 0;
}
