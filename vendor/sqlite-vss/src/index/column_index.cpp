#include "index/column_index.h"

#include <algorithm>

#include "base/text.h"

namespace vss {

Status ColumnIndex::inserted(std::uint64_t /*slot*/) {
    return Status::ok();
}

Status ColumnIndex::removing(std::uint64_t /*slot*/) {
    return Status::ok();
}

Status ColumnIndex::rows_changed() {
    return Status::ok();
}

Status ColumnIndex::flush() {
    return Status::ok();
}

Status ColumnIndex::check_settings(const SearchSettings& settings) {
    return settings.empty() ? Status::ok()
                            : Status::invalid(cat("its index has none, and was given ", settings.front().name,
                                                  "; a column of factory= has those of its Faiss index"));
}

Status ColumnIndex::check(const Report& /*report*/) {
    return Status::ok();
}

Status ColumnIndex::restart(const Report& /*report*/) {
    return Status::ok();
}

Status ColumnIndex::train() {
    return Status::ok();
}

Status ColumnIndex::export_bytes(std::string& /*out*/) {
    return Status::invalid("its index has no form of its own that other programs read");
}

Status ColumnIndex::rebuild() {
    return Status::ok();
}

Status ColumnIndex::relearn() {
    return Status::ok();
}

Status ColumnIndex::optimize(OptimizeStep& step) {
    step.is_done = true;
    return Status::ok();
}

Status ColumnIndex::parts(std::uint64_t& out) {
    out = 0;
    return Status::ok();
}

Status check_settings(ColumnIndex& index, std::string_view words, bool recall_is_asked, SearchRequest& request) {
    // For what the settings do not say: as near to brute force as is learned.
    constexpr double most_recall = 0.995;
    if (request.settings.empty()) {
        return Status::ok();
    }
    if (const Status status = index.check_settings(request.settings); !status.is_ok()) {
        return status.code() == Code::invalid ? Status::invalid(cat(words, ", search settings: ", status.message()))
                                              : status;
    }
    if (request.recall >= 1 && recall_is_asked) {
        return Status::invalid(cat(words, ", search settings: recall 1 looks at every row, so that ",
                                   request.settings.front().name, " has nothing to say"));
    }
    request.recall = std::min(request.recall, most_recall);
    return Status::ok();
}

bool IndexKind::is_declared(const Column& /*column*/) const {
    return false;
}

Status IndexKind::check_new(const Column& /*column*/, const std::string& /*words*/) const {
    return Status::ok();
}

Status IndexKind::forget(const TableName& /*name*/, std::size_t /*c*/) const {
    return Status::ok();
}

Status IndexKind::write_settings(ConfigWriter& /*config*/, std::size_t /*c*/) const {
    return Status::ok();
}

const IndexKind* find_kind(std::string_view name) {
    for (const IndexKind* kind : index_kinds()) {
        if (equal_ignoring_case(kind->name(), name)) {
            return kind;
        }
    }
    return nullptr;
}

std::string kind_names() {
    std::string names;
    for (const IndexKind* kind : index_kinds()) {
        names += cat(names.empty() ? "" : kind == index_kinds().back() ? " or " : ", ", kind->name());
    }
    return names;
}

const IndexKind& kind_of(const Column& column) {
    const IndexKind* named = column.index.empty() ? index_kinds().front() : find_kind(column.index);
    // The last one takes all.
    return named != nullptr && named->supports(column) ? *named : *index_kinds().back();
}

}  // namespace vss
