// The text of a SQL statement as tokens, and which parenthesis closes which. No SQLite in here.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vss {

enum class TokenKind { word, quoted, string, number, parameter, symbol };

// Points into the text.
struct Token {
    TokenKind kind = TokenKind::symbol;
    std::string_view text;
};

[[nodiscard]] std::vector<Token> tokens_of(std::string_view sql);
// The name that an identifier stands for.
[[nodiscard]] std::string name_of(const Token& token);
// In any case of letters.
[[nodiscard]] bool is_one_of(std::string_view text, std::span<const std::string_view> words);

[[nodiscard]] bool is_in(std::string_view text, const std::vector<std::string>& names);

// Words of an expression that name no column.
inline constexpr std::array<std::string_view, 38> expression_words = {
    "and",     "or",   "not",      "is",   "null",    "in",    "like",         "glob",        "match",  "regexp",
    "between", "case", "when",     "then", "else",    "end",   "as",           "exists",      "escape", "isnull",
    "notnull", "from", "distinct", "true", "false",   "over",  "partition",    "by",          "order",  "asc",
    "desc",    "rows", "filter",   "cast", "collate", "where", "current_time", "current_date"};
inline constexpr std::array<std::string_view, 8> join_words = {"join",  "left",  "right",   "full",
                                                               "inner", "cross", "natural", "outer"};
// What ends a FROM or WHERE clause.
inline constexpr std::array<std::string_view, 9> clause_words = {"group", "having",    "order",  "limit",    "union",
                                                                 "where", "intersect", "except", "returning"};
// Names of the rowid that any table has.
inline constexpr std::array<std::string_view, 3> rowid_words = {"rowid", "oid", "_rowid_"};

// The values of the statement's parameters as literals, from what sqlite3_expanded_sql makes of it; empty for a
// fraction, which that text does not give exactly. Nothing where the two texts do not go together.
[[nodiscard]] std::optional<std::vector<std::string>> parameter_values(std::string_view sql, std::string_view expanded);

// Tokens that know their parentheses.
class SqlText {
  public:
    static constexpr std::size_t nowhere = static_cast<std::size_t>(-1);

    // The text must outlive this object.
    explicit SqlText(std::string_view sql) : tokens_(tokens_of(sql)) {}
    // False: some parenthesis is open. Comes before all else that asks about them.
    [[nodiscard]] bool pair_up();

    [[nodiscard]] const std::vector<Token>& tokens() const { return tokens_; }
    [[nodiscard]] const Token& operator[](std::size_t i) const { return tokens_[i]; }
    [[nodiscard]] std::size_t size() const { return tokens_.size(); }

    // Whether the token is that word, symbol, ...; false behind the last one.
    [[nodiscard]] bool is(std::size_t i, std::string_view word) const;
    [[nodiscard]] bool is_symbol(std::size_t i, std::string_view symbol) const;
    [[nodiscard]] bool is_name(std::size_t i) const;
    [[nodiscard]] bool is_any(std::size_t i, std::span<const std::string_view> words) const;
    [[nodiscard]] bool opens_query(std::size_t i) const;

    // The parenthesis that closes the one at `i`, the one that the one at `i` closes, and the one that stands round a
    // token, or nowhere.
    [[nodiscard]] std::size_t closing(std::size_t i) const { return closes_[i]; }
    [[nodiscard]] std::size_t opening(std::size_t i) const;
    [[nodiscard]] std::size_t around(std::size_t i) const { return inside_[i]; }
    // Behind the token, or behind the parentheses that it opens.
    [[nodiscard]] std::size_t after(std::size_t i) const { return is_symbol(i, "(") ? closes_[i] + 1 : i + 1; }
    // Where the statement or subquery that the token belongs to ends.
    [[nodiscard]] std::size_t level_end(std::size_t i) const;

  private:
    std::vector<Token> tokens_;
    std::vector<std::size_t> closes_;  // by '('
    std::vector<std::size_t> inside_;  // the '(' round each token
};

}  // namespace vss
