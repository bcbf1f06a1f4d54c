#include "sqlite/search_reading.h"

#include <algorithm>
#include <iterator>

#include "base/text.h"
#include "sqlite/aggregate_text.h"
#include "sqlite/sql_tokens.h"
#include "storage/sqlite_api.h"
#include "storage/statement.h"

namespace vss {
namespace {

// Texts that are kept, and the longest that is worth keeping.
constexpr std::size_t most_texts = 64;
constexpr std::size_t longest_text = 16384;

thread_local int probes_running = 0;

std::shared_ptr<const TableWords> words_of(const TableName& name, const Schema& schema) {
    auto words = std::make_shared<TableWords>();
    words->schema = name.schema;
    words->table = name.table;
    for (const Column& column : schema.columns()) {
        (column.is_vector() ? words->vectors : words->columns).push_back(column.name);
    }
    for (std::size_t v = 0; v < schema.values().size(); ++v) {
        words->values.push_back(schema.value(v).name);
    }
    if (const auto rowid = schema.rowid_column()) {
        words->rowid = schema.column(*rowid).name;
    }
    for (const char* hidden : {"distance", "k", "recall", "operation"}) {
        words->columns.emplace_back(hidden);
    }
    return words;
}

// Whether a failure is about the moment and not about the statement.
bool is_of_the_moment(const Status& status) {
    return status.code() == Code::no_memory || status.code() == Code::interrupted;
}

char collation_code(std::string_view name) {
    return name.empty()                          ? 'c'
           : equal_ignoring_case(name, "binary") ? 'b'
           : equal_ignoring_case(name, "nocase") ? 'n'
           : equal_ignoring_case(name, "rtrim")  ? 'r'
                                                 : '\0';
}

// Whether SQLite makes the terms itself (of BETWEEN, LIKE, <> and the like) and appends them behind those that are
// comparisons as they stand, the last condition's first.
bool is_derived(const WrittenCondition& condition, const std::vector<Term>& terms) {
    if (terms.size() != 1 || condition.has_between) {
        return true;
    }
    switch (terms[0].op) {
        case SQLITE_INDEX_CONSTRAINT_NE:
        case SQLITE_INDEX_CONSTRAINT_ISNOT:
        case SQLITE_INDEX_CONSTRAINT_ISNOTNULL:
        case SQLITE_INDEX_CONSTRAINT_LIKE:
        case SQLITE_INDEX_CONSTRAINT_GLOB: return true;
        default: return false;
    }
}

// Which of the plan's terms this is, where several look alike.
std::optional<std::size_t> taken_as(const Plan& plan, const Term& term, bool derived,
                                    const std::vector<char>& matched) {
    std::optional<std::size_t> at;
    for (std::size_t t = 0; t < plan.terms.size() && (derived || !at); ++t) {
        const Term& taken = plan.terms[t];
        if (matched[t] == 0 && taken.kind == term.kind && taken.column == term.column && taken.op == term.op &&
            taken.collation == term.collation) {
            at = t;
        }
    }
    return at;
}

// Whether a text may write the name otherwise than it is.
bool is_quoted(std::string_view name) {
    return name.find_first_of("\"`]") != std::string_view::npos;
}

}  // namespace

ProbeScope::ProbeScope() {
    ++probes_running;
}
ProbeScope::~ProbeScope() {
    --probes_running;
}
bool ProbeScope::is_active() {
    return probes_running > 0;
}

std::shared_ptr<SearchReader::Searches> SearchReader::searches_of(const TableName& name, const Schema& schema,
                                                                  std::string_view sql) {
    if (table_ != name.table) {
        texts_.clear();  // renamed
        table_ = name.table;
    }
    if (const auto at = texts_.find(sql); at != texts_.end()) {
        return at->second;
    }
    auto searches = std::make_shared<Searches>();
    for (WrittenSearch& written : searches_in(sql, *words_of(name, schema))) {
        Search search{std::move(written), {}};
        search.probes.resize(search.written.conditions.size());
        searches->push_back(std::move(search));
    }
    if (sql.size() <= longest_text) {
        if (texts_.size() >= most_texts) {
            texts_.clear();
        }
        texts_.emplace(std::string(sql), searches);
    }
    return searches;
}

Status SearchReader::from_stored_sql(const TableName& name, const Schema& schema,
                                     std::vector<std::shared_ptr<Searches>>& out) {
    // The word by which a text uses it: a view's own name, the name of a trigger's table.
    struct Stored {
        std::string word;
        std::string sql;
        bool is_used = false;
    };
    // With foreign keys a statement may change, and so set off triggers of, tables that it does not name.
    int has_foreign_keys = 0;
    sqlite3_db_config(name.db, SQLITE_DBCONFIG_ENABLE_FKEY, -1, &has_foreign_keys);
    std::vector<Stored> all;
    Statement stored;
    VSS_TRY(stored.prepare(
        name.db,
        cat("select case type when 'view' then name else tbl_name end, sql, type = 'trigger' from ",
            quote_identifier(name.schema),
            ".sqlite_master where type in ('view', 'trigger') union all "
            "select case type when 'view' then name else tbl_name end, sql, type = 'trigger' from sqlite_temp_master "
            "where type in ('view', 'trigger')"),
        false));
    for (bool row = true;;) {
        VSS_TRY(stored.step(row));
        if (!row) {
            break;
        }
        all.push_back(
            {lower(stored.text(0)), std::string(stored.text(1)), has_foreign_keys != 0 && stored.int64(2) != 0});
    }
    std::vector<std::string> used;
    for (const Stored& each : all) {
        if (each.is_used) {
            used.push_back(lower(each.sql));
        }
    }
    for (sqlite3_stmt* statement = sqlite3_next_stmt(name.db, nullptr); statement != nullptr;
         statement = sqlite3_next_stmt(name.db, statement)) {
        const char* sql = sqlite3_stmt_busy(statement) != 0 ? sqlite3_sql(statement) : nullptr;
        if (sql != nullptr) {
            used.push_back(lower(sql));
        }
    }
    for (std::size_t i = 0; i < used.size(); ++i) {
        for (Stored& each : all) {
            // A name that its text may write otherwise is taken to be there.
            if (!each.is_used && (used[i].find(each.word) != std::string::npos || is_quoted(each.word))) {
                each.is_used = true;
                used.push_back(lower(each.sql));
            }
        }
    }
    const std::string table = lower(name.table);
    const bool is_found = std::any_of(all.begin(), all.end(), [](const Stored& each) { return each.is_used; });
    for (const Stored& each : all) {
        if ((each.is_used || !is_found) && (is_quoted(table) || lower(each.sql).find(table) != std::string::npos)) {
            out.push_back(searches_of(name, schema, each.sql));
        }
    }
    return Status::ok();
}

// How SQLite would take this condition in a search: EXPLAIN shows what the table is given, and whether rows that came
// out are looked at once more (their columns are read, though nothing but 1 is selected).
SearchReader::Probed SearchReader::probe(const TableName& name, const Search& search, const std::string& condition) {
    const ProbeScope scope;
    Probed probed;
    const std::string alias = quote_identifier(search.written.alias);
    Statement explain;
    const Status status = explain.prepare_with_virtual_tables(
        name.db, cat("explain select 1 from ", quote_identifier(name.schema), '.', quote_identifier(name.table), " as ",
                     alias, " where ", alias, '.', quote_identifier(search.written.column), " match ? and ", alias,
                     ".k = ? and (", condition, ')'));
    if (!status.is_ok()) {
        return probed;
    }
    // The table is the first of the FROM, so its cursor is 0.
    std::size_t loops = 0;
    bool inside = false;
    std::int64_t filter_at = 0;
    for (bool row = true;;) {
        if (!explain.step(row).is_ok() || !row) {
            break;
        }
        const std::string_view opcode = explain.text(1);
        if (inside && opcode.find("Func") != std::string_view::npos) {
            probed.is_kept = true;  // random(), which is asked for every row
        }
        if (explain.int64(2) != 0) {
            // The end of a loop that began before the search did.
            probed.is_looped |= loops > 0 && (opcode == "Next" || opcode == "Prev") && explain.int64(3) <= filter_at;
            continue;
        }
        if (opcode == "VFilter") {
            ++loops;
            inside = true;
            filter_at = explain.int64(0);
            Plan plan;
            if (!Plan::decode(explain.text(5), plan).is_ok()) {
                return probed;
            }
            for (const Term& term : plan.terms) {
                if (term.kind != TermKind::match && term.kind != TermKind::k) {
                    probed.terms.push_back(term);
                }
            }
        } else if (opcode == "VNext") {
            inside = false;
        } else if (inside && (opcode == "VColumn" || opcode == "Rowid")) {
            probed.is_kept = true;
        }
    }
    probed.is_known = true;
    probed.is_kept |= loops > 1;
    return probed;
}

// `agreement`: how well the plan's terms fit.
Status SearchReader::read_as(const TableName& name, const Plan& plan, bool has_k, const Candidate& candidate,
                             bool is_sure, SearchReading& out, int& agreement) {
    Search& search = *candidate.search;
    std::optional<std::vector<std::string>> values;
    const WrittenSearch& written = search.written;
    const std::string or_else =
        cat(", so fewer than k rows could come back though more match. Write \"order by distance limit\" in place of "
            "k, or ");
    if (!written.odd_setting.empty()) {
        return Status::invalid(cat(name.words(),
                                   ": k and recall are set by k = ? and recall = ?, each beside the others by AND, "
                                   "which \"",
                                   written.odd_setting, "\" does not"));
    }
    out.is_known = true;
    out.has_limit = written.has_limit;
    out.terms.assign(plan.terms.size(), {});
    agreement = 0;
    std::vector<char> matched(plan.terms.size(), 0);
    for (std::size_t i = 0; i < written.conditions.size(); ++i) {
        const WrittenCondition& condition = written.conditions[i];
        if (!search.probes[i]) {
            Probed probed = probe(name, search, condition.probe);
            if (!probed.is_known) {
                probed = probe(name, search, condition.bare_probe);
            }
            // The table is given this one, and SQLite looks again all the same.
            probed.is_kept &=
                !(condition.is_whole && std::any_of(probed.terms.begin(), probed.terms.end(), [](const Term& term) {
                      return term.op == SQLITE_INDEX_CONSTRAINT_ISNOTNULL || term.op == SQLITE_INDEX_CONSTRAINT_LIKE ||
                             term.op == SQLITE_INDEX_CONSTRAINT_GLOB;
                  }));
            search.probes[i] = std::move(probed);
        }
        const Probed& probed = *search.probes[i];
        if (has_k && condition.is_own && probed.is_known && probed.is_kept &&
            !(is_sure && put_inside(candidate, condition, values, out.kept))) {
            return Status::invalid(cat(name.words(), ": SQLite checks the condition \"", condition.text,
                                       "\" after the k nearest rows are found", or_else,
                                       "put the condition into "
                                       "rowid in (select rowid from ",
                                       name.table, " where ...)"));
        }
        const bool is_old = sqlite3_libversion_number() < 3038000;
        if (has_k && condition.is_own &&
            (probed.is_looped || (condition.has_list && !probed.terms.empty() && is_old))) {
            return Status::invalid(
                is_old
                    ? cat(name.words(), ": SQLite ", sqlite3_libversion(), " runs a search once for each value of \"",
                          condition.text, "\" (3.38 hands them over at once)", or_else,
                          "hand the rows over as JSON: match vss_search_params(vector, k, recall, "
                          "(select json_group_array(id) from ...))")
                    : cat(name.words(), ": SQLite runs a search once for each row of \"", condition.text, '"', or_else,
                          "put the condition into rowid in (select rowid from ", name.table, " where ...)"));
        }
        for (const Term& term : probed.terms) {
            const std::optional<std::size_t> at = taken_as(plan, term, is_derived(condition, probed.terms), matched);
            if (at) {
                matched[*at] = 1;
                out.terms[*at] = {condition.is_own, condition.is_plain_value, collation_code(condition.collation)};
            }
            agreement += at ? 1 : -1;
        }
    }
    if (has_k && !written.drops.empty()) {
        return Status::invalid(cat(name.words(), ": the condition \"", written.drops.front(),
                                   "\" on a joined table drops rows after the k nearest are found", or_else,
                                   "put the condition into ", written.alias,
                                   ".rowid in (select ... where ...); where the k nearest of all rows are meant, take "
                                   "them in a subquery and join that"));
    }
    return Status::ok();
}

Status SearchReader::read(const TableName& name, const Schema& schema, const Plan& plan, bool has_k, const void* reader,
                          SearchReading& out) {
    out = {};
    const Term* nearest = plan.nearest();
    if (nearest == nullptr) {
        return Status::ok();
    }
    const std::string& column = schema.vector(nearest->column).name;
    const bool by_function = nearest->kind != TermKind::match;
    const auto fits = [&](const Search& search) {
        return equal_ignoring_case(search.written.column, column) && search.written.by_function == by_function &&
               (!search.written.odd_setting.empty() || (search.written.has_k || by_function) == (has_k || by_function));
    };
    std::vector<Candidate> candidates;
    const auto offer = [&](sqlite3_stmt* statement, const std::shared_ptr<Searches>& searches) {
        for (Search& search : *searches) {
            if (fits(search)) {
                candidates.push_back({statement, searches, &search});
            }
        }
    };
    for (sqlite3_stmt* statement = sqlite3_next_stmt(name.db, nullptr); statement != nullptr;
         statement = sqlite3_next_stmt(name.db, statement)) {
        const char* sql = sqlite3_stmt_busy(statement) != 0 ? sqlite3_sql(statement) : nullptr;
        if (sql != nullptr) {
            offer(statement, searches_of(name, schema, sql));
        }
    }
    // Statements that other cursors read for are somebody else's, where there is another.
    const auto is_taken = [&](const Candidate& candidate) {
        return std::any_of(adopted_.begin(), adopted_.end(),
                           [&](const auto& of) { return of.first != reader && of.second == candidate.statement; });
    };
    if (!std::all_of(candidates.begin(), candidates.end(), is_taken)) {
        std::erase_if(candidates, is_taken);
    }
    if (candidates.empty()) {
        std::vector<std::shared_ptr<Searches>> stored;
        Status status = from_stored_sql(name, schema, stored);
        if (is_of_the_moment(status)) {
            return status;
        }
        for (const std::shared_ptr<Searches>& searches : stored) {
            offer(nullptr, searches);
        }
    }
    // Where several could be meant, the one whose conditions fit the plan best.
    int best = 0;
    forget(reader);
    for (const Candidate& candidate : candidates) {
        SearchReading reading;
        int agreement = 0;
        VSS_TRY(read_as(name, plan, has_k, candidate, candidates.size() == 1, reading, agreement));
        if (!out.is_known || agreement > best) {
            best = agreement;
            out = std::move(reading);
            forget(reader);
            if (candidate.statement != nullptr) {
                adopted_.emplace_back(reader, candidate.statement);
            }
        } else {
            out.has_limit &= reading.has_limit;
        }
    }
    return Status::ok();
}

std::string SearchReader::summed(const TableName& name, const Schema& schema) {
    for (sqlite3_stmt* statement = sqlite3_next_stmt(name.db, nullptr); statement != nullptr;
         statement = sqlite3_next_stmt(name.db, statement)) {
        const char* sql = sqlite3_stmt_busy(statement) != 0 ? sqlite3_sql(statement) : nullptr;
        if (sql == nullptr || !may_sum_vectors(sql)) {
            continue;
        }
        if (std::string column = summed_vector(sql, *words_of(name, schema)); !column.empty()) {
            return column;
        }
    }
    return {};
}

// A condition that SQLite keeps, with its parameters' values, for the filter.
bool SearchReader::put_inside(const Candidate& candidate, const WrittenCondition& condition,
                              std::optional<std::vector<std::string>>& values, std::string& out) {
    if (condition.pieces.empty() || (candidate.statement == nullptr && !condition.parameters.empty())) {
        return false;
    }
    if (!condition.parameters.empty() && !values) {
        const std::unique_ptr<char, void (*)(void*)> expanded(sqlite3_expanded_sql(candidate.statement), sqlite3_free);
        if (expanded == nullptr) {
            return false;
        }
        values = parameter_values(sqlite3_sql(candidate.statement), expanded.get());
        if (!values) {
            return false;
        }
    }
    std::string sql = condition.pieces[0];
    for (std::size_t i = 0; i < condition.parameters.size(); ++i) {
        const std::size_t place = condition.parameters[i];
        if (place >= values->size() || (*values)[place].empty()) {
            return false;
        }
        sql += cat(' ', (*values)[place], ' ', condition.pieces[i + 1]);
    }
    out += cat(out.empty() ? "(" : " and (", sql, ')');
    return true;
}

}  // namespace vss
