// Query plans: the text that xBestIndex hands to xFilter through SQLite.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "sqlite/plan.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    vss::Plan plan;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    if (vss::Plan::decode(text, plan).is_ok()) {
        static_cast<void>(plan.nearest());
    }
    return 0;
}
