#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <limits>

#include "index/filter.h"

using vss::RowFilter;
using vss::RowidSet;

TEST_CASE("sets hold exactly their members, dense or sparse") {
    for (const std::int64_t step : {1, 7, 1000003}) {
        std::vector<std::int64_t> members;
        for (std::int64_t i = 0; i < 500; ++i) {
            members.push_back((i - 250) * step);
            members.push_back((i - 250) * step);
        }
        const RowidSet set(members);
        CHECK(set.size() == 500);
        for (std::int64_t i = -260; i < 260; ++i) {
            CHECK(set.contains(i * step) == (i >= -250 && i < 250));
            if (step > 1) {
                CHECK_FALSE(set.contains(i * step + 1));
            }
        }
    }
}

TEST_CASE("the ends of the rowid range") {
    constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    const RowidSet set(std::vector<std::int64_t>{most, 0, least});
    CHECK(set.contains(least));
    CHECK(set.contains(most));
    CHECK(set.contains(0));
    CHECK_FALSE(set.contains(least + 1));
    CHECK_FALSE(RowidSet(std::vector<std::int64_t>{}).contains(0));
}

TEST_CASE("distance bounds") {
    RowFilter filter;
    CHECK(filter.passes_distance(std::numeric_limits<float>::max()));
    filter.distance_above = 1;
    filter.above_inclusive = false;
    filter.distance_below = 2;
    CHECK_FALSE(filter.passes_distance(1));
    CHECK(filter.passes_distance(1.5F));
    CHECK(filter.passes_distance(2));
    CHECK_FALSE(filter.passes_distance(2.5F));
}
