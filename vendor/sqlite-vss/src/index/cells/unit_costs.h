// What the parts of a search take on this machine, in nanoseconds: so that ways to search can be compared by counts of
// work. Measured by some searches, in the time of their own thread, which other processes' work does not lengthen.
//
// Threads: any.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/types.h"

namespace vss {

// Time that this thread has run, in microseconds.
[[nodiscard]] double thread_us();
// Time that went by.
[[nodiscard]] double clock_us();

class Rate {
  public:
    Rate() = default;
    void start(double ns) {
        supposed_ = static_cast<float>(ns);
        ns_.store(supposed_, std::memory_order_relaxed);
    }
    [[nodiscard]] bool is_measured() const { return noted_.load(std::memory_order_relaxed) > 0; }
    // Of what was supposed at the beginning.
    [[nodiscard]] double times_supposed() const { return ns() / static_cast<double>(supposed_); }
    [[nodiscard]] double ns() const { return static_cast<double>(ns_.load(std::memory_order_relaxed)); }
    void note(double us, std::uint64_t count);

  private:
    float supposed_ = 1;
    std::atomic<float> ns_ = 1;
    std::atomic<std::uint32_t> noted_ = 0;
};

// Of vectors of one type and length.
struct UnitCosts {
    Rate entry;     // a sign code scanned
    Rate refine;    // a 4-bit code at a random place
    Rate code;      // a 4-bit code in order
    Rate measure;   // a vector at a random place, measured exactly
    Rate in_order;  // the same, in order
    Rate row;       // a vector in order, by the kernel of exact searches

    // What was not measured yet is as much slower here than supposed as what was.
    [[nodiscard]] double ns(const Rate& of) const;

    [[nodiscard]] static UnitCosts& of(ElementType type, std::size_t dim, std::size_t padded);
};

}  // namespace vss
