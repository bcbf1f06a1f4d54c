#include "storage/sqlite_api.h"

#include <atomic>

constinit thread_local const sqlite3_api_routines* sqlite3_api = nullptr;

namespace vss {
namespace {

std::array<std::atomic<const sqlite3_api_routines*>, max_sqlite_libraries> slots{};

}  // namespace

std::size_t api_slot_of_current() {
    for (std::size_t i = 0; i < slots.size(); ++i) {
        const sqlite3_api_routines* expected = nullptr;
        if (slots[i].load() == sqlite3_api || slots[i].compare_exchange_strong(expected, sqlite3_api) ||
            expected == sqlite3_api) {
            return i;
        }
    }
    return max_sqlite_libraries;
}

const sqlite3_api_routines* api_of_slot(std::size_t slot) {
    return slots[slot].load();
}

}  // namespace vss
