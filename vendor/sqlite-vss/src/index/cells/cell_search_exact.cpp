// CellSearch: every row considered by its 4-bit code, whose bound cannot fail.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "base/prefetch.h"
#include "index/cells/cell_search.h"

namespace vss {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
// Squares and products of tiny numbers are off by less.
constexpr float lost_to_underflow = 4 * std::numeric_limits<float>::min();
// Chunks of codes lie wherever there was room, where the processor's own prefetching does not follow.
constexpr std::size_t chunks_ahead = 2;

}  // namespace

namespace {

// Where more than one of so many rows is to be measured they are measured as they lie in memory.
constexpr std::size_t in_order_from = 32;

}  // namespace

// Live slots of the segment whose codes are not there.
Status CellSearch::add_uncoded(const SegmentView& view, std::vector<std::uint32_t>& out) {
    if (!may_read()) {
        return not_in_memory();
    }
    const std::size_t chunk_slots = SlotCodes::chunk_slots(index_.space().padded());
    const std::size_t segment_slots = rows_.segment_slots();
    std::vector<std::uint32_t> slots;
    for (std::size_t within = 0; within < segment_slots; ++within) {
        if ((view.chunks[within / chunk_slots].live >> (within % chunk_slots) & 1) == 0) {
            slots.push_back(static_cast<std::uint32_t>(view.info.id * segment_slots + within));
        }
    }
    return rows().read_slots(slots, [&](std::size_t i, std::int64_t /*rowid*/, std::span<const std::byte> /*vector*/) {
        out.push_back(slots[i]);
    });
}

Status CellSearch::search_exact(const CellQuery& query, std::vector<Neighbor>& out) {
    out.clear();
    VSS_TRY(refresh());
    VSS_TRY(begin(query));
    CellQuery exact = query;
    exact.recall = 1;
    return take_all(exact, out);
}

Status CellSearch::consider_all(const CellQuery& query, std::vector<Neighbor>& out) {
    took_all_ = true;
    if (query.k == 0) {
        return Status::ok();
    }
    const double start = now_us();
    const std::uint64_t refined_before = costs_.refined;
    const std::uint64_t measured_before = costs_.reranked;
    const bool limited = query.slots != nullptr && query.slots->limited;
    // Which rows pass is not known before they are read: the nearest may be ones that do not.
    const bool rows_may_fail =
        query.rows != nullptr && (query.rows->distance_above != -std::numeric_limits<double>::infinity() ||
                                  (query.slots == nullptr && query.rows->allowed.has_value()));
    const std::size_t segment_slots = rows_.segment_slots();
    std::vector<std::uint32_t> cold;
    // The k smallest upper bounds, largest first: nothing whose lower bound is beyond them can be a neighbour.
    std::vector<float> bounds;
    float reach = infinity;
    std::uint64_t wanted_in_all = 0;
    const std::size_t padded = index_.space().padded();
    const std::size_t chunk_slots = SlotCodes::chunk_slots(padded);
    const std::size_t code_bytes = SlotCodes::code_bytes(padded);
    std::array<SlotCodes::Estimated, SlotCodes::Query::most_together> together;
    const auto consider = [&](std::size_t slot, const SlotCodes::Estimated& estimate) {
        ++costs_.refined;
        // Where nothing is known of the distance, or it is not a number, the row is measured.
        const bool is_known = std::isfinite(estimate.distance) && std::isfinite(estimate.error);
        const float least = is_known ? estimate.distance - estimate.error - lost_to_underflow : -infinity;
        if (least > reach) {
            return;
        }
        candidates_.push_back({least, static_cast<std::uint32_t>(slot)});
        if (rows_may_fail) {
            return;
        }
        bounds.push_back(is_known ? estimate.distance + estimate.error + lost_to_underflow : infinity);
        std::push_heap(bounds.begin(), bounds.end());
        if (bounds.size() > query.k) {
            std::pop_heap(bounds.begin(), bounds.end());
            bounds.pop_back();
            reach = bounds.front();
        }
    };
    for (std::size_t id = 0; id < segments_.size(); ++id) {
        SegmentView& view = segments_[id];
        if (view.info.live == 0) {
            continue;
        }
        const std::size_t first_slot = id * segment_slots;
        if (!limited) {
            VSS_TRY(open_segment(view));
            std::uint64_t coded = 0;
            for (std::size_t number = 0; number < view.chunks.size(); ++number) {
                const ChunkView& chunk = view.chunks[number];
                coded += static_cast<std::uint64_t>(std::popcount(chunk.live));
                if (chunk.live == 0) {
                    continue;
                }
                const std::size_t n =
                    std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(chunk.live)), chunk_slots);
                if (number + chunks_ahead < view.chunks.size()) {
                    prefetch(view.chunks[number + chunks_ahead].first, n * code_bytes);
                }
                fine_.estimates(chunk.first, std::span(together).first(n));
                for (std::size_t i = 0; i < n; ++i) {
                    if ((chunk.live >> i & 1) != 0) {
                        consider(first_slot + number * chunk_slots + i, together[i]);
                    }
                }
            }
            const std::size_t cold_before = cold.size();
            if (coded < view.info.live) {
                // Codes are missing, which check and repair see to: the rows are there.
                VSS_TRY(add_uncoded(view, cold));
            }
            if (const std::uint64_t found = coded + cold.size() - cold_before; found != view.info.live) {
                return Status::corrupt("segment " + std::to_string(id) + " says " + std::to_string(view.info.live) +
                                       " live rows and holds " + std::to_string(found));
            }
            release_chunks();
            continue;
        }
        const std::size_t first_word = first_slot / 64;
        const std::size_t last_word = (first_slot + segment_slots - 1) / 64;
        for (std::size_t w = first_word; w <= last_word && w < query.slots->bits.size(); ++w) {
            for (std::uint64_t bits = query.slots->bits[w]; bits != 0; bits &= bits - 1) {
                const std::size_t slot = w * 64 + static_cast<std::size_t>(std::countr_zero(bits));
                if (slot < first_slot || slot >= first_slot + segment_slots) {
                    continue;
                }
                ++wanted_in_all;
                const std::size_t number = (slot - first_slot) / chunk_slots;
                const std::size_t at = (slot - first_slot) % chunk_slots;
                ChunkView& chunk = chunk_view(view, number);
                if (chunk.first == nullptr) {
                    VSS_TRY(open_chunk(view, number));
                }
                if (chunk.first == nullptr || (chunk.live >> at & 1) == 0) {
                    cold.push_back(static_cast<std::uint32_t>(slot));
                    continue;
                }
                fine_.estimates(chunk.first + at * code_bytes, std::span(together).first(1));
                consider(slot, together[0]);
            }
        }
        release_chunks();
    }
    if (limited && wanted_in_all < query.slots->count) {
        return Status::corrupt("a row names a slot of a segment that is not listed");
    }
    costs_.candidates = candidates_.size() + cold.size();
    const double refined = now_us();
    costs_.refine_us += refined - start;
    const bool is_warm = is_timed_ && made_ == 0 && costs_.chunks_read == 0;
    if (!limited && is_warm) {
        units_.code.note(refined - start, costs_.refined - refined_before);
    }
    // Nearest lower bound first, until no lower bound can beat the k-th found.
    std::erase_if(candidates_, [&](const Candidate& c) { return c.distance > reach; });
    const auto farther = [](const Candidate& a, const Candidate& b) { return b < a; };
    std::vector<Neighbor> best;  // a heap, the farthest on top
    for (const std::uint32_t slot : cold) {
        bool passes = false;
        Neighbor neighbor;
        VSS_TRY(measure(slot, query, passes, neighbor));
        if (passes) {
            offer(neighbor, query.k, best);
        }
    }
    const std::size_t candidates = candidates_.size();
    const bool in_order = candidates_.size() * in_order_from > index_.state().rows;
    if (in_order) {
        // Some of the nearest first, so that there is a limit for the others.
        const std::size_t few = std::min(candidates_.size(), 4 * query.k);
        std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(few - 1),
                         candidates_.end());
        std::sort(candidates_.begin() + static_cast<std::ptrdiff_t>(few), candidates_.end(),
                  [](const Candidate& a, const Candidate& b) { return a.slot < b.slot; });
        for (const Candidate& candidate : candidates_) {
            const double least = reported(candidate.distance);
            if ((best.size() == query.k && least > best.front().reported()) ||
                (query.rows != nullptr && least > query.rows->distance_below)) {
                continue;
            }
            bool passes = false;
            Neighbor neighbor;
            VSS_TRY(measure(candidate.slot, query, passes, neighbor));
            if (passes) {
                offer(neighbor, query.k, best);
            }
        }
        candidates_.clear();
    }
    std::make_heap(candidates_.begin(), candidates_.end(), farther);
    for (; !candidates_.empty(); candidates_.pop_back()) {
        std::pop_heap(candidates_.begin(), candidates_.end(), farther);
        const Candidate candidate = candidates_.back();
        const double least = reported(candidate.distance);
        if ((best.size() == query.k && least > best.front().reported()) ||
            (query.rows != nullptr && least > query.rows->distance_below)) {
            break;
        }
        bool passes = false;
        Neighbor neighbor;
        VSS_TRY(measure(candidate.slot, query, passes, neighbor));
        if (passes) {
            offer(neighbor, query.k, best);
        }
    }
    std::sort_heap(best.begin(), best.end());
    out = std::move(best);
    const std::uint64_t measured = costs_.reranked - measured_before;
    const double us = now_us() - refined;
    costs_.rerank_us += us;
    if (!limited) {
        note_by_codes(query.recall, query.k, measured, is_warm && costs_.cold_rows == 0 ? us + refined - start : 0);
    }
    if (is_warm && costs_.cold_rows == 0 && (!in_order || 2 * measured > candidates)) {
        (in_order ? units_.in_order : units_.measure).note(us, measured);
    }
    return Status::ok();
}

}  // namespace vss
