// CellSearch: every row considered by its 4-bit code, whose bound cannot fail.
#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "cell_search.h"

namespace vss {

Status CellSearch::search_exact(const CellQuery& query, std::vector<Neighbor>& out) {
    out.clear();
    VSS_TRY(refresh());
    VSS_TRY(begin(query));
    if (query.k == 0) {
        return Status::ok();
    }
    const double start = now_us();
    const bool limited = query.slots != nullptr && query.slots->limited;
    const bool bounded_above =
        query.rows != nullptr && query.rows->distance_above != -std::numeric_limits<double>::infinity();
    // Whether few rows are asked for: then those of segments without codes are read one by one.
    const std::size_t segment_slots = rows_.segment_slots();
    std::vector<std::uint32_t> cold;
    // The k smallest upper bounds, largest first: nothing whose lower bound is beyond them can be a neighbour.
    std::vector<float> bounds;
    float reach = std::numeric_limits<float>::infinity();
    std::uint64_t wanted_in_all = 0;
    std::array<SlotCodes::Estimated, SlotCodes::most_together> together;
    for (std::size_t id = 0; id < segments_.size(); ++id) {
        SegmentView& view = segments_[id];
        if (view.info.live == 0) {
            continue;
        }
        const std::size_t first_word = id * segment_slots / 64;
        std::size_t wanted_here = view.info.live;
        if (limited) {
            wanted_here = 0;
            for (std::size_t w = first_word; w <= ((id + 1) * segment_slots - 1) / 64 && w < query.slots->bits.size();
                 ++w) {
                wanted_here += static_cast<std::size_t>(std::popcount(query.slots->bits[w]));
            }
            if (wanted_here == 0) {
                continue;
            }
            wanted_in_all += wanted_here;
        }
        const SlotCodes* codes = nullptr;
        VSS_TRY(segment_codes(view, !limited || wanted_here > cold_rows_per_segment, codes));
        if (codes == nullptr) {
            for (std::size_t slot = id * segment_slots; slot < (id + 1) * segment_slots; ++slot) {
                if (query.slots->passes(static_cast<std::uint32_t>(slot))) {
                    cold.push_back(static_cast<std::uint32_t>(slot));
                }
            }
            continue;
        }
        const auto consider = [&](std::size_t i, const SlotCodes::Estimated& estimate) {
            ++costs_.refined;
            const float least = estimate.distance - estimate.error;
            if (least > reach) {
                return;
            }
            candidates_.push_back({least, codes->slot(i)});
            if (bounded_above) {
                return;  // the nearest rows may be the ones that a bound excludes
            }
            bounds.push_back(estimate.distance + estimate.error);
            std::push_heap(bounds.begin(), bounds.end());
            if (bounds.size() > query.k) {
                std::pop_heap(bounds.begin(), bounds.end());
                bounds.pop_back();
                reach = bounds.front();
            }
        };
        if (!limited) {
            for (std::size_t i = 0; i < codes->size(); i += together.size()) {
                const auto part = std::span(together).first(std::min(together.size(), codes->size() - i));
                codes->estimates(fine_, i, part);
                for (std::size_t j = 0; j < part.size(); ++j) {
                    if (query.rows == nullptr || query.rows->passes(codes->rowid(i + j))) {
                        consider(i + j, part[j]);
                    }
                }
            }
            continue;
        }
        const std::size_t first = id * segment_slots;
        for (std::size_t w = first / 64; w <= (first + segment_slots - 1) / 64 && w < query.slots->bits.size(); ++w) {
            for (std::uint64_t bits = query.slots->bits[w]; bits != 0; bits &= bits - 1) {
                const std::size_t slot = w * 64 + static_cast<std::size_t>(std::countr_zero(bits));
                if (slot < first || slot >= first + segment_slots) {
                    continue;
                }
                if (codes->at(slot - first) < 0) {
                    return no_vector(static_cast<std::uint32_t>(slot));
                }
                const auto at = static_cast<std::size_t>(codes->at(slot - first));
                consider(at, codes->estimate(fine_, at));
            }
        }
    }
    if (limited && wanted_in_all < query.slots->count) {
        return Status::corrupt("a row names a slot of a segment that is not listed");
    }
    costs_.candidates = candidates_.size() + cold.size();
    const double refined = now_us();
    costs_.refine_us = refined - start;
    // Nearest lower bound first, until no lower bound can beat the k-th found.
    std::erase_if(candidates_, [&](const Candidate& c) { return c.distance > reach; });
    std::sort(candidates_.begin(), candidates_.end());
    std::vector<Neighbor> best;  // a heap, the farthest on top
    measured_slots_.clear();
    for (const std::uint32_t slot : cold) {
        bool passes = false;
        Neighbor neighbor;
        VSS_TRY(measure(slot, query, passes, neighbor));
        if (passes) {
            offer(neighbor, slot, query.k, best);
        }
    }
    for (const Candidate& candidate : candidates_) {
        const float least = reported(candidate.distance);
        if ((best.size() == query.k && least > best.front().distance) ||
            (query.rows != nullptr && least > query.rows->distance_below)) {
            break;
        }
        bool passes = false;
        Neighbor neighbor;
        VSS_TRY(measure(candidate.slot, query, passes, neighbor));
        if (passes) {
            offer(neighbor, candidate.slot, query.k, best);
        }
    }
    std::sort_heap(best.begin(), best.end());
    out = std::move(best);
    costs_.rerank_us = now_us() - refined;
    return Status::ok();
}

}  // namespace vss
