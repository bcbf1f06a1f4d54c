// GCC 12 warns of an overlap inside std::string that cannot be (its bug 105651).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wrestrict"
#endif

#include "sqlite/functions/index_functions.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/json.h"
#include "base/random.h"
#include "base/settings.h"
#include "base/text.h"
#include "index/exact_search.h"
#include "kernels/vector_value.h"
#include "sqlite/describe.h"
#include "sqlite/vector_column.h"

namespace vss {
namespace {

// Of a column's own rows, those asked where no queries are given.
constexpr std::size_t own_rows_asked = 500;

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
    json.add("default_recall", wanted_recall(table.schema().vector(c), 0));
    VSS_TRY(table.index(c).stats(json));
    out = json.text();
    return Status::ok();
}

// Of `truth`, which is not empty, the share that was found. Rows as near as the k-th count: a tie is no miss.
double share_found(const std::vector<Neighbor>& truth, const std::vector<Neighbor>& found) {
    const auto hits = std::count_if(found.begin(), found.end(), [&](const Neighbor& neighbor) {
        return neighbor.distance <= truth.back().distance;
    });
    return static_cast<double>(hits) / static_cast<double>(truth.size());
}

// Of a search: the argument behind the schema, if it is given.
Status settings_argument(Table& table, std::size_t c, std::span<sqlite3_value*> arguments, SearchRequest& request) {
    constexpr std::size_t recall_at = 4;
    constexpr std::size_t settings_at = 6;
    if (arguments.size() <= settings_at || sqlite3_value_type(arguments[settings_at]) == SQLITE_NULL) {
        return Status::ok();
    }
    const std::string words = table.name().words(table.schema().vector(c));
    if (const Status status = parse_search_settings(text_of(arguments[settings_at]), request.settings);
        !status.is_ok()) {
        return Status::invalid(cat(words, ", search settings: ", status.message()));
    }
    return check_settings(table.index(c), words, sqlite3_value_type(arguments[recall_at]) != SQLITE_NULL, request);
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
    SearchRequest request;
    request.queries = {vector.data()};
    request.k = static_cast<std::size_t>(k);
    request.recall = recall;
    VSS_TRY(settings_argument(table, c, arguments, request));
    std::vector<std::vector<Neighbor>> exact;
    VSS_TRY(exact_search(table.store(c), request, exact));
    ColumnIndex& index = table.index(c);
    SearchAnswer answer;
    VSS_TRY(index.search(request, answer));
    Json json;
    index.explain(json);
    json.add("recall", exact[0].empty() ? 1.0 : share_found(exact[0], answer.neighbors[0]));
    out = json.text();
    return Status::ok();
}

Status optimize(Table& table, std::size_t c, std::span<sqlite3_value*> arguments, std::string& out) {
    ColumnIndex& index = table.index(c);
    OptimizeStep step;
    step.next = static_cast<std::uint64_t>(std::max<std::int64_t>(sqlite3_value_int64(arguments[2]), 0));
    VSS_TRY(index.optimize(step));
    VSS_TRY(table.flush());
    std::uint64_t parts = 0;
    VSS_TRY(index.parts(parts));
    Json json;
    step.is_done ? json.add_json("next", "null") : json.add("next", step.next);
    out = json.add("cells", parts).text();
    return Status::ok();
}

// Vectors of live rows, chosen at random but the same ones as long as the table stays the same, and their rowids.
Status own_rows(VectorStore& store, std::vector<std::byte>& vectors, std::vector<std::int64_t>& ids) {
    std::vector<SegmentInfo> segments;
    VSS_TRY(store.segments(segments));
    std::uint64_t rows = 0;
    for (const SegmentInfo& segment : segments) {
        rows += segment.live;
    }
    const std::uint64_t end = segments.empty() ? 0 : (segments.back().id + 1) * store.geometry().segment_slots;
    SplitMix random(rows);
    std::set<std::uint32_t> tried;
    const std::size_t wanted = std::min<std::uint64_t>(own_rows_asked, rows);
    for (std::size_t tries = 0; ids.size() < wanted && tries < 40 * own_rows_asked && end > 0; ++tries) {
        const auto slot = static_cast<std::uint32_t>(random.below(end));
        if (!tried.insert(slot).second) {
            continue;
        }
        VSS_TRY(store.read_slots({&slot, 1}, [&](std::size_t /*i*/, std::int64_t id, std::span<const std::byte> row) {
            ids.push_back(id);
            vectors.insert(vectors.end(), row.begin(), row.end());
        }));
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
    ColumnIndex& index = table.index(c);
    bool always_exact = true;
    VSS_TRY(index.is_exact(always_exact));
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
    } else if (!always_exact) {
        VSS_TRY(own_rows(table.store(c), vectors, own));
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
    SearchRequest one;
    one.k = request.k;
    one.recall = recall;
    VSS_TRY(settings_argument(table, c, arguments, one));
    SearchAnswer answer;
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
        if (!always_exact && one.recall < 1) {
            VSS_TRY(table.store(c).check_interrupt());
            one.queries = {request.queries[i]};
            VSS_TRY(index.search(one, answer));
            leave_out(answer.neighbors[0]);
            share = exact[i].empty() ? 1 : share_found(exact[i], answer.neighbors[0]);
            looked_at = answer.looked_at;
        }
        sum += share;
        squares += share * share;
        scanned += looked_at;
        all += looked_at == 1 ? 1 : 0;
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
    return command(context, "vss_rebuild", arguments, 2,
                   [](Table& table, std::size_t c) { return table.index(c).rebuild(); });
}

Status relearn_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    return command(context, "vss_relearn", arguments, 2,
                   [](Table& table, std::size_t c) { return table.index(c).relearn(); });
}

Status export_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    HeldTable table;
    std::size_t column = 0;
    std::string schema;
    std::string bytes;
    VSS_TRY(schema_argument(sqlite3_context_db_handle(context), arguments.size() > 2 ? arguments[2] : nullptr,
                            text_of(arguments[0]), schema));
    VSS_TRY(table.hold(context, schema, text_of(arguments[0])));
    VSS_TRY(find_column(*table, text_of(arguments[1]), column));
    if (const Status status = (*table).index(column).export_bytes(bytes); !status.is_ok()) {
        return status.message().starts_with("table ")
                   ? status
                   : Status(status.code(),
                            cat((*table).name().words((*table).schema().vector(column)), ": ", status.message()));
    }
    sqlite3_result_blob64(context, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
    return Status::ok();
}

Status set_index_function(sqlite3_context* context, std::span<sqlite3_value*> arguments) {
    const std::string name = text_of(arguments[2]);
    const IndexKind* kind = find_kind(name);
    if (kind == nullptr) {
        return Status::invalid(cat("vss_set_index: expected ", kind_names(), ", got \"", name, '"'));
    }
    return command(context, "vss_set_index", arguments, 3,
                   [kind](Table& table, std::size_t c) { return table.set_index(c, *kind); });
}

}  // namespace

int register_index_functions(sqlite3* db, const std::shared_ptr<OpenTables>& tables) {
    int rc = SQLITE_OK;
    // Searches, with the schema and settings.
    rc = register_table_function<&explain_function>(db, "vss_explain", 7, tables);
    rc = rc == SQLITE_OK ? register_table_function<&measure_recall_function>(db, "vss_measure_recall", 7, tables) : rc;
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
        rc = rc == SQLITE_OK ? register_table_function<&export_function>(db, "vss_export_index", 2 + schema, tables)
                             : rc;
        rc = rc == SQLITE_OK ? register_table_function<&optimize_function>(db, "vss_optimize", 3 + schema, tables) : rc;
    }
    return rc;
}

}  // namespace vss
