#include "sqlite/row_filter.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "base/text.h"
#include "sqlite/parameters.h"

namespace vss {
namespace {

// Lists are bound as parameters, of which SQLite allows at least this many; longer ones are asked in turns.
constexpr std::size_t marks_per_statement = 500;
// Looking a row up takes as long as passing over some eight, so that the rows of a set that holds more than an eighth
// of the table are found by passing over it.
constexpr std::size_t passed_for_one_looked_up = 8;
// So few are looked up in any case: rows may be many that have no vector in this column, which alone are counted.
constexpr std::size_t few_rowids = 1024;

std::string_view collation_words(char code) {
    // Said wherever it is known: it need not be the column's own.
    return code == 'b' ? " collate binary" : code == 'n' ? " collate nocase" : code == 'r' ? " collate rtrim" : "";
}

// A comparison, before which SQLite may convert one side.
bool is_converting(int op) {
    return takes_value(op) && op != SQLITE_INDEX_CONSTRAINT_LIKE && op != SQLITE_INDEX_CONSTRAINT_GLOB;
}

// What is different in any collation is different in binary.
char collation_of(const Term& term, const TermReading& reading) {
    return term.collation != 'c' ? term.collation : reading.is_own && reading.collation != 0 ? reading.collation : 'b';
}

// What `column op value` can mean; one condition where that is known.
std::vector<std::string> value_conditions(const Column& column, const Term& term, sqlite3_value* value,
                                          const TermReading& reading) {
    const std::string name = quote_identifier(column.name);
    const std::string op = cat(' ', operator_words(term.op), takes_value(term.op) ? " ?" : "");
    const std::string_view collated = collation_words(collation_of(term, reading));
    std::vector<std::string> out{cat(name, collated, op)};
    if (!is_converting(term.op) || has_numeric_affinity(column) || (reading.is_own && reading.is_plain_value)) {
        return out;
    }
    if (is_number(value)) {
        // Compared as text, as numbers, or as they are.
        const std::string as_number = op.substr(0, op.size() - 1) + "cast(? as numeric)";
        out.push_back(cat(name, collated, as_number));
        out.push_back(cat('+', name, collated, op));
    } else if (sqlite3_value_type(value) == SQLITE_TEXT &&
               (term.op == SQLITE_INDEX_CONSTRAINT_LT || term.op == SQLITE_INDEX_CONSTRAINT_LE)) {
        // The value may come from a column of numbers: then what looks like one is smaller than any text.
        out.push_back(cat(name, " < ':'"));
    }
    return out;
}

// A JSON array of integers, as json_group_array(rowid) makes it.
Status read_rowids(sqlite3_value* value, std::vector<std::int64_t>& out) {
    const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(value));
    const auto size = static_cast<std::size_t>(sqlite3_value_bytes(value));
    std::string_view rest(text == nullptr ? "" : text, text == nullptr ? 0 : size);
    const auto skip_spaces = [&] { rest.remove_prefix(std::min(rest.find_first_not_of(" \t\r\n"), rest.size())); };
    const auto take = [&](char c) {
        skip_spaces();
        const bool found = !rest.empty() && rest.front() == c;
        rest.remove_prefix(found ? 1 : 0);
        return found;
    };
    bool valid = take('[');
    while (valid && !take(']')) {
        skip_spaces();
        std::int64_t id = 0;
        const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), id);
        valid = error == std::errc();
        rest.remove_prefix(valid ? static_cast<std::size_t>(end - rest.data()) : 0);
        out.push_back(id);
        valid = valid && (take(',') || rest.starts_with(']'));
    }
    skip_spaces();
    return valid && rest.empty()
               ? Status::ok()
               : Status::invalid(cat("the rows to search among: expected a JSON array of rowids, got \"",
                                     rest.substr(0, 20), "\" at byte ", size - rest.size()));
}

// Runs `sql` (which gives rowid and slot) and gathers what it finds.
Status gather(Statement& statement, std::vector<std::int64_t>& rowids,
              std::vector<std::pair<std::int64_t, std::uint64_t>>& members) {
    for (bool row = true;;) {
        VSS_TRY(statement.step(row));
        if (!row) {
            return Status::ok();
        }
        if (statement.is_null(1)) {
            continue;  // no vector in this column
        }
        rowids.push_back(statement.int64(0));
        members.emplace_back(statement.int64(0), static_cast<std::uint64_t>(statement.int64(1)));
    }
}

}  // namespace

bool is_number(sqlite3_value* value) {
    return sqlite3_value_type(value) == SQLITE_INTEGER || sqlite3_value_type(value) == SQLITE_FLOAT;
}

Status read_value_list(const Term& term, sqlite3_value* list, const TermReading& reading, ValueList& out) {
    out = {term.column, term.collation, reading.is_own && reading.is_plain_value, {}};
    sqlite3_value* value = nullptr;
    int rc = sqlite3_vtab_in_first(list, &value);
    for (; rc == SQLITE_OK && value != nullptr; rc = sqlite3_vtab_in_next(list, &value)) {
        out.values.emplace_back(value);
        if (out.values.back().get() == nullptr) {
            return {Code::no_memory, "out of memory"};
        }
    }
    return rc == SQLITE_OK || rc == SQLITE_DONE ? Status::ok() : sqlite_error(nullptr, rc, "reading an IN list");
}

std::string list_condition(const Schema& schema, const ValueList& list, std::size_t first, std::size_t last,
                           std::vector<const KeptValue*>& bound) {
    const Column& column = schema.value(list.column);
    const std::string name = cat(quote_identifier(column.name), collation_words(list.collation));
    std::string marks;
    for (std::size_t i = first; i < last; ++i) {
        marks += marks.empty() ? "?" : ", ?";
        bound.push_back(&list.values[i]);
    }
    std::string either = cat(name, " in (", marks, ')');
    for (std::size_t i = first; i < last && !list.is_plain && !has_numeric_affinity(column); ++i) {
        // A number among them comes from a column of numbers, or is compared as it is.
        if (is_number(list.values[i].get())) {
            either += cat(" or ", name, " = cast(? as numeric)");
            bound.push_back(&list.values[i]);
        }
    }
    return either;
}

RowsCondition rows_condition(const Schema& schema, const Plan& plan, std::span<sqlite3_value*> values,
                             const TermsAsWritten& written) {
    RowsCondition condition;
    for (std::size_t i = 0; i < plan.terms.size(); ++i) {
        const Term& term = plan.terms[i];
        if (term.is_list || (!written.left_out.empty() && written.left_out[i] != 0)) {
            continue;
        }
        std::vector<std::string> either;
        const std::string_view op = operator_words(term.op);
        if (term.kind == TermKind::rowid) {
            either.push_back(cat("_rowid ", op, takes_value(term.op) ? " ?" : ""));
        } else if (term.kind == TermKind::vector) {
            either.push_back(cat("_slot", term.column, ' ', op));
        } else if (term.kind == TermKind::value) {
            either = value_conditions(schema.value(term.column), term, values[i],
                                      written.readings.empty() ? TermReading{} : written.readings[i]);
            const bool is_bound = term.op == SQLITE_INDEX_CONSTRAINT_GT || term.op == SQLITE_INDEX_CONSTRAINT_GE ||
                                  term.op == SQLITE_INDEX_CONSTRAINT_LT || term.op == SQLITE_INDEX_CONSTRAINT_LE;
            if (is_bound && std::any_of(plan.terms.begin(), plan.terms.end(), [&](const Term& other) {
                    return other.kind == TermKind::value && other.column == term.column &&
                           (other.op == SQLITE_INDEX_CONSTRAINT_LIKE || other.op == SQLITE_INDEX_CONSTRAINT_GLOB);
                })) {
                // It may be SQLite's own, made from the LIKE, which finds blobs too.
                either.push_back(cat("typeof(", quote_identifier(schema.value(term.column).name), ") = 'blob'"));
            }
        } else {
            continue;
        }
        condition.sql += condition.sql.empty() ? " where (" : " and (";
        for (std::size_t j = 0; j < either.size(); ++j) {
            condition.sql += cat(j == 0 ? "" : " or ", either[j]);
            if (either[j].find('?') != std::string::npos) {
                condition.terms.push_back(i);
            }
        }
        condition.sql += ')';
    }
    return condition;
}

Status refuse_doubts(Table& table, const Plan& plan, std::span<sqlite3_value*> values, const TermsAsWritten& written) {
    for (std::size_t i = 0; i < plan.terms.size() && i < written.readings.size(); ++i) {
        const Term& term = plan.terms[i];
        const TermReading& reading = written.readings[i];
        if (term.kind != TermKind::value || written.left_out[i] != 0 || !is_converting(term.op) ||
            reading.is_plain_value || has_numeric_affinity(table.schema().value(term.column))) {
            continue;
        }
        const Column& column = table.schema().value(term.column);
        ValueList list;
        if (term.is_list) {
            VSS_TRY(read_value_list(term, values[i], reading, list));
        } else {
            list.values.emplace_back(values[i]);
        }
        const std::string name = quote_identifier(column.name);
        const std::string collated = cat(name, collation_words(collation_of(term, reading)));
        const std::string op = term.is_list ? "=" : std::string(operator_words(term.op));
        const bool is_less = term.op == SQLITE_INDEX_CONSTRAINT_LT || term.op == SQLITE_INDEX_CONSTRAINT_LE;
        const bool is_more = term.op == SQLITE_INDEX_CONSTRAINT_GT || term.op == SQLITE_INDEX_CONSTRAINT_GE;
        for (const KeptValue& value : list.values) {
            std::string doubt;
            if (is_number(value.get())) {
                doubt = cat('(', collated, ' ', op, " ?1) is not (", collated, ' ', op, " cast(?1 as numeric)) or (",
                            collated, ' ', op, " ?1) is not (+", collated, ' ', op, " ?1)");
            } else if (sqlite3_value_type(value.get()) == SQLITE_TEXT && (is_less || is_more)) {
                // What looks like a number is smaller than any text, if it is compared as one.
                doubt = cat(name, " < ':' and ", is_less ? "not " : "", '(', collated, ' ', op, " ?1)");
            } else {
                continue;
            }
            Statement rows;
            VSS_TRY(rows.prepare(table.name().db,
                                 cat("select 1 from ", table.name().shadow("rows"), " where ", doubt, " limit 1"),
                                 false));
            rows.bind_value(1, value.get());
            bool any = false;
            VSS_TRY(rows.step(any));
            if (any) {
                return Status::invalid(
                    cat(table.name().words(), ", column \"", column.name,
                        "\": whether a row matches depends on the type of the expression that it is compared with, "
                        "which is not known in a search with k; pass the value as a parameter, or declare the column "
                        "with a type"));
            }
        }
    }
    return Status::ok();
}

Status build_row_filter(Table& table, const Plan& plan, std::span<sqlite3_value*> values, const TermsAsWritten& written,
                        std::size_t vector, sqlite3_value* rows, const std::string& among, SearchRequest& request) {
    const Schema& schema = table.schema();
    sqlite3* db = table.name().db;

    std::optional<RowidSet> rowids;
    if (rows != nullptr) {
        std::vector<std::int64_t> ids;
        VSS_TRY(read_rowids(rows, ids));
        rowids.emplace(std::move(ids));
    }
    std::vector<ValueList> lists;
    for (std::size_t i = 0; i < plan.terms.size(); ++i) {
        const Term& term = plan.terms[i];
        if (!term.is_list || (!written.left_out.empty() && written.left_out[i] != 0)) {
            continue;
        }
        ValueList list;
        VSS_TRY(read_value_list(term, values[i], written.readings.empty() ? TermReading{} : written.readings[i], list));
        std::vector<std::int64_t> ids;
        for (const KeptValue& kept : list.values) {
            if (term.kind != TermKind::rowid) {
                break;
            }
            sqlite3_value* value = kept.get();
            if (sqlite3_value_numeric_type(value) == SQLITE_INTEGER) {
                ids.push_back(sqlite3_value_int64(value));
            } else if (sqlite3_value_type(value) == SQLITE_FLOAT) {
                // SQL compares 3.0 equal to rowid 3.
                const double number = sqlite3_value_double(value);
                if (number >= -9.2e18 && number <= 9.2e18 &&
                    number == static_cast<double>(static_cast<std::int64_t>(number))) {
                    ids.push_back(static_cast<std::int64_t>(number));
                }
            }
        }
        if (term.kind == TermKind::value) {
            lists.push_back(std::move(list));
        } else if (rowids) {
            std::erase_if(ids, [&](std::int64_t id) { return !rowids->contains(id); });
            rowids.emplace(std::move(ids));
        } else {
            rowids.emplace(std::move(ids));
        }
    }

    RowsCondition condition = rows_condition(schema, plan, values, written);
    if (!among.empty()) {
        condition.sql += cat(condition.sql.empty() ? " where " : " and ", among);
    }
    const std::string select = cat("select _rowid, _slot", vector, " from ", table.name().shadow("rows"));
    const bool by_sql = !condition.sql.empty() || !lists.empty();
    if (!by_sql && !rowids) {
        return Status::ok();
    }

    std::vector<std::int64_t> found;
    if (by_sql) {
        // The longest list is asked in turns; the others are bound whole.
        const auto longest = std::max_element(lists.begin(), lists.end(), [](const ValueList& a, const ValueList& b) {
            return a.values.size() < b.values.size();
        });
        const std::size_t turns =
            lists.empty()
                ? 1
                : std::max<std::size_t>(1, (longest->values.size() + marks_per_statement - 1) / marks_per_statement);
        for (std::size_t turn = 0; turn < turns; ++turn) {
            std::string where = condition.sql;
            std::vector<const KeptValue*> bound;
            for (const ValueList& list : lists) {
                const bool in_turns = &list == &*longest;
                const std::size_t first = in_turns ? turn * marks_per_statement : 0;
                const std::size_t last =
                    in_turns ? std::min(list.values.size(), first + marks_per_statement) : list.values.size();
                where +=
                    cat(where.empty() ? " where (" : " and (", list_condition(schema, list, first, last, bound), ')');
            }
            Statement statement;
            VSS_TRY(statement.prepare(db, select + where, false));
            int mark = 0;
            for (const std::size_t i : condition.terms) {
                statement.bind_value(++mark, values[i]);
            }
            for (const KeptValue* value : bound) {
                statement.bind_value(++mark, value->get());
            }
            VSS_TRY(gather(statement, found, request.members));
        }
        if (rowids) {
            std::erase_if(found, [&](std::int64_t id) { return !rowids->contains(id); });
            std::erase_if(request.members, [&](const auto& member) { return !rowids->contains(member.first); });
        }
        request.members_known = true;
        request.filter.allowed.emplace(std::move(found));
    } else {
        Statement statement;
        std::uint64_t rows_of_table = 0;
        VSS_TRY(table.index(vector).count(rows_of_table));
        if (rowids->size() <= std::max<std::size_t>(few_rowids, rows_of_table / passed_for_one_looked_up)) {
            VSS_TRY(statement.prepare(db, select + " where _rowid = ?", false));
            for (const std::int64_t id : rowids->rowids()) {
                statement.bind(1, id);
                VSS_TRY(gather(statement, found, request.members));
            }
        } else {
            VSS_TRY(statement.prepare(db, select + " where _rowid between ? and ?", false));
            statement.bind(1, rowids->rowids().front());
            statement.bind(2, rowids->rowids().back());
            for (bool row = true;;) {
                VSS_TRY(statement.step(row));
                if (!row) {
                    break;
                }
                if (!statement.is_null(1) && rowids->contains(statement.int64(0))) {
                    request.members.emplace_back(statement.int64(0), static_cast<std::uint64_t>(statement.int64(1)));
                }
            }
        }
        request.members_known = true;
        request.filter.allowed = std::move(rowids);
    }
    std::sort(request.members.begin(), request.members.end(),
              [](const auto& a, const auto& b) { return a.second < b.second; });
    request.members.erase(std::unique(request.members.begin(), request.members.end()), request.members.end());
    return Status::ok();
}

}  // namespace vss
