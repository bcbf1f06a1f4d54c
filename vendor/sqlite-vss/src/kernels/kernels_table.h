// What one instruction level offers; kernels_<level>.cpp fills one table each, kernels.cpp picks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace vss {

inline constexpr std::size_t element_type_count = 5;
inline constexpr std::size_t metric_count = 5;  // those of rare_metrics.h are no level's

struct KernelTable {
    DistanceKernels distance[element_type_count][metric_count] = {};
    // Indexed by element type; null for bit.
    double (*exact_l2[element_type_count])(const std::byte* a, const std::byte* b, std::size_t dim) = {};
    double (*exact_l1[element_type_count])(const std::byte* a, const std::byte* b, std::size_t dim) = {};
    double (*exact_product[element_type_count])(const std::byte* a, const std::byte* b, std::size_t dim) = {};
    bool (*all_finite)(const void* values, std::size_t n) = nullptr;
};

// Defined where the level is compiled in (VSS_HAVE_*); callable only where cpu_supports() says so.
const KernelTable& kernel_table_scalar();
const KernelTable& kernel_table_avx2();
const KernelTable& kernel_table_avx512();
const KernelTable& kernel_table_neon();

// exact_distance from the table of one level.
[[nodiscard]] double exact_distance(const KernelTable& table, ElementType type, Metric metric, const void* a,
                                    const void* b, std::size_t dim);

}  // namespace vss
