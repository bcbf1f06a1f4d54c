#include "index/cells/cell_search.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <chrono>
#include <cmath>
#include <limits>

#include "base/ordered_key.h"
#include "base/prefetch.h"
#include "kernels/kernels.h"
#include "kernels/vector_value.h"

namespace vss {
namespace {

// What looking at one 4-bit code costs, in sign codes scanned.
constexpr double refine_cost = 14;

// One search in so many is timed: asking for a thread's time takes as long as a candidate.
constexpr std::uint64_t queries_per_timed = 8;

constexpr std::size_t blocks_ahead = 5;
constexpr std::size_t cells_ahead = 4;
constexpr std::size_t views_ahead = 4;  // beyond these

// Of the misses that a recall allows, so many are given to rows lost by their sign codes, and by all codes together. Of
// the rows at the edge twice as many are lost, as those within it have some room.
constexpr double lost_by_signs = 0.1;
constexpr double lost_by_codes = 0.02;
// Of a query that is not like the rows, so much of them may be expected, as little is known of it.
constexpr double expected_unlearned = 0.25;
// Error of rounding an even spread of values to whole steps.
constexpr float rounding_deviation = 0.28867513F;
// Rows that a search gathers before it measures the best, beside half as many again as are wanted.
constexpr std::size_t first_passed = 32;
// Then it measures what passed whenever it has scanned half as many cells again, or so many passed.
constexpr std::size_t most_passed = 256;
constexpr std::size_t least_between_looks = 2;
constexpr std::size_t cells_told_whole = 8;
// Entries scanned before the share that passes is taken for that of the rest.
constexpr std::uint64_t least_entries_to_tell = 1024;
// In fewer what a search does beside scanning weighs too much.
constexpr std::uint64_t least_entries_to_time = 4096;
constexpr float infinity = std::numeric_limits<float>::infinity();

}  // namespace

double CellSearch::width_for_codes(double recall) {
    return normal_quantile(2 * lost_by_codes * (1 - recall));
}

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

// The codes of the cells ranked up to `end`, which are scanned in this order.
Status CellSearch::open_cells(std::size_t end, const CellMatches* matches) {
    const bool product = index_.space().estimate() == Estimate::product;
    for (std::size_t i = scans_.size(); i < std::min(end, ranked_.size()); ++i) {
        if (i + views_ahead < ranked_.size()) {
            prefetch(&directory_->info(ranked_[i + views_ahead].cell));
            prefetch(&cells_[ranked_[i + views_ahead].cell]);
        }
        const RankedCell& at = ranked_[i];
        if (matches != nullptr && matches->entries[at.cell] == 0) {
            scans_.emplace_back();  // none that counts
            continue;
        }
        const CellInfo& info = directory_->info(at.cell);
        const CellView& view = cells_[at.cell];
        CellScan scan = view.scan;
        if (!is_current(view, info)) {
            std::shared_ptr<const CodeBlocks> held;
            const CodeBlocks* codes = nullptr;
            VSS_TRY(cell_codes(at.cell, held, codes));
            scan = scan_of(*codes);
            held_.push_back(std::move(held));
        } else if (cache_is_full_) {
            view.codes->touch();
        }
        scan.norm = info.norm;
        scan.fine = at.square >= 0;
        scan.square = square_to(at);
        scan.offset = product ? -at.product : scan.square;
        scans_.push_back(scan);
    }
    return Status::ok();
}

// An estimate errs by |rescale| sin / 2 |q - c| (the code's own error, CELLS in docs/cells.md) and by |rescale| times
// the error of <x, q> from rounded tables; both are normal, as the rotation is random. So one number added to the
// tables' base turns estimates into bounds.
CellSearch::CellTerms CellSearch::terms_of(const CellScan& cell) const {
    const bool l2 = index_.space().estimate() == Estimate::l2;
    const float tables = query_.tables.step * rounding_deviation;
    const float along = sign_sine / 2;
    const std::size_t groups = index_.space().padded() / 4;
    CellTerms out;
    // The centroid's part is the same for all of its rows.
    const float product = cell.fine ? 0 : CellDirectory::product_deviation(query_) * cell.norm;
    out.common = (l2 ? 2 : 1) * product + rounding * (query_.square + cell.norm * cell.norm);
    out.deviation = std::sqrt(along * along * (std::max(cell.square, 0.0F) + 2 * product) +
                              tables * tables * static_cast<float>(groups));
    out.tables = query_.tables;
    out.tables.base += static_cast<float>(width_) * out.deviation;
    out.slack = static_cast<float>(width_) * out.common;
    out.offset = cell.offset - out.slack;
    return out;
}

// `i`: which of scans_. `ahead`: the block to fetch meanwhile, some blocks further on, across pages and into the cells
// that come next, where the processor's own prefetching does not follow. What is not below `limit` does not pass.
Status CellSearch::scan_cell(std::size_t i, BlockAt& ahead, const CellQuery& query, float limit) {
    const CodeKernels& kernels = code_kernels();
    const std::size_t padded = index_.space().padded();
    const std::size_t block_bytes = code_block_bytes(padded);
    const CellScan& cell = scans_[i];
    const CellTerms terms = terms_of(cell);
    alignas(32) std::array<float, block_rows> bounds;
    std::array<std::uint32_t, block_rows> entries;
    std::array<float, block_rows> rescale;
    const std::size_t end = segments_.size() * rows_.segment_slots();
    for (std::size_t b = 0; b < cell.blocks; ++b) {
        const std::byte* block = cell.codes + b * block_bytes;
        const std::byte* next = block;
        if (find_block(ahead)) {
            assert(scans_[ahead.scan].codes != nullptr);  // as it is for a cell without blocks
            next = scans_[ahead.scan].codes + ahead.block * block_bytes;
            ++ahead.block;
        }
        std::uint32_t below = kernels.scan(block, next, terms.tables, padded, terms.offset, limit, bounds.data());
        const std::size_t n = std::min<std::size_t>(block_rows, cell.entries - b * block_rows);
        if (b == 0 || i < cells_told_whole) {
            // Later some rows of each cell tell enough.
            const std::uint32_t except = trace_ != nullptr ? stranger_ : second_copy;
            kernels.sum_cosines(block, bounds.data(), n, except,
                                model_.terms(cell.offset, terms.slack, static_cast<float>(width_) * terms.deviation),
                                model_.sums());
        }
        below &= n == block_rows ? ~0U : (1U << n) - 1;
        if (below == 0) {
            continue;
        }
        std::memcpy(entries.data(), block, sizeof entries);
        std::memcpy(rescale.data(), block + 8 * block_rows, sizeof rescale);
        for (; below != 0; below &= below - 1) {
            const auto lane = static_cast<std::size_t>(std::countr_zero(below));
            const std::uint32_t slot = entries[lane] & ~second_copy;
            if (slot >= end) {
                return Status::corrupt("cell " + std::to_string(ranked_[i].cell) + " names a slot that does not exist");
            }
            std::uint64_t& word = seen_[slot / 64];
            const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
            if ((word & bit) != 0 || (query.slots != nullptr && !query.slots->passes(slot))) {
                continue;
            }
            word |= bit;
            seen_slots_.push_back(slot);
            if (trace_ != nullptr) {
                if (slot == stranger_) {
                    continue;
                }
                trace_->at.emplace(slot, static_cast<std::uint32_t>(i));
            }
            const float deviation = std::abs(rescale[lane]) * terms.deviation;
            passed_.push_back({bounds[lane], bounds[lane] + static_cast<float>(width_) * deviation + terms.slack,
                               deviation + terms.common, slot});
        }
    }
    return Status::ok();
}

// Goes on, where its cell has no block there, to the first of the cells behind it; false at the end of those opened.
bool CellSearch::find_block(BlockAt& at) const {
    while (at.scan < scans_.size() && at.block >= scans_[at.scan].blocks) {
        ++at.scan;
        at.block = 0;
    }
    return at.scan < scans_.size();
}

void CellSearch::rank_more(std::size_t count) {
    directory_->rank_more(query_, std::min(count, directory_->live()), CellDirectory::For::query, ranking_, ranked_);
}

// Centroids are measured against a query rounded to 7 bits. Where that error is not small against their distances (rows
// that are close together and far from the origin) they are measured in floats.
void CellSearch::rank_finely_if_close() {
    if (ranked_.empty()) {
        return;
    }
    constexpr float small = 0.05F;
    // The same one however many are ranked, so that what was learned holds; and near, as cells in a row are far from
    // the query soon.
    constexpr std::size_t near = 4;
    const RankedCell& at = ranked_[std::min(near, ranked_.size() / 2)];
    const float norm = directory_->info(at.cell).norm;
    const float square = square_to(at);
    if (2 * CellDirectory::product_deviation(query_) * norm > small * square) {
        directory_->rank_finely(query_, ranked_);
        ranking_.pool.clear();
        ranking_.measured_all = true;
        model_.trust_places();
    }
}

// The most misses that may be expected for each neighbour when the scan ends. A query as near to a centroid as most of
// its cell's rows is like them: what the model expects is then about right or too much, and by how much the table
// learns. Of a query far from all cells nothing was learned, and the model may expect too little: a quarter of what was
// missed, where cells are tight and dimensions few. Inner products do not tell which a query is.
double CellSearch::most_expected(double recall) const {
    constexpr double not_told = 2;
    constexpr float deviations = 1;
    constexpr float radii = 1.5;  // deviations are small in many dimensions
    constexpr float much_nearer = 0.6F;
    if (index_.space().estimate() == Estimate::product || ranked_.empty()) {
        return not_told * (1 - recall);
    }
    const RankedCell& at = ranked_.front();
    const CellInfo& info = directory_->info(at.cell);
    const float square = square_to(at);
    const float reach = std::max(info.radius + deviations * info.spread, radii * info.radius);
    const double unlearned = expected_unlearned * (1 - recall);
    // How far from the middle the rows of that cell are, as directions from its centroid are random. A query that is
    // much nearer has rows of all cells around it, none of which keeps those of others away; in the middle itself the
    // nearest are the shortest ones, which cosines tell little of.
    const float usual = info.norm * info.norm + info.radius * info.radius;
    if (index_.space().estimate() == Estimate::l2 && !index_.space().is_spherical() &&
        query_.square < much_nearer * usual) {
        return unlearned * static_cast<double>(query_.square / usual);
    }
    return square <= reach * reach ? std::numeric_limits<double>::infinity() : unlearned;
}

// Squared: how far the nearest row is from a query like the rows. Of rows that fill the cell evenly it is the radius
// over the root of their number, in as many dimensions as they have (the inverse of the variance of cosines between
// them). Where few are filled, a query may lie within a cell and in a hollow between its rows, which the way to the
// centroid does not tell. In many dimensions one row is hardly nearer than another, and there is no such law of real
// data.
double CellSearch::usual_to_nearest() const {
    constexpr float few_dimensions = 8;
    const float variance = learned().cosine_variance;
    if (index_.space().estimate() == Estimate::product || ranked_.empty() || !(variance * few_dimensions > 1)) {
        return std::numeric_limits<double>::infinity();
    }
    const CellInfo& info = directory_->info(ranked_.front().cell);
    const double root = std::pow(std::max<double>(info.primaries, 1), static_cast<double>(variance));
    const double usual = static_cast<double>(info.radius) / root;
    return usual * usual;
}

// From the query to the centroid.
float CellSearch::square_to(const RankedCell& at) const {
    const float norm = directory_->info(at.cell).norm;
    return at.square >= 0 ? at.square : query_.square + norm * norm - 2 * at.product;
}

void CellSearch::place_ranked() {
    for (; placed_ < ranked_.size(); ++placed_) {
        model_.place(ranked_[placed_]);
    }
    for (const RankedCell& at : ranking_.pool) {
        model_.place(at);
    }
}

// What is not nearer is of no use: the k-th best measured, or the distance asked for.
float CellSearch::reach(const CellQuery& query, const std::vector<Neighbor>& best) const {
    double out = query.rows != nullptr ? query.rows->distance_below : std::numeric_limits<double>::infinity();
    if (query.k > 0 && best.size() == query.k) {
        out = std::min(out, best.front().reported());
    }
    out /= unit_;
    return static_cast<float>(out + std::abs(out) * static_cast<double>(rounding));
}

// Cells that are scanned in the time in which what all cells let expect is summed.
std::size_t CellSearch::cells_per_sum(std::size_t live) {
    constexpr std::size_t summed_per_scanned = 256;
    return live / summed_per_scanned;
}

// Whether so few are expected within `limit` that a search may end. To sum what all cells let expect takes as long as
// scanning several of them, so it is done where the sum made last, brought to this limit as sums fell from limit to
// limit before, comes near to `target`; and each time that twice as many cells were scanned.
bool CellSearch::may_end(float limit, double target, std::size_t cells) const {
    constexpr double cautious = 1.5;
    if (cells < expected_at_ + cells_per_sum(directory_->live())) {
        return false;
    }
    if (expected_at_ == 0 || cells >= 2 * expected_at_) {
        return true;
    }
    const double fallen = static_cast<double>(expected_.limit) - static_cast<double>(limit);
    return expected_.left * std::exp(-cautious * expected_slope_ * fallen) <= cautious * target;
}

void CellSearch::expect_near(float limit) {
    const double start = is_timed_ ? now_us() : 0;
    const double before = expected_.left;
    const double fallen = static_cast<double>(expected_.limit) - static_cast<double>(limit);
    model_.expect(limit, expected_);
    if (expected_at_ > 0 && fallen > 0 && expected_.left > 0 && before > expected_.left) {
        expected_slope_ = std::log(before / expected_.left) / fallen;
    }
    expecting_us_ += is_timed_ ? now_us() - start : 0;
}

// `exact`: looking at every row is cheaper.
Status CellSearch::scan_cells(const CellQuery& query, std::vector<Neighbor>& out, bool& exact) {
    const bool filtered = query.slots != nullptr && query.slots->limited;
    // Rows that pass and lie together are counted cell by cell; others lie in all cells, a share of each.
    const CellMatches* matches = query.uneven();
    const double all = static_cast<double>(std::max<std::uint64_t>(index_.state().rows, 1));
    const double rows = matches != nullptr ? static_cast<double>(query.slots->count) : all;
    const double of_all = filtered ? std::min(static_cast<double>(query.slots->count) / all, 1.0) : 1.0;
    const double share = matches != nullptr ? 1.0 : of_all;
    double counted_entries = 0;
    const std::size_t live = directory_->live();
    const double start = now_us();
    width_ = normal_quantile(2 * lost_by_signs * (1 - query.recall));
    fine_width_ = width_for_codes(query.recall);
    const double misses = misses_for(query.recall, wanted_among_all(query));
    // Fewer rows than k may lie within a distance: nothing was learned of so near ones, nor of none.
    const bool within = query.rows != nullptr && query.rows->distance_below != std::numeric_limits<double>::infinity();
    ranked_.clear();
    placed_ = 0;
    scans_.clear();
    held_.clear();
    directory_->begin_ranking(query_, ranking_);
    model_.begin(index_.space(), query_, ranking_.estimates);
    if (matches != nullptr) {
        model_.count_only(matches->rows);
    }
    if (trace_ == nullptr) {
        const LearnedRecall& known = learned();
        model_.suppose(known.cosine_mean, known.cells_then > 0 ? known.cosine_variance : 1 / static_cast<float>(dim_));
    }
    const double cells = learned_cells(query.recall, query.k) / std::sqrt(of_all) + 8;
    const double most_counted = most_cells_counted(query.recall, query.k) / std::sqrt(of_all);
    rank_more(query.cells > 0
                  ? query.cells
                  : static_cast<std::size_t>(cells < static_cast<double>(live) ? std::max(cells, 1.0)
                                                                               : static_cast<double>(live)));
    rank_finely_if_close();
    if (trace_ != nullptr) {
        VSS_TRY(rank_as_stranger(stranger_, ranked_));
    }
    place_ranked();
    // Nothing was learned of rows that lie together.
    const double unlearned = expected_unlearned * (1 - query.recall);
    double most =
        std::min(most_expected(query.recall), matches != nullptr ? unlearned : std::numeric_limits<double>::infinity());
    const double usual = usual_to_nearest();
    double rank_us = now_us() - start;
    seen_.resize(segments_.size() * rows_.segment_slots() / 64 + 1);
    passed_.clear();
    for (const std::uint32_t slot : index_.tail()) {
        if ((query.slots == nullptr || query.slots->passes(slot)) && (trace_ == nullptr || slot != stranger_)) {
            passed_.push_back({-infinity, 0, infinity, slot});
        }
    }
    float limit = reach(query, out);
    bool known = limit != infinity;
    // A search that learns for several k looks as early as that for the fewest: none may end where none was seen.
    const std::size_t least_wanted = trace_ != nullptr ? LearnedRecall::ks[trace_->first] : query.k;
    const std::size_t enough = least_wanted + least_wanted / 2 + first_passed + passed_.size();
    std::size_t looked_at = 0;
    std::size_t next_look = 0;
    std::uint64_t passed_before = 0;
    std::uint64_t entries_before = 0;
    expected_at_ = 0;
    expected_slope_ = 0;
    expected_.restart();
    if (known) {
        VSS_TRY(look_at_passed(query, false, out));
        expect_near(limit);
    }
    const double at_first = std::min(expected_.left, 1.0);
    BlockAt ahead;
    Status status = Status::ok();
    for (std::size_t i = 0;; ++i) {
        // What is expected to be missed counts once: a row's second copy was scanned as often as other entries.
        const auto target = [&] {
            const double unseen = std::max(1 - counted_entries / (2 * rows), 0.0);
            const auto counted = std::clamp(static_cast<double>(costs_.cells), 1.0, most_counted);
            double each = std::min(misses * counted, most);
            double found = static_cast<double>(std::max<std::size_t>(out.size(), 1));
            if (within && out.size() < query.k) {
                const auto among_all = static_cast<std::size_t>(found / of_all);
                each = std::min({each, misses_for(query.recall, among_all) * counted, unlearned});
                found = out.empty() ? at_first : found;
            }
            return each * found / std::max(share * unseen, 1e-9);
        };
        const bool at_end = i == live || (query.cells > 0 && i == query.cells);
        const bool ends = known && query.cells == 0 && trace_ == nullptr && expected_.left <= target();
        if (known ? i >= next_look || passed_.size() >= most_passed || ends : passed_.size() >= enough) {
            if (known) {
                passed_before += passed_.size();
            }
            if (!(known && passed_.empty() && looked_at == i && i > 0)) {
                status = look_at_passed(query, !known, out);
                if (!status.is_ok()) {
                    break;
                }
                limit = reach(query, out);
                if (!out.empty() && usual < std::numeric_limits<double>::infinity() &&
                    std::min_element(out.begin(), out.end())->reported() > usual * unit_) {
                    most = std::min(most, unlearned);
                }
                if (!known) {
                    entries_before = costs_.entries;
                }
                known = limit != infinity;
                looked_at = i;
                next_look = i + std::max(least_between_looks, i / 2);
                if (trace_ != nullptr) {
                    expect_by_k(out);
                } else if (known && !ends && may_end(limit, target(), i)) {
                    expect_near(limit);
                    expected_at_ = i;
                }
            }
            if (known && query.cells == 0 && trace_ == nullptr) {
                if (expected_.left <= target()) {
                    break;
                }
                const std::uint64_t entries = costs_.entries - entries_before;
                if (entries >= least_entries_to_tell && std::isfinite(expected_.left) &&
                    costs_more_than_all(target(), passed_before, entries, query)) {
                    exact = true;
                    break;
                }
            }
        }
        if (trace_ != nullptr && std::any_of(expected_by_k_.begin(), expected_by_k_.end(),
                                             [](const Expected& expected) { return expected.is_worn(); })) {
            expect_by_k(out);
        }
        if (trace_ != nullptr && i > 0 && note_expected(rows)) {
            break;
        }
        if (at_end) {
            break;
        }
        if (i == ranked_.size()) {
            const double more = now_us();
            rank_more(2 * i);
            place_ranked();
            rank_us += now_us() - more;
            if (i == ranked_.size()) {
                break;
            }
        }
        // What is not scanned should not be read.
        status = open_cells(i + cells_ahead, matches);
        if (!status.is_ok()) {
            break;
        }
        if (i == 0) {
            ahead = {0, 0};
            for (std::size_t step = 0; step < blocks_ahead && find_block(ahead); ++step) {
                ++ahead.block;
            }
        }
        const std::uint32_t cell = ranked_[i].cell;
        model_.scanned(cell);
        if (known && trace_ == nullptr) {
            expected_.scanned(cell);
        }
        if (trace_ != nullptr) {
            for (Expected& expected : expected_by_k_) {
                expected.scanned(cell);
            }
        }
        status = scan_cell(i, ahead, query, limit);
        if (!status.is_ok()) {
            break;
        }
        model_.end_cell();
        costs_.entries += scans_[i].entries;
        counted_entries += matches != nullptr ? matches->entries[cell] : scans_[i].entries;
        costs_.cells += scans_[i].blocks > 0 || matches == nullptr ? 1U : 0U;
    }
    if (status.is_ok() && !exact && !passed_.empty()) {
        status = look_at_passed(query, !known, out);
    }
    for (const std::uint32_t slot : seen_slots_) {
        seen_[slot / 64] = 0;
    }
    seen_slots_.clear();
    held_.clear();
    release_chunks();
    costs_.rank_us = rank_us;
    costs_.scan_us = now_us() - start - rank_us - costs_.refine_us - costs_.rerank_us;
    if (is_timed_ && trace_ == nullptr && status.is_ok() && made_ == 0 && costs_.chunks_read == 0 &&
        costs_.cold_rows == 0) {
        if (costs_.entries >= least_entries_to_time) {
            units_.entry.note(costs_.scan_us - expecting_us_, costs_.entries);
        }
        units_.refine.note(costs_.refine_us, costs_.refined);
        units_.measure.note(costs_.rerank_us, costs_.reranked);
    }
    return status;
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
