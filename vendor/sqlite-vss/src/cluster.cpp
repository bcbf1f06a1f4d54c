#include "cluster.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <thread>

#include "code_kernels.h"
#include "rotation.h"

namespace vss {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

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
        const float inverse = work.result.sizes[j] > 0 ? 1 / static_cast<float>(work.result.sizes[j]) : 0;
        float* c = work.result.centroids.data() + j * padded;
        std::for_each(c, c + padded, [&](float& v) { v *= inverse; });
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

Clustering cluster(const float* rows, std::size_t n, std::size_t padded, std::size_t k, bool by_direction,
                   std::size_t iterations, std::uint64_t seed, const std::vector<float>& start) {
    Work work{rows, n, padded, k, by_direction, {}, std::vector<float>(n)};
    work.result.centroids = start;
    work.result.centroids.resize(std::min(start.size() / padded, k) * padded);
    work.result.assignment.resize(n);
    work.result.sizes.resize(k);
    SplitMix random(seed);
    while (work.result.centroids.size() < k * padded) {
        const float* row = rows + random.below(n) * padded;
        work.result.centroids.insert(work.result.centroids.end(), row, row + padded);
    }
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
