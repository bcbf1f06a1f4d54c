#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/vector_value.h"

using namespace vss;

namespace {

constexpr double infinite = std::numeric_limits<double>::infinity();

double between(ElementType type, Metric metric, const std::vector<float>& a, const std::vector<float>& b) {
    std::vector<std::byte> x(vector_bytes(type, a.size()));
    std::vector<std::byte> y(x.size());
    REQUIRE(encode_vector(type, a, x.data()).is_ok());
    REQUIRE(encode_vector(type, b, y.data()).is_ok());
    const double exact = exact_distance(type, metric, x.data(), y.data(), a.size());
    // The kernels say the same, rounded, one by one and in batches.
    const DistanceKernels kernels = distance_kernels(type, metric);
    float one = 0;
    kernels.one(x.data(), y.data(), y.size(), 1, a.size(), &one);
    float batch = 0;
    kernels.batch(x.data(), 1, x.size(), y.data(), y.size(), 1, a.size(), &batch);
    CHECK(one == static_cast<float>(exact));
    CHECK(batch == one);
    return exact;
}

}  // namespace

TEST_CASE("rare metrics are what they are defined as, in every element type") {
    const std::vector<float> a{1, 2, 0, 4};
    const std::vector<float> b{3, 2, 0, 1};
    for (const ElementType type :
         {ElementType::float32, ElementType::float16, ElementType::bfloat16, ElementType::int8}) {
        CHECK(between(type, Metric::linf, a, b) == 3);
        CHECK(between(type, Metric::canberra, a, b) == doctest::Approx(2.0 / 4 + 3.0 / 5));
        CHECK(between(type, Metric::bray_curtis, a, b) == doctest::Approx(5.0 / 13));
        const double expected =
            0.5 * (std::log(1.0 / 2) + 3 * std::log(3.0 / 2) + 4 * std::log(4 / 2.5) + std::log(1 / 2.5));
        CHECK(between(type, Metric::jensen_shannon, a, b) == doctest::Approx(expected));
    }
}

TEST_CASE("rare metrics are never not a number") {
    const std::vector<float> zero{0, 0};
    const std::vector<float> plus{1, 1};
    const std::vector<float> minus{-1, -1};
    for (const Metric metric : {Metric::linf, Metric::canberra, Metric::bray_curtis, Metric::jensen_shannon}) {
        CHECK(between(ElementType::float32, metric, zero, zero) == 0);
        CHECK(between(ElementType::float32, metric, plus, plus) == 0);
    }
    CHECK(between(ElementType::float32, Metric::bray_curtis, plus, minus) == infinite);
    CHECK(between(ElementType::float32, Metric::canberra, plus, minus) == 2);
    CHECK(between(ElementType::float32, Metric::jensen_shannon, plus, minus) == infinite);
    CHECK(between(ElementType::float32, Metric::jensen_shannon, plus, zero) == doctest::Approx(std::log(2.0)));
}
