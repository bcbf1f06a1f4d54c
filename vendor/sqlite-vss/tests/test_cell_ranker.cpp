// CellRanker against a plain ranking of all cells, at every level.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/random.h"
#include "index/cells/cell_ranker.h"
#include "kernels/code_kernels.h"
#include "kernels/rotation.h"

namespace vss {
namespace {

std::vector<float> random_rows(std::size_t n, std::size_t padded, std::uint64_t seed) {
    SplitMix random(seed);
    std::vector<float> rows(n * padded);
    for (float& v : rows) {
        v = static_cast<float>(random.below(2001)) / 1000 - 1;
    }
    return rows;
}

double plain_score(const float* x, const float* c, std::size_t padded, bool by_direction) {
    double product = 0;
    double square = 0;
    for (std::size_t i = 0; i < padded; ++i) {
        product += static_cast<double>(x[i]) * c[i];
        square += static_cast<double>(c[i]) * c[i];
    }
    if (by_direction) {
        return square > 0 ? -product / std::sqrt(square) : 0;
    }
    return square - 2 * product;
}

std::vector<std::uint32_t> plain_order(const float* x, const std::vector<std::uint32_t>& cells,
                                       const std::vector<float>& centroids, std::size_t padded, bool by_direction) {
    std::vector<double> scores(cells.size());
    for (std::size_t j = 0; j < cells.size(); ++j) {
        scores[j] = plain_score(x, centroids.data() + j * padded, padded, by_direction);
    }
    std::vector<std::uint32_t> order(cells.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return scores[a] < scores[b]; });
    for (std::uint32_t& at : order) {
        at = cells[at];
    }
    return order;
}

}  // namespace

TEST_CASE("panel: values and masks equal plain sums, for every number of rows, at every level") {
    const std::size_t padded = 320;
    const std::vector<float> rows = random_rows(13, padded, 1);
    const std::vector<float> vectors = random_rows(panel_width, padded, 2);
    std::vector<float> panel(panel_width * padded);
    std::vector<float> bias(panel_width);
    for (std::size_t j = 0; j < panel_width; ++j) {
        bias[j] = static_cast<float>(j) - 7;
        for (std::size_t i = 0; i < padded; ++i) {
            panel[i * panel_width + j] = vectors[j * padded + i];
        }
    }
    for (const SimdLevel level : {SimdLevel::scalar, SimdLevel::avx2, SimdLevel::avx512, SimdLevel::neon}) {
        for (std::size_t n = 0; n <= 13; ++n) {
            std::vector<const float*> at(n);
            std::vector<float> limits(n);
            for (std::size_t r = 0; r < n; ++r) {
                at[r] = rows.data() + r * padded;
                limits[r] = static_cast<float>(r) - 6;
            }
            std::vector<float> values(n * panel_width);
            std::vector<std::uint32_t> masks(n);
            code_kernels(level).panel(at.data(), n, panel.data(), bias.data(), padded, limits.data(), values.data(),
                                      masks.data());
            for (std::size_t r = 0; r < n; ++r) {
                for (std::size_t j = 0; j < panel_width; ++j) {
                    double product = 0;
                    for (std::size_t i = 0; i < padded; ++i) {
                        product += static_cast<double>(at[r][i]) * vectors[j * padded + i];
                    }
                    const float value = values[r * panel_width + j];
                    CHECK(value == doctest::Approx(bias[j] - product).epsilon(1e-4));
                    CHECK(((masks[r] >> j) & 1U) == (value < limits[r] ? 1U : 0U));
                }
            }
        }
    }
}

TEST_CASE("few cells: exactly the plain ranking, with scores and products") {
    const std::size_t padded = 256;
    const std::size_t k = 90;
    const std::vector<float> centroids = random_rows(k, padded, 3);
    const std::vector<float> rows = random_rows(300, padded, 4);
    std::vector<std::uint32_t> cells(k);
    for (std::uint32_t j = 0; j < k; ++j) {
        cells[j] = 3 * j + 1;
    }
    for (const bool by_direction : {false, true}) {
        CellRanker ranker(padded, by_direction);
        ranker.build(cells, centroids.data());
        for (const std::size_t count : {std::size_t{1}, std::size_t{2}, std::size_t{16}, k, k + 5}) {
            std::vector<RankedCell> out(300 * count);
            ranker.rank(rows.data(), 300, count, out.data());
            for (std::size_t r = 0; r < 300; ++r) {
                const float* x = rows.data() + r * padded;
                const std::vector<std::uint32_t> wanted = plain_order(x, cells, centroids, padded, by_direction);
                for (std::size_t p = 0; p < count; ++p) {
                    const RankedCell& got = out[r * count + p];
                    if (p >= k) {
                        CHECK(got.cell == CellRanker::no_cell);
                        continue;
                    }
                    CHECK(got.cell == wanted[p]);
                    const float* c = centroids.data() + (got.cell - 1) / 3 * padded;
                    CHECK(got.score == doctest::Approx(plain_score(x, c, padded, by_direction)).epsilon(1e-3));
                    CHECK(got.product == doctest::Approx(code_kernels().dot(x, c, padded)).epsilon(1e-3));
                }
            }
        }
    }
}

TEST_CASE("many cells: nearly always the nearest, however they came") {
    const std::size_t padded = 256;
    const std::size_t k = 1000;
    // Cells with neighbours: points around a few places.
    const std::vector<float> places = random_rows(20, padded, 5);
    std::vector<float> centroids = random_rows(k, padded, 6);
    for (std::size_t j = 0; j < k; ++j) {
        for (std::size_t i = 0; i < padded; ++i) {
            centroids[j * padded + i] = places[j % 20 * padded + i] + centroids[j * padded + i] / 2;
        }
    }
    std::vector<float> rows = random_rows(500, padded, 7);
    for (std::size_t r = 0; r < 500; ++r) {
        for (std::size_t i = 0; i < padded; ++i) {
            rows[r * padded + i] = centroids[r * 2 * padded + i] + rows[r * padded + i] / 2;
        }
    }
    std::vector<std::uint32_t> cells(k);
    std::iota(cells.begin(), cells.end(), 0);
    CellRanker built(padded, true);
    built.build(cells, centroids.data());
    CellRanker grown(padded, true);
    for (const std::uint32_t cell : cells) {
        grown.set(cell, centroids.data() + ((cell + 1) % k) * padded);  // elsewhere first
    }
    for (const std::uint32_t cell : cells) {
        grown.set(cell, centroids.data() + cell * padded);
    }
    for (const CellRanker* ranker : {&built, &grown}) {
        CHECK(ranker->size() == k);
        std::vector<RankedCell> out(500 * 8);
        ranker->rank(rows.data(), 500, 8, out.data());
        std::size_t right = 0;
        for (std::size_t r = 0; r < 500; ++r) {
            const auto wanted = plain_order(rows.data() + r * padded, cells, centroids, padded, true);
            right += out[r * 8].cell == wanted[0] ? 1U : 0U;
            for (std::size_t p = 1; p < 8; ++p) {
                CHECK(out[r * 8 + p - 1].score <= out[r * 8 + p].score);
            }
        }
        CHECK(right >= 490);
    }
}

TEST_CASE("erased cells are never found; groups that lost all their cells are passed over") {
    const std::size_t padded = 256;
    const std::size_t k = 400;
    const std::vector<float> centroids = random_rows(k, padded, 8);
    std::vector<std::uint32_t> cells(k);
    std::iota(cells.begin(), cells.end(), 0);
    CellRanker ranker(padded, false);
    ranker.build(cells, centroids.data());
    for (std::uint32_t cell = 1; cell < k; ++cell) {
        ranker.erase(cell);
        ranker.erase(cell);  // once is enough
    }
    CHECK(ranker.size() == 1);
    std::vector<RankedCell> out(k * 2);
    ranker.rank(centroids.data(), k, 2, out.data());
    for (std::size_t r = 0; r < k; ++r) {
        CHECK(out[r * 2].cell == 0);
        CHECK(out[r * 2 + 1].cell == CellRanker::no_cell);
    }
}

}  // namespace vss
