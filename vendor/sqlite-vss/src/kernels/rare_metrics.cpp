#include "kernels/rare_metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/half.h"

namespace vss {
namespace {

template <ElementType type>
double element(const std::byte* vector, std::size_t i) {
    if constexpr (type == ElementType::float32) {
        float value = 0;
        std::memcpy(&value, vector + i * sizeof value, sizeof value);
        return value;
    } else if constexpr (type == ElementType::int8) {
        return static_cast<std::int8_t>(std::to_integer<std::uint8_t>(vector[i]));
    } else {
        std::uint16_t bits = 0;
        std::memcpy(&bits, vector + i * sizeof bits, sizeof bits);
        return type == ElementType::float16 ? float16_to_float(bits) : bfloat16_to_float(bits);
    }
}

// x log(x / m), whose limit for x = 0 is 0.
double divergence(double x, double m) {
    return x == 0 ? 0 : x * std::log(x / m);
}

template <ElementType type, Metric metric>
double distance(const std::byte* a, const std::byte* b, std::size_t dim) {
    constexpr double infinite = std::numeric_limits<double>::infinity();
    double sum = 0;
    double weight = 0;
    for (std::size_t i = 0; i < dim; ++i) {
        const double x = element<type>(a, i);
        const double y = element<type>(b, i);
        if constexpr (metric == Metric::linf) {
            sum = std::max(sum, std::abs(x - y));
        } else if constexpr (metric == Metric::canberra) {
            sum += x == y ? 0 : std::abs(x - y) / (std::abs(x) + std::abs(y));
        } else if constexpr (metric == Metric::bray_curtis) {
            sum += std::abs(x - y);
            weight += std::abs(x + y);
        } else {
            if (x < 0 || y < 0) {
                return infinite;
            }
            const double m = 0.5 * (x + y);
            sum += 0.5 * (divergence(x, m) + divergence(y, m));
        }
    }
    if constexpr (metric == Metric::bray_curtis) {
        return sum == 0 ? 0 : weight == 0 ? infinite : sum / weight;
    }
    return sum;
}

template <ElementType type, Metric metric>
void one(const void* query, const std::byte* rows, std::size_t stride, std::size_t n, std::size_t dim, float* out) {
    for (std::size_t i = 0; i < n; ++i) {
        out[i] =
            static_cast<float>(distance<type, metric>(static_cast<const std::byte*>(query), rows + i * stride, dim));
    }
}

template <ElementType type, Metric metric>
void batch(const std::byte* queries, std::size_t nq, std::size_t query_stride, const std::byte* rows,
           std::size_t stride, std::size_t n, std::size_t dim, float* out) {
    for (std::size_t j = 0; j < nq; ++j) {
        one<type, metric>(queries + j * query_stride, rows, stride, n, dim, out + j * n);
    }
}

struct RareMetric {
    double (*distance)(const std::byte* a, const std::byte* b, std::size_t dim) = nullptr;
    DistanceKernels kernels;
};

template <ElementType type>
RareMetric of_type(Metric metric) {
    switch (metric) {
        case Metric::linf: return {distance<type, Metric::linf>, {one<type, Metric::linf>, batch<type, Metric::linf>}};
        case Metric::canberra:
            return {distance<type, Metric::canberra>, {one<type, Metric::canberra>, batch<type, Metric::canberra>}};
        case Metric::bray_curtis:
            return {distance<type, Metric::bray_curtis>,
                    {one<type, Metric::bray_curtis>, batch<type, Metric::bray_curtis>}};
        case Metric::jensen_shannon:
            return {distance<type, Metric::jensen_shannon>,
                    {one<type, Metric::jensen_shannon>, batch<type, Metric::jensen_shannon>}};
        default: return {};
    }
}

RareMetric rare_metric(ElementType type, Metric metric) {
    switch (type) {
        case ElementType::float32: return of_type<ElementType::float32>(metric);
        case ElementType::float16: return of_type<ElementType::float16>(metric);
        case ElementType::bfloat16: return of_type<ElementType::bfloat16>(metric);
        case ElementType::int8: return of_type<ElementType::int8>(metric);
        case ElementType::bit: break;
    }
    return {};
}

}  // namespace

double rare_distance(ElementType type, Metric metric, const std::byte* a, const std::byte* b, std::size_t dim) {
    return rare_metric(type, metric).distance(a, b, dim);
}

DistanceKernels rare_kernels(ElementType type, Metric metric) {
    return rare_metric(type, metric).kernels;
}

}  // namespace vss
