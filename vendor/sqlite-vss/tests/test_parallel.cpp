// Loops on several threads.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "failing_threads.h"

using namespace vss;

TEST_CASE("every part is done once, also where threads do not start") {
    for (const int started : {-1, 0, 1, 2}) {
        for (const std::size_t n : {0U, 1U, 3U, 4U, 1000U}) {
            threads_that_start = started;
            std::vector<int> times(n);
            CHECK(parallel_for(n, 4, [&](std::size_t first, std::size_t last) {
                std::for_each(times.begin() + static_cast<std::ptrdiff_t>(first),
                              times.begin() + static_cast<std::ptrdiff_t>(last), [](int& time) { ++time; });
            }));
            CHECK(std::all_of(times.begin(), times.end(), [](int time) { return time == 1; }));
        }
    }
    threads_that_start = -1;
}
