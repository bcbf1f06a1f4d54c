#include "sqlite/aggregate_text.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "base/text.h"
#include "sqlite/sql_tokens.h"

namespace vss {
namespace {

constexpr std::array<std::string_view, 3> summing = {"avg", "sum", "total"};
constexpr std::array<std::string_view, 4> no_alias = {"on", "using", "indexed", "not"};

// Whether the FROM between `begin` and `end` has the table, under that name where one is said.
bool has_table(const SqlText& text, std::size_t begin, std::size_t end, const TableWords& table,
               std::string_view qualifier) {
    for (std::size_t i = begin; i < end && !text.is_any(i, clause_words); i = text.after(i)) {
        const bool is_table = text.is_name(i) && equal_ignoring_case(name_of(text[i]), table.table) &&
                              !text.is_symbol(i + 1, ".") && !text.is_symbol(i + 1, "(") && !text.is(i - 1, "as");
        if (!is_table) {
            continue;
        }
        const std::size_t next = text.is(i + 1, "as") ? i + 2 : i + 1;
        const bool has_alias = next < end && text.is_name(next) && !text.is_any(next, join_words) &&
                               !text.is_any(next, clause_words) && !text.is_any(next, no_alias);
        if (qualifier.empty() || equal_ignoring_case(qualifier, has_alias ? name_of(text[next]) : table.table)) {
            return true;
        }
    }
    return false;
}

}  // namespace

bool may_sum_vectors(std::string_view sql) {
    const std::string text = lower(sql);
    return std::any_of(summing.begin(), summing.end(),
                       [&](std::string_view word) { return text.find(word) != std::string::npos; });
}

std::string summed_vector(std::string_view sql, const TableWords& table) {
    SqlText text(sql);
    if (!text.pair_up()) {
        return {};
    }
    for (std::size_t i = 0; i + 2 < text.size(); ++i) {
        if (!text.is_any(i, summing) || !text.is_symbol(i + 1, "(")) {
            continue;
        }
        const std::size_t close = text.closing(i + 1);
        const std::size_t first = text.is(i + 2, "distinct") || text.is(i + 2, "all") ? i + 3 : i + 2;
        std::size_t last = first;
        while (last + 2 < close && text.is_symbol(last + 1, ".")) {
            last += 2;
        }
        if (last + 1 != close || !text.is_name(last) || !is_in(name_of(text[last]), table.vectors)) {
            continue;
        }
        // The SELECT that it stands in, whatever expression is round it.
        std::size_t at = i;
        while (text.around(at) != SqlText::nowhere && !text.opens_query(text.around(at))) {
            at = text.around(at);
        }
        const std::size_t end = text.level_end(at);
        while (at < end && !text.is(at, "from")) {
            at = text.after(at);
        }
        const std::string qualifier = last > first ? name_of(text[last - 2]) : std::string();
        if (at < end && has_table(text, at + 1, end, table, qualifier)) {
            return name_of(text[last]);
        }
    }
    return {};
}

}  // namespace vss
