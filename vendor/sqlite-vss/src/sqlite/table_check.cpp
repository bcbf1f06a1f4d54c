// Table: checking and repairing its own tables, column by column.
#include "base/text.h"
#include "sqlite/table.h"

namespace vss {

// Shadow tables of column c that are not there.
Status Table::missing_tables(std::size_t c, std::vector<std::string>& out) const {
    out.clear();
    std::vector<std::string> suffixes = VectorStore::table_suffixes(c);
    for (const std::string_view table : kinds_[c]->tables()) {
        suffixes.push_back(cat(table, c));
    }
    for (const std::string& suffix : suffixes) {
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
            VSS_TRY(check_index(c, report));
        }
    }
    return Status::ok();
}

Status Table::check_index(std::size_t c, const Report& report) {
    const std::string words = name_.words(schema_.vector(c));
    Status status = indexes_[c]->check([&](const std::string& sentence) { return report(cat(words, ": ", sentence)); });
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
            report(cat(name_.words(schema_.vector(c)), ": ", table, " was missing and was rebuilt"));
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
        VSS_TRY(kinds_[c]->create_tables(name_, c, true));
        VSS_TRY(stores_[c]->repair([&](const std::string& sentence) {
            mended[c] = true;
            return report(sentence);
        }));
    }
    for (std::size_t c = 0; c < indexes_.size(); ++c) {
        // An index is derived: where it is wrong, it is rebuilt from the rows.
        bool is_sound = true;
        indexes_[c]->discard();
        VSS_TRY(check_index(c, [&](const std::string& sentence) {
            is_sound = false;
            return report(sentence);
        }));
        if (!is_sound) {
            VSS_TRY(indexes_[c]->restart([&](const std::string& sentence) {
                return report(cat(name_.words(schema_.vector(c)), ": ", sentence));
            }));
        } else if (mended[c]) {
            VSS_TRY(indexes_[c]->rows_changed());
        }
    }
    return Status::ok();
}

}  // namespace vss
