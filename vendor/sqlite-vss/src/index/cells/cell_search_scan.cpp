// CellSearch: one query's way through the cells, from their ranking until few enough neighbours are expected in the
// others.
#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <limits>

#include "base/prefetch.h"
#include "index/cells/cell_search.h"

namespace vss {
namespace {

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

// An estimate errs by |rescale| sin / 2 |q - c| (the code's own error, docs/design/cells.md) and by |rescale| times
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
            seen_slots_.push_back(slot);
            word |= bit;
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

// What a search leaves here the next one would pass over.
void CellSearch::forget_seen() {
    for (const std::uint32_t slot : seen_slots_) {
        seen_[slot / 64] = 0;
    }
    seen_slots_.clear();
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

// What a scan knows on its way through the cells.
struct CellSearch::Scan {
    Scan(const CellQuery& of, std::vector<Neighbor>& found)
        : query(of), matches(of.uneven()), best(found), fixed(of.cells > 0) {}

    const CellQuery& query;
    const CellMatches* matches;   // where rows that pass lie together: counted cell by cell; else a share of all cells'
    std::vector<Neighbor>& best;  // a heap
    bool fixed;                   // as many cells as the query says
    double rows = 0;              // that are scanned in the end: those that pass where they are counted, else all
    double of_all = 1;            // the share of all rows that pass
    double misses = 0;            // that may be expected for each neighbour and cell
    double most_counted = 0;      // of those cells
    double most = 0;              // misses for each neighbour, at most
    double usual = 0;             // squared: how far the nearest row is from queries like the rows
    double at_first = 1;          // what was expected before anything was found, one row at most
    float limit = 0;              // what is not nearer is of no use
    bool known = false;           // there is a limit
    std::size_t enough = 0;       // rows that pass before the first look at them
    std::size_t cells = 0;        // scanned, or passed over
    std::size_t looked_at = 0;    // of cells, when passed_ was looked at last
    std::size_t next_look = 0;
    double counted_entries = 0;  // scanned, of rows that count
    std::uint64_t passed = 0;    // looked at since a limit was known
    std::uint64_t entries_before = 0;
    double rank_us = 0;
    BlockAt ahead;
};

Status CellSearch::begin_scan(Scan& scan) {
    const CellQuery& query = scan.query;
    const bool filtered = query.slots != nullptr && query.slots->limited;
    const double all = static_cast<double>(std::max<std::uint64_t>(index_.state().rows, 1));
    scan.rows = scan.matches != nullptr ? static_cast<double>(query.slots->count) : all;
    scan.of_all = filtered ? std::min(static_cast<double>(query.slots->count) / all, 1.0) : 1.0;
    width_ = normal_quantile(2 * lost_by_signs * (1 - query.recall));
    fine_width_ = width_for_codes(query.recall);
    scan.misses = misses_for(query.recall, wanted_among_all(query));
    scan.most_counted = most_cells_counted(query.recall, query.k) / std::sqrt(scan.of_all);
    ranked_.clear();
    placed_ = 0;
    scans_.clear();
    held_.clear();
    forget_seen();  // of a search that ran out of memory
    seen_.resize(segments_.size() * rows_.segment_slots() / 64 + 1);
    passed_.clear();
    expected_at_ = 0;
    expected_slope_ = 0;
    expected_.restart();
    directory_->begin_ranking(query_, ranking_);
    model_.begin(index_.space(), query_, ranking_.estimates);
    if (scan.matches != nullptr) {
        model_.count_only(scan.matches->rows);
    }
    if (trace_ == nullptr) {
        const LearnedRecall& known = learned();
        model_.suppose(known.cosine_mean, known.cells_then > 0 ? known.cosine_variance : 1 / static_cast<float>(dim_));
    }
    const double live = static_cast<double>(directory_->live());
    const double likely = learned_cells(query.recall, query.k) / std::sqrt(scan.of_all) + 8;
    rank_more(scan.fixed ? query.cells : static_cast<std::size_t>(likely < live ? std::max(likely, 1.0) : live));
    rank_finely_if_close();
    if (trace_ != nullptr) {
        VSS_TRY(rank_as_stranger(stranger_, ranked_));
    }
    place_ranked();
    scan.most = most_expected(query.recall);
    if (scan.matches != nullptr) {
        // Nothing was learned of rows that lie together.
        scan.most = std::min(scan.most, expected_unlearned * (1 - query.recall));
    }
    scan.usual = usual_to_nearest();
    return Status::ok();
}

// The rows that are in no cell yet, and what is known before any cell was scanned.
Status CellSearch::begin_with_tail(Scan& scan) {
    const CellQuery& query = scan.query;
    for (const std::uint32_t slot : index_.tail()) {
        if ((query.slots == nullptr || query.slots->passes(slot)) && (trace_ == nullptr || slot != stranger_)) {
            passed_.push_back({-infinity, 0, infinity, slot});
        }
    }
    // A search that learns for several k looks as early as that for the fewest: none may end where none was seen.
    const std::size_t wanted = trace_ != nullptr ? LearnedRecall::ks[trace_->first] : query.k;
    scan.enough = wanted + wanted / 2 + first_passed + passed_.size();
    scan.limit = reach(query, scan.best);
    scan.known = scan.limit != infinity;
    if (scan.known) {
        VSS_TRY(look_at_passed(query, false, scan.best));
        expect_near(scan.limit);
    }
    scan.at_first = std::min(expected_.left, 1.0);
    return Status::ok();
}

// So few may be expected in the cells not scanned that the scan ends.
double CellSearch::may_be_left(const Scan& scan) const {
    const CellQuery& query = scan.query;
    const auto counted = std::clamp(static_cast<double>(costs_.cells), 1.0, scan.most_counted);
    double each = std::min(scan.misses * counted, scan.most);
    double found = static_cast<double>(std::max<std::size_t>(scan.best.size(), 1));
    // Fewer rows than k may lie within a distance: nothing was learned of so near ones, nor of none.
    if (query.rows != nullptr && query.rows->distance_below != std::numeric_limits<double>::infinity() &&
        scan.best.size() < query.k) {
        const auto among_all = static_cast<std::size_t>(found / scan.of_all);
        each = std::min({each, misses_for(query.recall, among_all) * counted, expected_unlearned * (1 - query.recall)});
        found = scan.best.empty() ? scan.at_first : found;
    }
    // What is expected to be missed counts once: a row's second copy was scanned as often as other entries.
    const double unseen = std::max(1 - scan.counted_entries / (2 * scan.rows), 0.0);
    const double share = scan.matches != nullptr ? 1.0 : scan.of_all;
    return each * found / std::max(share * unseen, 1e-9);
}

// Whether it is time to measure what passed: whenever half as many cells again were scanned, where much has passed, and
// before the end.
bool CellSearch::is_look_due(const Scan& scan) const {
    return scan.known ? scan.cells >= scan.next_look || passed_.size() >= most_passed ||
                            (!scan.fixed && trace_ == nullptr && expected_.left <= may_be_left(scan))
                      : passed_.size() >= scan.enough;
}

Status CellSearch::look(Scan& scan) {
    const bool ends = scan.known && !scan.fixed && trace_ == nullptr && expected_.left <= may_be_left(scan);
    scan.passed += scan.known ? passed_.size() : 0;
    if (scan.known && passed_.empty() && scan.looked_at == scan.cells && scan.cells > 0) {
        return Status::ok();
    }
    VSS_TRY(look_at_passed(scan.query, !scan.known, scan.best));
    scan.limit = reach(scan.query, scan.best);
    if (!scan.best.empty() && scan.usual < std::numeric_limits<double>::infinity() &&
        std::min_element(scan.best.begin(), scan.best.end())->reported() > scan.usual * unit_) {
        scan.most = std::min(scan.most, expected_unlearned * (1 - scan.query.recall));
    }
    if (!scan.known) {
        scan.entries_before = costs_.entries;
    }
    scan.known = scan.limit != infinity;
    scan.looked_at = scan.cells;
    scan.next_look = scan.cells + std::max(least_between_looks, scan.cells / 2);
    if (trace_ != nullptr) {
        expect_by_k(scan.best);
    } else if (scan.known && !ends && may_end(scan.limit, may_be_left(scan), scan.cells)) {
        expect_near(scan.limit);
        expected_at_ = scan.cells;
    }
    return Status::ok();
}

// After a look. `exact`: looking at every row is cheaper than to go on.
bool CellSearch::is_found(const Scan& scan, bool& exact) const {
    if (!scan.known || scan.fixed || trace_ != nullptr) {
        return false;
    }
    const double left = may_be_left(scan);
    if (expected_.left <= left) {
        return true;
    }
    const std::uint64_t entries = costs_.entries - scan.entries_before;
    exact = entries >= least_entries_to_tell && std::isfinite(expected_.left) &&
            costs_more_than_all(left, scan.passed, entries, scan.query);
    return exact;
}

// The next of the cells ranked; `at_end`: there is none.
Status CellSearch::scan_next(Scan& scan, bool& at_end) {
    const std::size_t i = scan.cells;
    at_end = i == directory_->live() || (scan.fixed && i == scan.query.cells);
    if (!at_end && i == ranked_.size()) {
        const double start = now_us();
        rank_more(2 * i);
        place_ranked();
        scan.rank_us += now_us() - start;
        at_end = i == ranked_.size();
    }
    if (at_end) {
        return Status::ok();
    }
    // What is not scanned should not be read.
    VSS_TRY(open_cells(i + cells_ahead, scan.matches));
    if (i == 0) {
        scan.ahead = {0, 0};
        for (std::size_t step = 0; step < blocks_ahead && find_block(scan.ahead); ++step) {
            ++scan.ahead.block;
        }
    }
    const std::uint32_t cell = ranked_[i].cell;
    model_.scanned(cell);
    if (trace_ != nullptr) {
        for (Expected& expected : expected_by_k_) {
            expected.scanned(cell);
        }
    } else if (scan.known) {
        expected_.scanned(cell);
    }
    VSS_TRY(scan_cell(i, scan.ahead, scan.query, scan.limit));
    model_.end_cell();
    costs_.entries += scans_[i].entries;
    costs_.cells += scans_[i].blocks > 0 || scan.matches == nullptr ? 1U : 0U;
    scan.counted_entries += scan.matches != nullptr ? scan.matches->entries[cell] : scans_[i].entries;
    ++scan.cells;
    return Status::ok();
}

Status CellSearch::scan_until_found(Scan& scan, bool& exact) {
    for (bool at_end = false; !at_end;) {
        if (is_look_due(scan)) {
            VSS_TRY(look(scan));
            if (is_found(scan, exact)) {
                break;
            }
        }
        if (trace_ != nullptr && has_told_enough(scan.rows, scan.best)) {
            break;
        }
        VSS_TRY(scan_next(scan, at_end));
    }
    return exact || passed_.empty() ? Status::ok() : look_at_passed(scan.query, !scan.known, scan.best);
}

// `exact`: looking at every row is cheaper.
Status CellSearch::scan_cells(const CellQuery& query, std::vector<Neighbor>& out, bool& exact) {
    const double start = now_us();
    Scan scan(query, out);
    VSS_TRY(begin_scan(scan));
    scan.rank_us = now_us() - start;
    VSS_TRY(begin_with_tail(scan));
    Status status = scan_until_found(scan, exact);
    forget_seen();
    held_.clear();
    release_chunks();
    costs_.rank_us = scan.rank_us;
    costs_.scan_us = now_us() - start - scan.rank_us - costs_.refine_us - costs_.rerank_us;
    if (status.is_ok()) {
        note_units();
    }
    return status;
}

// What the parts of this search took, where it was timed and nothing else was done meanwhile.
void CellSearch::note_units() {
    if (!is_timed_ || trace_ != nullptr || made_ > 0 || costs_.chunks_read > 0 || costs_.cold_rows > 0) {
        return;
    }
    if (costs_.entries >= least_entries_to_time) {
        units_.entry.note(costs_.scan_us - expecting_us_, costs_.entries);
    }
    units_.refine.note(costs_.refine_us, costs_.refined);
    units_.measure.note(costs_.rerank_us, costs_.reranked);
}

}  // namespace vss
