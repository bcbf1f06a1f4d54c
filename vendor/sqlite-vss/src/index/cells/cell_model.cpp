#include "index/cells/cell_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace vss {
namespace {

// What is supposed of cosines weighs as much as so many rows.
constexpr double supposed_rows = 48;

}  // namespace

// Peter Acklam's rational approximation; its relative error is below 1.2e-9.
double normal_quantile(double chance) {
    chance = std::clamp(chance, 1e-12, 0.5);
    if (chance < 0.02425) {
        const double q = std::sqrt(-2 * std::log(chance));
        return -(((((-7.784894002430293e-03 * q - 3.223964580411365e-01) * q - 2.400758277161838e+00) * q -
                   2.549732539343734e+00) *
                      q +
                  4.374664141464968e+00) *
                     q +
                 2.938163982698783e+00) /
               ((((7.784695709041462e-03 * q + 3.224671290700398e-01) * q + 2.445134137142996e+00) * q +
                 3.754408661907416e+00) *
                    q +
                1);
    }
    const double q = 0.5 - chance;
    const double r = q * q;
    return (((((-3.969683028665376e+01 * r + 2.209460984245205e+02) * r - 2.759285104469687e+02) * r +
              1.383577518672690e+02) *
                 r -
             3.066479806614716e+01) *
                r +
            2.506628277459239e+00) *
           q /
           (((((-5.447609879822406e+01 * r + 1.615858368580409e+02) * r - 1.556989798598866e+02) * r +
              6.680131188771972e+01) *
                 r -
             1.328068155288572e+01) *
                r +
            1);
}

// rescale = -2 |r|^2 / <r, x> (half of it for products), <r, x> = |r| |x| cos, |x| = sqrt(padded) / 2.
float radius_per_rescale(Estimate estimate, std::size_t padded) {
    const float root = std::sqrt(static_cast<float>(padded));
    return sign_cosine * root / (estimate == Estimate::l2 ? 4 : 2);
}

void measure_radii(const CodeBlocks& codes, Estimate estimate, std::size_t padded, CellInfo& info) {
    const double factor = radius_per_rescale(estimate, padded);
    double count = 0;
    double sum = 0;
    double squares = 0;
    double most = 0;
    for (std::size_t b = 0; b < codes.blocks(); ++b) {
        std::array<std::uint32_t, block_rows> entries;
        std::array<float, block_rows> rescale;
        std::memcpy(entries.data(), codes.block(b), sizeof entries);
        std::memcpy(rescale.data(), codes.block(b) + 8 * block_rows, sizeof rescale);
        for (std::size_t i = 0; i < std::min(block_rows, codes.size() - b * block_rows); ++i) {
            if ((entries[i] & second_copy) == 0) {
                const double r = factor * std::abs(static_cast<double>(rescale[i]));
                ++count;
                sum += r;
                squares += r * r;
                most = std::max(most, r);
            }
        }
    }
    info.radius = info.spread = info.farthest = 0;
    if (count > 0 && std::isfinite(squares)) {
        const double mean = sum / count;
        // The cosine of the signs varies too.
        const double blur = sign_tangent / std::sqrt(static_cast<double>(padded));
        const double variance = squares / count - mean * mean - mean * blur * mean * blur;
        info.radius = std::max(static_cast<float>(mean), 1e-30F);
        info.spread = static_cast<float>(std::sqrt(std::max(variance, 0.0)));
        // Farther out than that error explains.
        constexpr auto far = static_cast<double>(far_deviations);
        if (most > (1 + far * blur) * (mean + far * static_cast<double>(info.spread))) {
            info.farthest = static_cast<float>(most);
        }
    }
}

void MissModel::use(const CellDirectory& directory) {
    const std::size_t n = (directory.size() + 7) / 8 * 8;
    for (std::vector<float>* of : {&norms_, &radii_, &spreads_, &farthest_, &rows_}) {
        of->assign(n, 0);
    }
    for (std::uint32_t cell = 0; cell < directory.size(); ++cell) {
        const CellInfo& info = directory.info(cell);
        norms_[cell] = info.norm;
        // Where nothing is known of them any row may be near: what is not a number counts in full.
        radii_[cell] = info.radius > 0 ? info.radius : std::numeric_limits<float>::quiet_NaN();
        spreads_[cell] = info.spread;
        farthest_[cell] = info.farthest;
        rows_[cell] = info.version != 0 ? static_cast<float>(info.primaries) : 0;
    }
    smallest_share_ = std::numeric_limits<float>::infinity();
    for (std::size_t i = 0; i < n; ++i) {
        if (rows_[i] > 0 && norms_[i] > 0) {
            smallest_share_ = std::min(smallest_share_, radii_[i] / norms_[i]);
        }
    }
}

void MissModel::begin(const CellSpace& space, const CodeQuery& query, std::span<const float> scores) {
    estimate_ = space.estimate();
    padded_ = space.padded();
    radius_factor_ = radius_per_rescale(estimate_, padded_);
    query_norm_ = std::sqrt(query.square);
    place_error_ = CellDirectory::product_deviation(query);
    sums_ = {};
    told_ = {};
    // What a score (CellDirectory::measure) says of the place.
    const bool l2 = estimate_ == Estimate::l2;
    place_ = space.is_spherical() ? std::array<float, 4>{l2 ? query.square : 0, l2 ? 1.0F : 0, l2 ? 2.0F : 1.0F, 0}
                                  : std::array<float, 4>{l2 ? query.square : 0, 0, 0, 1};
    offsets_.assign(norms_.size(), far_);
    counted_ = rows_;
    if (!scores.empty()) {
        scores_.assign(norms_.size(), 0);
        std::copy_n(scores.begin(), std::min(scores.size(), scores_.size()), scores_.begin());
        code_kernels().place_cells(scores_.data(), norms_.data(), norms_.size(), place_.data(), offsets_.data());
    }
}

void MissModel::place(const RankedCell& at) {
    if (at.square >= 0 && estimate_ == Estimate::l2) {
        offsets_[at.cell] = at.square;
        return;
    }
    const float norm = norms_[at.cell];
    offsets_[at.cell] = place_[0] + place_[1] * norm * norm + at.score * (place_[2] * norm + place_[3]);
}

CosineTerms MissModel::terms(float offset, float slack, float shift) const {
    const bool l2 = estimate_ == Estimate::l2;
    const float length = l2 ? 2 * std::sqrt(std::max(offset, 0.0F)) : query_norm_;
    return {radius_factor_, offset, l2 ? 1.0F : 0.0F, length > 0 ? 1 / length : 0, slack, shift};
}

bool MissModel::seen(double& mean, double& variance) const {
    if (!(told_.count > 1)) {
        return false;
    }
    const auto count = static_cast<double>(told_.count);
    mean = told_.first / count;
    // The error of estimates, and that of r.
    const double error = sign_tangent * sign_tangent / static_cast<double>(padded_);
    variance = std::max(told_.second / count - mean * mean - error * (1 + told_.blur / count), 0.0);
    return true;
}

void MissModel::end_cell() {
    const CosineSums cell = sums_;
    sums_ = {};
    if (!(cell.count > 0)) {
        return;
    }
    // Rows of a cell that lie in the same direction, as copies of one do, say no more than one row.
    constexpr float much_alike = 0.25F;
    const float mean = cell.first / cell.count;
    const float error = sign_tangent * sign_tangent / static_cast<float>(padded_);
    const float variance =
        std::max(cell.second / cell.count - mean * mean - error * (1 + cell.blur / cell.count), 0.0F);
    const float weight = variance < much_alike * variance_ ? std::max(variance / variance_, 1 / cell.count) : 1;
    told_.count += weight * cell.count;
    told_.first += weight * cell.first;
    told_.second += weight * cell.second;
    told_.blur += weight * cell.blur;
}

double MissModel::rows_until(const Expected& expected, double per_cell, double cells) const {
    struct Alike {
        double cells = 0;
        double expected = 0;
        double rows = 0;
    };
    // By powers of two of what is expected.
    constexpr std::size_t kinds = 64;
    constexpr int highest = 24;
    std::array<Alike, kinds> alike = {};
    for (std::size_t i = 0; i < expected.rows.size(); ++i) {
        const float rows = expected.rows[i];
        if (rows > 0 && offsets_[i] < far_) {
            const int power = std::isfinite(rows) ? std::ilogb(rows) : highest;
            Alike& kind = alike[static_cast<std::size_t>(std::clamp(highest - power, 0, static_cast<int>(kinds) - 1))];
            ++kind.cells;
            kind.expected += static_cast<double>(rows);
            kind.rows += static_cast<double>(counted_[i]);
        }
    }
    double left = expected.left;
    double out = 0;
    for (const Alike& kind : alike) {
        if (kind.cells == 0) {
            continue;
        }
        // left - x expected = per_cell (cells + x kind.cells), x the part of these cells that is scanned.
        const double part = std::clamp((left - per_cell * cells) / (kind.expected + per_cell * kind.cells), 0.0, 1.0);
        out += part * kind.rows;
        left -= part * kind.expected;
        cells += part * kind.cells;
        if (part < 1) {
            break;
        }
    }
    return out;
}

void MissModel::expect(float limit, Expected& out) {
    double mean = mean_;
    double variance = variance_;
    double mean_here = 0;
    double variance_here = 0;
    if (seen(mean_here, variance_here)) {
        const double weight = told_.count / (told_.count + supposed_rows);
        mean += weight * (mean_here - mean);
        variance += weight * (variance_here - variance);
    }
    variance = std::max(variance, 0.05 / static_cast<double>(padded_));
    const bool l2 = estimate_ == Estimate::l2;
    const ChanceTerms terms{limit, l2 ? 1.0F : 0.0F, query_norm_ > 0 ? 1 / query_norm_ : 0, static_cast<float>(mean),
                            static_cast<float>(1 / std::sqrt(variance))};
    // Rows close around a centroid, as copies of one are, are as near as the centroid, whose place is not known
    // exactly: as if they were spread so far. The longer a centroid, the less its place is known.
    const float length = l2 ? std::sqrt(std::max(limit, 0.0F)) : query_norm_;
    const float least = length > 0 ? place_error_ / (length * static_cast<float>(std::sqrt(variance))) : 0;
    const float least_share = std::isfinite(least) ? least : 0;
    if (out.looked_at.empty()) {
        const float* radii = radii_.data();
        if (smallest_share_ < least_share) {
            blurred_.resize(radii_.size());
            for (std::size_t i = 0; i < radii_.size(); ++i) {
                blurred_[i] = blurred(i, least_share);
            }
            radii = blurred_.data();
        }
        out.rows.resize(norms_.size());
        out.left =
            code_kernels().expect_near({offsets_.data(), radii, spreads_.data(), farthest_.data(), counted_.data()},
                                       norms_.size(), terms, out.rows.data());
        choose_likely(out);
    } else {
        out.left = expect_of_chosen(terms, least_share, out);
    }
    out.whole = out.left;
    out.limit = limit;
}

// Most is expected in few cells. The many others are far from the query and much alike in it: what a sample of them
// lets expect, beside what it did, is what all of them do.
void MissModel::choose_likely(Expected& out) const {
    constexpr std::size_t few_cells = 512;
    constexpr std::size_t others_per_sample = 8;
    if (out.rows.size() < few_cells || !std::isfinite(out.left)) {
        return;
    }
    const auto mean = static_cast<float>(out.left / static_cast<double>(out.rows.size()));
    // Without a branch for each cell, as none could be foretold.
    std::size_t found = 0;
    out.looked_at.resize(out.rows.size() + out.rows.size() / others_per_sample + 1);
    for (std::uint32_t cell = 0; cell < out.rows.size(); ++cell) {
        out.looked_at[found] = cell;
        found += out.rows[cell] >= mean ? 1U : 0U;
    }
    out.likely = found;
    for (std::uint32_t cell = 0; cell < out.rows.size(); cell += others_per_sample) {
        out.looked_at[found] = cell;
        found += out.rows[cell] < mean && out.rows[cell] > 0 ? 1U : 0U;
    }
    out.looked_at.resize(found);
}

// Of a cell's rows from their centroid, at least so large a share of the centroid's length.
float MissModel::blurred(std::size_t cell, float least_share) const {
    const float least = least_share * norms_[cell];
    return radii_[cell] < least ? least : radii_[cell];  // what is not a number stays
}

float MissModel::expect_of_chosen(const ChanceTerms& terms, float least_share, Expected& out) {
    const std::size_t n = out.looked_at.size();
    auto& [offsets, radii, spreads, farthest, rows, expected] = chosen_;
    for (std::vector<float>& of : chosen_) {
        of.assign((n + 7) / 8 * 8, 0);
    }
    double sampled_before = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint32_t cell = out.looked_at[i];
        offsets[i] = offsets_[cell];
        radii[i] = blurred(cell, least_share);
        spreads[i] = spreads_[cell];
        farthest[i] = farthest_[cell];
        rows[i] = offsets[i] < far_ ? counted_[cell] : 0;
        if (i < out.likely) {
            out.rows[cell] = 0;
        } else {
            sampled_before += static_cast<double>(out.rows[cell]);
        }
    }
    code_kernels().expect_near({offsets.data(), radii.data(), spreads.data(), farthest.data(), rows.data()},
                               rows.size(), terms, expected.data());
    double likely = 0;
    double sampled = 0;
    for (std::size_t i = 0; i < n; ++i) {
        (i < out.likely ? likely : sampled) += static_cast<double>(expected[i]);
    }
    const auto changed = static_cast<float>(sampled_before > 0 ? sampled / sampled_before : 1);
    constexpr std::size_t lanes = 8;
    std::array<float, lanes> others = {};
    for (std::size_t i = 0; i < out.rows.size(); i += lanes) {  // a multiple of 8
        for (std::size_t lane = 0; lane < lanes; ++lane) {
            out.rows[i + lane] *= changed;
            others[lane] += out.rows[i + lane];
        }
    }
    for (std::size_t i = 0; i < n; ++i) {
        out.rows[out.looked_at[i]] = expected[i];
    }
    return static_cast<float>(likely) + std::accumulate(others.begin(), others.end(), 0.0F);
}

}  // namespace vss
