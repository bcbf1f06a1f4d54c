// k-means over rows of the cells' space. No SQLite in here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vss {

// The mean (padded floats) of each of `count` parts of the rows; parts without rows are left out.
std::vector<float> means_of(const float* rows, std::size_t padded, std::span<const std::uint32_t> part_of_row,
                            std::size_t count);

struct Clustering {
    std::vector<float> centroids;           // padded floats each: means of their members
    std::vector<std::uint32_t> assignment;  // of each row
    std::vector<std::uint32_t> sizes;       // at least 1 each
    // What is left of the rows beside their centroids, summed: of those at the start, where k were given, and now.
    double loss_before = 0;
    double loss = 0;
};

// Lloyd's algorithm over `n` rows of `padded` floats. by_direction: a row belongs to the centroid of the greatest
// cosine (spherical k-means), else to the nearest. `start` (k0 <= k rows of floats) begins with these centroids,
// without any with the mean; the largest clusters are then halved until there are k, by `seed`. A cluster that runs
// empty restarts at the row that its cluster serves worst. Rows that are equal stay together, so that there may be
// fewer than k clusters.
Clustering cluster(const float* rows, std::size_t n, std::size_t padded, std::size_t k, bool by_direction,
                   std::size_t iterations, std::uint64_t seed, const std::vector<float>& start = {});

// Rows that products with panels are taken of at a time: a multiple of the kernel's, small enough for the caches.
inline constexpr std::size_t panel_rows_at_once = 240;

// Puts a centroid into lane `lane` of `panels` (panel_width lanes each, see code_kernels.h), scaled to length 1 by
// direction. Returns its bias: bias - <x, lane> is what a row x minimises.
float put_in_panel(const float* centroid, std::size_t padded, bool by_direction, std::size_t lane, float* panels);

}  // namespace vss
