#include "sqlite/search_text.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <set>
#include <span>

#include "base/text.h"
#include "sqlite/sql_tokens.h"
#include "sqlite/statement_text.h"
#include "storage/schema.h"

namespace vss {
namespace {

// What reads every row before it hands out the first, wherever it stands.
constexpr std::array<std::string_view, 16> reads_all_words = {
    "over", "group",    "distinct", "union",        "except",           "intersect",         "count",
    "sum",  "total",    "avg",      "group_concat", "json_group_array", "json_group_object", "max",
    "min",  "recursive"};
// Functions whose result is decided by their arguments.
constexpr std::array<std::string_view, 31> plain_functions = {
    "abs",         "length", "lower",        "upper",     "coalesce",   "ifnull",
    "nullif",      "substr", "substring",    "instr",     "replace",    "trim",
    "ltrim",       "rtrim",  "round",        "typeof",    "hex",        "unicode",
    "char",        "printf", "format",       "iif",       "sign",       "like",
    "glob",        "quote",  "json_extract", "json_type", "json_valid", "json_array_length",
    "octet_length"};

// What the identifiers of a condition speak of.
struct Mentions {
    bool own = false;
    std::vector<std::string> own_columns;
    std::set<std::string> others;        // other tables of the same FROM
    std::size_t unqualified_others = 0;  // columns that must be of one of those
};

class TextReader {
  public:
    TextReader(std::string_view sql, const TableWords& table) : table_(table), text_(sql) {}

    std::vector<WrittenSearch> read() {
        if (!text_.pair_up()) {
            return {};
        }
        parameter_places_.assign(text_.size(), 0);
        for (std::size_t i = 0, place = 0; i < text_.size(); ++i) {
            parameter_places_[i] = place;
            place += text_[i].kind == TokenKind::parameter ? 1 : 0;
        }
        reads_all_ = std::any_of(text_.tokens().begin(), text_.tokens().end(), [](const Token& token) {
            return token.kind == TokenKind::word && is_one_of(token.text, reads_all_words);
        });
        for (const Core& core : cores_in(text_, table_)) {
            for (std::size_t item = 0; item < core.items.size(); ++item) {
                if (core.items[item].is_ours) {
                    read_search(core, item);
                }
            }
        }
        return std::move(found_);
    }

  private:
    // A condition in parentheses, without them.
    [[nodiscard]] Range bare(Range range) const {
        while (range.end > range.begin && text_.is_symbol(range.begin, "(") &&
               text_.closing(range.begin) + 1 == range.end && !text_.opens_query(range.begin)) {
            ++range.begin;
            --range.end;
        }
        return range;
    }

    // The parts between `word` (AND, OR) on the outermost level.
    void split(Range range, std::string_view word, std::vector<Range>& out) const {
        range = bare(range);
        std::size_t betweens = 0;
        std::size_t cases = 0;
        std::vector<Range> parts;
        std::size_t begin = range.begin;
        for (std::size_t i = range.begin; i < range.end; i = text_.after(i)) {
            if (text_.is(i, "case")) {
                ++cases;
            } else if (text_.is(i, "end") && cases > 0) {
                --cases;
            } else if (cases > 0) {
                continue;
            } else if (text_.is(i, "between")) {
                ++betweens;
            } else if (text_.is(i, "and") && betweens > 0) {
                --betweens;
            } else if (text_.is(i, word)) {
                parts.push_back({begin, i});
                begin = i + 1;
            } else if (word == "and" && text_.is(i, "or")) {
                out.push_back(range);  // OR binds weaker: all of it is one condition
                return;
            }
        }
        if (parts.empty()) {
            if (range.end > range.begin) {
                out.push_back(range);
            }
            return;
        }
        parts.push_back({begin, range.end});
        for (const Range& part : parts) {
            split(part, word, out);
        }
    }

    // What the name at `i` is: its parts, the last being the column. `next`: behind it.
    std::vector<std::string> parts_of(std::size_t i, std::size_t end, std::size_t& next) const {
        std::vector<std::string> parts{name_of(text_[i])};
        next = i + 1;
        while (next + 1 < end && text_.is_symbol(next, ".") && text_.is_name(next + 1)) {
            parts.push_back(name_of(text_[next + 1]));
            next += 2;
        }
        return parts;
    }

    [[nodiscard]] bool is_own_column(std::string_view name) const {
        return is_in(name, table_.columns) || is_in(name, table_.vectors) || is_one_of(name, rowid_words);
    }

    // `driving`: other tables that the search itself takes values from; those count as constants.
    WrittenCondition read_condition(Range range, const Core& core, std::size_t ours,
                                    const std::set<std::string>& driving, bool all_drive, Mentions& mentions) const {
        WrittenCondition out;
        const std::string& alias = core.items[ours].alias;
        const auto other = [&](const std::string& name) -> const FromItem* {
            for (const FromItem& item : core.items) {
                if (&item != &core.items[ours] && equal_ignoring_case(item.alias, name)) {
                    return &item;
                }
            }
            return nullptr;
        };
        const auto say = [&](std::string_view words, std::string_view bare_words) {
            out.probe += cat(out.probe.empty() ? "" : " ", words);
            out.bare_probe += cat(out.bare_probe.empty() ? "" : " ", bare_words);
        };
        const auto mention_qualified = [&](const std::string& qualifier) {
            if (other(qualifier) != nullptr && !all_drive && !driving.contains(lower(qualifier))) {
                mentions.others.insert(lower(qualifier));
            }
        };
        std::size_t cast_ends = SqlText::nowhere;
        for (std::size_t i = range.begin; i < range.end;) {
            if (i == cast_ends) {
                cast_ends = SqlText::nowhere;
            }
            if (text_.opens_query(i)) {
                out.is_plain_value = false;
                say("", "(select ?)");
                for (std::size_t j = i; j <= text_.closing(i); ++j) {
                    say(text_[j].text, "");
                    if (text_.is_name(j) && text_.is_symbol(j + 1, ".") && !(j > 0 && text_.is_symbol(j - 1, "."))) {
                        const std::string qualifier = name_of(text_[j]);
                        mentions.own |= equal_ignoring_case(qualifier, alias);
                        mention_qualified(qualifier);
                    }
                }
                i = text_.closing(i) + 1;
                continue;
            }
            if (text_[i].kind == TokenKind::parameter) {
                say("?", "?");
                ++i;
                continue;
            }
            if (!text_.is_name(i) || text_.is_any(i, expression_words) || text_.is_symbol(i + 1, "(")) {
                if (text_.is(i, "cast")) {
                    out.is_plain_value = false;
                } else if (text_.is(i, "as")) {
                    // The type of a cast: words that name nothing.
                    for (; i < range.end && !text_.is_symbol(i, ")"); i = text_.after(i)) {
                        say(text_[i].text, text_[i].text);
                    }
                    continue;
                } else if (text_.is(i, "collate") && i + 1 < range.end) {
                    say("collate", "collate");
                    ++i;
                    out.collation = name_of(text_[i]);
                } else if (text_.is(i, "or")) {
                    out.has_list = true;  // of one column with several values SQLite makes an IN
                } else if (text_.is(i, "between")) {
                    out.has_between = true;
                } else if (text_.is(i, "in")) {
                    out.has_list = true;
                    if (text_.is_name(i + 1)) {  // a table
                        std::size_t next = 0;
                        parts_of(i + 1, range.end, next);
                        next = text_.is_symbol(next, "(") ? text_.after(next) : next;
                        say("in", "in (select ?)");
                        for (++i; i < next; ++i) {
                            say(text_[i].text, "");
                        }
                        out.is_plain_value = false;
                        continue;
                    }
                }
                say(text_[i].text, text_[i].text);
                ++i;
                continue;
            }
            std::size_t next = 0;
            const std::vector<std::string> parts = parts_of(i, range.end, next);
            const std::string& name = parts.back();
            bool own = false;
            if (parts.size() > 1) {
                own = equal_ignoring_case(parts[parts.size() - 2], alias);
                if (!own) {
                    mention_qualified(parts[parts.size() - 2]);
                }
            } else {
                own = is_own_column(name);
                // "text" in double quotes may be a string.
                if (!own && core.items.size() > 1 && !all_drive && text_[i].text.front() != '"') {
                    ++mentions.unqualified_others;
                }
            }
            if (own) {
                mentions.own = true;
                mentions.own_columns.push_back(lower(name));
                for (; i < next; ++i) {
                    say(text_[i].text, text_[i].text);
                }
            } else {
                out.is_plain_value &= text_[i].text.front() == '"' && parts.size() == 1;
                say("?", "?");
            }
            i = next;
        }
        out.text = words_of(range);
        out.is_whole = is_whole(range);
        put_inside(range, alias, out);
        return out;
    }

    [[nodiscard]] bool is_whole(Range range) const {
        if (range.begin >= range.end || !text_.is_name(range.begin)) {
            return false;
        }
        std::size_t i = 0;
        parts_of(range.begin, range.end, i);
        if (text_.is(i, "notnull")) {
            return i + 1 == range.end;
        }
        if (text_.is(i, "like") || text_.is(i, "glob")) {
            while (++i < range.end) {
                if (text_.is(i, "escape") || text_.is(i, "collate")) {
                    return false;
                }
            }
            return true;
        }
        i += text_.is(i, "is") ? 1 : 0;
        return text_.is(i, "not") && text_.is(i + 1, "null") && i + 2 == range.end;
    }

    // The condition over t_rows.
    void put_inside(Range range, const std::string& alias, WrittenCondition& out) const {
        std::vector<std::string> pieces(1);
        std::vector<std::size_t> parameters;
        const auto say = [&](std::string_view words) { pieces.back() += cat(pieces.back().empty() ? "" : " ", words); };
        for (std::size_t i = range.begin; i < range.end;) {
            if (text_.opens_query(i) || text_.is(i, "match") || text_.is(i, "regexp") || text_.is(i, "exists") ||
                (text_.is(i, "in") && !text_.is_symbol(i + 1, "("))) {
                return;
            }
            if (text_[i].kind == TokenKind::parameter) {
                parameters.push_back(parameter_places_[i]);
                pieces.emplace_back();
                ++i;
            } else if (text_.is(i, "as") || text_.is(i, "collate")) {
                // A type or a collation: words that name no column.
                const bool is_type = text_.is(i, "as");
                say(text_[i].text);
                for (++i; i < range.end && !text_.is_symbol(i, ")"); i = text_.after(i)) {
                    if (text_.is_symbol(i, "(")) {
                        return;
                    }
                    say(text_[i].text);
                    if (!is_type) {
                        ++i;
                        break;
                    }
                }
            } else if (!text_.is_name(i) || text_.is_any(i, expression_words)) {
                say(text_[i].text);
                ++i;
            } else if (text_.is_symbol(i + 1, "(")) {
                if (!text_.is_any(i, plain_functions)) {
                    return;
                }
                say(text_[i].text);
                ++i;
            } else {
                std::size_t next = 0;
                const std::vector<std::string> parts = parts_of(i, range.end, next);
                if (parts.size() > 1 && !equal_ignoring_case(parts[parts.size() - 2], alias)) {
                    return;
                }
                if (is_in(parts.back(), table_.values)) {
                    say(quote_identifier(parts.back()));
                } else if (is_one_of(parts.back(), rowid_words) ||
                           (!table_.rowid.empty() && equal_ignoring_case(parts.back(), table_.rowid))) {
                    say("_rowid");
                } else {
                    return;
                }
                i = next;
            }
        }
        out.pieces = std::move(pieces);
        out.parameters = std::move(parameters);
    }

    // As it stands in the text.
    [[nodiscard]] std::string words_of(Range range) const {
        if (range.begin >= range.end) {
            return {};
        }
        const char* begin = text_[range.begin].text.data();
        const std::string_view last = text_[range.end - 1].text;
        constexpr std::size_t most = 200;
        const std::string text(begin, static_cast<std::size_t>(last.data() + last.size() - begin));
        return text.size() <= most ? text : text.substr(0, most) + "...";
    }

    // `alias.a match ...` or `vss_search(alias.a, ...)`: the vector column's name.
    std::optional<std::string> searched_column(Range range, const Core& core, std::size_t ours,
                                               bool& by_function) const {
        by_function = text_.is(range.begin, "vss_search") || text_.is(range.begin, "vss_range_search");
        const std::size_t at = by_function ? range.begin + 2 : range.begin;
        if (at >= range.end || !text_.is_name(at)) {
            return std::nullopt;
        }
        std::size_t next = 0;
        const std::vector<std::string> parts = parts_of(at, range.end, next);
        const bool own = parts.size() > 1 ? equal_ignoring_case(parts[parts.size() - 2], core.items[ours].alias)
                                          : is_in(parts.back(), table_.vectors);
        if (!own || !is_in(parts.back(), table_.vectors) ||
            !(by_function ? text_.is_symbol(next, ",") : text_.is(next, "match"))) {
            return std::nullopt;
        }
        return parts.back();
    }

    // Where OR joins searches, each branch is a search of its own with the rest in common.
    void read_search(const Core& core, std::size_t ours) {
        std::vector<Range> conditions;
        bool by_function = false;
        const auto searches = [&](const Range& part) {
            return searched_column(part, core, ours, by_function).has_value();
        };
        std::vector<Range> joining;
        bool is_linked = core.is_linked;
        for (const On& on : core.ons) {
            if (on.item == ours || !core.items[on.item].is_optional) {
                split(on.range, "and", joining);
            } else {
                Mentions mentions;
                read_condition(on.range, core, ours, {}, false, mentions);
                is_linked |= mentions.own;
            }
        }
        // Searched in the ON of a LEFT JOIN: WHERE is about the rows of the join.
        const bool is_optional = core.items[ours].is_optional && std::any_of(joining.begin(), joining.end(), searches);
        if (!is_optional) {
            split(core.where, "and", conditions);
        }
        conditions.insert(conditions.end(), joining.begin(), joining.end());
        for (std::size_t i = 0; i < conditions.size(); ++i) {
            std::vector<Range> branches;
            split(conditions[i], "or", branches);
            if (branches.size() < 2) {
                continue;
            }
            std::vector<std::vector<Range>> each;
            for (const Range& branch : branches) {
                each.emplace_back();
                split(branch, "and", each.back());
            }
            if (std::any_of(each.begin(), each.end(), [&](const std::vector<Range>& parts) {
                    return std::any_of(parts.begin(), parts.end(), searches);
                })) {
                conditions.erase(conditions.begin() + static_cast<std::ptrdiff_t>(i));
                for (std::vector<Range>& parts : each) {
                    parts.insert(parts.end(), conditions.begin(), conditions.end());
                    read_branch(core, ours, is_optional, is_linked, parts);
                }
                return;
            }
        }
        read_branch(core, ours, is_optional, is_linked, conditions);
    }

    void read_branch(const Core& core, std::size_t ours, bool is_optional, bool is_linked,
                     const std::vector<Range>& conditions) {
        WrittenSearch search;
        search.alias = core.items[ours].alias;
        std::vector<Range> rest;
        Mentions drives;
        bool searching = false;
        for (const Range& range : conditions) {
            bool by_function = false;
            if (const auto column = searched_column(range, core, ours, by_function)) {
                search.column = *column;
                search.by_function = by_function;
                searching = true;
                const auto first = text_.tokens().begin() + static_cast<std::ptrdiff_t>(range.begin);
                search.has_k |= std::any_of(
                    first, text_.tokens().begin() + static_cast<std::ptrdiff_t>(range.end),
                    [](const Token& token) { return equal_ignoring_case(token.text, "vss_search_params"); });
                read_condition(range, core, ours, {}, false, drives);
                continue;
            }
            Mentions mentions;
            read_condition(range, core, ours, {}, false, mentions);
            const bool speaks_of_settings =
                std::any_of(mentions.own_columns.begin(), mentions.own_columns.end(),
                            [](const std::string& name) { return name == "k" || name == "recall"; });
            if (speaks_of_settings && (mentions.own_columns.size() > 1 || !is_equation_of_column(range))) {
                search.odd_setting = words_of(range);
            } else if (speaks_of_settings) {
                search.has_k |= mentions.own_columns[0] == "k";
                drives.others.merge(mentions.others);
                drives.unqualified_others += mentions.unqualified_others;
                continue;
            }
            rest.push_back(range);
        }
        if (!searching) {
            return;
        }
        std::vector<std::string> drops;
        for (const Range& range : rest) {
            Mentions mentions;
            WrittenCondition condition =
                read_condition(range, core, ours, drives.others, drives.unqualified_others > 0, mentions);
            const bool others = !mentions.others.empty() || mentions.unqualified_others > 0;
            condition.is_own = !others;
            is_linked |= mentions.own && others;
            if (mentions.own || !others) {
                search.conditions.push_back(std::move(condition));
            } else if (mentions.others.size() + mentions.unqualified_others == 1) {
                drops.push_back(std::move(condition.text));
            }
        }
        if (is_linked && !is_optional && !search.by_function) {
            search.drops = std::move(drops);
        }
        search.has_limit = !reads_all_ && has_limit_behind(core.end);
        found_.push_back(std::move(search));
    }

    // `column = value` or `value = column`, also in parentheses.
    [[nodiscard]] bool is_equation_of_column(Range range) const {
        while (range.end > range.begin + 1 && text_.is_symbol(range.begin, "(") &&
               text_.closing(range.begin) + 1 == range.end) {
            range = {range.begin + 1, range.end - 1};
        }
        const auto is_equal = [&](std::size_t i) { return text_.is_symbol(i, "=") || text_.is_symbol(i, "=="); };
        std::size_t next = 0;
        if (text_.is_name(range.begin) && !text_.is_any(range.begin, expression_words)) {
            parts_of(range.begin, range.end, next);
            if (is_equal(next)) {
                return true;
            }
        }
        for (std::size_t i = range.begin; i < range.end; i = text_.after(i)) {
            if (is_equal(i) && text_.is_name(i + 1)) {
                parts_of(i + 1, range.end, next);
                return next == range.end;
            }
        }
        return false;
    }

    // Whether a LIMIT stands behind `i`, on its level or round it.
    [[nodiscard]] bool has_limit_behind(std::size_t i) const {
        while (true) {
            for (; i < text_.size() && !text_.is_symbol(i, ")"); i = text_.after(i)) {
                if (text_.is(i, "limit")) {
                    return true;
                }
                if (text_.is_symbol(i, ";")) {
                    return false;
                }
            }
            if (i >= text_.size()) {
                return false;
            }
            // A subquery that is read as a table, or one whose value is wanted, which is read to its end?
            const std::size_t open = text_.opening(i);
            if (open == 0 || !(text_.is(open - 1, "from") || text_.is(open - 1, "join") || text_.is(open - 1, "as") ||
                               text_.is(open - 1, "materialized"))) {
                return false;
            }
            ++i;
        }
    }

    const TableWords& table_;
    SqlText text_;
    std::vector<std::size_t> parameter_places_;
    bool reads_all_ = false;
    std::vector<WrittenSearch> found_;
};

}  // namespace

std::vector<WrittenSearch> searches_in(std::string_view sql, const TableWords& table) {
    return TextReader(sql, table).read();
}

}  // namespace vss
