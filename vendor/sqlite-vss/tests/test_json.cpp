// JSON as it is written.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cstdint>
#include <limits>

#include "base/json.h"

using namespace vss;

TEST_CASE("numbers are written so that they read back the same, and what is no number as null") {
    Json json;
    json.add("rows", std::uint64_t{18446744073709551615U}).add("share", 0.1).add("least", 5e-324);
    json.add("none", std::numeric_limits<double>::quiet_NaN()).add("all", std::numeric_limits<float>::infinity());
    CHECK(json.text() == R"({"rows": 18446744073709551615, "share": 0.1, "least": 5e-324, "none": null, "all": null})");
    CHECK(Json().text() == "{}");
}
