// Memory of the encoder: values that begin at a cache line, in large pages where there are many of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace vss::embedding {

// Values that begin at a cache line, not initialized. Many of them begin at a large page, which the system is asked
// for: a product reads all weights, tens of megabytes, for each block of rows, and the processor keeps few addresses of
// small pages. Throws std::bad_alloc.
template <typename Value>
class Aligned {
  public:
    explicit Aligned(std::size_t count = 0);
    [[nodiscard]] Value* data() const { return values_.get(); }

  private:
    struct Free {
        std::align_val_t alignment;
        void operator()(Value* values) const { ::operator delete(values, alignment); }
    };
    std::unique_ptr<Value, Free> values_;
};
extern template class Aligned<float>;
extern template class Aligned<std::uint16_t>;
extern template class Aligned<std::byte>;
using Floats = Aligned<float>;
using Halves = Aligned<std::uint16_t>;

// One stretch of memory, handed out piece by piece.
class Arena {
  public:
    explicit Arena(std::size_t bytes) : memory_(bytes), left_(bytes) {}

    // Bytes that `count` values take up in an arena.
    template <typename Value>
    static constexpr std::size_t bytes(std::size_t count) {
        return (count * sizeof(Value) + kLine - 1) / kLine * kLine;
    }

    // Throws std::bad_alloc if there is not so much left.
    template <typename Value>
    Value* take(std::size_t count) {
        return reinterpret_cast<Value*>(take_bytes(bytes<Value>(count)));
    }

  private:
    static constexpr std::size_t kLine = 64;

    std::byte* take_bytes(std::size_t bytes);

    Aligned<std::byte> memory_;
    std::size_t used_ = 0;
    std::size_t left_;
};

}  // namespace vss::embedding
