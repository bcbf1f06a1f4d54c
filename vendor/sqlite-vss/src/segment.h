// The live rows of one segment, decoded: what an exact search scans. No SQLite in here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "cache.h"
#include "types.h"

namespace vss {

// Bytes aligned for any vector register and for cache lines.
class AlignedBytes {
  public:
    AlignedBytes() = default;
    // Throws std::bad_alloc, as std::vector does.
    explicit AlignedBytes(std::size_t size)
        : size_(size), data_(static_cast<std::byte*>(::operator new (size, std::align_val_t{alignment}))) {}
    [[nodiscard]] std::byte* data() { return data_.get(); }
    [[nodiscard]] const std::byte* data() const { return data_.get(); }
    [[nodiscard]] std::size_t size() const { return size_; }

  private:
    static constexpr std::size_t alignment = 64;
    struct Deleter {
        void operator()(std::byte* data) const { ::operator delete (data, std::align_val_t{alignment}); }
    };
    std::size_t size_ = 0;
    std::unique_ptr<std::byte, Deleter> data_;
};

struct Segment final : CacheEntry {
    std::vector<std::int64_t> rowids;  // of the live rows, by slot
    std::vector<std::uint32_t> slots;
    AlignedBytes rows;  // vectors, `stride` bytes apart
    std::size_t stride = 0;
    float largest_norm = 0;            // cosine, inner product: of the Euclidean norms
    std::vector<float> inverse_norms;  // cosine on float32: 1 / |row|

    [[nodiscard]] std::size_t size() const { return rowids.size(); }
    [[nodiscard]] const std::byte* row(std::size_t i) const { return rows.data() + i * stride; }
    [[nodiscard]] std::size_t bytes() const override {
        return sizeof(*this) + rows.size() + rowids.size() * 12 + inverse_norms.size() * 4;
    }
};

// Computes what is derived from the rows: largest_norm and inverse_norms.
void finish_segment(ElementType type, Metric metric, std::size_t dim, Segment& segment);

}  // namespace vss
