// Distance kernels on full vectors. Each source kernels_<level>.cpp is compiled for its own instruction set and
// included in one binary; the table of the level in force is picked at run time (cpu.h).
//
// All pointers may be unaligned. No allocation, no exceptions. NaN never enters: values are checked before storing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/types.h"
#include "kernels/cpu.h"

namespace vss {

// out[i] = distance(query, row i) for i < n; row i starts at rows + i * stride. For cosine the kernel computes
// the norms itself, unless both are known to be 1, in which case callers use inner_product and add 1.
using DistanceKernel = void (*)(const void* query, const std::byte* rows, std::size_t stride, std::size_t n,
                                std::size_t dim, float* out);

// out[j * n + i] = distance(query j, row i): one pass over the rows for a batch of queries; query j starts at
// queries + j * query_stride (bytes).
using BatchKernel = void (*)(const std::byte* queries, std::size_t nq, std::size_t query_stride, const std::byte* rows,
                             std::size_t stride, std::size_t n, std::size_t dim, float* out);

struct DistanceKernels {
    DistanceKernel one = nullptr;
    BatchKernel batch = nullptr;
};

// Kernels for a column; {nullptr, nullptr} where the pair is not supported (hamming needs bit; bit allows hamming
// only).
[[nodiscard]] DistanceKernels distance_kernels(ElementType type, Metric metric, SimdLevel level = simd_level());

// The same distance in double precision, one order of summation on every machine: what is reported to users.
[[nodiscard]] double exact_distance(ElementType type, Metric metric, const void* a, const void* b, std::size_t dim);

// exact_distance() from one vector, which must outlive this object: what is summed of it alone is summed once.
class ExactDistance {
  public:
    ExactDistance() = default;
    ExactDistance(ElementType type, Metric metric, const void* from, std::size_t dim);
    [[nodiscard]] double to(const void* vector) const;

  private:
    ElementType type_ = ElementType::float32;
    Metric metric_ = Metric::l2;
    const std::byte* from_ = nullptr;
    std::size_t dim_ = 0;
    double length_ = 0;  // under cosine
};

// True if all `n` float32 values are finite (vectorised). They may lie at any address, as behind a blob's header.
[[nodiscard]] bool all_finite(const void* values, std::size_t n);

// CRC-32C (Castagnoli), hardware where there is one; crc32c(0, ...) starts, the result chains.
[[nodiscard]] std::uint32_t crc32c(std::uint32_t crc, const void* bytes, std::size_t n);

}  // namespace vss
