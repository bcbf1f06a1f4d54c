// Table: what sqlite-vss 0.1.2 wrote. Its tables are read as they are, and become this version's by the first write.
//
// Reading: the rows are put into a database of the table's own, in memory or a temporary file, laid out as ever, and
// all that reads looks there (name_). It is made again when another connection has committed something to the file.
//
// Writing: upgrade() creates this version's tables in the file, inside the writer's transaction, fills them from that
// database, and compares. Slots get the same numbers, so that cursors that are open go on. The two old tables are
// emptied; a statement that writes cannot drop them, so they are dropped with the table, or by vss_upgrade.
#include <algorithm>

#include "base/random.h"
#include "base/text.h"
#include "sqlite/table.h"

namespace vss {
namespace {

// Rows between two looks at whether somebody interrupts, and between two reports of progress.
constexpr std::uint64_t rows_between = 1024;

Status data_version(const TableName& name, std::int64_t& out) {
    Statement statement;
    VSS_TRY(statement.prepare(name.db, cat("pragma ", quote_identifier(name.schema), ".data_version"), false));
    const ResetAtEnd guard(statement);
    bool row = false;
    VSS_TRY(statement.step(row));
    out = row ? statement.int64(0) : 0;
    return Status::ok();
}

}  // namespace

OldImage::~OldImage() {
    sqlite3_close_v2(db_);  // statements of cursors may still be there
}

Status OldImage::open(const TableName& declared) {
    const int rc =
        sqlite3_open_v2(":memory:", &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MEMORY, nullptr);
    if (rc != SQLITE_OK) {
        return sqlite_error(db_, rc, declared.words());
    }
    // The name is in every statement's text, so that no statement of another image is taken for one of this.
    name = {db_, cat("image ", random_version()), declared.table, {}};
    name.database = name.schema;
    VSS_TRY(execute(db_, cat("attach '' as ", quote_identifier(name.schema))));
    VSS_TRY(execute(db_, cat("pragma ", quote_identifier(name.schema), ".journal_mode = off")));
    return execute(db_, cat("pragma ", quote_identifier(name.schema), ".synchronous = off"));
}

void Table::lay_out_in(const TableName& name) {
    discard();
    select_slots_.finalize();
    select_key_.finalize();
    insert_row_.finalize();
    delete_row_.finalize();
    schema_version_.finalize();
    checked_schema_ = -1;
    updates_.clear();
    indexes_.clear();
    kinds_.clear();
    stores_.clear();
    name_ = name;
    is_ready_ = false;
}

Status Table::open_old() {
    std::int64_t version = 0;
    VSS_TRY(data_version(declared_, version));
    if (is_ready_ && image_ != nullptr && image_->version == version) {
        return Status::ok();
    }
    OldFile file(declared_, schema_);
    VSS_TRY(file.open());
    auto image = std::make_unique<OldImage>();
    VSS_TRY(image->open(declared_));
    image->version = version;
    if (declared_indexes_.empty()) {
        for (std::size_t c = 0; c < schema_.vectors().size(); ++c) {
            declared_indexes_.push_back(schema_.vector(c).index);
        }
    }
    for (std::size_t c = 0; c < schema_.vectors().size(); ++c) {
        schema_.set_index(c, "flat");
    }
    lay_out_in(image->name);
    image_ = std::move(image);
    Status status = fill_image(file);
    if (!status.is_ok()) {
        close_old();
    }
    return status;
}

Status Table::fill_image(OldFile& file) {
    VSS_TRY(create(false));
    VSS_TRY(read_config());
    VSS_TRY(execute(name_.db, "begin"));
    std::vector<NewVector> vectors(schema_.vectors().size());
    std::uint64_t count = 0;
    VSS_TRY(file.read([&](std::int64_t rowid, std::span<const std::span<const float>> found) {
        for (std::size_t c = 0; c < vectors.size(); ++c) {
            vectors[c].given = true;
            vectors[c].is_null = found[c].empty();
            vectors[c].bytes = std::as_bytes(found[c]);
        }
        if (count++ % rows_between == 0) {
            VSS_TRY(execute(declared_.db, "select 1"));  // interrupted?
        }
        bool exists = false;
        std::int64_t written = 0;
        VSS_TRY(insert_row(rowid, {}, vectors, exists, written));
        return exists ? Status::corrupt(cat(name_.words(), ": row ", rowid, " is there twice")) : Status::ok();
    }));
    VSS_TRY(flush());
    VSS_TRY(execute(name_.db, "commit"));
    image_->columns = file.columns();
    image_->rows = file.rows();
    is_ready_ = true;
    return Status::ok();
}

void Table::close_old() {
    for (std::size_t c = 0; c < declared_indexes_.size(); ++c) {
        schema_.set_index(c, declared_indexes_[c]);
    }
    lay_out_in(declared_);
    if (image_ != nullptr) {
        spent_images_.push_back(std::move(image_));
    }
}

Status Table::upgrade(const Progress& progress) {
    VSS_TRY(ready());
    if (image_ == nullptr) {
        return Status::ok();
    }
    std::vector<std::unique_ptr<VectorStore>> from;
    for (std::size_t c = 0; c < stores_.size(); ++c) {
        from.push_back(std::make_unique<VectorStore>(image_->name, schema_.vector(c), c, stores_[c]->geometry()));
    }
    close_old();
    OldImage& image = *spent_images_.back();
    std::vector<std::string> there;
    VSS_TRY(find_own_tables(there));
    if (!there.empty()) {
        return Status::invalid(cat(name_.words(),
                                   ": sqlite-vss wrote it, and it cannot be upgraded: there is already a table \"",
                                   name_.table, '_', there.front(), '"'));
    }
    has_old_tables_ = true;
    VSS_TRY(check_own_tables());
    if (!trigger_.empty()) {
        return refuse_triggers();
    }
    VSS_TRY(create(false));
    VSS_TRY(ConfigWriter(name_).put(config_keys::old_tables, std::int64_t{1}));
    VSS_TRY(read_config());
    is_ready_ = true;
    was_upgraded_ = true;
    Status status = copy_image(image, from, progress);
    if (status.is_ok()) {
        return OldFile::clear(name_);
    }
    is_ready_ = false;
    return status;
}

// Every row twice: written, and, when all are written, compared.
Status Table::copy_image(OldImage& image, const std::vector<std::unique_ptr<VectorStore>>& from,
                         const Progress& progress) {
    std::string columns = "_rowid";
    for (std::size_t c = 0; c < from.size(); ++c) {
        columns += cat(", _slot", c);
    }
    Statement rows;
    VSS_TRY(rows.prepare(image.name.db,
                         cat("select ", columns, " from ", image.name.shadow("rows"), " order by _rowid"), false));
    std::vector<NewVector> vectors(from.size());
    std::vector<std::byte> stored;
    const auto each = [&](std::uint64_t before, auto body) {
        const ResetAtEnd guard(rows);
        for (std::uint64_t count = 0;; ++count) {
            bool row = false;
            VSS_TRY(rows.step(row));
            if (!row) {
                return count == image.rows ? Status::ok()
                                           : Status(Code::internal, cat(name_.words(), ": rows went missing"));
            }
            for (std::size_t c = 0; c < from.size(); ++c) {
                const int position = static_cast<int>(c) + 1;
                vectors[c].given = true;
                vectors[c].is_null = rows.is_null(position);
                vectors[c].storage.resize(schema_.vector(c).bytes());
                vectors[c].bytes = vectors[c].storage;
                if (!vectors[c].is_null) {
                    VSS_TRY(from[c]->read(static_cast<std::uint64_t>(rows.int64(position)), rows.int64(0),
                                          vectors[c].storage));
                }
            }
            VSS_TRY(body(rows.int64(0)));
            if (count % rows_between == 0) {
                VSS_TRY(execute(name_.db, "select 1"));  // interrupted?
                VSS_TRY(progress ? progress(before + count, 2 * image.rows) : Status::ok());
            }
        }
    };
    VSS_TRY(each(0, [&](std::int64_t rowid) {
        bool exists = false;
        std::int64_t written = 0;
        return insert_row(rowid, {}, vectors, exists, written);
    }));
    VSS_TRY(flush());
    VSS_TRY(each(image.rows, [&](std::int64_t rowid) {
        bool found = false;
        Slots slots;
        VSS_TRY(read_slots(rowid, found, slots));
        bool same = found;
        for (std::size_t c = 0; same && c < from.size(); ++c) {
            same = slots[c].has_value() != vectors[c].is_null;
            if (same && slots[c]) {
                stored.resize(vectors[c].bytes.size());
                VSS_TRY(stores_[c]->read(*slots[c], rowid, stored));
                same = std::equal(stored.begin(), stored.end(), vectors[c].bytes.begin());
            }
        }
        return same ? Status::ok()
                    : Status(Code::internal, cat(name_.words(), ": row ", rowid, " did not arrive as it was"));
    }));
    return progress ? progress(2 * image.rows, 2 * image.rows) : Status::ok();
}

Status Table::drop_old_tables() {
    VSS_TRY(ready());
    if (!has_old_tables_) {
        return Status::ok();
    }
    for (const std::string_view suffix : OldFile::suffixes()) {
        VSS_TRY(execute(name_.db, cat("drop table if exists ", name_.shadow(suffix))));
    }
    VSS_TRY(ConfigWriter(name_).remove(config_keys::old_tables));
    has_old_tables_ = false;
    return Status::ok();
}

}  // namespace vss
