// Picks the kernels of the instruction level in force.
#include "kernels/kernels.h"

#include <algorithm>
#include <cmath>

#include "kernels/kernels_table.h"
#include "kernels/rare_metrics.h"

namespace vss {
namespace {

const KernelTable& table_of(SimdLevel level) {
    switch (level) {
#if defined(VSS_HAVE_AVX2)
        case SimdLevel::avx2: return kernel_table_avx2();
#endif
#if defined(VSS_HAVE_AVX512)
        case SimdLevel::avx512: return kernel_table_avx512();
#endif
#if defined(VSS_HAVE_NEON)
        case SimdLevel::neon: return kernel_table_neon();
#endif
        default: return kernel_table_scalar();
    }
}

const KernelTable& table_in_force() {
    static const KernelTable& table = table_of(simd_level());
    return table;
}

double hamming(const std::byte* a, const std::byte* b, std::size_t dim) {
    float bits = 0;
    table_in_force()
        .distance[static_cast<std::size_t>(ElementType::bit)][static_cast<std::size_t>(Metric::hamming)]
        .one(a, b, vector_bytes(ElementType::bit, dim), 1, dim, &bits);
    return static_cast<double>(bits);
}

double cosine_distance(const KernelTable& table, ElementType type, const std::byte* x, double length_of_x,
                       const std::byte* y, std::size_t dim) {
    const auto t = static_cast<std::size_t>(type);
    const double length_of_y = std::sqrt(table.exact_product[t](y, y, dim));
    if (length_of_x == 0 || length_of_y == 0) {
        return 1.0;  // no direction: as far as a right angle
    }
    return std::clamp(1.0 - table.exact_product[t](x, y, dim) / (length_of_x * length_of_y), 0.0, 2.0);
}

}  // namespace

DistanceKernels distance_kernels(ElementType type, Metric metric, SimdLevel level) {
    if (is_rare(metric)) {
        return rare_kernels(type, metric);
    }
    if (!cpu_supports(level)) {
        level = SimdLevel::scalar;
    }
    return table_of(level).distance[static_cast<std::size_t>(type)][static_cast<std::size_t>(metric)];
}

double exact_distance(const KernelTable& table, ElementType type, Metric metric, const void* a, const void* b,
                      std::size_t dim) {
    const auto* x = static_cast<const std::byte*>(a);
    const auto* y = static_cast<const std::byte*>(b);
    if (type == ElementType::bit) {
        return hamming(x, y, dim);
    }
    if (is_rare(metric)) {
        return rare_distance(type, metric, x, y, dim);
    }
    const auto t = static_cast<std::size_t>(type);
    switch (metric) {
        case Metric::l2: return table.exact_l2[t](x, y, dim);
        case Metric::l1: return table.exact_l1[t](x, y, dim);
        case Metric::inner_product: return 0.0 - table.exact_product[t](x, y, dim);  // never -0.0
        case Metric::cosine:
            return cosine_distance(table, type, x, std::sqrt(table.exact_product[t](x, x, dim)), y, dim);
        default: break;
    }
    return std::nan("");
}

double exact_distance(ElementType type, Metric metric, const void* a, const void* b, std::size_t dim) {
    return exact_distance(table_in_force(), type, metric, a, b, dim);
}

ExactDistance::ExactDistance(ElementType type, Metric metric, const void* from, std::size_t dim)
    : type_(type), metric_(metric), from_(static_cast<const std::byte*>(from)), dim_(dim) {
    if (metric == Metric::cosine && type != ElementType::bit) {
        length_ = std::sqrt(table_in_force().exact_product[static_cast<std::size_t>(type)](from_, from_, dim));
    }
}

double ExactDistance::to(const void* vector) const {
    return metric_ == Metric::cosine && type_ != ElementType::bit
               ? cosine_distance(table_in_force(), type_, from_, length_, static_cast<const std::byte*>(vector), dim_)
               : exact_distance(type_, metric_, from_, vector, dim_);
}

bool all_finite(const void* values, std::size_t n) {
    return table_in_force().all_finite(values, n);
}

}  // namespace vss
