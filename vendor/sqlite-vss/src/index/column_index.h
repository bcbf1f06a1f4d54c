// The seam between a table and the indexes of its vector columns: all that the table, cursors, check, repair, drop,
// statistics and commands know of an index. A kind of index is a folder beside this file and one line in
// sqlite/index_kinds.cpp.
//
// An index is derived: rows are the truth (VectorStore), and each kind can rebuild its own tables from them. It hears
// of every change of the column's rows, inside the transaction that makes it, and gathers what follows from it until
// flush(). It answers searches as SQL would see the rows: with what the transaction has changed, gathered or written.
//
// Threads: like the connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "index/search_request.h"
#include "storage/config.h"
#include "storage/schema.h"
#include "storage/storage.h"

namespace vss {

// What an index is made of. Name and store outlive it.
struct IndexContext {
    const TableName& name;
    VectorStore& store;
    std::size_t column = 0;     // c in the names of its tables
    const TableConfig& config;  // while it is made
};

// Where a step-by-step optimization goes on.
struct OptimizeStep {
    std::uint64_t next = 0;
    bool is_done = false;
};

class ColumnIndex {
  public:
    ColumnIndex() = default;
    ColumnIndex(const ColumnIndex&) = delete;
    ColumnIndex& operator=(const ColumnIndex&) = delete;
    virtual ~ColumnIndex() = default;

    // --- what a write tells it, inside a write transaction; the default: nothing is kept of it ---
    // The slot holds a new vector.
    virtual Status inserted(std::uint64_t slot);
    // The vector in the slot is about to go, and can still be read.
    virtual Status removing(std::uint64_t slot);
    // Something else of the column's rows changed: a row is called otherwise, or was mended.
    virtual Status rows_changed();
    // Something is gathered that flush() would write.
    [[nodiscard]] virtual bool is_dirty() const { return false; }
    // Writes what is gathered: before a savepoint, and in xSync. The rows are written already.
    virtual Status flush();
    // So much is gathered that searches in the same transaction are slow until flush(): who ends a large load calls it.
    [[nodiscard]] virtual bool has_bulk_work() const { return false; }
    // Forgets what is gathered, and what was known of the tables: after a rollback, flush() having preceded where it
    // was to a savepoint.
    virtual void discard() {}

    // --- what a search asks ---
    // At least `request.recall` of the k nearest rows that the filter lets pass, and k rows wherever so many pass.
    virtual Status search(const SearchRequest& request, SearchAnswer& answer) = 0;
    // Refuses settings that it does not have, or that are out of range, in words; the default: it has none.
    virtual Status check_settings(const SearchSettings& settings);
    // What the last search did, for explain.
    virtual void explain(Json& json) = 0;
    // Whether any search is exact as the rows are now: there are too few for an index, say.
    virtual Status is_exact(bool& out) = 0;
    // Live vectors of the column.
    virtual Status count(std::uint64_t& out) = 0;

    // --- what it keeps on disk ---
    // What is wrong with its tables, in words; false from `report` stops.
    virtual Status check(const Report& report);
    // Starts again from the rows, whatever its tables say, and reports that it did.
    virtual Status restart(const Report& report);

    // --- commands, inside a write transaction; the default: nothing is to be done ---
    // Learns from the rows what it needs of them before it can be searched, if it needs anything.
    virtual Status train();
    // Rebuilds everything from the rows as they are now.
    virtual Status rebuild();
    // Measures again what a recall needs.
    virtual Status relearn();
    // Some ten milliseconds of work from step.next on.
    virtual Status optimize(OptimizeStep& step);
    // How many parts optimize() goes through.
    virtual Status parts(std::uint64_t& out);
    virtual Status stats(Json& json) = 0;
    // Itself in the form that its library's other users read, with rowids; refused where there is none.
    virtual Status export_bytes(std::string& out);
};

// Lets the index take the settings of a search, if it has any. A recall of 1, brute force, has none: it gives way where
// it is the column's default, and is an error where this search asked for it. `words`: the column's.
Status check_settings(ColumnIndex& index, std::string_view words, bool recall_is_asked, SearchRequest& request);

// One kind of index. Objects live as long as the process.
class IndexKind {
  public:
    IndexKind() = default;
    IndexKind(const IndexKind&) = delete;
    IndexKind& operator=(const IndexKind&) = delete;
    virtual ~IndexKind() = default;

    // As `index=` and vss_set_index say it.
    [[nodiscard]] virtual std::string_view name() const = 0;
    // What it is, for the message that lists the kinds.
    [[nodiscard]] virtual std::string_view words() const = 0;
    // The least format (FORMAT.md) whose readers know it.
    [[nodiscard]] virtual int format() const = 0;
    // Its tables are t_<word><c>.
    [[nodiscard]] virtual std::span<const std::string_view> tables() const = 0;
    // Whether the declaration asks for it, though not by name.
    [[nodiscard]] virtual bool is_declared(const Column& column) const;
    // Whether it serves such vectors at all.
    [[nodiscard]] virtual bool supports(const Column& column) const = 0;
    // Refuses what a new column of that declaration could not keep. `words`: the column's.
    virtual Status check_new(const Column& column, const std::string& words) const;
    // `where_missing`: a table that is there already is left as it is, not an error.
    virtual Status create_tables(const TableName& name, std::size_t c, bool where_missing) const = 0;
    // What it keeps beside its tables, in those of the rows, goes.
    virtual Status forget(const TableName& name, std::size_t c) const;
    // What t_config is to say of a new column.
    virtual Status write_settings(ConfigWriter& config, std::size_t c) const;
    [[nodiscard]] virtual std::unique_ptr<ColumnIndex> make(const IndexContext& context) const = 0;
};

// Every kind of this build, the default one first (sqlite/index_kinds.cpp).
[[nodiscard]] std::span<const IndexKind* const> index_kinds();
// The kind of that name, or nullptr.
[[nodiscard]] const IndexKind* find_kind(std::string_view name);
// "cells, flat or ...", for messages.
[[nodiscard]] std::string kind_names();
// The kind that a column has: the one it names if that serves its vectors, else the one that takes all.
[[nodiscard]] const IndexKind& kind_of(const Column& column);

}  // namespace vss
