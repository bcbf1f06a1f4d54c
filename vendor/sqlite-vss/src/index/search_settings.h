// What a search says of how its index is to be searched, by the names that the index's library has for it:
// "nprobe=16, k_factor=4". Which names there are is known to the index alone (ColumnIndex::take_settings).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace vss {

struct SearchSetting {
    std::string name;
    std::uint64_t value = 0;

    bool operator==(const SearchSetting&) const = default;
};

using SearchSettings = std::vector<SearchSetting>;

// Each name once, each value an integer of 0 or more.
[[nodiscard]] Status parse_search_settings(std::string_view text, SearchSettings& out);

}  // namespace vss
