// Arguments from Python that several bindings of embedding take, checked.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "embedding/bert_encoder.h"
#include "embedding/pooling.h"

namespace vss::bindings {

using Int32s = pybind11::array_t<std::int32_t, pybind11::array::c_style>;
using Int64s = pybind11::array_t<std::int64_t, pybind11::array::c_style>;

inline std::vector<embedding::Pooling> pooling_modes(const std::vector<int>& numbers) {
    std::vector<embedding::Pooling> modes;
    modes.reserve(numbers.size());
    for (const int number : numbers) {
        if (number < 0 || number >= embedding::kPoolingModes) {
            throw pybind11::value_error("unknown pooling mode " + std::to_string(number));
        }
        modes.push_back(static_cast<embedding::Pooling>(number));
    }
    return modes;
}

// Throws if a value is not below the limit.
inline void check_below(const Int32s& values, std::size_t limit, const char* what) {
    for (pybind11::ssize_t i = 0; i < values.shape(0); ++i) {
        const std::int32_t value = values.data()[i];
        if (value < 0 || static_cast<std::size_t>(value) >= limit) {
            throw pybind11::index_error(what + std::to_string(value) + " is not among the model's " +
                                        std::to_string(limit));
        }
    }
}

// Where each text's tokens begin among `ids`, and the end of the last, as BertEncoder::encode takes them.
inline std::vector<std::size_t> text_starts(const embedding::BertSizes& sizes, const Int32s& ids,
                                            const Int64s& lengths) {
    if (ids.ndim() != 1 || lengths.ndim() != 1) {
        throw pybind11::value_error("ids and lengths must have one dimension");
    }
    std::vector<std::size_t> starts{0};
    starts.reserve(static_cast<std::size_t>(lengths.shape(0)) + 1);
    for (pybind11::ssize_t i = 0; i < lengths.shape(0); ++i) {
        const std::int64_t length = lengths.data()[i];
        if (length < 1 || static_cast<std::size_t>(length) > sizes.positions) {
            throw pybind11::value_error("a text has " + std::to_string(length) + " tokens; expected 1 to " +
                                        std::to_string(sizes.positions));
        }
        starts.push_back(starts.back() + static_cast<std::size_t>(length));
    }
    if (starts.back() != static_cast<std::size_t>(ids.shape(0))) {
        throw pybind11::value_error("lengths add up to " + std::to_string(starts.back()) + ", not to the " +
                                    std::to_string(ids.shape(0)) + " ids");
    }
    check_below(ids, sizes.vocabulary, "token ");
    return starts;
}

}  // namespace vss::bindings
