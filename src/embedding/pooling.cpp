#include "pooling.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace vss::embedding {

namespace {

constexpr float kShortest = 1e-12F;

void sum(const TokenVectors& text, bool weighted, float* out) {
    std::fill_n(out, text.hidden, 0.0F);
    for (std::size_t token = text.skip; token < text.tokens; ++token) {
        const float* row = text.values + token * text.hidden;
        // A token's weight is its place in the text, the prompt counted.
        const float weight = weighted ? static_cast<float>(token + 1) : 1.0F;
        for (std::size_t i = 0; i < text.hidden; ++i) {
            out[i] += weight * row[i];
        }
    }
}

void scale(float* values, std::size_t count, float divisor) {
    for (std::size_t i = 0; i < count; ++i) {
        values[i] /= divisor;
    }
}

void largest(const TokenVectors& text, float* out) {
    std::copy_n(text.values + text.skip * text.hidden, text.hidden, out);
    for (std::size_t token = text.skip + 1; token < text.tokens; ++token) {
        const float* row = text.values + token * text.hidden;
        for (std::size_t i = 0; i < text.hidden; ++i) {
            // Written so that NaN stays: all_finite must see it.
            out[i] = out[i] >= row[i] ? out[i] : row[i];
        }
    }
}

float total_weight(const TokenVectors& text, bool weighted) {
    double total = 0.0;
    for (std::size_t token = text.skip; token < text.tokens; ++token) {
        total += weighted ? static_cast<double>(token + 1) : 1.0;
    }
    return static_cast<float>(total);
}

}  // namespace

void pool(const TokenVectors& text, Pooling mode, float* out) {
    if (text.tokens == 0 || text.skip >= text.tokens) {
        std::fill_n(out, text.hidden, 0.0F);
        return;
    }
    switch (mode) {
        case Pooling::cls: std::copy_n(text.values + text.skip * text.hidden, text.hidden, out); return;
        case Pooling::lasttoken: std::copy_n(text.values + (text.tokens - 1) * text.hidden, text.hidden, out); return;
        case Pooling::max: largest(text, out); return;
        case Pooling::mean:
            sum(text, false, out);
            scale(out, text.hidden, total_weight(text, false));
            return;
        case Pooling::mean_sqrt_len_tokens:
            sum(text, false, out);
            scale(out, text.hidden, std::sqrt(total_weight(text, false)));
            return;
        case Pooling::weightedmean:
            sum(text, true, out);
            scale(out, text.hidden, total_weight(text, true));
            return;
    }
}

void mean_of_rows(const float* table, std::size_t width, const std::int32_t* ids, std::size_t count, float* out) {
    std::fill_n(out, width, 0.0F);
    for (std::size_t token = 0; token < count; ++token) {
        const float* const row = table + static_cast<std::size_t>(ids[token]) * width;
        for (std::size_t i = 0; i < width; ++i) {
            out[i] += row[i];
        }
    }
    scale(out, width, static_cast<float>(std::max<std::size_t>(count, 1)));
}

void normalize(float* values, std::size_t count) {
    double squares = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
        squares += static_cast<double>(values[i]) * values[i];
    }
    scale(values, count, std::max(static_cast<float>(std::sqrt(squares)), kShortest));
}

bool all_finite(const float* values, std::size_t count) {
    // By the exponent's bits: holds under any compiler option that lets comparisons with NaN go.
    constexpr std::uint32_t kExponent = 0x7F800000U;
    return std::none_of(values, values + count,
                        [](float value) { return (std::bit_cast<std::uint32_t>(value) & kExponent) == kExponent; });
}

bool Finish::write(const TokenVectors& text, std::vector<float>& pooled, float* out, std::size_t width) const {
    pooled.resize(modes.size() * text.hidden);
    for (std::size_t mode = 0; mode < modes.size(); ++mode) {
        pool(text, modes[mode], pooled.data() + mode * text.hidden);
    }
    if (normalize) {
        embedding::normalize(pooled.data(), width);
    }
    std::copy_n(pooled.data(), width, out);
    return all_finite(out, width);
}

}  // namespace vss::embedding
