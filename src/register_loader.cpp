// What connection.py needs from C to load vss0 where Python's own sqlite3 offers no load_extension.
//
// SQLite hands its API table only to extensions, and Python hands the sqlite3* of a connection to nobody. Both are
// learnt by registering capture_entry with sqlite3_auto_extension, in the very library whose symbols Python looked
// up, while the same thread opens one connection of its own.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "gil.h"
#include "storage/sqlite_api.h"
#include "vss0.h"

namespace py = pybind11;

namespace {

// Thread-local because an auto extension is called for the connections of every thread of the process.
struct Capture {
    bool armed = false;
    int calls = 0;
    sqlite3* db = nullptr;
    const sqlite3_api_routines* api = nullptr;
};
thread_local Capture capture;

extern "C" int capture_entry(sqlite3* db, char** /*error*/, const sqlite3_api_routines* api) {
    if (capture.armed) {
        ++capture.calls;
        capture.db = db;
        capture.api = api;
    }
    return SQLITE_OK;
}

using Function = void (*)();
using AutoExtension = int (*)(Function);

// Addresses come from dlsym in Python; an integer is the only form in which it can hand them over.
template <typename Pointer>
Pointer from_address(std::uintptr_t address) {
    return reinterpret_cast<Pointer>(address);  // NOLINT(performance-no-int-to-ptr)
}

template <typename Pointer>
std::uintptr_t to_address(Pointer pointer) {
    return reinterpret_cast<std::uintptr_t>(pointer);
}

Function capture_function() {
    return reinterpret_cast<Function>(&capture_entry);
}

int begin_capture(std::uintptr_t auto_extension) {
    capture = Capture{.armed = true};
    return from_address<AutoExtension>(auto_extension)(capture_function());
}

// (sqlite3*, sqlite3_api_routines*) of the one connection opened meanwhile; nothing if there was none, or several.
std::optional<std::pair<std::uintptr_t, std::uintptr_t>> end_capture(std::uintptr_t cancel_auto_extension) {
    from_address<AutoExtension>(cancel_auto_extension)(capture_function());
    const Capture seen = std::exchange(capture, Capture{});
    if (seen.calls != 1 || seen.db == nullptr || seen.api == nullptr) {
        return std::nullopt;
    }
    return std::pair{to_address(seen.db), to_address(seen.api)};
}

// Runs vss0's entry point as sqlite3_load_extension would. Returns (result code, message).
std::pair<int, std::string> initialize_extension(std::uintptr_t db, std::uintptr_t api) {
    const auto* routines = from_address<const sqlite3_api_routines*>(api);
    char* error = nullptr;
    int code = SQLITE_OK;
    {
        // Another thread may be inside SQLite on this connection, waiting for the GIL in a Python callback.
        const vss::bindings::ReleasedGil released;
        code = vss0_init(from_address<sqlite3*>(db), &error, routines);
    }
    std::string message;
    if (error != nullptr) {
        message = error;
        routines->free(error);
    }
    if (code == SQLITE_OK_LOAD_PERMANENTLY) {
        code = SQLITE_OK;
    }
    return {code, message};
}

}  // namespace

void register_loader(py::module_& module) {
    module.def("begin_capture", &begin_capture, py::arg("auto_extension"));
    module.def("end_capture", &end_capture, py::arg("cancel_auto_extension"));
    module.def("initialize_extension", &initialize_extension, py::arg("db"), py::arg("api"));
}
