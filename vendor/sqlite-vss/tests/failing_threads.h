// Threads that do not start on demand. Defines pthread_create: to be included by one file of a program.
#pragma once

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>

namespace vss {

// So many threads start from now on; below 0: all.
inline std::atomic<int> threads_that_start = -1;

}  // namespace vss

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                              void* argument) {
    using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
    static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
    if (vss::threads_that_start == 0) {
        return EAGAIN;
    }
    if (vss::threads_that_start > 0) {
        --vss::threads_that_start;
    }
    return create(thread, attributes, start, argument);
}
