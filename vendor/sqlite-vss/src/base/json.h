// Writing JSON.
#pragma once

#include <array>
#include <charconv>
#include <string>
#include <string_view>

#include "base/text.h"

namespace vss {

// {"name": number, ...}
class Json {
  public:
    template <class Number>
    Json& add(std::string_view name, Number value) {
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
