#include "sqlite/table.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/random.h"
#include "base/text.h"
#include "sqlite/describe.h"
#include "sqlite/open_tables.h"

namespace vss {
namespace {

constexpr std::array<std::string_view, 2> fixed_suffixes = {"config", "rows"};

// Words that the column's number follows in the name of a table.
std::vector<std::string> numbered_suffixes(std::size_t c) {
    std::vector<std::string> suffixes = VectorStore::table_suffixes(c);
    for (const IndexKind* kind : index_kinds()) {
        for (const std::string_view table : kind->tables()) {
            suffixes.push_back(cat(table, c));
        }
    }
    return suffixes;
}

Status page_size(const TableName& name, std::size_t& out) {
    Statement statement;
    VSS_TRY(statement.prepare(name.db, cat("pragma ", quote_identifier(name.schema), ".page_size")));
    const ResetAtEnd guard(statement);
    bool row = false;
    VSS_TRY(statement.step(row));
    out = row ? static_cast<std::size_t>(statement.int64(0)) : 4096;
    return Status::ok();
}

// The kind that a new column gets: by name, which must be one. `is_asked`: a factory that no kind serves is refused; of
// a table that is there already, its rows are what matters.
Status kind_of_new(const TableName& name, const Column& column, bool is_asked, const IndexKind*& out) {
    if (!column.index.empty() && find_kind(column.index) == nullptr) {
        std::string known;
        for (const IndexKind* kind : index_kinds()) {
            known += cat(known.empty()                  ? ""
                         : kind == index_kinds().back() ? " or "
                                                        : ", ",
                         kind->name(), kind == index_kinds().front() ? " (the default: " : " (", kind->words(), ')');
        }
        return Status::invalid(cat(name.words(column), ": unknown index \"", column.index, "\"; expected ", known));
    }
    out = &kind_of(column);
    if (column.index.empty()) {
        for (const IndexKind* kind : index_kinds()) {
            out = kind->is_declared(column) ? kind : out;
        }
        // Under metrics that no kind serves by factory, every row is measured.
        Column plain = column;
        plain.type = ElementType::float32;
        plain.metric = Metric::l2;
        const auto knows = [&](const IndexKind* kind) { return kind->is_declared(plain); };
        if (is_asked && !column.factory.empty() && std::none_of(index_kinds().begin(), index_kinds().end(), knows)) {
            return {Code::unsupported, cat(name.words(column), ": factory \"", column.factory,
                                           "\" needs Faiss, which this build of vss0 has not")};
        }
    }
    return Status::ok();
}

}  // namespace

bool Table::is_shadow_name(std::string_view suffix) {
    if (std::find(fixed_suffixes.begin(), fixed_suffixes.end(), suffix) != fixed_suffixes.end()) {
        return true;
    }
    const std::size_t digits = suffix.find_first_of("0123456789");
    if (digits == std::string_view::npos || suffix.find_first_not_of("0123456789", digits) != std::string_view::npos) {
        return false;
    }
    const std::string first = cat(suffix.substr(0, digits), 0);
    const std::vector<std::string> known = numbered_suffixes(0);
    return std::find(known.begin(), known.end(), first) != known.end();
}

// --- the table's life ------------------------------------------------------------------------------------------------

Status Table::create(bool is_asked) {
    int format = 0;
    for (std::size_t c = 0; c < schema_.vectors().size(); ++c) {
        const IndexKind* kind = nullptr;
        VSS_TRY(kind_of_new(name_, schema_.vector(c), is_asked, kind));
        VSS_TRY(kind->check_new(schema_.vector(c), name_.words(schema_.vector(c))));
        if (kind->is_declared(schema_.vector(c))) {
            schema_.set_index(c, kind->name());
        }
        kinds_.push_back(kind);
        format = std::max(format, kind->format());
    }
    std::size_t page = 0;
    VSS_TRY(page_size(name_, page));
    std::string rows = cat("create table ", name_.shadow("rows"), "(_rowid integer primary key");
    for (std::size_t c = 0; c < schema_.vectors().size(); ++c) {
        rows += cat(", _slot", c, " integer");
    }
    for (std::size_t v = 0; v < schema_.values().size(); ++v) {
        const Column& column = schema_.value(v);
        rows += cat(", ", quote_identifier(column.name), ' ', column.declared_type,
                    column.kind == ColumnKind::key ? " not null unique" : "");
    }
    VSS_TRY(execute(name_.db, rows + ')'));
    for (std::size_t v = 0; v < schema_.values().size(); ++v) {
        if (schema_.value(v).indexed) {
            // An index keeps its name when its table is renamed, so the name must not be one that a new table of the
            // old name would want.
            VSS_TRY(execute(name_.db, cat("create index ", name_.shadow(cat("rows_by_", random_version())), " on ",
                                          quote_identifier(name_.table + "_rows"), '(',
                                          quote_identifier(schema_.value(v).name), ')')));
        }
    }
    VSS_TRY(ConfigWriter::create_table(name_));
    ConfigWriter config(name_);
    VSS_TRY(config.put(config_keys::columns, describe(schema_)));
    VSS_TRY(config.put(config_keys::format, std::int64_t{format}));
    for (std::size_t c = 0; c < schema_.vectors().size(); ++c) {
        const Geometry geometry = Geometry::choose(schema_.vector(c).bytes(), page);
        VSS_TRY(VectorStore::create_tables(name_, c));
        VSS_TRY(kinds_[c]->create_tables(name_, c, false));
        VSS_TRY(config.put(config_keys::name, c, schema_.vector(c).name));
        VSS_TRY(config.put(config_keys::block_slots, c, static_cast<std::int64_t>(geometry.block_slots)));
        VSS_TRY(config.put(config_keys::segment_slots, c, static_cast<std::int64_t>(geometry.segment_slots)));
        VSS_TRY(kinds_[c]->write_settings(config, c));
    }
    return Status::ok();
}

Status Table::open() {
    // An older object of this table, which SQLite let go of but which has a share in the transaction, may have gathered
    // something: this one reads the tables only.
    if (const std::shared_ptr<OpenTables> others = others_.lock(); others != nullptr) {
        VSS_TRY(others->flush_others(*this));
    }
    bool is_old = false;
    VSS_TRY(OldFile::is_there(declared_, is_old));
    if (is_old) {
        return open_old();
    }
    if (image_ != nullptr) {
        close_old();
    }
    VSS_TRY(check_own_tables());
    VSS_TRY(read_config());
    is_ready_ = true;
    return Status::ok();
}

std::vector<std::string> Table::possible_suffixes() const {
    std::vector<std::string> suffixes(fixed_suffixes.begin(), fixed_suffixes.end());
    for (std::size_t c = 0; c < schema_.vectors().size(); ++c) {
        for (std::string& suffix : numbered_suffixes(c)) {
            suffixes.push_back(std::move(suffix));
        }
    }
    if (has_old_tables_) {
        suffixes.insert(suffixes.end(), OldFile::suffixes().begin(), OldFile::suffixes().end());
    }
    return suffixes;
}

Status Table::find_own_tables(std::vector<std::string>& suffixes) const {
    suffixes.clear();
    Statement statement;
    VSS_TRY(statement.prepare(name_.db,
                              cat("select 1 from ", quote_identifier(name_.schema),
                                  ".sqlite_master where type = 'table' and name = ? collate nocase"),
                              false));
    for (std::string& suffix : possible_suffixes()) {
        const ResetAtEnd guard(statement);
        const std::string table = cat(name_.table, '_', suffix);
        statement.bind_text(1, table);
        bool row = false;
        VSS_TRY(statement.step(row));
        if (row) {
            suffixes.push_back(std::move(suffix));
        }
    }
    return Status::ok();
}

// The table's own tables must be tables. (A file is not trusted: a view among them could read anything, this table
// included.) What triggers they have is remembered.
Status Table::check_own_tables() {
    std::string names;
    for (const std::string& suffix : possible_suffixes()) {
        names += cat(names.empty() ? "" : ", ", quote_literal(cat(name_.table, '_', suffix)));
    }
    const std::string master = cat(quote_identifier(name_.schema), ".sqlite_master");
    Statement statement;
    VSS_TRY(statement.prepare(
        name_.db,
        cat("select type, name, tbl_name from ", master, " where tbl_name collate nocase in (", names,
            ") and (type in ('view', 'trigger') or (type = 'table' and sql like 'create virtual table%'))"),
        false));
    const ResetAtEnd guard(statement);
    std::string trigger;
    for (bool row = true;;) {
        VSS_TRY(statement.step(row));
        if (!row) {
            break;
        }
        if (statement.text(0) != "trigger") {
            return Status::corrupt(cat(name_.words(), ": ", statement.text(1),
                                       " should be one of its own tables and is a ",
                                       statement.text(0) == "view" ? "view" : "virtual table"));
        }
        trigger = cat("\"", statement.text(1), "\" on ", statement.text(2));
    }
    trigger_ = std::move(trigger);
    return Status::ok();
}

Status Table::refuse_triggers() {
    VSS_TRY(schema_version_.prepare(name_.db, cat("pragma ", quote_identifier(name_.schema), ".schema_version")));
    std::int64_t version = -1;
    {
        const ResetAtEnd guard(schema_version_);
        bool row = false;
        VSS_TRY(schema_version_.step(row));
        version = row ? schema_version_.int64(0) : -1;
    }
    if (version != checked_schema_) {
        VSS_TRY(check_own_tables());
        checked_schema_ = version;
    }
    return trigger_.empty() ? Status::ok()
                            : Status::invalid(cat(name_.words(), ": the trigger ", trigger_,
                                                  " would change what the table keeps there; drop it, or put it on a "
                                                  "table of your own"));
}

Status Table::leads_back() const {
    return Status::corrupt(
        cat(name_.words(), ": a view or a trigger among its own tables leads back to it; drop that"));
}

Status Table::read_config() {
    TableConfig config;
    VSS_TRY(config.read(name_));
    const std::int64_t format = config.number(config_keys::format);
    if (format > format_version) {
        return {Code::unsupported, cat(name_.words(), ": written by a newer version (format ", format,
                                       "; this one reads up to ", format_version, "); please upgrade vss0")};
    }
    if (format < 1) {
        return Status::corrupt(cat(name_.words(), ": ", name_.table, "_config names no format"));
    }
    std::vector<std::unique_ptr<VectorStore>> stores;
    std::vector<const IndexKind*> kinds;
    std::vector<std::unique_ptr<ColumnIndex>> indexes;
    for (std::size_t c = 0; c < schema_.vectors().size(); ++c) {
        Geometry geometry;
        geometry.vector_bytes = schema_.vector(c).bytes();
        geometry.slot_bytes = Geometry::choose(geometry.vector_bytes, 4096).slot_bytes;
        geometry.block_slots = static_cast<std::size_t>(config.number(config_keys::block_slots, c));
        geometry.segment_slots = static_cast<std::size_t>(config.number(config_keys::segment_slots, c));
        if (!geometry.is_valid()) {
            return Status::corrupt(cat(name_.words(schema_.vector(c)), ": ", name_.table,
                                       "_config does not say how its vectors are laid out"));
        }
        // What the config says of the index goes before the declaration.
        if (const std::string index = config.text(config_keys::index, c); !index.empty()) {
            schema_.set_index(c, index);
        } else if (const std::int64_t flat = config.number(config_keys::flat, c); flat >= 0) {
            schema_.set_index(c, flat == 0 ? "cells" : "flat");  // of format 2
        }
        const Column& column = schema_.vector(c);
        stores.push_back(std::make_unique<VectorStore>(name_, column, c, geometry));
        kinds.push_back(&kind_of(column));
        indexes.push_back(kinds[c]->make({name_, *stores[c], c, config}));
    }
    format_ = static_cast<int>(format);
    has_old_tables_ = config.number(config_keys::old_tables) > 0;
    indexes_ = std::move(indexes);
    kinds_ = std::move(kinds);
    stores_ = std::move(stores);
    return Status::ok();
}

Status Table::destroy() {
    bool is_old = false;
    VSS_TRY(OldFile::is_there(declared_, is_old));
    if (is_old) {
        close_old();
        for (const std::string_view suffix : OldFile::suffixes()) {
            VSS_TRY(execute(name_.db, cat("drop table if exists ", name_.shadow(suffix))));
        }
        return Status::ok();
    }
    // What a newer version wrote may have other tables, too; all else can be dropped, readable or not.
    if (Status status = ready(); status.code() == Code::unsupported) {
        return status;
    }
    discard();
    for (const std::string& suffix : possible_suffixes()) {
        VSS_TRY(execute(name_.db, cat("drop table if exists ", name_.shadow(suffix))));
    }
    return Status::ok();
}

Status Table::rename(const std::string& new_name) {
    VSS_TRY(ready_to_write());
    VSS_TRY(flush());
    std::vector<std::string> suffixes;
    VSS_TRY(find_own_tables(suffixes));
    for (const std::string& suffix : suffixes) {
        VSS_TRY(execute(name_.db, cat("alter table ", name_.shadow(suffix), " rename to ",
                                      quote_identifier(cat(new_name, '_', suffix)))));
    }
    name_.table = new_name;
    declared_.table = new_name;
    discard();
    select_slots_.finalize();
    select_key_.finalize();
    insert_row_.finalize();
    delete_row_.finalize();
    updates_.clear();
    is_ready_ = false;
    return ready();
}

Status Table::flush() {
    const KeepLastRowid keep(name_.db);
    for (std::size_t c = 0; c < stores_.size(); ++c) {
        VSS_TRY(stores_[c]->flush());
        if (!indexes_[c]->is_dirty()) {
            continue;
        }
        if (format_ < kinds_[c]->format()) {
            // What is written from here on an older version could not read; it must say so in words.
            VSS_TRY(ConfigWriter(name_).raise_format(kinds_[c]->format()));
        }
        VSS_TRY(indexes_[c]->flush());
    }
    return Status::ok();
}

Status Table::savepoint() {
    VSS_TRY(flush());
    for (auto& store : stores_) {
        store->mark_savepoint();
    }
    return Status::ok();
}

void Table::discard() {
    for (auto& store : stores_) {
        store->discard();
    }
    for (auto& index : indexes_) {
        index->discard();
    }
    if (std::exchange(was_upgraded_, false)) {
        is_ready_ = false;  // a rollback may have undone it
    }
    if (readers_ == 0) {
        spent_images_.clear();
    }
}

void Table::discard_after_work() {
    if (at_work_ > 0) {
        discards_after_work_ = true;
    } else {
        discard();
    }
}

Table::Work::~Work() {
    if (--table_.at_work_ == 0 && std::exchange(table_.discards_after_work_, false)) {
        table_.discard();
    }
}

std::string Table::select_rows() const {
    std::string sql = "select _rowid";
    for (std::size_t c = 0; c < schema_.vectors().size(); ++c) {
        sql += cat(", _slot", c);
    }
    for (std::size_t v = 0; v < schema_.values().size(); ++v) {
        sql += cat(", ", quote_identifier(schema_.value(v).name));
    }
    return cat(sql, " from ", name_.shadow("rows"));
}

}  // namespace vss
