// GCC 12 warns of an overlap inside std::string that cannot be (its bug 105651).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wrestrict"
#endif

#include "sqlite/functions/cell_functions.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <set>

#include "base/random.h"
#include "base/settings.h"
#include "base/text.h"
#include "index/flat/exact_search.h"
#include "kernels/rotation.h"
#include "kernels/vector_value.h"
#include "sqlite/describe.h"
#include "sqlite/vector_column.h"

namespace vss {
namespace {

// Neighbourhoods that one call clusters anew: some ten milliseconds of work.
constexpr std::size_t steps_per_call = 4;
// Of a column's own rows, those asked where no queries are given.
constexpr std::size_t own_rows_asked = 500;
// LearnedRecall::levels as text.
constexpr std::array<std::string_view, LearnedRecall::levels.size()> level_names = {"0.8",  "0.9",  "0.95", "0.97",
                                                                                    "0.98", "0.99", "0.995"};

// {"name": number, ...}
class Json {
  public:
    template <class Number>
    Json& add(std::string_view name, Number value) {
        begin(name);
        std::array<char, 64> digits;
        const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value);
        text_.append(digits.data(), end.ptr);
        return *this;
    }
    Json& add_text(std::string_view name, std::string_view json) {
        begin(name);
        text_ += json;
        return *this;
    }
    [[nodiscard]] std::string text() const { return cat(text_.empty() ? "{" : text_, '}'); }

  private:
    void begin(std::string_view name) { text_.append(text_.empty() ? "{\"" : ", \"").append(name).append("\": "); }
    std::string text_;
};

// NULL: what a search of the column has that asks for none.
double recall_argument(sqlite3_value* value, const Column& column) {
    return sqlite3_value_type(value) == SQLITE_NULL ? wanted_recall(column, 0) : sqlite3_value_double(value);
}

Status find_column(const Table& table, const std::string& name, std::size_t& out) {
    const Schema& schema = table.schema();
    for (std::size_t c = 0; c < schema.vectors().size(); ++c) {
        if (equal_ignoring_case(schema.vector(c).name, name)) {
            out = c;
            return Status::ok();
        }
    }
    return Status::invalid(cat(table.name().words(), " has no vector column \"", name, '"'));
}

// `schema_at`: which argument is the schema, if it is given.
template <class Body>
Status answer(sqlite3_context* context, std::span<sqlite3_value*> arguments, std::size_t schema_at, Body body) {
    HeldTable table;
    std::size_t column = 0;
    std::string text;
    std::string schema;
    VSS_TRY(schema_argument(sqlite3_context_db_handle(context),
                            arguments.size() > schema_at ? arguments[schema_at] : nullptr, text_of(arguments[0]),
                            schema));
    VSS_TRY(table.hold(context, schema, text_of(arguments[0])));
    VSS_TRY(find_column(*table, text_of(arguments[1]), column));
    VSS_TRY(body(*table, column, text));
    set_result(context, text);
    return Status::ok();
}

Status stats(Table& table, std::size_t c, std::string& out) {
    Json json;
    ColumnCells* cells = table.cells(c);
    json.add("default_recall", wanted_recall(table.schema().vector(c), 0));
    if (cells == nullptr) {
        out = json.add_text("search", "\"exact\"").text();
        return Status::ok();
    }
    VSS_TRY(cells->index.load());
    const CellState& state = cells->index.state();
    json.add_text("search", state.is_celled() ? "\"cells\"" : "\"exact\"").add("rows", state.rows);
    json.add("tail", cells->index.tail().size());
    if (state.is_celled()) {
        std::shared_ptr<const CellDirectory> directory;
        VSS_TRY(cells->index.directory(directory));
        std::uint64_t entries = 0;
        std::uint32_t largest = 0;
        std::uint32_t overfull = 0;
        for (std::uint32_t cell = 0; cell < directory->size(); ++cell) {
            const CellInfo& info = directory->info(cell);
            entries += info.entries;
            largest = std::max(largest, info.primaries);
            overfull += info.primaries > cells->index.tuning().split_above ? 1U : 0U;
        }
        json.add("cells", directory->live()).add("entries", entries).add("largest_cell", largest);
        json.add("batched", directory->batched_entries() / 2);
        json.add("overfull_cells", overfull).add("dimensions_coded", cells->index.space().padded());
        Json cells_needed;
        Json share;
        const LearnedRecall& learned = state.learned;
        for (std::size_t i = 0; i < LearnedRecall::levels.size(); ++i) {
            cells_needed.add(level_names[i], learned.cells[i]);
            share.add(level_names[i], learned.scanned[i]);
        }
        json.add_text("cells_for_recall", cells_needed.text()).add_text("share_for_recall", share.text());
        for (std::size_t k = 0; k < LearnedRecall::ks.size(); ++k) {
            Json misses;
            for (std::size_t i = 0; i < LearnedRecall::levels.size(); ++i) {
                misses.add(level_names[i], learned.misses[k][i]);
            }
            json.add_text(cat("misses_for_recall_at_", LearnedRecall::ks[k]), misses.text());
        }
        json.add("learned_at_cells", learned.cells_then).add("learned_at_rows", learned.rows);
        json.add("learned_from_rows", learned.samples).add("learned_when", learned.when);
    }
    json.add("cache_bytes", Cache::instance().used()).add("cache_budget", Cache::instance().budget());
    out = json.text();
    return Status::ok();
}

Status explain(Table& table, std::size_t c, std::span<sqlite3_value*> arguments, std::string& out) {
    const Column& column = table.schema().vector(c);
    std::vector<std::byte> storage;
    std::span<const std::byte> vector;
    VSS_TRY(read_vector(arguments[2], column, table.name().words(column), storage, vector));
    const std::int64_t k = sqlite3_value_int64(arguments[3]);
    const double recall = recall_argument(arguments[4], column);
    if (k < 1 || !(recall > 0 && recall <= 1)) {
        return Status::invalid(cat(table.name().words(column),
                                   ": expected k of 1 or more and recall above 0 and at most "
                                   "1, got ",
                                   k, " and ", recall));
    }
    Json json;
    ColumnCells* cells = table.cells(c);
    if (cells != nullptr) {
        VSS_TRY(cells->index.load());
    }
    SearchRequest request;
    request.queries = {vector.data()};
    request.k = static_cast<std::size_t>(k);
    std::vector<std::vector<Neighbor>> exact;
    VSS_TRY(exact_search(table.store(c), request, exact));
    if (cells == nullptr || !cells->index.state().is_celled()) {
        out = json.add_text("plan", "\"exact: every vector is measured\"").add("recall", 1).text();
        return Status::ok();
    }
    CellQuery query;
    query.vector = vector.data();
    query.k = request.k;
    query.recall = recall;
    std::vector<Neighbor> found;
    VSS_TRY(recall < 1 ? cells->search.search(query, found) : cells->search.search_exact(query, found));
    const SearchCosts costs = cells->search.costs();
    // Rows as near as the k-th count: a tie is no miss.
    std::size_t hits = 0;
    for (const Neighbor& neighbor : found) {
        hits += !exact[0].empty() && neighbor.distance <= exact[0].back().distance ? 1U : 0U;
    }
    json.add_text("plan", recall < 1 && !cells->search.took_all() ? "\"cells: the nearest are scanned\""
                                                                  : "\"exact: pruned by 4-bit codes\"");
    json.add("cells", costs.cells).add("codes_scanned", costs.entries).add("candidates", costs.candidates);
    json.add("refined", costs.refined).add("reranked", costs.reranked).add("rows_read_from_pages", costs.cold_rows);
    json.add("code_chunks_read", costs.chunks_read);
    json.add("rank_us", costs.rank_us).add("scan_us", costs.scan_us).add("refine_us", costs.refine_us);
    json.add("rerank_us", costs.rerank_us);
    json.add("recall", exact[0].empty() ? 1.0 : static_cast<double>(hits) / static_cast<double>(exact[0].size()));
    out = json.text();
    return Status::ok();
}

Status optimize(Table& table, std::size_t c, std::span<sqlite3_value*> arguments, std::string& out) {
    ColumnCells* cells = table.cells(c);
    Json json;
    std::uint64_t next = static_cast<std::uint64_t>(std::max<std::int64_t>(sqlite3_value_int64(arguments[2]), 0));
    if (cells == nullptr) {
        out = json.add_text("next", "null").add("cells", 0).text();
        return Status::ok();
    }
    for (std::size_t step = 0; step < steps_per_call && next < max_cells; ++step) {
        VSS_TRY(cells->index.optimize_step(next));
    }
    VSS_TRY(table.flush());
    std::shared_ptr<const CellDirectory> directory;
    std::size_t live = 0;
    if (cells->index.state().is_celled()) {
        VSS_TRY(cells->index.directory(directory));
        live = directory->size();
    }
    next < max_cells ? json.add("next", next) : json.add_text("next", "null");
    out = json.add("cells", live).text();
    return Status::ok();
}

// Vectors of live rows, chosen at random but the same ones as long as the table stays the same, and their rowids.
Status own_rows(ColumnCells& cells, std::size_t bytes, std::vector<std::byte>& vectors,
                std::vector<std::int64_t>& ids) {
    std::uint64_t end = 0;
    VSS_TRY(cells.search.slots_end(end));
    const std::uint64_t rows = cells.index.state().rows;
    SplitMix random(rows);
    std::vector<std::byte> vector(bytes);
    std::set<std::uint32_t> tried;
    const std::size_t wanted = std::min<std::uint64_t>(own_rows_asked, rows);
    for (std::size_t tries = 0; ids.size() < wanted && tries < 40 * own_rows_asked && end > 0; ++tries) {
        const auto slot = static_cast<std::uint32_t>(random.below(end));
        bool live = false;
        std::int64_t id = 0;
        if (!tried.insert(slot).second) {
            continue;
        }
        VSS_TRY(cells.tables.read_slot(slot, live, id, vector));
        if (live) {
            ids.push_back(id);
            vectors.insert(vectors.end(), vector.begin(), vector.end());
        }
    }
    return Status::ok();
}

// Queries as one blob of vectors, or NULL: the column's own rows, each left out of what is searched.
Status measure_recall(Table& table, std::size_t c, std::span<sqlite3_value*> arguments, std::string& out) {
    const Column& column = table.schema().vector(c);
    const std::string words = table.name().words(column);
    const std::int64_t k = sqlite3_value_int64(arguments[3]);
    const double recall = recall_argument(arguments[4], column);
    if (k < 1 || k > (1 << 20) || !(recall > 0 && recall <= 1)) {
        return Status::invalid(
            cat(words, ": expected k from 1 to 1048576 and recall above 0 and at most 1, got ", k, " and ", recall));
    }
    ColumnCells* cells = table.cells(c);
    if (cells != nullptr) {
        VSS_TRY(cells->index.load());
    }
    const bool celled = cells != nullptr && cells->index.state().is_celled();
    std::vector<std::byte> vectors;
    std::vector<std::int64_t> own;
    const bool outside = sqlite3_value_type(arguments[2]) != SQLITE_NULL;
    if (outside) {
        const auto* bytes = static_cast<const std::byte*>(sqlite3_value_blob(arguments[2]));
        const auto n = static_cast<std::size_t>(sqlite3_value_bytes(arguments[2]));
        if (sqlite3_value_type(arguments[2]) != SQLITE_BLOB || n == 0 || n % column.bytes() != 0) {
            return Status::invalid(cat(words, ": expected queries as a blob of vectors of ", column.bytes(),
                                       " bytes each, or NULL for the column's own rows, got ",
                                       type_words(arguments[2])));
        }
        vectors.assign(bytes, bytes + n);
    } else if (celled) {
        VSS_TRY(own_rows(*cells, column.bytes(), vectors, own));
    }
    const std::size_t count = vectors.size() / column.bytes();
    SearchRequest request;
    request.k = static_cast<std::size_t>(k) + (outside ? 0 : 1);
    request.threads = threads();
    for (std::size_t i = 0; i < count; ++i) {
        request.queries.push_back(vectors.data() + i * column.bytes());
        VSS_TRY(
            validate_vector(column.type, column.metric, request.queries.back(), column.dim, cat(words, ", query ", i)));
    }
    std::vector<std::vector<Neighbor>> exact;
    VSS_TRY(exact_search(table.store(c), request, exact));
    double sum = 0;
    double squares = 0;
    double scanned = 0;
    double all = 0;
    std::vector<Neighbor> found;
    for (std::size_t i = 0; i < count; ++i) {
        const auto leave_out = [&](std::vector<Neighbor>& neighbors) {
            if (!outside) {
                std::erase_if(neighbors, [&](const Neighbor& neighbor) { return neighbor.rowid == own[i]; });
                neighbors.resize(std::min<std::size_t>(neighbors.size(), static_cast<std::size_t>(k)));
            }
        };
        leave_out(exact[i]);
        double share = 1;
        double looked_at = 1;
        bool took_all = true;
        if (celled && recall < 1 && !cells->search.is_brute_better(recall, static_cast<std::size_t>(k))) {
            VSS_TRY(table.store(c).check_interrupt());
            CellQuery query;
            query.vector = request.queries[i];
            query.k = request.k;
            query.recall = recall;
            VSS_TRY(cells->search.search(query, found));
            leave_out(found);
            std::size_t hits = 0;
            for (const Neighbor& neighbor : found) {
                hits += !exact[i].empty() && neighbor.distance <= exact[i].back().distance ? 1U : 0U;
            }
            share = exact[i].empty() ? 1 : static_cast<double>(hits) / static_cast<double>(exact[i].size());
            took_all = cells->search.took_all();
            looked_at = took_all ? 1
                                 : static_cast<double>(cells->search.costs().entries) /
                                       (2 * static_cast<double>(cells->index.state().rows));
        }
        sum += share;
        squares += share * share;
        scanned += looked_at;
        all += took_all ? 1 : 0;
    }
    Json json;
    json.add("queries", count).add("k", k).add("asked", recall);
    if (count == 0) {
        // What has no cells is searched exactly.
        out = json.add("recall", 1).add("low", 1).add("high", 1).add("scanned", 1).add("every_row", 1).text();
        return Status::ok();
    }
    const auto n = static_cast<double>(count);
    const double mean = sum / n;
    const double deviation = std::sqrt(std::max(squares / n - mean * mean, 0.0) / n);
    constexpr double normal95 = 1.96;
    json.add("recall", mean).add("low", std::max(mean - normal95 * deviation, 0.0));
    json.add("high", std::min(mean + normal95 * deviation, 1.0));
    out = json.add("scanned", scanned / n).add("every_row", all / n).text();
    return Status::ok();
}

Status stats_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    return answer(context, arguments, 2, stats);
}
Status explain_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    return answer(context, arguments, 5,
                  [&](Table& table, std::size_t c, std::string& out) { return explain(table, c, arguments, out); });
}
Status measure_recall_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    return answer(context, arguments, 5, [&](Table& table, std::size_t c, std::string& out) {
        return measure_recall(table, c, arguments, out);
    });
}
Status optimize_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    std::string text;
    std::string schema;
    VSS_TRY(schema_argument(sqlite3_context_db_handle(context), arguments.size() > 3 ? arguments[3] : nullptr,
                            text_of(arguments[0]), schema));
    VSS_TRY(change_table(context, "vss_optimize", schema, text_of(arguments[0]), [&](Table& table) {
        std::size_t column = 0;
        VSS_TRY(find_column(table, text_of(arguments[1]), column));
        return optimize(table, column, arguments, text);
    }));
    set_result(context, text);
    return Status::ok();
}

// A command: `body` gets the table and the column; what is told is how the column is searched afterwards.
template <class Body>
Status command(sqlite3_context* context, std::string_view function, std::span<sqlite3_value*> arguments,
               std::size_t schema_at, Body body) {
    std::string text;
    std::string schema;
    VSS_TRY(schema_argument(sqlite3_context_db_handle(context),
                            arguments.size() > schema_at ? arguments[schema_at] : nullptr, text_of(arguments[0]),
                            schema));
    VSS_TRY(change_table(context, std::string(function), schema, text_of(arguments[0]), [&](Table& table) {
        std::size_t column = 0;
        VSS_TRY(find_column(table, text_of(arguments[1]), column));
        VSS_TRY(body(table, column));
        VSS_TRY(table.flush());
        return stats(table, column, text);
    }));
    set_result(context, text);
    return Status::ok();
}

Status rebuild_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    return command(context, "vss_rebuild", arguments, 2, [](Table& table, std::size_t c) { return table.rebuild(c); });
}

Status relearn_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    return command(context, "vss_relearn", arguments, 2, [](Table& table, std::size_t c) { return table.relearn(c); });
}

Status set_index_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    const std::string index = text_of(arguments[2]);
    const bool cells = equal_ignoring_case(index, "cells");
    if (!cells && !equal_ignoring_case(index, "flat")) {
        return Status::invalid(cat("vss_set_index: expected cells or flat, got \"", index, '"'));
    }
    return command(context, "vss_set_index", arguments, 3,
                   [cells](Table& table, std::size_t c) { return table.set_cells(c, cells); });
}

}  // namespace

int register_cell_functions(sqlite3* db, const std::shared_ptr<OpenTables>& tables) {
    int rc = SQLITE_OK;
    for (const int schema : {0, 1}) {  // without and with
        rc = rc == SQLITE_OK ? register_table_function<&stats_function>(db, "vss_stats", 2 + schema, tables) : rc;
        rc = rc == SQLITE_OK ? register_table_function<&explain_function>(db, "vss_explain", 5 + schema, tables) : rc;
        rc = rc == SQLITE_OK
                 ? register_table_function<&measure_recall_function>(db, "vss_measure_recall", 5 + schema, tables)
                 : rc;
        rc = rc == SQLITE_OK ? register_table_function<&rebuild_function>(db, "vss_rebuild", 2 + schema, tables) : rc;
        rc = rc == SQLITE_OK ? register_table_function<&relearn_function>(db, "vss_relearn", 2 + schema, tables) : rc;
        rc = rc == SQLITE_OK ? register_table_function<&set_index_function>(db, "vss_set_index", 3 + schema, tables)
                             : rc;
        rc = rc == SQLITE_OK ? register_table_function<&optimize_function>(db, "vss_optimize", 3 + schema, tables) : rc;
    }
    return rc;
}

}  // namespace vss
