// Reading a table: xFilter, xNext, xColumn of one cursor.
//
// A cursor either walks t_rows (rows plan) or hands out neighbours (nearest plan). Without `k` the neighbours are
// fetched in growing portions until the reader stops, so that LIMIT and any further condition in SQL are met.
//
// Threads: like the connection.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "exact_search.h"
#include "parameters.h"
#include "plan.h"
#include "table.h"

namespace vss {

class Cursor {
  public:
    explicit Cursor(Table& table) : table_(table) {}

    Status filter(const char* plan, std::span<sqlite3_value*> values);
    Status next();
    [[nodiscard]] bool at_end() const { return at_end_; }
    [[nodiscard]] std::int64_t rowid() const;
    Status column(sqlite3_context* context, int column);

  private:
    Status filter_rows(std::span<sqlite3_value*> values);
    Status filter_nearest(std::span<sqlite3_value*> values);
    Status read_settings(std::span<sqlite3_value*> values);
    Status read_query(const Term& term, sqlite3_value* value);
    Status build_filter(std::span<sqlite3_value*> values);
    void give_distinct(const std::vector<std::vector<Neighbor>>& results);
    Status run_batch(std::int64_t ticket);
    Status fetch(std::size_t k);
    // Through the column's cells where it has any, else by brute force.
    Status find(std::vector<std::vector<Neighbor>>& results, bool exact);
    Status find_unverified(std::vector<std::vector<Neighbor>>& results, bool exact, bool& took_all);
    Status result_vector(sqlite3_context* context, std::size_t c, const Statement& row, std::int64_t rowid);
    [[nodiscard]] bool is_nearest() const { return plan_.nearest() != nullptr; }

    Table& table_;
    Plan plan_;
    bool at_end_ = true;

    // rows plan: the running statement; nearest plan: the row that column() asked for last
    std::string rows_sql_;
    Statement rows_;
    bool row_loaded_ = false;

    // nearest plan
    std::size_t vector_ = 0;
    std::vector<std::byte> query_;
    SearchRequest request_;
    double recall_ = 0;
    bool is_limited_ = false;  // k was given: the first portion is all
    // As asked for: SQLite checks conditions beside an OR once more, by reading the columns.
    KeptValue asked_k_;
    KeptValue asked_recall_;
    std::vector<Neighbor> found_;
    std::size_t position_ = 0;
    bool is_sqlite_vss_search_ = false;  // vss_search reports inner products as sqlite-vss did, larger is nearer
};

}  // namespace vss
