#include "cache.h"

#include <cstdlib>
#include <random>
#include <string_view>

#include "settings.h"

namespace vss {
namespace {

constexpr std::size_t node_overhead = 256;

}  // namespace

Cache& Cache::instance() {
    // Never destroyed: other static objects and detached SQLite connections may still use it at exit.
    static auto* cache = new Cache();  // NOLINT(cppcoreguidelines-owning-memory)
    return *cache;
}

Cache::Cache() : budget_(memory_budget_from_environment()) {}

std::size_t Cache::Hash::operator()(const CacheKey& key) const {
    // The version is random already; the rest separates chunks that one transaction wrote.
    std::uint64_t h = key.version ^ (key.id * 0x9E3779B97F4A7C15ULL);
    h ^= (static_cast<std::uint64_t>(key.kind) << 32 | key.column) * 0xC2B2AE3D27D4EB4FULL;
    return static_cast<std::size_t>(h ^ (h >> 29));
}

void Cache::set_budget(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    budget_ = bytes;
    evict_until(budget_, clock_ + 1);
}

std::uint64_t Cache::budget() const {
    const std::lock_guard lock(mutex_);
    return budget_;
}

std::uint64_t Cache::used() const {
    const std::lock_guard lock(mutex_);
    return used_;
}

std::uint64_t Cache::begin_search() {
    const std::lock_guard lock(mutex_);
    return ++clock_;
}

std::shared_ptr<const CacheEntry> Cache::get(const CacheKey& key) {
    const std::lock_guard lock(mutex_);
    const auto at = index_.find(key);
    if (at == index_.end()) {
        return nullptr;
    }
    at->second->last_used = clock_;
    nodes_.splice(nodes_.begin(), nodes_, at->second);
    return at->second->entry;
}

void Cache::put(const CacheKey& key, std::shared_ptr<const CacheEntry> entry, std::uint64_t search) {
    const std::size_t bytes = entry->bytes() + node_overhead;
    const std::lock_guard lock(mutex_);
    if (bytes > budget_ || index_.contains(key)) {
        return;
    }
    evict_until(budget_ - bytes, search);
    if (used_ > budget_ - bytes) {
        return;
    }
    nodes_.push_front(Node{key, std::move(entry), clock_, bytes});
    index_.emplace(key, nodes_.begin());
    used_ += bytes;
}

void Cache::clear() {
    const std::lock_guard lock(mutex_);
    index_.clear();
    nodes_.clear();
    evictions_.fetch_add(1, std::memory_order_relaxed);
    used_ = 0;
}

void Cache::evict_until(std::uint64_t limit, std::uint64_t before) {
    while (used_ > limit && !nodes_.empty() && nodes_.back().last_used < before) {
        used_ -= nodes_.back().bytes;
        index_.erase(nodes_.back().key);
        nodes_.pop_back();
        evictions_.fetch_add(1, std::memory_order_relaxed);
    }
}

std::uint64_t random_version() {
    // std::random_device asks the processor or the operating system on each call, so a forked child repeats nothing.
    static thread_local std::random_device device;
    std::uint64_t version = 0;
    while (version == 0) {
        version = static_cast<std::uint64_t>(device()) << 32 | device();
    }
    return version;
}

}  // namespace vss
