// The live rows of one segment, decoded: what an exact search scans. No SQLite in here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/aligned_bytes.h"
#include "base/cache.h"
#include "base/types.h"

namespace vss {

struct Segment final : CacheEntry {
    std::vector<std::int64_t> rowids;  // of the live rows, by slot
    std::vector<std::uint32_t> slots;
    AlignedBytes rows;  // vectors, `stride` bytes apart
    std::size_t stride = 0;
    float largest_norm = 0;            // cosine, inner product: of the Euclidean norms
    std::vector<float> inverse_norms;  // cosine on float32: 1 / |row|
    bool is_extreme = false;           // float32 kernels cannot be trusted with some of the rows

    [[nodiscard]] std::size_t size() const { return rowids.size(); }
    [[nodiscard]] const std::byte* row(std::size_t i) const { return rows.data() + i * stride; }
    [[nodiscard]] std::size_t bytes() const override {
        return sizeof(*this) + rows.size() + rowids.size() * 12 + inverse_norms.size() * 4;
    }
};

// A segment whose rows are decoded some at a time. Its version says whether they still are the segment's.
struct SegmentPart {
    std::shared_ptr<Segment> rows;
    std::uint64_t next_block = 0;
};

// Whether a vector of that squared norm is so long, or under cosine so short, that float32 sums of squares or products
// overflow, or lose what they should tell.
[[nodiscard]] bool is_extreme_norm(Metric metric, double square);

// Computes what is derived from the rows: largest_norm, inverse_norms, is_extreme.
void finish_segment(ElementType type, Metric metric, std::size_t dim, Segment& segment);

}  // namespace vss
