// Metrics that sqlite-vss takes from Faiss and that nobody needs fast: in double precision, from the first element to
// the last. They are searched exactly.
//
//   linf            largest absolute difference
//   canberra        sum of |a - b| / (|a| + |b|); 0 where both are 0
//   bray_curtis     sum of |a - b|, over the sum of |a + b|; 0 where both sums are 0, infinite where only the second is
//   jensen_shannon  of two distributions, not normalised: half the sum of a log(a / m) + b log(b / m) with m their
//   mean;
//                   infinite where an element is negative
#pragma once

#include <cstddef>

#include "kernels/kernels.h"

namespace vss {

[[nodiscard]] constexpr bool is_rare(Metric metric) {
    return metric >= Metric::linf;
}

// Never NaN. `type` is not bit.
[[nodiscard]] double rare_distance(ElementType type, Metric metric, const std::byte* a, const std::byte* b,
                                   std::size_t dim);
[[nodiscard]] DistanceKernels rare_kernels(ElementType type, Metric metric);

}  // namespace vss
