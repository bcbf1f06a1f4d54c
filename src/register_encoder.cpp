// Python's way to the BERT encoder: checks shapes and token ids, lets go of the GIL, calls src/embedding.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "embedding/bert_encoder.h"
#include "embedding/encoder_levels.h"
#include "encoder_arguments.h"
#include "gil.h"

namespace py = pybind11;

namespace {

using vss::bindings::Int32s;
using vss::bindings::Int64s;
using vss::embedding::BertEncoder;
using vss::embedding::BertLayerWeights;
using vss::embedding::BertSizes;
using vss::embedding::BertWeights;
using vss::embedding::EncoderKernels;
using FloatArray = py::array_t<float, py::array::c_style>;

constexpr std::size_t kBefore = 5;      // arrays before the layers: words, positions, types, gamma, beta
constexpr std::size_t kEachLayer = 16;  // six Linears and two norms, two arrays each
constexpr std::size_t kWidestWindow = std::size_t{1} << 24U;

std::size_t extent(const FloatArray& array, py::ssize_t axis) {
    if (array.ndim() <= axis) {
        throw py::value_error("a weight has too few dimensions");
    }
    return static_cast<std::size_t>(array.shape(axis));
}

// Hands out the arrays in order, each checked against the shape that it must have.
class Reader {
  public:
    explicit Reader(const std::vector<FloatArray>& arrays) : arrays_(arrays) {}

    const float* matrix(std::size_t rows, std::size_t columns) { return take({rows, columns}); }
    const float* vector(std::size_t size) { return take({size}); }
    vss::embedding::LinearWeights linear(std::size_t outputs, std::size_t inputs) {
        const float* const weight = matrix(outputs, inputs);
        return {weight, vector(outputs)};
    }
    vss::embedding::NormWeights norm(std::size_t size) {
        const float* const gamma = vector(size);
        return {gamma, vector(size)};
    }
    // A norm, or none where its two arrays are empty.
    vss::embedding::NormWeights norm_or_none(std::size_t size) {
        if (next_ + 1 < arrays_.size() && arrays_[next_].size() == 0 && arrays_[next_ + 1].size() == 0) {
            next_ += 2;
            return {};
        }
        return norm(size);
    }

  private:
    const float* take(const std::vector<std::size_t>& shape) {
        const FloatArray& array = arrays_.at(next_);
        bool same = static_cast<std::size_t>(array.ndim()) == shape.size();
        for (std::size_t axis = 0; same && axis < shape.size(); ++axis) {
            same = extent(array, static_cast<py::ssize_t>(axis)) == shape[axis];
        }
        if (!same) {
            throw py::value_error("weight " + std::to_string(next_) + " has another shape than its place asks for");
        }
        ++next_;
        return array.data();
    }

    const std::vector<FloatArray>& arrays_;
    std::size_t next_ = 0;
};

vss::embedding::Precision precision_of(std::string_view name) {
    if (name == "float32") {
        return vss::embedding::Precision::float32;
    }
    if (name != "bfloat16") {
        throw py::value_error("precision must be float32 or bfloat16, not " + std::string(name));
    }
    return vss::embedding::Precision::bfloat16;
}

std::optional<vss::embedding::Gate> gate_of(std::string_view name) {
    if (name.empty()) {
        return std::nullopt;
    }
    if (name == "gelu") {
        return vss::embedding::Gate::gelu;
    }
    if (name == "silu") {
        return vss::embedding::Gate::silu;
    }
    throw py::value_error("gate must be gelu, silu or empty, not " + std::string(name));
}

// For each layer the number of its rotation, and how far its tokens look.
using LayerKinds = std::vector<std::pair<std::size_t, std::size_t>>;

BertSizes sizes_of(const std::vector<FloatArray>& arrays, std::size_t heads, float epsilon, bool norms_first,
                   const std::optional<FloatArray>& rotations) {
    const std::size_t before = kBefore + (norms_first ? 2 : 0);
    if (arrays.size() < before + kEachLayer || (arrays.size() - before) % kEachLayer != 0) {
        throw py::value_error("expected " + std::to_string(before) + " arrays and 16 for each layer, got " +
                              std::to_string(arrays.size()));
    }
    BertSizes sizes;
    sizes.vocabulary = extent(arrays[0], 0);
    sizes.hidden = extent(arrays[0], 1);
    sizes.positions = extent(arrays[1], 0);
    sizes.types = extent(arrays[2], 0);
    sizes.heads = heads;
    sizes.layers = (arrays.size() - before) / kEachLayer;
    sizes.inner = extent(arrays[kBefore + 12], 1);
    sizes.epsilon = epsilon;
    if (rotations.has_value()) {
        if (sizes.positions != 0) {
            throw py::value_error("a model with rotations has no table of positions");
        }
        sizes.positions = extent(*rotations, 1);
    }
    if (!sizes.fit()) {
        throw py::value_error("these sizes do not fit the encoder");
    }
    if (rotations.has_value() &&
        (rotations->ndim() != 3 || extent(*rotations, 0) == 0 || extent(*rotations, 2) != sizes.hidden / sizes.heads)) {
        throw py::value_error("rotations must be (kinds, positions, head size)");
    }
    return sizes;
}

std::unique_ptr<BertEncoder> make_encoder(const std::vector<FloatArray>& arrays, std::size_t heads, float epsilon,
                                          const std::string& level, const std::string& precision,
                                          const std::optional<FloatArray>& distances, const std::string& gate,
                                          bool norms_first, const std::optional<FloatArray>& rotations,
                                          const LayerKinds& kinds) {
    const BertSizes sizes = sizes_of(arrays, heads, epsilon, norms_first, rotations);
    Reader reader(arrays);
    BertWeights weights;
    weights.gate = gate_of(gate);
    weights.norms_first = norms_first;
    weights.words = reader.matrix(sizes.vocabulary, sizes.hidden);
    const float* const positions = reader.matrix(rotations.has_value() ? 0 : sizes.positions, sizes.hidden);
    if (rotations.has_value()) {
        weights.rotations = rotations->data();
        weights.rotation_kinds = extent(*rotations, 0);
    } else {
        weights.positions = positions;
    }
    weights.types = reader.matrix(sizes.types, sizes.hidden);
    weights.embedded = reader.norm(sizes.hidden);
    if (!kinds.empty() && kinds.size() != sizes.layers) {
        throw py::value_error("expected a kind for each of " + std::to_string(sizes.layers) + " layers, got " +
                              std::to_string(kinds.size()));
    }
    for (std::size_t i = 0; i < sizes.layers; ++i) {
        BertLayerWeights layer;
        for (auto* linear : {&layer.query, &layer.key, &layer.value, &layer.output}) {
            *linear = reader.linear(sizes.hidden, sizes.hidden);
        }
        layer.attention_norm = norms_first ? reader.norm_or_none(sizes.hidden) : reader.norm(sizes.hidden);
        layer.wide = reader.linear((weights.gate.has_value() ? 2 : 1) * sizes.inner, sizes.hidden);
        layer.narrow = reader.linear(sizes.hidden, sizes.inner);
        layer.inner_norm = reader.norm(sizes.hidden);
        if (!kinds.empty()) {
            std::tie(layer.rotation, layer.window) = kinds[i];
        }
        if (layer.window > kWidestWindow || (rotations.has_value() && layer.rotation >= weights.rotation_kinds)) {
            throw py::value_error("layer " + std::to_string(i) + " has a kind that the model has not");
        }
        weights.layers.push_back(layer);
    }
    if (norms_first) {
        weights.last = reader.norm(sizes.hidden);
    }
    if (distances.has_value()) {
        if (distances->ndim() != 2 || extent(*distances, 0) != heads ||
            extent(*distances, 1) != 2 * sizes.positions - 1) {
            throw py::value_error("distances must be (heads, 2 positions - 1)");
        }
        weights.distances = distances->data();
    }
    if (distances.has_value() && std::any_of(weights.layers.begin(), weights.layers.end(),
                                             [](const BertLayerWeights& layer) { return layer.window != 0; })) {
        throw py::value_error("distances and windows together are not supported");
    }
    const EncoderKernels& kernels = vss::embedding::encoder_kernels(level, precision_of(precision));
    const vss::bindings::ReleasedGil unlocked;
    return std::make_unique<BertEncoder>(sizes, weights, kernels);
}

FloatArray encode(const BertEncoder& encoder, const Int32s& ids, const Int64s& lengths,
                  const std::optional<Int32s>& types, std::size_t threads) {
    const BertSizes& sizes = encoder.sizes();
    const std::vector<std::size_t> starts = vss::bindings::text_starts(sizes, ids, lengths);
    const std::int32_t* const values = ids.data();
    const std::int32_t* kinds = nullptr;
    if (types.has_value()) {
        if (types->ndim() != 1 || types->shape(0) != ids.shape(0)) {
            throw py::value_error("types must have one value for each id");
        }
        vss::bindings::check_below(*types, sizes.types, "token type ");
        kinds = types->data();
    }
    FloatArray out({starts.back(), sizes.hidden});
    float* const rows = out.mutable_data();
    const vss::bindings::ReleasedGil unlocked;
    encoder.encode(values, kinds, starts.data(), starts.size() - 1, rows, threads);
    return out;
}

}  // namespace

void register_encoder(py::module_& module) {
    py::class_<BertEncoder>(module, "BertEncoder")
        .def(py::init(&make_encoder), py::arg("arrays"), py::arg("heads"), py::arg("epsilon"), py::arg("level"),
             py::arg("precision") = "float32", py::arg("distances").noconvert() = py::none(), py::arg("gate") = "",
             py::arg("norms_first") = false, py::arg("rotations").noconvert() = py::none(),
             py::arg("layers") = LayerKinds())
        .def("encode", &encode, py::arg("ids").noconvert(), py::arg("lengths").noconvert(),
             py::arg("types").noconvert() = py::none(), py::arg("threads") = 1,
             "Token vectors, float32 (tokens, hidden), of texts whose int32 ids stand one text after the other, "
             "computed "
             "by up to so many threads.");
    module.def("encoder_levels", &vss::embedding::encoder_levels,
               "Levels of kernels that can be used here, the best one last.");
    module.def(
        "fastest_level",
        [](std::string_view precision) { return vss::embedding::fastest_level(precision_of(precision)); },
        py::arg("precision"), "The level that takes the least time for products of this precision.");
    module.def("encoder_models", &vss::embedding::encoder_models,
               "Models of instructions that the machine may lack, usable as levels.");
}
