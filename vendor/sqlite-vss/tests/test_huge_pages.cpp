// Memory for what searches read: pieces do not overlap, are aligned, and are used again; pages that hold nothing go
// back.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "base/huge_pages.h"
#include "base/random.h"
#include "kernels/rotation.h"

using namespace vss;

namespace {

struct Piece {
    std::byte* at = nullptr;
    std::size_t bytes = 0;
    std::byte mark{};

    void fill(std::uint64_t n) {
        mark = static_cast<std::byte>(n);
        std::memset(at, static_cast<int>(n & 0xFFU), bytes);
    }
    [[nodiscard]] bool is_whole() const {
        for (std::size_t i = 0; i < bytes; i += 61) {
            if (at[i] != mark) {
                return false;
            }
        }
        return at[bytes - 1] == mark;
    }
};

// Takes and gives back at random, up to `most` bytes at a time.
void churn(std::uint64_t seed, std::size_t most, int turns) {
    SplitMix random(seed);
    std::vector<Piece> pieces;
    std::size_t held = 0;
    for (int turn = 0; turn < turns; ++turn) {
        const std::size_t kind = random.below(10);
        const std::size_t bytes = 1 + random.below(kind < 7 ? 20000U : kind < 9 ? 300000U : 5000000U);
        while (held + bytes > most && !pieces.empty()) {
            const std::size_t i = random.below(pieces.size());
            CHECK(pieces[i].is_whole());
            release_memory(pieces[i].at, pieces[i].bytes);
            held -= pieces[i].bytes;
            pieces[i] = pieces.back();
            pieces.pop_back();
        }
        Piece piece{allocate_memory(bytes), bytes};
        CHECK(reinterpret_cast<std::uintptr_t>(piece.at) % memory_alignment == 0);
        piece.fill(random.next());
        pieces.push_back(piece);
        held += bytes;
    }
    for (const Piece& piece : pieces) {
        CHECK(piece.is_whole());
        release_memory(piece.at, piece.bytes);
    }
}

}  // namespace

TEST_CASE("pieces of all sizes keep what was written to them") {
    churn(1, std::size_t{150} << 20, 4000);
    churn(2, std::size_t{3} << 20, 2000);  // so little that it is ordinary memory
}

TEST_CASE("pieces larger than a region, and of no bytes") {
    const std::size_t large = std::size_t{80} << 20;
    std::byte* at = allocate_memory(large);
    at[0] = at[large - 1] = std::byte{1};
    release_memory(at, large);
    release_memory(nullptr, 0);
    std::byte* none = allocate_memory(0);
    release_memory(none, 0);
}

TEST_CASE("threads take and give at once") {
    std::vector<std::thread> threads;
    for (std::uint64_t seed = 10; seed < 14; ++seed) {
        threads.emplace_back([seed] { churn(seed, std::size_t{40} << 20, 800); });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}
