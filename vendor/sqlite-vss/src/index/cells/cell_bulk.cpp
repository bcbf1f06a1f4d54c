// CellIndex: how all rows are clustered in one go, and cells clustered again at leisure.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/parallel.h"
#include "base/random.h"
#include "base/settings.h"
#include "index/cells/cell_parts.h"
#include "index/cells/cells.h"
#include "index/cells/cluster.h"

namespace vss {
namespace {

// Memory of the rows that bulk clustering learns from, above which they are read again for each iteration, in pieces;
// and the fewest rows for each cell.
constexpr std::size_t most_sample_bytes = std::size_t{192} << 20;
constexpr std::size_t most_piece_bytes = std::size_t{16} << 20;
constexpr std::size_t asked_for_space = 8192;
constexpr std::size_t least_sample_per_cell = 12;
constexpr std::size_t sampled_together = 8;
constexpr std::size_t asked_for_exponent = 512;
// Every so many-th cell is clustered again with its neighbours; so each cell is, several times.
constexpr std::uint64_t optimize_stride = 8;
// Norms that differ less, relative to their mean, count as equal.
constexpr double equal_norms = 0.1;

}  // namespace

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
