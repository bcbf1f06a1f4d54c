#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <random>

#include "base/aligned_bytes.h"
#include "index/nearest.h"

using namespace vss;  // NOLINT(google-build-using-namespace)

namespace {

struct Data {
    std::deque<Segment> segments;
    std::vector<float> query;
};

Data make(std::size_t segments, std::size_t rows, std::size_t dim, Metric metric, bool with_ties, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    Data data;
    data.query.resize(dim);
    for (float& x : data.query) {
        x = with_ties ? 1.0F : normal(random);
    }
    std::int64_t rowid = 0;
    for (std::size_t s = 0; s < segments; ++s) {
        Segment& segment = data.segments.emplace_back();
        segment.stride = dim * sizeof(float);
        segment.rows = AlignedBytes(rows * segment.stride);
        std::vector<float> row(dim);
        // Later segments are longer, which inner products must not be misled by.
        const float scale = 1.0F + static_cast<float>(s);
        for (std::size_t i = 0; i < rows; ++i) {
            for (float& x : row) {
                x = with_ties ? static_cast<float>(random() % 2 + 1) : scale * normal(random);
            }
            std::memcpy(segment.rows.data() + i * segment.stride, row.data(), segment.stride);
            segment.rowids.push_back((rowid++ * 7919) % 100003);
            segment.slots.push_back(0);
        }
        finish_segment(ElementType::float32, metric, dim, segment);
    }
    return data;
}

std::vector<Neighbor> brute(const Data& data, Metric metric, std::size_t dim, std::size_t k) {
    std::vector<Neighbor> all;
    for (const Segment& segment : data.segments) {
        for (std::size_t i = 0; i < segment.size(); ++i) {
            all.push_back({static_cast<float>(
                               exact_distance(ElementType::float32, metric, data.query.data(), segment.row(i), dim)),
                           segment.rowids[i]});
        }
    }
    std::sort(all.begin(), all.end());
    all.resize(std::min(all.size(), k));
    return all;
}

std::vector<Neighbor> scan(const Data& data, Metric metric, std::size_t dim, std::size_t k, const RowFilter& filter) {
    Nearest nearest(ElementType::float32, metric, dim, reinterpret_cast<const std::byte*>(data.query.data()), k,
                    filter);
    const DistanceKernels kernels = scan_kernels(ElementType::float32, metric);
    std::vector<float> distances;
    for (const Segment& segment : data.segments) {
        distances.resize(segment.size());
        kernels.one(data.query.data(), segment.rows.data(), segment.stride, segment.size(), dim, distances.data());
        nearest.add(segment, distances.data());
    }
    return nearest.finish();
}

}  // namespace

TEST_CASE("equal to brute force in double precision, ties by rowid") {
    for (const Metric metric : {Metric::l2, Metric::inner_product, Metric::cosine, Metric::l1}) {
        for (const bool ties : {false, true}) {
            for (const std::size_t dim : {1, 3, 64, 100}) {
                for (const std::size_t k : {0, 1, 10, 300, 5000}) {
                    const Data data = make(5, 400, dim, metric, ties, static_cast<unsigned>(dim + k));
                    CAPTURE(name_of(metric));
                    CAPTURE(dim);
                    CAPTURE(k);
                    CHECK(scan(data, metric, dim, k, {}) == brute(data, metric, dim, k));
                }
            }
        }
    }
}

TEST_CASE("a filter and distance bounds are honoured inside") {
    const Data data = make(4, 500, 16, Metric::l2, false, 5);
    std::vector<Neighbor> all = brute(data, Metric::l2, 16, 2000);
    RowFilter filter;
    std::vector<std::int64_t> odd;
    for (const Neighbor& neighbor : all) {
        if (neighbor.rowid % 2 == 1) {
            odd.push_back(neighbor.rowid);
        }
    }
    filter.allowed.emplace(odd);
    filter.distance_above = all[20].distance;
    filter.above_inclusive = false;
    filter.distance_below = all[200].distance;
    std::erase_if(all, [&](const Neighbor& neighbor) {
        return neighbor.rowid % 2 == 0 || !filter.passes_distance(neighbor.distance);
    });
    all.resize(std::min<std::size_t>(all.size(), 30));
    CHECK(scan(data, Metric::l2, 16, 30, filter) == all);
}
