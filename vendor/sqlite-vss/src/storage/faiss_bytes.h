// The vectors in the bytes that Faiss' write_index() makes of an index: a reader of our own, so that files from
// elsewhere are opened without Faiss, and strictly. No SQLite in here.
//
// It knows the kinds that sqlite-vss 0.1.2 (Faiss 1.7) can write and that hold vectors or codes to make them from:
// Flat, scalar and product quantizers, fast scans, IVF with any of these, HNSW over them, pre-transforms that can be
// undone, refined indexes (their exact copy is taken), and the maps from row numbers. Everything else is refused by its
// name.
//
// The bytes are not trusted: sizes are compared with what is there before anything is read, nothing is allocated by a
// number that the bytes say alone, and nothing nests deeper than a few levels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace vss {

// Vectors by position, made when asked for. Points into the bytes it was read from.
class StoredVectors {
  public:
    StoredVectors() = default;
    StoredVectors(const StoredVectors&) = delete;
    StoredVectors& operator=(const StoredVectors&) = delete;
    virtual ~StoredVectors() = default;

    [[nodiscard]] std::size_t dim() const { return dim_; }
    [[nodiscard]] std::size_t size() const { return size_; }
    // Faiss' number of the metric: 0 inner product, 1 L2, 2 L1, 3 Linf, ...
    [[nodiscard]] int metric() const { return metric_; }
    // Whether what is read may differ from what was added.
    [[nodiscard]] bool is_lossy() const { return is_lossy_; }
    // How positions are called in the order of reading; empty: 0, 1, ...
    [[nodiscard]] const std::vector<std::int64_t>& ids() const { return ids_; }
    // The vector at `i` (below size()), dim() floats.
    virtual void read(std::size_t i, float* out) const = 0;

  protected:
    friend class FaissReader;
    std::size_t dim_ = 0;
    std::size_t size_ = 0;
    int metric_ = 1;
    bool is_lossy_ = false;
    std::vector<std::int64_t> ids_;
};

// Code::corrupt where the bytes are not what write_index() makes, Code::unsupported where they are a kind of index that
// cannot give its vectors back. `bytes` must outlive `out`.
Status read_faiss(std::span<const std::byte> bytes, std::unique_ptr<StoredVectors>& out);

}  // namespace vss
