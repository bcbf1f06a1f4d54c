// CellIndex: how cells are split and merged.
#include <algorithm>
#include <limits>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "index/cells/cell_parts.h"
#include "index/cells/cells.h"
#include "index/cells/cluster.h"

namespace vss {
namespace {

constexpr std::size_t local_iterations = 5;
constexpr std::size_t merge_neighbors = 4;
// Of what is left beside the centroids: clustering again at leisure must leave less.
constexpr double worth_changing = 0.98;
// Or so many of the rows must lie elsewhere than they would be put now.
constexpr double worth_moving = 0.05;

}  // namespace

Status CellIndex::balance(std::size_t budget, bool merges_only) {
    std::size_t touched = 0;
    std::uint32_t cell = 0;
    // A cell that is looked at leaves the set, and comes back if it is changed again.
    for (auto at = unbalanced_.begin(); at != unbalanced_.end() && touched < budget;
         at = merges_only ? unbalanced_.upper_bound(cell) : unbalanced_.begin()) {
        cell = *at;
        const bool exists = cell < directory_->size() && directory_->info(cell).version != 0;
        const std::uint32_t primaries = exists ? directory_->info(cell).primaries : 0;
        const bool is_overfull = exists && primaries > tuning_.split_above;
        if (is_overfull && merges_only) {
            continue;
        }
        unbalanced_.erase(at);
        if (is_overfull && primaries >= directory_->info(cell).retry_at) {
            VSS_TRY(recluster(cell, tuning_.neighbors, false, touched));
        } else if (exists && primaries < tuning_.merge_below && directory_->live() > 1) {
            VSS_TRY(recluster(cell, merge_neighbors, false, touched));
        }
    }
    return Status::ok();
}

// Rows of the region with a copy elsewhere than it would be put now.
Status CellIndex::count_misplaced(const Region& region, std::size_t& out) {
    const std::size_t padded = space_->padded();
    const std::size_t choices = std::max<std::size_t>(tuning_.second_choices, 1);
    std::vector<RankedCell> ranked(region.primaries * choices);
    ranker_for(std::numeric_limits<std::uint32_t>::max())
        ->rank(region.rows.data(), region.primaries, choices, ranked.data());
    CrossProducts cross(*directory_, padded);
    Placement at;
    out = 0;
    for (std::size_t i = 0; i < region.primaries; ++i) {
        if (!place(region.rows.data() + i * padded, std::span(ranked).subspan(i * choices, choices), tuning_.copies,
                   cross, at)) {
            return no_near_cell();
        }
        std::shared_ptr<const CodeBlocks> first;
        std::shared_ptr<const CodeBlocks> second;
        VSS_TRY(codes(at.first, directory_->info(at.first), first));
        VSS_TRY(codes(at.second, directory_->info(at.second), second));
        const bool is_there = first->find(region.slots[i]) < first->size() &&
                              (at.second == at.first || second->find(region.slots[i] | second_copy) < second->size());
        out += is_there ? 0U : 1U;
    }
    return Status::ok();
}

// Rows that cells can tell apart: of equal ones no more count than a cell has.
std::size_t CellIndex::rows_apart(const Region& region) const {
    const std::size_t bytes = space_->padded() * sizeof(float);
    std::unordered_map<std::size_t, std::size_t> equal;
    std::size_t count = 0;
    for (std::size_t i = 0; i < region.primaries; ++i) {
        const auto* row = reinterpret_cast<const char*>(region.rows.data() + i * space_->padded());
        count += ++equal[std::hash<std::string_view>{}({row, bytes})] <= tuning_.cell_rows ? 1U : 0U;
    }
    return count;
}

Status CellIndex::gather(const std::vector<std::uint32_t>& cells, Region& region) {
    std::vector<std::uint32_t> firsts;
    std::vector<std::uint32_t> seconds;
    for (const std::uint32_t cell : cells) {
        std::shared_ptr<const CodeBlocks> blocks;
        VSS_TRY(codes(cell, directory_->info(cell), blocks));
        for (std::size_t i = 0; i < blocks->size(); ++i) {
            const std::uint32_t entry = blocks->entry(i);
            (entry & second_copy) == 0 ? firsts.push_back(entry) : seconds.push_back(entry & ~second_copy);
        }
    }
    std::sort(firsts.begin(), firsts.end());
    std::sort(seconds.begin(), seconds.end());
    region.primaries = firsts.size();
    region.slots = std::move(firsts);
    region.has_second.assign(region.primaries, false);
    const auto end = region.slots.begin() + static_cast<std::ptrdiff_t>(region.primaries);
    std::vector<std::uint32_t> others;
    for (const std::uint32_t slot : seconds) {
        const auto at = std::lower_bound(region.slots.begin(), end, slot);
        if (at != end && *at == slot) {
            region.has_second[static_cast<std::size_t>(at - region.slots.begin())] = true;
        } else {
            others.push_back(slot);
        }
    }
    region.slots.insert(region.slots.end(), others.begin(), others.end());
    region.has_second.resize(region.slots.size(), true);
    return rotated(region.slots, region.rows);
}

// The cell is another one now, or gone.
void CellIndex::note_moved(std::uint32_t cell) {
    changed_cells_.insert(cell);
    moved_cells_.insert(cell);
    unmeasured_.insert(cell);
}

// `thoroughly`: the rows whose first copy is here are placed among all cells, not only these; it takes several times as
// long and changes many more cells.
Status CellIndex::recluster(std::uint32_t cell, std::size_t neighbors, bool thoroughly, std::size_t& touched) {
    const std::size_t padded = space_->padded();
    CodeQuery query;
    query.vector.resize(padded);
    directory_->centroid(cell, query.vector.data());
    query.prepare(padded);
    std::vector<RankedCell> ranked;
    directory_->rank(query, neighbors + 1, CellDirectory::For::row, ranked);
    std::vector<std::uint32_t> cells = {cell};
    for (const RankedCell& near : ranked) {
        // A heap of equal rows, which was found to be one, stays as it is.
        const CellInfo& info = directory_->info(near.cell);
        if (near.cell != cell && cells.size() <= neighbors && info.primaries >= info.retry_at) {
            cells.push_back(near.cell);
        }
    }
    // The most populated first: where there will be fewer cells than now, the smallest one's centroid goes.
    std::sort(cells.begin(), cells.end(), [&](std::uint32_t a, std::uint32_t b) {
        return directory_->info(a).primaries > directory_->info(b).primaries;
    });
    Region region;
    VSS_TRY(gather(cells, region));
    touched += region.slots.size() + 1;
    const std::size_t apart = rows_apart(region);
    std::size_t wanted = std::clamp<std::size_t>((apart + tuning_.cell_rows / 2) / tuning_.cell_rows, 1,
                                                 std::max<std::size_t>(region.primaries, 1));
    if (thoroughly && directory_->live() > 2 * cells_wanted(state_.rows)) {
        wanted = std::min(wanted, cells.size());  // it must come to an end, whatever the rows
    }
    if (thoroughly && wanted + wanted / 8 >= cells.size() && cells.size() + cells.size() / 8 >= wanted) {
        wanted = std::min(cells.size(), std::max<std::size_t>(region.primaries, 1));  // near enough
    }
    std::vector<float> centroids(std::min(wanted, cells.size()) * padded);
    for (std::size_t i = 0; i * padded < centroids.size(); ++i) {
        directory_->centroid(cells[i], centroids.data() + i * padded);
    }
    if (region.primaries > 0) {
        Clustering clustering = cluster(region.rows.data(), region.primaries, padded, wanted, by_direction(),
                                        local_iterations, state_.rows ^ cell, centroids);
        if (thoroughly && clustering.sizes.size() == cells.size() &&
            clustering.loss >= worth_changing * clustering.loss_before) {
            std::size_t misplaced = 0;
            VSS_TRY(count_misplaced(region, misplaced));
            if (static_cast<double>(misplaced) <= worth_moving * static_cast<double>(region.primaries)) {
                return Status::ok();  // as good as it gets
            }
        }
        wanted = clustering.sizes.size();
        centroids = std::move(clustering.centroids);
    }
    CellDirectory& directory = changing_directory();
    for (std::size_t i = wanted; i < cells.size(); ++i) {
        directory.erase(cells[i]);
        if (ranker_ != nullptr) {
            ranker_->erase(cells[i]);
        }
        working_.erase(cells[i]);
        note_moved(cells[i]);
    }
    cells.resize(std::min(wanted, cells.size()));
    for (std::size_t i = 0; i < wanted; ++i) {
        if (i >= cells.size()) {
            cells.push_back(directory.next_id());
        }
        directory.set_centroid(cells[i], centroids.data() + i * padded);
        directory.centroid(cells[i], centroids.data() + i * padded);
        if (ranker_ != nullptr) {
            ranker_->set(cells[i], centroids.data() + i * padded);
        }
        CellInfo& info = directory.changing_info(cells[i]);
        info.primaries = 0;
        info.entries = 0;
        info.retry_at = 0;
        working_[cells[i]] = Working{std::make_shared<CodeBlocks>(padded), {}};
        note_moved(cells[i]);
    }
    VSS_TRY(thoroughly ? replace_region(region, cells, centroids) : write_region(region, cells, centroids));
    for (const std::uint32_t made : cells) {
        CellInfo& info = directory.changing_info(made);
        // At least one chunk is written, so that an emptied cell leaves none of its old ones behind.
        touch(working_[made], 0);
        info.retry_at = info.primaries > tuning_.split_above ? info.primaries + info.primaries / 2 : 0;
    }
    return Status::ok();
}

// Entries of the region's rows into its new cells. A second copy stays within the region, if it can.
Status CellIndex::write_region(const Region& region, const std::vector<std::uint32_t>& cells,
                               const std::vector<float>& centroids) {
    const std::size_t padded = space_->padded();
    CellRanker local(padded, by_direction());
    local.build(cells, centroids.data());
    CrossProducts cross(*directory_, padded);
    cross.remember(cells, centroids);
    const std::size_t choices = cells.size();
    std::vector<RankedCell> ranked(region.slots.size() * choices);
    local.rank(region.rows.data(), region.slots.size(), choices, ranked.data());
    CodeQuery query;
    Placement at;
    std::vector<RankedCell> elsewhere;
    for (std::size_t i = 0; i < region.slots.size(); ++i) {
        const float* x = region.rows.data() + i * padded;
        const bool primary = i < region.primaries;
        std::span<const RankedCell> mine = std::span(ranked).subspan(i * choices, choices);
        const bool wants_second = primary && region.has_second[i];
        if (wants_second && cells.size() == 1) {
            query.vector.assign(x, x + padded);
            query.prepare(padded);
            directory_->rank(query, tuning_.second_choices, CellDirectory::For::row, elsewhere);
            std::erase_if(elsewhere, [&](const RankedCell& other) { return other.cell == cells.front(); });
            elsewhere.insert(elsewhere.begin(), mine.front());
            mine = elsewhere;
        }
        if (!place(x, mine, wants_second, cross, at)) {
            return no_near_cell();
        }
        push(working_[at.first], directory_->changing_info(at.first),
             primary ? region.slots[i] : region.slots[i] | second_copy, at.first_code);
        if (at.second != at.first) {
            Working* second = nullptr;
            VSS_TRY(working(at.second, second));
            push(*second, directory_->changing_info(at.second), region.slots[i] | second_copy, at.second_code);
            changed_cells_.insert(at.second);
        }
    }
    return Status::ok();
}

Status CellIndex::replace_region(const Region& region, const std::vector<std::uint32_t>& cells,
                                 const std::vector<float>& centroids) {
    const std::size_t padded = space_->padded();
    const std::size_t choices = std::max<std::size_t>(tuning_.second_choices, 1);
    const CellRanker& ranker = *ranker_for(std::numeric_limits<std::uint32_t>::max());
    std::vector<RankedCell> ranked(region.primaries * choices);
    ranker.rank(region.rows.data(), region.primaries, choices, ranked.data());
    // Those that have their second copy here stay here with it: the first one's cell is another's.
    CellRanker local(padded, by_direction());
    local.build(cells, centroids.data());
    std::vector<RankedCell> nearest(region.slots.size() - region.primaries);
    local.rank(region.rows.data() + region.primaries * padded, nearest.size(), 1, nearest.data());
    // Second copies that lie elsewhere go before any is placed again.
    std::vector<std::uint32_t> missed;
    for (std::size_t i = 0; i < region.primaries; ++i) {
        if (!region.has_second[i]) {
            const std::uint32_t second = region.slots[i] | second_copy;
            VSS_TRY(take_out_near(region.rows.data() + i * padded, {&second, 1}, missed));
        }
    }
    VSS_TRY(take_out_everywhere(std::move(missed)));
    CrossProducts cross(*directory_, padded);
    Placement at;
    std::vector<RankedCell> mine;
    for (std::size_t i = 0; i < region.slots.size(); ++i) {
        const float* x = region.rows.data() + i * padded;
        const bool primary = i < region.primaries;
        if (primary) {
            mine.assign(ranked.begin() + static_cast<std::ptrdiff_t>(i * choices),
                        ranked.begin() + static_cast<std::ptrdiff_t>((i + 1) * choices));
            std::erase_if(mine, [](const RankedCell& other) { return other.cell == CellRanker::no_cell; });
        } else {
            mine.assign(1, nearest[i - region.primaries]);
        }
        if (!place(x, mine, primary && tuning_.copies, cross, at)) {
            return no_near_cell();
        }
        Working* first = nullptr;
        VSS_TRY(working(at.first, first));
        CellInfo& info = directory_->changing_info(at.first);
        push(*first, info, primary ? region.slots[i] : region.slots[i] | second_copy, at.first_code);
        if (info.primaries > tuning_.split_above) {
            unbalanced_.insert(at.first);
        }
        if (at.second != at.first) {
            Working* second = nullptr;
            VSS_TRY(working(at.second, second));
            push(*second, directory_->changing_info(at.second), region.slots[i] | second_copy, at.second_code);
        }
    }
    return Status::ok();
}

}  // namespace vss
