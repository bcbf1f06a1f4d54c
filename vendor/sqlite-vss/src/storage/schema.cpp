#include "storage/schema.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "base/text.h"

namespace vss {
namespace {

constexpr std::array<std::string_view, 6> hidden_names = {"distance", "k", "recall", "operation", "rowid", "_rowid"};

bool is_space(char c) {
    return std::isspace(static_cast<unsigned char>(c)) != 0;
}
bool is_word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || (c & 0x80) != 0;
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && is_space(text.front())) {
        text.remove_prefix(1);
    }
    while (!text.empty() && is_space(text.back())) {
        text.remove_suffix(1);
    }
    return text;
}

// Reads one declaration from left to right.
class Reader {
  public:
    explicit Reader(std::string_view text) : rest_(trim(text)) {}

    [[nodiscard]] bool at_end() const { return rest_.empty(); }
    [[nodiscard]] std::string_view rest() const { return rest_; }

    bool take(char c) {
        if (rest_.empty() || rest_.front() != c) {
            return false;
        }
        rest_ = trim(rest_.substr(1));
        return true;
    }

    // An identifier: a plain word, or one in "double quotes", [brackets] or `backticks`.
    std::optional<std::string> name() {
        if (rest_.empty()) {
            return std::nullopt;
        }
        const char open = rest_.front();
        if (open == '"' || open == '[' || open == '`') {
            return quoted(open == '[' ? ']' : open);
        }
        std::size_t n = 0;
        while (n < rest_.size() && is_word(rest_[n])) {
            ++n;
        }
        if (n == 0 || std::isdigit(static_cast<unsigned char>(rest_.front())) != 0) {
            return std::nullopt;
        }
        std::string out(rest_.substr(0, n));
        rest_ = trim(rest_.substr(n));
        return out;
    }

    // The value of an option: 'text', "text" or a plain word.
    std::optional<std::string> value() {
        if (rest_.empty()) {
            return std::nullopt;
        }
        if (rest_.front() == '"' || rest_.front() == '\'') {
            return quoted(rest_.front());
        }
        std::size_t n = 0;
        while (n < rest_.size() && !is_space(rest_[n])) {
            ++n;
        }
        std::string out(rest_.substr(0, n));
        rest_ = trim(rest_.substr(n));
        return out;
    }

  private:
    std::optional<std::string> quoted(char close) {
        std::string out;
        for (std::size_t i = 1; i < rest_.size(); ++i) {
            if (rest_[i] != close) {
                out.push_back(rest_[i]);
            } else if (i + 1 < rest_.size() && rest_[i + 1] == close && close != ']') {
                out.push_back(close);
                ++i;
            } else {
                rest_ = trim(rest_.substr(i + 1));
                return out;
            }
        }
        return std::nullopt;
    }

    std::string_view rest_;
};

Status parse_dimensions(Reader& reader, const std::string& where, Column& out) {
    std::string_view rest = reader.rest();
    const std::size_t close = rest.find(')');
    if (close == std::string_view::npos) {
        return Status::invalid(cat(where, ": expected ')' after the number of dimensions in \"(", rest, "\""));
    }
    const std::string_view digits = trim(rest.substr(0, close));
    std::size_t dim = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), dim);
    if (error != std::errc() || end != digits.data() + digits.size() || dim == 0 || dim > max_dimensions) {
        return Status::invalid(
            cat(where, ": expected a number of dimensions from 1 to ", max_dimensions, ", got \"", digits, "\""));
    }
    out.dim = dim;
    reader = Reader(rest.substr(close + 1));
    return Status::ok();
}

Status parse_vector_options(Reader& reader, const std::string& where, Column& out) {
    bool metric_given = false;
    while (!reader.at_end()) {
        const std::optional<std::string> key = reader.name();
        if (!key || !reader.take('=')) {
            return Status::invalid(
                cat(where, ": expected option=value, got \"", key.value_or(""), reader.rest(), "\""));
        }
        const std::optional<std::string> value = reader.value();
        if (!value || value->empty()) {
            if (equal_ignoring_case(*key, "metric_type")) {
                return Status::invalid(cat("invalid metric_type value: ", where, ": it has none"));
            }
            return Status::invalid(cat(where, ": option ", *key, " has no value"));
        }
        if (equal_ignoring_case(*key, "metric_type") || equal_ignoring_case(*key, "metric")) {
            out.is_root = equal_ignoring_case(*value, "euclidean");
            const std::optional<Metric> metric = parse_metric(*value);
            if (!metric) {
                return Status::invalid(cat("unknown metric type: ", *value, ": ", where,
                                           ": expected L2, EUCLIDEAN, INNER_PRODUCT, COSINE, L1, HAMMING, LINF, "
                                           "CANBERRA, BRAYCURTIS or JENSENSHANNON"));
            }
            out.metric = *metric;
            metric_given = true;
        } else if (equal_ignoring_case(*key, "type")) {
            const std::optional<ElementType> type = parse_element_type(*value);
            if (!type) {
                return Status::invalid(
                    cat(where, ": unknown type \"", *value, "\"; expected float32, float16, bfloat16, int8 or bit"));
            }
            out.type = *type;
        } else if (equal_ignoring_case(*key, "index")) {
            out.index = *value;
        } else if (equal_ignoring_case(*key, "scale")) {
            const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), out.scale);
            if (error != std::errc() || end != value->data() + value->size() || !std::isfinite(out.scale) ||
                !(out.scale > 0)) {
                return Status::invalid(cat(where, ": expected scale as a number above 0, got \"", *value, '"'));
            }
        } else if (equal_ignoring_case(*key, "recall")) {
            const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), out.recall);
            if (error != std::errc() || end != value->data() + value->size() || !(out.recall > 0 && out.recall <= 1)) {
                return Status::invalid(
                    cat(where, ": expected recall as a number above 0 and at most 1, got \"", *value, '"'));
            }
        } else if (equal_ignoring_case(*key, "factory")) {
            out.factory = *value;
        } else if (equal_ignoring_case(*key, "storage_type")) {
            // sqlite-vss passes over it; later versions of it know these two. Here there is one kind of storage.
            if (!equal_ignoring_case(*value, "faiss_shadow") && !equal_ignoring_case(*value, "faiss_ondisk")) {
                return Status::invalid(cat(where, ": unknown storage_type \"", *value,
                                           "\"; expected faiss_shadow or faiss_ondisk, which mean the same here"));
            }
        } else {
            return Status::invalid(
                cat(where, ": unknown option \"", *key,
                    "\"; known options are metric_type, type, scale, recall, index, factory and storage_type"));
        }
    }
    if (out.scale != 0 && out.type != ElementType::int8) {
        return Status::invalid(cat(where, ": scale is for type=int8, not for ", name_of(out.type)));
    }
    if (out.type == ElementType::bit && !metric_given) {
        out.metric = Metric::hamming;
    }
    if ((out.type == ElementType::bit) != (out.metric == Metric::hamming)) {
        return Status::invalid(cat(where, ": type=", name_of(out.type), " does not go with metric_type=",
                                   name_of(out.metric), "; bit vectors take HAMMING, and only they do"));
    }
    return Status::ok();
}

bool ends_with_words(std::string& text, std::string_view words) {
    if (text.size() < words.size()) {
        return false;
    }
    const std::size_t at = text.size() - words.size();
    if (!equal_ignoring_case(std::string_view(text).substr(at), words) || (at > 0 && !is_space(text[at - 1]))) {
        return false;
    }
    text = trim(std::string_view(text).substr(0, at));
    return true;
}

// Takes `words` out of `text` wherever it stands in it, apart from other words.
bool take_words(std::string& text, std::string_view words) {
    for (std::size_t at = 0; at + words.size() <= text.size(); ++at) {
        const std::size_t end = at + words.size();
        if (equal_ignoring_case(std::string_view(text).substr(at, words.size()), words) &&
            (at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end]))) {
            text = trim(cat(trim(std::string_view(text).substr(0, at)), ' ', trim(std::string_view(text).substr(end))));
            return true;
        }
    }
    return false;
}

// Each run of spaces as one.
std::string single_spaced(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (!is_space(c)) {
            out.push_back(c);
        } else if (!out.empty() && out.back() != ' ') {
            out.push_back(' ');
        }
    }
    return out;
}

// `type` is what stands after the column's name, without "primary key".
Status parse_key(std::string type, const std::string& where, Column& out) {
    if (take_words(type, "autoincrement")) {
        return Status::invalid(cat(where, ": autoincrement is not kept here: the number of a deleted row may be used ",
                                   "again; write integer primary key"));
    }
    std::string rest = type;
    if (take_words(rest, "on conflict")) {
        return Status::invalid(
            cat(where, ": a conflict clause belongs to the statement here: insert or replace, insert or ignore"));
    }
    take_words(type, "not null");
    take_words(type, "unique");
    if (!take_words(type, "asc")) {
        take_words(type, "desc");
    }
    out.kind = equal_ignoring_case(type, "integer") ? ColumnKind::rowid : ColumnKind::key;
    out.declared_type = type;
    return Status::ok();
}

// The declared type is kept for SQLite, so it must not be able to end the statement it is put into.
bool is_plain_type(std::string_view text) {
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return is_word(c) || is_space(c) || c == '(' || c == ')' || c == ','; });
}

Status parse_column(std::string_view table, std::string_view text, Column& out) {
    Reader reader(text);
    const bool auxiliary = reader.take('+');
    const std::optional<std::string> name = reader.name();
    if (!name || name->empty()) {
        return Status::invalid(
            cat("table \"", table, "\": expected a column like name(384) or name text, got \"", trim(text), "\""));
    }
    out.name = *name;
    const std::string where = cat("table \"", table, "\", column \"", out.name, "\"");
    if (reader.take('(')) {
        if (auxiliary) {
            return Status::invalid(cat(where, ": a vector column takes no '+'"));
        }
        out.kind = ColumnKind::vector;
        VSS_TRY(parse_dimensions(reader, where, out));
        return parse_vector_options(reader, where, out);
    }
    std::string type = single_spaced(reader.rest());
    if (equal_ignoring_case(out.name, "primary") && type.size() >= 3 &&
        equal_ignoring_case(std::string_view(type).substr(0, 3), "key")) {
        return Status::invalid(
            cat("table \"", table, "\": write the key beside its column, like id text primary key; it is one column"));
    }
    out.kind = auxiliary ? ColumnKind::auxiliary : ColumnKind::metadata;
    if (ends_with_words(type, "partition key")) {
        out.kind = ColumnKind::partition;
        out.indexed = true;
    } else if (ends_with_words(type, "indexed")) {
        out.indexed = true;
    }
    if (auxiliary && out.indexed) {
        return Status::invalid(cat(where, ": an auxiliary column (+) is never filtered, so it takes no index"));
    }
    if (type.find('[') != std::string::npos) {
        return Status::invalid(cat(where, ": \"", type,
                                   "\" is how sqlite-vec writes it; here a vector column is written ", out.name,
                                   "(384), then perhaps type=int8, metric_type=COSINE"));
    }
    if (type.find('=') != std::string::npos) {
        return Status::invalid(cat(where, ": option \"", type,
                                   "\" without a number of dimensions; a vector column is written name(384) ", type));
    }
    if (!is_plain_type(type)) {
        return Status::invalid(cat(where, ": expected a column type like text, integer or real, got \"", type, "\""));
    }
    if (take_words(type, "primary key")) {
        if (auxiliary || out.kind == ColumnKind::partition) {
            return Status::invalid(
                cat(where, ": a primary key is neither a partition key nor an auxiliary column (+)"));
        }
        return parse_key(std::move(type), where, out);
    }
    out.declared_type = type;
    return Status::ok();
}

}  // namespace

Status Schema::parse(std::string_view table, std::span<const char* const> args, Schema& out) {
    Schema schema;
    for (const char* arg : args) {
        Column column;
        VSS_TRY(parse_column(table, arg, column));
        for (std::string_view name : hidden_names) {
            if (equal_ignoring_case(name, column.name)) {
                return Status::invalid(cat("table \"", table, "\": the column name \"", column.name,
                                           "\" is taken by vss0 itself; choose another"));
            }
        }
        if (equal_ignoring_case(std::string_view(column.name).substr(0, 5), "_slot")) {
            return Status::invalid(cat("table \"", table, "\": column names that begin with _slot are taken"));
        }
        for (const Column& other : schema.columns_) {
            if (equal_ignoring_case(other.name, column.name)) {
                return Status::invalid(cat("table \"", table, "\": column \"", column.name, "\" is declared twice"));
            }
        }
        const bool is_key = column.kind == ColumnKind::rowid || column.kind == ColumnKind::key;
        if (is_key && (schema.rowid_column_ || schema.key_)) {
            return Status::invalid(cat("table \"", table, "\": column \"", column.name, "\" is a second primary key"));
        }
        const std::size_t position = schema.columns_.size();
        if (column.kind == ColumnKind::rowid) {
            schema.rowid_column_ = position;
        } else {
            if (is_key) {
                schema.key_ = schema.values_.size();
            }
            (column.is_vector() ? schema.vectors_ : schema.values_).push_back(position);
        }
        schema.columns_.push_back(std::move(column));
    }
    if (schema.vectors_.empty()) {
        return Status::invalid(cat("table \"", table, "\": expected at least one vector column, like embedding(384)"));
    }
    out = std::move(schema);
    return Status::ok();
}

Status Schema::check_new(std::string_view table) const {
    struct Refusal {
        std::string_view word;
        std::string_view why;
    };
    constexpr std::string_view foreign =
        "a foreign key is not kept: SQLite would delete or change rows behind the table's back; use a trigger on the "
        "other table, which deletes here";
    constexpr std::string_view generated =
        "a generated column is not kept: compute it in the query, or store its value in an ordinary column";
    constexpr std::array<Refusal, 9> refusals = {
        {{"references", foreign},
         {"foreign", foreign},
         {"deferrable", foreign},
         {"generated", generated},
         {"as", generated},
         {"default",
          "a default is not kept: SQLite hands a virtual table NULL for what an insert does not name; name it"},
         {"on", "a conflict clause in a declaration is not kept: write insert or replace, or insert or ignore"},
         {"constraint", "constraints take no name here"},
         {"autoincrement", "autoincrement is not kept: rowids of deleted rows may come again"}}};
    for (const Column& column : columns_) {
        // Words outside of parentheses.
        std::string word;
        int depth = 0;
        for (const char c : column.declared_type + ' ') {
            if (is_word(c)) {
                word.push_back(c);
                continue;
            }
            const auto refusal = std::find_if(refusals.begin(), refusals.end(), [&](const Refusal& r) {
                return depth == 0 && equal_ignoring_case(r.word, word);
            });
            if (refusal != refusals.end()) {
                return Status::invalid(cat("table \"", table, "\", column \"", column.name, "\": ", refusal->why));
            }
            word.clear();
            depth += c == '(' ? 1 : c == ')' ? -1 : 0;
        }
    }
    return Status::ok();
}

std::optional<std::size_t> Schema::vector_index(std::size_t i) const {
    const auto at = std::find(vectors_.begin(), vectors_.end(), i);
    return at == vectors_.end() ? std::nullopt : std::optional(static_cast<std::size_t>(at - vectors_.begin()));
}

std::optional<std::size_t> Schema::value_index(std::size_t i) const {
    const auto at = std::find(values_.begin(), values_.end(), i);
    return at == values_.end() ? std::nullopt : std::optional(static_cast<std::size_t>(at - values_.begin()));
}

std::string Schema::declaration() const {
    std::string sql = "create table x(";
    for (const Column& column : columns_) {
        sql += cat(quote_identifier(column.name), ' ', column.declared_type,
                   column.kind == ColumnKind::rowid ? " primary key, " : ", ");
    }
    return sql + "distance hidden, k hidden, recall hidden, operation hidden)";
}

std::string quote_identifier(std::string_view name) {
    std::string out = "\"";
    for (const char c : name) {
        out.append(c == '"' ? 2 : 1, c);
    }
    return out + '"';
}

std::string quote_literal(std::string_view text) {
    std::string out = "'";
    for (const char c : text) {
        out.append(c == '\'' ? 2 : 1, c);
    }
    return out + '\'';
}

}  // namespace vss
