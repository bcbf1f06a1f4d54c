#include "base/settings.h"

#include <algorithm>
#include <atomic>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

#include "base/defaults.h"

namespace vss {
namespace {

constexpr int max_threads = 256;

std::atomic<int> chosen_threads{0};
std::atomic<void (*)()> threads_listener{nullptr};
std::atomic<double> chosen_recall{defaults::recall};

int available_cores() {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) {
        return std::clamp(CPU_COUNT(&set), 1, max_threads);
    }
#endif
    return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, max_threads);
}

int default_threads() {
    if (const char* text = std::getenv("VSSNATIVE_THREADS"); text != nullptr) {
        const std::string_view view(text);
        int count = 0;
        const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), count);
        if (error == std::errc() && end == view.data() + view.size() && count > 0) {
            return std::min(count, max_threads);
        }
    }
    return available_cores();
}

}  // namespace

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || !(number >= 0)) {
        return std::nullopt;
    }
    std::string unit;
    for (const char c : text.substr(static_cast<std::size_t>(end - text.data()))) {
        if (std::isspace(static_cast<unsigned char>(c)) == 0) {
            unit.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
        }
    }
    int shift = 0;
    if (unit == "k" || unit == "kb" || unit == "kib") {
        shift = 10;
    } else if (unit == "m" || unit == "mb" || unit == "mib") {
        shift = 20;
    } else if (unit == "g" || unit == "gb" || unit == "gib") {
        shift = 30;
    } else if (!unit.empty() && unit != "b") {
        return std::nullopt;
    }
    const double bytes = number * static_cast<double>(std::uint64_t{1} << shift);
    if (bytes > 9.0e18) {
        return std::nullopt;
    }
    return static_cast<std::uint64_t>(bytes);
}

std::uint64_t memory_budget_from_environment() {
    const char* text = std::getenv("VSSNATIVE_MEMORY");
    return text == nullptr ? defaults::memory_bytes : parse_bytes(text).value_or(defaults::memory_bytes);
}

int threads() {
    const int count = chosen_threads.load();
    if (count > 0) {
        return count;
    }
    static const int fallback = default_threads();
    return fallback;
}

void set_threads(int count) {
    chosen_threads.store(std::clamp(count, 0, max_threads));
    if (void (*const listener)() = threads_listener.load(); listener != nullptr) {
        listener();
    }
}

void set_threads_listener(void (*listener)()) {
    threads_listener.store(listener);
}

double default_recall() {
    return chosen_recall.load();
}

void set_default_recall(double recall) {
    chosen_recall.store(recall > 0 && recall <= 1 ? recall : defaults::recall);
}

}  // namespace vss
