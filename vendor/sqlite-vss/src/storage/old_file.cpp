#include "storage/old_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>

#include "base/text.h"

namespace vss {
namespace {

constexpr std::array<std::string_view, 2> old_suffixes = {"index", "data"};
// What its vectors take as floats, at most: codes of a few bytes can stand for many.
constexpr std::uint64_t most_bytes = std::uint64_t{1} << 36;

// Faiss' numbers.
int number_of(Metric metric) {
    switch (metric) {
        case Metric::inner_product: return 0;
        case Metric::l2: return 1;
        case Metric::l1: return 2;
        case Metric::linf: return 3;
        case Metric::canberra: return 20;
        case Metric::bray_curtis: return 21;
        case Metric::jensen_shannon: return 22;
        default: return -1;
    }
}

}  // namespace

std::span<const std::string_view> OldFile::suffixes() {
    return old_suffixes;
}

Status OldFile::is_there(const TableName& name, bool& out) {
    out = false;
    Statement find;
    VSS_TRY(find.prepare(name.db,
                         cat("select name from ", quote_identifier(name.schema),
                             ".sqlite_master where name collate nocase in (?, ?, ?) and (name = ?3 collate nocase or "
                             "(type = 'table' and sql not like 'create virtual table%'))"),
                         false));
    const ResetAtEnd guard(find);
    const std::string index = name.table + "_index";
    const std::string data = name.table + "_data";
    const std::string config = name.table + "_config";
    find.bind_text(1, index);
    find.bind_text(2, data);
    find.bind_text(3, config);
    std::size_t count = 0;
    for (bool row = true;;) {
        VSS_TRY(find.step(row));
        if (!row) {
            break;
        }
        if (equal_ignoring_case(find.text(0), config)) {
            return Status::ok();
        }
        ++count;
    }
    out = count == old_suffixes.size();
    return Status::ok();
}

Status OldFile::damaged(std::size_t c, std::string_view what) const {
    return Status::corrupt(
        cat(name_.words(schema_.vector(c)), ": ", name_.table, "_index, as sqlite-vss wrote it: ", what));
}

Status OldFile::open_column(std::size_t c, ColumnVectors& out) {
    const Column& column = schema_.vector(c);
    VSS_TRY(out.row.prepare(name_.db, cat("select idx from ", name_.shadow("index"), " where rowid = ", c), false));
    bool row = false;
    VSS_TRY(out.row.step(row));
    if (!row || out.row.type(0) != SQLITE_BLOB) {
        return damaged(c, row ? "expected a blob" : cat("it has no row ", c));
    }
    if (const Status status = read_faiss(out.row.blob(0), out.vectors); !status.is_ok()) {
        return {status.code(), damaged(c, status.message()).message()};
    }
    const StoredVectors& vectors = *out.vectors;
    if (vectors.dim() != column.dim || vectors.metric() != number_of(column.metric)) {
        return damaged(c, cat("expected ", column.dim, " dimensions and Faiss' metric ", number_of(column.metric),
                              ", got ", vectors.dim(), " and ", vectors.metric()));
    }
    if (vectors.size() > most_bytes / (column.dim * sizeof(float))) {
        return {Code::too_big, damaged(c, cat(vectors.size(), " vectors are more than can be read")).message()};
    }
    out.places.reserve(vectors.size());
    for (std::size_t i = 0; i < vectors.size(); ++i) {
        out.places.emplace_back(vectors.ids().empty() ? static_cast<std::int64_t>(i) : vectors.ids()[i],
                                static_cast<std::uint32_t>(i));
    }
    std::sort(out.places.begin(), out.places.end());
    const auto same = std::adjacent_find(out.places.begin(), out.places.end(),
                                         [](const auto& a, const auto& b) { return a.first == b.first; });
    return same == out.places.end() ? Status::ok() : damaged(c, cat("row ", same->first, " is in it twice"));
}

Status OldFile::open() {
    if (!schema_.values().empty() || schema_.rowid_column()) {
        return Status::corrupt(cat(name_.words(), ": sqlite-vss knows no columns but vectors"));
    }
    columns_ = std::vector<ColumnVectors>(schema_.vectors().size());
    summaries_.assign(columns_.size(), {});
    for (std::size_t c = 0; c < columns_.size(); ++c) {
        VSS_TRY(open_column(c, columns_[c]));
        summaries_[c].is_lossy = columns_[c].vectors->is_lossy();
    }
    return Status::ok();
}

Status OldFile::read(const Found& found) {
    Statement rows;
    VSS_TRY(rows.prepare(name_.db, cat("select rowid from ", name_.shadow("data"), " order by rowid"), false));
    const ResetAtEnd guard(rows);
    std::vector<std::size_t> next(columns_.size());  // place of each column
    std::vector<std::vector<float>> kept(columns_.size());
    std::vector<std::span<const float>> vectors(columns_.size());
    rows_ = 0;
    for (bool row = true;;) {
        VSS_TRY(rows.step(row));
        if (!row) {
            break;
        }
        ++rows_;
        const std::int64_t rowid = rows.int64(0);
        for (std::size_t c = 0; c < columns_.size(); ++c) {
            vectors[c] = {};
            const auto& places = columns_[c].places;
            if (next[c] == places.size() || places[next[c]].first != rowid) {
                continue;
            }
            kept[c].resize(schema_.vector(c).dim);
            columns_[c].vectors->read(places[next[c]].second, kept[c].data());
            ++next[c];
            if (std::all_of(kept[c].begin(), kept[c].end(), [](float value) { return std::isfinite(value); })) {
                vectors[c] = kept[c];
                ++summaries_[c].vectors;
            } else {
                ++summaries_[c].not_finite;
            }
        }
        VSS_TRY(found(rowid, vectors));
    }
    for (std::size_t c = 0; c < columns_.size(); ++c) {
        if (next[c] != columns_[c].places.size()) {
            return damaged(c, cat("row ", columns_[c].places[next[c]].first, " is not in ", name_.table, "_data"));
        }
    }
    return Status::ok();
}

Status OldFile::clear(const TableName& name) {
    for (const std::string_view suffix : old_suffixes) {
        VSS_TRY(execute(name.db, cat("delete from ", name.shadow(suffix))));
    }
    return Status::ok();
}

}  // namespace vss
