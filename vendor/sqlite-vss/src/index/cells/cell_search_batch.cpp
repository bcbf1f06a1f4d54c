// CellSearch: many queries at once on several threads.
//
// Only the thread that runs the statement may ask its connection. The others search what the process has in memory,
// each with scratch and views of its own. What must be read from the tables they read by connections of their own,
// where these see the same state; else they hand the query back.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "base/parallel.h"
#include "index/cells/cell_search.h"

namespace vss {

// Queries given out, and those handed back.
class CellSearch::Queue {
  public:
    explicit Queue(std::size_t queries) : queries_(queries) {}

    std::optional<std::size_t> next() {
        const std::size_t query = next_.fetch_add(1);
        return query < queries_ && !stopped_ ? std::optional(query) : std::nullopt;
    }
    void hand_back(std::size_t query) {
        {
            const std::lock_guard lock(mutex_);
            handed_.push_back(query);
        }
        changed_.notify_one();
    }
    void enter() {
        const std::lock_guard lock(mutex_);
        ++helpers_;
    }
    void leave() {
        {
            const std::lock_guard lock(mutex_);
            --helpers_;
        }
        changed_.notify_one();
    }
    void stop() { stopped_ = true; }
    // `waits`: for one that may be on its way. None: there is none, or there will be none any more.
    std::optional<std::size_t> handed(bool waits) {
        std::unique_lock lock(mutex_);
        if (waits) {
            changed_.wait(lock, [&] { return !handed_.empty() || helpers_ == 0; });
        }
        if (handed_.empty()) {
            return std::nullopt;
        }
        const std::size_t out = handed_.front();
        handed_.pop_front();
        return out;
    }

  private:
    const std::size_t queries_;
    std::atomic<std::size_t> next_ = 0;
    std::atomic<bool> stopped_ = false;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::size_t> handed_;
    std::size_t helpers_ = 0;
};

// What `other` sees, without asking SQLite. What is in memory stays known from one batch to the next.
void CellSearch::see_as(const CellSearch& other, const OpenSource& open) {
    release_chunks();  // of a search that failed
    if (evicted_ != other.evicted_ || space_key_ != other.space_key_) {
        drop_views();
        cells_.clear();
        segments_.clear();
    }
    evicted_ = other.evicted_;
    cache_is_full_ = other.cache_is_full_;
    space_key_ = other.space_key_;
    generation_ = other.generation_;
    if (directory_ != other.directory_) {
        directory_ = other.directory_;
        model_.use(*directory_);
    }
    cells_.resize(directory_->size());
    segments_.resize(other.segments_.size());
    for (std::size_t id = 0; id < segments_.size(); ++id) {
        SegmentView& view = segments_[id];
        const SegmentView& seen = other.segments_[id];
        if (!view.info.has_rows_of(seen.info)) {
            view = {};
        }
        view.info = seen.info;
        view.hold(seen.rows());
    }
    in_memory_only_ = true;
    open_ = open ? &open : nullptr;
}

Status CellSearch::search_many(CellQuery query, std::span<const std::byte* const> vectors, int threads,
                               const std::function<Status()>& check, const OpenSource& open,
                               std::vector<std::vector<Neighbor>>& out) {
    // Threads are made for each batch.
    constexpr std::size_t least_per_thread = 4;
    out.resize(vectors.size());
    std::size_t helpers =
        std::min(static_cast<std::size_t>(std::max(threads, 1)), vectors.size() / least_per_thread + 1) - 1;
    VSS_TRY(refresh());
    // What is not written yet belongs to the thread that writes. Where memory has no room for the rows, each query
    // needs some from the tables.
    if (index_.is_dirty() || !index_.state().is_celled() || (!rows_fit() && !open)) {
        helpers = 0;
    }
    while (helpers_.size() < helpers) {
        helpers_.push_back(std::make_unique<CellSearch>(index_, rows_, type_, dim_, metric_));
    }
    for (std::size_t i = 0; i < helpers; ++i) {
        helpers_[i]->see_as(*this, open);
    }
    // Once for all.
    CellMatches matches;
    if (index_.state().is_celled()) {
        VSS_TRY(count_matches(query, matches));
    }
    Queue queue(vectors.size());
    std::atomic<bool> failed = false;
    Status status = Status::ok();
    {
        std::vector<std::jthread> running;
        running.reserve(helpers);
        struct StopAtEnd {
            Queue& queue;
            ~StopAtEnd() { queue.stop(); }
        };
        const StopAtEnd stop{queue};  // before the threads are waited for
        const auto begin = [&](CellSearch* helper) {
            running.emplace_back([&queue, &failed, &vectors, &out, query, helper]() mutable {
                const HelperThread helps;
                try {
                    while (const std::optional<std::size_t> next = queue.next()) {
                        query.vector = vectors[*next];
                        out[*next].clear();
                        // Whatever goes wrong here, the thread that may ask meets it too, and says so.
                        if (!helper->search_seen(query, out[*next]).is_ok()) {
                            queue.hand_back(*next);
                            if (helper->open_ == nullptr && !helper->rows_fit()) {
                                break;  // the next would be handed back, too
                            }
                        }
                    }
                } catch (...) {  // std::bad_alloc; it must not leave the thread
                    failed = true;
                }
                helper->close_source();
                queue.leave();
            });
        };
        for (std::size_t i = 0; i < helpers; ++i) {
            queue.enter();
            try {
                begin(helpers_[i].get());
            } catch (const std::exception&) {  // the system has no more threads: those that run do without
                queue.leave();
                break;
            }
        }
        bool any_left = true;
        while (status.is_ok()) {
            std::optional<std::size_t> number = queue.handed(!any_left);
            if (!number && any_left) {
                number = queue.next();
                any_left = number.has_value();
            } else if (!number) {
                break;
            }
            if (number) {
                query.vector = vectors[*number];
                status = check();
                status = status.is_ok() ? search(query, out[*number]) : status;
            }
        }
    }
    return failed && status.is_ok() ? Status(Code::no_memory, "out of memory") : status;
}

}  // namespace vss
