// Settings of the process: the memory budget and the number of threads, one of each for everything.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace vss {

// "256MB", "1.5 GiB", "1048576": a number of bytes with an optional unit (powers of 1,024), or nothing if it is none.
[[nodiscard]] std::optional<std::uint64_t> parse_bytes(std::string_view text);

// VSSNATIVE_MEMORY, else 256 MB.
[[nodiscard]] std::uint64_t memory_budget_from_environment();

// Threads that a batch of queries, a large load or a product of matrices may use. Set by set_threads, else
// VSSNATIVE_THREADS, else the cores this process may run on.
[[nodiscard]] int threads();
void set_threads(int count);  // 0: back to the default
// Called after each set_threads from now on: a library with threads of its own follows the setting.
void set_threads_listener(void (*listener)());

// The recall of a search that asks for none: defaults::recall until it is set.
[[nodiscard]] double default_recall();
void set_default_recall(double recall);  // 0: back to the default

}  // namespace vss
