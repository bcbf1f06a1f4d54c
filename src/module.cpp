// The Python module _core: one register_*.cpp for each subject. Bindings convert arguments and release the GIL.
#include <pybind11/pybind11.h>

namespace py = pybind11;

void register_buffers(py::module_& module);
void register_embedding(py::module_& module);
void register_encoder(py::module_& module);
void register_encoder_run(py::module_& module);
void register_faiss_file(py::module_& module);
void register_loader(py::module_& module);

PYBIND11_MODULE(_core, module, py::mod_gil_not_used()) {
    module.doc() = "Native parts of vssnative.";
    register_buffers(module);
    register_embedding(module);
    register_encoder(module);
    register_encoder_run(module);
    register_faiss_file(module);
    register_loader(module);
}
