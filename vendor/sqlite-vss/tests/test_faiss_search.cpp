// What takes the place of Faiss's own: distances, the nearest of short centroids, the search of a flat graph and the
// scan of 8-bit codes.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/utils/distances.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "index/faiss/faiss_graph.h"
#include "index/faiss/faiss_scalar.h"

namespace {

std::vector<float> normals(std::size_t n, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(n);
    std::generate(values.begin(), values.end(), [&] { return normal(random); });
    return values;
}

double square_between(const float* a, const float* b, std::size_t dim) {
    double sum = 0;
    for (std::size_t i = 0; i < dim; ++i) {
        sum += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    }
    return sum;
}

std::vector<std::uint32_t> nearest_rows(const std::vector<float>& rows, const float* query, std::size_t dim,
                                        std::size_t k, faiss::MetricType metric, std::size_t step) {
    std::vector<std::uint32_t> order;
    std::vector<double> distances(rows.size() / dim);
    for (std::size_t i = 0; i < distances.size(); ++i) {
        const float* row = rows.data() + i * dim;
        distances[i] = metric == faiss::METRIC_L2 ? square_between(query, row, dim)
                                                  : -std::inner_product(query, query + dim, row, 0.0);
        if (i % step == 0) {
            order.push_back(static_cast<std::uint32_t>(i));
        }
    }
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return distances[a] < distances[b]; });
    order.resize(std::min(order.size(), k));
    return order;
}

std::size_t in_common(const std::vector<std::uint32_t>& a, const std::vector<std::uint32_t>& b) {
    const std::set<std::uint32_t> known(a.begin(), a.end());
    return static_cast<std::size_t>(
        std::count_if(b.begin(), b.end(), [&](std::uint32_t id) { return known.count(id) > 0; }));
}

}  // namespace

TEST_CASE("distances of every length are those of double precision") {
    for (std::size_t dim = 1; dim <= 100; ++dim) {
        CAPTURE(dim);
        const std::vector<float> a = normals(dim, 1);
        const std::vector<float> b = normals(dim, 2);
        CHECK(faiss::fvec_L2sqr(a.data(), b.data(), dim) ==
              doctest::Approx(square_between(a.data(), b.data(), dim)).epsilon(1e-5));
        CHECK(std::abs(faiss::fvec_inner_product(a.data(), b.data(), dim) -
                       std::inner_product(a.begin(), a.end(), b.begin(), 0.0)) < 1e-4);
    }
}

TEST_CASE("the nearest of many short vectors is the nearest") {
    for (const std::size_t dim : {1, 2, 3, 4, 8, 12, 16, 32, 33}) {
        for (const std::size_t count : {16, 31, 32, 33, 63, 256, 300}) {
            CAPTURE(dim);
            CAPTURE(count);
            const std::size_t asked = 200;
            const std::vector<float> rows = normals(count * dim, 3);
            const std::vector<float> queries = normals(asked * dim, 4);
            faiss::IndexFlatL2 index(static_cast<int>(dim));
            index.add(static_cast<faiss::Index::idx_t>(count), rows.data());
            std::vector<float> distances(asked);
            std::vector<faiss::Index::idx_t> found(asked);
            index.search(static_cast<faiss::Index::idx_t>(asked), queries.data(), 1, distances.data(), found.data());
            for (std::size_t i = 0; i < asked; ++i) {
                const float* query = queries.data() + i * dim;
                const std::size_t best = nearest_rows(rows, query, dim, 1, faiss::METRIC_L2, 1).front();
                REQUIRE(found[i] >= 0);
                const auto at = static_cast<std::size_t>(found[i]);
                REQUIRE(at < count);
                // Rows as near as float32 tells apart are as good.
                const double truth = square_between(query, rows.data() + best * dim, dim);
                CHECK(square_between(query, rows.data() + at * dim, dim) <= truth + 1e-4);
                CHECK(std::abs(distances[i] - truth) < 1e-4 * (1 + truth));
            }
        }
    }
}

TEST_CASE("a flat graph is searched as well as Faiss searches it") {
    constexpr std::size_t dim = 24;
    constexpr std::size_t count = 3000;
    constexpr std::size_t k = 10;
    constexpr std::size_t asked = 100;
    const std::vector<float> rows = normals(count * dim, 5);
    const std::vector<float> queries = normals(asked * dim, 6);
    for (const faiss::MetricType metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
        faiss::IndexHNSWFlat index(static_cast<int>(dim), 16, metric);
        index.add(static_cast<faiss::Index::idx_t>(count), rows.data());
        REQUIRE(vss::is_flat_graph(index));
        // Only every third row may be found.
        std::vector<std::uint64_t> third((count + 63) / 64);
        for (std::size_t i = 0; i < count; i += 3) {
            third[i / 64] |= std::uint64_t{1} << (i % 64);
        }
        for (const std::size_t reach : {k, std::size_t{40}, std::size_t{200}}) {
            std::size_t ours = 0;
            std::size_t theirs = 0;
            std::size_t allowed = 0;
            for (std::size_t i = 0; i < asked; ++i) {
                const float* query = queries.data() + i * dim;
                std::vector<std::uint32_t> found;
                vss::search_flat_graph(index, query, k, reach, nullptr, found);
                CHECK(found.size() == k);
                ours += in_common(nearest_rows(rows, query, dim, k, metric, 1), found);
                faiss::SearchParametersHNSW parameters;
                parameters.efSearch = static_cast<int>(reach);
                std::vector<float> distances(k);
                std::vector<faiss::Index::idx_t> ids(k);
                index.search(1, query, k, distances.data(), ids.data(), &parameters);
                theirs += in_common(nearest_rows(rows, query, dim, k, metric, 1), {ids.begin(), ids.end()});

                vss::search_flat_graph(index, query, k, reach, &third, found);
                CHECK(std::all_of(found.begin(), found.end(), [](std::uint32_t id) { return id % 3 == 0; }));
                allowed += in_common(nearest_rows(rows, query, dim, k, metric, 3), found);
            }
            CAPTURE(reach);
            CHECK(ours + asked * k / 50 >= theirs);
            CHECK(ours >= asked * k / 4);
            if (reach == 200) {
                CHECK(ours >= asked * k * 95 / 100);
                CHECK(allowed >= asked * k * 90 / 100);
            }
        }
        // As far as there are rows: every row.
        std::vector<std::uint32_t> all;
        vss::search_flat_graph(index, queries.data(), count, count, nullptr, all);
        CHECK(all.size() >= count * 99 / 100);
        CHECK(std::set<std::uint32_t>(all.begin(), all.end()).size() == all.size());
    }
}

TEST_CASE("an empty graph finds nothing") {
    faiss::IndexHNSWFlat index(8, 4);
    const std::vector<float> query(8, 1.0F);
    std::vector<std::uint32_t> found{7};
    vss::search_flat_graph(index, query.data(), 10, 10, nullptr, found);
    CHECK(found.empty());
}

TEST_CASE("other graphs are Faiss's to search") {
    faiss::IndexHNSWSQ index(8, faiss::ScalarQuantizer::QT_8bit, 4);
    CHECK_FALSE(vss::is_flat_graph(index));
}

TEST_CASE("8-bit codes are scanned as Faiss scans them") {
    constexpr std::size_t count = 500;
    constexpr std::size_t k = 20;
    for (const std::size_t dim : {1, 7, 32, 45, 384}) {
        const std::vector<float> rows = normals(count * dim, 7);
        const std::vector<float> queries = normals(10 * dim, 8);
        std::vector<std::uint64_t> third((count + 63) / 64);
        for (std::size_t i = 0; i < count; i += 3) {
            third[i / 64] |= std::uint64_t{1} << (i % 64);
        }
        for (const faiss::MetricType metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
            faiss::IndexScalarQuantizer index(static_cast<int>(dim), faiss::ScalarQuantizer::QT_8bit, metric);
            index.train(static_cast<faiss::Index::idx_t>(count), rows.data());
            index.add(static_cast<faiss::Index::idx_t>(count), rows.data());
            REQUIRE(vss::is_of_bytes(index));
            std::vector<float> decoded(count * dim);
            index.reconstruct_n(0, static_cast<faiss::Index::idx_t>(count), decoded.data());
            CAPTURE(dim);
            CAPTURE(metric);
            for (std::size_t i = 0; i < 10; ++i) {
                const float* query = queries.data() + i * dim;
                std::vector<std::uint32_t> found;
                vss::scan_bytes(index, query, k, nullptr, found);
                // Of one dimension many codes are the same.
                const auto truth = nearest_rows(decoded, query, dim, k, metric, 1);
                CHECK(found.size() == k);
                CHECK((dim == 1 || in_common(truth, found) >= k - 1));
                vss::scan_bytes(index, query, k, &third, found);
                CHECK(found.size() == k);
                CHECK(std::all_of(found.begin(), found.end(), [](std::uint32_t id) { return id % 3 == 0; }));
                CHECK((dim == 1 || in_common(nearest_rows(decoded, query, dim, k, metric, 3), found) >= k - 1));
                vss::scan_bytes(index, query, 2 * count, nullptr, found);
                CHECK(found.size() == count);
            }
        }
    }
    faiss::IndexScalarQuantizer empty(8, faiss::ScalarQuantizer::QT_8bit);
    empty.train(2, normals(16, 9).data());
    std::vector<std::uint32_t> found{7};
    vss::scan_bytes(empty, normals(8, 9).data(), 3, nullptr, found);
    CHECK(found.empty());
    CHECK_FALSE(vss::is_of_bytes(faiss::IndexScalarQuantizer(8, faiss::ScalarQuantizer::QT_4bit)));
}
