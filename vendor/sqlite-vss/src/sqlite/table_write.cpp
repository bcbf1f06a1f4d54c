// Table: what INSERT, UPDATE and DELETE do to its rows.
#include <algorithm>
#include <optional>
#include <utility>

#include "base/text.h"
#include "sqlite/functions/functions.h"
#include "sqlite/registry.h"
#include "sqlite/table.h"
#include "sqlite/vector_column.h"

namespace vss {
namespace {

bool is_unchanged(sqlite3_value* value) {
    return sqlite3_value_nochange(value) != 0;
}

}  // namespace

Status Table::duplicate(std::int64_t rowid) const {
    return {Code::constraint,
            cat(name_.words(), ": row ", rowid, " exists already; use insert or replace, or update, to change it")};
}

Status Table::duplicate_key(sqlite3_value* key) const {
    const std::string shown = sqlite3_value_type(key) == SQLITE_BLOB
                                  ? cat("a blob of ", sqlite3_value_bytes(key), " bytes")
                                  : cat('"', text_of(key).substr(0, 100), '"');
    return {Code::constraint,
            cat(name_.words(), ": a row with ", schema_.value(*schema_.key()).name, " = ", shown,
                " exists already; use insert or replace, or update, to change it"),
            SQLITE_CONSTRAINT_UNIQUE};
}

Status Table::read_rowid(sqlite3_value* rowid, std::span<sqlite3_value*> values,
                         std::optional<std::int64_t>& out) const {
    out.reset();
    const std::string& name = schema_.rowid_column() ? schema_.column(*schema_.rowid_column()).name : "rowid";
    const auto read = [&](sqlite3_value* value) {
        const int type = sqlite3_value_numeric_type(value);
        const double number = sqlite3_value_double(value);
        const bool is_whole = type == SQLITE_FLOAT && number >= -9.0e18 && number <= 9.0e18 &&
                              number == static_cast<double>(sqlite3_value_int64(value));
        if (type != SQLITE_INTEGER && !is_whole) {
            return Status::invalid(cat(name_.words(), ": expected an integer as ", name, ", got ", type_words(value)));
        }
        const std::int64_t given = sqlite3_value_int64(value);
        if (out && *out != given) {
            return Status::invalid(cat(name_.words(), ": ", name, " is the rowid; got both ", given, " and ", *out));
        }
        out = given;
        return Status::ok();
    };
    if (sqlite3_value_type(rowid) != SQLITE_NULL) {
        VSS_TRY(read(rowid));
    }
    if (schema_.rowid_column()) {
        sqlite3_value* value = values[*schema_.rowid_column()];
        if (!is_unchanged(value) && sqlite3_value_type(value) != SQLITE_NULL) {
            VSS_TRY(read(value));
        }
    }
    return Status::ok();
}

Status Table::find_key(std::span<sqlite3_value*> values, sqlite3_value*& key, std::optional<std::int64_t>& holder) {
    key = nullptr;
    holder.reset();
    if (!schema_.key()) {
        return Status::ok();
    }
    const Column& column = schema_.value(*schema_.key());
    sqlite3_value* value = values[schema_.values()[*schema_.key()]];
    if (is_unchanged(value)) {
        return Status::ok();
    }
    if (sqlite3_value_type(value) == SQLITE_NULL) {
        return {Code::constraint, cat(name_.words(), ": expected a value for the key ", column.name, ", got null"),
                SQLITE_CONSTRAINT_NOTNULL};
    }
    key = value;
    if (!select_key_.is_prepared()) {
        VSS_TRY(select_key_.prepare(name_.db, cat("select _rowid from ", name_.shadow("rows"), " where ",
                                                  quote_identifier(column.name), " = ?")));
    }
    const ResetAtEnd guard(select_key_);
    select_key_.bind_value(1, value);
    bool found = false;
    VSS_TRY(select_key_.step(found));
    if (found) {
        holder = select_key_.int64(0);
    }
    return Status::ok();
}

// What a search or an insert takes or returns is no value of a row. (Unchanged columns of an UPDATE come marked, but
// for an UPDATE FROM in older versions of SQLite, which hands the search's own values as if they had been set.)
Status Table::refuse_hidden_columns(std::span<sqlite3_value*> values, bool is_update) const {
    const auto value = [&](int column) { return values[static_cast<std::size_t>(column)]; };
    const auto hidden = {schema_.distance_column(), schema_.k_column(), schema_.recall_column(),
                         schema_.operation_column()};
    if (is_update && std::none_of(hidden.begin(), hidden.end(), [&](int c) { return is_unchanged(value(c)); })) {
        return Status::ok();
    }
    const auto is_given = [&](int column) {
        return !is_unchanged(value(column)) && sqlite3_value_type(value(column)) != SQLITE_NULL;
    };
    for (const auto& [column, name] : {std::pair{schema_.k_column(), "k"}, {schema_.recall_column(), "recall"}}) {
        if (is_given(column)) {
            return Status::invalid(
                cat(name_.words(), ": ", name, " belongs into the where clause of a search; rows do not have it"));
        }
    }
    if (is_given(schema_.distance_column())) {
        return Status::invalid(
            cat(name_.words(), ": distance is what a search returns for a row; it can be read, not written"));
    }
    if (is_update && is_given(schema_.operation_column())) {
        return Status::invalid(
            cat(name_.words(), ": operation says what an insert is to do; an update has no use for it"));
    }
    return Status::ok();
}

// A constraint of a metadata column (not null, check, unique) speaks of t_rows; say which table it is about.
Status Table::in_words(const Status& status) const {
    return status.code() == Code::constraint
               ? Status(Code::constraint, cat(name_.words(), ": ", status.message()), status.extended_code())
               : status;
}

Status Table::read_new_vectors(std::span<sqlite3_value*> values, std::vector<NewVector>& out) const {
    out.resize(schema_.vectors().size());
    for (std::size_t c = 0; c < out.size(); ++c) {
        sqlite3_value* value = values[schema_.vectors()[c]];
        NewVector& vector = out[c];
        vector.given = !is_unchanged(value);
        vector.is_null = sqlite3_value_type(value) == SQLITE_NULL;
        if (vector.given && !vector.is_null) {
            const Column& column = schema_.vector(c);
            VSS_TRY(read_vector(value, column, name_.words(column), vector.storage, vector.bytes));
        }
    }
    return Status::ok();
}

Status Table::read_slots(std::int64_t rowid, bool& found, Slots& out) {
    if (!select_slots_.is_prepared()) {
        VSS_TRY(select_slots_.prepare(name_.db, select_rows() + " where _rowid = ?"));
    }
    const ResetAtEnd guard(select_slots_);
    select_slots_.bind(1, rowid);
    VSS_TRY(select_slots_.step(found));
    out.assign(schema_.vectors().size(), std::nullopt);
    for (std::size_t c = 0; found && c < out.size(); ++c) {
        const int position = slot_position(c);
        if (select_slots_.is_null(position)) {
            continue;
        }
        const std::int64_t slot = select_slots_.int64(position);
        if (select_slots_.type(position) != SQLITE_INTEGER || slot < 0 ||
            static_cast<std::uint64_t>(slot) > max_slots) {
            return Status::corrupt(cat(name_.words(schema_.vector(c)), ": row ", rowid, " names slot ", slot));
        }
        out[c] = static_cast<std::uint64_t>(slot);
    }
    return Status::ok();
}

// Slots for the given vectors; where a column has a slot already, of row `owner`, it is used again.
Status Table::allocate(std::optional<std::int64_t> owner, const std::vector<NewVector>& vectors, Slots& slots) {
    const Slots before = slots;
    for (std::size_t c = 0; c < vectors.size(); ++c) {
        Status status = Status::ok();
        if (vectors[c].given && !vectors[c].is_null && !slots[c]) {
            std::uint64_t slot = 0;
            status = stores_[c]->allocate(slot);
            if (status.is_ok()) {
                slots[c] = slot;
            }
        }
        if (status.is_ok() && slots[c]) {
            status = stores_[c]->reserve(*slots[c], before[c] ? owner : std::nullopt);
        }
        if (!status.is_ok()) {
            for (std::size_t i = 0; i <= c; ++i) {
                if (slots[i] && !before[i]) {
                    stores_[i]->give_back(*slots[i]);
                }
            }
            return status;
        }
    }
    return Status::ok();
}

void Table::give_back(const std::vector<NewVector>& vectors, const Slots& slots) {
    for (std::size_t c = 0; c < vectors.size(); ++c) {
        if (slots[c]) {
            stores_[c]->give_back(*slots[c]);
        }
    }
}

Status Table::put(std::int64_t rowid, const std::vector<NewVector>& vectors, const Slots& slots,
                  const Slots& old_slots) {
    for (std::size_t c = 0; c < vectors.size(); ++c) {
        if (vectors[c].given && !vectors[c].is_null) {
            if (old_slots[c]) {
                VSS_TRY(indexes_[c]->removing(*old_slots[c]));
            }
            VSS_TRY(stores_[c]->put(*slots[c], rowid, vectors[c].bytes, vectors[c].lease));
            VSS_TRY(indexes_[c]->inserted(*slots[c]));
        }
    }
    return Status::ok();
}

Status Table::insert_row(std::optional<std::int64_t> rowid, std::span<sqlite3_value*> values,
                         const std::vector<NewVector>& vectors, bool& exists, std::int64_t& out) {
    exists = false;
    Slots slots(vectors.size());
    VSS_TRY(allocate(std::nullopt, vectors, slots));
    if (!insert_row_.is_prepared()) {
        std::string names = "_rowid";
        std::string marks = "?";
        for (std::size_t c = 0; c < vectors.size(); ++c) {
            names += cat(", _slot", c);
            marks += ", ?";
        }
        for (std::size_t v = 0; v < schema_.values().size(); ++v) {
            names += cat(", ", quote_identifier(schema_.value(v).name));
            marks += ", ?";
        }
        VSS_TRY(insert_row_.prepare(name_.db,
                                    cat("insert into ", name_.shadow("rows"), '(', names, ") values(", marks, ')')));
    }
    int i = 1;
    rowid ? insert_row_.bind(i, *rowid) : insert_row_.bind_null(i);
    for (const auto& slot : slots) {
        ++i;
        slot ? insert_row_.bind(i, static_cast<std::int64_t>(*slot)) : insert_row_.bind_null(i);
    }
    for (const std::size_t column : schema_.values()) {
        insert_row_.bind_value(++i, values[column]);
    }
    Status status = insert_row_.run();
    if (!status.is_ok()) {
        give_back(vectors, slots);
        exists =
            status.extended_code() == SQLITE_CONSTRAINT_PRIMARYKEY || status.extended_code() == SQLITE_CONSTRAINT_ROWID;
        return exists ? Status::ok() : in_words(status);
    }
    out = rowid.value_or(sqlite3_last_insert_rowid(name_.db));
    return put(out, vectors, slots, Slots(vectors.size()));
}

// `values` may be empty: only vectors change.
Status Table::change_row(std::int64_t old_rowid, std::int64_t new_rowid, std::span<sqlite3_value*> values,
                         const std::vector<NewVector>& vectors, const Slots& old_slots) {
    Slots slots = old_slots;
    VSS_TRY(allocate(old_rowid, vectors, slots));
    const auto undo = [&] {
        for (std::size_t c = 0; c < slots.size(); ++c) {
            if (slots[c] && !old_slots[c]) {
                stores_[c]->give_back(*slots[c]);
            }
        }
    };

    std::string sets;
    const auto set = [&](const std::string& column) { sets += cat(sets.empty() ? "" : ", ", column, " = ?"); };
    if (new_rowid != old_rowid) {
        set("_rowid");
    }
    Slots new_slots = slots;
    for (std::size_t c = 0; c < vectors.size(); ++c) {
        if (vectors[c].given && vectors[c].is_null) {
            new_slots[c].reset();
        }
        if (new_slots[c] != old_slots[c]) {
            set(cat("_slot", c));
        }
    }
    for (const std::size_t column : schema_.values()) {
        if (!values.empty() && !is_unchanged(values[column])) {
            set(quote_identifier(schema_.column(column).name));
        }
    }
    if (!sets.empty()) {
        Statement& statement = updates_[sets];
        Status status =
            statement.prepare(name_.db, cat("update ", name_.shadow("rows"), " set ", sets, " where _rowid = ?"));
        if (status.is_ok()) {
            int i = 0;
            if (new_rowid != old_rowid) {
                statement.bind(++i, new_rowid);
            }
            for (std::size_t c = 0; c < vectors.size(); ++c) {
                if (new_slots[c] != old_slots[c]) {
                    ++i;
                    new_slots[c] ? statement.bind(i, static_cast<std::int64_t>(*new_slots[c])) : statement.bind_null(i);
                }
            }
            for (const std::size_t column : schema_.values()) {
                if (!values.empty() && !is_unchanged(values[column])) {
                    statement.bind_value(++i, values[column]);
                }
            }
            statement.bind(++i, old_rowid);
            status = statement.run();
        }
        if (!status.is_ok()) {
            undo();
            return in_words(status);
        }
    }
    for (std::size_t c = 0; c < vectors.size(); ++c) {
        if (vectors[c].given && vectors[c].is_null && old_slots[c]) {
            VSS_TRY(indexes_[c]->removing(*old_slots[c]));
            VSS_TRY(stores_[c]->release(*old_slots[c], old_rowid));
        } else if (!vectors[c].given && old_slots[c] && new_rowid != old_rowid) {
            VSS_TRY(stores_[c]->rename(*old_slots[c], old_rowid, new_rowid));
            VSS_TRY(indexes_[c]->rows_changed());
        }
    }
    return put(new_rowid, vectors, slots, old_slots);
}

Status Table::remove_row(std::int64_t rowid, const Slots& slots) {
    for (std::size_t c = 0; c < slots.size(); ++c) {
        if (slots[c]) {
            VSS_TRY(stores_[c]->reserve(*slots[c], rowid));
        }
    }
    VSS_TRY(delete_row_.prepare(name_.db, cat("delete from ", name_.shadow("rows"), " where _rowid = ?")));
    delete_row_.bind(1, rowid);
    VSS_TRY(delete_row_.run());
    for (std::size_t c = 0; c < slots.size(); ++c) {
        if (slots[c]) {
            VSS_TRY(indexes_[c]->removing(*slots[c]));
            VSS_TRY(stores_[c]->release(*slots[c], rowid));
        }
    }
    return Status::ok();
}

Status Table::insert(sqlite3_value* rowid, std::span<sqlite3_value*> values, WriteResult& result) {
    const KeepLastRowid keep(declared_.db);
    VSS_TRY(ready_to_write());
    VSS_TRY(refuse_hidden_columns(values, false));
    sqlite3_value* operation = values[static_cast<std::size_t>(schema_.operation_column())];
    if (sqlite3_value_type(operation) != SQLITE_NULL) {
        return run_operation(text_of(operation), rowid, values, result);
    }
    std::vector<NewVector> vectors;
    VSS_TRY(read_new_vectors(values, vectors));
    std::optional<std::int64_t> wanted;
    VSS_TRY(read_rowid(rowid, values, wanted));
    sqlite3_value* key = nullptr;
    std::optional<std::int64_t> holder;
    VSS_TRY(find_key(values, key, holder));
    if (holder) {
        if (sqlite3_vtab_on_conflict(name_.db) != SQLITE_REPLACE) {
            return duplicate_key(key);
        }
        if (!wanted || *wanted == *holder) {
            result.rowid = *holder;
            return replace_row(*holder, values, vectors);
        }
        Slots slots;
        bool found = false;
        VSS_TRY(read_slots(*holder, found, slots));
        VSS_TRY(remove_row(*holder, slots));
    }
    bool exists = false;
    VSS_TRY(insert_row(wanted, values, vectors, exists, result.rowid));
    if (!exists) {
        return Status::ok();
    }
    if (sqlite3_vtab_on_conflict(name_.db) != SQLITE_REPLACE) {
        return duplicate(*wanted);
    }
    result.rowid = *wanted;
    return replace_row(*wanted, values, vectors);
}

// REPLACE: the row is changed in place, as one statement, so that it fails whole or not at all.
Status Table::replace_row(std::int64_t rowid, std::span<sqlite3_value*> values, const std::vector<NewVector>& vectors) {
    Slots slots;
    bool found = false;
    VSS_TRY(read_slots(rowid, found, slots));
    return change_row(rowid, rowid, values, vectors, slots);
}

Status Table::update(sqlite3_value* old_rowid, sqlite3_value* new_rowid, std::span<sqlite3_value*> values) {
    const KeepLastRowid keep(declared_.db);
    VSS_TRY(ready_to_write());
    VSS_TRY(refuse_hidden_columns(values, true));
    const std::int64_t from = sqlite3_value_int64(old_rowid);
    if (sqlite3_value_type(new_rowid) != SQLITE_INTEGER) {
        return Status::invalid(cat(name_.words(), ": expected an integer as the new rowid of row ", from, ", got ",
                                   type_words(new_rowid)));
    }
    std::int64_t to = sqlite3_value_int64(new_rowid);
    if (schema_.rowid_column() && !is_unchanged(values[*schema_.rowid_column()])) {
        sqlite3_value* value = values[*schema_.rowid_column()];
        if (sqlite3_value_type(value) == SQLITE_NULL) {
            return {Code::constraint,
                    cat(name_.words(), ": expected an integer as the new rowid of row ", from, ", got null"),
                    SQLITE_CONSTRAINT_NOTNULL};
        }
        std::optional<std::int64_t> named;
        VSS_TRY(read_rowid(to == from ? value : new_rowid, values, named));
        to = *named;
    }
    std::vector<NewVector> vectors;
    VSS_TRY(read_new_vectors(values, vectors));
    // Every conflict is found before anything is changed.
    sqlite3_value* key = nullptr;
    std::optional<std::int64_t> holder;
    VSS_TRY(find_key(values, key, holder));
    const bool key_taken = holder && *holder != from;
    Slots slots;
    bool found = false;
    if (to != from) {
        VSS_TRY(read_slots(to, found, slots));
    }
    if ((found || key_taken) && sqlite3_vtab_on_conflict(name_.db) != SQLITE_REPLACE) {
        return found ? duplicate(to) : duplicate_key(key);
    }
    if (found) {
        VSS_TRY(remove_row(to, slots));
    }
    if (key_taken && !(found && *holder == to)) {
        VSS_TRY(read_slots(*holder, found, slots));
        VSS_TRY(remove_row(*holder, slots));
    }
    VSS_TRY(read_slots(from, found, slots));
    return found ? change_row(from, to, values, vectors, slots) : Status::ok();
}

Status Table::remove(sqlite3_value* rowid) {
    const KeepLastRowid keep(declared_.db);
    VSS_TRY(ready_to_write());
    Slots slots;
    bool found = false;
    const std::int64_t id = sqlite3_value_int64(rowid);
    VSS_TRY(read_slots(id, found, slots));
    return found ? remove_row(id, slots) : Status::ok();
}

// A search that follows in the same transaction would measure all these rows until the commit, or until a statement of
// several rows begins, for which SQLite sets a savepoint.
Status Table::end_load() {
    const bool due = std::any_of(indexes_.begin(), indexes_.end(), [](const auto& i) { return i->has_bulk_work(); });
    Status status = due ? flush() : Status::ok();
    lender_ = {};
    for (auto& store : stores_) {
        store->forget_lent();
    }
    return status;
}

// Vectors that still lie where the rows of vss_buffer() do.
void Table::note_lent(std::vector<NewVector>& vectors) {
    for (NewVector& vector : vectors) {
        if (vector.given && vector.storage.empty()) {
            if (!lender_.holds(vector.bytes)) {
                lender_ = find_lender(vector.bytes);
            }
            vector.lease = lender_.lease;
        }
    }
}

// insert into t(operation, rowid, a, ...) values('...', ...):
//   add     sets the given vectors where the row has none there yet; else it is a duplicate
//   upsert  sets the given vectors, whatever was there
//   remove  sets the vectors NULL whose column is given (any value), and deletes a row that is left without any
//   add last, upsert last  the same, of the last row of a load: an index does at once what it owes to so many rows
// In a table with a key of its own the key names the row in place of rowid.
//   training  trains the indexes that need it on the rows that are there; they do it by themselves, too, later
Status Table::run_operation(std::string_view operation, sqlite3_value* rowid, std::span<sqlite3_value*> values,
                            WriteResult& result) {
    constexpr std::string_view last = " last";
    if (operation.size() > last.size() && operation.ends_with(last)) {
        VSS_TRY(run_operation(operation.substr(0, operation.size() - last.size()), rowid, values, result));
        return end_load();
    }
    if (equal_ignoring_case(operation, "training")) {
        std::vector<NewVector> vectors;
        result.rowid = 0;
        VSS_TRY(read_new_vectors(values, vectors));
        if (std::any_of(vectors.begin(), vectors.end(), [](const NewVector& vector) { return !vector.is_null; })) {
            return Status::ok();  // sqlite-vss trained on these; here the rows are trained on, when there are enough
        }
        for (auto& index : indexes_) {
            VSS_TRY(index->train());
        }
        return Status::ok();
    }
    const bool add = equal_ignoring_case(operation, "add");
    const bool upsert = equal_ignoring_case(operation, "upsert");
    if (!add && !upsert && !equal_ignoring_case(operation, "remove")) {
        return Status::invalid(
            cat(name_.words(), ": unknown operation \"", operation, "\"; expected add, upsert, remove or training"));
    }
    std::optional<std::int64_t> wanted;
    VSS_TRY(read_rowid(rowid, values, wanted));
    sqlite3_value* key = nullptr;
    std::optional<std::int64_t> holder;
    const bool key_given = schema_.key() && sqlite3_value_type(values[schema_.values()[*schema_.key()]]) != SQLITE_NULL;
    if (key_given || (schema_.key() && !wanted)) {
        VSS_TRY(find_key(values, key, holder));
    }
    if (!wanted && key == nullptr) {
        return Status::invalid(
            cat(name_.words(), ": operation \"", operation, "\" needs an integer rowid, got ", type_words(rowid)));
    }
    if (wanted && holder && *wanted != *holder) {
        return duplicate_key(key);
    }
    wanted = holder ? holder : wanted;
    std::vector<NewVector> vectors(schema_.vectors().size());
    bool exists = true;
    Slots slots;
    if (add || upsert) {
        // Among the many of a load, say which.
        const Status status = read_new_vectors(values, vectors);
        if (!status.is_ok()) {
            const std::string row = key == nullptr ? cat(*wanted) : std::string(text_of(key).substr(0, 100));
            return {status.code(), cat(status.message(), " (row ", row, ')'), status.extended_code()};
        }
        for (NewVector& vector : vectors) {
            vector.given = !vector.is_null;
        }
        note_lent(vectors);
        VSS_TRY(insert_row(wanted, values, vectors, exists, result.rowid));
        if (!exists) {
            return Status::ok();
        }
        result.rowid = *wanted;
        VSS_TRY(read_slots(result.rowid, exists, slots));
        for (std::size_t c = 0; add && c < vectors.size(); ++c) {
            if (vectors[c].given && slots[c]) {
                return key == nullptr ? duplicate(result.rowid) : duplicate_key(key);
            }
        }
        return change_row(result.rowid, result.rowid, {}, vectors, slots);
    }
    result.rowid = wanted.value_or(0);
    exists = false;
    if (wanted) {
        VSS_TRY(read_slots(*wanted, exists, slots));
    }
    if (!exists) {
        return Status::ok();
    }
    bool any_left = false;
    for (std::size_t c = 0; c < vectors.size(); ++c) {
        vectors[c].given = sqlite3_value_type(values[schema_.vectors()[c]]) != SQLITE_NULL;
        any_left |= slots[c] && !vectors[c].given;
    }
    return any_left ? change_row(result.rowid, result.rowid, {}, vectors, slots) : remove_row(result.rowid, slots);
}

}  // namespace vss
