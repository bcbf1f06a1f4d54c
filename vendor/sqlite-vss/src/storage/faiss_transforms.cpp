#include "storage/faiss_transforms.h"

#include <algorithm>
#include <cmath>

namespace vss {

void Transform::undo(const std::vector<float>& from, std::vector<float>& to) const {
    to.assign(in, 0);
    if (is_linear) {
        // The transposed matrix: right for rows of length 1 at right angles, which are checked when reading.
        for (std::size_t o = 0; o < out; ++o) {
            const float value = from[o] - (bias.empty() ? 0 : float_at(bias, o));
            for (std::size_t i = 0; i < in; ++i) {
                to[i] += value * float_at(matrix, o * in + i);
            }
        }
    } else {
        to = from;
        for (std::size_t i = 0; i < in && !center.empty(); ++i) {
            to[i] += float_at(center, i);
        }
    }
}

bool Transform::has_orthonormal_rows() const {
    // Some pairs of rows are enough: what is written was made by PCA or a rotation.
    const auto dot = [&](std::size_t a, std::size_t b) {
        double sum = 0;
        for (std::size_t i = 0; i < in; ++i) {
            sum += double{float_at(matrix, a * in + i)} * double{float_at(matrix, b * in + i)};
        }
        return sum;
    };
    constexpr double tolerance = 1e-3;
    for (std::size_t row = 0; row < out; ++row) {
        if (!(std::abs(dot(row, row) - 1) < tolerance) || !(std::abs(row == 0 ? 0 : dot(row, row - 1)) < tolerance)) {
            return false;
        }
    }
    return true;
}

void TransformedVectors::read(std::size_t i, float* out) const {
    std::vector<float> now(inner_->dim());
    std::vector<float> before;
    inner_->read(i, now.data());
    for (auto transform = transforms_.rbegin(); transform != transforms_.rend(); ++transform) {
        transform->undo(now, before);
        now.swap(before);
    }
    std::copy(now.begin(), now.end(), out);
}

}  // namespace vss
