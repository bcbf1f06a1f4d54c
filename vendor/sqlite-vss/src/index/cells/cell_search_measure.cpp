// CellSearch: what the sign codes let pass is looked at by its 4-bit codes, and what these let pass measured.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base/ordered_key.h"
#include "base/prefetch.h"
#include "index/cells/cell_search.h"

namespace vss {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr std::size_t rows_ahead = 4;

}  // namespace

// What passed so far is measured, as far as it may be among the k nearest. `is_first`: no limit is known yet; that of
// the best k is found before the others are looked at.
Status CellSearch::look_at_passed(const CellQuery& query, bool is_first, std::vector<Neighbor>& best) {
    costs_.candidates += passed_.size();
    std::size_t done = 0;
    if (is_first && passed_.size() > query.k) {
        done = std::min(passed_.size(), query.k + query.k / 4 + 6);
        std::nth_element(passed_.begin(), passed_.begin() + static_cast<std::ptrdiff_t>(done - 1), passed_.end(),
                         [](const Passed& a, const Passed& b) { return a.bound < b.bound; });
        VSS_TRY(look_at(std::span(passed_).first(done), query, best));
    }
    const float limit = reach(query, best);
    const auto behind = passed_.begin() + static_cast<std::ptrdiff_t>(done);
    const auto end = std::remove_if(behind, passed_.end(), [&](const Passed& row) { return !(row.bound < limit); });
    VSS_TRY(look_at(std::span(behind, end), query, best));
    passed_.clear();
    return Status::ok();
}

Status CellSearch::look_at(std::span<const Passed> rows, const CellQuery& query, std::vector<Neighbor>& best) {
    const double start = now_us();
    // In three steps, so that what is needed next is on its way from memory meanwhile.
    const auto segment_slots = static_cast<std::uint32_t>(rows_.segment_slots());
    const std::size_t padded = index_.space().padded();
    const auto chunk_slots = static_cast<std::uint32_t>(SlotCodes::chunk_slots(padded));
    const std::size_t code_bytes = SlotCodes::code_bytes(padded);
    places_.clear();
    cold_.clear();
    for (const Passed& row : rows) {
        SegmentView* view = view_of(row.slot);
        if (view == nullptr) {
            return no_vector(row.slot);
        }
        const std::uint32_t within = row.slot % segment_slots;
        ChunkView& chunk = chunk_view(*view, within / chunk_slots);
        prefetch(&chunk);
        places_.push_back({&chunk, nullptr, row.slot, within % chunk_slots});
    }
    std::optional<bool> passes_by;
    for (std::size_t i = 0; i < places_.size(); ++i) {
        CodePlace& place = places_[i];
        if (place.chunk->first == nullptr) {
            SegmentView& view = *view_of(place.slot);
            const std::size_t number = place.slot % segment_slots / chunk_slots;
            if (!find_chunk(view, number)) {
                if (!passes_by.has_value()) {
                    passes_by = codes_pass_by();
                }
                if (*passes_by && !index_.tail().contains(place.slot)) {
                    VSS_TRY(read_code(view, number, place));
                    if (place.code == nullptr) {
                        cold_.push_back(rows[i]);
                    }
                    continue;
                }
                VSS_TRY(open_chunk(view, number));
            }
        }
        if (place.chunk->first == nullptr || (place.chunk->live >> place.at & 1) == 0) {
            cold_.push_back(rows[i]);
            continue;
        }
        if (cache_is_full_) {
            place.chunk->codes->touch();
        }
        place.code = place.chunk->first + place.at * code_bytes;
        prefetch(place.code, code_bytes);
    }
    refined_.clear();
    bounds_.resize(places_.size());
    float limit = reach(query, best);
    const auto width = static_cast<float>(fine_width_);
    for (std::uint32_t i = 0; i < places_.size(); ++i) {
        const CodePlace& place = places_[i];
        if (place.code == nullptr) {
            continue;
        }
        // Two estimates whose errors have nothing to do with each other: each counts as it is precise.
        const float fine = fine_.deviation(place.code);
        const float coarse = rows[i].deviation;
        const float weight = coarse == infinity || fine == 0 ? 1
                             : fine == infinity              ? 0
                                                             : coarse * coarse / (coarse * coarse + fine * fine);
        const float estimate =
            weight == 0 ? rows[i].estimate : weight * fine_.distance(place.code) + (1 - weight) * rows[i].estimate;
        const float deviation = weight == 0 ? coarse : fine * std::sqrt(weight);
        const float known =
            fine == infinity && !(weight == 0 && coarse < infinity) ? -infinity : estimate - width * deviation;
        bounds_[i] = known - rounding * (std::abs(estimate) + query_.square);
        if (bounds_[i] < limit) {
            refined_.push_back(ordered_key(estimate == estimate ? estimate : -infinity, i));
        }
    }
    std::sort(refined_.begin(), refined_.end());
    const double refined = now_us();
    costs_.refine_us += refined - start;
    costs_.refined += places_.size() - cold_.size();
    row_places_.resize(refined_.size());
    const auto find_row = [&](std::size_t i) {
        if (i < refined_.size()) {
            row_places_[i] = row_in_memory(places_[key_number(refined_[i])].slot);
            if (row_places_[i].vector != nullptr) {
                prefetch(row_places_[i].rowid);
                prefetch(row_places_[i].vector, rows_.vector_bytes());
            }
        }
    };
    const auto measure_and_offer = [&](std::uint32_t slot, const RowPlace& row) -> Status {
        bool passes = false;
        Neighbor neighbor;
        VSS_TRY(measure(slot, row, query, passes, neighbor));
        if (passes) {
            offer(neighbor, query.k, best);
            limit = reach(query, best);
        }
        return Status::ok();
    };
    for (std::size_t i = 0; i < rows_ahead; ++i) {
        find_row(i);
    }
    for (std::size_t i = 0; i < refined_.size(); ++i) {
        find_row(i + rows_ahead);
        const std::size_t at = key_number(refined_[i]);
        if (bounds_[at] < limit) {
            VSS_TRY(measure_and_offer(places_[at].slot, row_places_[i]));
        }
    }
    for (const Passed& row : cold_) {
        if (row.bound < limit) {
            VSS_TRY(measure_and_offer(row.slot, {}));
        }
    }
    costs_.rerank_us += now_us() - refined;
    return Status::ok();
}

// `row`: where it was when that was asked.
Status CellSearch::measure(std::uint32_t slot, const RowPlace& row, const CellQuery& query, bool& passes,
                           Neighbor& out) {
    passes = false;
    // Its segment may have been decoded since.
    const RowPlace now = row.vector != nullptr ? row : row_in_memory(slot);
    if (now.vector != nullptr) {
        out.rowid = *now.rowid;
        return measure_vector(slot, now.vector, query, passes, out);
    }
    SegmentView* view = view_of(slot);
    if (view == nullptr) {
        return no_vector(slot);
    }
    if (!may_read()) {
        return not_in_memory();
    }
    bool live = false;
    VSS_TRY(rows().read_slot(slot, live, out.rowid, vector_));
    if (!live) {
        return no_vector(slot);
    }
    if (rows().is_at_hand(slot)) {
        return measure_vector(slot, vector_.data(), query, passes, out);
    }
    ++costs_.cold_rows;
    ++view->cold;
    if (in_memory_only_) {
        return measure_vector(slot, vector_.data(), query, passes, out);  // rows are kept by the thread that is helped
    }
    if (trace_ == nullptr) {
        VSS_TRY(keep_rows(*view));
    } else if (view->rows() == nullptr && view->cold >= cold_rows_per_segment && rows_fit()) {
        VSS_TRY(decode(*view, false));
    }
    return measure_vector(slot, vector_.data(), query, passes, out);
}

// `out` has its rowid already.
Status CellSearch::measure_vector(std::uint32_t slot, const std::byte* vector, const CellQuery& query, bool& passes,
                                  Neighbor& out) {
    ++costs_.reranked;
    passes = false;
    if (query.rows != nullptr && !query.rows->passes(out.rowid)) {
        return query.slots == nullptr ? Status::ok()
                                      : Status::corrupt("a row names slot " + std::to_string(slot) +
                                                        ", which holds the vector of row " + std::to_string(out.rowid));
    }
    if (trace_ != nullptr) {
        trace_->slots.emplace(out.rowid, slot);
    }
    out = Neighbor::at(exact_.to(vector), out.rowid);
    passes = query.rows == nullptr || query.rows->passes_distance(out.reported());
    return Status::ok();
}

// `best`: a heap of the k best, the farthest on top.
void CellSearch::offer(const Neighbor& neighbor, std::size_t k, std::vector<Neighbor>& best) {
    best.push_back(neighbor);
    std::push_heap(best.begin(), best.end());
    if (best.size() > k) {
        std::pop_heap(best.begin(), best.end());
        best.pop_back();
    }
}

}  // namespace vss
