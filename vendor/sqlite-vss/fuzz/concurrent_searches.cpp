// Threads that search a celled table while others write it, with a cache that is always too small and whose size keeps
// changing: every answer is right within its snapshot. Meant for ThreadSanitizer; a test with any compiler.
//
//   concurrent_searches [transactions of each writer, default 40]
#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "vss0.h"

namespace {

constexpr std::size_t dim = 16;
constexpr std::int64_t rowids = 900;
using Vector = std::array<float, dim>;
using Found = std::vector<std::pair<std::int64_t, double>>;

void require(bool condition, const std::string& what) {
    if (!condition) {
        std::fprintf(stderr, "%s\n", what.c_str());
        std::abort();
    }
}

class Connection {
  public:
    explicit Connection(const std::string& path) {
        require(sqlite3_open_v2(path.c_str(), &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                                nullptr) == SQLITE_OK,
                path);
        sqlite3_busy_timeout(db_, 60000);
        run("pragma journal_mode = wal; pragma synchronous = off");
    }
    ~Connection() { sqlite3_close(db_); }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    void run(const char* sql) {
        char* error = nullptr;
        const int rc = sqlite3_exec(db_, sql, nullptr, nullptr, &error);
        require(rc == SQLITE_OK, std::string(sql) + ": " + (error == nullptr ? "no words" : error));
    }

    // ?1 is a vector, ?2 to ?4 integers.
    Found ask(const char* sql, const Vector& vector, std::int64_t second = 0, std::int64_t third = 0,
              std::int64_t fourth = 0) {
        Found out;
        sqlite3_stmt* statement = nullptr;
        int rc = sqlite3_prepare_v2(db_, sql, -1, &statement, nullptr);
        require(rc == SQLITE_OK, std::string(sql) + ": " + sqlite3_errmsg(db_));
        sqlite3_bind_blob(statement, 1, vector.data(), sizeof vector, SQLITE_TRANSIENT);
        sqlite3_bind_int64(statement, 2, second);
        sqlite3_bind_int64(statement, 3, third);
        sqlite3_bind_int64(statement, 4, fourth);
        while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
            out.emplace_back(sqlite3_column_int64(statement, 0),
                             sqlite3_column_count(statement) > 1 ? sqlite3_column_double(statement, 1) : 0);
        }
        require(rc == SQLITE_DONE, std::string(sql) + ": " + sqlite3_errmsg(db_));
        sqlite3_finalize(statement);
        return out;
    }

    void expect_ok(const char* sql) {
        sqlite3_stmt* statement = nullptr;
        require(sqlite3_prepare_v2(db_, sql, -1, &statement, nullptr) == SQLITE_OK &&
                    sqlite3_step(statement) == SQLITE_ROW &&
                    std::string(reinterpret_cast<const char*>(sqlite3_column_text(statement, 0))) == "ok",
                sql);
        sqlite3_finalize(statement);
    }

  private:
    sqlite3* db_ = nullptr;
};

// Rows around a few centres, so that cells are made, split and merged where they lie.
Vector random_vector(std::mt19937& random) {
    Vector out{};
    const auto centre = random() % 12;
    for (std::size_t i = 0; i < dim; ++i) {
        out[i] = static_cast<float>(centre * (i % 5)) + static_cast<float>(random() % 64) / 16;
    }
    return out;
}

constexpr const char* by_distance =
    "select rowid, vss_distance_l2(a, ?1) d from t where a is not null and g >= ?2 order by d, rowid limit 10";

void check_order(const Found& found, const char* what) {
    require(
        std::is_sorted(found.begin(), found.end(), [](const auto& x, const auto& y) { return x.second < y.second; }),
        what);
}

// Searches in a snapshot of its own, and compares them with what SQL finds in it.
void search_in_snapshots(const std::string& path, unsigned seed, const std::atomic<bool>& done,
                         std::atomic<long>& searches) {
    Connection db(path);
    std::mt19937 random(seed);
    while (!done) {
        const Vector query = random_vector(random);
        const std::int64_t least = random() % 3;
        db.run("begin");
        const Found truth = db.ask(by_distance, query, least);
        const Found exact = db.ask(
            "select rowid, distance from t where a match ?1 and g >= ?2 and k = 10 and recall = 1.0", query, least);
        require(exact == truth, "an exact search differs from a sort by distance");
        const Found near = db.ask(
            "select rowid, distance from t where a match ?1 and g >= ?2 and k = 10 and recall = 0.8", query, least);
        require(near.size() == truth.size(), "an approximate search has other than k rows");
        check_order(near, "an approximate search is out of order");
        // A batch, shared out over threads: in the plain column, and in the cells, where the threads read what is in
        // memory and this one the rest.
        std::vector<Vector> queries;
        for (int i = 0; i < 20; ++i) {
            queries.push_back(random_vector(random));
        }
        std::vector<std::int64_t> ids(queries.size() * 10);
        std::vector<float> distances(ids.size());
        for (const char* sql :
             {"select rowid from t where p match vss_batch(?2)", "select rowid from t where a match vss_batch(?2)"}) {
            const std::int64_t ticket =
                vss0_register_search(queries.data(), queries.size(), sizeof(Vector), sizeof(Vector), 10, 1.0,
                                     ids.data(), distances.data(), nullptr);
            db.ask(sql, query, ticket);
            vss0_release(ticket);
            const Found first = db.ask(by_distance, queries[0]);
            for (std::size_t i = 0; i < first.size(); ++i) {
                require(ids[i] == first[i].first, "a batch differs from a sort by distance");
            }
        }
        // 0.999 looks at every row.
        for (const double recall : {0.8, 0.999}) {
            std::fill(ids.begin(), ids.end(), -1);
            const std::int64_t ticket =
                vss0_register_search(queries.data(), queries.size(), sizeof(Vector), sizeof(Vector), 10, recall,
                                     ids.data(), distances.data(), nullptr);
            db.ask("select rowid from t where a match vss_batch(?2)", query, ticket);
            vss0_release(ticket);
            require(std::find(ids.begin(), ids.end(), -1) == ids.end(), "an approximate batch has other than k rows");
        }
        db.run("commit");
        searches += 2 + 4 * static_cast<long>(queries.size());
    }
}

// Several threads on one connection, each statement a snapshot of its own: SQLite's mutex lets one in at a time, so
// their cursors on one table take turns.
void search_on_one_connection(Connection& db, unsigned seed, const std::atomic<bool>& done,
                              std::atomic<long>& searches) {
    std::mt19937 random(seed);
    while (!done) {
        const Vector query = random_vector(random);
        const Found near = db.ask("select rowid, distance from t where a match ?1 and k = 7", query);
        require(near.size() == 7, "other than k rows on a shared connection");
        check_order(near, "out of order on a shared connection");
        const Found portions = db.ask("select rowid, distance from t where a match ?1 limit 100", query);
        require(portions.size() == 100, "a search read in portions ends early");
        searches += 2;
    }
}

void write_rows(const std::string& path, unsigned seed, int transactions) {
    Connection db(path);
    std::mt19937 random(seed);
    const auto rowid = [&] { return static_cast<std::int64_t>(random() % rowids); };
    for (int i = 0; i < transactions; ++i) {
        db.run("begin immediate");
        for (int j = 0; j < 12; ++j) {
            const std::int64_t id = rowid();
            db.ask("insert or replace into t(rowid, a, p, g) values(?2, ?1, ?1, ?3)", random_vector(random), id,
                   id % 4);
        }
        db.run("savepoint s");
        db.ask("delete from t where g = 1 and ?1 is not null", {});
        const Vector query = random_vector(random);
        require(db.ask("select rowid, distance from t where a match ?1 and g >= ?2 and k = 10 and recall = 1.0",
                       query) == db.ask(by_distance, query),
                "a writer's own search differs from a sort by distance");
        db.run("rollback to s; release s");
        const std::int64_t from = rowid();
        const Vector moved = random_vector(random);
        db.ask("update t set a = ?1, p = ?1 where rowid between ?2 and ?3", moved, from, from + 9);
        if (i % 3 == 0) {
            db.ask("delete from t where rowid between ?2 and ?3 and ?1 is not null", {}, from, from + 7);
        }
        db.run(i % 5 == 4 ? "rollback" : "commit");
        if (i % 7 == 0) {
            db.run("select vss_optimize('t', 'a', 0)");
        }
    }
}

void fill(Connection& db) {
    db.run(
        "create virtual table t using vss0(a(16), p(16) index=flat, g integer);"
        "update t_config set value = 64 where key = 'cells_from0';"
        "update t_config set value = 8 where key = 'cell_rows0';"
        "insert into t_config values('slot_codes0', 1);"  // so few rows would be looked at without them
        "alter table t rename to u;"                      // a renamed table reads its configuration again
        "alter table u rename to t; begin");
    std::mt19937 random(1);
    for (std::int64_t i = 0; i < rowids; ++i) {
        db.ask("insert into t(rowid, a, p, g) values(?2, ?1, ?1, ?3)", random_vector(random), i, i % 4);
    }
    db.run("commit");
}

}  // namespace

int main(int argc, char** argv) {
    const int transactions = argc > 1 ? std::atoi(argv[1]) : 40;
    const std::filesystem::path folder =
        std::filesystem::temp_directory_path() / ("vss0-concurrent-" + std::to_string(std::random_device()()));
    std::filesystem::create_directory(folder);
    const std::string path = (folder / "test.db").string();
    sqlite3_auto_extension(reinterpret_cast<void (*)()>(&sqlite3_vss_init));
    vss0_set_threads(3);
    {
        Connection first(path);
        fill(first);
        std::atomic<bool> done = false;
        std::atomic<long> searches = 0;
        std::vector<std::jthread> readers;
        for (unsigned i = 0; i < 3; ++i) {
            readers.emplace_back(search_in_snapshots, path, 100 + i, std::cref(done), std::ref(searches));
        }
        for (unsigned i = 0; i < 2; ++i) {
            readers.emplace_back(search_on_one_connection, std::ref(first), 200 + i, std::cref(done),
                                 std::ref(searches));
        }
        readers.emplace_back([&] {
            // The last one has room for all rows: then a batch's other threads look for neighbours, too.
            constexpr std::array<std::uint64_t, 6> budgets = {0, 20'000, 60'000, 20'000'000, 200'000, 20'000'000};
            for (std::size_t i = 0; !done; ++i) {
                vss0_set_memory_budget(budgets[i % budgets.size()]);
                std::this_thread::sleep_for(std::chrono::milliseconds(3));
            }
        });
        {
            std::vector<std::jthread> writers;
            for (unsigned i = 0; i < 2; ++i) {
                writers.emplace_back(write_rows, path, 300 + i, transactions);
            }
        }
        done = true;
        readers.clear();
        first.expect_ok("select vss_check('t')");
        first.expect_ok("pragma integrity_check");
        std::printf("%ld searches by 5 threads during %d transactions by 2\n", searches.load(), 2 * transactions);
    }
    std::filesystem::remove_all(folder);
    return 0;
}
