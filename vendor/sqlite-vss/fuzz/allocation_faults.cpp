// Every allocation failing, once and for good: those of SQLite, those of the extension (operator new), and both.
//
// After each, the table holds the rows from before or after the transaction, the checks are content, and a search
// equals a sort by distance. Run without arguments it takes a sample of the allocations; `allocation_faults all`, or
// VSSNATIVE_CAMPAIGN in the environment, takes each; `allocation_faults all celled` (or plain) only those of one kind
// of table. Prints how many faults were injected.
#include <sqlite3.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <string_view>

struct sqlite3_api_routines;
extern "C" int sqlite3_vss_init(sqlite3* db, char** error, const sqlite3_api_routines* api);

namespace {

// Searches of this size use no second thread, so plain numbers do.
struct Injector {
    bool armed = false;
    bool for_good = false;
    bool in_sqlite = false;
    bool in_new = false;
    long calls = 0;
    long fails_at = 0;
    long faults = 0;

    bool fails(bool is_new) {
        if (!armed || !(is_new ? in_new : in_sqlite)) {
            return false;
        }
        ++calls;
        const bool failing = calls == fails_at || (for_good && calls > fails_at);
        faults += failing ? 1 : 0;
        return failing;
    }
};

Injector injector;
std::string series;  // what is being tried, for messages
sqlite3_mem_methods plain;

void* faulty_malloc(int size) {
    return injector.fails(false) ? nullptr : plain.xMalloc(size);
}
void* faulty_realloc(void* old, int size) {
    return injector.fails(false) ? nullptr : plain.xRealloc(old, size);
}

void* allocate(std::size_t size, std::size_t alignment) {
    void* data =
        injector.fails(true) ? nullptr : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
    if (data == nullptr) {
        throw std::bad_alloc();
    }
    return data;
}

void require(bool condition, const char* what, const std::string& where) {
    if (!condition) {
        std::fprintf(stderr, "%s: %s: %s\n", series.c_str(), where.c_str(), what);
        std::abort();
    }
}

// All rows of a query as text; sets `rc`.
std::string ask(sqlite3* db, const char* sql, int& rc) {
    std::string out;
    sqlite3_stmt* statement = nullptr;
    rc = sqlite3_prepare_v2(db, sql, -1, &statement, nullptr);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(statement);
        for (int i = 0; rc == SQLITE_ROW && i < sqlite3_column_count(statement); ++i) {
            const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, i));
            if (!injector.armed) {
                out += text == nullptr ? "null" : text;
                out += '|';
            }
        }
    }
    sqlite3_finalize(statement);
    return out;
}

std::string ask(sqlite3* db, const char* sql) {
    int rc = SQLITE_OK;
    std::string out = ask(db, sql, rc);
    require(rc == SQLITE_DONE, sql, sqlite3_errmsg(db));
    return out;
}

constexpr const char* contents = "select rowid, hex(a), hex(b), year, note from t order by rowid";

constexpr const char* workload[] = {
    "begin",
    "insert into t(rowid, a, b, year) values(100, '[1, 2, 3, 4]', '[5, 6]', 7), (101, '[4, 3, 2, 1]', null, 8)",
    "replace into t(rowid, a, note) values(3, '[9, 9, 9, 9]', 'replaced')",
    "savepoint s",
    "delete from t where rowid < 8",
    "select rowid, distance from t where a match '[1, 1, 1, 1]' and k = 5 and year > 3",
    "rollback to s",
    "update t set b = '[7, 7]', year = year + 1 where rowid between 10 and 20",
    "update t set rowid = 200 where rowid = 9",
    "delete from t where rowid % 4 = 1",
    "select rowid, a from t where b match '[1, 1]' and k = 5",
    "select vss_check('t')",
    "commit",
};

sqlite3* open(const std::string& image) {
    sqlite3* db = nullptr;
    sqlite3_open(":memory:", &db);
    auto* data = static_cast<unsigned char*>(sqlite3_malloc64(image.size()));
    image.copy(reinterpret_cast<char*>(data), image.size());
    sqlite3_deserialize(db, "main", data, static_cast<sqlite3_int64>(image.size()),
                        static_cast<sqlite3_int64>(image.size()),
                        SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE);
    return db;
}

// `celled`: cells from ten rows on, a few rows each, so that the workload makes, splits and merges them.
std::string make_image(bool celled) {
    sqlite3* db = nullptr;
    sqlite3_open(":memory:", &db);
    ask(db, "create virtual table t using vss0(a(4), b(2), year integer, +note text)");
    if (celled) {
        ask(db, "update t_config set value = 10 where key glob 'cells_from*'");
        ask(db, "update t_config set value = 4 where key glob 'cell_rows*'");
        // A renamed table reads its configuration again.
        ask(db, "alter table t rename to u");
        ask(db, "alter table u rename to t");
    }
    ask(db,
        "with recursive c(i) as (select 1 union all select i + 1 from c where i < 60)"
        " insert into t(rowid, a, b, year, note)"
        " select i, json_array(i % 5, i % 7, 1, i), json_array(i, -i), i, 'note ' || i from c");
    ask(db, "delete from t where rowid between 30 and 34");
    sqlite3_int64 size = 0;
    unsigned char* data = sqlite3_serialize(db, "main", &size, 0);
    std::string image(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
    sqlite3_free(data);
    sqlite3_close(db);
    return image;
}

void check(sqlite3* db, const std::string& before, const std::string& after, const std::string& where) {
    const std::string now = ask(db, contents);
    require(now == before || now == after, "rows of neither before nor after", where);
    const std::string found = ask(db, "select vss_check('t')");
    require(found == "ok|", found.c_str(), where);
    require(ask(db, "pragma integrity_check") == "ok|", "integrity_check", where);
    require(ask(db, "select rowid from t where a match '[1, 2, 3, 4]' and k = 9 and recall = 1.0") ==
                ask(db,
                    "select rowid from t where a is not null order by vss_distance_l2(a, '[1, 2, 3, 4]'), rowid"
                    " limit 9"),
            "the search differs from a sort", where);
}

void run(sqlite3* db) {
    for (const char* sql : workload) {
        int rc = SQLITE_OK;
        ask(db, sql, rc);
        if (rc != SQLITE_DONE) {
            return;
        }
    }
}

long inject(const std::string& image, const std::string& before, const std::string& after, const std::string& kind,
            bool in_sqlite, bool in_new, bool for_good, long stride) {
    long faults = 0;
    for (long n = 1;; n += stride) {
        series = kind + ", " + (in_sqlite ? "SQLite " : "") + (in_new ? "new " : "") +
                 (for_good ? "for good, " : "once, ") + "allocation " + std::to_string(n);
        sqlite3* db = open(image);
        ask(db, "select count(*) from t");
        injector = {true, for_good, in_sqlite, in_new, 0, n, 0};
        run(db);
        injector.armed = false;
        const bool ended = injector.faults == 0;
        faults += injector.faults;
        if (sqlite3_get_autocommit(db) == 0) {
            ask(db, "rollback");
        }
        check(db, before, after, "afterwards");
        ask(db, "insert into t(rowid, a) values(999, '[1, 2, 3, 5]')");
        ask(db, "delete from t where rowid = 999");
        check(db, before, after, "after one more insert and delete");
        sqlite3_close(db);
        if (ended) {
            return faults;
        }
    }
}

}  // namespace

void* operator new(std::size_t size) {
    return allocate(size, alignof(std::max_align_t));
}
void* operator new[](std::size_t size) {
    return allocate(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
    return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
    return allocate(size, static_cast<std::size_t>(alignment));
}
// std::stable_sort asks this one for its buffer, and does without if there is none.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    try {
        return allocate(size, alignof(std::max_align_t));
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
    return operator new(size, std::nothrow);
}
void operator delete(void* data) noexcept {
    std::free(data);
}
void operator delete[](void* data) noexcept {
    std::free(data);
}
void operator delete(void* data, std::size_t) noexcept {
    std::free(data);
}
void operator delete[](void* data, std::size_t) noexcept {
    std::free(data);
}
void operator delete(void* data, std::align_val_t) noexcept {
    std::free(data);
}
void operator delete[](void* data, std::align_val_t) noexcept {
    std::free(data);
}
void operator delete(void* data, std::size_t, std::align_val_t) noexcept {
    std::free(data);
}
void operator delete[](void* data, std::size_t, std::align_val_t) noexcept {
    std::free(data);
}

int main(int argc, char** argv) {
    const char* campaign = std::getenv("VSSNATIVE_CAMPAIGN");
    const bool all = (argc > 1 && std::string_view(argv[1]) == "all") ||
                     (campaign != nullptr && *campaign != '\0' && *campaign != '0');
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &plain);
    sqlite3_mem_methods faulty = plain;
    faulty.xMalloc = faulty_malloc;
    faulty.xRealloc = faulty_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &faulty);
    sqlite3_initialize();
    sqlite3_auto_extension(reinterpret_cast<void (*)()>(&sqlite3_vss_init));

    const std::string_view only = argc > 2 ? argv[2] : "";
    long faults = 0;
    long runs = 0;
    for (const bool celled : {false, true}) {
        const std::string kind = celled ? "celled" : "plain";
        if (!only.empty() && only != kind) {
            continue;
        }
        const std::string image = make_image(celled);
        sqlite3* db = open(image);
        const std::string before = ask(db, contents);
        run(db);
        const std::string after = ask(db, contents);
        require(before != after, "the workload", "without faults");
        sqlite3_close(db);

        const long stride = all ? 1 : celled ? 251 : 61;
        for (const bool for_good : {false, true}) {
            for (const auto& [in_sqlite, in_new] : {std::pair{true, false}, {false, true}, {true, true}}) {
                const long here = inject(image, before, after, kind, in_sqlite, in_new, for_good, stride);
                std::printf("%s, %s%s%s: %ld faults\n", kind.c_str(), in_sqlite ? "SQLite " : "", in_new ? "new " : "",
                            for_good ? "for good" : "once", here);
                std::fflush(stdout);
                faults += here;
                runs += 1;
            }
        }
    }
    std::printf("%ld allocation faults injected in %ld series\n", faults, runs);
    return 0;
}
