#include "segment.h"

#include <algorithm>
#include <cmath>

#include "kernels.h"

namespace vss {

void finish_segment(ElementType type, Metric metric, std::size_t dim, Segment& segment) {
    if (metric != Metric::cosine && metric != Metric::inner_product) {
        return;
    }
    // A row's squared norm is its squared distance from the origin, which is all zero bits in every element type.
    const std::vector<std::byte> origin(vector_bytes(type, dim));
    std::vector<float> squares(segment.size());
    distance_kernels(type, Metric::l2)
        .one(origin.data(), segment.rows.data(), segment.stride, segment.size(), dim, squares.data());
    float largest = 0;
    for (const float square : squares) {
        largest = std::max(largest, square);
    }
    segment.largest_norm = std::sqrt(largest);
    if (metric == Metric::cosine && type == ElementType::float32) {
        segment.inverse_norms.resize(segment.size());
        for (std::size_t i = 0; i < segment.size(); ++i) {
            segment.inverse_norms[i] = squares[i] > 0 ? 1.0F / std::sqrt(squares[i]) : 0.0F;
        }
    }
}

}  // namespace vss
