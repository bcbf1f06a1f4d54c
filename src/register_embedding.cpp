// Python's way to pooling and normalization: checks shapes, lets go of the GIL, calls src/embedding.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "embedding/pooling.h"
#include "encoder_arguments.h"
#include "gil.h"

namespace py = pybind11;

namespace {

using vss::bindings::Int32s;
using vss::bindings::Int64s;
using vss::embedding::TokenVectors;
using Floats = py::array_t<float, py::array::c_style>;

// The rows of `out` that the batch is written to, checked against its shape.
struct Target {
    float* values;
    std::size_t width;
    const std::int64_t* rows;
    std::size_t count;

    Target(Floats& out, const Int64s& targets, std::size_t batch)
        : values(nullptr), width(0), rows(targets.data()), count(batch) {
        if (out.ndim() != 2 || !out.writeable()) {
            throw py::value_error("out must be a writable float32 matrix");
        }
        if (targets.ndim() != 1 || static_cast<std::size_t>(targets.shape(0)) != batch) {
            throw py::value_error("targets must name one row of out for each text");
        }
        for (std::size_t i = 0; i < batch; ++i) {
            if (rows[i] < 0 || rows[i] >= out.shape(0)) {
                throw py::index_error("target row " + std::to_string(rows[i]) + " is not in out");
            }
        }
        values = out.mutable_data();
        width = static_cast<std::size_t>(out.shape(1));
    }

    [[nodiscard]] float* row(std::size_t i) const { return values + static_cast<std::size_t>(rows[i]) * width; }
};

// Where each text's tokens are: (batch, sequence, hidden), padded, or (tokens, hidden), one text after the other.
std::vector<TokenVectors> texts_of(const Floats& hidden, const Int64s& lengths, std::size_t skip) {
    const bool padded = hidden.ndim() == 3;
    if ((!padded && hidden.ndim() != 2) || lengths.ndim() != 1 || (padded && lengths.shape(0) != hidden.shape(0))) {
        throw py::value_error("hidden must be (batch, sequence, hidden) or (tokens, hidden), and lengths (batch,)");
    }
    const auto size = static_cast<std::size_t>(hidden.shape(padded ? 2 : 1));
    const auto rows = static_cast<std::size_t>(hidden.shape(padded ? 1 : 0));
    std::vector<TokenVectors> texts;
    texts.reserve(static_cast<std::size_t>(lengths.shape(0)));
    std::size_t start = 0;  // in the text's padded rows, or in all rows
    const float* values = hidden.data();
    for (py::ssize_t i = 0; i < lengths.shape(0); ++i) {
        const std::int64_t length = lengths.data()[i];
        if (length < 1 || static_cast<std::size_t>(length) > rows - start) {
            throw py::value_error("a length must be from 1 to the " + std::to_string(rows - start) + " rows there are");
        }
        const auto tokens = static_cast<std::size_t>(length);
        texts.push_back({values, tokens, skip, size});
        values += (padded ? rows : tokens) * size;
        start += padded ? 0 : tokens;
    }
    if (!padded && start != rows) {
        throw py::value_error("lengths add up to " + std::to_string(start) + ", not to the " + std::to_string(rows) +
                              " rows of hidden");
    }
    return texts;
}

bool pool_tokens(const Floats& hidden, const Int64s& lengths, std::size_t skip, const std::vector<int>& modes,
                 bool normalize, Floats& out, const Int64s& targets) {
    const std::vector<TokenVectors> texts = texts_of(hidden, lengths, skip);
    const auto size = static_cast<std::size_t>(hidden.shape(hidden.ndim() - 1));
    const std::vector<vss::embedding::Pooling> poolings = vss::bindings::pooling_modes(modes);
    const Target target(out, targets, texts.size());
    // Fewer columns than the pooled vector has: the first ones are kept (Matryoshka).
    if (target.width == 0 || target.width > size * poolings.size()) {
        throw py::value_error("out is wider than the pooled vectors");
    }
    const vss::embedding::Finish finish{poolings, skip, normalize};
    const vss::bindings::ReleasedGil unlocked;
    std::vector<float> pooled;
    bool finite = true;
    for (std::size_t i = 0; i < texts.size(); ++i) {
        finite = finish.write(texts[i], pooled, target.row(i), target.width) && finite;
    }
    return finite;
}

bool finish_rows(const Floats& vectors, bool normalize, Floats& out, const Int64s& targets) {
    if (vectors.ndim() != 2) {
        throw py::value_error("vectors must be (batch, size)");
    }
    const auto batch = static_cast<std::size_t>(vectors.shape(0));
    const auto size = static_cast<std::size_t>(vectors.shape(1));
    const Target target(out, targets, batch);
    if (target.width == 0 || target.width > size) {
        throw py::value_error("out is wider than the vectors");
    }
    const float* values = vectors.data();
    const vss::bindings::ReleasedGil unlocked;
    bool finite = true;
    for (std::size_t i = 0; i < batch; ++i) {
        float* row = target.row(i);
        std::copy_n(values + i * size, target.width, row);
        if (normalize) {
            vss::embedding::normalize(row, target.width);
        }
        finite = finite && vss::embedding::all_finite(row, target.width);
    }
    return finite;
}

void mean_of_rows(const Floats& table, const Int32s& ids, const Int64s& lengths, bool normalize, Floats& out) {
    if (table.ndim() != 2 || ids.ndim() != 1 || lengths.ndim() != 1) {
        throw py::value_error("table must be (rows, width), ids (tokens,), lengths (texts,)");
    }
    if (out.ndim() != 2 || !out.writeable() || out.shape(0) != lengths.shape(0) || out.shape(1) < 1 ||
        out.shape(1) > table.shape(1)) {
        throw py::value_error("out must be writable, a row for each text, no wider than the table");
    }
    for (py::ssize_t i = 0; i < ids.shape(0); ++i) {
        if (ids.data()[i] < 0 || ids.data()[i] >= table.shape(0)) {
            throw py::index_error("token " + std::to_string(ids.data()[i]) + " is not among the table's " +
                                  std::to_string(table.shape(0)) + " rows");
        }
    }
    std::int64_t left = ids.shape(0);
    for (py::ssize_t i = 0; i < lengths.shape(0); ++i) {
        if (lengths.data()[i] < 0 || lengths.data()[i] > left) {
            throw py::value_error("lengths do not add up to the ids there are");
        }
        left -= lengths.data()[i];
    }
    const auto width = static_cast<std::size_t>(table.shape(1));
    const auto kept = static_cast<std::size_t>(out.shape(1));
    const std::int32_t* next = ids.data();
    float* row = out.mutable_data();
    const auto texts = static_cast<std::size_t>(lengths.shape(0));
    const std::int64_t* const counts = lengths.data();
    const float* const rows = table.data();
    const vss::bindings::ReleasedGil unlocked;
    std::vector<float> mean(width);
    for (std::size_t text = 0; text < texts; ++text, row += kept) {
        const auto count = static_cast<std::size_t>(counts[text]);
        vss::embedding::mean_of_rows(rows, width, next, count, mean.data());
        next += count;
        if (normalize) {
            vss::embedding::normalize(mean.data(), kept);
        }
        std::copy_n(mean.data(), kept, row);
    }
}

}  // namespace

void register_embedding(py::module_& module) {
    module.def("mean_of_rows", &mean_of_rows, py::arg("table").noconvert(), py::arg("ids").noconvert(),
               py::arg("lengths").noconvert(), py::arg("normalize"), py::arg("out").noconvert(),
               "Write the mean of the rows of float32 (rows, width) that each text's int32 ids name, the ids one text\n"
               "after the other, into the rows of `out`, cut to its width; zeros for a text without ids.");
    module.def(
        "pool_tokens", &pool_tokens, py::arg("hidden").noconvert(), py::arg("lengths").noconvert(), py::arg("skip"),
        py::arg("modes"), py::arg("normalize"), py::arg("out").noconvert(), py::arg("targets").noconvert(),
        "Pool float32 (batch, sequence, hidden) or (tokens, hidden) token vectors into rows `targets` of `out`,\n"
        "cut to its width.\n"
        "Returns whether every value written is finite.");
    module.def("finish_rows", &finish_rows, py::arg("vectors").noconvert(), py::arg("normalize"),
               py::arg("out").noconvert(), py::arg("targets").noconvert(),
               "Copy float32 (batch, size) vectors into rows `targets` of `out`, cut to its width and normalized.\n"
               "Returns whether every value written is finite.");
}
