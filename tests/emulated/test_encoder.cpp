// The encoder's levels against each other: plain encoders and those with gates, rotations and windows. Built and run by
// tools/emulate_arm.sh for a processor that is not this machine's; tests/unit/test_embedding_encoder.py has more, for
// the machine's own.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "embedding/bert_encoder.h"
#include "embedding/encoder_levels.h"

using namespace vss::embedding;

namespace {

struct Form {
    std::optional<Gate> gate;
    bool norms_first;
    bool rotated;
    std::size_t window;
};

constexpr std::size_t kHidden = 32;
constexpr std::size_t kInner = 400;  // no multiple of a block
constexpr std::size_t kHeads = 2;
constexpr std::size_t kPositions = 256;
constexpr std::size_t kVocabulary = 40;
constexpr std::size_t kLayers = 2;

// Weights that live as long as the encoder is made.
class Model {
  public:
    explicit Model(const Form& form) : form_(form) {
        sizes_ = {kVocabulary, kPositions, kHidden, kHeads, kInner, kLayers, 2, 1e-12F};
        weights_.words = some(kVocabulary * kHidden, 1.0F);
        weights_.types = some(2 * kHidden, 0.2F);
        if (form.rotated) {
            weights_.rotations = angles();
            weights_.rotation_kinds = 1;
        } else {
            weights_.positions = some(kPositions * kHidden, 0.2F);
        }
        weights_.gate = form.gate;
        weights_.norms_first = form.norms_first;
        weights_.embedded = norm();
        weights_.last = form.norms_first ? norm() : NormWeights{};
        for (std::size_t i = 0; i < kLayers; ++i) {
            BertLayerWeights layer;
            for (auto* one : {&layer.query, &layer.key, &layer.value, &layer.output}) {
                *one = linear(kHidden, kHidden);
            }
            layer.attention_norm = form.norms_first && i == 0 ? NormWeights{} : norm();
            layer.wide = linear((form.gate.has_value() ? 2 : 1) * kInner, kHidden);
            layer.narrow = linear(kHidden, kInner);
            layer.inner_norm = norm();
            layer.window = i == 0 ? 0 : form.window;
            weights_.layers.push_back(layer);
        }
    }

    std::vector<float> encode(const std::string& level, Precision precision) const {
        const BertEncoder encoder(sizes_, weights_, encoder_kernels(level, precision));
        const std::vector<std::size_t> lengths{1, 7, 17, 195};
        std::vector<std::size_t> starts{0};
        for (const std::size_t length : lengths) {
            starts.push_back(starts.back() + length);
        }
        std::vector<std::int32_t> ids(starts.back());
        std::mt19937 random(3);
        std::generate(ids.begin(), ids.end(), [&] { return static_cast<std::int32_t>(random() % kVocabulary); });
        std::vector<float> out(ids.size() * kHidden);
        encoder.encode(ids.data(), nullptr, starts.data(), lengths.size(), out.data());
        return out;
    }

  private:
    const float* some(std::size_t count, float scale, float around = 0.0F) {
        std::normal_distribution<float> normal(around, scale);
        kept_.emplace_back(count);
        std::generate(kept_.back().begin(), kept_.back().end(), [&] { return normal(random_); });
        return kept_.back().data();
    }
    LinearWeights linear(std::size_t outputs, std::size_t inputs) {
        const float* const weight = some(outputs * inputs, 2.0F / std::sqrt(static_cast<float>(inputs)));
        return {weight, some(outputs, 0.1F)};
    }
    NormWeights norm() {
        const float* const gamma = some(kHidden, 0.1F, 1.0F);
        return {gamma, some(kHidden, 0.1F)};
    }
    const float* angles() {
        constexpr std::size_t kSize = kHidden / kHeads;
        std::vector<float> found(kPositions * kSize);
        for (std::size_t position = 0; position < kPositions; ++position) {
            for (std::size_t i = 0; i < kSize / 2; ++i) {
                const double turned =
                    static_cast<double>(position) * std::pow(100.0, -2.0 * static_cast<double>(i) / kSize);
                found[position * kSize + i] = static_cast<float>(std::cos(turned));
                found[position * kSize + kSize / 2 + i] = static_cast<float>(std::sin(turned));
            }
        }
        kept_.push_back(std::move(found));
        return kept_.back().data();
    }

    Form form_;
    std::mt19937 random_{7};
    std::vector<std::vector<float>> kept_;
    BertSizes sizes_;
    BertWeights weights_;
};

const Form kForms[] = {{std::nullopt, false, false, 0},
                       {Gate::silu, false, true, 0},
                       {Gate::gelu, true, true, 20},
                       {Gate::gelu, true, true, 1}};

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    double largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double off = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
        largest = off <= largest ? largest : off;  // NaN stays
    }
    return largest;
}

double mean_difference(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        sum += std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    }
    return sum / static_cast<double>(a.size());
}

}  // namespace

TEST_CASE("the level that is asked for is the best one here") {
    std::string all;
    for (const std::string& level : encoder_levels()) {
        all += " " + level;
    }
    MESSAGE("levels:" << all);
    if (const char* const expected = std::getenv("EXPECTED_LEVEL"); expected != nullptr) {
        CHECK(encoder_levels().back() == expected);
    }
}

TEST_CASE("float32 products give the scalar level's vectors") {
    for (const Form& form : kForms) {
        const Model model(form);
        const std::vector<float> exact = model.encode("scalar", Precision::float32);
        for (const std::string& level : encoder_levels()) {
            CAPTURE(level);
            CHECK(largest_difference(model.encode(level, Precision::float32), exact) < 1e-4);
        }
    }
}

TEST_CASE("bfloat16 products are those of rounded values") {
    for (const Form& form : kForms) {
        const Model model(form);
        const std::vector<float> exact = model.encode("scalar", Precision::float32);
        const std::vector<float> rounded = model.encode("pairs model", Precision::bfloat16);
        for (const std::string& level : encoder_levels()) {
            if (level.find("bf16") == std::string::npos) {
                continue;
            }
            CAPTURE(level);
            const std::vector<float> ours = model.encode(level, Precision::bfloat16);
            CHECK(mean_difference(ours, rounded) < 2e-3);
            // It is really bfloat16: far from float32's own errors, near to what 8 bits give.
            CHECK(mean_difference(ours, exact) > 5e-4);
            CHECK(mean_difference(ours, exact) < 3e-2);
        }
    }
}
