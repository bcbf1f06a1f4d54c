// Python's way to many texts' vectors at once: checks the arguments, and lets go of the GIL for as long as there is
// work.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "embedding/bert_encoder.h"
#include "embedding/encoder_run.h"
#include "encoder_arguments.h"
#include "gil.h"

namespace py = pybind11;

namespace {

using vss::bindings::Int32s;
using vss::bindings::Int64s;
using vss::embedding::BertEncoder;
using vss::embedding::EncoderBatches;
using vss::embedding::EncoderRun;
using vss::embedding::EncoderTexts;
using vss::embedding::Finish;
using Floats = py::array_t<float, py::array::c_style>;

EncoderBatches batches_of(const std::vector<Int64s>& positions, std::size_t texts) {
    EncoderBatches batches;
    std::vector<bool> named(texts);
    for (const Int64s& some : positions) {
        if (some.ndim() != 1) {
            throw py::value_error("a batch must name texts");
        }
        for (py::ssize_t i = 0; i < some.shape(0); ++i) {
            const std::int64_t text = some.data()[i];
            if (text < 0 || static_cast<std::size_t>(text) >= texts || named[static_cast<std::size_t>(text)]) {
                throw py::index_error("batches must name each text once, from 0 on");
            }
            named[static_cast<std::size_t>(text)] = true;
            batches.order.push_back(static_cast<std::size_t>(text));
        }
        batches.ends.push_back(batches.order.size());
    }
    if (batches.order.size() != texts) {
        throw py::index_error("batches must name each text once, from 0 on");
    }
    return batches;
}

std::unique_ptr<EncoderRun> make_run(const BertEncoder& encoder, const Int32s& ids, const Int64s& lengths,
                                     const std::vector<Int64s>& batches, std::size_t skip,
                                     const std::vector<int>& modes, bool normalize, Floats& out, std::size_t threads) {
    EncoderTexts texts{ids.data(), vss::bindings::text_starts(encoder.sizes(), ids, lengths)};
    const std::size_t count = texts.starts.size() - 1;
    Finish finish{vss::bindings::pooling_modes(modes), skip, normalize};
    if (out.ndim() != 2 || !out.writeable() || static_cast<std::size_t>(out.shape(0)) != count) {
        throw py::value_error("out must be a writable float32 matrix with a row for each text");
    }
    const auto width = static_cast<std::size_t>(out.shape(1));
    // Fewer columns than the pooled vector has: the first ones are kept (Matryoshka).
    if (width == 0 || width > encoder.sizes().hidden * finish.modes.size()) {
        throw py::value_error("out is wider than the pooled vectors");
    }
    return std::make_unique<EncoderRun>(encoder, std::move(texts), batches_of(batches, count), std::move(finish),
                                        out.mutable_data(), width, threads);
}

}  // namespace

void register_encoder_run(py::module_& module) {
    py::class_<EncoderRun>(module, "EncoderRun")
        .def(py::init(&make_run), py::arg("encoder"), py::arg("ids").noconvert(), py::arg("lengths").noconvert(),
             py::arg("batches").noconvert(), py::arg("skip"), py::arg("modes"), py::arg("normalize"),
             py::arg("out").noconvert(), py::arg("threads") = 1, py::keep_alive<1, 2>(), py::keep_alive<1, 3>(),
             py::keep_alive<1, 9>())
        .def("work", &EncoderRun::work, py::arg("most") = 0, py::call_guard<vss::bindings::ReleasedGil>(),
             "Compute batches on this thread until none is left, or `most` are done; False if none is left.")
        .def("stop", &EncoderRun::stop, "Let nobody begin another batch.")
        .def_property_readonly("done", &EncoderRun::done, "Texts whose vectors are there.")
        .def_property_readonly("finite", &EncoderRun::finite, "Whether every value so far is finite.");
}
