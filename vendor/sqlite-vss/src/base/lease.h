// Memory that its owner lends, until it says that the time is over.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>

namespace vss {

struct Lease {
    std::atomic<bool> is_over{false};
};

struct LentMemory {
    std::shared_ptr<Lease> lease;
    const std::byte* begin = nullptr;
    const std::byte* end = nullptr;

    [[nodiscard]] bool holds(std::span<const std::byte> bytes) const {
        return lease != nullptr && !lease->is_over && bytes.data() >= begin && bytes.data() + bytes.size() <= end;
    }
};

}  // namespace vss
