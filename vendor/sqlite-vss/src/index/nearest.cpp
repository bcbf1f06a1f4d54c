#include "index/nearest.h"

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"

namespace vss {
namespace {

constexpr std::size_t settle_at_least = 1024;

}  // namespace

DistanceKernels scan_kernels(ElementType type, Metric metric) {
    const bool by_norms = type == ElementType::float32 && metric == Metric::cosine;
    return distance_kernels(type, by_norms ? Metric::inner_product : metric);
}

Nearest::Nearest(ElementType type, Metric metric, std::size_t dim, const std::byte* query, std::size_t k,
                 const RowFilter& filter)
    : metric_(metric), exact_(type, metric, query, dim), k_(k), filter_(filter) {
    // Summing n products in float32, in any order, is off by at most n * 2^-24 of the sum of their magnitudes.
    rounding_ = static_cast<float>(dim + 32) * std::ldexp(1.0F, -24);
    if (type != ElementType::bit) {
        const std::vector<std::byte> origin(vector_bytes(type, dim));
        const double norm = std::sqrt(exact_distance(type, Metric::l2, query, origin.data(), dim));
        query_norm_ = static_cast<float>(norm);
        is_extreme_ = is_extreme_norm(metric, norm * norm);
    }
    limit_ = k > std::numeric_limits<std::size_t>::max() / 4 ? k : std::max(2 * k, k + 64);
}

float Nearest::slack(float distance) const {
    switch (metric_) {
        case Metric::inner_product:
            return 2.001F * rounding_ * query_norm_ * largest_norm_ + std::numeric_limits<float>::min();
        case Metric::cosine: return 4 * rounding_;
        case Metric::hamming: return 0;
        default: break;
    }
    return 2 * rounding_ * distance + std::numeric_limits<float>::min();
}

void Nearest::offer(float distance, std::int64_t rowid, const std::byte* vector) {
    if (!filter_.passes(rowid)) {
        return;
    }
    if (filter_.distance_above != -std::numeric_limits<double>::infinity() ||
        filter_.distance_below != std::numeric_limits<double>::infinity()) {
        // Bounds speak of the reported distance.
        add_exact(rowid, vector);
        return;
    }
    candidates_.push_back({{distance, rowid}, false, vector});
    if (candidates_.size() >= limit_) {
        prune();
    }
}

void Nearest::add(const Segment& segment, const float* kernel_distances) {
    if (segment.largest_norm > largest_norm_) {
        // The threshold rested on a smaller slack.
        largest_norm_ = segment.largest_norm;
        threshold_ = std::numeric_limits<float>::infinity();
        prune();
    }
    if (is_extreme_ || segment.is_extreme) {
        // What kernels say may be infinite, not a number or zero.
        for (std::size_t i = 0; i < segment.size(); ++i) {
            if (filter_.passes(segment.rowids[i])) {
                add_exact(segment.rowids[i], segment.row(i));
            }
        }
        return;
    }
    const bool cosine = !segment.inverse_norms.empty();
    const float inverse_query = query_norm_ > 0 ? 1.0F / query_norm_ : 0.0F;
    for (std::size_t i = 0; i < segment.size(); ++i) {
        const float distance =
            cosine ? 1.0F + kernel_distances[i] * segment.inverse_norms[i] * inverse_query : kernel_distances[i];
        if (distance <= threshold_) {
            offer(distance, segment.rowids[i], segment.row(i));
        }
    }
    // The segment may be gone after this call, so what is left of it is measured now.
    prune();
    measure();
}

void Nearest::add_exact(std::int64_t rowid, const std::byte* vector) {
    const Neighbor at = Neighbor::at(exact_.to(vector), rowid);
    if (!filter_.passes_distance(at.reported()) || at.distance > threshold_) {
        return;
    }
    candidates_.push_back({at, true, nullptr});
    if (candidates_.size() >= limit_) {
        prune();
    }
}

// Drops what cannot be among the k nearest whatever the rounding.
void Nearest::prune() {
    if (candidates_.size() <= k_) {
        return;
    }
    if (k_ == 0) {
        candidates_.clear();
        threshold_ = -std::numeric_limits<float>::infinity();
        return;
    }
    const auto by_distance = [](const Candidate& a, const Candidate& b) { return a.at.distance < b.at.distance; };
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(k_ - 1), candidates_.end(),
                     by_distance);
    const float kth = candidates_[k_ - 1].at.distance;
    threshold_ = std::min(threshold_, kth + slack(kth));
    std::erase_if(candidates_, [this](const Candidate& c) { return c.at.distance > threshold_; });
    if (candidates_.size() >= limit_ - limit_ / 4) {
        settle();
    }
}

void Nearest::measure() {
    for (Candidate& candidate : candidates_) {
        if (!candidate.exact) {
            candidate.at = Neighbor::at(exact_.to(candidate.vector), candidate.at.rowid);
            candidate.exact = true;
            candidate.vector = nullptr;
        }
    }
}

// Keeps the k nearest by exact distance and rowid: many are within rounding of the k-th.
void Nearest::settle() {
    measure();
    std::sort(candidates_.begin(), candidates_.end(),
              [](const Candidate& a, const Candidate& b) { return a.at < b.at; });
    if (candidates_.size() > k_) {
        candidates_.resize(k_);
    }
    if (candidates_.size() == k_ && k_ > 0) {
        const float kth = candidates_.back().at.distance;
        threshold_ = std::min(threshold_, kth + slack(kth));
    }
    limit_ = std::max(limit_, std::max(2 * k_, k_ + settle_at_least));
}

std::vector<Neighbor> Nearest::finish() {
    prune();
    settle();
    std::vector<Neighbor> out;
    out.reserve(candidates_.size());
    for (const Candidate& candidate : candidates_) {
        out.push_back(candidate.at);
    }
    candidates_.clear();
    return out;
}

}  // namespace vss
