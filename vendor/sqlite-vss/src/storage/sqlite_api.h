// The host's SQLite, reached through its sqlite3_api table, never linked.
//
// One process can hold several SQLite libraries (the standard library's, apsw's own, ...), while this library is
// mapped once. So the table is not one global, as SQLITE_EXTENSION_INIT1 would make it, but thread-local: every
// callback opens an ApiScope for the library that called it. Include this header instead of <sqlite3ext.h>, and use
// no SQLITE_EXTENSION_INIT macro.
#pragma once

#include <sqlite3ext.h>

#include <array>
#include <cstddef>
#include <utility>

extern constinit thread_local const sqlite3_api_routines* sqlite3_api;

namespace vss {

// Makes `api` the table in force for the calling thread, until the end of the scope.
class ApiScope {
  public:
    explicit ApiScope(const sqlite3_api_routines* api) : previous_(sqlite3_api) { sqlite3_api = api; }
    ~ApiScope() { sqlite3_api = previous_; }
    ApiScope(const ApiScope&) = delete;
    ApiScope& operator=(const ApiScope&) = delete;

  private:
    const sqlite3_api_routines* previous_;
};

// SQL functions are handed a context that does not tell which library it comes from, so each library gets its own
// entry to the same function: slot i of the trampolines below.
inline constexpr std::size_t max_sqlite_libraries = 8;

// The slot of the table in force, given out on first sight; max_sqlite_libraries if there are too many.
[[nodiscard]] std::size_t api_slot_of_current();
[[nodiscard]] const sqlite3_api_routines* api_of_slot(std::size_t slot);

using ScalarFunction = void (*)(sqlite3_context*, int, sqlite3_value**);

namespace detail {

template <auto Function, std::size_t Slot>
void trampoline(sqlite3_context* context, int argc, sqlite3_value** argv) {
    const ApiScope scope(api_of_slot(Slot));
    Function(context, argc, argv);
}

template <auto Function, std::size_t... Slots>
constexpr std::array<ScalarFunction, sizeof...(Slots)> trampolines(std::index_sequence<Slots...> /*slots*/) {
    return {&trampoline<Function, Slots>...};
}

}  // namespace detail

// The entry to `Function` (a ScalarFunction) for the library in force; nullptr if there are too many libraries.
template <auto Function>
[[nodiscard]] ScalarFunction entry_for_current_api() {
    static constexpr auto table = detail::trampolines<Function>(std::make_index_sequence<max_sqlite_libraries>());
    const std::size_t slot = api_slot_of_current();
    return slot < max_sqlite_libraries ? table[slot] : nullptr;
}

// Registers a scalar function on `db`; `flags` beside SQLITE_UTF8 (SQLITE_DETERMINISTIC, SQLITE_INNOCUOUS, ...).
template <auto Function>
int register_scalar(sqlite3* db, const char* name, int argc, int flags, void* data = nullptr,
                    void (*destroy)(void*) = nullptr) {
    const ScalarFunction entry = entry_for_current_api<Function>();
    if (entry == nullptr) {
        if (destroy != nullptr) {
            destroy(data);
        }
        return SQLITE_ERROR;
    }
    return sqlite3_create_function_v2(db, name, argc, SQLITE_UTF8 | flags, data, entry, nullptr, nullptr, destroy);
}

}  // namespace vss
