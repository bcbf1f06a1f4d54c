// The numbers of the smallest values of many, gathered without sorting. No SQLite in here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "code_kernels.h"

namespace vss {

class BestOf {
  public:
    // For the `wanted` smallest, or a few more.
    void begin(std::size_t wanted) {
        wanted_ = wanted > 0 ? wanted : 1;
        size_ = 0;
        limit_ = std::numeric_limits<float>::infinity();
        // Between two calls of thin_out at most block_rows are added.
        const std::size_t room = 2 * wanted_ + wanted_ / 8 + 2 * block_rows;
        if (values_.size() < room) {
            values_.resize(room);
            numbers_.resize(room);
        }
    }
    // Values from here on need not be added.
    [[nodiscard]] float limit() const { return limit_; }
    void add(float value, std::uint32_t number) {
        values_[size_] = value;
        numbers_[size_] = number;
        ++size_;
    }
    void thin_out() {
        if (size_ >= 2 * wanted_) {
            finish();
        }
    }
    void finish() { size_ = code_kernels().keep_smallest(values_.data(), numbers_.data(), size_, wanted_, limit_); }
    // About the n-th smallest value, or infinity if there are no more than n.
    [[nodiscard]] float nth(std::size_t n) {
        return size_ > n ? code_kernels().limit_of(values_.data(), size_, n) : std::numeric_limits<float>::infinity();
    }
    [[nodiscard]] std::span<const std::uint32_t> numbers() const { return {numbers_.data(), size_}; }

  private:
    std::size_t wanted_ = 1;
    std::size_t size_ = 0;
    float limit_ = 0;
    std::vector<float> values_;
    std::vector<std::uint32_t> numbers_;
};

}  // namespace vss
