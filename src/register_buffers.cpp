// numpy arrays as buffers that SQL statements name by ticket (vendor/sqlite-vss/include/vss0.h), without a copy.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <limits>
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

using Ids = py::array_t<std::int64_t, py::array::c_style>;
using Distances = py::array_t<float, py::array::c_style>;

// A ticket for queries, and the arrays that their neighbours come into.
class SearchTicket : public Ticket {
  public:
    SearchTicket(std::int64_t number, py::object queries, Ids ids, Distances distances)
        : Ticket(number, std::move(queries)), ids_(std::move(ids)), distances_(std::move(distances)) {}
    [[nodiscard]] const Ids& ids() const { return ids_; }
    [[nodiscard]] const Distances& distances() const { return distances_; }

  private:
    Ids ids_;
    Distances distances_;
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

// One query of one dimension, or several of two.
std::unique_ptr<SearchTicket> register_search(const py::array& queries, std::size_t k, double recall) {
    const bool single = queries.ndim() == 1;
    Rows rows{};
    if (single) {
        if (queries.shape(0) > 1 && queries.strides(0) != queries.itemsize()) {
            throw std::invalid_argument("queries: expected contiguous elements");
        }
        const auto bytes = static_cast<std::size_t>(queries.nbytes());
        rows = {queries.data(), 1, bytes, bytes};
    } else {
        rows = rows_of(queries, "queries");
    }
    const auto columns = static_cast<py::ssize_t>(k);
    const auto shape = single ? py::array::ShapeContainer{columns}
                              : py::array::ShapeContainer{static_cast<py::ssize_t>(rows.n), columns};
    Ids ids(shape);
    Distances distances(shape);
    std::fill_n(ids.mutable_data(), ids.size(), -1);
    std::fill_n(distances.mutable_data(), distances.size(), std::numeric_limits<float>::infinity());
    const std::int64_t number = vss0_register_search(rows.data, rows.n, rows.row_bytes, rows.stride, k, recall,
                                                     ids.mutable_data(), distances.mutable_data());
    return std::make_unique<SearchTicket>(number, queries, std::move(ids), std::move(distances));
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
    py::class_<SearchTicket, Ticket>(module, "SearchTicket")
        .def_property_readonly("ids", &SearchTicket::ids)
        .def_property_readonly("distances", &SearchTicket::distances);
    module.def("register_search", &register_search, py::arg("queries").noconvert(), py::arg("k"), py::arg("recall"));
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
