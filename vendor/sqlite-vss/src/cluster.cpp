#include "cluster.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <queue>
#include <thread>
#include <utility>

#include "code_kernels.h"

namespace vss {
namespace {

constexpr std::size_t halving_rounds = 3;
constexpr std::size_t most_asked_for_axis = 256;
constexpr float infinity = std::numeric_limits<float>::infinity();

void scale(float* v, std::size_t padded, float by) {
    std::for_each(v, v + padded, [&](float& x) { x *= by; });
}

// The members beyond the plane (see divide) come first; returns how many these are.
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

void mean_of(const float* rows, std::size_t padded, std::span<const std::uint32_t> members, float* out) {
    std::fill_n(out, padded, 0.0F);
    for (const std::uint32_t row : members) {
        code_kernels().add_scaled(out, rows + row * padded, 1, padded);
    }
    scale(out, padded, 1 / static_cast<float>(members.size()));
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

void average(Work& work) {
    const std::size_t padded = work.padded;
    std::fill(work.result.centroids.begin(), work.result.centroids.end(), 0.0F);
    for (std::size_t i = 0; i < work.n; ++i) {
        code_kernels().add_scaled(work.result.centroids.data() + work.result.assignment[i] * padded,
                                  work.rows + i * padded, 1, padded);
    }
    for (std::size_t j = 0; j < work.k; ++j) {
        scale(work.result.centroids.data() + j * padded, padded,
              work.result.sizes[j] > 0 ? 1 / static_cast<float>(work.result.sizes[j]) : 0);
    }
}

void fill_empty(Work& work) {
    for (std::size_t j = 0; j < work.k; ++j) {
        if (work.result.sizes[j] > 0) {
            continue;
        }
        // From a cluster that has rows to spare, the one served worst.
        std::size_t worst = work.n;
        for (std::size_t i = 0; i < work.n; ++i) {
            if (work.result.sizes[work.result.assignment[i]] > 1 &&
                (worst == work.n || work.cost[i] > work.cost[worst])) {
                worst = i;
            }
        }
        if (worst == work.n) {
            return;
        }
        --work.result.sizes[work.result.assignment[worst]];
        work.result.assignment[worst] = static_cast<std::uint32_t>(j);
        work.result.sizes[j] = 1;
        work.cost[worst] = -infinity;
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

Parts parts_of(const float* rows, std::size_t padded, std::span<const std::uint32_t> part_of_row, std::size_t count) {
    Parts parts;
    std::vector<std::size_t> at(count);
    for (const std::uint32_t part : part_of_row) {
        ++at[part];
    }
    std::size_t sum = 0;
    for (std::size_t& begin : at) {
        const std::size_t size = std::exchange(begin, sum);
        sum += size;
        if (size > 0) {
            parts.ends.push_back(sum);
        }
    }
    parts.rows.resize(part_of_row.size());
    for (std::size_t row = 0; row < part_of_row.size(); ++row) {
        parts.rows[at[part_of_row[row]]++] = static_cast<std::uint32_t>(row);
    }
    parts.means.resize(parts.size() * padded);
    for (std::size_t part = 0; part < parts.size(); ++part) {
        mean_of(rows, padded, std::span(parts.rows).subspan(parts.begin(part), parts.rows_in(part)),
                parts.means.data() + part * padded);
    }
    return parts;
}

void divide(const float* rows, std::size_t padded, std::size_t most_parts, std::size_t most_rows, SplitMix& random,
            Parts& parts) {
    struct Range {
        std::size_t size;
        std::size_t begin;
        std::size_t mean;
        bool operator<(const Range& other) const { return size < other.size; }
    };
    std::priority_queue<Range> open;
    std::vector<Range> done;
    for (std::size_t part = 0; part < parts.size(); ++part) {
        open.push({parts.rows_in(part), parts.begin(part), part});
    }
    std::vector<float> axis;
    std::vector<float> next;
    std::vector<float> halves(2 * padded);
    while (!open.empty()) {
        const Range whole = open.top();
        open.pop();
        const std::span<std::uint32_t> members = std::span(parts.rows).subspan(whole.begin, whole.size);
        std::size_t first = 0;
        if (whole.size > std::max<std::size_t>(most_rows, 1) && open.size() + done.size() + 1 < most_parts) {
            first = halve(rows, padded, members, parts.means.data() + whole.mean * padded, random, axis, next,
                          halves.data(), halves.data() + padded);
        }
        if (first == 0 || first == whole.size) {
            done.push_back(whole);
            continue;
        }
        const std::size_t other = parts.means.size() / padded;
        std::copy_n(halves.begin(), padded, parts.means.begin() + static_cast<std::ptrdiff_t>(whole.mean * padded));
        parts.means.insert(parts.means.end(), halves.begin() + static_cast<std::ptrdiff_t>(padded), halves.end());
        open.push({first, whole.begin, whole.mean});
        open.push({whole.size - first, whole.begin + first, other});
    }
    // Means stay where they are; ranges are put in their order.
    std::vector<std::uint32_t> ordered;
    ordered.reserve(parts.rows.size());
    std::sort(done.begin(), done.end(), [](const Range& a, const Range& b) { return a.mean < b.mean; });
    parts.ends.clear();
    for (const Range& range : done) {
        const auto from = parts.rows.begin() + static_cast<std::ptrdiff_t>(range.begin);
        ordered.insert(ordered.end(), from, from + static_cast<std::ptrdiff_t>(range.size));
        parts.ends.push_back(ordered.size());
    }
    parts.rows = std::move(ordered);
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
            work.k = k;
        }
        Parts parts = parts_of(rows, padded, work.result.assignment, known);
        divide(rows, padded, k, 1, random, parts);
        centroids = std::move(parts.means);
        while (centroids.size() < k * padded) {  // rows that are equal
            const float* row = rows + random.below(n) * padded;
            centroids.insert(centroids.end(), row, row + padded);
        }
    }
    work.result.sizes.resize(k);
    for (std::size_t i = 0; i < iterations; ++i) {
        assign(work);
        fill_empty(work);
        average(work);
    }
    assign(work);
    return std::move(work.result);
}

bool parallel_for(std::size_t n, int threads, const std::function<void(std::size_t, std::size_t)>& body) {
    const auto workers =
        std::clamp<std::size_t>(static_cast<std::size_t>(std::max(threads, 1)), 1, std::max<std::size_t>(n, 1));
    const std::size_t share = (n + workers - 1) / workers;
    std::atomic<bool> failed = false;
    const auto run = [&](std::size_t first) {
        try {
            body(std::min(n, first), std::min(n, first + share));
        } catch (...) {  // std::bad_alloc; it must not leave the thread
            failed = true;
        }
    };
    {
        std::vector<std::jthread> others;
        for (std::size_t w = 1; w < workers; ++w) {
            others.emplace_back(run, w * share);
        }
        run(0);
    }
    return !failed;
}

}  // namespace vss
