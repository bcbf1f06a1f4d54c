// Reading a table: xFilter, xNext, xColumn of one cursor.
//
// A cursor either walks t_rows (rows plan) or hands out neighbours (nearest plan). Without `k` the neighbours are
// fetched in growing portions until the reader stops, so that LIMIT and any further condition in SQL are met. Only the
// first portion can be approximate, and only where a LIMIT ends the reading: what it missed is then left out, so that
// the order holds (or, where no order is promised, comes last). Without a LIMIT every row comes, in order.
//
// With `k` the conditions of the search's own WHERE hold before the k nearest are found; what SQLite hands down from a
// join or from outside is checked on those k.
//
// Threads: like the connection.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "index/search_request.h"
#include "sqlite/parameters.h"
#include "sqlite/plan.h"
#include "sqlite/table.h"

namespace vss {

class Cursor {
  public:
    explicit Cursor(Table& table) : table_(table) {}
    ~Cursor() { table_.reader().forget(this); }
    Cursor(const Cursor&) = delete;
    Cursor& operator=(const Cursor&) = delete;

    Status filter(const char* plan, std::span<sqlite3_value*> values);
    Status next();
    [[nodiscard]] bool at_end() const { return at_end_; }
    [[nodiscard]] std::int64_t rowid() const;
    Status column(sqlite3_context* context, int column);

  private:
    Status filter_rows(std::span<sqlite3_value*> values);
    Status filter_nearest(std::span<sqlite3_value*> values);
    Status read_settings(std::span<sqlite3_value*> values);
    Status read_distance(const Term& term, sqlite3_value* value, RowFilter& filter) const;
    Status read_text(std::span<sqlite3_value*> values);
    Status drop_later(std::span<sqlite3_value*> values);
    Status skip_gone();
    Status load_row(bool& found);
    [[nodiscard]] bool asks_the_same() const;
    Status read_query(const Term& term, sqlite3_value* value);
    void give_distinct(const std::vector<std::vector<Neighbor>>& results);
    Status run_batch(std::int64_t ticket);
    Status fetch(std::size_t k);
    // Through the column's index.
    Status find(std::vector<std::vector<Neighbor>>& results, bool exact);
    Status result_vector(sqlite3_context* context, std::size_t c, const Statement& row, std::int64_t rowid);
    // Whether this connection wrote anything since the search.
    [[nodiscard]] bool is_changed() const;
    [[nodiscard]] bool is_nearest() const { return plan_.nearest() != nullptr; }

    Table& table_;
    Plan plan_;
    bool at_end_ = true;

    // rows plan: the running statement; nearest plan: the row that column() asked for last
    std::string rows_sql_;
    Statement rows_;
    bool row_loaded_ = false;
    bool knows_sums_ = false;  // whether its statement gives vectors to avg() was looked at

    // nearest plan
    std::size_t vector_ = 0;
    std::vector<std::byte> query_;
    SearchRequest request_;
    double recall_ = 0;
    bool is_limited_ = false;  // k was given: the first portion is all
    bool is_exact_ = false;    // from the first portion on
    bool is_exhausted_ = false;
    std::vector<TermReading> readings_;  // by term, if the statement's text was read
    std::string kept_;                   // conditions of the search that SQLite keeps, over t_rows
    std::vector<char> later_;            // by term: 1 if it is checked on the k nearest
    RowFilter later_distances_;
    int changes_ = 0;
    // The search with k before this one, for a join that asks the same again for each of its rows.
    struct Asked {
        std::size_t column = 0;
        std::vector<std::byte> query;
        std::size_t k = 0;
        double recall = 0;
        SearchSettings settings;
        RowFilter filter;
        int changes = 0;
    };
    std::optional<Asked> last_asked_;
    std::vector<Neighbor> last_found_;
    // As asked for: SQLite checks conditions beside an OR once more, by reading the columns.
    KeptValue asked_k_;
    KeptValue asked_recall_;
    std::vector<Neighbor> found_;
    std::size_t position_ = 0;
    bool is_sqlite_vss_search_ = false;  // vss_search reports inner products as sqlite-vss did, larger is nearer
};

}  // namespace vss
