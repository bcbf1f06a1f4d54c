#include "index/search_settings.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace vss {
namespace {

constexpr std::size_t most_settings = 16;
constexpr std::size_t most_shown = 100;  // of the text, in a message

std::string_view without_spaces(std::string_view text) {
    constexpr std::string_view spaces = " \t\r\n";
    const std::size_t first = text.find_first_not_of(spaces);
    return first == std::string_view::npos ? std::string_view()
                                           : text.substr(first, text.find_last_not_of(spaces) - first + 1);
}

}  // namespace

Status parse_search_settings(std::string_view text, SearchSettings& out) {
    out.clear();
    const auto refused = [&](std::string_view why) {
        return Status::invalid(cat("expected search settings such as 'nprobe=16, k_factor=4', got '",
                                   text.substr(0, most_shown), "'", why));
    };
    for (std::string_view rest = text; !rest.empty();) {
        const std::size_t comma = std::min(rest.find(','), rest.size());
        const std::string_view one = rest.substr(0, comma);
        rest.remove_prefix(std::min(comma + 1, rest.size()));
        const std::size_t equals = one.find('=');
        if (equals == std::string_view::npos) {
            return refused("");
        }
        const std::string_view name = without_spaces(one.substr(0, equals));
        const std::string_view digits = without_spaces(one.substr(equals + 1));
        SearchSetting setting;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), setting.value);
        if (name.empty() || digits.empty() || error != std::errc() || end != digits.data() + digits.size()) {
            return refused(": each is a name and an integer of 0 or more");
        }
        if (std::any_of(out.begin(), out.end(),
                        [&](const SearchSetting& other) { return equal_ignoring_case(other.name, name); })) {
            return refused(": one is said twice");
        }
        if (out.size() == most_settings) {
            return refused(": they are too many");
        }
        setting.name = name;
        out.push_back(std::move(setting));
    }
    return out.empty() ? refused("") : Status::ok();
}

}  // namespace vss
