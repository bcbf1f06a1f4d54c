#include "index/cells/cell_ranker.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/ordered_key.h"
#include "index/cells/cluster.h"

namespace vss {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
// Fewer cells than this form one group.
constexpr std::size_t ungrouped = 192;
constexpr std::size_t group_iterations = 4;
// Groups that a row's cells are looked for in: for the nearest one, and for more.
constexpr std::size_t groups_for_one = 3;
constexpr std::size_t groups_for_more = 9;

}  // namespace

// The best cells of each row so far: half the squared distance but for the row's own square, or the cosine, negated.
struct CellRanker::Best {
    Best(std::size_t n, std::size_t count)
        : wanted(count),
          room(count == 1 ? 1 : 2 * count + panel_width),
          stride(room + spare),
          values(n * stride),
          cells(n * stride),
          sizes(n),
          limits(n, infinity) {}

    void offer(std::size_t row, float value, std::uint32_t cell) {
        float* mine = values.data() + row * stride;
        if (wanted == 1) {
            const bool closer = sizes[row] == 0 || value < *mine || (value == *mine && cell < cells[row * stride]);
            if (closer) {
                *mine = limits[row] = value;
                cells[row * stride] = cell;
                sizes[row] = 1;
            }
            return;
        }
        if (sizes[row] == room) {
            keep(row);
            if (!(value < limits[row])) {
                return;
            }
        }
        mine[sizes[row]] = value;
        cells[row * stride + sizes[row]++] = cell;
    }
    // Down to the wanted ones, or an eighth more.
    void keep(std::size_t row) {
        sizes[row] = static_cast<std::uint32_t>(code_kernels().keep_smallest(
            values.data() + row * stride, cells.data() + row * stride, sizes[row], wanted, limits[row]));
    }
    // The wanted ones, as keys, the best first.
    void sorted(std::size_t row, std::vector<std::uint64_t>& keys) {
        keep(row);
        keys.clear();
        for (std::size_t i = 0; i < sizes[row]; ++i) {
            keys.push_back(ordered_key(values[row * stride + i], cells[row * stride + i]));
        }
        std::sort(keys.begin(), keys.end());
        keys.resize(std::min(keys.size(), wanted));
    }

    static constexpr std::size_t spare = 7;  // that the kernel overwrites
    std::size_t wanted;
    std::size_t room;
    std::size_t stride;
    std::vector<float> values;
    std::vector<std::uint32_t> cells;
    std::vector<std::uint32_t> sizes;
    std::vector<float> limits;
    // Scratch of one visit.
    std::vector<const float*> rows;
    std::vector<float> row_limits;
    std::vector<float> products;
    std::vector<std::uint32_t> masks;
};

void CellRanker::put(Group& group, std::size_t lane, std::uint32_t cell, const float* centroid) const {
    group.bias[lane] = put_in_panel(centroid, padded_, by_direction_, lane, group.panels.data());
    group.cells[lane] = cell;
}

std::size_t CellRanker::free_lane(Group& group) const {
    const auto at = std::find(group.cells.begin(), group.cells.end(), no_cell);
    const auto lane = static_cast<std::size_t>(at - group.cells.begin());
    if (at == group.cells.end()) {
        group.cells.resize(lane + panel_width, no_cell);
        group.bias.resize(lane + panel_width, infinity);
        group.panels.resize((lane + panel_width) * padded_);
    }
    return lane;
}

void CellRanker::add(std::uint32_t cell, const float* centroid, std::uint32_t group) {
    const std::size_t lane = free_lane(groups_[group]);
    put(groups_[group], lane, cell, centroid);
    if (cell >= places_.size()) {
        places_.resize(cell + 1);
        norms_.resize(cell + 1);
    }
    places_[cell] = {group, static_cast<std::uint32_t>(lane)};
    norms_[cell] = std::sqrt(code_kernels().dot(centroid, centroid, padded_));
    ++size_;
}

void CellRanker::build(std::span<const std::uint32_t> cells, const float* centroids) {
    centers_ = {};
    groups_.clear();
    places_.clear();
    norms_.clear();
    size_ = 0;
    grouped_ = cells.size();
    const std::size_t wanted =
        cells.size() <= ungrouped ? 1
                                  : static_cast<std::size_t>(std::lround(std::sqrt(static_cast<double>(cells.size()))));
    Clustering clustering;
    if (wanted > 1) {
        clustering = cluster(centroids, cells.size(), padded_, wanted, by_direction_, group_iterations, cells.size());
    }
    const std::size_t groups = std::max<std::size_t>(clustering.sizes.size(), 1);
    groups_.resize(groups);
    if (groups == 1) {
        for (std::size_t i = 0; i < cells.size(); ++i) {
            add(cells[i], centroids + i * padded_, 0);
        }
        return;
    }
    for (std::size_t g = 0; g < groups; ++g) {
        put(centers_, free_lane(centers_), static_cast<std::uint32_t>(g), clustering.centroids.data() + g * padded_);
    }
    for (std::size_t i = 0; i < cells.size(); ++i) {
        add(cells[i], centroids + i * padded_, clustering.assignment[i]);
    }
}

std::uint32_t CellRanker::nearest_group(const float* centroid) const {
    if (groups_.size() == 1) {
        return 0;
    }
    Best best(1, 1);
    const std::uint32_t only = 0;
    visit(centers_, centroid, {&only, 1}, best);
    return best.cells.front();
}

void CellRanker::set(std::uint32_t cell, const float* centroid) {
    if (groups_.empty()) {
        groups_.resize(1);
    }
    erase(cell);
    add(cell, centroid, nearest_group(centroid));
    if (size_ > std::max(2 * grouped_, ungrouped)) {
        regroup();
    }
}

void CellRanker::erase(std::uint32_t cell) {
    if (cell >= places_.size() || places_[cell].group == no_cell) {
        return;
    }
    Group& group = groups_[places_[cell].group];
    group.cells[places_[cell].lane] = no_cell;
    group.bias[places_[cell].lane] = infinity;
    places_[cell].group = no_cell;
    --size_;
}

// There are many more cells than the groups were made for.
void CellRanker::regroup() {
    std::vector<std::uint32_t> cells;
    std::vector<float> centroids;
    for (std::uint32_t cell = 0; cell < places_.size(); ++cell) {
        if (places_[cell].group == no_cell) {
            continue;
        }
        const std::size_t lane = places_[cell].lane;
        const float* from = groups_[places_[cell].group].panels.data() + lane / panel_width * panel_width * padded_ +
                            lane % panel_width;
        const float scale = by_direction_ ? norms_[cell] : 1;
        cells.push_back(cell);
        for (std::size_t i = 0; i < padded_; ++i) {
            centroids.push_back(from[i * panel_width] * scale);
        }
    }
    build(cells, centroids.data());
}

void CellRanker::visit(const Group& group, const float* rows, std::span<const std::uint32_t> which, Best& best) const {
    const std::size_t n = which.size();
    best.rows.resize(n);
    best.row_limits.resize(n);
    best.products.resize(n * panel_width);
    best.masks.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
        best.rows[i] = rows + which[i] * padded_;
    }
    for (std::size_t lane = 0; lane < group.cells.size(); lane += panel_width) {
        for (std::size_t i = 0; i < n; ++i) {
            best.row_limits[i] = best.limits[which[i]];
        }
        code_kernels().panel(best.rows.data(), n, group.panels.data() + lane * padded_, group.bias.data() + lane,
                             padded_, best.row_limits.data(), best.products.data(), best.masks.data());
        for (std::size_t i = 0; i < n; ++i) {
            for (std::uint32_t mask = best.masks[i]; mask != 0; mask &= mask - 1) {
                const auto j = static_cast<std::size_t>(std::countr_zero(mask));
                best.offer(which[i], best.products[i * panel_width + j], group.cells[lane + j]);
            }
        }
    }
}

void CellRanker::rank(const float* rows, std::size_t n, std::size_t count, RankedCell* out) const {
    std::vector<std::vector<std::uint32_t>> visitors(groups_.size());
    std::vector<std::uint64_t> keys;
    for (std::size_t first = 0; first < n; first += panel_rows_at_once) {
        const std::size_t part = std::min(panel_rows_at_once, n - first);
        const float* x = rows + first * padded_;
        std::vector<std::uint32_t> all(part);
        std::iota(all.begin(), all.end(), 0);
        Best best(part, count);
        if (groups_.size() == 1) {
            visit(groups_[0], x, all, best);
        } else {
            const std::size_t probes = std::min(count == 1 ? groups_for_one : groups_for_more, groups_.size());
            Best near(part, probes);
            visit(centers_, x, all, near);
            for (std::vector<std::uint32_t>& rows_of_group : visitors) {
                rows_of_group.clear();
            }
            for (std::uint32_t i = 0; i < part; ++i) {
                near.keep(i);
                for (std::size_t p = 0; p < near.sizes[i]; ++p) {
                    visitors[near.cells[i * near.stride + p]].push_back(i);
                }
            }
            for (std::size_t g = 0; g < groups_.size(); ++g) {
                if (!visitors[g].empty()) {
                    visit(groups_[g], x, visitors[g], best);
                }
            }
        }
        for (std::uint32_t i = 0; i < part; ++i) {
            // Its groups may have lost all their cells.
            for (std::size_t g = 0; g < groups_.size() && best.sizes[i] == 0; ++g) {
                visit(groups_[g], x, {&i, 1}, best);
            }
            best.sorted(i, keys);
            if (keys.empty()) {
                // What is not a number is near nothing; a row must have a cell all the same.
                const auto any = std::find_if(places_.begin(), places_.end(),
                                              [](const Place& place) { return place.group != no_cell; });
                keys.push_back(ordered_key(0, static_cast<std::uint32_t>(any - places_.begin())));
            }
            RankedCell* places = out + (first + i) * count;
            for (std::size_t p = 0; p < count; ++p) {
                if (p >= keys.size()) {
                    places[p] = {infinity, no_cell, 0};
                    continue;
                }
                const std::uint32_t cell = key_number(keys[p]);
                const float norm = norms_[cell];
                const float value = key_value(keys[p]);
                places[p] = by_direction_ ? RankedCell{value, cell, -value * norm}
                                          : RankedCell{2 * value, cell, norm * norm / 2 - value};
            }
        }
    }
}

}  // namespace vss
