// One vss0 table on one connection: its rows, what writing does to them, and its share of the transaction.
//
// On disk: t_config(key, value) says how the other tables are laid out, t_rows(_rowid, _slot0, ..., values) holds one
// row for each row of the table: the slot of each vector (or NULL) and the metadata and auxiliary values.
//
// Threads: like the connection. Callbacks (module.cpp) call in here; nothing here knows of sqlite3_vtab.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "index/column_index.h"
#include "sqlite/search_reading.h"
#include "storage/old_file.h"
#include "storage/schema.h"
#include "storage/statement.h"
#include "storage/storage.h"

namespace vss {

// The latest that is known; a table has the least that its indexes ask for.
inline constexpr int format_version = 3;

// What a write did beside its status.
struct WriteResult {
    std::int64_t rowid = 0;
};

class OpenTables;

// The rows of a table that sqlite-vss 0.1.2 wrote, in a database of their own.
class OldImage {
  public:
    OldImage() = default;
    ~OldImage();
    OldImage(const OldImage&) = delete;
    OldImage& operator=(const OldImage&) = delete;
    Status open(const TableName& declared);

    TableName name;
    std::int64_t version = 0;  // `pragma data_version` of the file it was made of
    std::vector<OldFile::ColumnSummary> columns;
    std::uint64_t rows = 0;

  private:
    sqlite3* db_ = nullptr;
};

// SQLite lets go of a table (xDisconnect) whenever the schema changed, also in the midst of a SQL function that runs
// statements: who works on a table outside of the table's own callbacks shares it.
class Table {
  public:
    Table(TableName name, Schema schema, std::weak_ptr<OpenTables> others)
        : declared_(name), name_(std::move(name)), schema_(std::move(schema)), others_(std::move(others)) {}
    Table(const Table&) = delete;
    Table& operator=(const Table&) = delete;

    // Where its own tables are.
    [[nodiscard]] const TableName& name() const { return name_; }
    // Where it was declared, which is the same but for what sqlite-vss 0.1.2 wrote.
    [[nodiscard]] const TableName& declared() const { return declared_; }
    [[nodiscard]] const Schema& schema() const { return schema_; }
    [[nodiscard]] VectorStore& store(std::size_t c) { return *stores_[c]; }
    // What the texts of running statements say of searches.
    [[nodiscard]] SearchReader& reader() { return reader_; }
    [[nodiscard]] ColumnIndex& index(std::size_t c) { return *indexes_[c]; }

    // `is_asked`: by a statement, so that a factory that this build has no index for is refused.
    Status create(bool is_asked = true);
    // Reads how the table is laid out, once. Not in xConnect: there SQLite cannot reload a schema that another
    // connection has changed meanwhile, so that statements fail. store() and index() are there afterwards.
    Status ready() { return is_ready_ && image_ == nullptr ? Status::ok() : open(); }
    Status destroy();
    Status rename(const std::string& new_name);
    // The names (after "t_") that shadow tables can have.
    static bool is_shadow_name(std::string_view suffix);

    // xUpdate's three jobs. `values`: one for each declared column, then the hidden ones.
    Status insert(sqlite3_value* rowid, std::span<sqlite3_value*> values, WriteResult& result);
    Status update(sqlite3_value* old_rowid, sqlite3_value* new_rowid, std::span<sqlite3_value*> values);
    Status remove(sqlite3_value* rowid);

    // Every broken invariant of the table's own tables, in words.
    Status check(const Report& report);
    // Mends them; inside a transaction of the caller.
    Status repair(const Report& report);

    // What sqlite-vss 0.1.2 wrote (table_old.cpp): nullptr, or how it is read until it is upgraded.
    [[nodiscard]] const OldImage* image() const { return image_.get(); }
    // Makes this version's tables of it; inside a transaction of the caller. Done is counted up to the second number.
    using Progress = std::function<Status(std::uint64_t, std::uint64_t)>;
    Status upgrade(const Progress& progress);
    // Drops what an upgrade has emptied; not inside a statement that writes.
    Status drop_old_tables();

    // Gives the column another kind of index, made from its rows; inside a transaction of the caller.
    Status set_index(std::size_t c, const IndexKind& kind);

    // The transaction. flush() writes what is gathered; discard() forgets it, and what was known of the tables.
    Status flush();
    Status savepoint();
    void discard();
    // As SQLite begins, commits or rolls back. Where memory or the disk fails a statement of the table's own, SQLite
    // rolls back in the midst of the table's work, which holds on to what would be forgotten: then it is when the work
    // ends.
    void discard_after_work();
    class Work {
      public:
        explicit Work(Table& table) : table_(table) { ++table_.at_work_; }
        ~Work();
        Work(const Work&) = delete;
        Work& operator=(const Work&) = delete;

      private:
        Table& table_;
    };
    // Forgets at the end of a scope what was known of the tables: outside of the callbacks nobody says when that ends.
    class DiscardAtEnd {
      public:
        explicit DiscardAtEnd(Table& table) : table_(table) {}
        ~DiscardAtEnd() { table_.discard(); }
        DiscardAtEnd(const DiscardAtEnd&) = delete;
        DiscardAtEnd& operator=(const DiscardAtEnd&) = delete;

      private:
        Table& table_;
    };
    [[nodiscard]] bool is_at_work() const { return at_work_ > 0; }
    // What is refused because a view or a trigger of the table's own tables leads back to it.
    [[nodiscard]] Status leads_back() const;
    // Before anything is written: a trigger on the table's own tables would change them behind its back.
    Status refuse_triggers();
    // Cursors that are open on the table.
    [[nodiscard]] int readers() const { return readers_; }
    class Reading {
      public:
        explicit Reading(Table& table) : table_(table) { ++table_.readers_; }
        ~Reading() { --table_.readers_; }
        Reading(const Reading&) = delete;
        Reading& operator=(const Reading&) = delete;

      private:
        Table& table_;
    };

    // `select _rowid, _slot0, ..., values from t_rows`, for cursors; the columns by position.
    [[nodiscard]] std::string select_rows() const;
    [[nodiscard]] int slot_position(std::size_t c) const { return static_cast<int>(1 + c); }
    [[nodiscard]] int value_position(std::size_t v) const { return static_cast<int>(1 + schema_.vectors().size() + v); }

  private:
    struct NewVector {
        bool given = false;  // the statement says something about this column
        bool is_null = true;
        std::vector<std::byte> storage;
        std::span<const std::byte> bytes;
        std::shared_ptr<const Lease> lease;  // of the bytes, where they lie in memory that is lent
    };
    using Slots = std::vector<std::optional<std::uint64_t>>;

    Status open();
    Status read_config();
    Status ready_to_write() {
        VSS_TRY(ready());
        return image_ == nullptr ? Status::ok() : upgrade({});
    }
    Status open_old();
    Status fill_image(OldFile& file);
    void close_old();
    Status copy_image(OldImage& image, const std::vector<std::unique_ptr<VectorStore>>& from, const Progress& progress);
    // Forgets all that was read of its own tables; from now on they are there.
    void lay_out_in(const TableName& name);
    Status check_own_tables();
    // Names (after "t_") that the table's own tables can have, whatever its indexes.
    [[nodiscard]] std::vector<std::string> possible_suffixes() const;
    // Those of them that are there.
    Status find_own_tables(std::vector<std::string>& suffixes) const;
    Status read_new_vectors(std::span<sqlite3_value*> values, std::vector<NewVector>& out) const;
    Status read_slots(std::int64_t rowid, bool& found, Slots& out);
    Status allocate(std::optional<std::int64_t> owner, const std::vector<NewVector>& vectors, Slots& slots);
    void give_back(const std::vector<NewVector>& vectors, const Slots& slots);
    Status put(std::int64_t rowid, const std::vector<NewVector>& vectors, const Slots& slots, const Slots& old_slots);
    Status check_index(std::size_t c, const Report& report);
    Status missing_tables(std::size_t c, std::vector<std::string>& out) const;
    Status insert_row(std::optional<std::int64_t> rowid, std::span<sqlite3_value*> values,
                      const std::vector<NewVector>& vectors, bool& exists, std::int64_t& out);
    Status change_row(std::int64_t old_rowid, std::int64_t new_rowid, std::span<sqlite3_value*> values,
                      const std::vector<NewVector>& vectors, const Slots& old_slots);
    Status remove_row(std::int64_t rowid, const Slots& slots);
    Status run_operation(std::string_view operation, sqlite3_value* rowid, std::span<sqlite3_value*> values,
                         WriteResult& result);
    void note_lent(std::vector<NewVector>& vectors);
    Status end_load();
    Status duplicate(std::int64_t rowid) const;
    Status duplicate_key(sqlite3_value* key) const;
    // The rowid that a statement names by `rowid`, by the column that stands for it, or by both.
    Status read_rowid(sqlite3_value* rowid, std::span<sqlite3_value*> values, std::optional<std::int64_t>& out) const;
    // The value of the key of the table's own, and the row that has it; nothing where there is no such key or row, or
    // the statement leaves the key as it is.
    Status find_key(std::span<sqlite3_value*> values, sqlite3_value*& key, std::optional<std::int64_t>& holder);
    Status replace_row(std::int64_t rowid, std::span<sqlite3_value*> values, const std::vector<NewVector>& vectors);
    Status refuse_hidden_columns(std::span<sqlite3_value*> values, bool is_update) const;
    Status in_words(const Status& status) const;

    TableName declared_;
    TableName name_;
    Schema schema_;
    SearchReader reader_;
    std::weak_ptr<OpenTables> others_;
    bool is_ready_ = false;
    int format_ = 0;  // of the tables, when they were opened
    int readers_ = 0;
    int at_work_ = 0;
    bool discards_after_work_ = false;
    LentMemory lender_;  // of the load that runs
    std::unique_ptr<OldImage> image_;
    std::vector<std::unique_ptr<OldImage>> spent_images_;  // which open cursors may still read
    std::vector<std::string> declared_indexes_;            // while there is an image, which is searched exactly
    bool has_old_tables_ = false;                          // emptied by an upgrade
    bool was_upgraded_ = false;                            // by this transaction
    std::vector<std::unique_ptr<VectorStore>> stores_;
    std::vector<const IndexKind*> kinds_;
    std::vector<std::unique_ptr<ColumnIndex>> indexes_;
    std::int64_t checked_schema_ = -1;  // the version of the schema in which own tables were looked at last
    std::string trigger_;               // on one of them
    Statement schema_version_;
    Statement select_slots_;
    Statement select_key_;
    Statement insert_row_;
    Statement delete_row_;
    std::map<std::string, Statement> updates_;
};

}  // namespace vss
