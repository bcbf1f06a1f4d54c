// CellIndex: how rows enter cells, and how cells are split, merged and clustered.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>
#include <string_view>
#include <unordered_map>

#include "base/parallel.h"
#include "base/random.h"
#include "base/settings.h"
#include "index/cells/cells.h"
#include "index/cells/cluster.h"

namespace vss {

// Some cells and the rows that have an entry in them.
struct CellIndex::Region {
    std::vector<std::uint32_t> slots;  // rows whose first copy is here, then those with a second copy only
    std::vector<bool> has_second;      // here
    std::size_t primaries = 0;
    std::vector<float> rows;  // rotated
};

namespace {

constexpr std::size_t rows_at_once = 2048;
// After so many times so many rows a bulk load asks how much memory the codes take.
constexpr std::size_t looks_at_memory = 8;
// Memory of the rows that bulk clustering learns from, above which they are read again for each iteration, in pieces;
// and the fewest rows for each cell.
constexpr std::size_t most_sample_bytes = std::size_t{192} << 20;
constexpr std::size_t most_piece_bytes = std::size_t{16} << 20;
constexpr std::size_t asked_for_space = 8192;
constexpr std::size_t least_sample_per_cell = 12;
constexpr std::size_t sampled_together = 8;
constexpr std::size_t asked_for_exponent = 512;
constexpr std::size_t local_iterations = 5;
constexpr std::size_t merge_neighbors = 4;
// Of what is left beside the centroids: clustering anew at leisure must leave less.
constexpr double worth_changing = 0.98;
// Or so many of the rows must lie elsewhere than they would be put now.
constexpr double worth_moving = 0.05;
// Every so many-th cell is clustered anew with its neighbours; so each cell is, several times.
constexpr std::uint64_t optimize_stride = 8;
// Norms that differ less, relative to their mean, count as equal.
constexpr double equal_norms = 0.1;

}  // namespace

// --- rows into cells -------------------------------------------------------------------------------------------------

// Inner products of centroids: known beforehand for a few cells, else taken when asked for.
class CellIndex::CrossProducts {
  public:
    explicit CrossProducts(const CellDirectory& directory, std::size_t padded)
        : directory_(directory), padded_(padded), first_(padded), other_(padded) {}

    void remember(std::span<const std::uint32_t> cells, std::span<const float> centroids) {
        cells_.assign(cells.begin(), cells.end());
        products_.resize(cells.size() * cells.size());
        for (std::size_t i = 0; i < cells.size(); ++i) {
            for (std::size_t j = 0; j < cells.size(); ++j) {
                products_[i * cells.size() + j] =
                    code_kernels().dot(centroids.data() + i * padded_, centroids.data() + j * padded_, padded_);
            }
        }
    }
    // With the cell of the last first() from now on.
    void first(std::uint32_t cell) {
        at_ = place_of(cell);
        directory_.centroid(cell, first_.data());
    }
    [[nodiscard]] const float* first_centroid() const { return first_.data(); }
    [[nodiscard]] float with(std::uint32_t cell) {
        const std::size_t j = place_of(cell);
        if (at_ < cells_.size() && j < cells_.size()) {
            return products_[at_ * cells_.size() + j];
        }
        return code_kernels().dot(first_.data(), centroid(cell), padded_);
    }
    [[nodiscard]] const float* centroid(std::uint32_t cell) {
        directory_.centroid(cell, other_.data());
        return other_.data();
    }

  private:
    [[nodiscard]] std::size_t place_of(std::uint32_t cell) const {
        return static_cast<std::size_t>(std::find(cells_.begin(), cells_.end(), cell) - cells_.begin());
    }

    const CellDirectory& directory_;
    std::size_t padded_;
    std::vector<float> first_;
    std::vector<float> other_;
    std::vector<std::uint32_t> cells_;
    std::vector<float> products_;
    std::size_t at_ = 0;
};

bool CellIndex::by_direction() const {
    return space_->is_spherical() || space_->estimate() == Estimate::product;
}

// Second copy by SOAR: the cell that minimises |x - c2|^2 + soar * (<r, x - c2> / |r|)^2, where r = x - c1. `ranked`
// begins with c1. False if there is none.
bool CellIndex::place(const float* x, std::span<const RankedCell> ranked, bool wants_second, CrossProducts& cross,
                      Placement& out) const {
    if (ranked.empty() || ranked.front().cell >= directory_->size()) {
        return false;
    }
    const std::size_t padded = space_->padded();
    const RankedCell& first = ranked.front();
    out.first = first.cell;
    out.second = first.cell;
    cross.first(first.cell);
    encode_row(space_->estimate(), x, cross.first_centroid(), padded, out.first_code);
    if (!wants_second) {
        return true;
    }
    const float x_square = code_kernels().dot(x, x, padded);
    const float first_norm = directory_->info(first.cell).norm;
    const float residual = std::max(x_square - 2 * first.product + first_norm * first_norm, 0.0F);
    float least = std::numeric_limits<float>::infinity();
    for (const RankedCell& candidate : ranked.subspan(1)) {
        if (candidate.cell == CellRanker::no_cell) {
            break;
        }
        const float norm = directory_->info(candidate.cell).norm;
        const float square = x_square - 2 * candidate.product + norm * norm;
        if (square >= least) {
            continue;
        }
        const float along = (x_square - first.product) - (candidate.product - cross.with(candidate.cell));
        const float loss = square + (residual > 0 ? tuning_.soar * along * along / residual : 0);
        if (loss < least) {
            least = loss;
            out.second = candidate.cell;
        }
    }
    if (out.second != out.first) {
        encode_row(space_->estimate(), x, cross.centroid(out.second), padded, out.second_code);
    }
    return true;
}

// Only centroids that are no numbers, in a damaged table, leave a row without a nearest cell.
Status CellIndex::no_near_cell() {
    return Status::corrupt("no cell is near a row: the centroids are damaged");
}

// Made when it pays: placing a row by the directory alone costs some ten times as much, making the ranker as much as
// placing half as many rows as there are cells.
CellRanker* CellIndex::ranker_for(std::size_t rows) {
    if (ranker_ == nullptr) {
        placed_without_ += rows;
        if (placed_without_ < directory_->live() / 2) {
            return nullptr;
        }
        const std::size_t padded = space_->padded();
        std::vector<std::uint32_t> cells;
        std::vector<float> centroids;
        for (std::uint32_t cell = 0; cell < directory_->size(); ++cell) {
            if (directory_->info(cell).version != 0) {
                cells.push_back(cell);
                centroids.resize(cells.size() * padded);
                directory_->centroid(cell, centroids.data() + centroids.size() - padded);
            }
        }
        auto made = std::make_unique<CellRanker>(padded, by_direction());
        made->build(cells, centroids.data());
        ranker_ = std::move(made);
    }
    return ranker_.get();
}

// `as_batch`: no more rows than a batch holds.
Status CellIndex::insert_rows(std::span<const std::uint32_t> slots, bool as_batch) {
    const std::size_t padded = space_->padded();
    const std::size_t choices = tuning_.copies ? tuning_.second_choices : 1;
    CellDirectory& directory = changing_directory();
    std::vector<float> raw;
    std::vector<Placement> placements;
    std::vector<std::byte> slot_codes;
    const std::size_t code_bytes = state_.slot_codes ? SlotCodes::code_bytes(padded) : 0;
    for (std::size_t done = 0; done < slots.size(); done += rows_at_once) {
        const std::span<const std::uint32_t> part = slots.subspan(done, std::min(rows_at_once, slots.size() - done));
        raw.resize(part.size() * dim_);
        VSS_TRY(store_.read_vectors(part, raw.data()));
        placements.resize(part.size());
        slot_codes.resize(part.size() * code_bytes);
        const CellRanker* ranker = ranker_for(part.size());
        const int workers = part.size() >= 512 ? threads() : 1;
        std::atomic<bool> all_somewhere = true;
        const bool placed = parallel_for(part.size(), workers, [&](std::size_t begin, std::size_t end) {
            constexpr std::size_t block = panel_rows_at_once;
            CodeQuery query;
            CrossProducts cross(directory, padded);
            std::vector<RankedCell> ranked;
            std::vector<float> x(std::min(block, end - begin) * padded);
            for (std::size_t first = begin; first < end; first += block) {
                const std::size_t n = std::min(block, end - first);
                for (std::size_t i = 0; i < n; ++i) {
                    const bool whole = space_->enter(raw.data() + (first + i) * dim_, x.data() + i * padded);
                    if (code_bytes > 0) {
                        SlotCodes::encode(x.data() + i * padded, whole, padded,
                                          slot_codes.data() + (first + i) * code_bytes);
                    }
                }
                if (ranker != nullptr) {
                    ranked.resize(n * choices);
                    ranker->rank(x.data(), n, choices, ranked.data());
                }
                for (std::size_t i = 0; i < n; ++i) {
                    std::span<const RankedCell> mine(ranked);
                    if (ranker != nullptr) {
                        mine = mine.subspan(i * choices, choices);
                    } else {
                        query.vector.assign(x.data() + i * padded, x.data() + (i + 1) * padded);
                        query.prepare(padded);
                        directory.rank(query, choices, CellDirectory::For::row, ranked);
                        mine = ranked;
                    }
                    if (!place(x.data() + i * padded, mine, tuning_.copies, cross, placements[first + i])) {
                        all_somewhere = false;
                    }
                }
            }
        });
        if (!placed) {
            return {Code::no_memory, "out of memory"};
        }
        if (!all_somewhere) {
            return no_near_cell();
        }
        if (code_bytes > 0) {
            VSS_TRY(put_slot_codes(part, slot_codes.data()));
        }
        std::vector<CodeBatch::Item> batch;
        for (std::size_t i = 0; i < part.size(); ++i) {
            const Placement& at = placements[i];
            for (const bool second : {false, true}) {
                if (second && at.second == at.first) {
                    continue;
                }
                const std::uint32_t cell = second ? at.second : at.first;
                const std::uint32_t entry = second ? part[i] | second_copy : part[i];
                const RowCode& code = second ? at.second_code : at.first_code;
                if (as_batch && !working_.contains(cell)) {
                    batch.push_back({cell, entry, &code});
                    continue;
                }
                Working* changed = nullptr;
                VSS_TRY(working(cell, changed));
                push(*changed, directory.info(cell), entry, code);
            }
        }
        if (!batch.empty()) {
            add_batch(std::move(batch));
        }
        for (const Placement& at : placements) {
            if (directory.info(at.first).primaries > tuning_.split_above) {
                unbalanced_.insert(at.first);
            }
        }
        if (!as_batch && done / rows_at_once % looks_at_memory == looks_at_memory - 1) {
            VSS_TRY(write_working_if_large());
        }
    }
    return Status::ok();
}

void CellIndex::add_batch(std::vector<CodeBatch::Item> items) {
    auto batch =
        std::make_shared<const CodeBatch>(state_.batches_end++, random_version(), space_->padded(), std::move(items));
    new_batches_.push_back(batch);
    // Its cells exist, as they were just ranked.
    static_cast<void>(changing_directory().add_batch(std::move(batch)));
}

// --- splits and merges -----------------------------------------------------------------------------------------------

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
        CellInfo& info = directory.info(cells[i]);
        info.primaries = 0;
        info.entries = 0;
        info.retry_at = 0;
        working_[cells[i]] = Working{std::make_shared<CodeBlocks>(padded), {}};
        note_moved(cells[i]);
    }
    VSS_TRY(thoroughly ? replace_region(region, cells, centroids) : write_region(region, cells, centroids));
    for (const std::uint32_t made : cells) {
        CellInfo& info = directory.info(made);
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
        push(working_[at.first], directory_->info(at.first), primary ? region.slots[i] : region.slots[i] | second_copy,
             at.first_code);
        if (at.second != at.first) {
            Working* second = nullptr;
            VSS_TRY(working(at.second, second));
            push(*second, directory_->info(at.second), region.slots[i] | second_copy, at.second_code);
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
    // Second copies that lie elsewhere go before any is placed anew.
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
        CellInfo& info = directory_->info(at.first);
        push(*first, info, primary ? region.slots[i] : region.slots[i] | second_copy, at.first_code);
        if (info.primaries > tuning_.split_above) {
            unbalanced_.insert(at.first);
        }
        if (at.second != at.first) {
            Working* second = nullptr;
            VSS_TRY(working(at.second, second));
            push(*second, directory_->info(at.second), region.slots[i] | second_copy, at.second_code);
        }
    }
    return Status::ok();
}

// --- in bulk ---------------------------------------------------------------------------------------------------------

std::size_t CellIndex::cells_wanted(std::size_t rows) const {
    return std::max<std::size_t>((rows + tuning_.cell_rows / 2) / tuning_.cell_rows, 1);
}

// What brings the sizes of most vectors near 1.
Status CellIndex::decide_exponent(std::span<const std::uint32_t> slots) {
    state_.exponent = 0;
    if (metric_ == Metric::cosine || slots.empty()) {
        return Status::ok();  // their lengths are made 1
    }
    const std::span<const std::uint32_t> some = slots.first(std::min(slots.size(), asked_for_exponent));
    std::vector<float> raw(some.size() * dim_);
    VSS_TRY(store_.read_vectors(some, raw.data()));
    std::vector<int> exponents;
    for (std::size_t i = 0; i < some.size(); ++i) {
        const std::span<const float> row = std::span(raw).subspan(i * dim_, dim_);
        if (std::any_of(row.begin(), row.end(), [](float x) { return x != 0; })) {
            exponents.push_back(extreme_exponent(row));
        }
    }
    if (!exponents.empty()) {
        const auto middle = exponents.begin() + static_cast<std::ptrdiff_t>(exponents.size() / 2);
        std::nth_element(exponents.begin(), middle, exponents.end());
        state_.exponent = static_cast<std::int8_t>(*middle);
    }
    return Status::ok();
}

// Whether norms are equal, and what all vectors have in common.
void CellIndex::decide_space(const std::vector<float>& rows, std::size_t n) {
    const std::size_t padded = space_->padded();
    double sum = 0;
    double squares = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const float* x = rows.data() + i * padded;
        const double square = code_kernels().dot(x, x, padded);
        sum += std::sqrt(square);
        squares += square;
    }
    const double mean = sum / static_cast<double>(n);
    const double variance = std::max(squares / static_cast<double>(n) - mean * mean, 0.0);
    space_is_current_ = false;
    state_.spherical = mean > 0 && std::sqrt(variance) <= equal_norms * mean;
    state_.offset.clear();
    if (metric_ == Metric::l2) {
        std::vector<float> offset(padded);
        for (std::size_t i = 0; i < n; ++i) {
            code_kernels().add_scaled(offset.data(), rows.data() + i * padded, 1.0F / static_cast<float>(n), padded);
        }
        const double common = std::sqrt(code_kernels().dot(offset.data(), offset.data(), padded));
        // A common part larger than the rest leaves directions alike: then places are told apart, not directions.
        if (common > 0.9 * mean) {
            state_.spherical = false;
        }
        if (!state_.spherical) {
            state_.offset = std::move(offset);
        }
    }
    make_space();
}

Status CellIndex::train(std::span<const std::uint32_t> slots) {
    const std::size_t padded = space_->padded();
    const std::size_t cells = cells_wanted(slots.size());
    const std::size_t sample_rows =
        std::min({slots.size(), cells * tuning_.sample_per_cell,
                  std::max(most_sample_bytes / (padded * sizeof(float)), cells * least_sample_per_cell)});
    SplitMix random(state_.seed + slots.size());
    std::vector<std::uint32_t> sample;
    sample.reserve(sample_rows);
    for (std::size_t i = 0; i < slots.size() && sample.size() < sample_rows; i += sampled_together) {
        // Each run of rows with the chance that is left: a uniform sample in the order of slots. Runs, since rows that
        // lie together are read together.
        if (random.below(slots.size() - i) < sample_rows - sample.size()) {
            const std::size_t end = std::min({i + sampled_together, slots.size(), i + sample_rows - sample.size()});
            sample.insert(sample.end(), slots.begin() + static_cast<std::ptrdiff_t>(i),
                          slots.begin() + static_cast<std::ptrdiff_t>(end));
        }
    }
    space_is_current_ = false;
    state_.offset.clear();
    state_.spherical = false;
    VSS_TRY(decide_exponent(sample));
    make_space();
    // Rows that fit are kept; else they are read again each time, which is little beside their products with centroids.
    const bool keeps = sample.size() <= most_sample_bytes / (padded * sizeof(float));
    const std::size_t together = std::max(rows_at_once / 4, most_piece_bytes / (padded * sizeof(float)));
    std::vector<float> rows;
    std::vector<float> piece;
    const auto read_in_pieces = [&](std::span<const std::uint32_t> wanted, std::vector<float>& out) {
        out.reserve(wanted.size() * padded);
        for (std::size_t i = 0; i < wanted.size(); i += together) {
            VSS_TRY(rotated(wanted.subspan(i, std::min(together, wanted.size() - i)), piece));
            out.insert(out.end(), piece.begin(), piece.end());
        }
        return Status::ok();
    };
    if (keeps) {
        VSS_TRY(read_in_pieces(sample, rows));
        decide_space(rows, sample.size());
    } else {
        std::vector<std::uint32_t> some;
        for (std::size_t i = 0; i < asked_for_space; ++i) {
            some.push_back(sample[i * sample.size() / asked_for_space]);
        }
        std::vector<float> asked;
        VSS_TRY(read_in_pieces(some, asked));
        decide_space(asked, some.size());
    }
    if (keeps && !state_.offset.empty()) {
        for (std::size_t i = 0; i < sample.size(); ++i) {
            code_kernels().add_scaled(rows.data() + i * padded, state_.offset.data(), -1, padded);
        }
    }
    // Cells differ in size as the rows' neighbourhoods do: to even them out here makes searches look at more rows.
    std::vector<std::uint32_t> picks;
    for (std::size_t cell = 0; cell < cells; ++cell) {
        picks.push_back(static_cast<std::uint32_t>(random.below(sample.size())));
    }
    std::vector<float> centroids;
    if (keeps) {
        for (const std::uint32_t pick : picks) {
            centroids.insert(centroids.end(), rows.begin() + static_cast<std::ptrdiff_t>(pick * padded),
                             rows.begin() + static_cast<std::ptrdiff_t>((pick + 1) * padded));
        }
    } else {
        std::transform(picks.begin(), picks.end(), picks.begin(), [&](std::uint32_t pick) { return sample[pick]; });
        VSS_TRY(read_in_pieces(picks, centroids));
    }
    std::vector<std::uint32_t> assignment(together);
    std::vector<std::uint32_t> ids(cells);
    std::iota(ids.begin(), ids.end(), 0);
    for (std::size_t iteration = 0; iteration < tuning_.iterations; ++iteration) {
        CellRanker ranker(padded, by_direction());
        ranker.build(ids, centroids.data());
        std::vector<float> sums(ids.size() * padded);
        std::vector<std::uint32_t> sizes(ids.size());
        for (std::size_t i = 0; i < sample.size(); i += together) {
            const std::size_t n = std::min(together, sample.size() - i);
            if (!keeps) {
                VSS_TRY(rotated(std::span(sample).subspan(i, n), piece));
            }
            const float* part = keeps ? rows.data() + i * padded : piece.data();
            const bool assigned = parallel_for(n, threads(), [&](std::size_t first, std::size_t last) {
                std::vector<RankedCell> nearest(last - first);
                ranker.rank(part + first * padded, last - first, 1, nearest.data());
                for (std::size_t j = first; j < last; ++j) {
                    assignment[j] = nearest[j - first].cell;
                }
            });
            if (!assigned) {
                return {Code::no_memory, "out of memory"};
            }
            for (std::size_t j = 0; j < n; ++j) {
                code_kernels().add_scaled(sums.data() + assignment[j] * padded, part + j * padded, 1, padded);
                ++sizes[assignment[j]];
            }
        }
        centroids.clear();
        for (std::size_t cell = 0; cell < sizes.size(); ++cell) {
            for (std::size_t j = 0; j < padded && sizes[cell] > 0; ++j) {
                centroids.push_back(sums[cell * padded + j] / static_cast<float>(sizes[cell]));
            }
        }
        ids.resize(centroids.size() / padded);
    }
    auto trained = std::make_shared<CellDirectory>(*space_);
    for (const std::uint32_t cell : ids) {
        trained->set_centroid(cell, centroids.data() + cell * padded);
    }
    forget_directory();
    directory_ = std::move(trained);
    return Status::ok();
}

Status CellIndex::rebuild() {
    std::vector<std::uint32_t> slots;
    VSS_TRY(store_.live_slots(slots));
    state_.rows = slots.size();
    space_is_current_ = false;
    state_.seed = random_version();
    std::uint32_t old_cells = 0;
    if (state_.is_celled()) {
        VSS_TRY(load_directory());
        old_cells = static_cast<std::uint32_t>(directory_->size());
    }
    VSS_TRY(train(slots));
    const std::size_t cells = directory_->size();
    directory_shared_ = false;
    directory_changed_ = true;
    dirty_ = true;
    working_.clear();
    unbalanced_.clear();
    for (std::uint32_t cell = 0; cell < cells; ++cell) {
        Working fresh{std::make_shared<CodeBlocks>(space_->padded()), {}};
        touch(fresh, 0);
        working_.insert_or_assign(cell, std::move(fresh));
        note_moved(cell);
    }
    const std::vector<std::uint8_t> nowhere(space_->padded());
    for (std::uint32_t cell = static_cast<std::uint32_t>(cells); cell < old_cells; ++cell) {
        directory_->put(cell, {}, nowhere.data());
        note_moved(cell);
    }
    // Celled from here on; flush() draws the real version.
    state_.directory_version = random_version();
    tail_.clear();
    leaving_ = {};
    new_batches_.clear();
    VSS_TRY(erase_slot_codes());
    state_.slot_codes = may_keep_slot_codes();
    state_.batches_begin = state_.batches_end;
    VSS_TRY(insert_rows(slots, false));
    // What is left overfull would be paid for by the first small transactions that follow.
    return balance(4 * slots.size(), false);
}

Status CellIndex::optimize_step(std::uint64_t& next) {
    VSS_TRY(load());
    if (!state_.is_celled()) {
        next = max_cells;
        return Status::ok();
    }
    dirty_ = dirty_ || !tail_.empty();
    VSS_TRY(settle_and_write(true));
    VSS_TRY(load_directory());
    if (!state_.slot_codes && may_keep_slot_codes()) {
        dirty_ = true;
        VSS_TRY(code_all_slots());  // written by a version that knew none
    }
    while (next < directory_->size() && directory_->info(static_cast<std::uint32_t>(next)).version == 0) {
        ++next;
    }
    if (next >= directory_->size()) {
        next = max_cells;
        return Status::ok();
    }
    std::size_t touched = 0;
    Status status = recluster(static_cast<std::uint32_t>(next), tuning_.optimize_neighbors, true, touched);
    dirty_ = dirty_ || directory_changed_ || !status.is_ok();
    broken_ = !status.is_ok();
    next += optimize_stride;
    return status;
}

}  // namespace vss
