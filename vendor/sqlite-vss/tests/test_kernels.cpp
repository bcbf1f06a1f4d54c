#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/vector_value.h"

using namespace vss;

namespace {

constexpr std::size_t dims[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 96, 100, 127, 384, 385, 1000, 3072};
constexpr SimdLevel levels[] = {SimdLevel::scalar, SimdLevel::avx2, SimdLevel::avx512, SimdLevel::neon};
constexpr ElementType types[] = {ElementType::float32, ElementType::float16, ElementType::bfloat16, ElementType::int8,
                                 ElementType::bit};
constexpr Metric metrics[] = {Metric::l2, Metric::inner_product, Metric::cosine, Metric::l1, Metric::hamming};

bool is_supported(ElementType type, Metric metric) {
    return (type == ElementType::bit) == (metric == Metric::hamming);
}

// Vectors of one type at a stride that leaves them unaligned, in a buffer that ends with the last one: a read past
// it is found by the address sanitizer.
struct Vectors {
    ElementType type;
    std::size_t dim;
    std::size_t stride;
    std::vector<std::byte> bytes;

    Vectors(ElementType element_type, std::size_t n, std::size_t dimensions, std::mt19937& random)
        : type(element_type), dim(dimensions), stride(vector_bytes(type, dim) + 3) {
        bytes.resize(n == 0 ? 0 : (n - 1) * stride + vector_bytes(type, dim));
        std::normal_distribution<float> normal;
        std::vector<float> values(dim);
        for (std::size_t i = 0; i < n; ++i) {
            for (float& value : values) {
                value = normal(random);
                if (type == ElementType::int8) {
                    value = static_cast<float>(static_cast<int>(random() % 256) - 128);
                } else if (type == ElementType::bit) {
                    value = static_cast<float>(random() % 2);
                }
            }
            REQUIRE(encode_vector(type, values, bytes.data() + i * stride).is_ok());
        }
    }

    [[nodiscard]] const std::byte* row(std::size_t i) const { return bytes.data() + i * stride; }
    [[nodiscard]] std::vector<double> doubles(std::size_t i) const {
        std::vector<float> values(dim);
        decode_vector(type, row(i), dim, values.data());
        return {values.begin(), values.end()};
    }
};

// The definition of each distance, and the sum of the magnitudes of its terms, on which rounding depends.
struct Reference {
    double distance = 0;
    double magnitude = 0;
};

Reference reference(Metric metric, const std::vector<double>& a, const std::vector<double>& b) {
    long double squared = 0;
    long double absolute = 0;
    long double product = 0;
    long double product_magnitude = 0;
    long double aa = 0;
    long double bb = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        squared += static_cast<long double>(a[i] - b[i]) * (a[i] - b[i]);
        absolute += std::abs(a[i] - b[i]);
        product += static_cast<long double>(a[i]) * b[i];
        product_magnitude += std::abs(static_cast<long double>(a[i]) * b[i]);
        aa += static_cast<long double>(a[i]) * a[i];
        bb += static_cast<long double>(b[i]) * b[i];
    }
    const auto result = [](long double distance, long double magnitude) {
        return Reference{static_cast<double>(distance), static_cast<double>(magnitude)};
    };
    switch (metric) {
        case Metric::l2: return result(squared, squared);
        case Metric::inner_product: return result(-product, product_magnitude);
        case Metric::cosine: return aa == 0 || bb == 0 ? result(1, 0) : result(1 - product / std::sqrt(aa * bb), 2);
        case Metric::l1:
        case Metric::hamming: return result(absolute, absolute);
        default: break;  // test_rare_metrics.cpp
    }
    return {};
}

// The stated bound: docs/functions.md.
double bound(ElementType type, Metric metric, std::size_t dim, double magnitude) {
    if (type == ElementType::bit) {
        return 0;
    }
    const double unit = std::ldexp(1.0, -24);
    if (type == ElementType::int8) {
        return metric == Metric::cosine ? 2 * unit : unit * magnitude;
    }
    return (static_cast<double>(dim) + 8) * unit * magnitude;
}

template <class Body>
void for_each_kernel(Body body) {
    for (const SimdLevel level : levels) {
        if (!cpu_supports(level)) {
            continue;
        }
        for (const ElementType type : types) {
            for (const Metric metric : metrics) {
                if (is_supported(type, metric)) {
                    const std::string level_name(name_of(level));
                    const std::string type_name(name_of(type));
                    const std::string metric_name(name_of(metric));
                    CAPTURE(level_name);
                    CAPTURE(type_name);
                    CAPTURE(metric_name);
                    body(level, type, metric);
                }
            }
        }
    }
}

}  // namespace

TEST_CASE("a pair that makes no sense has no kernels") {
    for (const SimdLevel level : levels) {
        for (const ElementType type : types) {
            for (const Metric metric : metrics) {
                const DistanceKernels kernels = distance_kernels(type, metric, level);
                CHECK((kernels.one != nullptr) == is_supported(type, metric));
                CHECK((kernels.batch != nullptr) == is_supported(type, metric));
            }
        }
    }
}

TEST_CASE("one query: every level is within the stated bound of the definition, integers exactly") {
    for_each_kernel([](SimdLevel level, ElementType type, Metric metric) {
        for (const std::size_t dim : dims) {
            for (const std::size_t n :
                 {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{4}, std::size_t{9}}) {
                std::mt19937 random(static_cast<unsigned>(dim * 131 + n));
                const Vectors query(type, 1, dim, random);
                const Vectors rows(type, n, dim, random);
                std::vector<float> out(n + 1, -7.0F);
                distance_kernels(type, metric, level)
                    .one(query.row(0), rows.bytes.data(), rows.stride, n, dim, out.data());
                CAPTURE(dim);
                for (std::size_t i = 0; i < n; ++i) {
                    const Reference expected = reference(metric, query.doubles(0), rows.doubles(i));
                    const double error = std::abs(static_cast<double>(out[i]) - expected.distance);
                    CHECK(error <= bound(type, metric, dim, expected.magnitude));
                }
                CHECK(out[n] == -7.0F);
            }
        }
    });
}

TEST_CASE("a batch gives each query what it gets alone, within the bound") {
    for_each_kernel([](SimdLevel level, ElementType type, Metric metric) {
        for (const std::size_t dim : {std::size_t{1}, std::size_t{20}, std::size_t{384}, std::size_t{1001}}) {
            for (const std::size_t nq : {0U, 1U, 2U, 3U, 4U, 5U, 6U, 7U, 13U}) {
                const std::size_t n = dim == 20 ? 700 : 101;  // more than one cache block, no multiple of any width
                std::mt19937 random(static_cast<unsigned>(dim * 17 + nq));
                const Vectors queries(type, nq, dim, random);
                const Vectors rows(type, n, dim, random);
                std::vector<float> out(nq * n + 1, -7.0F);
                distance_kernels(type, metric, level)
                    .batch(queries.bytes.data(), nq, queries.stride, rows.bytes.data(), rows.stride, n, dim,
                           out.data());
                CAPTURE(dim);
                CAPTURE(nq);
                std::size_t wrong = 0;
                for (std::size_t q = 0; q < nq; ++q) {
                    const std::vector<double> query = queries.doubles(q);
                    for (std::size_t i = 0; i<n; i += dim> 100 ? 3 : 1) {
                        const Reference expected = reference(metric, query, rows.doubles(i));
                        const double error = std::abs(static_cast<double>(out[q * n + i]) - expected.distance);
                        wrong += error <= bound(type, metric, dim, expected.magnitude) ? 0 : 1;
                    }
                }
                CHECK(wrong == 0);
                CHECK(out[nq * n] == -7.0F);
            }
        }
    });
}

TEST_CASE("int8 sums are exact at the extremes and in the largest dimension") {
    for (const SimdLevel level : levels) {
        if (!cpu_supports(level)) {
            continue;
        }
        const std::vector<std::byte> low(max_dimensions, std::byte{0x80});
        const std::vector<std::byte> high(max_dimensions, std::byte{0x7F});
        const auto distance = [&](Metric metric, const auto& a, const auto& b) {
            float out = 0;
            distance_kernels(ElementType::int8, metric, level).one(a.data(), b.data(), 0, 1, max_dimensions, &out);
            return out;
        };
        CHECK(distance(Metric::l2, low, high) == static_cast<float>(65536.0 * 255 * 255));
        CHECK(distance(Metric::l1, low, high) == static_cast<float>(65536.0 * 255));
        CHECK(distance(Metric::inner_product, low, low) == static_cast<float>(-65536.0 * 128 * 128));
        CHECK(distance(Metric::inner_product, low, high) == static_cast<float>(65536.0 * 128 * 127));
        CHECK(distance(Metric::cosine, low, high) == 2.0F);
        CHECK(distance(Metric::cosine, low, low) == 0.0F);
    }
}

TEST_CASE("what overflows float32 inside a kernel comes from double precision, never as NaN") {
    for (const SimdLevel level : levels) {
        if (!cpu_supports(level)) {
            continue;
        }
        const std::vector<float> a{1e30F, 1e30F, 1.0F};
        const std::vector<float> b{1e30F, -1e30F, 2.0F};
        const auto distance = [&](Metric metric, const std::vector<float>& x, const std::vector<float>& y) {
            float one = 0;
            float many[2] = {};
            const auto* row = reinterpret_cast<const std::byte*>(y.data());
            const DistanceKernels kernels = distance_kernels(ElementType::float32, metric, level);
            kernels.one(x.data(), row, 12, 1, 3, &one);
            kernels.batch(reinterpret_cast<const std::byte*>(x.data()), 2, 0, row, 12, 1, 3, many);
            CHECK(one == many[0]);
            CHECK(one == many[1]);
            return one;
        };
        CHECK(distance(Metric::inner_product, a, b) == 0.0F);  // 1e60 - 1e60 + 2 in double
        CHECK(distance(Metric::l2, a, b) == std::numeric_limits<float>::infinity());
        CHECK(distance(Metric::cosine, a, b) == doctest::Approx(1.0));
        CHECK(distance(Metric::cosine, a, a) == doctest::Approx(0.0));
        const std::vector<float> tiny{1e-30F, 0, 0};
        const std::vector<float> zero{0, 0, 0};
        CHECK(distance(Metric::cosine, tiny, tiny) == 0.0F);
        CHECK(distance(Metric::cosine, tiny, zero) == 1.0F);
    }
}

TEST_CASE("exact distances are correct to double precision, and equal to the last bit on every machine") {
    std::mt19937 random(5);
    for (const ElementType type : types) {
        for (const Metric metric : metrics) {
            if (!is_supported(type, metric)) {
                continue;
            }
            for (const std::size_t dim : dims) {
                const Vectors pair(type, 2, dim, random);
                const Reference expected = reference(metric, pair.doubles(0), pair.doubles(1));
                const double got = exact_distance(type, metric, pair.row(0), pair.row(1), dim);
                const double rounding = std::ldexp(static_cast<double>(dim) + 8, -53);
                CHECK(std::abs(got - expected.distance) <= rounding * expected.magnitude);
                // Eight lanes, then this order: spelled out once more, in plain code.
                if (metric == Metric::l2) {
                    double lane[8] = {};
                    for (std::size_t i = 0; i < dim; ++i) {
                        const double d = pair.doubles(0)[i] - pair.doubles(1)[i];
                        const volatile double square = d * d;  // volatile: rounded here, whatever the compiler may fuse
                        lane[i % 8] += square;
                    }
                    CHECK(got ==
                          ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7])));
                }
            }
        }
    }
}

TEST_CASE("exact inner product of orthogonal vectors is 0, not -0") {
    const float a[] = {1, 0};
    const float b[] = {0, 1};
    CHECK_FALSE(std::signbit(exact_distance(ElementType::float32, Metric::inner_product, a, b, 2)));
}

TEST_CASE("all_finite finds the one that is not, wherever it is") {
    for (const std::size_t n : {1U, 7U, 8U, 9U, 16U, 33U, 384U}) {
        std::vector<float> values(n, std::numeric_limits<float>::max());
        CHECK(all_finite(values.data(), n));
        for (std::size_t i = 0; i < n; ++i) {
            for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                                    std::numeric_limits<float>::quiet_NaN()}) {
                const float kept = values[i];
                values[i] = bad;
                CHECK_FALSE(all_finite(values.data(), n));
                values[i] = kept;
            }
        }
    }
    CHECK(all_finite(nullptr, 0));
}

// As those behind vector_to_blob()'s header of two bytes. Only a build for UBSan sees a load that is not allowed.
TEST_CASE("all_finite reads values at any address") {
    for (const std::size_t n : {1U, 7U, 16U, 33U}) {
        for (std::size_t offset = 1; offset < sizeof(float); ++offset) {
            std::vector<float> values(n, 1.0F);
            std::vector<std::byte> bytes(offset + n * sizeof(float));
            std::memcpy(bytes.data() + offset, values.data(), n * sizeof(float));
            CHECK(all_finite(bytes.data() + offset, n));
            values.back() = std::numeric_limits<float>::infinity();
            std::memcpy(bytes.data() + offset, values.data(), n * sizeof(float));
            CHECK_FALSE(all_finite(bytes.data() + offset, n));
        }
    }
}
