#include "index/cells/cell_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/vector_value.h"

namespace vss {
namespace {

// What looking at one 4-bit code costs, in sign codes scanned.
constexpr double refine_cost = 14;

// One search in so many is timed: asking for a thread's time takes as long as a candidate.
constexpr std::uint64_t queries_per_timed = 8;

constexpr float infinity = std::numeric_limits<float>::infinity();

}  // namespace

void SlotFilter::allow(std::uint32_t slot) {
    limited = true;
    if (slot / 64 >= bits.size()) {
        bits.resize(std::max<std::size_t>(slot / 64 + 1, bits.size() * 2));
    }
    std::uint64_t& word = bits[slot / 64];
    const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
    count += (word & bit) == 0 ? 1U : 0U;
    word |= bit;
}

CellSearch::CellSearch(CellIndex& index, RowStore& rows, ElementType type, std::size_t dim, Metric metric)
    : index_(index),
      rows_(rows),
      type_(type),
      dim_(dim),
      metric_(metric),
      units_(UnitCosts::of(type, dim, index.space().padded())) {}

// What cells and filters name is live, or the tables are damaged: passing over it would lose rows without a word.
Status CellSearch::no_vector(std::uint32_t slot) {
    return Status::corrupt("slot " + std::to_string(slot) + " is named by a cell or a row and holds no vector");
}

double CellSearch::reported(float distance) const {
    return distance * unit_;
}

Status CellSearch::begin(const CellQuery& query) {
    const std::size_t padded = index_.space().padded();
    std::vector<float> raw(dim_);
    decode_vector(type_, query.vector, dim_, raw.data());
    exact_ = ExactDistance(type_, metric_, query.vector, dim_);
    query_.vector.resize(padded);
    const CellSpace& space = index_.space();
    // Under inner product the query's own length changes nothing of the order.
    const int exponent = space.estimate() == Estimate::product ? extreme_exponent(raw) : space.exponent();
    const bool whole = space.enter(raw.data(), query_.vector.data(), exponent);
    unit_ = metric_ == Metric::cosine ? 0.5 : std::ldexp(1.0, -space.exponent() - exponent);
    query_.prepare(padded);
    fine_.prepare(query_.vector.data(), padded, index_.space().estimate());
    if (!whole) {
        fine_.set_lost();
    }
    candidates_.clear();
    vector_.resize(rows_.vector_bytes());
    costs_ = {};
    made_ = 0;
    is_timed_ = queries_++ % queries_per_timed == 0;
    took_all_ = false;
    took_rows_ = false;
    expecting_us_ = 0;
    return Status::ok();
}

// So few pass that looking at each of them costs no more than scanning cells.
bool CellSearch::takes_matches_by_codes(const CellQuery& query) const {
    const double rows = static_cast<double>(std::max<std::uint64_t>(index_.state().rows, 1));
    const auto matches = static_cast<double>(query.slots->count);
    const double entries = learned_share(query.recall) * 2 * rows;
    return matches * refine_cost <= std::min(entries / std::sqrt(matches / rows), 2 * rows) ||
           query.slots->count <= 4 * query.k;
}

Status CellSearch::search(const CellQuery& query, std::vector<Neighbor>& out) {
    out.clear();
    VSS_TRY(refresh());
    VSS_TRY(go_on_keeping());
    return index_.state().is_celled() ? search_seen(query, out) : search_exact(query, out);
}

// In what refresh() saw.
Status CellSearch::search_seen(const CellQuery& query, std::vector<Neighbor>& out) {
    const auto all = [&] { return take_all(query, out); };
    VSS_TRY(begin(query));
    if (query.k == 0 || (query.slots != nullptr && query.slots->limited && query.slots->count == 0)) {
        return Status::ok();
    }
    const bool filtered = query.slots != nullptr && query.slots->limited;
    if (filtered && takes_matches_by_codes(query)) {
        return all();
    }
    const bool is_plain =
        !filtered && query.cells == 0 && (query.rows == nullptr || query.rows->distance_below == infinity);
    bool exact = query.cells == 0 && misses_for(query.recall, wanted_among_all(query)) < 0;
    exact = exact || (is_plain && cells_cost_more(query));
    if (!exact) {
        CellMatches matches;
        CellQuery counted = query;
        VSS_TRY(count_matches(counted, matches));
        VSS_TRY(scan_cells(counted, out, exact));
        if (is_plain) {
            note_by_cells(query, exact);
        }
        const std::uint64_t there = filtered ? query.slots->count : index_.state().rows;
        // k holds: whatever the cells missed is found by looking at every row that may be returned.
        exact = exact || (costs_.reranked < std::min<std::uint64_t>(query.k, there) && query.cells == 0 &&
                          costs_.cells < directory_->live() &&
                          (query.rows == nullptr || query.rows->distance_below == infinity));
    }
    if (exact) {
        return all();
    }
    std::sort_heap(out.begin(), out.end());
    return Status::ok();
}

}  // namespace vss
