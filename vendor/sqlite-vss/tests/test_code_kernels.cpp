// Every instruction set gives the integer sums of the scalar kernels, and the same codes.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/aligned_bytes.h"
#include "base/random.h"
#include "index/cells/codes.h"
#include "kernels/code_kernels.h"
#include "kernels/rotation.h"

using namespace vss;

namespace {

std::vector<SimdLevel> levels() {
    std::vector<SimdLevel> out;
    for (const SimdLevel level : {SimdLevel::scalar, SimdLevel::avx2, SimdLevel::avx512, SimdLevel::neon}) {
        if (cpu_supports(level)) {
            out.push_back(level);
        }
    }
    return out;
}

std::vector<float> normals(std::size_t n, std::uint64_t seed) {
    SplitMix random(seed);
    std::vector<float> out(n);
    for (float& v : out) {
        double sum = 0;
        for (int i = 0; i < 12; ++i) {
            sum += static_cast<double>(random.next() >> 11) * 0x1p-53;
        }
        v = static_cast<float>(sum - 6);
    }
    return out;
}

}  // namespace

TEST_CASE("sums of integers are equal on all levels, also at the extremes") {
    for (const std::size_t padded : {256U, 320U, 384U, 1024U, 3072U, 8192U}) {
        SplitMix random(padded);
        for (const bool extreme : {false, true}) {
            std::vector<std::uint8_t> codes(padded / 8 * block_rows);
            AlignedBytes entry_bytes(padded * 4);
            auto* entries = reinterpret_cast<std::uint8_t*>(entry_bytes.data());
            std::vector<std::uint8_t> bytes(padded);
            std::vector<std::int8_t> small(padded);
            std::vector<std::int8_t> wide(padded);
            for (auto& code : codes) {
                code = static_cast<std::uint8_t>(random.next());
            }
            for (std::size_t i = 0; i < padded * 4; ++i) {
                entries[i] = extreme ? 63 : static_cast<std::uint8_t>(random.below(64));
            }
            for (std::size_t i = 0; i < padded; ++i) {
                bytes[i] = extreme ? 255 : static_cast<std::uint8_t>(random.next());
                small[i] = static_cast<std::int8_t>(extreme ? 63 : static_cast<int>(random.below(127)) - 63);
                wide[i] = static_cast<std::int8_t>(extreme ? -127 : static_cast<int>(random.below(255)) - 127);
            }
            std::vector<float> expected(block_rows);
            code_kernels_scalar().sum_entries(codes.data(), entries, padded, expected.data());
            for (const SimdLevel level : levels()) {
                const CodeKernels& kernels = code_kernels(level);
                std::vector<float> sums(block_rows);
                kernels.sum_entries(codes.data(), entries, padded, sums.data());
                CHECK(sums == expected);
                CHECK(kernels.dot_u8(bytes.data(), small.data(), padded) ==
                      code_kernels_scalar().dot_u8(bytes.data(), small.data(), padded));
                CHECK(kernels.dot_u4(bytes.data(), wide.data(), padded) ==
                      code_kernels_scalar().dot_u4(bytes.data(), wide.data(), padded));
                const std::size_t stride = padded / 8;
                std::vector<std::int32_t> products(3);
                kernels.dots_u4(bytes.data(), stride, products.size(), wide.data(), padded, products.data());
                for (std::size_t i = 0; i < products.size(); ++i) {
                    CHECK(products[i] == code_kernels_scalar().dot_u4(bytes.data() + i * stride, wide.data(), padded));
                }
            }
        }
    }
}

TEST_CASE("a rotation keeps inner products and spreads a single coordinate") {
    for (const std::size_t dim : {1U, 63U, 64U, 65U, 96U, 100U, 384U, 1000U, 3072U}) {
        const Rotation rotation(dim, 7);
        const std::size_t padded = rotation.padded();
        std::vector<float> a = normals(padded, dim);
        std::vector<float> b = normals(padded, dim + 1);
        std::fill(a.begin() + static_cast<std::ptrdiff_t>(dim), a.end(), 0.0F);
        std::fill(b.begin() + static_cast<std::ptrdiff_t>(dim), b.end(), 0.0F);
        double before = 0;
        double norms = 0;
        for (std::size_t i = 0; i < padded; ++i) {
            before += static_cast<double>(a[i]) * b[i];
            norms += static_cast<double>(a[i]) * a[i] + static_cast<double>(b[i]) * b[i];
        }
        rotation.apply(a.data());
        rotation.apply(b.data());
        double after = 0;
        for (std::size_t i = 0; i < padded; ++i) {
            after += static_cast<double>(a[i]) * b[i];
        }
        CHECK(std::abs(after - before) < 1e-5 * norms);

        std::vector<float> single(padded);
        single[dim - 1] = 1;
        rotation.apply(single.data());
        CHECK(code_kernels().largest(single.data(), padded) < 8 / std::sqrt(static_cast<float>(padded)));
    }
}

TEST_CASE("levels agree on rotations, signs and tables up to rounding") {
    const std::size_t padded = 384;
    const Rotation rotation(padded, 3);
    std::vector<float> x = normals(padded, 1);
    const std::vector<float> c = normals(padded, 2);
    std::vector<std::uint8_t> expected(padded / 8);
    SignSums expected_sums;
    code_kernels_scalar().encode_signs(x.data(), c.data(), padded, expected.data(), expected_sums);
    std::vector<std::uint8_t> expected_entries(padded * 4);
    float expected_step = 0;
    float expected_base = 0;
    code_kernels_scalar().make_tables(x.data(), padded, expected_entries.data(), expected_step, expected_base);
    for (const SimdLevel level : levels()) {
        const CodeKernels& kernels = code_kernels(level);
        std::vector<std::uint8_t> bits(padded / 8);
        SignSums sums;
        kernels.encode_signs(x.data(), c.data(), padded, bits.data(), sums);
        CHECK(bits == expected);
        CHECK(sums.absolute == doctest::Approx(expected_sums.absolute).epsilon(1e-4));
        CHECK(sums.square == doctest::Approx(expected_sums.square).epsilon(1e-4));
        CHECK(sums.center == doctest::Approx(expected_sums.center).epsilon(1e-3));
        std::vector<std::uint8_t> entries(padded * 4);
        float step = 0;
        float base = 0;
        kernels.make_tables(x.data(), padded, entries.data(), step, base);
        CHECK(step == doctest::Approx(expected_step).epsilon(1e-5));
        std::size_t off = 0;
        for (std::size_t i = 0; i < entries.size(); ++i) {
            CHECK(std::abs(entries[i] - expected_entries[i]) <= 1);
            off += entries[i] != expected_entries[i] ? 1U : 0U;
        }
        CHECK(off < entries.size() / 50);
        CHECK(kernels.dot(x.data(), c.data(), padded) ==
              doctest::Approx(code_kernels_scalar().dot(x.data(), c.data(), padded)).epsilon(1e-3));
    }
}

TEST_CASE("estimates are unbiased over rotations, for both kinds and all kinds of dimensions") {
    for (const std::size_t dim : {1U, 63U, 65U, 100U, 384U}) {
        for (const Estimate kind : {Estimate::l2, Estimate::product}) {
            const std::vector<float> o = normals(dim, 11);
            const std::vector<float> q = normals(dim, 12);
            const std::vector<float> c = normals(dim, 13);
            double truth = 0;
            double center_distance = 0;
            double center_product = 0;
            double scale = 0;
            for (std::size_t i = 0; i < dim; ++i) {
                truth += kind == Estimate::l2 ? (o[i] - q[i]) * (o[i] - q[i]) : -o[i] * q[i];
                center_distance += (q[i] - c[i]) * (q[i] - c[i]);
                center_product += q[i] * c[i];
                scale += std::abs(o[i] * q[i]) + o[i] * o[i] + q[i] * q[i] + c[i] * c[i];
            }
            double sum = 0;
            constexpr int rotations = 400;
            for (int seed = 0; seed < rotations; ++seed) {
                const Rotation rotation(dim, static_cast<std::uint64_t>(seed) + 1);
                const std::size_t padded = rotation.padded();
                const auto rotated = [&](const std::vector<float>& v) {
                    std::vector<float> out(v);
                    out.resize(padded);
                    rotation.apply(out.data());
                    return out;
                };
                const std::vector<float> ro = rotated(o);
                const std::vector<float> rc = rotated(c);
                CodeQuery query;
                query.vector = rotated(q);
                query.prepare(padded);
                RowCode code;
                encode_row(kind, ro.data(), rc.data(), padded, code);
                CodeBlocks blocks(padded);
                blocks.push(5, code);
                const std::byte* block = blocks.block(0);
                std::vector<float> estimates(block_rows);
                const float offset = static_cast<float>(kind == Estimate::l2 ? center_distance : -center_product);
                code_kernels().scan(block, block, query.tables, padded, offset, 1e30F, estimates.data());
                sum += estimates[0];
            }
            CHECK(std::abs(sum / rotations - truth) < 0.02 * scale);
        }
    }
}

TEST_CASE("the vector that is its centroid is estimated exactly") {
    const std::size_t padded = 256;
    const std::vector<float> x = normals(padded, 4);
    RowCode code;
    encode_row(Estimate::l2, x.data(), x.data(), padded, code);
    CHECK(code.add == 0);
    CHECK(code.rescale == 0);
    encode_row(Estimate::product, x.data(), x.data(), padded, code);
    CHECK(std::abs(code.add) < 1e-3F);
    CHECK(code.rescale == 0);
    const std::vector<float> zero(padded);
    encode_row(Estimate::l2, zero.data(), nullptr, padded, code);
    CHECK(code.rescale == 0);
}

TEST_CASE("entries are found, replaced by the last and removed") {
    CodeBlocks blocks(256);
    RowCode code{1, -1, std::vector<std::uint8_t>(32, 0xA5)};
    for (std::uint32_t i = 0; i < 100; ++i) {
        code.add = static_cast<float>(i);
        blocks.push(i * 3, code);
    }
    CHECK(blocks.find(30) == 10);
    CHECK(blocks.find(31) == 100);
    blocks.remove(10);
    CHECK(blocks.size() == 99);
    CHECK(blocks.entry(10) == 297);
    CHECK(blocks.find(30) == 99);
    const auto copy = blocks.clone();
    copy->remove(0);
    CHECK(blocks.size() == 99);
    CHECK(copy->entry(0) == 98 * 3);
}

TEST_CASE("the smallest values are kept, whatever the values are") {
    SplitMix random(17);
    for (const SimdLevel level : levels()) {
        const CodeKernels& kernels = code_kernels(level);
        for (const int kind : {0, 1, 2, 3, 4}) {
            for (const std::size_t n : {1U, 7U, 8U, 9U, 100U, 531U, 2256U}) {
                for (const std::size_t wanted : {1U, 5U, 98U, 600U}) {
                    std::vector<float> values(n + 8);
                    std::vector<std::uint32_t> numbers(n + 8);
                    for (std::size_t i = 0; i < n; ++i) {
                        const auto drawn = static_cast<float>(random.below(1000000));
                        values[i] = kind == 0   ? drawn - 500000
                                    : kind == 1 ? 3.5F                          // all equal
                                    : kind == 2 ? (i % 2 == 0 ? -1.0F : drawn)  // half equal
                                    : kind == 3 ? (i == 0 ? -INFINITY : drawn)
                                                : (random.below(4) == 0 ? INFINITY : drawn * 1e30F);
                        numbers[i] = static_cast<std::uint32_t>(i);
                    }
                    const std::vector<float> before(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(n));
                    if (n > wanted) {
                        const float limit = kernels.limit_of(values.data(), n, wanted);
                        const auto below =
                            std::count_if(before.begin(), before.end(), [&](float v) { return v < limit; });
                        if (kind == 0) {
                            CHECK(below >= static_cast<std::ptrdiff_t>(wanted));
                            CHECK(below <= static_cast<std::ptrdiff_t>(wanted + wanted / 8));
                        }
                    }
                    float limit = INFINITY;
                    const std::size_t kept = kernels.keep_smallest(values.data(), numbers.data(), n, wanted, limit);
                    CHECK(kept >= std::min(n, wanted));
                    CHECK(kept <= std::max(wanted + wanted / 8, wanted));
                    std::vector<bool> is_kept(n);
                    for (std::size_t i = 0; i < kept; ++i) {
                        REQUIRE(numbers[i] < n);
                        CHECK(values[i] == before[numbers[i]]);
                        CHECK((i == 0 || numbers[i] > numbers[i - 1]));
                        is_kept[numbers[i]] = true;
                    }
                    for (std::size_t i = 0; i < n; ++i) {
                        CHECK((is_kept[i] || before[i] >= limit));
                    }
                }
            }
        }
        const std::vector<float> values = {3, -1, 2, 2, 9, 4, 0, 2.5F, 2, 7, INFINITY};
        std::vector<std::uint32_t> places(values.size() + 1);
        const std::size_t count = kernels.places_between(values.data(), values.size(), 2, 4, places.data());
        places.resize(count);
        CHECK(places == std::vector<std::uint32_t>{0, 2, 3, 7, 8});
    }
}

TEST_CASE("what is expected of cells is the same on all levels, but for the last digits") {
    for (const float square : {1.0F, 0.0F}) {
        for (const std::size_t n : {8U, 16U, 24U, 40U, 2048U}) {
            SplitMix random(n);
            const auto drawn = [&](float low, float high) {
                return low + (high - low) * static_cast<float>(random.below(1000)) / 1000;
            };
            std::vector<float> offsets(n);
            std::vector<float> radii(n);
            std::vector<float> spreads(n);
            std::vector<float> farthest(n);
            std::vector<float> rows(n);
            for (std::size_t i = 0; i < n; ++i) {
                offsets[i] = square > 0 ? drawn(0.2F, 3) : drawn(-2, 2);
                radii[i] = drawn(0.3F, 1.2F);
                spreads[i] = drawn(0, 0.3F);
                farthest[i] = i % 3 == 0 ? 0 : drawn(1, 4);
                rows[i] = i % 5 == 0 ? 0 : drawn(1, 300);
            }
            offsets[1] = std::nanf("");  // what no sound table holds: its rows may be near
            rows[1] = 7;
            offsets[5] = std::nanf("");  // nor anything of a cell without rows
            const CellFacts facts{offsets.data(), radii.data(), spreads.data(), farthest.data(), rows.data()};
            const ChanceTerms terms{0.9F, square, 1.3F, 0.05F, 15};
            std::vector<float> expected(n);
            const float sum = code_kernels_scalar().expect_near(facts, n, terms, expected.data());
            CHECK(expected[1] > 1);
            CHECK(expected[5] == 0);
            CHECK(sum > 1);
            for (const SimdLevel level : levels()) {
                std::vector<float> out(n, -1);
                CHECK(code_kernels(level).expect_near(facts, n, terms, out.data()) ==
                      doctest::Approx(sum).epsilon(1e-5));
                for (std::size_t i = 0; i < n; ++i) {
                    CHECK(out[i] == doctest::Approx(expected[i]).epsilon(1e-4));
                }
            }
        }
    }
}

TEST_CASE("what is no number is rounded to one within the range") {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> values(64, 0.0F);  // 0 times an infinite inverse step, of a vector of the smallest numbers
    values[1] = 1e-45F;
    values[2] = -1e-45F;
    values[3] = nan;
    values[4] = infinity;
    values[5] = -infinity;
    for (const SimdLevel level : levels()) {
        std::vector<std::uint8_t> bytes(values.size());
        code_kernels(level).quantize(values.data(), infinity, 0, -63, 63, values.size(), bytes.data());
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            const auto value = static_cast<std::int8_t>(bytes[i]);
            CHECK((value >= -63 && value <= 63));
            CHECK((i != 1 || value == 63));
            CHECK((i != 2 || value == -63));
        }
        code_kernels(level).quantize(values.data(), 1, 7.5F, 0, 15, values.size(), bytes.data());
        CHECK(std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t value) { return value <= 15; }));
    }
}
