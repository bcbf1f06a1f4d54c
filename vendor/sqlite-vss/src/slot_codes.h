// 4-bit codes of all rows of one segment, by slot: what refines the candidates that sign codes bring, and what an exact
// search prunes by. Derived from the vectors in memory, never stored. No SQLite in here.
//
// A rotated row o is kept as nibbles u, x = u - 7.5, with s = <o, x> / |x|^2. The rest e = o - s x is orthogonal to x,
// so |<o, q> - s <x, q>| <= |e| |q|: a bound that cannot fail, unlike the estimators'.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cache.h"
#include "cell_directory.h"
#include "segment.h"

namespace vss {

class SlotCodes final : public CacheEntry {
  public:
    // Rows of the segment whose first slot is `first_slot` and that has room for `segment_slots`.
    SlotCodes(const CellSpace& space, ElementType type, const Segment& segment, std::uint64_t first_slot,
              std::size_t segment_slots);

    [[nodiscard]] std::size_t size() const { return rowids_.size(); }
    // The row in that slot of the segment, or -1.
    [[nodiscard]] std::int32_t at(std::size_t slot) const {
        return !positions_.empty() ? positions_[slot] : slot < rowids_.size() ? static_cast<std::int32_t>(slot) : -1;
    }
    [[nodiscard]] std::int64_t rowid(std::size_t i) const { return rowids_[i]; }
    [[nodiscard]] std::uint32_t slot(std::size_t i) const { return slots_[i]; }
    // Two steps, since where a row's code lies must be known before it can be fetched.
    void prefetch_position(std::size_t slot) const {
        if (!positions_.empty()) {
            __builtin_prefetch(&positions_[slot]);
        }
    }
    void prefetch(std::size_t i) const {
        const std::byte* row = rows_.data() + i * stride_;
        for (std::size_t byte = 0; byte < stride_; byte += 64) {
            __builtin_prefetch(row + byte);
        }
        __builtin_prefetch(row + stride_ - 1);
    }

    struct Query {
        std::vector<std::int8_t> small;  // round(q / step), in [-127, 127]
        float step = 0;
        float sum = 0;   // of `small`
        float norm = 0;  // |q|
        float lost = 0;  // |q - step * small|
        void prepare(const float* q, std::size_t padded);
    };
    struct Estimated {
        float distance = 0;  // in the cells' space: |o - q|^2, or -<o, q>
        float error = 0;     // at most so far from the truth
    };
    [[nodiscard]] Estimated estimate(const Query& query, std::size_t i) const;
    // Of out.size() rows from `first` on.
    static constexpr std::size_t most_together = 64;
    void estimates(const Query& query, std::size_t first, std::span<Estimated> out) const;
    [[nodiscard]] float distance(const Query& query, std::size_t i) const;
    // Of the distance's error, which is about normal, as the rest of a rotated vector points anywhere.
    [[nodiscard]] float deviation(const Query& query, std::size_t i) const;

    [[nodiscard]] std::size_t bytes() const override {
        return sizeof(*this) + positions_.size() * 4 + rowids_.size() * 12 + rows_.size();
    }

  private:
    // Behind a row's nibbles, so that it comes with the same lines of memory.
    struct Factors {
        float scale;
        float square;    // |o|^2
        float residual;  // |e|, rounded up
        float unused;
    };
    [[nodiscard]] std::int32_t product(const Query& query, const std::byte* row) const;
    [[nodiscard]] static float inner(const Query& query, std::int32_t product, const Factors& factors);
    [[nodiscard]] Estimated estimated(const Query& query, std::int32_t product, const Factors& factors) const;
    [[nodiscard]] Factors factors(const std::byte* row) const;

    std::size_t padded_;
    std::size_t stride_;
    Estimate kind_;
    std::vector<std::int32_t> positions_;  // empty where the first slots are the live ones
    std::vector<std::int64_t> rowids_;
    std::vector<std::uint32_t> slots_;
    AlignedBytes rows_;  // nibbles and factors
};

}  // namespace vss
