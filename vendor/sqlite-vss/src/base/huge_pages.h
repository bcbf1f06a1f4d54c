// Memory for what searches read at random: cells' codes, 4-bit codes, decoded segments. It comes from regions that the
// system is asked to map by huge pages (2 MiB on most machines), as with small ones a search spends much of its time on
// looking up addresses: a query touches some hundred places that lie megabytes apart.
//
// A process that needs little gets ordinary memory, and so does every process where huge pages cannot be asked for.
//
// Threads: all calls are safe.
#pragma once

#include <cstddef>

namespace vss {

inline constexpr std::size_t memory_alignment = 64;

// Aligned to memory_alignment, not zeroed. Throws std::bad_alloc.
[[nodiscard]] std::byte* allocate_memory(std::size_t bytes);
// `bytes`: as allocated.
void release_memory(std::byte* memory, std::size_t bytes) noexcept;

struct MemoryRelease {
    std::size_t bytes = 0;
    void operator()(std::byte* memory) const noexcept { release_memory(memory, bytes); }
};

}  // namespace vss
