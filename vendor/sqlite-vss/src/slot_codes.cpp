#include "slot_codes.h"

#include <algorithm>
#include <cmath>

#include "vector_value.h"

namespace vss {
namespace {

// The step of a uniform 4-bit quantiser that loses least on a normal distribution of deviation 1.
constexpr float best_step = 0.335F;
constexpr float middle = 7.5F;
// Covers the float32 rounding of rotation and sums, relative to the norms.
constexpr float rounding = 1e-5F;

}  // namespace

SlotCodes::SlotCodes(const CellSpace& space, ElementType type, const Segment& segment, std::uint64_t first_slot,
                     std::size_t segment_slots)
    : padded_(space.padded()), kind_(space.estimate()) {
    const CodeKernels& kernels = code_kernels();
    const std::size_t n = segment.size();
    positions_.assign(segment_slots, -1);
    rowids_ = segment.rowids;
    slots_ = segment.slots;
    scales_.resize(n);
    squares_.resize(n);
    residuals_.resize(n);
    nibbles_ = AlignedBytes(n * (padded_ / 2));
    std::vector<float> raw(space.dim());
    std::vector<float> x(padded_);
    std::vector<std::uint8_t> levels(padded_);
    std::vector<float> centered(padded_);
    for (std::size_t i = 0; i < n; ++i) {
        positions_[segment.slots[i] - first_slot] = static_cast<std::int32_t>(i);
        decode_vector(type, segment.row(i), space.dim(), raw.data());
        space.enter(raw.data(), x.data());
        const float square = kernels.dot(x.data(), x.data(), padded_);
        squares_[i] = square;
        const float step = best_step * std::sqrt(square / static_cast<float>(padded_));
        kernels.quantize(x.data(), step > 0 ? 1 / step : 0, middle, 0, 15, padded_, levels.data());
        auto* out = reinterpret_cast<std::uint8_t*>(nibbles_.data() + i * (padded_ / 2));
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
        scales_[i] = scale;
        kernels.add_scaled(x.data(), centered.data(), -scale, padded_);
        residuals_[i] = std::sqrt(kernels.dot(x.data(), x.data(), padded_)) + rounding * std::sqrt(square);
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

SlotCodes::Estimated SlotCodes::estimate(const Query& query, std::size_t i) const {
    const auto* row = reinterpret_cast<const std::uint8_t*>(nibbles_.data() + i * (padded_ / 2));
    const auto product = static_cast<float>(code_kernels().dot_u4(row, query.small.data(), padded_));
    const float inner = scales_[i] * query.step * (product - middle * query.sum);
    const float norm = std::sqrt(squares_[i]);
    const float error = residuals_[i] * query.norm + norm * query.lost;
    if (kind_ == Estimate::product) {
        return {-inner, error};
    }
    return {squares_[i] + query.norm * query.norm - 2 * inner,
            2 * error + rounding * (squares_[i] + query.norm * query.norm)};
}

}  // namespace vss
