#include "encoder_memory.h"

#include <algorithm>
#include <limits>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace vss::embedding {

namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kLargePage = std::size_t{1} << 21U;

}  // namespace

template <typename Value>
Aligned<Value>::Aligned(std::size_t count) {
    if (count > std::numeric_limits<std::size_t>::max() / sizeof(Value)) {
        throw std::bad_alloc();
    }
    const std::size_t bytes = std::max<std::size_t>(count, 1) * sizeof(Value);
    // Rounding up to whole pages costs a quarter at most.
    const bool large = bytes >= 4 * kLargePage;
    const std::align_val_t alignment{large ? kLargePage : kCacheLine};
    values_ = std::unique_ptr<Value, Free>(static_cast<Value*>(::operator new(bytes, alignment)), Free{alignment});
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (large) {
        // Whether there are any is the system's to say.
        static_cast<void>(madvise(values_.get(), bytes / kLargePage * kLargePage, MADV_HUGEPAGE));
    }
#endif
}

template class Aligned<float>;
template class Aligned<std::uint16_t>;
template class Aligned<std::byte>;

std::byte* Arena::take_bytes(std::size_t bytes) {
    if (bytes > left_) {
        throw std::bad_alloc();
    }
    std::byte* const taken = memory_.data() + used_;
    used_ += bytes;
    left_ -= bytes;
    return taken;
}

}  // namespace vss::embedding
