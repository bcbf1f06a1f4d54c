// Writing JSON.
#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/text.h"

namespace vss {

// {"name": number, ...}
class Json {
  public:
    // null where it is not a finite number, of which JSON has no other.
    template <class Number>
    Json& add(std::string_view name, Number value) {
        if constexpr (std::is_floating_point_v<Number>) {
            if (!std::isfinite(value)) {
                return add_json(name, "null");
            }
        }
        begin(name);
        std::array<char, 64> digits;
        const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value);
        text_.append(digits.data(), end.ptr);
        return *this;
    }
    Json& add_text(std::string_view name, std::string_view text);
    // `json`: an object, null, ...
    Json& add_json(std::string_view name, std::string_view json);
    [[nodiscard]] std::string text() const { return cat(text_.empty() ? "{" : text_, '}'); }

  private:
    void begin(std::string_view name);
    std::string text_;
};

// The text as a JSON string, with its quotes.
[[nodiscard]] std::string json_text(std::string_view text);

}  // namespace vss
