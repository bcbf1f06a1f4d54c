#include "slot_codes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "vector_value.h"

namespace vss {
namespace {

// The step of a uniform 4-bit quantiser that loses least on a normal distribution of deviation 1.
constexpr float best_step = 0.335F;
constexpr float middle = 7.5F;
constexpr float infinity = std::numeric_limits<float>::infinity();
// Covers the float32 rounding of rotation and sums, relative to the norms.
constexpr float rounding = 1e-5F;

}  // namespace

SlotCodes::SlotCodes(const CellSpace& space, ElementType type, const Segment& segment, std::uint64_t first_slot,
                     std::size_t segment_slots)
    : padded_(space.padded()), stride_(padded_ / 2 + sizeof(Factors)), kind_(space.estimate()) {
    const CodeKernels& kernels = code_kernels();
    const std::size_t n = segment.size();
    if (n > 0 && segment.slots.back() - first_slot != n - 1) {
        positions_.assign(segment_slots, -1);
    }
    rowids_ = segment.rowids;
    slots_ = segment.slots;
    rows_ = AlignedBytes(n * stride_);
    std::vector<float> raw(space.dim());
    std::vector<float> x(padded_);
    std::vector<std::uint8_t> levels(padded_);
    std::vector<float> centered(padded_);
    for (std::size_t i = 0; i < n; ++i) {
        if (!positions_.empty()) {
            positions_[segment.slots[i] - first_slot] = static_cast<std::int32_t>(i);
        }
        decode_vector(type, segment.row(i), space.dim(), raw.data());
        const bool whole = space.enter(raw.data(), x.data());
        const float square = kernels.dot(x.data(), x.data(), padded_);
        const float step = best_step * std::sqrt(square / static_cast<float>(padded_));
        kernels.quantize(x.data(), step > 0 ? 1 / step : 0, middle, 0, 15, padded_, levels.data());
        auto* out = reinterpret_cast<std::uint8_t*>(rows_.data() + i * stride_);
        for (std::size_t j = 0; j < padded_; j += 64) {
            for (std::size_t b = 0; b < 32; ++b) {
                out[j / 2 + b] = static_cast<std::uint8_t>(levels[j + b] | levels[j + 32 + b] << 4);
            }
        }
        for (std::size_t j = 0; j < padded_; ++j) {
            centered[j] = static_cast<float>(levels[j]) - middle;
        }
        const float scale =
            kernels.dot(x.data(), centered.data(), padded_) / kernels.dot(centered.data(), centered.data(), padded_);
        kernels.add_scaled(x.data(), centered.data(), -scale, padded_);
        const float residual = std::sqrt(kernels.dot(x.data(), x.data(), padded_)) + rounding * std::sqrt(square);
        const Factors made{scale, square, whole ? residual : infinity, 0};
        std::memcpy(out + padded_ / 2, &made, sizeof made);
    }
}

void SlotCodes::Query::prepare(const float* q, std::size_t padded) {
    const CodeKernels& kernels = code_kernels();
    const float most = kernels.largest(q, padded);
    step = most / 127;
    small.resize(padded);
    kernels.quantize(q, most > 0 ? 127 / most : 0, 0, -127, 127, padded, reinterpret_cast<std::uint8_t*>(small.data()));
    std::int32_t total = 0;
    double rest = 0;
    for (std::size_t i = 0; i < padded; ++i) {
        total += small[i];
        const double lost_here = static_cast<double>(q[i]) - static_cast<double>(step) * small[i];
        rest += lost_here * lost_here;
    }
    sum = static_cast<float>(total);
    norm = std::sqrt(kernels.dot(q, q, padded));
    lost = static_cast<float>(std::sqrt(rest)) + rounding * norm;
}

SlotCodes::Factors SlotCodes::factors(const std::byte* row) const {
    Factors out{};
    std::memcpy(&out, row + padded_ / 2, sizeof out);
    return out;
}

std::int32_t SlotCodes::product(const Query& query, const std::byte* row) const {
    return code_kernels().dot_u4(reinterpret_cast<const std::uint8_t*>(row), query.small.data(), padded_);
}

float SlotCodes::inner(const Query& query, std::int32_t product, const Factors& factors) {
    return factors.scale * query.step * (static_cast<float>(product) - middle * query.sum);
}

float SlotCodes::distance(const Query& query, std::size_t i) const {
    const std::byte* row = rows_.data() + i * stride_;
    const Factors of = factors(row);
    const float inner_product = inner(query, product(query, row), of);
    return kind_ == Estimate::product ? -inner_product : of.square + query.norm * query.norm - 2 * inner_product;
}

float SlotCodes::deviation(const Query& query, std::size_t i) const {
    const Factors of = factors(rows_.data() + i * stride_);
    const float error =
        (of.residual * query.norm + std::sqrt(of.square) * query.lost) / std::sqrt(static_cast<float>(padded_));
    return kind_ == Estimate::product ? error : 2 * error;
}

SlotCodes::Estimated SlotCodes::estimated(const Query& query, std::int32_t product, const Factors& factors) const {
    const float inner_product = inner(query, product, factors);
    float error = factors.residual * query.norm + std::sqrt(factors.square) * query.lost;
    error = error == error ? error : infinity;  // nothing is known where either is infinite
    if (kind_ == Estimate::product) {
        return {-inner_product, error};
    }
    const float squares = factors.square + query.norm * query.norm;
    return {squares - 2 * inner_product, 2 * error + rounding * squares};
}

SlotCodes::Estimated SlotCodes::estimate(const Query& query, std::size_t i) const {
    const std::byte* row = rows_.data() + i * stride_;
    return estimated(query, product(query, row), factors(row));
}

void SlotCodes::estimates(const Query& query, std::size_t first, std::span<Estimated> out) const {
    std::array<std::int32_t, most_together> products;
    const std::byte* rows = rows_.data() + first * stride_;
    code_kernels().dots_u4(reinterpret_cast<const std::uint8_t*>(rows), stride_, out.size(), query.small.data(),
                           padded_, products.data());
    for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = estimated(query, products[i], factors(rows + i * stride_));
    }
}

}  // namespace vss
