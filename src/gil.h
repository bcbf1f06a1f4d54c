// The GIL, given up and taken, in threads that may outlive the interpreter.
//
// Until Python 3.14 a daemon thread that takes the GIL while the interpreter ends is ended by pthread_exit, which
// unwinds its stack. pybind11's gil_scoped_release takes the GIL in a destructor, and where unwinding meets one, or a
// catch (...), the C++ library aborts the whole process. So such a thread stops here until the process has ended, as in
// Python 3.14.
//
// This cannot be done in vss0: it carries a C++ library of its own, whose handlers the unwinder of pthread_exit cannot
// enter.
#pragma once

#include <Python.h>

#include <chrono>
#include <thread>
#ifdef __GLIBCXX__
#include <cxxabi.h>
#endif

namespace vss::bindings {

// What `take` returns; never, where Python ends this thread meanwhile.
template <typename Take>
auto take_gil(const Take& take) {
#ifdef __GLIBCXX__
    try {
        return take();
    } catch (abi::__forced_unwind&) {  // to leave this block would be to go on unwinding
        for (;;) {
            std::this_thread::sleep_for(std::chrono::hours(1));
        }
    }
#else
    return take();
#endif
}

// Within its life other threads may run Python.
class ReleasedGil {
  public:
    ReleasedGil() : state_(PyEval_SaveThread()) {}
    ReleasedGil(const ReleasedGil&) = delete;
    ReleasedGil& operator=(const ReleasedGil&) = delete;
    ~ReleasedGil() {
        take_gil([this] { PyEval_RestoreThread(state_); });
    }

  private:
    PyThreadState* state_;
};

// Within its life this thread may run Python, whether it had the GIL before or not.
class HeldGil {
  public:
    HeldGil() : state_(take_gil([] { return PyGILState_Ensure(); })) {}
    HeldGil(const HeldGil&) = delete;
    HeldGil& operator=(const HeldGil&) = delete;
    ~HeldGil() { PyGILState_Release(state_); }

  private:
    PyGILState_STATE state_;
};

}  // namespace vss::bindings
