// The declaration of a vss0 table: what `create virtual table t using vss0(...)` says. No SQLite in here.
//
//   create virtual table t using vss0(
//     id integer primary key,                   -- a name of the rowid; of another type: a key of the table's own
//     a(384) metric_type=COSINE type=int8,      -- vector column: name(dimensions) options
//     company text collate nocase indexed,      -- metadata column: can be filtered inside a search
//     user_id integer partition key,            -- partition key: metadata with an index
//     +note text)                               -- auxiliary column: stored and returned, never filtered inside
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"

namespace vss {

// rowid: `integer primary key`, which names the rowid. key: a primary key of another type, unique and never NULL.
enum class ColumnKind { vector, metadata, partition, auxiliary, rowid, key };

struct Column {
    std::string name;
    ColumnKind kind = ColumnKind::vector;
    // vector columns
    std::size_t dim = 0;
    ElementType type = ElementType::float32;
    Metric metric = Metric::l2;
    bool is_root = false;  // metric_type=EUCLIDEAN: l2, whose root is what a search returns and compares
    double scale = 0;      // int8: floats are multiplied by it and rounded; 0: they must be whole
    double recall = 0;     // of searches that ask for none; 0: the process's default
    std::string index;     // the kind of index by name, as declared or set; empty: the default one
    std::string factory;   // a Faiss factory string, or empty
    // other columns
    std::string declared_type;  // "text collate nocase", as SQLite is to see it
    bool indexed = false;

    // "L2", "EUCLIDEAN", ...
    [[nodiscard]] std::string_view metric_name() const { return is_root ? "EUCLIDEAN" : name_of(metric); }
    [[nodiscard]] bool is_vector() const { return kind == ColumnKind::vector; }
    [[nodiscard]] std::size_t bytes() const { return vector_bytes(type, dim); }
};

class Schema {
  public:
    // `args`: the module arguments after the table name, as SQLite hands them over.
    static Status parse(std::string_view table, std::span<const char* const> args, Schema& out);

    // Refuses what a new table could not keep of its columns' declarations, although SQLite would take them. A table
    // that is there already is opened all the same.
    [[nodiscard]] Status check_new(std::string_view table) const;

    [[nodiscard]] const std::vector<Column>& columns() const { return columns_; }
    [[nodiscard]] const Column& column(std::size_t i) const { return columns_[i]; }
    // Positions in columns() of the vector columns and of the others, in order.
    [[nodiscard]] const std::vector<std::size_t>& vectors() const { return vectors_; }
    [[nodiscard]] const std::vector<std::size_t>& values() const { return values_; }
    [[nodiscard]] const Column& vector(std::size_t c) const { return columns_[vectors_[c]]; }
    [[nodiscard]] const Column& value(std::size_t v) const { return columns_[values_[v]]; }
    void set_index(std::size_t c, std::string_view index) { columns_[vectors_[c]].index = index; }
    // Which vector (value) column the table's i-th column is, if it is one.
    [[nodiscard]] std::optional<std::size_t> vector_index(std::size_t i) const;
    [[nodiscard]] std::optional<std::size_t> value_index(std::size_t i) const;

    // The column that names the rowid, by its position in columns().
    [[nodiscard]] std::optional<std::size_t> rowid_column() const { return rowid_column_; }
    // The key of the table's own, by its position in values().
    [[nodiscard]] std::optional<std::size_t> key() const { return key_; }

    // Hidden columns follow the declared ones.
    [[nodiscard]] int distance_column() const { return static_cast<int>(columns_.size()); }
    [[nodiscard]] int k_column() const { return distance_column() + 1; }
    [[nodiscard]] int recall_column() const { return distance_column() + 2; }
    [[nodiscard]] int operation_column() const { return distance_column() + 3; }

    // The CREATE TABLE statement for sqlite3_declare_vtab.
    [[nodiscard]] std::string declaration() const;

  private:
    std::vector<Column> columns_;
    std::vector<std::size_t> vectors_;
    std::vector<std::size_t> values_;
    std::optional<std::size_t> rowid_column_;
    std::optional<std::size_t> key_;
};

// "name" with inner quotes doubled: the one way identifiers enter SQL.
[[nodiscard]] std::string quote_identifier(std::string_view name);
// 'text' with inner quotes doubled.
[[nodiscard]] std::string quote_literal(std::string_view text);

}  // namespace vss
