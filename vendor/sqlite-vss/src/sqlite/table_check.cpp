// Table: checking and repairing its own tables, column by column.
#include "base/text.h"
#include "sqlite/table.h"

namespace vss {

// Shadow tables of column c that are not there: dropped, or never made by a version that knew no cells.
Status Table::missing_tables(std::size_t c, std::vector<std::string>& out) const {
    out.clear();
    for (const std::string& suffix : VectorStore::table_suffixes(c)) {
        Statement statement;
        const Status status = statement.prepare(name_.db, cat("select 1 from ", name_.shadow(suffix)), false);
        if (status.extended_code() == SQLITE_ERROR) {
            out.push_back(cat(name_.table, '_', suffix));
        } else {
            VSS_TRY(status);
        }
    }
    return Status::ok();
}

Status Table::check(const Report& report) {
    VSS_TRY(ready());
    VSS_TRY(flush());
    for (std::size_t c = 0; c < stores_.size(); ++c) {
        std::vector<std::string> missing;
        VSS_TRY(missing_tables(c, missing));
        for (const std::string& table : missing) {
            if (!report(cat(name_.words(schema_.vector(c)), ": ", table, " is missing"))) {
                return Status::ok();
            }
        }
        if (missing.empty()) {
            VSS_TRY(stores_[c]->check(report));
            VSS_TRY(check_cells(c, report));
        }
    }
    return Status::ok();
}

Status Table::check_cells(std::size_t c, const Report& report) {
    if (cells_[c] == nullptr) {
        return Status::ok();
    }
    const std::string words = name_.words(schema_.vector(c));
    Status status =
        cells_[c]->index.check([&](const std::string& sentence) { return report(cat(words, ": ", sentence)); });
    if (status.code() == Code::corrupt) {
        report(status.message());
        return Status::ok();
    }
    return status;
}

Status Table::repair(const Report& report) {
    const KeepLastRowid keep(name_.db);
    VSS_TRY(ready());
    std::vector<std::string> missing;
    for (std::size_t c = 0; c < stores_.size(); ++c) {
        std::vector<std::string> here;
        VSS_TRY(missing_tables(c, here));
        missing.insert(missing.end(), here.begin(), here.end());
        for (const std::string& table : here) {
            report(cat(name_.words(schema_.vector(c)), ": ", table, " was missing and was made anew"));
        }
    }
    if (missing.empty()) {
        VSS_TRY(flush());
    } else {
        discard();
    }
    std::vector<bool> mended(stores_.size());
    for (std::size_t c = 0; c < stores_.size(); ++c) {
        VSS_TRY(VectorStore::create_tables(name_, c, true));
        VSS_TRY(CellTables::create_tables(name_, c, true));
        VSS_TRY(stores_[c]->repair([&](const std::string& sentence) {
            mended[c] = true;
            return report(sentence);
        }));
    }
    for (std::size_t c = 0; c < cells_.size(); ++c) {
        if (cells_[c] == nullptr) {
            continue;
        }
        // What is in the cells is derived: where it is wrong, it is made anew from the rows.
        bool is_sound = true;
        cells_[c]->index.discard();
        VSS_TRY(check_cells(c, [&](const std::string& sentence) {
            is_sound = false;
            return report(sentence);
        }));
        if (!is_sound) {
            VSS_TRY(cells_[c]->index.restart());
            report(cat(name_.words(schema_.vector(c)), ": its rows were clustered anew"));
        } else if (mended[c]) {
            VSS_TRY(cells_[c]->index.note_change());
        }
    }
    return Status::ok();
}

}  // namespace vss
