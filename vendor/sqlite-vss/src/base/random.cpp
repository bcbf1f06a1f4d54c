#include "base/random.h"

#include <random>

namespace vss {

std::uint64_t random_version() {
    // std::random_device asks the processor or the operating system on each call, so a forked child repeats nothing.
    static thread_local std::random_device device;
    std::uint64_t version = 0;
    while (version == 0) {
        version = static_cast<std::uint64_t>(device()) << 32 | device();
    }
    return version;
}

}  // namespace vss
