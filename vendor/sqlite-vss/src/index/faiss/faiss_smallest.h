// Rows by their distance, and the nearest few of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace vss {

struct FaissRow {
    float distance;
    std::int32_t id;
    friend bool operator<(const FaissRow& a, const FaissRow& b) { return a.distance < b.distance; }
    friend bool operator>(const FaissRow& a, const FaissRow& b) { return b < a; }
};

// Of rows pushed the `most` nearest.
class SmallestRows {
  public:
    explicit SmallestRows(std::size_t most) : most_(most) { rows_.reserve(most + 1); }
    [[nodiscard]] bool takes(float distance) const { return rows_.size() < most_ || distance < rows_.front().distance; }
    void push(FaissRow row) {
        rows_.push_back(row);
        std::push_heap(rows_.begin(), rows_.end());
        if (rows_.size() > most_) {
            std::pop_heap(rows_.begin(), rows_.end());
            rows_.pop_back();
        }
    }
    // Their numbers, nearest first. It holds none afterwards.
    void take(std::vector<std::uint32_t>& out) {
        std::sort_heap(rows_.begin(), rows_.end());
        out.clear();
        for (const FaissRow& row : rows_) {
            out.push_back(static_cast<std::uint32_t>(row.id));
        }
        rows_.clear();
    }

  private:
    std::size_t most_;
    std::vector<FaissRow> rows_;  // a heap, the farthest first
};

// Whether the row's bit is set; nullptr: all are.
[[nodiscard]] inline bool is_allowed(const std::vector<std::uint64_t>* allowed, std::size_t row) {
    return allowed == nullptr || (row / 64 < allowed->size() && ((*allowed)[row / 64] >> (row % 64) & 1) != 0);
}

}  // namespace vss
