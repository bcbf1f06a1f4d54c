#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

namespace vss {
namespace {

thread_local int helping = 0;
thread_local const void* opened = nullptr;

}  // namespace

HelperThread::HelperThread() {
    ++helping;
}

HelperThread::~HelperThread() {
    --helping;
}

void HelperThread::has_opened(const void* connection) {
    opened = connection;
}

bool HelperThread::may_use(const void* connection) {
    return helping == 0 || connection == opened;
}

bool parallel_for(std::size_t n, int threads, const std::function<void(std::size_t, std::size_t)>& body) {
    const auto workers =
        std::clamp<std::size_t>(static_cast<std::size_t>(std::max(threads, 1)), 1, std::max<std::size_t>(n, 1));
    const std::size_t share = (n + workers - 1) / workers;
    std::atomic<bool> failed = false;
    const auto run = [&](std::size_t first) {
        try {
            body(std::min(n, first), std::min(n, first + share));
        } catch (...) {  // std::bad_alloc; it must not leave the thread
            failed = true;
        }
    };
    {
        std::vector<std::jthread> others;
        std::size_t begun = 1;
        try {
            for (; begun < workers; ++begun) {
                others.emplace_back([&run, first = begun * share] {
                    const HelperThread helps;
                    run(first);
                });
            }
        } catch (const std::exception&) {  // the system has no more threads
        }
        run(0);
        for (; begun < workers; ++begun) {
            run(begun * share);
        }
    }
    return !failed;
}

}  // namespace vss
