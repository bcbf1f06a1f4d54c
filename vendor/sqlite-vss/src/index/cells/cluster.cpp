#include "index/cells/cluster.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <queue>
#include <utility>

#include "base/random.h"
#include "kernels/code_kernels.h"
#include "kernels/rotation.h"

namespace vss {
namespace {

constexpr std::size_t halving_rounds = 3;
constexpr std::size_t most_asked_for_axis = 256;
// Of a row's square: means of thousands of equal rows are off by less.
constexpr double equal_within = 1e-5;
constexpr float infinity = std::numeric_limits<float>::infinity();

void scale(float* v, std::size_t padded, float by) {
    std::for_each(v, v + padded, [&](float& x) { x *= by; });
}

// Parts the members by the plane through their mean across which they spread most (roughly: a few rounds of power
// iteration on signs); those beyond it come first, and are counted. A new centroid at one of the rows would not do: in
// many dimensions nearly all rows stay nearer to the old mean than to it. Rows that are equal stay together.
std::size_t halve(const float* rows, std::size_t padded, std::span<std::uint32_t> members, const float* mean,
                  SplitMix& random, std::vector<float>& axis, std::vector<float>& next, float* first_mean,
                  float* second_mean) {
    const CodeKernels& kernels = code_kernels();
    const float* first = rows + members[random.below(members.size())] * padded;
    axis.assign(first, first + padded);
    kernels.add_scaled(axis.data(), mean, -1, padded);
    // A few hundred rows tell the direction well enough.
    const std::size_t stride = (members.size() + most_asked_for_axis - 1) / most_asked_for_axis;
    for (std::size_t round = 0; round < halving_rounds; ++round) {
        const float middle = kernels.dot(mean, axis.data(), padded);
        next.assign(padded, 0);
        float sum = 0;
        for (std::size_t i = 0; i < members.size(); i += stride) {
            const float* row = rows + members[i] * padded;
            const float sign = kernels.dot(row, axis.data(), padded) > middle ? 1 : -1;
            kernels.add_scaled(next.data(), row, sign, padded);
            sum += sign;
        }
        kernels.add_scaled(next.data(), mean, -sum, padded);
        const float norm = std::sqrt(kernels.dot(next.data(), next.data(), padded));
        if (!(norm > 0)) {
            break;
        }
        std::for_each(next.begin(), next.end(), [&](float& v) { v /= norm; });
        axis.swap(next);
    }
    const float middle = kernels.dot(mean, axis.data(), padded);
    std::fill_n(first_mean, padded, 0.0F);
    std::fill_n(second_mean, padded, 0.0F);
    std::size_t begin = 0;
    std::size_t end = members.size();
    while (begin < end) {
        const float* row = rows + members[begin] * padded;
        if (kernels.dot(row, axis.data(), padded) > middle) {
            kernels.add_scaled(first_mean, row, 1, padded);
            ++begin;
        } else {
            kernels.add_scaled(second_mean, row, 1, padded);
            std::swap(members[begin], members[--end]);
        }
    }
    scale(first_mean, padded, 1 / static_cast<float>(std::max<std::size_t>(begin, 1)));
    scale(second_mean, padded, 1 / static_cast<float>(std::max<std::size_t>(members.size() - begin, 1)));
    return begin;
}

// Zeros where a part has no rows.
void average(const float* rows, std::size_t padded, std::span<const std::uint32_t> part_of_row,
             const std::vector<std::uint32_t>& sizes, std::vector<float>& means) {
    means.assign(sizes.size() * padded, 0);
    for (std::size_t i = 0; i < part_of_row.size(); ++i) {
        code_kernels().add_scaled(means.data() + part_of_row[i] * padded, rows + i * padded, 1, padded);
    }
    for (std::size_t j = 0; j < sizes.size(); ++j) {
        scale(means.data() + j * padded, padded, sizes[j] > 0 ? 1 / static_cast<float>(sizes[j]) : 0);
    }
}

struct Work {
    const float* rows;
    std::size_t n;
    std::size_t padded;
    std::size_t k;
    bool by_direction;
    Clustering result;
    std::vector<float> cost;  // of each row, smaller is better
};

void assign(Work& work) {
    const std::size_t padded = work.padded;
    // bias - <x, c> is what a row minimises.
    const std::size_t lanes = (work.k + panel_width - 1) / panel_width * panel_width;
    std::vector<float> panels(lanes * padded);
    std::vector<float> bias(lanes, infinity);
    for (std::size_t j = 0; j < work.k; ++j) {
        bias[j] = put_in_panel(work.result.centroids.data() + j * padded, padded, work.by_direction, j, panels.data());
    }
    std::vector<const float*> rows(panel_rows_at_once);
    std::vector<float> values(panel_rows_at_once * panel_width);
    std::vector<std::uint32_t> masks(panel_rows_at_once);
    std::fill(work.result.sizes.begin(), work.result.sizes.end(), 0);
    std::fill(work.cost.begin(), work.cost.end(), infinity);
    for (std::size_t first = 0; first < work.n; first += panel_rows_at_once) {
        const std::size_t count = std::min(panel_rows_at_once, work.n - first);
        for (std::size_t i = 0; i < count; ++i) {
            rows[i] = work.rows + (first + i) * padded;
        }
        for (std::size_t lane = 0; lane < lanes; lane += panel_width) {
            code_kernels().panel(rows.data(), count, panels.data() + lane * padded, bias.data() + lane, padded,
                                 work.cost.data() + first, values.data(), masks.data());
            for (std::size_t i = 0; i < count; ++i) {
                for (std::uint32_t mask = masks[i]; mask != 0; mask &= mask - 1) {
                    const auto j = static_cast<std::size_t>(std::countr_zero(mask));
                    const float value = values[i * panel_width + j];
                    if (value < work.cost[first + i]) {
                        work.cost[first + i] = value;
                        work.result.assignment[first + i] = static_cast<std::uint32_t>(lane + j);
                    }
                }
            }
        }
    }
    for (const std::uint32_t at : work.result.assignment) {
        ++work.result.sizes[at];
    }
}

// What is left of each row beside its centroid: the part of its length that is not along it, or half the square of the
// distance from it.
void residuals(const Work& work, std::vector<double>& out) {
    out.resize(work.n);
    for (std::size_t i = 0; i < work.n; ++i) {
        const float* row = work.rows + i * work.padded;
        const double square = code_kernels().dot(row, row, work.padded);
        out[i] = std::max((work.by_direction ? std::sqrt(square) : square / 2) + work.cost[i], 0.0);
    }
}

double loss_of(const Work& work) {
    std::vector<double> left;
    residuals(work, left);
    return std::accumulate(left.begin(), left.end(), 0.0);
}

// Clusters without rows take those that are served worst, from clusters that have rows to spare.
void fill_empty(Work& work) {
    if (std::find(work.result.sizes.begin(), work.result.sizes.end(), 0U) == work.result.sizes.end()) {
        return;
    }
    std::vector<double> left;
    residuals(work, left);
    std::vector<std::uint32_t> worst(work.n);
    std::iota(worst.begin(), worst.end(), 0);
    std::sort(worst.begin(), worst.end(), [&](std::uint32_t a, std::uint32_t b) { return left[a] > left[b]; });
    auto next = worst.begin();
    for (std::size_t j = 0; j < work.k; ++j) {
        if (work.result.sizes[j] > 0) {
            continue;
        }
        while (next != worst.end() && work.result.sizes[work.result.assignment[*next]] == 1) {
            ++next;
        }
        if (next == worst.end()) {
            return;
        }
        const float* row = work.rows + *next * work.padded;
        const double square = code_kernels().dot(row, row, work.padded);
        if (left[*next] <= equal_within * (work.by_direction ? std::sqrt(square) : square)) {
            return;  // it is its centroid, but for rounding, and so are the rest
        }
        --work.result.sizes[work.result.assignment[*next]];
        work.result.assignment[*next] = static_cast<std::uint32_t>(j);
        work.result.sizes[j] = 1;
        ++next;
    }
}

void drop_empty(Work& work) {
    Clustering& result = work.result;
    std::vector<std::uint32_t> place(work.k);
    std::uint32_t kept = 0;
    for (std::size_t j = 0; j < work.k; ++j) {
        place[j] = kept;
        if (result.sizes[j] > 0) {
            std::copy_n(result.centroids.data() + j * work.padded, work.padded,
                        result.centroids.data() + kept * work.padded);
            result.sizes[kept++] = result.sizes[j];
        }
    }
    result.centroids.resize(kept * work.padded);
    result.sizes.resize(kept);
    for (std::uint32_t& at : result.assignment) {
        at = place[at];
    }
}

// The largest of `known` clusters are halved until there are k, or no more that differ within.
void halve_largest(Work& work, std::size_t known, SplitMix& random) {
    const std::size_t padded = work.padded;
    std::vector<std::vector<std::uint32_t>> members(known);
    for (std::uint32_t row = 0; row < work.n; ++row) {
        members[work.result.assignment[row]].push_back(row);
    }
    std::erase_if(members, [](const auto& rows) { return rows.empty(); });
    std::vector<float>& means = work.result.centroids;
    means = means_of(work.rows, padded, work.result.assignment, known);
    const auto smaller = [](const auto& a, const auto& b) { return a.first < b.first; };
    std::priority_queue<std::pair<std::size_t, std::size_t>, std::vector<std::pair<std::size_t, std::size_t>>,
                        decltype(smaller)>
        open(smaller);  // sizes, of which clusters
    for (std::size_t j = 0; j < members.size(); ++j) {
        open.emplace(members[j].size(), j);
    }
    std::vector<float> axis;
    std::vector<float> next;
    std::vector<float> halves(2 * padded);
    while (members.size() < work.k && !open.empty()) {
        const auto [size, j] = open.top();
        open.pop();
        const std::size_t first = size > 1 ? halve(work.rows, padded, members[j], means.data() + j * padded, random,
                                                   axis, next, halves.data(), halves.data() + padded)
                                           : 0;
        if (first == 0 || first == size) {
            continue;
        }
        std::copy_n(halves.begin(), padded, means.begin() + static_cast<std::ptrdiff_t>(j * padded));
        means.insert(means.end(), halves.begin() + static_cast<std::ptrdiff_t>(padded), halves.end());
        open.emplace(first, j);
        open.emplace(size - first, members.size());
        members.emplace_back(members[j].begin() + static_cast<std::ptrdiff_t>(first), members[j].end());
        members[j].resize(first);
    }
}

}  // namespace

float put_in_panel(const float* centroid, std::size_t padded, bool by_direction, std::size_t lane, float* panels) {
    const float square = code_kernels().dot(centroid, centroid, padded);
    const float scale = by_direction ? (square > 0 ? 1 / std::sqrt(square) : 0) : 1;
    float* to = panels + lane / panel_width * panel_width * padded + lane % panel_width;
    for (std::size_t i = 0; i < padded; ++i) {
        to[i * panel_width] = centroid[i] * scale;
    }
    return by_direction ? 0 : square / 2;
}

std::vector<float> means_of(const float* rows, std::size_t padded, std::span<const std::uint32_t> part_of_row,
                            std::size_t count) {
    std::vector<std::uint32_t> sizes(count);
    for (const std::uint32_t part : part_of_row) {
        ++sizes[part];
    }
    std::vector<float> means;
    average(rows, padded, part_of_row, sizes, means);
    std::size_t kept = 0;
    for (std::size_t j = 0; j < count; ++j) {
        if (sizes[j] > 0) {
            std::copy_n(means.data() + j * padded, padded, means.data() + kept++ * padded);
        }
    }
    means.resize(kept * padded);
    return means;
}

Clustering cluster(const float* rows, std::size_t n, std::size_t padded, std::size_t k, bool by_direction,
                   std::size_t iterations, std::uint64_t seed, const std::vector<float>& start) {
    Work work{rows, n, padded, k, by_direction, {}, std::vector<float>(n)};
    std::vector<float>& centroids = work.result.centroids;
    centroids.assign(start.begin(), start.begin() + static_cast<std::ptrdiff_t>(std::min(start.size(), k * padded)));
    work.result.assignment.resize(n);
    SplitMix random(seed);
    if (centroids.size() < k * padded) {
        const std::size_t known = std::max<std::size_t>(centroids.size() / padded, 1);
        if (!centroids.empty()) {
            work.k = known;
            work.result.sizes.resize(known);
            assign(work);
        }
        work.k = k;
        halve_largest(work, known, random);
        work.k = centroids.size() / padded;
    }
    work.result.sizes.resize(work.k);
    for (std::size_t i = 0; i < iterations; ++i) {
        assign(work);
        if (i == 0) {
            work.result.loss_before = loss_of(work);
        }
        fill_empty(work);
        average(rows, padded, work.result.assignment, work.result.sizes, centroids);
    }
    assign(work);
    work.result.loss = loss_of(work);
    drop_empty(work);
    return std::move(work.result);
}

}  // namespace vss
