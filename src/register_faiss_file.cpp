// Vectors out of files of faiss.write_index, by the core's own reader.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "vss0.h"

namespace py = pybind11;

namespace {

struct Close {
    void operator()(vss0_faiss* file) const { vss0_faiss_close(file); }
};

class FaissFile {
  public:
    explicit FaissFile(py::buffer bytes) : bytes_(std::move(bytes)), info_(bytes_.request()) {
        if (info_.itemsize != 1 || info_.ndim != 1 || (info_.size > 0 && info_.strides[0] != 1)) {
            throw std::invalid_argument("expected the file's bytes, one after the other");
        }
        constexpr std::size_t longest = 500;
        std::string message(longest, '\0');
        file_.reset(vss0_faiss_open(info_.ptr, static_cast<std::size_t>(info_.size), message.data(), message.size()));
        if (file_ == nullptr) {
            throw std::invalid_argument(message.c_str());
        }
    }

    [[nodiscard]] std::size_t size() const { return vss0_faiss_size(file_.get()); }
    [[nodiscard]] std::size_t dim() const { return vss0_faiss_dim(file_.get()); }
    [[nodiscard]] int metric() const { return vss0_faiss_metric(file_.get()); }
    [[nodiscard]] bool is_lossy() const { return vss0_faiss_is_lossy(file_.get()) != 0; }

    [[nodiscard]] py::array_t<std::int64_t> ids() const {
        py::array_t<std::int64_t> out(static_cast<py::ssize_t>(size()));
        vss0_faiss_ids(file_.get(), out.mutable_data());
        return out;
    }
    [[nodiscard]] py::array_t<float> vectors(std::size_t first, std::size_t count) const {
        if (first > size() || count > size() - first) {
            throw std::out_of_range("expected rows that the file has");
        }
        py::array_t<float> out({static_cast<py::ssize_t>(count), static_cast<py::ssize_t>(dim())});
        float* to = out.mutable_data();
        if (vss0_faiss_vectors(file_.get(), first, count, to) != 0) {
            throw std::bad_alloc();
        }
        return out;
    }

  private:
    py::buffer bytes_;
    py::buffer_info info_;  // of them, kept while it is used
    std::unique_ptr<vss0_faiss, Close> file_;
};

}  // namespace

void register_faiss_file(py::module_& module) {
    py::class_<FaissFile>(module, "FaissFile")
        .def(py::init<py::buffer>(), py::arg("content"))
        .def("__len__", &FaissFile::size)
        .def_property_readonly("dim", &FaissFile::dim)
        .def_property_readonly("metric", &FaissFile::metric)
        .def_property_readonly("lossy", &FaissFile::is_lossy)
        .def("ids", &FaissFile::ids)
        .def("vectors", &FaissFile::vectors, py::arg("first"), py::arg("count"));
}
