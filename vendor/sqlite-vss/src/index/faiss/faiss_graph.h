// The search of an HNSW graph of Faiss's whose vectors lie in one array as they are. Faiss 1.7.3 meets one vector after
// the other, each a miss of the cache, and clears a byte for each row of the index before; this asks the memory for the
// vectors of a node's neighbours before it measures the first, and clears a bit.
#pragma once

#include <faiss/IndexHNSW.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vss {

// Whether it is such a graph; of others Faiss's own search is taken.
[[nodiscard]] bool is_flat_graph(const faiss::IndexHNSW& index);

// Up to k rows, nearest first, of the `reach` nearest that the search comes by. `allowed`: bits by row, or nullptr; the
// others are passed through, and not handed out.
void search_flat_graph(const faiss::IndexHNSW& index, const float* query, std::size_t k, std::size_t reach,
                       const std::vector<std::uint64_t>* allowed, std::vector<std::uint32_t>& out);

}  // namespace vss
