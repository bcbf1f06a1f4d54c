#include "sqlite/statement_text.h"

#include <string>
#include <utility>

#include "base/text.h"

namespace vss {
namespace {

class StatementReader {
  public:
    StatementReader(const SqlText& text, const TableWords& table) : text_(text), table_(table) {}

    // The one that begins at `i`; false if none does, or it cannot be read.
    bool read(std::size_t i, Core& core) {
        const bool is_read = text_.is(i, "select")   ? read_select(i, core)
                             : text_.is(i, "delete") ? read_delete(i, core)
                             : text_.is(i, "update") ? read_update(i, core)
                                                     : false;
        return is_read && !core.is_unusual;
    }

  private:
    bool read_select(std::size_t i, Core& core) {
        const std::size_t end = text_.level_end(i);
        std::size_t j = i + 1;
        while (j < end && !(text_.is(j, "from") && !text_.is(j - 1, "distinct"))) {
            if (text_.is_any(j, clause_words)) {
                return false;
            }
            j = text_.after(j);
        }
        return j < end && read_clauses(j + 1, end, core);
    }

    bool read_delete(std::size_t i, Core& core) {
        return text_.is(i + 1, "from") && read_clauses(i + 2, text_.level_end(i), core);
    }

    bool read_update(std::size_t i, Core& core) {
        if (i > 0 && text_.is(i - 1, "do")) {
            return false;
        }
        std::size_t j = text_.is(i + 1, "or") ? i + 3 : i + 1;
        const std::size_t end = text_.level_end(i);
        const std::size_t first = j;
        while (j < end && !text_.is(j, "set")) {
            if (!text_.is_name(j) && !text_.is_symbol(j, ".")) {
                return false;
            }
            ++j;
        }
        if (j >= end || !read_from({first, j}, core)) {
            return false;
        }
        while (j < end && !text_.is_any(j, clause_words) && !(text_.is(j, "from") && !text_.is(j - 1, "distinct"))) {
            j = text_.after(j);
        }
        return read_clauses(text_.is(j, "from") ? j + 1 : j, end, core);
    }

    // FROM, whose items begin at `i`, and WHERE.
    bool read_clauses(std::size_t i, std::size_t end, Core& core) {
        const auto ends = [&](std::size_t j) {
            return j >= end || text_.is_any(j, clause_words) || (text_.is(j, "window") && text_.is(j + 2, "as")) ||
                   (text_.is(j, "on") && text_.is(j + 1, "conflict"));
        };
        std::size_t j = i;
        while (!ends(j)) {
            j = text_.after(j);
        }
        if (!read_from({i, j}, core)) {
            return false;
        }
        if (text_.is(j, "where") && j < end) {
            core.where.begin = ++j;
            while (!ends(j)) {
                j = text_.after(j);
            }
            core.where.end = j;
        }
        core.end = j;
        return true;
    }

    bool read_from(Range range, Core& core) {
        bool is_optional = false;
        for (std::size_t i = range.begin; i < range.end;) {
            if (text_.is_symbol(i, ",")) {
                is_optional = false;
                ++i;
            } else if (text_.is_any(i, join_words)) {
                is_optional = text_.is(i, "left") || (is_optional && !text_.is(i, "inner") && !text_.is(i, "cross"));
                core.is_unusual |= text_.is(i, "right") || text_.is(i, "full");
                core.is_linked |= text_.is(i, "natural");
                if (!text_.is(i, "join")) {
                    ++i;
                    continue;
                }
                ++i;
            } else if (text_.is(i, "on")) {
                std::size_t j = ++i;
                while (j < range.end && !text_.is_symbol(j, ",") && !text_.is_any(j, join_words) &&
                       !text_.is(j, "on")) {
                    j = text_.after(j);
                }
                if (core.items.empty()) {
                    return false;
                }
                core.ons.push_back({{i, j}, core.items.size() - 1});
                i = j;
                continue;
            } else if (text_.is(i, "using")) {
                core.is_linked = true;
                i = text_.after(i + 1);
                continue;
            } else if (!read_item(i, range.end, is_optional, core)) {
                return false;
            } else {
                is_optional = false;
            }
        }
        return true;
    }

    // One table, subquery or join in parentheses; `i` moves behind it.
    bool read_item(std::size_t& i, std::size_t end, bool is_optional, Core& core) {
        FromItem item;
        item.is_optional = is_optional;
        if (text_.is_symbol(i, "(")) {
            const std::size_t close = text_.closing(i);
            if (!text_.opens_query(i)) {
                const std::size_t first = core.items.size();
                if (!read_from({i + 1, close}, core)) {
                    return false;
                }
                for (std::size_t j = first; j < core.items.size(); ++j) {
                    core.items[j].is_optional |= is_optional;
                }
                i = close + 1;
                return true;
            }
            i = close + 1;
        } else if (text_.is_name(i)) {
            std::string schema;
            std::string name = name_of(text_[i++]);
            if (text_.is_symbol(i, ".") && text_.is_name(i + 1)) {
                schema = std::move(name);
                name = name_of(text_[i + 1]);
                i += 2;
            }
            if (text_.is_symbol(i, "(")) {
                i = text_.after(i);  // a table-valued function
            } else {
                item.is_ours = equal_ignoring_case(name, table_.table) &&
                               (schema.empty() || equal_ignoring_case(schema, table_.schema));
            }
            item.alias = std::move(name);
        } else {
            return false;
        }
        if (text_.is(i, "as") && i + 1 < end) {
            ++i;
            item.alias = name_of(text_[i++]);
        } else if (i < end && text_.is_name(i) && !text_.is_any(i, join_words) && !text_.is(i, "on") &&
                   !text_.is(i, "using") && !text_.is(i, "indexed") && !text_.is(i, "not")) {
            item.alias = name_of(text_[i++]);
        }
        if (text_.is(i, "indexed")) {
            i += 3;
        } else if (text_.is(i, "not") && text_.is(i + 1, "indexed")) {
            i += 2;
        }
        core.items.push_back(std::move(item));
        return i <= end;
    }

    const SqlText& text_;
    const TableWords& table_;
};

}  // namespace

std::vector<Core> cores_in(const SqlText& text, const TableWords& table) {
    StatementReader reader(text, table);
    std::vector<Core> out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        Core core;
        if (reader.read(i, core)) {
            out.push_back(std::move(core));
        }
    }
    return out;
}

}  // namespace vss
