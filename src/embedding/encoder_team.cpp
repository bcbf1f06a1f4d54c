#include "encoder_team.h"

#include <algorithm>
#include <exception>

namespace vss::embedding {
namespace {

// Threads of this process that compute batches, helpers among them.
std::atomic<std::size_t> at_work{0};

// Teams that do without helpers, as these were of no use to one before: twice as many each time, and fewer again when
// they were.
constexpr int kFewestAlone = 8;
constexpr int kMostAlone = 256;
std::atomic<int> to_go_alone{0};
std::atomic<int> next_alone{kFewestAlone};

void note_use(bool was_of_use) {
    const int count = next_alone.load();
    next_alone.store(was_of_use ? std::max(count / 2, kFewestAlone) : std::min(2 * count, kMostAlone));
    if (!was_of_use) {
        to_go_alone.store(count);
    }
}

constexpr std::uint64_t kParts = 0xffffffff;
constexpr std::uint64_t kNextJob = kParts + 1;

// Waits for what another core does within microseconds; after some tens of them others may run on this one.
class Spin {
  public:
    void wait() {
        constexpr int most = 2000;
        if (++count_ > most) {
            std::this_thread::yield();
            return;
        }
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }

  private:
    int count_ = 0;
};

}  // namespace

Team::Team(std::size_t threads) : begun_(Clock::now()) {
    const std::size_t others = at_work.fetch_add(1);
    if (threads == 1 || (to_go_alone.load() > 0 && to_go_alone.fetch_sub(1) > 0)) {
        return;
    }
    const std::size_t most = std::min(threads > others ? threads - others : 1, kMostMembers);
    while (members_ < most) {
        try {
            // Its number is what it was started with: members_ goes on.
            helpers_[members_ - 1].emplace([this, member = members_] { help(member); });
        } catch (const std::exception&) {
            break;
        }
        ++members_;
    }
    at_work.fetch_add(members_ - 1);
}

Team::~Team() {
    const Clock::time_point from = Clock::now();
    ended_.store(true, std::memory_order_release);
    for (std::size_t i = 0; i + 1 < members_; ++i) {
        helpers_[i]->join();
    }
    at_work.fetch_sub(members_);
    if (members_ > 1) {
        const Clock::time_point now = Clock::now();
        waited_ += now - from;
        note_use(4 * waited_ < now - begun_ && 5 * own_parts_ < 4 * all_parts_);
    }
}

void Team::run(const Job& job) {
    job_ = job;
    done_.store(0, std::memory_order_relaxed);
    const std::uint64_t number = open_.load(std::memory_order_relaxed) & ~kParts;
    open_.store(number + kNextJob + job.parts, std::memory_order_release);
    all_parts_ += job.parts;
    while (take(0)) {
        ++own_parts_;
    }
    const Clock::time_point from = Clock::now();
    Spin spin;
    while (done_.load(std::memory_order_acquire) != job.parts) {
        spin.wait();
    }
    waited_ += Clock::now() - from;
}

// False: there is no part left.
bool Team::take(std::size_t member) {
    std::uint64_t open = open_.load(std::memory_order_acquire);
    do {
        if ((open & kParts) == 0) {
            return false;
        }
    } while (!open_.compare_exchange_weak(open, open - 1, std::memory_order_acq_rel, std::memory_order_acquire));
    // The job stays what it is until this part is done.
    job_.call(job_.part, job_.parts - static_cast<std::size_t>(open & kParts), member);
    done_.fetch_add(1, std::memory_order_release);
    return true;
}

void Team::help(std::size_t member) {
    Spin spin;
    while (!ended_.load(std::memory_order_acquire)) {
        if (take(member)) {
            spin = {};
        } else {
            spin.wait();
        }
    }
}

}  // namespace vss::embedding
