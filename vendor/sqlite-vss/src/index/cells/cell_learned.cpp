// CellSearch: what a search makes of what its table has learned (cell_learn.cpp).
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "index/cells/cell_search.h"

namespace vss {
namespace {

// Where a table has n times as many cells, a search scans about n to this power as many for the same recall.
constexpr double cells_grow = 0.4;

// Where a recall lies among LearnedRecall::levels, by the logarithm of what it lets be missed: between `first` and the
// next, `steps` of the way: below 0 or above 1 beyond the ends, where `factor` says how much more or less may be
// missed.
struct Between {
    std::size_t first = 0;
    double steps = 0;
    double factor = 1;
};

Between level_of(double recall) {
    const auto& levels = LearnedRecall::levels;
    const double missed = std::max(1 - recall, 1e-9);
    const auto missed_at = [&](std::size_t i) { return 1 - static_cast<double>(levels[i]); };
    std::size_t next = 1;
    while (next + 1 < levels.size() && missed < missed_at(next)) {
        ++next;
    }
    const double steps = std::log(missed_at(next - 1) / missed) / std::log(missed_at(next - 1) / missed_at(next));
    const double end = missed_at(steps < 0 ? next - 1 : next);
    return {next - 1, steps, steps < 0 || steps > 1 ? missed / end : 1};
}

double between(const std::array<float, LearnedRecall::levels.size()>& of, const Between& at) {
    const double share = std::clamp(at.steps, 0.0, 1.0);
    return static_cast<double>(of[at.first]) * (1 - share) + static_cast<double>(of[at.first + 1]) * share;
}

}  // namespace

// How many times as many cells searches scan as when that was learned, as there are more cells. Before the first search
// nothing is known of the cells.
double CellSearch::scanned_grew() const {
    const auto then = static_cast<double>(learned().cells_then);
    const double live = directory_ != nullptr ? std::max(static_cast<double>(directory_->live()), 1.0) : then;
    return std::pow(live / then, cells_grow);
}

// The misses that may be expected for each neighbour wanted and each cell scanned when a search of that recall ends;
// below 0: it should look at every row, by codes (-1) or by the rows themselves (-2).
double CellSearch::misses_for(double recall, std::size_t k) const {
    const LearnedRecall& learned = this->learned();
    if (learned.cells_then == 0) {
        // Nothing was learned, as in a file of format 1: a fifth of what the model says.
        return (1 - recall) / 5;
    }
    const Between level = level_of(recall);
    // What is expected where a search ends is the same, for more cells scanned.
    const double grown = 1 / scanned_grew();
    const auto at = [&](std::size_t i) {
        const double low = static_cast<double>(learned.misses[i][level.first]);
        const double high = static_cast<double>(learned.misses[i][level.first + 1]);
        if (low <= 0 || high <= 0) {
            return low < -1 || high < -1 ? -2.0 : -1.0;
        }
        // Beyond what was measured as it went there, or more cautiously.
        const double goes_on = std::exp(std::log(low) * (1 - level.steps) + std::log(high) * level.steps);
        const double end = level.steps < 0 ? low : high;
        return grown * (level.factor == 1 ? goes_on : std::min(goes_on, level.factor * end));
    };
    const auto& ks = LearnedRecall::ks;
    std::size_t upper = 1;
    while (upper + 1 < ks.size() && k > ks[upper]) {
        ++upper;
    }
    const double share = std::clamp(
        std::log(static_cast<double>(k) / ks[upper - 1]) / std::log(static_cast<double>(ks[upper]) / ks[upper - 1]),
        0.0, 1.0);
    const double low = at(share < 1 ? upper - 1 : upper);
    const double high = at(share > 0 ? upper : upper - 1);
    if (k > ks.back() && high > 0 && at(ks.size() - 2) > 0) {
        // What was not measured: fewer and fewer, if that is how it went.
        const double times = std::min(high / at(ks.size() - 2), 1.0);
        const double steps =
            std::log(static_cast<double>(k) / ks.back()) / std::log(static_cast<double>(ks.back()) / ks[ks.size() - 2]);
        return high * std::pow(times, steps);
    }
    return low < 0 || high < 0 ? std::min(low, high) : std::exp(std::log(low) * (1 - share) + std::log(high) * share);
}

// A search that scans so many cells is unlike those of the table's rows; from there on it is not easier to end it.
double CellSearch::most_cells_counted(double recall, std::size_t k) const {
    constexpr double times = 4;
    return learned().cells_then == 0 ? 1 : std::max(times * learned_cells(recall, k), 1.0);
}

// The k nearest that pass a filter lie as far away as so many would without it.
std::size_t CellSearch::wanted_among_all(const CellQuery& query) const {
    if (query.slots == nullptr || !query.slots->limited || query.slots->count == 0) {
        return query.k;
    }
    const auto rows = static_cast<double>(index_.state().rows);
    const double share = std::min(static_cast<double>(query.slots->count) / std::max(rows, 1.0), 1.0);
    return static_cast<std::size_t>(std::min(static_cast<double>(query.k) / share, rows));
}

// Cells that such a search scans, more or less: so many are ranked at first.
double CellSearch::learned_cells(double recall, std::size_t k) const {
    const LearnedRecall& learned = this->learned();
    if (learned.cells_then == 0) {
        return static_cast<double>(directory_->live()) / 8;
    }
    return between(learned.cells, level_of(recall)) * scanned_grew() *
           std::pow(std::max(static_cast<double>(k) / 10, 0.1), 0.35);
}

// Of all entries.
double CellSearch::learned_share(double recall) const {
    const LearnedRecall& learned = this->learned();
    return learned.cells_then == 0 ? 0.25 : between(learned.scanned, level_of(recall));
}

}  // namespace vss
