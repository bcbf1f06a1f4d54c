#include "sqlite/sql_tokens.h"

#include <algorithm>
#include <cctype>

#include "base/text.h"

namespace vss {
namespace {

bool is_word_start(char c) {
    return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_' || (c & 0x80) != 0;
}
bool is_word(char c) {
    return is_word_start(c) || std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '$';
}

// The length of the token at the front of `rest`, which is no space or comment.
Token first_token(std::string_view rest) {
    const char c = rest.front();
    const auto while_word = [&](std::size_t n) {
        while (n < rest.size() && is_word(rest[n])) {
            ++n;
        }
        return n;
    };
    const auto until = [&](char close, bool doubled) {
        for (std::size_t n = 1; n < rest.size(); ++n) {
            if (rest[n] == close) {
                if (!doubled || n + 1 == rest.size() || rest[n + 1] != close) {
                    return n + 1;
                }
                ++n;
            }
        }
        return rest.size();
    };
    if (c == '\'') {
        return {TokenKind::string, rest.substr(0, until('\'', true))};
    }
    if (c == '"' || c == '`') {
        return {TokenKind::quoted, rest.substr(0, until(c, true))};
    }
    if (c == '[') {
        return {TokenKind::quoted, rest.substr(0, until(']', false))};
    }
    if ((c == 'x' || c == 'X') && rest.size() > 1 && rest[1] == '\'') {
        const std::size_t end = rest.find('\'', 2);
        return {TokenKind::string, rest.substr(0, end == std::string_view::npos ? rest.size() : end + 1)};
    }
    if (is_word_start(c)) {
        return {TokenKind::word, rest.substr(0, while_word(1))};
    }
    if (std::isdigit(static_cast<unsigned char>(c)) != 0 ||
        (c == '.' && rest.size() > 1 && std::isdigit(static_cast<unsigned char>(rest[1])) != 0)) {
        std::size_t n = 1;
        while (n < rest.size() && (is_word(rest[n]) || rest[n] == '.' ||
                                   ((rest[n] == '+' || rest[n] == '-') && (rest[n - 1] | 0x20) == 'e'))) {
            ++n;
        }
        return {TokenKind::number, rest.substr(0, n)};
    }
    if (c == '?' || c == ':' || c == '@' || c == '$' || c == '#') {
        return {TokenKind::parameter, rest.substr(0, while_word(1))};
    }
    for (const std::string_view two : {"==", "<=", ">=", "<>", "!=", "||", "<<", ">>", "->"}) {
        if (rest.starts_with(two)) {
            return {TokenKind::symbol, rest.substr(0, rest.starts_with("->>") ? 3 : 2)};
        }
    }
    return {TokenKind::symbol, rest.substr(0, 1)};
}

}  // namespace

std::vector<Token> tokens_of(std::string_view sql) {
    std::vector<Token> tokens;
    while (!sql.empty()) {
        if (std::isspace(static_cast<unsigned char>(sql.front())) != 0) {
            sql.remove_prefix(1);
        } else if (sql.starts_with("--")) {
            sql.remove_prefix(std::min(sql.size(), sql.find('\n')));
        } else if (sql.starts_with("/*")) {
            const std::size_t end = sql.find("*/", 2);
            sql.remove_prefix(end == std::string_view::npos ? sql.size() : end + 2);
        } else {
            tokens.push_back(first_token(sql));
            sql.remove_prefix(tokens.back().text.size());
        }
    }
    return tokens;
}

std::string name_of(const Token& token) {
    if (token.kind != TokenKind::quoted || token.text.size() < 2) {
        return std::string(token.text);
    }
    const char close = token.text.back();
    std::string out;
    for (std::size_t i = 1; i + 1 < token.text.size(); ++i) {
        out.push_back(token.text[i]);
        if (token.text[i] == close && close != ']') {
            ++i;
        }
    }
    return out;
}

bool is_one_of(std::string_view text, std::span<const std::string_view> words) {
    return std::any_of(words.begin(), words.end(),
                       [&](std::string_view word) { return equal_ignoring_case(word, text); });
}

bool is_in(std::string_view text, const std::vector<std::string>& names) {
    return std::any_of(names.begin(), names.end(),
                       [&](const std::string& name) { return equal_ignoring_case(name, text); });
}

std::optional<std::vector<std::string>> parameter_values(std::string_view sql, std::string_view expanded) {
    if (expanded.find("bytes*/") != std::string_view::npos) {
        return std::nullopt;  // cut short by SQLite
    }
    const std::vector<Token> asked = tokens_of(sql);
    const std::vector<Token> given = tokens_of(expanded);
    std::vector<std::string> values;
    std::size_t j = 0;
    for (std::size_t i = 0; i < asked.size(); ++i, ++j) {
        if (j >= given.size()) {
            return std::nullopt;
        }
        if (asked[i].kind != TokenKind::parameter) {
            if (asked[i].text != given[j].text) {
                return std::nullopt;
            }
            continue;
        }
        std::string value;
        if (given[j].kind == TokenKind::symbol && given[j].text == "-" && j + 1 < given.size()) {
            value = "-";
            ++j;
        }
        const Token& token = given[j];
        const bool is_whole =
            token.kind == TokenKind::number && token.text.find_first_not_of("0123456789") == std::string_view::npos;
        const bool is_null = token.kind == TokenKind::word && equal_ignoring_case(token.text, "null");
        if (!is_whole && !is_null && token.kind != TokenKind::string) {
            // A fraction: unknown, and said so only where it is wanted.
            values.emplace_back();
            if (token.kind == TokenKind::word && equal_ignoring_case(token.text, "zeroblob")) {
                j += 3;
            }
            continue;
        }
        values.push_back(value + std::string(token.text));
    }
    return values;
}

bool SqlText::is(std::size_t i, std::string_view word) const {
    return i < tokens_.size() && tokens_[i].kind == TokenKind::word && equal_ignoring_case(tokens_[i].text, word);
}

bool SqlText::is_symbol(std::size_t i, std::string_view symbol) const {
    return i < tokens_.size() && tokens_[i].kind == TokenKind::symbol && tokens_[i].text == symbol;
}

bool SqlText::is_name(std::size_t i) const {
    return i < tokens_.size() && (tokens_[i].kind == TokenKind::word || tokens_[i].kind == TokenKind::quoted);
}

bool SqlText::is_any(std::size_t i, std::span<const std::string_view> words) const {
    return i < tokens_.size() && tokens_[i].kind == TokenKind::word && is_one_of(tokens_[i].text, words);
}

bool SqlText::opens_query(std::size_t i) const {
    return is_symbol(i, "(") && (is(i + 1, "select") || is(i + 1, "with") || is(i + 1, "values"));
}

bool SqlText::pair_up() {
    closes_.assign(tokens_.size(), nowhere);
    inside_.assign(tokens_.size(), nowhere);
    std::vector<std::size_t> open;
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
        if (is_symbol(i, ")")) {
            if (open.empty()) {
                return false;
            }
            closes_[open.back()] = i;
            open.pop_back();
        }
        inside_[i] = open.empty() ? nowhere : open.back();
        if (is_symbol(i, "(")) {
            open.push_back(i);
        }
    }
    return open.empty();
}

std::size_t SqlText::level_end(std::size_t i) const {
    const std::size_t end = inside_[i] == nowhere ? tokens_.size() : closes_[inside_[i]];
    for (std::size_t j = i; j < end; j = after(j)) {
        if (is_symbol(j, ";")) {
            return j;
        }
    }
    return end;
}

std::size_t SqlText::opening(std::size_t i) const {
    return static_cast<std::size_t>(std::find(closes_.begin(), closes_.end(), i) - closes_.begin());
}

}  // namespace vss
