// The process-wide cache: what it takes, refuses and evicts.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "base/cache.h"
#include "failing_new.h"

namespace vss {
namespace {

struct Piece final : CacheEntry {
    explicit Piece(std::size_t size) : size(size) {}
    [[nodiscard]] std::size_t bytes() const override { return size; }
    std::size_t size;
};

constexpr std::size_t piece = 10000 - 256;  // as counted, ten thousand bytes
constexpr std::uint64_t budget = 1000000;

CacheKey key(CacheKind kind, std::uint64_t id) {
    return {7, kind, 0, id};
}

bool put(CacheKind kind, std::uint64_t id) {
    return Cache::instance().put(key(kind, id), std::make_shared<Piece>(piece));
}

std::size_t count(CacheKind kind, std::uint64_t from, std::uint64_t end) {
    std::size_t found = 0;
    for (std::uint64_t id = from; id < end; ++id) {
        found += Cache::instance().get(key(kind, id)) != nullptr ? 1U : 0U;
    }
    return found;
}

void begin() {
    Cache::instance().clear();
    Cache::instance().set_budget(budget);
}

TEST_CASE("a scan of more than the budget evicts nothing of its own kind, and what was refused is asked for again") {
    begin();
    for (int pass = 0; pass < 2; ++pass) {
        for (std::uint64_t id = 0; id < 140; ++id) {
            if (Cache::instance().get(key(CacheKind::slots, id)) == nullptr) {
                CHECK(put(CacheKind::slots, id) == (pass == 0 && id < 100));
            }
        }
    }
    CHECK(Cache::instance().is_full());
    CHECK(Cache::instance().used() == budget);
    CHECK(count(CacheKind::slots, 0, 100) == 100);
}

TEST_CASE("of one thing the versions used last are kept, of others all") {
    begin();
    const auto at = [](std::uint64_t version, std::uint64_t id) { return CacheKey{version, CacheKind::codes, 0, id}; };
    const auto add = [&](std::uint64_t version, std::uint64_t id) {
        return Cache::instance().put(at(version, id), std::make_shared<Piece>(piece));
    };
    for (std::uint64_t id = 0; id < 10; ++id) {
        CHECK(add(100 + id, id));
    }
    CHECK(add(1, 3));
    CHECK(add(2, 3));
    CHECK_FALSE(add(2, 3));
    CHECK(Cache::instance().get(at(103, 3)) != nullptr);  // the first one, in use still
    const Cache::Evicted then = Cache::instance().evicted();
    CHECK(add(3, 3));
    CHECK(Cache::instance().get(at(1, 3)) == nullptr);
    CHECK(Cache::instance().get(at(103, 3)) != nullptr);
    CHECK(Cache::instance().get(at(2, 3)) != nullptr);
    CHECK(Cache::instance().used() == 12 * 10000);
    CHECK(Cache::instance().evicted().bytes == then.bytes + 10000);
    for (std::uint64_t version = 200; version < 1000; ++version) {
        CHECK(add(version, 3));
        CHECK(Cache::instance().get(at(103, 3)) != nullptr);
    }
    CHECK(Cache::instance().used() == 12 * 10000);
    CHECK_FALSE(Cache::instance().is_full());
    for (std::uint64_t id = 0; id < 10; ++id) {
        CHECK(Cache::instance().get(at(100 + id, id)) != nullptr);
    }
    // Evicted for want of room, they are forgotten as versions, too.
    Cache::instance().set_budget(10000);
    CHECK(Cache::instance().used() <= 10000);
    Cache::instance().set_budget(budget);
    for (std::uint64_t version = 2000; version < 2010; ++version) {
        CHECK(add(version, 3));
    }
    CHECK(Cache::instance().get(at(2009, 3)) != nullptr);
    CHECK(Cache::instance().used() <= 4 * 10000);
}

TEST_CASE("what is worth more takes the place of what is worth less, never the other way") {
    begin();
    for (std::uint64_t id = 0; id < 50; ++id) {
        CHECK(put(CacheKind::segment, id));
        CHECK(put(CacheKind::slots, id));
    }
    for (std::uint64_t id = 0; id < 30; ++id) {
        CHECK(put(CacheKind::codes, id));
    }
    CHECK(count(CacheKind::codes, 0, 30) == 30);
    CHECK(count(CacheKind::slots, 0, 50) == 50);
    CHECK(count(CacheKind::segment, 0, 50) <= 20);
    for (std::uint64_t id = 100; id < 200; ++id) {
        put(CacheKind::segment, id);
    }
    CHECK(count(CacheKind::codes, 0, 30) == 30);
    CHECK(count(CacheKind::slots, 0, 50) == 50);
    for (std::uint64_t id = 30; id < 100; ++id) {
        CHECK(put(CacheKind::codes, id));
    }
    CHECK(count(CacheKind::codes, 0, 100) == 100);
    CHECK_FALSE(put(CacheKind::codes, 100));
    CHECK(Cache::instance().used() <= budget);
}

TEST_CASE("entries that nobody uses any more make room in the end, those in use stay") {
    begin();
    for (std::uint64_t id = 0; id < 100; ++id) {
        CHECK(put(CacheKind::codes, id));
    }
    // What is in use now: twenty of them, and a hundred others.
    for (int round = 0; round < 60; ++round) {
        CHECK(count(CacheKind::codes, 0, 20) == 20);
        for (std::uint64_t id = 1000; id < 1100; ++id) {
            if (Cache::instance().get(key(CacheKind::slots, id)) == nullptr) {
                put(CacheKind::slots, id);
            }
        }
    }
    CHECK(count(CacheKind::codes, 0, 20) == 20);
    CHECK(count(CacheKind::slots, 1000, 1100) >= 70);
    CHECK(Cache::instance().used() <= budget);
}

TEST_CASE(
    "a smaller budget keeps what is worth most; what is evicted is counted; nothing larger than the budget is taken") {
    begin();
    for (std::uint64_t id = 0; id < 30; ++id) {
        CHECK(put(CacheKind::codes, id));
        CHECK(put(CacheKind::segment, id));
        CHECK(put(CacheKind::slots, id));
    }
    const Cache::Evicted before = Cache::instance().evicted();
    const std::uint64_t used = Cache::instance().used();
    CHECK_FALSE(Cache::instance().must_let_go(before));
    Cache::instance().set_budget(400000);
    CHECK(Cache::instance().evicted().bytes - before.bytes == used - Cache::instance().used());
    CHECK(Cache::instance().must_let_go(before));
    CHECK(count(CacheKind::codes, 0, 30) == 30);
    CHECK(count(CacheKind::slots, 0, 30) == 10);
    CHECK(count(CacheKind::segment, 0, 30) == 0);
    CHECK_FALSE(Cache::instance().put(key(CacheKind::codes, 99), std::make_shared<Piece>(400001)));
    CHECK_FALSE(put(CacheKind::codes, 3));  // it is there already
    Cache::instance().set_budget(0);
    CHECK(Cache::instance().used() == 0);
    CHECK_FALSE(put(CacheKind::codes, 3));
}

TEST_CASE("an entry in use outlives its eviction") {
    begin();
    CHECK(put(CacheKind::codes, 1));
    const auto held = Cache::instance().get_as<Piece>(key(CacheKind::codes, 1));
    REQUIRE(held != nullptr);
    Cache::instance().set_budget(0);
    CHECK(Cache::instance().get(key(CacheKind::codes, 1)) == nullptr);
    CHECK(held->size == piece);
    Cache::instance().set_budget(budget);
}

TEST_CASE("who makes no entry because it would be refused is counted as if it had") {
    begin();
    const std::uint64_t inserted = Cache::instance().insertions();
    CHECK_FALSE(Cache::instance().refuses(CacheKind::slots, 10000));
    std::uint64_t id = 0;
    while (put(CacheKind::slots, id)) {
        ++id;
    }
    CHECK(Cache::instance().insertions() - inserted == id);
    CHECK(Cache::instance().refuses(CacheKind::slots, 10000));
    CHECK_FALSE(Cache::instance().refuses(CacheKind::codes, 10000));  // it would make room
    for (std::uint64_t i = 0; i < id; ++i) {                          // all are in use
        CHECK(Cache::instance().get(key(CacheKind::slots, i)) != nullptr);
    }
    CHECK(Cache::instance().insertions() - inserted == id);
    // After as many bytes as the budget has, a round ends; after the second, what nobody used makes room.
    for (std::uint64_t bytes = 0; bytes < 2 * budget; bytes += 10000) {
        Cache::instance().note_refused(10000);
    }
    CHECK_FALSE(Cache::instance().refuses(CacheKind::slots, 10000));
}

TEST_CASE("whoever holds entries lets go of them when what was evicted is much, or the budget was set") {
    begin();
    std::uint64_t id = 0;
    while (put(CacheKind::slots, id)) {
        ++id;
    }
    Cache::Evicted mark = Cache::instance().evicted();
    CHECK_FALSE(Cache::instance().must_let_go(mark));
    // What is worth more makes room: some at once.
    CHECK(put(CacheKind::codes, 0));
    const std::uint64_t some = Cache::instance().evicted().bytes - mark.bytes;
    CHECK(some > 0);
    CHECK(Cache::instance().must_let_go(mark) == (some > budget / 16));
    for (std::uint64_t i = 1; Cache::instance().evicted().bytes - mark.bytes <= budget / 16; ++i) {
        CHECK(put(CacheKind::codes, i));
    }
    CHECK(Cache::instance().must_let_go(mark));
    mark = Cache::instance().evicted();
    CHECK_FALSE(Cache::instance().must_let_go(mark));
    Cache::instance().set_budget(budget);
    CHECK(Cache::instance().must_let_go(mark));
}

TEST_CASE("an entry that found no memory is not there, and what evicts others later finds nothing of it") {
    long failed = 0;
    for (std::uint64_t id = 0; id < 100; ++id) {
        begin();
        const auto entry = std::make_shared<Piece>(piece);
        // The maps grow at some ids, which allocates once more.
        for (std::uint64_t other = 0; other < id; ++other) {
            REQUIRE(put(CacheKind::slots, other));
        }
        failed += fail_each_allocation([&] { return Cache::instance().put(key(CacheKind::slots, id), entry); },
                                       [&] {
                                           CHECK(Cache::instance().get(key(CacheKind::slots, id)) == nullptr);
                                           CHECK(Cache::instance().used() == id * 10000);
                                       });
        CHECK(Cache::instance().get(key(CacheKind::slots, id)) == entry);
        CHECK(Cache::instance().used() == (id + 1) * 10000);
        Cache::instance().set_budget(5000);
        CHECK(Cache::instance().used() == 0);
    }
    CHECK(failed >= 300);
}

}  // namespace
}  // namespace vss
