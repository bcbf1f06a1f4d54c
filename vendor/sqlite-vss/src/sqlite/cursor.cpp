#include "sqlite/cursor.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_set>

#include "base/settings.h"
#include "base/text.h"
#include "kernels/vector_value.h"
#include "sqlite/functions/functions.h"
#include "sqlite/parameters.h"
#include "sqlite/registry.h"
#include "sqlite/row_filter.h"
#include "sqlite/vector_column.h"
#include "sqlite/verify.h"

namespace vss {
namespace {

// Without k: the first portion of neighbours, unless a LIMIT says more, and by how much each later one grows.
constexpr std::size_t first_portion = 64;
constexpr std::size_t portion_growth = 4;
// Values of IN lists in a read that go into its statement.
constexpr std::size_t most_listed_values = 1000;

Status count_of(sqlite3_value* value, std::string_view words, std::string_view what, std::size_t& out) {
    if (sqlite3_value_numeric_type(value) != SQLITE_INTEGER || sqlite3_value_int64(value) < 0) {
        return Status::invalid(cat(words, ": expected ", what, " as an integer of 0 or more, got ",
                                   sqlite3_value_type(value) == SQLITE_INTEGER ? "a negative one" : type_words(value)));
    }
    out = static_cast<std::size_t>(sqlite3_value_int64(value));
    return Status::ok();
}

constexpr std::string_view bare_not_a_vector = "2nd argument to vss_search() must be a vector: ";

// Puts the words that sqlite-vss has for it before an error about the query. `is_bare`: no vss_search_params(...).
Status in_words_of_sqlite_vss(const Status& status, sqlite3_value* query, const Column& column, bool is_bare) {
    std::optional<std::size_t> size;
    std::vector<float> values;
    const auto bytes = static_cast<std::size_t>(sqlite3_value_bytes(query));
    if (sqlite3_value_type(query) == SQLITE_TEXT) {
        const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(query));
        if (text != nullptr && parse_json_vector({text, bytes}, values).is_ok()) {
            size = values.size();
        }
    } else if (sqlite3_value_type(query) == SQLITE_BLOB && column.type == ElementType::float32 &&
               bytes % sizeof(float) == 0) {
        size = bytes / sizeof(float);
    }
    if (size && *size == column.dim) {
        return status;
    }
    const std::string theirs =
        size ? cat("Input query size doesn't match index dimensions: ", *size, " != ", column.dim, ": ")
             : std::string(is_bare ? bare_not_a_vector : "1st argument is not a vector: ");
    return {status.code(), cat(theirs, status.message()), status.extended_code()};
}

// What a search returns for a row. The root is taken in double precision, in which different squares have different
// roots.
double told_distance(const Column& column, double distance) {
    return column.is_root ? std::sqrt(distance) : distance;
}

// The least float32 whose root is at least `root` (above it, if `beyond`), as told_distance() tells it.
double square_of_bound(double root, bool beyond) {
    const auto reaches = [&](float square) {
        const double told = std::sqrt(static_cast<double>(square));
        return beyond ? told > root : told >= root;
    };
    constexpr float infinity = std::numeric_limits<float>::infinity();
    if (reaches(0.0F)) {
        return 0;
    }
    auto square = static_cast<float>(std::min(root * root, static_cast<double>(std::numeric_limits<float>::max())));
    while (square < infinity && !reaches(square)) {
        square = std::nextafter(square, infinity);
    }
    while (square > 0 && reaches(std::nextafter(square, 0.0F))) {
        square = std::nextafter(square, 0.0F);
    }
    return square;
}

const SearchParameters* search_parameters(sqlite3_value* value) {
    return static_cast<const SearchParameters*>(sqlite3_value_pointer(value, search_pointer));
}

}  // namespace

Status Cursor::filter(const char* plan, std::span<sqlite3_value*> values) {
    at_end_ = true;
    row_loaded_ = false;
    found_.clear();
    position_ = 0;
    request_ = {};
    is_limited_ = false;
    is_exact_ = false;
    is_exhausted_ = false;
    readings_.clear();
    kept_.clear();
    later_.clear();
    later_distances_ = {};
    asked_k_ = {};
    asked_recall_ = {};
    is_sqlite_vss_search_ = false;
    recall_ = 0;
    VSS_TRY(table_.ready());
    changes_ = sqlite3_total_changes(table_.name().db);
    VSS_TRY(Plan::decode(plan == nullptr ? "" : plan, plan_));
    if (plan_.terms.size() != values.size()) {
        return {Code::internal, "the plan does not match its values"};
    }
    return is_nearest() ? filter_nearest(values) : filter_rows(values);
}

Status Cursor::filter_rows(std::span<sqlite3_value*> values) {
    if (plan_.has_search_terms()) {
        return Status::invalid(cat(table_.name().words(),
                                   ": k, recall and distance belong to a search, and this query ", "has none; write \"",
                                   table_.schema().vector(0).name, " match ? and k = 10\""));
    }
    const RowsCondition condition = rows_condition(table_.schema(), plan_, values, {});
    std::string sql = table_.select_rows() + condition.sql;
    std::vector<ValueList> lists;
    std::size_t listed = 0;
    for (std::size_t i = 0; i < plan_.terms.size(); ++i) {
        if (plan_.terms[i].is_list) {
            lists.emplace_back();
            VSS_TRY(read_value_list(plan_.terms[i], values[i], {}, lists.back()));
            listed += lists.back().values.size();
        }
    }
    std::vector<const KeptValue*> bound;
    bool any = !condition.sql.empty();
    for (const ValueList& list : lists) {
        if (listed <= most_listed_values) {  // else SQLite alone looks at them
            sql += cat(any ? " and (" : " where (", list_condition(table_.schema(), list, 0, list.values.size(), bound),
                       ')');
            any = true;
        }
    }
    if (plan_.order == RowOrder::ascending || plan_.order == RowOrder::descending) {
        sql += plan_.order == RowOrder::ascending ? " order by _rowid" : " order by _rowid desc";
    }
    if (rows_sql_ == sql && rows_.is_prepared()) {
        rows_.reset();
    } else {
        rows_.finalize();
        VSS_TRY(rows_.prepare(table_.name().db, sql));
        rows_sql_ = sql;
    }
    int mark = 0;
    for (const std::size_t i : condition.terms) {
        rows_.bind_value(++mark, values[i]);
    }
    for (const KeptValue* value : bound) {
        rows_.bind_value(++mark, value->get());
    }
    bool row = false;
    VSS_TRY(rows_.step(row));
    at_end_ = !row;
    row_loaded_ = row;
    return Status::ok();
}

Status Cursor::read_settings(std::span<sqlite3_value*> values) {
    const std::string words = table_.name().words();
    std::size_t limit = 0;
    std::size_t offset = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        const Term& term = plan_.terms[i];
        switch (term.kind) {
            case TermKind::k:
                VSS_TRY(count_of(values[i], words, "k", request_.k));
                asked_k_ = KeptValue(values[i]);
                is_limited_ = true;
                break;
            case TermKind::recall: {
                const int type = sqlite3_value_numeric_type(values[i]);
                recall_ = sqlite3_value_double(values[i]);
                if (type != SQLITE_INTEGER && type != SQLITE_FLOAT) {
                    return Status::invalid(
                        cat(words, ": expected recall above 0 and at most 1, got ", type_words(values[i])));
                }
                if (!(recall_ > 0 && recall_ <= 1)) {
                    return Status::invalid(cat(words, ": expected recall above 0 and at most 1, got ", recall_));
                }
                asked_recall_ = KeptValue(values[i]);
                break;
            }
            case TermKind::limit:
                limit = static_cast<std::size_t>(std::max<std::int64_t>(0, sqlite3_value_int64(values[i])));
                break;
            case TermKind::offset:
                offset = static_cast<std::size_t>(std::max<std::int64_t>(0, sqlite3_value_int64(values[i])));
                break;
            default: break;
        }
    }
    if (!is_limited_) {
        request_.k = limit > 0 && limit < (std::size_t{1} << 40) && offset < (std::size_t{1} << 40) ? limit + offset
                                                                                                    : first_portion;
    }
    return Status::ok();
}

Status Cursor::read_distance(const Term& term, sqlite3_value* value, RowFilter& filter) const {
    const int type = sqlite3_value_numeric_type(value);
    if (type != SQLITE_INTEGER && type != SQLITE_FLOAT) {
        return Status::invalid(
            cat(table_.name().words(), ": expected a number to compare distance with, got ", type_words(value)));
    }
    // vss_search reports inner products, larger is nearer; searches themselves count the other way round.
    const bool negated = is_sqlite_vss_search_ && table_.schema().vector(vector_).metric == Metric::inner_product;
    double bound = negated ? -sqlite3_value_double(value) : sqlite3_value_double(value);
    bool inclusive = term.op == SQLITE_INDEX_CONSTRAINT_GE || term.op == SQLITE_INDEX_CONSTRAINT_LE;
    const bool above = term.op == SQLITE_INDEX_CONSTRAINT_GT || term.op == SQLITE_INDEX_CONSTRAINT_GE;
    if (table_.schema().vector(vector_).is_root) {
        bound = square_of_bound(bound, above != inclusive);
        inclusive = above;
    }
    if (above != negated) {
        if (bound > filter.distance_above || (bound == filter.distance_above && !inclusive)) {
            filter.distance_above = bound;
            filter.above_inclusive = inclusive;
        }
    } else if (bound < filter.distance_below || (bound == filter.distance_below && !inclusive)) {
        filter.distance_below = bound;
        filter.below_inclusive = inclusive;
    }
    return Status::ok();
}

// Which terms hold before the k nearest are found and which after, whether a LIMIT ends the reading, and the bounds on
// distance, which depend on it.
Status Cursor::read_text(std::span<sqlite3_value*> values) {
    const bool has_limit_term = std::any_of(plan_.terms.begin(), plan_.terms.end(),
                                            [](const Term& term) { return term.kind == TermKind::limit; });
    SearchReading reading;
    if (is_limited_ || !has_limit_term) {
        VSS_TRY(table_.reader().read(table_.declared(), table_.schema(), plan_, is_limited_, this, reading));
    }
    readings_ = std::move(reading.terms);
    kept_ = std::move(reading.kept);
    later_.assign(plan_.terms.size(), 0);
    for (std::size_t i = 0; i < plan_.terms.size(); ++i) {
        const Term& term = plan_.terms[i];
        const bool is_condition = term.kind == TermKind::distance || term.kind == TermKind::rowid ||
                                  term.kind == TermKind::value || term.kind == TermKind::vector;
        // Where the text is not known: one rowid comes from a join more often than from the search.
        const bool is_own = reading.is_known
                                ? readings_[i].is_own
                                : term.kind != TermKind::rowid || term.is_list || term.op != SQLITE_INDEX_CONSTRAINT_EQ;
        later_[i] = is_limited_ && is_condition && !is_own ? 1 : 0;
        if (term.kind == TermKind::distance) {
            VSS_TRY(read_distance(term, values[i], later_[i] != 0 ? later_distances_ : request_.filter));
        }
    }
    if (is_limited_) {
        return refuse_doubts(table_, plan_, values, {readings_, later_});
    }
    if (plan_.order == RowOrder::farthest_first &&
        request_.filter.distance_below == std::numeric_limits<double>::infinity()) {
        return Status::invalid(cat(table_.name().words(), ": rows come nearest first; \"order by distance desc\" or ",
                                   "max(distance) without k would need every row of the table. Add k = ?"));
    }
    // All rows within a distance, or all rows: none may be missing unless that was asked for.
    const bool within = request_.filter.distance_below != std::numeric_limits<double>::infinity();
    const bool ends = has_limit_term || (reading.is_known && reading.has_limit);
    is_exact_ = within ? recall_ == 0 : !ends;
    return Status::ok();
}

Status Cursor::read_query(const Term& term, sqlite3_value* value) {
    const Column& column = table_.schema().vector(term.column);
    const std::string words = table_.name().words(column);
    sqlite3_value* query = value;
    is_sqlite_vss_search_ = term.kind != TermKind::match;
    if (term.kind == TermKind::range_search) {
        const auto* parameters = static_cast<const RangeParameters*>(sqlite3_value_pointer(value, range_pointer));
        if (parameters == nullptr) {
            return Status::invalid(cat(words, ": vss_range_search takes vss_range_search_params(vector, distance)"));
        }
        query = parameters->query.get();
        // Faiss's range search: strictly nearer; for inner products, strictly larger.
        if (column.metric == Metric::inner_product) {
            request_.filter.distance_below = std::min(request_.filter.distance_below, -parameters->distance);
        } else {
            const double bound = column.is_root ? square_of_bound(parameters->distance, false) : parameters->distance;
            request_.filter.distance_below = std::min(request_.filter.distance_below, bound);
        }
        request_.filter.below_inclusive = false;
    } else if (const SearchParameters* parameters = search_parameters(value); parameters != nullptr) {
        query = parameters->query.get();
        request_.k = static_cast<std::size_t>(parameters->k);
        is_limited_ = true;
        recall_ = parameters->recall > 0 ? parameters->recall : recall_;
        request_.settings = parameters->settings;
    } else if (is_sqlite_vss_search_ && sqlite3_value_type(value) == SQLITE_NULL) {
        // sqlite-vss also takes a bare vector, with LIMIT in place of k.
        return Status::invalid(
            cat(bare_not_a_vector, words, ": vss_search takes vss_search_params(vector, k) or a vector"));
    }
    VSS_TRY(check_model(table_.name().db, table_.declared().schema, table_.declared().table, query));
    std::span<const std::byte> bytes;
    if (const Status status = read_vector(query, column, words, query_, bytes); !status.is_ok()) {
        return is_sqlite_vss_search_ ? in_words_of_sqlite_vss(status, query, column, query == value) : status;
    }
    if (bytes.data() != query_.data()) {
        query_.assign(bytes.begin(), bytes.end());
    }
    request_.queries = {query_.data()};
    return Status::ok();
}

Status Cursor::run_batch(std::int64_t ticket) {
    const auto search = find_search(ticket);
    const Column& column = table_.schema().vector(vector_);
    const std::string words = table_.name().words(column);
    if (search == nullptr) {
        return Status::invalid(cat(words, ": vss_batch was given a ticket that this process did not issue"));
    }
    if (search->query_bytes != column.bytes()) {
        return Status::invalid(cat(words, ": expected queries of ", column.bytes(), " bytes (", column.dim,
                                   " dimensions of ", name_of(column.type), "), got ", search->query_bytes));
    }
    if (search->type && *search->type != column.type) {
        return Status::invalid(
            cat(words, ": expected queries of ", name_of(column.type), ", got ", name_of(*search->type)));
    }
    for (std::size_t i = 0; i < search->nq; ++i) {
        request_.queries.push_back(search->queries + i * search->stride);
        VSS_TRY(validate_vector(column.type, column.metric, request_.queries.back(), column.dim,
                                cat(words, ", query ", i)));
    }
    request_.k = search->k;
    request_.threads = search->nq > 1 ? threads() : 1;
    if (search->recall > 0) {
        recall_ = search->recall;
    }
    std::vector<std::vector<Neighbor>> results;
    VSS_TRY(find(results, false));
    for (std::size_t i = 0; i < search->nq; ++i) {
        std::int64_t* ids = search->ids + i * search->k;
        float* distances = search->distances + i * search->k;
        for (std::size_t j = 0; j < search->k; ++j) {
            const bool any = j < results[i].size();
            ids[j] = any ? results[i][j].rowid : -1;
            distances[j] = any ? static_cast<float>(told_distance(column, results[i][j].reported()))
                               : std::numeric_limits<float>::infinity();
            if (any && ids[j] == -1) {
                // Together with infinity it would say that there is no row.
                distances[j] = std::min(distances[j], std::numeric_limits<float>::max());
            }
        }
    }
    if (table_.schema().key()) {
        give_distinct(results);
    }
    return Status::ok();
}

// The rows of a batch, each once, so that the statement can read their keys in the snapshot that was searched.
void Cursor::give_distinct(const std::vector<std::vector<Neighbor>>& results) {
    std::unordered_set<std::int64_t> seen;
    for (const std::vector<Neighbor>& result : results) {
        for (const Neighbor& neighbor : result) {
            if (seen.insert(neighbor.rowid).second) {
                found_.push_back(neighbor);
            }
        }
    }
    is_limited_ = true;
    at_end_ = found_.empty();
}

Status Cursor::filter_nearest(std::span<sqlite3_value*> values) {
    const auto at = std::find_if(plan_.terms.begin(), plan_.terms.end(),
                                 [&](const Term& term) { return &term == plan_.nearest(); });
    const auto i = static_cast<std::size_t>(at - plan_.terms.begin());
    vector_ = at->column;
    VSS_TRY(read_settings(values));
    const auto* batch = at->kind == TermKind::match
                            ? static_cast<const BatchParameters*>(sqlite3_value_pointer(values[i], batch_pointer))
                            : nullptr;
    if (batch == nullptr) {
        VSS_TRY(read_query(*at, values[i]));
    }
    sqlite3_value* rows = batch != nullptr ? batch->rows.get() : nullptr;
    if (const SearchParameters* parameters = search_parameters(values[i]); parameters != nullptr) {
        rows = parameters->rows.get();
    }
    if (batch == nullptr) {
        VSS_TRY(read_text(values));
    } else {
        later_.assign(plan_.terms.size(), 0);
    }
    VSS_TRY(build_row_filter(table_, plan_, values, {readings_, later_}, vector_, rows, kept_, request_));
    if (batch != nullptr) {
        request_.settings = batch->settings;
        return run_batch(batch->ticket);
    }
    if (asks_the_same()) {
        found_ = last_found_;
    } else {
        // There can be no more rows, and sums with larger numbers would overflow.
        VSS_TRY(fetch(std::min<std::size_t>(request_.k, max_slots)));
        last_asked_.reset();
        if (is_limited_ && !request_.filter.allowed) {
            last_asked_ = {vector_, query_, request_.k, recall_, request_.settings, request_.filter, changes_};
            last_found_ = found_;
        }
    }
    VSS_TRY(drop_later(values));
    return skip_gone();
}

bool Cursor::asks_the_same() const {
    const RowFilter& filter = request_.filter;
    return last_asked_ && is_limited_ && !filter.allowed && last_asked_->column == vector_ &&
           last_asked_->query == query_ && last_asked_->k == request_.k && last_asked_->recall == recall_ &&
           last_asked_->settings == request_.settings && last_asked_->changes == changes_ &&
           last_asked_->filter.distance_above == filter.distance_above &&
           last_asked_->filter.distance_below == filter.distance_below &&
           last_asked_->filter.above_inclusive == filter.above_inclusive &&
           last_asked_->filter.below_inclusive == filter.below_inclusive;
}

// Of the k nearest, those that what comes from outside lets pass.
Status Cursor::drop_later(std::span<sqlite3_value*> values) {
    std::erase_if(found_, [&](const Neighbor& n) { return !later_distances_.passes_distance(n.reported()); });
    std::vector<char> left_out(later_.size(), 1);
    bool any = false;
    for (std::size_t i = 0; i < later_.size(); ++i) {
        const Term& term = plan_.terms[i];
        if (later_[i] == 0 || term.kind == TermKind::distance) {
            continue;
        }
        if (term.kind == TermKind::rowid && term.op == SQLITE_INDEX_CONSTRAINT_EQ && !term.is_list &&
            sqlite3_value_type(values[i]) == SQLITE_INTEGER) {
            const std::int64_t id = sqlite3_value_int64(values[i]);
            std::erase_if(found_, [&](const Neighbor& n) { return n.rowid != id; });
            continue;
        }
        left_out[i] = 0;
        any = true;
    }
    if (!any || found_.empty()) {
        return Status::ok();
    }
    constexpr std::size_t most_listed = 1000;
    std::string among;
    for (std::size_t i = 0; i < found_.size() && found_.size() <= most_listed; ++i) {
        among += cat(i == 0 ? "_rowid in (" : ", ", found_[i].rowid);
    }
    SearchRequest passing;
    VSS_TRY(build_row_filter(table_, plan_, values, {readings_, left_out}, vector_, nullptr,
                             among.empty() ? among : among + ')', passing));
    std::erase_if(found_, [&](const Neighbor& n) { return !passing.filter.passes(n.rowid); });
    return Status::ok();
}

Status Cursor::find(std::vector<std::vector<Neighbor>>& results, bool exact) {
    const Column& column = table_.schema().vector(vector_);
    request_.recall = exact ? 1 : wanted_recall(column, recall_);
    if (!request_.settings.empty() && !exact) {
        VSS_TRY(check_settings(table_.index(vector_), table_.name().words(column), recall_ > 0, request_));
    }
    SearchAnswer answer;
    VSS_TRY(table_.index(vector_).search(request_, answer));
    results = std::move(answer.neighbors);
    return verification() ? verify_search(table_, vector_, request_, answer.is_exact, results) : Status::ok();
}

// Searches for the k nearest and goes on after those already handed out.
Status Cursor::fetch(std::size_t k) {
    request_.k = k;
    std::vector<std::vector<Neighbor>> results;
    if (position_ == 0) {
        VSS_TRY(find(results, is_exact_));
        found_ = std::move(results[0]);
        is_exhausted_ = found_.size() < request_.k;
        return Status::ok();
    }
    // The reader wants more than was thought: from here on nothing may be left out, nor come twice. What the first
    // portion missed would break the order by now.
    VSS_TRY(find(results, true));
    is_exhausted_ = results[0].size() < request_.k;
    std::unordered_set<std::int64_t> handed_out;
    for (const Neighbor& neighbor : found_) {
        handed_out.insert(neighbor.rowid);
    }
    const Neighbor last = found_.back();
    std::vector<Neighbor> missed;
    for (const Neighbor& neighbor : results[0]) {
        if (!handed_out.contains(neighbor.rowid)) {
            (last < neighbor ? found_ : missed).push_back(neighbor);
        }
    }
    if (is_exhausted_ && plan_.order != RowOrder::nearest_first) {
        found_.insert(found_.end(), missed.begin(), missed.end());
    }
    return Status::ok();
}

bool Cursor::is_changed() const {
    return sqlite3_total_changes(table_.name().db) != changes_;
}

// Moves on to a row that is there: what this connection deleted meanwhile is left out.
Status Cursor::skip_gone() {
    for (at_end_ = false;; ++position_) {
        row_loaded_ = false;
        while (position_ >= found_.size()) {
            if (is_limited_ || is_exhausted_) {
                at_end_ = true;
                return Status::ok();
            }
            VSS_TRY(fetch(std::min<std::size_t>(std::max(request_.k, first_portion) * portion_growth, max_slots)));
        }
        bool found = true;
        if (is_changed()) {
            VSS_TRY(load_row(found));
        }
        if (found) {
            return Status::ok();
        }
    }
}

Status Cursor::load_row(bool& found) {
    const std::string sql = table_.select_rows() + " where _rowid = ?";
    if (rows_sql_ != sql) {
        rows_.finalize();
        VSS_TRY(rows_.prepare(table_.name().db, sql));
        rows_sql_ = sql;
    }
    rows_.reset();
    rows_.bind(1, rowid());
    VSS_TRY(rows_.step(row_loaded_));
    found = row_loaded_;
    return Status::ok();
}

Status Cursor::next() {
    if (!is_nearest()) {
        row_loaded_ = false;
        bool row = false;
        VSS_TRY(rows_.step(row));
        at_end_ = !row;
        row_loaded_ = row;
        return Status::ok();
    }
    ++position_;
    return skip_gone();
}

std::int64_t Cursor::rowid() const {
    return is_nearest() ? found_[position_].rowid : rows_.int64(0);
}

Status Cursor::result_vector(sqlite3_context* context, std::size_t c, const Statement& row, std::int64_t rowid) {
    const int position = table_.slot_position(c);
    if (row.is_null(position)) {
        return Status::ok();
    }
    if (!knows_sums_) {
        if (const std::string summed = SearchReader::summed(table_.name(), table_.schema()); !summed.empty()) {
            return Status::invalid(cat(table_.name().words(),
                                       ": avg(), sum() and total() take a vector for the number 0; "
                                       "write vss_avg(",
                                       summed, ") or vss_sum(", summed, ")"));
        }
        knows_sums_ = true;
    }
    const std::int64_t slot = row.int64(position);
    VectorStore& store = table_.store(c);
    std::vector<std::byte> vector(store.geometry().vector_bytes);
    if (slot < 0) {
        return Status::corrupt(cat(table_.name().words(store.column()), ": row ", rowid, " names slot ", slot));
    }
    const Status status = store.read(static_cast<std::uint64_t>(slot), rowid, vector);
    if (status.code() == Code::corrupt && is_changed()) {
        return Status::ok();  // deleted or given another vector meanwhile: there is none to hand out
    }
    VSS_TRY(status);
    sqlite3_result_blob64(context, vector.data(), vector.size(), SQLITE_TRANSIENT);
    return Status::ok();
}

Status Cursor::column(sqlite3_context* context, int column) {
    const Schema& schema = table_.schema();
    if (sqlite3_vtab_nochange(context) != 0) {
        return Status::ok();
    }
    if (column >= schema.distance_column()) {
        if (column == schema.distance_column() && is_nearest()) {
            const double distance = told_distance(schema.vector(vector_), found_[position_].reported());
            const bool negated = is_sqlite_vss_search_ && schema.vector(vector_).metric == Metric::inner_product;
            sqlite3_result_double(context, negated ? -distance : distance);
        }
        const KeptValue* asked = column == schema.k_column()        ? &asked_k_
                                 : column == schema.recall_column() ? &asked_recall_
                                                                    : nullptr;
        if (asked != nullptr && asked->get() != nullptr) {
            sqlite3_result_value(context, asked->get());
        }
        return Status::ok();
    }
    if (schema.rowid_column() == static_cast<std::size_t>(column)) {
        sqlite3_result_int64(context, rowid());
        return Status::ok();
    }
    if (!row_loaded_) {
        bool found = false;
        VSS_TRY(load_row(found));
        if (!found) {
            return is_changed()
                       ? Status::ok()  // deleted since the cursor moved here
                       : Status::corrupt(cat(table_.name().words(), ": row ", rowid(), " has a vector but no row"));
        }
    }
    const auto i = static_cast<std::size_t>(column);
    if (const auto c = schema.vector_index(i)) {
        return result_vector(context, *c, rows_, rowid());
    }
    sqlite3_result_value(context, rows_.value(table_.value_position(*schema.value_index(i))));
    return Status::ok();
}

}  // namespace vss
