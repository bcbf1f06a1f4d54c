// CellSearch: what a recall needs, measured on the table's own rows, and what a search makes of it.
#include <algorithm>
#include <bit>
#include <cmath>

#include "cell_search.h"
#include "rotation.h"

namespace vss {
namespace {

constexpr std::size_t learned_k = 10;
constexpr double truth_recall = 0.95;
constexpr std::size_t least_cells_scanned = 500;
// An entry among so many best, and half as many as are wanted, is near.
constexpr std::size_t near_beside = 15;
// What the figure for a recall aims at: a little more, since few rows are asked and candidates can be lost on the way.
constexpr double caution = 0.25;

// One row asked: the places, from 0 on, of the cells that brought something near, and those, from 1 on, where its
// neighbours were found.
struct Sample {
    std::vector<std::uint32_t> near;
    std::vector<std::uint32_t> places;
};

struct Patient {
    std::size_t found = 0;  // neighbours
    std::size_t cells = 0;  // scanned by all searches together
};

// What searches of that patience do (as scan_cells stops).
Patient searched(const std::vector<Sample>& sampled, std::uint32_t patience, std::uint32_t cells) {
    Patient out;
    for (const Sample& sample : sampled) {
        std::uint32_t last = 0;
        for (const std::uint32_t at : sample.near) {
            if (at - last > CellSearch::awaited(patience, last)) {
                break;
            }
            last = at + 1;
        }
        const auto end = std::min<std::size_t>(last + CellSearch::awaited(patience, last) + 1, cells);
        out.cells += end;
        out.found += static_cast<std::size_t>(
            std::count_if(sample.places.begin(), sample.places.end(), [&](std::uint32_t at) { return at <= end; }));
    }
    return out;
}

// A query is no member of any cell, but a row has pulled its own cell's centroid c towards itself: in cells of a
// hundred rows enough to move that cell forward by several places. This is its score had the row x never been there,
// from c' = (n c - x) / (n - 1) for means of n rows. A centroid of directions is the sum of its members brought to
// length 1; that sum is about n <x, c> long.
float score_without(float score, const CellInfo& info, double square, Estimate estimate, bool spherical) {
    const double n = std::max<double>(info.primaries, 2);
    if (spherical) {
        const double cosine = -static_cast<double>(score) / std::max(std::sqrt(square), 1e-30);
        const double sum = n * cosine;
        const double rest = sum * sum - 2 * sum * cosine + 1;
        return static_cast<float>((1 - sum * cosine) / std::sqrt(std::max(rest, 1e-12)) * std::sqrt(square));
    }
    if (estimate == Estimate::product) {
        return static_cast<float>((n * static_cast<double>(score) + square) / (n - 1));
    }
    return static_cast<float>((static_cast<double>(score) + square) * (n / (n - 1)) * (n / (n - 1)) - square);
}

}  // namespace

// Moves the row's own cell back to where it would be without the row.
Status CellSearch::rank_as_stranger(std::uint32_t slot, std::vector<RankedCell>& ranked) {
    for (std::size_t i = 0; i < ranked.size(); ++i) {
        RankedCell at = ranked[i];
        std::shared_ptr<const CodeBlocks> held;
        const CodeBlocks* codes = nullptr;
        VSS_TRY(cell_codes(at.cell, held, codes));
        if (codes->find(slot) == codes->size()) {
            continue;
        }
        const CellSpace& space = index_.space();
        at.score =
            score_without(at.score, directory_->info(at.cell), query_.square, space.estimate(), space.is_spherical());
        ranked.erase(ranked.begin() + static_cast<std::ptrdiff_t>(i));
        ranked.insert(std::lower_bound(ranked.begin(), ranked.end(), at,
                                       [](const RankedCell& a, const RankedCell& b) { return a.score < b.score; }),
                      at);
        break;
    }
    return Status::ok();
}

Status CellSearch::learn(std::size_t samples, LearnedRecall& out) {
    out = {};
    VSS_TRY(refresh());
    if (!index_.state().is_celled() || segments_.empty()) {
        return Status::ok();
    }
    // Where a row's neighbours are: the place of the nearer of their two cells in the ranking for the row.
    std::vector<std::uint32_t> places;
    std::vector<Sample> sampled;
    SplitMix random(index_.state().rows);
    const std::size_t segment_slots = rows_.segment_slots();
    std::vector<std::byte> vector(rows_.vector_bytes());
    const std::size_t live = directory_->live();
    const std::size_t cells = std::min(live, std::max(least_cells_scanned, live / 8));
    std::size_t asked = 0;
    for (std::size_t tries = 0; asked < samples && tries < 20 * samples; ++tries) {
        const auto slot = static_cast<std::uint32_t>(random.below(segments_.size() * segment_slots));
        bool live = false;
        std::int64_t rowid = 0;
        VSS_TRY(rows_.read_slot(slot, live, rowid, vector));
        if (!live) {
            continue;
        }
        ++asked;
        // So many cells are scanned, and some hundred candidates are measured; hardly a neighbour lies beyond. The
        // few that codes of one bit miss are as likely to be in one cell as in another, and proving that none is missed
        // takes 4-bit codes of all rows.
        CellQuery query{vector.data(), learned_k + 1, truth_recall, nullptr, nullptr, cells};
        std::vector<Neighbor> found;
        keeps_slots_ = true;
        stranger_ = slot;
        const Status status = search(query, found);
        keeps_slots_ = false;
        VSS_TRY(status);
        std::erase_if(found, [&](const Neighbor& neighbor) { return neighbor.rowid == rowid; });
        std::vector<std::uint32_t> wanted;
        wanted.reserve(found.size());
        for (const Neighbor& neighbor : found) {
            wanted.push_back(measured_slots_.at(neighbor.rowid));
        }
        std::vector<std::uint32_t> place(wanted.size(), UINT32_MAX);
        std::size_t left = wanted.size();
        for (std::uint32_t i = 0; i < ranked_.size() && left > 0; ++i) {
            std::shared_ptr<const CodeBlocks> held;
            const CodeBlocks* codes = nullptr;
            VSS_TRY(cell_codes(ranked_[i].cell, held, codes));
            for (std::size_t w = 0; w < wanted.size(); ++w) {
                if (place[w] == UINT32_MAX && (codes->find(wanted[w]) != codes->size() ||
                                               codes->find(wanted[w] | second_copy) != codes->size())) {
                    place[w] = i + 1;
                    --left;
                }
            }
        }
        std::erase(place, UINT32_MAX);  // its row is in the tail, which is always looked at
        places.insert(places.end(), place.begin(), place.end());
        sampled.push_back({near_cells_, std::move(place)});
    }
    std::sort(places.begin(), places.end());
    if (places.empty()) {
        return Status::ok();
    }
    out.cells_then = static_cast<std::uint32_t>(directory_->live());
    for (std::size_t i = 0; i < LearnedRecall::levels.size(); ++i) {
        const double level = LearnedRecall::levels[i];
        const double aim = level + (1 - level) * caution;
        const auto at =
            std::min(static_cast<std::size_t>(std::ceil(aim * static_cast<double>(places.size()))), places.size());
        out.cells[i] = places[at > 0 ? at - 1 : 0];
        // The least patience that reaches as many.
        std::uint32_t low = 0;
        std::uint32_t high = out.cells_then;
        while (low < high) {
            const std::uint32_t middle = low + (high - low) / 2;
            if (searched(sampled, middle, out.cells_then).found >= at) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        const bool pays = searched(sampled, low, out.cells_then).cells < std::size_t{out.cells[i]} * sampled.size();
        out.patience[i] = pays ? low : LearnedRecall::none;
    }
    return Status::ok();
}

// What was learned for the recall, or between two recalls, or beyond the last; in a table of as many cells as now.
double CellSearch::learned_for(float recall, const std::array<std::uint32_t, LearnedRecall::levels.size()>& of,
                               const std::array<std::uint32_t, LearnedRecall::levels.size()>& typical) const {
    const LearnedRecall& learned = index_.state().learned;
    const auto& levels = LearnedRecall::levels;
    // Before anything is learned: what real sentence embeddings need of 1,500 cells.
    const double then = learned.cells_then > 0 ? learned.cells_then : 1500;
    const auto at = [&](std::size_t i) {
        const std::uint32_t value = learned.cells_then > 0 ? of[i] : typical[i];
        return value == LearnedRecall::none ? 0.0 : static_cast<double>(value);
    };
    double wanted = at(levels.size() - 1) * 2;  // beyond the last level
    if (recall <= levels.front()) {
        wanted = at(0);
    }
    for (std::size_t i = 1; i < levels.size() && recall > levels.front(); ++i) {
        if (recall <= levels[i]) {
            const double share = (recall - levels[i - 1]) / (levels[i] - levels[i - 1]);
            wanted = at(i - 1) + (at(i) - at(i - 1)) * share;
            break;
        }
    }
    // More cells: each is smaller, and a few more are needed.
    return wanted * std::pow(static_cast<double>(directory_->live()) / then, 0.4);
}

// Cells that hold enough rows for k, whatever the recall.
double CellSearch::least_cells(std::size_t k) const {
    return 3 * static_cast<double>(k) * static_cast<double>(directory_->live()) /
           static_cast<double>(std::max<std::uint64_t>(index_.state().rows, 1));
}

std::size_t CellSearch::cells_for(double recall, std::size_t k) const {
    static constexpr std::array<std::uint32_t, LearnedRecall::levels.size()> typical = {14, 32, 64, 92, 122, 205, 320};
    const auto live = static_cast<double>(directory_->live());
    double wanted = learned_for(static_cast<float>(recall), index_.state().learned.cells, typical);
    wanted *= k > 10 ? std::pow(static_cast<double>(k) / 10, 0.35) : 1;
    wanted = std::max(wanted, least_cells(k));
    return static_cast<std::size_t>(std::clamp(std::ceil(wanted), 1.0, std::max(live, 1.0)));
}

CellSearch::Stopping CellSearch::stopping_for(double recall, std::size_t k) const {
    static constexpr std::array<std::uint32_t, LearnedRecall::levels.size()> typical = {2, 4, 6, 10, 16, 28, 48};
    const auto live = static_cast<double>(directory_->live());
    const LearnedRecall& learned = index_.state().learned;
    const auto level =
        std::lower_bound(LearnedRecall::levels.begin(), LearnedRecall::levels.end(), static_cast<float>(recall)) -
        LearnedRecall::levels.begin();
    const auto upper = std::min(static_cast<std::size_t>(level), LearnedRecall::levels.size() - 1);
    const bool is_patient = learned.cells_then == 0 || learned.patience[upper] != LearnedRecall::none;
    const double patience = is_patient ? learned_for(static_cast<float>(recall), learned.patience, typical) : 0;
    return {static_cast<std::size_t>(std::clamp(std::ceil(least_cells(k)), 1.0, std::max(live, 1.0))),
            static_cast<std::size_t>(std::ceil(patience)), k / 2 + near_beside, is_patient};
}

}  // namespace vss
