#include "base/huge_pages.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include <sys/mman.h>
#if defined(MADV_HUGEPAGE)
#define VSS_HUGE_PAGES 1
#endif
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#undef VSS_HUGE_PAGES
#endif
#endif

namespace vss {
namespace {

std::byte* allocate_plain(std::size_t bytes) {
    return static_cast<std::byte*>(::operator new (bytes, std::align_val_t{memory_alignment}));
}

void release_plain(std::byte* memory) noexcept {
    ::operator delete (memory, std::align_val_t{memory_alignment});
}

#if defined(VSS_HUGE_PAGES)

constexpr std::size_t page_bytes = std::size_t{2} << 20;
constexpr std::size_t region_pages = 32;
constexpr std::size_t region_bytes = region_pages * page_bytes;
// What is handed out is a run of units.
constexpr std::size_t unit_bytes = 1024;
constexpr std::size_t region_units = region_bytes / unit_bytes;
constexpr std::size_t page_units = page_bytes / unit_bytes;
// Of a region, kept for what comes next: what is given back is zeroed when it is taken again.
constexpr int most_spare_pages = 2;
static_assert(region_pages == 32, "a bit for each");
// Smaller pieces, and the first few megabytes, are ordinary memory: a page is zeroed whole when it is first touched.
constexpr std::size_t least_bytes = 4096;
constexpr std::size_t most_bytes = region_bytes / 4;
constexpr std::size_t plain_bytes = std::size_t{4} << 20;

// 64 MiB of address space, of which pages that hold nothing are given back.
class Region {
  public:
    // nullptr if the system has no address space for it.
    static std::unique_ptr<Region> make() {
        void* mapped = mmap(nullptr, region_bytes + page_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mapped == MAP_FAILED) {
            return nullptr;
        }
        auto region = std::make_unique<Region>();
        region->mapped_ = static_cast<std::byte*>(mapped);
        const auto address = reinterpret_cast<std::uintptr_t>(mapped);
        region->base_ = region->mapped_ + (page_bytes - address % page_bytes) % page_bytes;
        madvise(region->base_, region_bytes, MADV_HUGEPAGE);
        return region;
    }
    Region() = default;
    Region(const Region&) = delete;
    Region& operator=(const Region&) = delete;
    ~Region() {
        if (mapped_ != nullptr) {
            munmap(mapped_, region_bytes + page_bytes);
        }
    }

    [[nodiscard]] bool holds(const std::byte* memory) const { return memory >= base_ && memory < base_ + region_bytes; }
    [[nodiscard]] bool is_empty() const { return used_ == 0; }

    // The first run of free units that is long enough; nullptr if there is none.
    std::byte* take(std::size_t units) {
        if (used_ + units > region_units) {
            return nullptr;
        }
        std::size_t at = next_free(free_from_[kind_of(units)]);
        while (at < region_units) {
            const std::size_t end = next_taken(at, units);
            if (end - at >= units) {
                break;
            }
            at = next_free(end);
        }
        // Units below the run found are no run so long, nor a longer one. Of a length that is no kind of its own that
        // says nothing of the shorter ones of its kind.
        for (std::size_t kind = kind_of(units); units <= kinds && kind < kinds; ++kind) {
            free_from_[kind] = std::max(free_from_[kind], static_cast<std::uint32_t>(at));
        }
        if (at == region_units) {
            return nullptr;
        }
        mark(at, units, true);
        for (std::size_t page = at / page_units; page <= (at + units - 1) / page_units; ++page) {
            spare_ &= ~(std::uint32_t{1} << page);
        }
        used_ += units;
        return base_ + at * unit_bytes;
    }

    void give(const std::byte* memory, std::size_t units) noexcept {
        const std::size_t first = static_cast<std::size_t>(memory - base_) / unit_bytes;
        mark(first, units, false);
        used_ -= units;
        // It joins what is free beside it.
        const std::size_t start = after_last_taken(first);
        const std::size_t length = next_taken(first, kinds) - start;
        for (std::size_t kind = 0; kind <= kind_of(length); ++kind) {
            free_from_[kind] = std::min(free_from_[kind], static_cast<std::uint32_t>(start));
        }
        for (std::size_t page = first / page_units; page <= (first + units - 1) / page_units; ++page) {
            const auto* words = taken_.data() + page * page_units / 64;
            if (std::any_of(words, words + page_units / 64, [](std::uint64_t word) { return word != 0; })) {
                continue;
            }
            if (std::popcount(spare_) < most_spare_pages) {
                spare_ |= std::uint32_t{1} << page;
            } else {
                madvise(base_ + page * page_bytes, page_bytes, MADV_DONTNEED);
            }
        }
    }

  private:
    void mark(std::size_t first, std::size_t units, bool taken) noexcept {
        for (std::size_t at = first; at < first + units;) {
            const std::size_t in_word = std::min(64 - at % 64, first + units - at);
            const std::uint64_t bits = (in_word == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << in_word) - 1)
                                       << (at % 64);
            taken_[at / 64] = taken ? taken_[at / 64] | bits : taken_[at / 64] & ~bits;
            at += in_word;
        }
    }

    // The first free unit from `at` on, or region_units.
    [[nodiscard]] std::size_t next_free(std::size_t at) const { return next(at, region_units, ~std::uint64_t{0}); }
    // The first taken unit from `at` on, or the first beyond `enough` free ones, or region_units.
    [[nodiscard]] std::size_t next_taken(std::size_t at, std::size_t enough) const {
        return next(at, std::min(at + enough, region_units), 0);
    }
    // The first unit from `at` on that differs from the bits of `flipped`; `end` or one beyond it if there is none.
    [[nodiscard]] std::size_t next(std::size_t at, std::size_t end, std::uint64_t flipped) const {
        while (at < end) {
            const std::uint64_t word = (taken_[at / 64] ^ flipped) >> (at % 64);
            if (word != 0) {
                return at + static_cast<std::size_t>(std::countr_zero(word));
            }
            at += 64 - at % 64;
        }
        return std::min(at, region_units);
    }
    // Where the free units that `at` is one of begin.
    [[nodiscard]] std::size_t after_last_taken(std::size_t at) const {
        for (;;) {
            const std::uint64_t below = taken_[at / 64] << (63 - at % 64);
            if (below != 0) {
                return at + 1 - static_cast<std::size_t>(std::countl_zero(below));
            }
            if (at < 64) {
                return 0;
            }
            at = at / 64 * 64 - 1;
        }
    }

    // Lengths of runs: each on its own, but for long ones.
    static constexpr std::size_t kinds = 64;
    static constexpr std::size_t kind_of(std::size_t units) { return std::min(units, kinds) - 1; }

    std::byte* mapped_ = nullptr;
    std::byte* base_ = nullptr;
    std::size_t used_ = 0;                          // units
    std::uint32_t spare_ = 0;                       // pages, as bits, that hold nothing and were not given back
    std::array<std::uint32_t, kinds> free_from_{};  // by kind: no run so long begins below
    std::array<std::uint64_t, region_units / 64> taken_{};
};

struct Memory {
    std::mutex mutex;
    std::size_t plain = 0;  // ordinary memory given to pieces that could have lain in a region
    std::vector<std::unique_ptr<Region>> regions;
};

Memory& memory_of_process() {
    // Never destroyed: what lies in it may be released at exit.
    static auto* memory = new Memory();  // NOLINT(cppcoreguidelines-owning-memory)
    return *memory;
}

constexpr std::size_t units_of(std::size_t bytes) {
    return (bytes + unit_bytes - 1) / unit_bytes;
}

#endif

}  // namespace

#if defined(VSS_HUGE_PAGES)

std::byte* allocate_memory(std::size_t bytes) {
    if (bytes < least_bytes || bytes > most_bytes) {
        return allocate_plain(bytes);
    }
    Memory& memory = memory_of_process();
    const std::lock_guard lock(memory.mutex);
    if (memory.plain + bytes > plain_bytes) {
        for (const auto& region : memory.regions) {
            if (std::byte* found = region->take(units_of(bytes)); found != nullptr) {
                return found;
            }
        }
        if (auto region = Region::make(); region != nullptr) {
            memory.regions.push_back(std::move(region));
            return memory.regions.back()->take(units_of(bytes));
        }
    }
    std::byte* plain = allocate_plain(bytes);
    memory.plain += bytes;
    return plain;
}

void release_memory(std::byte* released, std::size_t bytes) noexcept {
    if (released == nullptr || bytes < least_bytes || bytes > most_bytes) {
        release_plain(released);
        return;
    }
    Memory& memory = memory_of_process();
    const std::lock_guard lock(memory.mutex);
    const auto at = std::find_if(memory.regions.begin(), memory.regions.end(),
                                 [&](const auto& region) { return region->holds(released); });
    if (at == memory.regions.end()) {
        release_plain(released);
        memory.plain -= bytes;
        return;
    }
    (*at)->give(released, units_of(bytes));
    if ((*at)->is_empty() && memory.regions.size() > 1) {
        memory.regions.erase(at);
    }
}

#else

std::byte* allocate_memory(std::size_t bytes) {
    return allocate_plain(bytes);
}

void release_memory(std::byte* memory, std::size_t /*bytes*/) noexcept {
    release_plain(memory);
}

#endif

}  // namespace vss
