#include "storage/progress.h"

#include <utility>

namespace vss {
namespace {

constexpr std::chrono::milliseconds between{100};

}  // namespace

Progress::Progress(const TableName& name, std::string column) : name_(name), column_(std::move(column)) {
    // Without such a function it cannot be prepared, and nobody hears of progress.
    static_cast<void>(call_.prepare(name.db, "select vss_progress(?, ?, ?, ?, ?)", false));
}

Status Progress::tell(std::string_view stage, std::uint64_t done, std::uint64_t total) {
    if (!call_.is_prepared()) {
        return Status::ok();
    }
    const auto now = std::chrono::steady_clock::now();
    if (stage == stage_ && (done != total || total == 0) && now - called_at_ < between) {
        return Status::ok();
    }
    stage_ = stage;
    called_at_ = now;
    call_.bind_text(1, name_.table);
    call_.bind_text(2, column_);
    call_.bind_text(3, stage_);
    call_.bind(4, static_cast<std::int64_t>(done));
    call_.bind(5, static_cast<std::int64_t>(total));
    return call_.run();
}

}  // namespace vss
