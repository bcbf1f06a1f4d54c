// Decoded chunks of all tables, connections and SQLite libraries of this process, under one memory budget.
//
// Files are not trusted: one may say the versions of another. So the key also holds the space that the entry is of: the
// database, the table, the column and how it is laid out; and who takes an entry out checks its sizes.
//
// The key holds a version: 64 random bits that a write transaction gives to what it changes and that no later state
// ever gets again, not even after a rollback. So an entry is right for every snapshot that names it, and nothing is
// ever invalidated. Of one thing (a cell's codes, a segment) a few versions are kept: as many as a writer and a reader
// of an older snapshot need. The one used longest ago goes when another comes, or a writer would fill the budget with
// what no snapshot names any more.
//
// What is worth memory: directories and sign codes of cells, which every search scans many of, before 4-bit codes,
// which it reads some hundred of at random, before rows, of which it reads a dozen. Where the budget is spent, a
// newcomer takes the place of entries that are worth less than itself. It never takes that of its equals, or one scan,
// or a working set that is larger than the budget, would evict each entry before its next use: it is refused, and
// whoever asked reads the tables again next time. Once as many bytes were refused as the budget has, entries that
// nobody has used meanwhile make room. (Refusing newcomers by chance: Qureshi et al., Adaptive insertion policies,
// 2007. Use noted by a bit: CLOCK.)
//
// Threads: all calls are safe. Ownership: shared; an entry in use outlives its eviction.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>

namespace vss {

// What an entry is, beside its version: two kinds of one version never collide.
enum class CacheKind : std::uint32_t { segment = 1, cell_directory = 2, codes = 3, slots = 4 };

struct CacheKey {
    std::uint64_t version = 0;
    CacheKind kind = CacheKind::segment;
    std::uint32_t column = 0;
    std::uint64_t id = 0;
    std::uint64_t space = 0;  // cache_space() of all that decides how the entry is laid out

    bool operator==(const CacheKey&) const = default;
};

class CacheEntry {
  public:
    CacheEntry() = default;
    CacheEntry(const CacheEntry&) = delete;
    CacheEntry& operator=(const CacheEntry&) = delete;
    virtual ~CacheEntry() = default;
    [[nodiscard]] virtual std::size_t bytes() const = 0;
    // Whoever holds an entry across searches says so when it is used, where the cache is full.
    void touch() const { used_.store(true, std::memory_order_relaxed); }

  private:
    friend class Cache;
    mutable std::atomic<bool> used_ = true;
};

class Cache {
  public:
    static Cache& instance();

    void set_budget(std::uint64_t bytes);
    [[nodiscard]] std::uint64_t budget() const;
    [[nodiscard]] std::uint64_t used() const;

    [[nodiscard]] std::shared_ptr<const CacheEntry> get(const CacheKey& key);
    template <class Entry>
    [[nodiscard]] std::shared_ptr<const Entry> get_as(const CacheKey& key) {
        return std::dynamic_pointer_cast<const Entry>(get(key));
    }
    // False: it was refused, or another thread has put one.
    bool put(const CacheKey& key, std::shared_ptr<const CacheEntry> entry);
    // Whether it would refuse an entry of so many bytes now. Who makes none for that reason says so: what is asked for
    // in vain decides what makes room.
    [[nodiscard]] bool refuses(CacheKind kind, std::size_t bytes) const;
    void note_refused(std::size_t bytes);
    void clear();
    // Something was refused or evicted since the budget was set.
    [[nodiscard]] bool is_full() const { return is_full_.load(std::memory_order_relaxed); }
    // Counts what was ever put: what was not there is not there as long as this stands still.
    [[nodiscard]] std::uint64_t insertions() const { return insertions_.load(std::memory_order_relaxed); }
    // When something was evicted: whoever holds entries across searches notes it, and lets go of all of them when that
    // must be: the budget was set, or what may be kept alive so would be a sixteenth of it.
    struct Evicted {
        std::uint64_t budgets = 0;  // that were set
        std::uint64_t bytes = 0;    // that were ever evicted

        bool operator==(const Evicted&) const = default;
    };
    [[nodiscard]] Evicted evicted() const {
        return {budgets_.load(std::memory_order_relaxed), evicted_.load(std::memory_order_relaxed)};
    }
    [[nodiscard]] bool must_let_go(const Evicted& then) const {
        const Evicted now = evicted();
        return now.budgets != then.budgets || now.bytes - then.bytes > let_go_at_.load(std::memory_order_relaxed);
    }

  private:
    struct Hash {
        std::size_t operator()(const CacheKey& key) const;
    };
    struct Node {
        CacheKey key;
        std::shared_ptr<const CacheEntry> entry;
        std::size_t bytes = 0;
        std::uint64_t asked_at = 0;  // by asked_
    };
    using Nodes = std::list<Node>;
    static constexpr std::size_t most_versions = 3;
    struct Versions {
        std::array<Nodes::iterator, most_versions> nodes;
        std::size_t count = 0;
    };
    // 0: worth most.
    static constexpr std::size_t ranks = 3;
    [[nodiscard]] static std::size_t rank_of(CacheKind kind);

    void evict(Nodes& from, Nodes::iterator at);
    void forget_version(Nodes::iterator node);
    void drop_oldest_version(const CacheKey& key);
    void make_room(std::uint64_t bytes, std::size_t rank);
    void end_round();
    void note_refused_locked(std::size_t bytes);

    mutable std::mutex mutex_;
    std::uint64_t budget_ = 0;
    std::uint64_t used_ = 0;
    std::uint64_t refused_ = 0;  // bytes, in this round
    std::atomic<bool> is_full_ = false;
    std::atomic<std::uint64_t> budgets_ = 0;
    std::atomic<std::uint64_t> evicted_ = 0;
    std::atomic<std::uint64_t> let_go_at_ = 0;
    std::atomic<std::uint64_t> insertions_ = 0;
    std::array<Nodes, ranks> nodes_;  // by rank; looked at longest ago first
    std::unordered_map<CacheKey, Nodes::iterator, Hash> index_;
    std::unordered_map<CacheKey, Versions, Hash> versions_;  // by the key without its version
    std::uint64_t asked_ = 0;

    Cache();
};

// One number for one text, in this process. Which texts share a number cannot be known outside of it.
[[nodiscard]] std::uint64_t cache_space(std::string_view text);

}  // namespace vss
