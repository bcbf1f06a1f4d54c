#include "storage/segment.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/kernels.h"

namespace vss {

bool is_extreme_norm(Metric metric, double square) {
    constexpr double longest = 1e34;
    constexpr double shortest = 1e-24;
    return !(square <= longest) || (metric == Metric::cosine && square < shortest);
}

void finish_segment(ElementType type, Metric metric, std::size_t dim, Segment& segment) {
    const bool has_exponents = type == ElementType::float32 || type == ElementType::bfloat16;
    const bool by_norms = metric == Metric::cosine || metric == Metric::inner_product;
    if (!by_norms && has_exponents) {
        // The largest element tells enough; its sign aside, its bits order as it does.
        const std::size_t n = segment.size() * dim;
        std::uint32_t most = 0;
        if (type == ElementType::float32) {
            const auto* bits = reinterpret_cast<const std::uint32_t*>(segment.rows.data());
            for (std::size_t i = 0; i < n; ++i) {
                most = std::max(most, bits[i] & 0x7FFFFFFFU);
            }
        } else {
            const auto* bits = reinterpret_cast<const std::uint16_t*>(segment.rows.data());
            for (std::size_t i = 0; i < n; ++i) {
                most = std::max(most, (bits[i] & 0x7FFFU) << 16);
            }
        }
        const double largest = std::bit_cast<float>(most);
        segment.is_extreme = is_extreme_norm(metric, largest * largest * static_cast<double>(dim));
    }
    if (!by_norms) {
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
        segment.is_extreme |= has_exponents && is_extreme_norm(metric, square);
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
