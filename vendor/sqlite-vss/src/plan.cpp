#include "plan.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "text.h"

namespace vss {
namespace {

// Operators that need a newer header than Debian 12's have fixed numbers all the same.
constexpr int op_limit = 73;
constexpr int op_offset = 74;

// Costs are set so that a search is the outer loop of a join, runs once, and is preferred to reading rows and asking
// each whether it matches.
constexpr double cost_nearest = 1000;
constexpr double cost_row = 1500;
constexpr double cost_some_rows = 1.0e6;
constexpr double cost_all_rows = 3.0e6;
constexpr double cost_refused = 1.0e15;

std::optional<char> collation_code(const char* name) {
    if (name == nullptr || equal_ignoring_case(name, "BINARY")) {
        return 'b';
    }
    if (equal_ignoring_case(name, "NOCASE")) {
        return 'n';
    }
    if (equal_ignoring_case(name, "RTRIM")) {
        return 'r';
    }
    return std::nullopt;
}

bool is_comparison(int op) {
    switch (op) {
        case SQLITE_INDEX_CONSTRAINT_EQ:
        case SQLITE_INDEX_CONSTRAINT_GT:
        case SQLITE_INDEX_CONSTRAINT_LE:
        case SQLITE_INDEX_CONSTRAINT_LT:
        case SQLITE_INDEX_CONSTRAINT_GE:
        case SQLITE_INDEX_CONSTRAINT_NE:
        case SQLITE_INDEX_CONSTRAINT_IS:
        case SQLITE_INDEX_CONSTRAINT_ISNOT:
        case SQLITE_INDEX_CONSTRAINT_ISNULL:
        case SQLITE_INDEX_CONSTRAINT_ISNOTNULL:
        case SQLITE_INDEX_CONSTRAINT_LIKE:
        case SQLITE_INDEX_CONSTRAINT_GLOB: return true;
        default: return false;
    }
}

bool is_bound(int op) {
    return op == SQLITE_INDEX_CONSTRAINT_GT || op == SQLITE_INDEX_CONSTRAINT_GE || op == SQLITE_INDEX_CONSTRAINT_LT ||
           op == SQLITE_INDEX_CONSTRAINT_LE;
}

std::optional<TermKind> nearest_kind(int op) {
    switch (op) {
        case SQLITE_INDEX_CONSTRAINT_MATCH: return TermKind::match;
        case search_function_op: return TermKind::search;
        case range_search_function_op: return TermKind::range_search;
        default: return std::nullopt;
    }
}

// SQLite does not say by which collation it would apply these: it names BINARY whatever the column's own is.
bool hides_collation(int op) {
    return op == SQLITE_INDEX_CONSTRAINT_NE || op == SQLITE_INDEX_CONSTRAINT_ISNOT;
}

// Whether constraint i is an IN whose values can arrive all at once (SQLite 3.38).
bool is_list(sqlite3_index_info* info, int i) {
    return sqlite3_libversion_number() >= 3038000 && sqlite3_vtab_in(info, i, -1) != 0;
}

const Status& not_this_way() {
    static const Status status(Code::io, "", SQLITE_CONSTRAINT);
    return status;
}

// A column that names the rowid is the rowid.
int plain_column(const Schema& schema, int column) {
    return column >= 0 && schema.rowid_column() == static_cast<std::size_t>(column) ? -1 : column;
}

std::string term_words(const Schema& schema, const Term& term) {
    const auto value = [&](std::string_view left) {
        return cat(left, ' ', term.is_list ? "in" : operator_words(term.op), takes_value(term.op) ? " ?" : "");
    };
    switch (term.kind) {
        case TermKind::match: return cat("nearest rows by ", schema.vector(term.column).name);
        case TermKind::search: return cat("vss_search by ", schema.vector(term.column).name);
        case TermKind::range_search: return cat("vss_range_search by ", schema.vector(term.column).name);
        case TermKind::k: return "k = ?";
        case TermKind::recall: return "recall = ?";
        case TermKind::limit: return "limit ?";
        case TermKind::offset: return "offset ?";
        case TermKind::distance: return value("distance");
        case TermKind::rowid: return value("rowid");
        case TermKind::value: return value(schema.value(term.column).name);
        case TermKind::vector: return value(schema.vector(term.column).name);
    }
    return {};
}

}  // namespace

std::string_view operator_words(int op) {
    switch (op) {
        case SQLITE_INDEX_CONSTRAINT_EQ: return "=";
        case SQLITE_INDEX_CONSTRAINT_GT: return ">";
        case SQLITE_INDEX_CONSTRAINT_LE: return "<=";
        case SQLITE_INDEX_CONSTRAINT_LT: return "<";
        case SQLITE_INDEX_CONSTRAINT_GE: return ">=";
        case SQLITE_INDEX_CONSTRAINT_NE: return "<>";
        case SQLITE_INDEX_CONSTRAINT_IS: return "is";
        case SQLITE_INDEX_CONSTRAINT_ISNOT: return "is not";
        case SQLITE_INDEX_CONSTRAINT_ISNULL: return "is null";
        case SQLITE_INDEX_CONSTRAINT_ISNOTNULL: return "is not null";
        case SQLITE_INDEX_CONSTRAINT_LIKE: return "like";
        case SQLITE_INDEX_CONSTRAINT_GLOB: return "glob";
        default: return "?";
    }
}

bool takes_value(int op) {
    return op != SQLITE_INDEX_CONSTRAINT_ISNULL && op != SQLITE_INDEX_CONSTRAINT_ISNOTNULL;
}

const Term* Plan::nearest() const {
    const auto at = std::find_if(terms.begin(), terms.end(), [](const Term& term) {
        return term.kind == TermKind::match || term.kind == TermKind::search || term.kind == TermKind::range_search;
    });
    return at == terms.end() ? nullptr : &*at;
}

bool Plan::has_search_terms() const {
    return nearest() == nullptr && std::any_of(terms.begin(), terms.end(), [](const Term& term) {
               return term.kind == TermKind::k || term.kind == TermKind::recall || term.kind == TermKind::distance;
           });
}

// One code a term: kind, column, ':', operator, 'l' for a list, the collation. Then '|' and the words.
std::string Plan::encode(const Schema& schema) const {
    std::string codes(1, order == RowOrder::ascending ? 'a' : order == RowOrder::descending ? 'd' : '-');
    std::string words;
    for (const Term& term : terms) {
        codes +=
            cat(' ', static_cast<char>(term.kind), term.column, ':', term.op, term.is_list ? 'l' : 's', term.collation);
        words += cat(words.empty() ? "" : ", ", term_words(schema, term));
    }
    if (nearest() == nullptr) {
        words = words.empty() ? "all rows" : cat("rows where ", words);
    } else {
        const bool has_k = std::any_of(terms.begin(), terms.end(), [](const Term& t) { return t.kind == TermKind::k; });
        words += nearest()->kind != TermKind::match || has_k ? "" : ", nearer ones first until the reader stops";
    }
    if (order != RowOrder::none) {
        words += order == RowOrder::ascending ? ", by rowid" : ", by rowid descending";
    }
    return cat(codes, " | ", words);
}

Status Plan::decode(std::string_view text, Plan& out) {
    const auto broken = [&] { return Status(Code::internal, cat("unreadable plan \"", text, '"')); };
    out = {};
    std::string_view rest = text.substr(0, text.find('|'));
    if (rest.empty()) {
        return broken();
    }
    out.order = rest[0] == 'a' ? RowOrder::ascending : rest[0] == 'd' ? RowOrder::descending : RowOrder::none;
    rest.remove_prefix(1);
    while (rest.size() > 1 && rest[1] != ' ') {
        Term term;
        term.kind = static_cast<TermKind>(rest[1]);
        const char* end = rest.data() + rest.size();
        const auto column = std::from_chars(rest.data() + 2, end, term.column);
        if (column.ec != std::errc() || column.ptr == end || *column.ptr != ':') {
            return broken();
        }
        const auto op = std::from_chars(column.ptr + 1, end, term.op);
        if (op.ec != std::errc() || end - op.ptr < 2) {
            return broken();
        }
        term.is_list = op.ptr[0] == 'l';
        term.collation = op.ptr[1];
        out.terms.push_back(term);
        rest.remove_prefix(static_cast<std::size_t>(op.ptr + 2 - rest.data()));
    }
    return Status::ok();
}

Status best_index(const Schema& schema, std::string_view words, sqlite3_index_info* info) {
    Plan plan;
    int nearest = -1;
    bool nearest_unusable = false;
    for (int i = 0; i < info->nConstraint; ++i) {
        const auto& constraint = info->aConstraint[i];
        const std::optional<TermKind> kind = nearest_kind(constraint.op);
        if (!kind) {
            continue;
        }
        if (constraint.iColumn < 0 || !schema.vector_index(static_cast<std::size_t>(constraint.iColumn))) {
            return Status::invalid(cat(words, ": match and vss_search take a vector column on the left"));
        }
        if (constraint.usable == 0) {
            nearest_unusable = true;
            continue;
        }
        if (nearest >= 0) {
            return Status::invalid(cat(words, ": one query can search one vector column once; search each in a ",
                                       "subquery and join or union them by rowid"));
        }
        nearest = i;
    }
    if (nearest < 0 && nearest_unusable) {
        return not_this_way();
    }

    int arguments = 0;
    const auto claim = [&](int i, const Term& term, bool omit) {
        info->aConstraintUsage[i].argvIndex = ++arguments;
        info->aConstraintUsage[i].omit = omit ? 1 : 0;
        plan.terms.push_back(term);
    };
    if (nearest >= 0) {
        const auto& constraint = info->aConstraint[nearest];
        claim(nearest,
              {.kind = *nearest_kind(constraint.op),
               .column = *schema.vector_index(static_cast<std::size_t>(constraint.iColumn)),
               .op = 0},
              true);
    }

    bool unique_row = false;
    bool by_key = false;
    bool filtered = false;
    for (int i = 0; i < info->nConstraint; ++i) {
        const auto& constraint = info->aConstraint[i];
        const int column = plain_column(schema, constraint.iColumn);
        if (i == nearest || nearest_kind(constraint.op)) {
            continue;
        }
        const bool is_search_setting = constraint.op == SQLITE_INDEX_CONSTRAINT_EQ &&
                                       (column == schema.k_column() || column == schema.recall_column());
        if (constraint.usable == 0) {
            if (is_search_setting && nearest >= 0) {
                return not_this_way();
            }
            continue;
        }
        if (is_search_setting) {
            // Without a search it is claimed to be refused when it runs: beside an OR of searches SQLite asks about it,
            // and then takes the searches.
            claim(i, {.kind = column == schema.k_column() ? TermKind::k : TermKind::recall, .op = constraint.op}, true);
        } else if (constraint.op == op_limit || constraint.op == op_offset) {
            if (nearest >= 0) {
                claim(i, {.kind = constraint.op == op_limit ? TermKind::limit : TermKind::offset, .op = 0}, false);
            }
        } else if (column == schema.distance_column() && is_bound(constraint.op)) {
            claim(i, {.kind = TermKind::distance, .op = constraint.op}, true);
        } else if (column < 0 && is_comparison(constraint.op)) {
            const bool list = nearest >= 0 && constraint.op == SQLITE_INDEX_CONSTRAINT_EQ && is_list(info, i);
            claim(i, {.kind = TermKind::rowid, .op = constraint.op, .is_list = list}, true);
            if (list) {
                sqlite3_vtab_in(info, i, 1);
            }
            unique_row |= constraint.op == SQLITE_INDEX_CONSTRAINT_EQ && !list;
            filtered = true;
        } else if (column >= 0 && column < schema.distance_column() && is_comparison(constraint.op)) {
            const std::optional<std::size_t> value = schema.value_index(static_cast<std::size_t>(column));
            if (!value) {
                if (!takes_value(constraint.op)) {
                    claim(i,
                          {.kind = TermKind::vector,
                           .column = *schema.vector_index(static_cast<std::size_t>(column)),
                           .op = constraint.op},
                          true);
                    filtered = true;
                }
                continue;
            }
            // A comparison by a collation of the host's own is left to SQLite, which filters what comes out.
            const std::optional<char> collation =
                hides_collation(constraint.op) ? 'c' : collation_code(sqlite3_vtab_collation(info, i));
            if (!collation) {
                if (nearest >= 0) {
                    return Status::invalid(cat(words, ", column \"", schema.value(*value).name,
                                               "\": a search can filter by the collations BINARY, NOCASE and RTRIM"));
                }
                continue;
            }
            const bool list = nearest >= 0 && constraint.op == SQLITE_INDEX_CONSTRAINT_EQ && is_list(info, i);
            claim(i,
                  {.kind = TermKind::value,
                   .column = *value,
                   .op = constraint.op,
                   .is_list = list,
                   .collation = *collation},
                  !hides_collation(constraint.op));
            if (list) {
                sqlite3_vtab_in(info, i, 1);
            }
            by_key |= constraint.op == SQLITE_INDEX_CONSTRAINT_EQ && schema.key() == *value;
            filtered = true;
        }
    }

    if (nearest >= 0) {
        const bool by_distance = info->nOrderBy > 0 && info->aOrderBy[0].iColumn == schema.distance_column();
        const bool is_match = plan.terms[0].kind == TermKind::match;
        if (by_distance && info->aOrderBy[0].desc != 0 && is_match) {
            return Status::invalid(cat(words, ": rows come nearest first; \"order by distance desc\" would need every ",
                                       "row of the table. Take the k nearest in a subquery and order that"));
        }
        // Neighbours come by distance and, where equal, by rowid.
        const bool consumed =
            by_distance && is_match &&
            (info->nOrderBy == 1 || (info->nOrderBy == 2 && plain_column(schema, info->aOrderBy[1].iColumn) < 0 &&
                                     info->aOrderBy[1].desc == 0));
        info->orderByConsumed = consumed ? 1 : 0;
        info->estimatedCost = cost_nearest;
        info->estimatedRows = 10;
    } else {
        if (info->nOrderBy == 1 && plain_column(schema, info->aOrderBy[0].iColumn) < 0) {
            plan.order = info->aOrderBy[0].desc != 0 ? RowOrder::descending : RowOrder::ascending;
            info->orderByConsumed = 1;
        }
        info->estimatedCost = unique_row || by_key ? cost_row : filtered ? cost_some_rows : cost_all_rows;
        info->estimatedRows = unique_row || by_key ? 1 : filtered ? 10000 : 1000000;
        if (unique_row) {
            info->idxFlags |= SQLITE_INDEX_SCAN_UNIQUE;
        }
        if (plan.has_search_terms()) {
            info->estimatedCost = cost_refused;
        }
    }

    const std::string text = plan.encode(schema);
    info->idxStr = sqlite3_mprintf("%s", text.c_str());
    info->needToFreeIdxStr = 1;
    info->idxNum = nearest >= 0 ? 1 : 0;
    return info->idxStr == nullptr ? Status(Code::no_memory, "out of memory") : Status::ok();
}

}  // namespace vss
