// Allocations that fail on demand. Defines operator new: to be included by one file of a program.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace vss {

// The allocation of that number, counted from 1 on from now, fails, and no other; 0: none does.
inline std::atomic<long> failing_allocation = 0;

inline void* allocate_or_fail(std::size_t size, std::size_t alignment) {
    if (failing_allocation > 0 && --failing_allocation == 0) {
        throw std::bad_alloc();
    }
    void* data = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
    if (data == nullptr) {
        throw std::bad_alloc();
    }
    return data;
}

// Runs `body` with its first allocation failing, its second, and so on until it succeeds: each but the last time it
// must throw std::bad_alloc or give false. Calls `after` behind each failure, and returns how many there were.
template <typename Body, typename After>
long fail_each_allocation(Body body, After after) {
    for (long n = 1;; ++n) {
        failing_allocation = n;
        try {
            const bool succeeded = body();
            const bool failed = failing_allocation == 0;
            failing_allocation = 0;
            if (!failed) {
                return n - 1;
            }
            if (succeeded) {
                continue;  // it can do without
            }
        } catch (const std::bad_alloc&) {
        }
        failing_allocation = 0;
        after();
    }
}

}  // namespace vss

void* operator new(std::size_t size) {
    return vss::allocate_or_fail(size, alignof(std::max_align_t));
}
void* operator new[](std::size_t size) {
    return vss::allocate_or_fail(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
    return vss::allocate_or_fail(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
    return vss::allocate_or_fail(size, static_cast<std::size_t>(alignment));
}
// std::stable_sort asks this one for its buffer, and does without if there is none.
void* operator new(std::size_t size, const std::nothrow_t& /*nothrow*/) noexcept {
    try {
        return vss::allocate_or_fail(size, alignof(std::max_align_t));
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}
void* operator new[](std::size_t size, const std::nothrow_t& /*nothrow*/) noexcept {
    return operator new(size, std::nothrow);
}
void operator delete(void* data) noexcept {
    std::free(data);
}
void operator delete[](void* data) noexcept {
    std::free(data);
}
void operator delete(void* data, std::size_t) noexcept {
    std::free(data);
}
void operator delete[](void* data, std::size_t) noexcept {
    std::free(data);
}
void operator delete(void* data, std::align_val_t) noexcept {
    std::free(data);
}
void operator delete[](void* data, std::align_val_t) noexcept {
    std::free(data);
}
void operator delete(void* data, std::size_t, std::align_val_t) noexcept {
    std::free(data);
}
void operator delete[](void* data, std::size_t, std::align_val_t) noexcept {
    std::free(data);
}
