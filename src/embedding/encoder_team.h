// A thread and those that help it with one batch: a search by text waits for a single one, which one core alone
// computes no faster than it can read the model's weights.
//
// Whoever is there takes the next part, so nobody waits for a helper that the system has not started, or has stopped,
// between parts. Who is stopped within a part is waited for: where that took more than a quarter of a team's life,
// other programs want the cores, and some of the next teams do without helpers. Helpers live as long as the team: a few
// milliseconds, of which starting them takes less than a tenth.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <thread>

namespace vss::embedding {

class Team {
  public:
    static constexpr std::size_t kMostMembers = 4;

    // So many members as `threads` says, but no more than leave each thread of this process that computes batches a
    // core of its own, if as many threads as this one's may have are there. Where the system starts no thread there
    // are fewer.
    explicit Team(std::size_t threads);
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    [[nodiscard]] std::size_t members() const { return members_; }

    // Calls part(i, member) for each i below `parts`, each once, on any member, and returns when all have returned.
    // `part` throws nothing.
    template <typename Part>
    void share(std::size_t parts, const Part& part) {
        if (members_ == 1) {
            for (std::size_t i = 0; i < parts; ++i) {
                part(i, std::size_t{0});
            }
            return;
        }
        run({&part, parts, [](const void* of, std::size_t i, std::size_t member) noexcept {
                 (*static_cast<const Part*>(of))(i, member);
             }});
    }

  private:
    struct Job {
        const void* part = nullptr;
        std::size_t parts = 0;
        void (*call)(const void* part, std::size_t i, std::size_t member) noexcept = nullptr;
    };

    void run(const Job& job);
    bool take(std::size_t member);
    void help(std::size_t member);

    using Clock = std::chrono::steady_clock;

    std::size_t members_ = 1;
    Clock::time_point begun_;
    Clock::duration waited_{};
    std::size_t own_parts_ = 0;
    std::size_t all_parts_ = 0;
    // Written while no part is open.
    Job job_;
    // The number of the job, and in the low half how many of its parts nobody has taken.
    std::atomic<std::uint64_t> open_{0};
    std::atomic<std::size_t> done_{0};
    std::atomic<bool> ended_{false};
    std::array<std::optional<std::thread>, kMostMembers - 1> helpers_;
};

}  // namespace vss::embedding
