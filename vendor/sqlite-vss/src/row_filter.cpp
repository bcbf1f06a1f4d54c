#include "row_filter.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "parameters.h"
#include "text.h"

namespace vss {
namespace {

// Lists are bound as parameters, of which SQLite allows at least this many; longer ones are asked in turns.
constexpr std::size_t marks_per_statement = 500;
// A larger set is not worth looking up row by row.
constexpr std::size_t most_members = 65536;

std::string_view collation_words(char code) {
    // Said wherever it is known: it need not be the column's own.
    return code == 'b' ? " collate binary" : code == 'n' ? " collate nocase" : code == 'r' ? " collate rtrim" : "";
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

RowsCondition rows_condition(const Schema& schema, const Plan& plan) {
    RowsCondition condition;
    for (std::size_t i = 0; i < plan.terms.size(); ++i) {
        const Term& term = plan.terms[i];
        std::string left;
        if (term.kind == TermKind::rowid) {
            left = "_rowid";
        } else if (term.kind == TermKind::vector) {
            left = cat("_slot", term.column);
        } else if (term.kind == TermKind::value) {
            left = cat(quote_identifier(schema.value(term.column).name), collation_words(term.collation));
        }
        if (term.is_list || left.empty()) {
            continue;
        }
        condition.sql += cat(condition.sql.empty() ? " where " : " and ", left, ' ', operator_words(term.op),
                             takes_value(term.op) ? " ?" : "");
        if (takes_value(term.op)) {
            condition.terms.push_back(i);
        }
    }
    return condition;
}

Status build_row_filter(Table& table, const Plan& plan, std::span<sqlite3_value*> values, std::size_t vector,
                        sqlite3_value* rows, SearchRequest& request) {
    const Schema& schema = table.schema();
    sqlite3* db = table.name().db;

    // The lists, each as the values it holds.
    struct ValueList {
        std::size_t column;
        char collation;
        std::vector<KeptValue> values;
    };
    std::optional<RowidSet> rowids;
    if (rows != nullptr) {
        std::vector<std::int64_t> ids;
        VSS_TRY(read_rowids(rows, ids));
        rowids.emplace(std::move(ids));
    }
    std::vector<ValueList> lists;
    for (std::size_t i = 0; i < plan.terms.size(); ++i) {
        const Term& term = plan.terms[i];
        if (!term.is_list) {
            continue;
        }
        std::vector<std::int64_t> ids;
        ValueList list{term.column, term.collation, {}};
        sqlite3_value* value = nullptr;
        int rc = sqlite3_vtab_in_first(values[i], &value);
        for (; rc == SQLITE_OK && value != nullptr; rc = sqlite3_vtab_in_next(values[i], &value)) {
            if (term.kind == TermKind::value) {
                list.values.emplace_back(value);
            } else if (sqlite3_value_numeric_type(value) == SQLITE_INTEGER) {
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
        if (rc != SQLITE_OK && rc != SQLITE_DONE) {
            return sqlite_error(nullptr, rc, "reading an IN list");
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

    const RowsCondition condition = rows_condition(schema, plan);
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
                std::string marks;
                for (std::size_t i = first; i < last; ++i) {
                    marks += marks.empty() ? "?" : ", ?";
                    bound.push_back(&list.values[i]);
                }
                where += cat(where.empty() ? " where " : " and ", quote_identifier(schema.value(list.column).name),
                             collation_words(list.collation), " in (", marks, ')');
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
        if (rowids->size() <= most_members) {
            Statement statement;
            VSS_TRY(statement.prepare(db, select + " where _rowid = ?", false));
            for (const std::int64_t id : rowids->rowids()) {
                statement.bind(1, id);
                VSS_TRY(gather(statement, found, request.members));
            }
            request.members_known = true;
        }
        request.filter.allowed = std::move(rowids);
    }
    std::sort(request.members.begin(), request.members.end(),
              [](const auto& a, const auto& b) { return a.second < b.second; });
    request.members.erase(std::unique(request.members.begin(), request.members.end()), request.members.end());
    return Status::ok();
}

}  // namespace vss
