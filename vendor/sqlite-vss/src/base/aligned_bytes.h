#pragma once

#include <cstddef>
#include <memory>

#include "base/huge_pages.h"

namespace vss {

// Bytes aligned for any vector register and for cache lines.
class AlignedBytes {
  public:
    AlignedBytes() = default;
    // Throws std::bad_alloc, as std::vector does.
    explicit AlignedBytes(std::size_t size) : data_(allocate_memory(size), MemoryRelease{size}) {}
    [[nodiscard]] std::byte* data() { return data_.get(); }
    [[nodiscard]] const std::byte* data() const { return data_.get(); }
    [[nodiscard]] std::size_t size() const { return data_ == nullptr ? 0 : data_.get_deleter().bytes; }

  private:
    std::unique_ptr<std::byte, MemoryRelease> data_;
};

}  // namespace vss
