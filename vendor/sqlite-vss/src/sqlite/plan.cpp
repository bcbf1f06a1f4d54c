#include "sqlite/plan.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>

#include "base/text.h"
#include "sqlite/search_reading.h"

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

// Whether the table's own answer is SQLite's. SQLite does not say of what type the other side of a comparison is, which
// for columns of text (or no type) decides what is converted, nor the collation of some: then SQLite looks once more.
bool is_settled(const Column& column, int op) {
    return !takes_value(op) || op == SQLITE_INDEX_CONSTRAINT_LIKE || op == SQLITE_INDEX_CONSTRAINT_GLOB ||
           (!hides_collation(op) && has_numeric_affinity(column));
}

// Old versions of SQLite add bounds to LIKE and GLOB, which leave out blobs that LIKE finds.
bool is_part_of_like(const sqlite3_index_info* info, int i) {
    const auto& bound = info->aConstraint[i];
    for (int j = 0; is_bound(bound.op) && j < info->nConstraint; ++j) {
        const auto& other = info->aConstraint[j];
        if (other.iColumn == bound.iColumn &&
            (other.op == SQLITE_INDEX_CONSTRAINT_LIKE || other.op == SQLITE_INDEX_CONSTRAINT_GLOB)) {
            return true;
        }
    }
    return false;
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

// SQLite's rules for the affinity of a declared type, which ends where the column's constraints begin.
bool has_numeric_affinity(const Column& column) {
    constexpr std::array<std::string_view, 11> constraints = {"constraint", "primary",   "not",     "null",
                                                              "unique",     "check",     "default", "collate",
                                                              "references", "generated", "as"};
    std::string type;
    for (std::size_t i = 0; i < column.declared_type.size();) {
        std::size_t end = i;
        while (end < column.declared_type.size() &&
               std::isalnum(static_cast<unsigned char>(column.declared_type[end])) != 0) {
            ++end;
        }
        end = std::max(end, i + 1);
        const std::string_view word = std::string_view(column.declared_type).substr(i, end - i);
        if (std::any_of(constraints.begin(), constraints.end(),
                        [&](std::string_view constraint) { return equal_ignoring_case(constraint, word); })) {
            break;
        }
        type += word;
        i = end;
    }
    std::transform(type.begin(), type.end(), type.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    const auto has = [&](std::string_view word) { return type.find(word) != std::string::npos; };
    if (has("INT")) {
        return true;
    }
    const bool is_text = has("CHAR") || has("CLOB") || has("TEXT");
    const bool is_blob = has("BLOB") || type.find_first_not_of(' ') == std::string::npos;
    return !is_text && !is_blob;
}

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
    std::string codes(1, static_cast<char>(order));
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
    if (order == RowOrder::ascending || order == RowOrder::descending) {
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
    out.order = static_cast<RowOrder>(rest[0]);
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
        info->aConstraintUsage[i].omit = omit || ProbeScope::is_active() ? 1 : 0;
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
        if (!is_search_setting && (column == schema.k_column() || column == schema.recall_column()) &&
            is_comparison(constraint.op) && takes_value(constraint.op)) {
            const std::string_view setting = column == schema.k_column() ? "k" : "recall";
            return Status::invalid(
                cat(words, ": ", setting, " is said as ", setting, " = ?, not with ", operator_words(constraint.op)));
        }
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
            // Value by value SQLite would look at text once more by rules of its own, which are not those of IN.
            const bool list = (nearest >= 0 || !has_numeric_affinity(schema.value(*value))) &&
                              constraint.op == SQLITE_INDEX_CONSTRAINT_EQ && is_list(info, i);
            claim(i,
                  {.kind = TermKind::value,
                   .column = *value,
                   .op = constraint.op,
                   .is_list = list,
                   .collation = *collation},
                  is_settled(schema.value(*value), constraint.op) && !is_part_of_like(info, i));
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
        // Neighbours come by distance and, where equal, by rowid.
        const bool consumed =
            by_distance && is_match && info->aOrderBy[0].desc == 0 &&
            (info->nOrderBy == 1 || (info->nOrderBy == 2 && plain_column(schema, info->aOrderBy[1].iColumn) < 0 &&
                                     info->aOrderBy[1].desc == 0));
        info->orderByConsumed = consumed ? 1 : 0;
        if (by_distance && is_match && info->aOrderBy[0].desc != 0) {
            plan.order = RowOrder::farthest_first;
        } else if (consumed) {
            plan.order = RowOrder::nearest_first;
        }
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
