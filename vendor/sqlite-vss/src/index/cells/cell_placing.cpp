// CellIndex: how rows enter cells.
#include <algorithm>
#include <atomic>
#include <limits>
#include <utility>

#include "base/parallel.h"
#include "base/random.h"
#include "base/settings.h"
#include "index/cells/cell_parts.h"
#include "index/cells/cells.h"
#include "index/cells/cluster.h"

namespace vss {
namespace {

// After so many times so many rows a bulk load asks how much memory the codes take.
constexpr std::size_t looks_at_memory = 8;

}  // namespace

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
                push(*changed, directory.changing_info(cell), entry, code);
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

}  // namespace vss
