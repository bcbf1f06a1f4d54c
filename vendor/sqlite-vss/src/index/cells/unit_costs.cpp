#include "index/cells/unit_costs.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace vss {

double clock_us() {
    using Clock = std::chrono::steady_clock;
    return std::chrono::duration<double, std::micro>(Clock::now().time_since_epoch()).count();
}

double thread_us() {
#ifdef CLOCK_THREAD_CPUTIME_ID
    timespec now = {};
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0) {
        return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
    }
#endif
    return clock_us();
}

void Rate::note(double us, std::uint64_t count) {
    constexpr std::uint64_t enough = 16;
    if (count < enough) {
        return;
    }
    constexpr double least_weight = 0.04;
    // What was supposed weighs as much as one search.
    const double weight = std::max(1.0 / (noted_.fetch_add(1, std::memory_order_relaxed) + 2.0), least_weight);
    // What a search did for the first time says little.
    const double now = std::min(us * 1000 / static_cast<double>(count), 4 * ns());
    ns_.store(static_cast<float>(ns() + weight * (now - ns())), std::memory_order_relaxed);
}

double UnitCosts::ns(const Rate& of) const {
    if (of.is_measured()) {
        return of.ns();
    }
    double times = 0;
    double measured = 0;
    for (const Rate* other : {&entry, &refine, &code, &measure, &in_order, &row}) {
        if (other->is_measured()) {
            times += other->times_supposed();
            ++measured;
        }
    }
    return of.ns() * (measured > 0 ? times / measured : 1);
}

UnitCosts& UnitCosts::of(ElementType type, std::size_t dim, std::size_t padded) {
    static std::mutex mutex;
    static std::map<std::pair<ElementType, std::size_t>, std::unique_ptr<UnitCosts>> all;
    const std::lock_guard lock(mutex);
    std::unique_ptr<UnitCosts>& at = all[{type, dim}];
    if (at == nullptr) {
        at = std::make_unique<UnitCosts>();
        // To begin with, what a processor with AVX-512 takes, by length.
        const auto codes = static_cast<double>(padded) / 384;
        const auto bytes = static_cast<double>(vector_bytes(type, dim));
        const auto values = static_cast<double>(dim);
        at->entry.start(2.5 * codes);
        at->refine.start(50 + 70 * codes);
        at->code.start(2 + 11 * codes);
        at->measure.start(80 + 0.15 * bytes + 0.5 * values);
        at->in_order.start(40 + 0.5 * values);
        at->row.start(3 + 0.03 * bytes);
    }
    return *at;
}

}  // namespace vss
