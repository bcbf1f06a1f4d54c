// CellSearch: how many cells a recall needs, measured on the table's own rows.
#include <algorithm>
#include <bit>
#include <cmath>

#include "cell_search.h"
#include "rotation.h"

namespace vss {
namespace {

constexpr std::size_t learned_k = 10;
constexpr double truth_recall = 0.95;
constexpr std::size_t least_cells_scanned = 400;
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
            if (at - last > patience + last / 2) {
                break;
            }
            last = at + 1;
        }
        const std::uint32_t end = std::min(last + patience + last / 2 + 1, cells);
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
    const std::size_t cells = std::min(live, std::max(least_cells_scanned, live / 2));
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
        // Half of the cells are scanned, and some hundred candidates are measured; hardly a neighbour lies beyond. The
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

}  // namespace vss
