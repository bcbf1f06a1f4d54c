// Teams of threads: each part is called once, whoever is there to take it.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cstddef>
#include <thread>
#include <vector>

#include "embedding/encoder_team.h"

namespace {

using vss::embedding::Team;

// Parts of many jobs add to the same places: what one part does must be seen by the parts of the next job.
void share_much(std::size_t seed) {
    constexpr std::size_t places = 97;
    for (std::size_t round = 0; round < 300; ++round) {
        Team team(1 + round % 6);
        CHECK(team.members() <= Team::kMostMembers);
        std::vector<std::size_t> found(places);
        std::vector<std::size_t> expected(places);
        for (std::size_t job = 0; job < 12; ++job) {
            const std::size_t parts = (round * 7 + job * 13 + seed) % places;
            bool in_bounds = true;
            team.share(parts, [&](std::size_t i, std::size_t member) {
                if (member >= team.members()) {
                    in_bounds = false;
                }
                found[i] = found[i] * 3 + job;
            });
            for (std::size_t i = 0; i < parts; ++i) {
                expected[i] = expected[i] * 3 + job;
            }
            CHECK(in_bounds);
        }
        CHECK(found == expected);
    }
}

}  // namespace

TEST_CASE("each part is called once, and sees what the job before did") {
    share_much(0);
}

TEST_CASE("several teams at once") {
    std::vector<std::thread> threads;
    for (std::size_t seed = 0; seed < 4; ++seed) {
        threads.emplace_back([seed] { share_much(seed); });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}

TEST_CASE("a thread alone is a team") {
    Team team(1);
    CHECK(team.members() == 1);
    std::size_t sum = 0;
    team.share(4, [&](std::size_t i, std::size_t member) { sum += i + member; });
    CHECK(sum == 6);
}
