// The scan of Faiss's 8-bit scalar quantizer ("SQ8"). Faiss 1.7.3 adds all terms of a distance up in one register,
// after decoding each element; this decodes and measures in two multiplications, with four sums.
#pragma once

#include <faiss/IndexScalarQuantizer.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vss {

// Whether it is of the kind that scan_bytes() measures; of others Faiss's own search is taken.
[[nodiscard]] bool is_of_bytes(const faiss::IndexScalarQuantizer& index);

// Up to k rows, nearest first. `allowed`: bits by row, or nullptr.
void scan_bytes(const faiss::IndexScalarQuantizer& index, const float* query, std::size_t k,
                const std::vector<std::uint64_t>* allowed, std::vector<std::uint32_t>& out);

}  // namespace vss
