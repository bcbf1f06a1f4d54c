// vss0 as SQLite 3.31 would meet it: an API table that ends where 3.31's did, and says that version. A call to anything
// newer would jump to nothing; so would a version test that is missing. Older than that, vss0 refuses in words.
#define SQLITE_CORE 1  // sqlite3ext.h for its struct, not for its macros
#include <sqlite3.h>
#include <sqlite3ext.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

extern "C" int sqlite3_vss_init(sqlite3* db, char** error, const sqlite3_api_routines* api);

namespace {

const sqlite3_api_routines* given = nullptr;

int take(sqlite3* /*db*/, char** /*error*/, const sqlite3_api_routines* api) {
    given = api;
    return SQLITE_OK;
}

// SQLite's table of functions as it was in 3.31, whose last new member was filename_wal.
sqlite3_api_routines old_routines(int (*number)(), const char* (*words)()) {
    sqlite3_api_routines routines = *given;
    constexpr std::size_t known = offsetof(sqlite3_api_routines, create_filename);
    std::memset(reinterpret_cast<char*>(&routines) + known, 0, sizeof routines - known);
    routines.libversion_number = number;
    routines.libversion = words;
    return routines;
}

std::string ask(sqlite3* db, const char* sql) {
    std::string out;
    sqlite3_stmt* statement = nullptr;
    int rc = sqlite3_prepare_v2(db, sql, -1, &statement, nullptr);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(statement);
        for (int i = 0; rc == SQLITE_ROW && i < sqlite3_column_count(statement); ++i) {
            const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, i));
            out += text == nullptr ? "null" : text;
            out += ' ';
        }
    }
    if (rc != SQLITE_DONE) {
        out += sqlite3_errmsg(db);
    }
    sqlite3_finalize(statement);
    return out;
}

void expect(sqlite3* db, const char* sql, const std::string& answer) {
    const std::string found = ask(db, sql);
    if (found != answer) {
        std::fprintf(stderr, "%s\n  gives    %s\n  expected %s\n", sql, found.c_str(), answer.c_str());
        std::abort();
    }
}

struct Step {
    const char* sql;
    const char* answer;
};

constexpr Step steps[] = {
    {"create virtual table t using vss0(a(2), b(8) type=bit, c(2) type=float16 metric_type=COSINE, company text,"
     " n integer partition key, +note text)",
     ""},
    {"update t_config set value = 10 where key glob 'cells_from*'", ""},
    {"update t_config set value = 4 where key glob 'cell_rows*'", ""},
    {"alter table t rename to u", ""},
    {"alter table u rename to t", ""},
    {"with recursive s(i) as (select 1 union all select i + 1 from s where i < 50)"
     " insert into t(rowid, a, b, c, company, n, note) select i, json_array(i, 0), vss_bit(json_array(i % 2, 1, 1, 1, "
     "1, 1, 1, i % 2)),"
     " vss_float16(json_array(i, 1)), 'company ' || (i % 3), i % 4, 'note' from s",
     ""},
    {"select rowid, distance from t where a match '[7, 0]' and k = 3 and recall = 1.0", "7 0.0 6 1.0 8 1.0 "},
    {"select rowid from t where a match '[7, 0]' and k = 2 and n = 1 and company like 'COMP%'", "5 9 "},
    {"select rowid from t where a match '[7, 0]' and distance between 1 and 4 and recall = 1.0", "6 8 5 9 "},
    {"select rowid from t where a match '[7, 0]' order by distance limit 2 offset 1", "6 8 "},
    // IN, which comes value by value: LIMIT makes it right, and so says the manual.
    {"select rowid from t where a match '[7, 0]' and rowid in (40, 30, 20) order by distance limit 2", "20 30 "},
    {"select rowid from t where a match '[7, 0]' and company in ('company 1', 'company 2') order by distance limit 3",
     "7 8 5 "},
    {"select count(*) from t where a match '[7, 0]' and k = 2 and company in ('company 1', 'company 2')",
     "table \"t\": SQLite 3.31.0 runs a search once for each value of \"company in ('company 1', 'company 2')\" (3.38 "
     "hands them over at once), so fewer than k rows could come back though more match. Write \"order by distance "
     "limit\" in place of k, or hand the rows over as JSON: match vss_search_params(vector, k, recall, (select "
     "json_group_array(id) from ...))"},
    {"select rowid from t where a match '[7, 0]' and k = 3 and recall = 1.0 and (n = 1 or n = 2) is true", "6 5 9 "},
    {"select rowid from t where a match '[7, 0]' and k = 3 and random() is not null",
     "table \"t\": SQLite checks the condition \"random() is not null\" after the k nearest rows are found, so fewer "
     "than k "
     "rows could come back though more match. Write \"order by distance limit\" in place of k, or put the condition "
     "into "
     "rowid in (select rowid from t where ...)"},
    {"select id from (select rowid as id from t where a match '[7, 0]' and k = 3 and recall = 1.0) where id = 20", ""},
    {"select rowid from t where a match vss_search_params('[7, 0]', 2, 0.95, '[40, 30, 20]')", "20 30 "},
    {"select rowid from t where vss_search(a, vss_search_params('[7, 0]', 2, 1.0,"
     " (select json_group_array(rowid) from t where company = 'company 1' and n = 0)))",
     "4 16 "},
    {"select rowid from t where a match vss_search_params('[7, 0]', 2, 0.95, '[40, x]')",
     "the rows to search among: expected a JSON array of rowids, got \"x]\" at byte 5"},
    {"insert into t(rowid, a, k) values(600, '[1, 1]', 3)",
     "table \"t\": k belongs into the where clause of a search; rows do not have it"},
    {"select rowid from t where b match x'ff' and k = 1", "1 "},
    {"select rowid from t where vss_search(c, vss_search_params('[9, 1]', 1))", "9 "},
    {"update t set rowid = rowid + 1000, a = json_array(rowid, 1) where rowid > 40", ""},
    {"insert or replace into t(rowid, a) values(3, '[3, 3]')", ""},
    {"insert into t(operation, rowid, a) values('upsert', 4, '[4, 4]')", ""},
    {"begin", ""},
    {"delete from t where rowid % 2", ""},
    {"savepoint s", ""},
    {"delete from t", ""},
    {"rollback to s", ""},
    {"commit", ""},
    {"select count(*), min(rowid), max(rowid) from t", "25 2 1050 "},
    {"select vss_check('t')", "ok "},
    {"select vss_repair('t')", "ok "},
    {"select vss_optimize('t', 'a', 0) like '{%', vss_stats('t', 'a') like '{%', vss_count('t', 'a')", "1 1 25 "},
    {"drop table t", ""},
    {"select count(*) from sqlite_master", "0 "},
};

}  // namespace

int main() {
    sqlite3_auto_extension(reinterpret_cast<void (*)()>(&take));
    sqlite3* db = nullptr;
    sqlite3_open(":memory:", &db);

    static const sqlite3_api_routines oldest = old_routines([] { return 3031000; }, [] { return "3.31.0"; });
    char* error = nullptr;
    if (sqlite3_vss_init(db, &error, &oldest) != SQLITE_OK) {
        std::fprintf(stderr, "SQLite 3.31: %s\n", error);
        return 1;
    }
    int count = 0;
    for (const Step& step : steps) {
        expect(db, step.sql, step.answer);
        ++count;
    }
    sqlite3_close(db);

    sqlite3_open(":memory:", &db);
    static const sqlite3_api_routines too_old = old_routines([] { return 3030001; }, [] { return "3.30.1"; });
    const int rc = sqlite3_vss_init(db, &error, &too_old);
    const std::string words = error == nullptr ? "" : error;
    sqlite3_free(error);
    sqlite3_close(db);
    if (rc != SQLITE_ERROR || words != "vss0 needs SQLite 3.31 or newer; this is 3.30.1") {
        std::fprintf(stderr, "SQLite 3.30: result %d, \"%s\"\n", rc, words.c_str());
        return 1;
    }
    std::printf("%d statements as SQLite 3.31.0; 3.30.1 refused: %s\n", count, words.c_str());
    return 0;
}
