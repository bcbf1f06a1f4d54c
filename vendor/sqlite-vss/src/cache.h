// Decoded chunks of all tables, connections and SQLite libraries of this process, under one memory budget.
//
// The key holds a version: 64 random bits that a write transaction gives to what it changes and that no later state
// ever gets again, not even after a rollback. So an entry is right for every snapshot that names it, nothing is ever
// invalidated, and an entry that no snapshot names any more is simply not asked for again and ages out.
//
// Threads: all calls are safe. Ownership: shared; an entry in use outlives its eviction.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace vss {

// What an entry is, beside its version: two kinds of one version never collide.
enum class CacheKind : std::uint32_t { segment = 1, cell_directory = 2, codes = 3, slots = 4 };

struct CacheKey {
    std::uint64_t version = 0;
    CacheKind kind = CacheKind::segment;
    std::uint32_t column = 0;
    std::uint64_t id = 0;

    bool operator==(const CacheKey&) const = default;
};

class CacheEntry {
  public:
    CacheEntry() = default;
    CacheEntry(const CacheEntry&) = delete;
    CacheEntry& operator=(const CacheEntry&) = delete;
    virtual ~CacheEntry() = default;
    [[nodiscard]] virtual std::size_t bytes() const = 0;
};

class Cache {
  public:
    static Cache& instance();

    void set_budget(std::uint64_t bytes);
    [[nodiscard]] std::uint64_t budget() const;
    [[nodiscard]] std::uint64_t used() const;

    // A number that grows with every search; entries touched since then are not evicted for one another, so that a
    // scan of more than the budget keeps its first part cached instead of evicting each chunk before its next use.
    std::uint64_t begin_search();

    [[nodiscard]] std::shared_ptr<const CacheEntry> get(const CacheKey& key);
    template <class Entry>
    [[nodiscard]] std::shared_ptr<const Entry> get_as(const CacheKey& key) {
        return std::dynamic_pointer_cast<const Entry>(get(key));
    }
    // Keeps the entry if it fits, evicting entries not used since `search` began, least recently used first.
    void put(const CacheKey& key, std::shared_ptr<const CacheEntry> entry, std::uint64_t search);
    void clear();
    // Counts what was ever evicted: whoever holds entries across searches lets go of them when it moves.
    [[nodiscard]] std::uint64_t evictions() const { return evictions_.load(std::memory_order_relaxed); }

  private:
    struct Hash {
        std::size_t operator()(const CacheKey& key) const;
    };
    struct Node {
        CacheKey key;
        std::shared_ptr<const CacheEntry> entry;
        std::uint64_t last_used = 0;
        std::size_t bytes = 0;
    };

    void evict_until(std::uint64_t limit, std::uint64_t before);

    mutable std::mutex mutex_;
    std::uint64_t budget_ = 0;
    std::uint64_t used_ = 0;
    std::uint64_t clock_ = 0;
    std::atomic<std::uint64_t> evictions_ = 0;
    std::list<Node> nodes_;  // most recently used first
    std::unordered_map<CacheKey, std::list<Node>::iterator, Hash> index_;

    Cache();
};

// 64 random bits from the operating system; never a repeat, also across fork. 0 is never returned.
[[nodiscard]] std::uint64_t random_version();

}  // namespace vss
