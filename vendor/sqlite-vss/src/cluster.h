// k-means over rows of the cells' space. No SQLite in here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "rotation.h"

namespace vss {

// Rows in parts, each with its mean. An empty part has no mean and is left out.
struct Parts {
    std::vector<std::uint32_t> rows;  // those of part 0, then those of part 1, ...
    std::vector<std::size_t> ends;    // of each part in `rows`
    std::vector<float> means;         // padded floats each

    [[nodiscard]] std::size_t size() const { return ends.size(); }
    [[nodiscard]] std::size_t begin(std::size_t part) const { return part == 0 ? 0 : ends[part - 1]; }
    [[nodiscard]] std::size_t rows_in(std::size_t part) const { return ends[part] - begin(part); }
};

// The rows by their part, one of `count`.
Parts parts_of(const float* rows, std::size_t padded, std::span<const std::uint32_t> part_of_row, std::size_t count);

// Halves the largest part, until there are `most_parts` or it has no more than `most_rows` rows. A part is halved by
// the plane through its mean across which its rows spread most (roughly: a few rounds of power iteration on signs). A
// new centroid at one of its rows would not do: in many dimensions nearly all rows stay nearer to the old mean than to
// it. Rows that are equal stay together.
void divide(const float* rows, std::size_t padded, std::size_t most_parts, std::size_t most_rows, SplitMix& random,
            Parts& parts);

struct Clustering {
    std::vector<float> centroids;           // k * padded: means of their members
    std::vector<std::uint32_t> assignment;  // of each row
    std::vector<std::uint32_t> sizes;       // k
};

// Lloyd's algorithm over `n` rows of `padded` floats. by_direction: a row belongs to the centroid of the greatest
// cosine (spherical k-means), else to the nearest. `start` (k0 <= k rows of floats) begins with these centroids,
// without any with the mean; the largest clusters are then halved until there are k. A cluster that runs empty restarts
// at the row that its cluster serves worst.
Clustering cluster(const float* rows, std::size_t n, std::size_t padded, std::size_t k, bool by_direction,
                   std::size_t iterations, std::uint64_t seed, const std::vector<float>& start = {});

// Rows that products with panels are taken of at a time: a multiple of the kernel's, small enough for the caches.
inline constexpr std::size_t panel_rows_at_once = 240;

// Puts a centroid into lane `lane` of `panels` (panel_width lanes each, see code_kernels.h), scaled to length 1 by
// direction. Returns its bias: bias - <x, lane> is what a row x minimises.
float put_in_panel(const float* centroid, std::size_t padded, bool by_direction, std::size_t lane, float* panels);

// Calls body(first, last) for parts of [0, n) on up to `threads` threads. False if a part ran out of memory.
bool parallel_for(std::size_t n, int threads, const std::function<void(std::size_t, std::size_t)>& body);

}  // namespace vss
