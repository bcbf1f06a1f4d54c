// numpy arrays as buffers that SQL statements name by ticket (vendor/sqlite-vss/include/vss0.h), without a copy.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <new>
#include <stdexcept>
#include <utility>

#include "vss0.h"

namespace py = pybind11;

namespace {

// Keeps the arrays alive, and the ticket valid, until released.
class Ticket {
  public:
    Ticket(std::int64_t number, py::object owned) : number_(number), owned_(std::move(owned)) {
        if (number_ == 0) {
            throw std::bad_alloc();
        }
    }
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;
    ~Ticket() { release(); }

    void release() {
        if (number_ != 0) {
            vss0_release(std::exchange(number_, 0));
            owned_ = py::none();
        }
    }
    [[nodiscard]] std::int64_t number() const { return number_; }

  private:
    std::int64_t number_;
    py::object owned_;
};

// A two-dimensional array whose rows are contiguous, whatever lies between them.
struct Rows {
    const void* data;
    std::size_t n;
    std::size_t row_bytes;
    std::size_t stride;
};

Rows rows_of(const py::array& array, const char* name) {
    if (array.ndim() != 2) {
        throw std::invalid_argument(std::string(name) + ": expected two dimensions");
    }
    const auto n = static_cast<std::size_t>(array.shape(0));
    const auto row_bytes = static_cast<std::size_t>(array.shape(1) * array.itemsize());
    const bool contiguous = array.shape(1) <= 1 || array.strides(1) == array.itemsize();
    if (!contiguous || (n > 1 && array.strides(0) < 0)) {
        throw std::invalid_argument(std::string(name) + ": expected contiguous rows in ascending order");
    }
    return {array.data(), n, row_bytes, n > 1 ? static_cast<std::size_t>(array.strides(0)) : row_bytes};
}

using Ids = py::array_t<std::int64_t, py::array::c_style>;
using Distances = py::array_t<float, py::array::c_style>;

std::unique_ptr<Ticket> register_rows(const Ids& ids, const py::object& matrix) {
    if (ids.ndim() != 1) {
        throw std::invalid_argument("ids: expected one dimension");
    }
    const auto n = static_cast<std::size_t>(ids.shape(0));
    Rows rows{nullptr, n, 0, 0};
    if (!matrix.is_none()) {
        rows = rows_of(matrix.cast<py::array>(), "matrix");
        if (rows.n != n) {
            throw std::invalid_argument("ids and matrix differ in length");
        }
    }
    return std::make_unique<Ticket>(vss0_register_rows(ids.data(), rows.data, n, rows.row_bytes, rows.stride),
                                    py::make_tuple(ids, matrix));
}

std::unique_ptr<Ticket> register_search(const py::array& queries, std::size_t k, double recall, Ids& ids,
                                        Distances& distances) {
    const Rows rows = rows_of(queries, "queries");
    for (const py::array& out : {py::array(ids), py::array(distances)}) {
        if (out.ndim() != 2 || static_cast<std::size_t>(out.shape(0)) != rows.n ||
            static_cast<std::size_t>(out.shape(1)) != k) {
            throw std::invalid_argument("ids, distances: expected shape (queries, k)");
        }
    }
    return std::make_unique<Ticket>(vss0_register_search(rows.data, rows.n, rows.row_bytes, rows.stride, k, recall,
                                                         ids.mutable_data(), distances.mutable_data()),
                                    py::make_tuple(queries, ids, distances));
}

}  // namespace

void register_buffers(py::module_& module) {
    py::class_<Ticket>(module, "Ticket")
        .def_property_readonly("number", &Ticket::number)
        .def("release", &Ticket::release)
        .def(
            "__enter__", [](Ticket& self) -> Ticket& { return self; }, py::return_value_policy::reference_internal)
        .def("__exit__", [](Ticket& self, const py::args& /*error*/) { self.release(); });
    module.def("register_rows", &register_rows, py::arg("ids").noconvert(), py::arg("matrix") = py::none());
    module.def("register_search", &register_search, py::arg("queries").noconvert(), py::arg("k"), py::arg("recall"),
               py::arg("ids").noconvert(), py::arg("distances").noconvert());
    module.def("set_memory_budget", &vss0_set_memory_budget, py::arg("bytes"));
    module.def("memory_budget", &vss0_memory_budget);
    module.def("parse_bytes", &vss0_parse_bytes, py::arg("text"));
    module.def("set_threads", &vss0_set_threads, py::arg("threads"));
    module.def("threads", &vss0_threads);
    module.def("set_verification", &vss0_set_verification, py::arg("on"));
    module.def("verification", &vss0_verification);
    module.def("vss0_version", &vss0_version);
    module.def("simd_level", &vss0_simd_level);
}
