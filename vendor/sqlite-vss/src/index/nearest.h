// The k nearest candidates of one query, by reported distance and then rowid. No SQLite in here.
//
// Kernels sum in float32, in an order that depends on the machine. So candidates are kept with a slack that covers
// the rounding, and the kept ones are measured again in double precision, in one fixed order (exact_distance): the
// result is the same on every machine and equal to brute force in double precision, rounded to float32 at the end.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/types.h"
#include "index/filter.h"
#include "kernels/kernels.h"
#include "storage/segment.h"

namespace vss {

struct Neighbor {
    float distance = 0;
    std::int64_t rowid = 0;
    // The distance where a float cannot tell it from others, as it is too large or too small; else 0.
    double beyond = 0;

    [[nodiscard]] static Neighbor at(double distance, std::int64_t rowid) {
        const auto rounded = static_cast<float>(distance);
        return {rounded, rowid, std::isnormal(rounded) ? 0 : distance};
    }
    [[nodiscard]] double reported() const { return beyond != 0 ? beyond : distance; }
    // Nearer first; equal distances by rowid.
    friend bool operator<(const Neighbor& a, const Neighbor& b) {
        if (a.distance != b.distance) {
            return a.distance < b.distance;
        }
        return a.beyond < b.beyond || (a.beyond == b.beyond && a.rowid < b.rowid);
    }
    friend bool operator==(const Neighbor&, const Neighbor&) = default;
};

// The kernels that fill `kernel_distances` of Nearest::add. For cosine on float32 that is the inner product, which the
// norms kept with the segment turn into a distance.
[[nodiscard]] DistanceKernels scan_kernels(ElementType type, Metric metric);

class Nearest {
  public:
    // `query`: the bytes of one vector of the given type, which must outlive this object.
    Nearest(ElementType type, Metric metric, std::size_t dim, const std::byte* query, std::size_t k,
            const RowFilter& filter);

    // The rows of a segment with their distances by kernel: scan_kernels() of this type and metric.
    void add(const Segment& segment, const float* kernel_distances);
    // One vector, measured exactly at once.
    void add_exact(std::int64_t rowid, const std::byte* vector);
    // The result, ascending; the object is spent.
    [[nodiscard]] std::vector<Neighbor> finish();

    [[nodiscard]] float query_norm() const { return query_norm_; }

  private:
    struct Candidate {
        Neighbor at;  // by kernel, or exact
        bool exact;
        const std::byte* vector;  // nullptr once exact
    };

    [[nodiscard]] float slack(float distance) const;
    void offer(float distance, std::int64_t rowid, const std::byte* vector);
    void prune();
    void measure();
    void settle();

    Metric metric_;
    ExactDistance exact_;
    std::size_t k_;
    const RowFilter& filter_;
    float query_norm_ = 0;
    bool is_extreme_ = false;  // the query: kernels cannot be trusted with it
    float largest_norm_ = 0;
    float rounding_ = 0;
    float threshold_ = std::numeric_limits<float>::infinity();
    std::size_t limit_ = 0;
    std::vector<Candidate> candidates_;
};

}  // namespace vss
