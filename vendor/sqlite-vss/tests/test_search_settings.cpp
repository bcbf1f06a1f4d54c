#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <string>

#include "index/search_settings.h"

namespace {

std::string refusal(const std::string& text) {
    vss::SearchSettings settings;
    const vss::Status status = vss::parse_search_settings(text, settings);
    return status.is_ok() ? std::string() : status.message();
}

}  // namespace

TEST_CASE("settings are names and whole numbers") {
    vss::SearchSettings settings = {{"old", 1}};
    REQUIRE(vss::parse_search_settings(" nprobe = 16,k_factor=4 ", settings).is_ok());
    CHECK(settings == vss::SearchSettings{{"nprobe", 16}, {"k_factor", 4}});
    REQUIRE(vss::parse_search_settings("a=18446744073709551615", settings).is_ok());
    CHECK(settings[0].value == 18446744073709551615ULL);
}

TEST_CASE("all else is refused") {
    for (const char* text : {"", " ", "nprobe", "=4", "nprobe=", "nprobe=x", "nprobe=4x", "nprobe=-4", "nprobe=4.5",
                             "nprobe=18446744073709551616", "nprobe=4,,k=2", "nprobe=4;k=2"}) {
        CAPTURE(text);
        CHECK(refusal(text).find("expected search settings such as 'nprobe=16, k_factor=4'") == 0);
    }
    CHECK(refusal("nprobe=4, NPROBE=4").find("said twice") != std::string::npos);
    std::string many = "a=1";
    for (int i = 0; i < 20; ++i) {
        many += ",a" + std::to_string(i) + "=1";
    }
    CHECK(refusal(many).find("too many") != std::string::npos);
    CHECK(refusal(std::string(5000, 'x')).size() < 300);
}
