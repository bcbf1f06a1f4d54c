// Random numbers: a small generator that can be repeated, and bits that never are.
//
// Threads: random_version() is safe; a SplitMix belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vss {

// A small generator whose sequence is the same everywhere, which std::*_distribution does not promise.
class SplitMix {
  public:
    explicit SplitMix(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() {
        std::uint64_t z = (state_ += 0x9E3779B97F4A7C15ULL);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
        return z ^ (z >> 31);
    }
    // In [0, n).
    std::size_t below(std::size_t n) { return static_cast<std::size_t>(next() % n); }

  private:
    std::uint64_t state_;
};

// 64 random bits from the operating system; never a repeat, also across fork. 0 is never returned.
[[nodiscard]] std::uint64_t random_version();

}  // namespace vss
