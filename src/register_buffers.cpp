// numpy arrays as buffers that SQL statements name by ticket (vendor/sqlite-vss/include/vss0.h), without a copy.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "gil.h"
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
    // Of an array without rows numpy may say any strides.
    const bool contiguous = n == 0 || array.shape(1) <= 1 || array.strides(1) == array.itemsize();
    if (!contiguous || (n > 1 && array.strides(0) < 0)) {
        throw std::invalid_argument(std::string(name) + ": expected contiguous rows in ascending order");
    }
    return {array.data(), n, row_bytes, n > 1 ? static_cast<std::size_t>(array.strides(0)) : row_bytes};
}

// Keys one after the other, as include/vss0.h wants them.
struct Keys {
    std::string bytes;
    std::vector<std::int64_t> ends;
    bool are_text = true;

    explicit Keys(const py::list& keys) {
        ends.reserve(keys.size());
        for (const py::handle key : keys) {
            const bool is_text = PyUnicode_Check(key.ptr()) != 0;
            if (!ends.empty() && is_text != are_text) {
                throw std::invalid_argument("ids: expected all of them as text, or all as bytes");
            }
            are_text = is_text;
            Py_ssize_t size = 0;
            if (is_text) {
                const char* text = PyUnicode_AsUTF8AndSize(key.ptr(), &size);
                if (text == nullptr) {
                    throw py::error_already_set();
                }
                bytes.append(text, static_cast<std::size_t>(size));
            } else {
                char* data = nullptr;
                if (PyBytes_AsStringAndSize(key.ptr(), &data, &size) != 0) {
                    throw py::error_already_set();
                }
                bytes.append(data, static_cast<std::size_t>(size));
            }
            ends.push_back(static_cast<std::int64_t>(bytes.size()));
        }
    }
};

// Asks Python for float32 rows, piece by piece. Called by SQLite inside a statement.
class Pieces {
  public:
    Pieces(py::object function, std::size_t dim) : function_(std::move(function)), dim_(dim) {}

    static const float* next(void* host, std::size_t first, std::size_t* count) {
        const vss::bindings::HeldGil gil;
        auto& self = *static_cast<Pieces*>(host);
        try {
            self.current_ = self.function_(first).cast<Matrix>();
            if (self.current_.ndim() != 2 || static_cast<std::size_t>(self.current_.shape(1)) != self.dim_) {
                throw std::invalid_argument("a piece of the matrix has other dimensions than the rest");
            }
            *count = static_cast<std::size_t>(self.current_.shape(0));
            return self.current_.data();
        } catch (...) {  // must not leave through SQLite
            self.error_ = std::current_exception();
            return nullptr;
        }
    }

    void rethrow() {
        if (error_ != nullptr) {
            std::rethrow_exception(std::exchange(error_, nullptr));
        }
    }

  private:
    using Matrix = py::array_t<float, py::array::c_style>;
    py::object function_;
    std::size_t dim_;
    Matrix current_;
    std::exception_ptr error_;
};

// A ticket for ids or keys, and their vectors.
class RowsTicket : public Ticket {
  public:
    RowsTicket(std::int64_t number, py::object owned, std::unique_ptr<Keys> keys, std::unique_ptr<Pieces> pieces)
        : Ticket(number, std::move(owned)), keys_(std::move(keys)), pieces_(std::move(pieces)) {}
    RowsTicket(const RowsTicket&) = delete;
    RowsTicket& operator=(const RowsTicket&) = delete;
    ~RowsTicket() { release(); }  // before what it points to

    void rethrow() {
        if (pieces_ != nullptr) {
            pieces_->rethrow();
        }
    }

  private:
    std::unique_ptr<Keys> keys_;
    std::unique_ptr<Pieces> pieces_;
};

// Numbers in an array of two dimensions, wherever they lie.
struct Numbers {
    std::string kind;
    vss0_numbers layout;

    explicit Numbers(const py::array& array)
        : kind(py::str(array.dtype().attr("name"))),
          layout{kind.c_str(), array.dtype().attr("isnative").cast<bool>() ? 0 : 1,
                 static_cast<std::size_t>(array.shape(1)), array.strides(1)} {}
    Numbers(const Numbers&) = delete;
    Numbers& operator=(const Numbers&) = delete;
};

// `ids`: an int64 array, or a list of str or of bytes. `convert`: the matrix is converted to float32, row by row.
// `pieces`: in place of a matrix, called with the number of a row; gives float32 rows from there on, `dim` wide.
std::unique_ptr<RowsTicket> register_rows(const py::object& ids, const py::object& matrix, bool convert,
                                          const py::object& pieces, std::size_t dim) {
    vss0_rows rows{};
    std::unique_ptr<Keys> keys;
    std::unique_ptr<Pieces> source;
    std::unique_ptr<Numbers> numbers;
    if (py::isinstance<py::list>(ids)) {
        keys = std::make_unique<Keys>(ids.cast<py::list>());
        rows.keys = keys->bytes.data();
        rows.key_ends = keys->ends.data();
        rows.keys_are_text = keys->are_text ? 1 : 0;
        rows.n = keys->ends.size();
    } else {
        if (!py::isinstance<Ids>(ids) || ids.cast<Ids>().ndim() != 1) {
            throw std::invalid_argument("ids: expected an int64 array of one dimension, or a list");
        }
        rows.ids = ids.cast<Ids>().data();
        rows.n = static_cast<std::size_t>(ids.cast<Ids>().shape(0));
    }
    if (!pieces.is_none()) {
        source = std::make_unique<Pieces>(pieces, dim);
        rows.piece = &Pieces::next;
        rows.host = source.get();
        rows.row_bytes = dim * sizeof(float);
    } else if (!matrix.is_none()) {
        const auto array = matrix.cast<py::array>();
        if (array.ndim() != 2 || static_cast<std::size_t>(array.shape(0)) != rows.n) {
            throw std::invalid_argument("matrix: expected two dimensions, and as many rows as ids");
        }
        if (convert) {
            numbers = std::make_unique<Numbers>(array);
            rows.numbers = &numbers->layout;
            rows.rows = array.data();
            rows.stride = array.strides(0);
        } else {
            const Rows in_place = rows_of(array, "matrix");
            rows.rows = in_place.data;
            rows.row_bytes = in_place.row_bytes;
            rows.stride = static_cast<std::ptrdiff_t>(in_place.stride);
        }
    }
    const std::int64_t number = vss0_register_rows(&rows);
    if (number == 0 && convert) {
        throw std::invalid_argument("matrix: expected numbers, got " + numbers->kind);
    }
    return std::make_unique<RowsTicket>(number, py::make_tuple(ids, matrix), std::move(keys), std::move(source));
}

// The array as float32, converted row by row by the rules of vss0_convert_row. `first`: what the first row is called.
py::array_t<float> as_float32(const py::array& array, std::size_t first) {
    if (array.ndim() != 2) {
        throw std::invalid_argument("expected two dimensions");
    }
    const Numbers numbers(array);
    const auto n = static_cast<std::size_t>(array.shape(0));
    py::array_t<float> out({array.shape(0), array.shape(1)});
    float* to = out.mutable_data();
    const auto* from = static_cast<const std::byte*>(array.data());
    const std::ptrdiff_t stride = array.strides(0);
    std::array<char, 200> message{};
    std::size_t i = 0;
    {
        const vss::bindings::ReleasedGil release;
        while (i < n && vss0_convert_row(&numbers.layout, from + static_cast<std::ptrdiff_t>(i) * stride,
                                         to + i * numbers.layout.dim, message.data(), message.size()) == 0) {
            ++i;
        }
    }
    if (i < n) {
        throw std::invalid_argument("row " + std::to_string(first + i) + ": " + message.data());
    }
    return out;
}

// One query of one dimension, or several of two.
std::unique_ptr<SearchTicket> register_search(const py::array& queries, std::size_t k, double recall,
                                              const char* type) {
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
                                                     ids.mutable_data(), distances.mutable_data(), type);
    return std::make_unique<SearchTicket>(number, queries, std::move(ids), std::move(distances));
}

// A search as Index.search is mostly asked, without Python's interpreter between its steps, which took longer than a
// search of a small table. `column`: dtype, length and element type of its vectors. `cursor`: a driver's, as PEP 249
// has it. `sql` has one value, the ticket, and returns no rows. None where `queries` is not an array of the column's
// own type, or has no rows: then there is more to do. What the driver raises goes on to the caller.
py::object search_plainly(const py::object& cursor, const py::str& sql, const py::tuple& column,
                          const py::object& queries, std::size_t k, double recall) {
    const auto& numpy = py::detail::npy_api::get();
    if (Py_TYPE(queries.ptr()) != numpy.PyArray_Type_) {
        return py::none();
    }
    const auto array = py::reinterpret_borrow<py::array>(queries);
    constexpr int in_place =
        static_cast<int>(py::array::c_style) | static_cast<int>(py::detail::npy_api::NPY_ARRAY_ALIGNED_);
    const py::ssize_t dimensions = array.ndim();
    if (!array.dtype().is(column[0]) || dimensions < 1 || dimensions > 2 ||
        array.shape(dimensions - 1) != column[1].cast<py::ssize_t>() || array.shape(0) == 0 ||
        (array.flags() & in_place) != in_place) {
        return py::none();
    }
    const auto type = column[2].cast<std::string>();
    const auto ticket = register_search(array, k, recall, type.c_str());
    cursor.attr("execute")(sql, py::make_tuple(ticket->number()));
    ticket->release();
    return py::make_tuple(ticket->ids(), ticket->distances());
}

}  // namespace

void register_buffers(py::module_& module) {
    py::class_<Ticket>(module, "Ticket")
        .def_property_readonly("number", &Ticket::number)
        .def("release", &Ticket::release)
        .def("__enter__", [](py::object self) { return self; })
        .def("__exit__", [](Ticket& self, const py::args& /*error*/) { self.release(); });
    py::class_<RowsTicket, Ticket>(module, "RowsTicket")
        .def("rethrow", &RowsTicket::rethrow, "Raises the error of `pieces` that ended the statement, if any.");
    module.def("register_rows", &register_rows, py::arg("ids"), py::arg("matrix") = py::none(),
               py::arg("convert") = false, py::arg("pieces") = py::none(), py::arg("dim") = 0);
    module.def("as_float32", &as_float32, py::arg("array"), py::arg("first") = 0);
    py::class_<SearchTicket, Ticket>(module, "SearchTicket")
        .def_property_readonly("ids", &SearchTicket::ids)
        .def_property_readonly("distances", &SearchTicket::distances);
    module.def("register_search", &register_search, py::arg("queries").noconvert(), py::arg("k"), py::arg("recall"),
               py::arg("type") = py::none());
    module.def("search_plainly", &search_plainly, py::arg("cursor"), py::arg("sql"), py::arg("column"),
               py::arg("queries"), py::arg("k"), py::arg("recall"));
    module.def("set_memory_budget", &vss0_set_memory_budget, py::arg("bytes"));
    module.def("memory_budget", &vss0_memory_budget);
    module.def("parse_bytes", &vss0_parse_bytes, py::arg("text"));
    module.def("set_threads", &vss0_set_threads, py::arg("threads"));
    module.def("threads", &vss0_threads);
    module.def("set_default_recall", &vss0_set_default_recall, py::arg("recall"));
    module.def("default_recall", &vss0_default_recall);
    module.def("set_verification", &vss0_set_verification, py::arg("on"));
    module.def("verification", &vss0_verification);
    module.def("vss0_version", &vss0_version);
    module.def("simd_level", &vss0_simd_level);
}
