// Loops whose parts run on several threads.
#pragma once

#include <cstddef>
#include <functional>

namespace vss {

// On a thread that helps the one that runs a statement: as long as one lives there, no connection may be used there but
// the one that the thread has opened itself.
class HelperThread {
  public:
    HelperThread();
    ~HelperThread();
    HelperThread(const HelperThread&) = delete;
    HelperThread& operator=(const HelperThread&) = delete;

    // Of this thread, until another is named; nullptr: none.
    static void has_opened(const void* connection);
    [[nodiscard]] static bool may_use(const void* connection);
};

// Calls body(first, last) for parts of [0, n) on up to `threads` threads. False if a part ran out of memory.
bool parallel_for(std::size_t n, int threads, const std::function<void(std::size_t, std::size_t)>& body);

}  // namespace vss
