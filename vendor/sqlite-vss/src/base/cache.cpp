#include "base/cache.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "base/random.h"
#include "base/settings.h"

namespace vss {
namespace {

constexpr std::size_t node_overhead = 256;
// The part of the budget that is freed at once for something worth more; and at the end of a round.
constexpr std::uint64_t evicted_share = 64;
constexpr std::uint64_t round_share = 16;
// What connections may keep alive of what was evicted.
constexpr std::uint64_t held_share = 16;

CacheKey without_version(CacheKey key) {
    key.version = 0;
    return key;
}

}  // namespace

Cache& Cache::instance() {
    // Never destroyed: other static objects and detached SQLite connections may still use it at exit.
    static auto* cache = new Cache();  // NOLINT(cppcoreguidelines-owning-memory)
    return *cache;
}

Cache::Cache() : budget_(memory_budget_from_environment()), let_go_at_(budget_ / held_share) {}

std::size_t Cache::Hash::operator()(const CacheKey& key) const {
    // The version is random already; the rest separates chunks that one transaction wrote.
    std::uint64_t h = key.version ^ key.space ^ (key.id * 0x9E3779B97F4A7C15ULL);
    h ^= (static_cast<std::uint64_t>(key.kind) << 32 | key.column) * 0xC2B2AE3D27D4EB4FULL;
    return static_cast<std::size_t>(h ^ (h >> 29));
}

std::size_t Cache::rank_of(CacheKind kind) {
    switch (kind) {
        case CacheKind::segment: return 2;
        case CacheKind::slots: return 1;
        case CacheKind::cell_directory:
        case CacheKind::codes: break;
    }
    return 0;
}

void Cache::set_budget(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    budget_ = bytes;
    let_go_at_ = bytes / held_share;
    budgets_.fetch_add(1, std::memory_order_relaxed);
    refused_ = 0;
    is_full_ = false;
    for (std::size_t rank = ranks; rank-- > 0;) {
        while (used_ > budget_ && !nodes_[rank].empty()) {
            evict(nodes_[rank], nodes_[rank].begin());
        }
    }
}

std::uint64_t Cache::budget() const {
    const std::lock_guard lock(mutex_);
    return budget_;
}

std::uint64_t Cache::used() const {
    const std::lock_guard lock(mutex_);
    return used_;
}

std::shared_ptr<const CacheEntry> Cache::get(const CacheKey& key) {
    const std::lock_guard lock(mutex_);
    const auto at = index_.find(key);
    if (at == index_.end()) {
        return nullptr;
    }
    at->second->entry->touch();
    at->second->asked_at = ++asked_;
    return at->second->entry;
}

bool Cache::put(const CacheKey& key, std::shared_ptr<const CacheEntry> entry) {
    const std::size_t bytes = entry->bytes() + node_overhead;
    const std::size_t rank = rank_of(key.kind);
    const std::lock_guard lock(mutex_);
    if (bytes > budget_ || index_.contains(key)) {
        return false;
    }
    drop_oldest_version(key);
    if (used_ > budget_ - bytes) {
        is_full_ = true;
        make_room(bytes, rank);
    }
    if (used_ > budget_ - bytes) {
        note_refused_locked(bytes);
        return false;
    }
    // All that needs memory comes before the entry counts as one that is there.
    Nodes made;
    made.push_back(Node{key, std::move(entry), bytes, ++asked_});
    const auto node = made.begin();
    Versions& versions = versions_[without_version(key)];
    index_.emplace(key, node);
    nodes_[rank].splice(nodes_[rank].end(), made);
    versions.nodes[versions.count++] = node;
    used_ += bytes;
    insertions_.fetch_add(1, std::memory_order_relaxed);
    return true;
}

bool Cache::refuses(CacheKind kind, std::size_t bytes) const {
    bytes += node_overhead;
    const std::lock_guard lock(mutex_);
    if (bytes > budget_) {
        return true;
    }
    return used_ > budget_ - bytes && std::all_of(nodes_.begin() + static_cast<std::ptrdiff_t>(rank_of(kind)) + 1,
                                                  nodes_.end(), [](const Nodes& nodes) { return nodes.empty(); });
}

void Cache::note_refused(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    is_full_ = true;
    note_refused_locked(bytes + node_overhead);
}

void Cache::note_refused_locked(std::size_t bytes) {
    refused_ += bytes;
    if (refused_ >= budget_) {
        end_round();
    }
}

void Cache::clear() {
    const std::lock_guard lock(mutex_);
    index_.clear();
    versions_.clear();
    for (Nodes& nodes : nodes_) {
        nodes.clear();
    }
    budgets_.fetch_add(1, std::memory_order_relaxed);
    used_ = 0;
    refused_ = 0;
    is_full_ = false;
}

void Cache::evict(Nodes& from, Nodes::iterator at) {
    used_ -= at->bytes;
    evicted_.fetch_add(at->bytes, std::memory_order_relaxed);
    index_.erase(at->key);
    forget_version(at);
    from.erase(at);
}

void Cache::forget_version(Nodes::iterator node) {
    const auto at = versions_.find(without_version(node->key));
    Versions& versions = at->second;
    const auto end = versions.nodes.begin() + static_cast<std::ptrdiff_t>(versions.count);
    *std::find(versions.nodes.begin(), end, node) = *std::prev(end);
    if (--versions.count == 0) {
        versions_.erase(at);
    }
}

// Where there are as many versions as are kept.
void Cache::drop_oldest_version(const CacheKey& key) {
    const auto at = versions_.find(without_version(key));
    if (at == versions_.end() || at->second.count < most_versions) {
        return;
    }
    const auto& nodes = at->second.nodes;
    const auto oldest =
        *std::min_element(nodes.begin(), nodes.end(),
                          [](const Nodes::iterator& a, const Nodes::iterator& b) { return a->asked_at < b->asked_at; });
    evict(nodes_[rank_of(key.kind)], oldest);
}

// Evicts entries that are worth less than the rank, if that is enough: some more than are needed now, since connections
// look up again what they hold whenever something was evicted.
void Cache::make_room(std::uint64_t bytes, std::size_t rank) {
    std::uint64_t there = 0;
    for (std::size_t r = rank + 1; r < ranks; ++r) {
        for (auto at = nodes_[r].begin(); at != nodes_[r].end() && there < bytes; ++at) {
            there += at->bytes;
        }
    }
    if (budget_ - used_ + there < bytes) {
        return;
    }
    const std::uint64_t wanted = std::max(bytes, budget_ / evicted_share);
    for (std::size_t r = ranks; r-- > rank + 1;) {
        // Those in use get a second chance.
        for (std::size_t left = 2 * nodes_[r].size(); left > 0 && !nodes_[r].empty() && budget_ - used_ < wanted;
             --left) {
            const auto first = nodes_[r].begin();
            if (left > nodes_[r].size() && first->entry->used_.exchange(false, std::memory_order_relaxed)) {
                nodes_[r].splice(nodes_[r].end(), nodes_[r], first);
            } else {
                evict(nodes_[r], first);
            }
        }
    }
}

// What nobody has used since the last time goes, least worth first; a share only, as what was used is told by chance
// too.
void Cache::end_round() {
    refused_ = 0;
    const std::uint64_t most = budget_ / round_share;
    std::uint64_t evicted = 0;
    for (std::size_t rank = ranks; rank-- > 0;) {
        Nodes& nodes = nodes_[rank];
        for (auto at = nodes.begin(); at != nodes.end();) {
            const auto here = at++;
            if (!here->entry->used_.exchange(false, std::memory_order_relaxed) && evicted < most) {
                evicted += here->bytes;
                evict(nodes, here);
            }
        }
    }
}

std::uint64_t cache_space(std::string_view text) {
    // A polynomial of the bytes at a random place, modulo a prime: two texts of n bytes share a value at n of 2^61
    // places.
    constexpr std::uint64_t prime = (std::uint64_t{1} << 61) - 1;
    static const std::uint64_t place = random_version() % prime;
    const auto times = [](std::uint64_t a, std::uint64_t b) {
        std::uint64_t product = 0;
        for (; b != 0; b >>= 1U) {
            product = (b & 1U) != 0 ? (product + a) % prime : product;
            a = (a + a) % prime;
        }
        return product;
    };
    std::uint64_t sum = 1;
    for (std::size_t i = 0; i < text.size(); i += 7) {
        std::uint64_t word = 0;
        for (const char c : text.substr(i, 7)) {
            word = word << 8U | static_cast<unsigned char>(c);
        }
        sum = (times(sum, place) + word) % prime;
    }
    return (times(sum, place) + text.size()) % prime;
}

}  // namespace vss
