#include "index/exact_search.h"

#include <algorithm>

#include "base/parallel.h"

namespace vss {
namespace {

// Queries that share one pass over a row, and segments that are held at once while threads work on them.
constexpr std::size_t queries_per_pass = 8;
constexpr std::size_t segments_per_round = 8;
// Reading one row by its slot costs about as much as scanning this many.
constexpr std::size_t rows_per_lookup = 40;

class Scan {
  public:
    Scan(const Column& column, const SearchRequest& request) : column_(column), request_(request) {
        kernels_ = scan_kernels(column.type, column.metric);
        for (const std::byte* query : request.queries) {
            nearest_.emplace_back(column.type, column.metric, column.dim, query, request.k, request.filter);
        }
    }

    // Queries [first, last) against some segments; different ranges may run at once.
    void run(const std::vector<std::shared_ptr<const Segment>>& segments, std::size_t first, std::size_t last) {
        std::vector<float> distances;
        std::vector<std::byte> queries;
        const std::size_t bytes = column_.bytes();
        for (const auto& segment : segments) {
            const std::size_t n = segment->size();
            for (std::size_t q = first; q < last; q += queries_per_pass) {
                const std::size_t count = std::min(queries_per_pass, last - q);
                distances.resize(count * n);
                if (count == 1) {
                    kernels_.one(request_.queries[q], segment->rows.data(), segment->stride, n, column_.dim,
                                 distances.data());
                } else {
                    queries.resize(count * bytes);
                    for (std::size_t i = 0; i < count; ++i) {
                        std::copy_n(request_.queries[q + i], bytes, queries.data() + i * bytes);
                    }
                    kernels_.batch(queries.data(), count, bytes, segment->rows.data(), segment->stride, n, column_.dim,
                                   distances.data());
                }
                for (std::size_t i = 0; i < count; ++i) {
                    nearest_[q + i].add(*segment, distances.data() + i * n);
                }
            }
        }
    }

    Status run_on_threads(const std::vector<std::shared_ptr<const Segment>>& segments) {
        const std::size_t queries = nearest_.size();
        const std::size_t most = (queries + queries_per_pass - 1) / queries_per_pass;
        const int workers = static_cast<int>(std::min(static_cast<std::size_t>(std::max(request_.threads, 1)), most));
        const bool done =
            parallel_for(queries, workers, [&](std::size_t first, std::size_t last) { run(segments, first, last); });
        return done ? Status::ok() : Status(Code::no_memory, "out of memory");
    }

    Status members(VectorStore& store) {
        std::vector<std::byte> vector(column_.bytes());
        for (const auto& [rowid, slot] : request_.members) {
            if (!request_.filter.passes(rowid)) {
                continue;
            }
            VSS_TRY(store.read(slot, rowid, vector));
            for (Nearest& nearest : nearest_) {
                nearest.add_exact(rowid, vector.data());
            }
        }
        return Status::ok();
    }

    void finish(std::vector<std::vector<Neighbor>>& results) {
        results.clear();
        for (Nearest& nearest : nearest_) {
            results.push_back(nearest.finish());
        }
    }

  private:
    const Column& column_;
    const SearchRequest& request_;
    DistanceKernels kernels_;
    std::vector<Nearest> nearest_;
};

}  // namespace

Status exact_search(VectorStore& store, const SearchRequest& request, std::vector<std::vector<Neighbor>>& results) {
    Scan scan(store.column(), request);
    if (request.queries.empty() || request.k == 0) {
        scan.finish(results);
        return Status::ok();
    }
    std::vector<SegmentInfo> infos;
    VSS_TRY(store.segments(infos));
    std::uint64_t rows = 0;
    for (const SegmentInfo& info : infos) {
        rows += info.live;
    }
    if (request.members_known && request.members.size() * rows_per_lookup <= rows) {
        VSS_TRY(scan.members(store));
        scan.finish(results);
        return Status::ok();
    }
    std::vector<std::shared_ptr<const Segment>> round;
    for (std::size_t i = 0; i < infos.size(); ++i) {
        std::shared_ptr<const Segment> segment;
        VSS_TRY(store.segment(infos[i], segment));
        round.push_back(std::move(segment));
        const bool alone = request.queries.size() == 1;
        if (alone || round.size() == segments_per_round || i + 1 == infos.size()) {
            VSS_TRY(store.check_interrupt());
            VSS_TRY(scan.run_on_threads(round));
            round.clear();
        }
    }
    scan.finish(results);
    return Status::ok();
}

}  // namespace vss
