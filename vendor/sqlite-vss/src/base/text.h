// Comparing names, and building messages and SQL text (the standard <format> needs a newer compiler than Debian 12
// has).
#pragma once

#include <array>
#include <charconv>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace vss {

namespace detail {

inline void append_piece(std::string& out, std::string_view piece) {
    out.append(piece);
}
inline void append_piece(std::string& out, char piece) {
    out.push_back(piece);
}
template <class Number>
requires std::is_integral_v<Number>
void append_piece(std::string& out, Number piece) {
    out.append(std::to_string(piece));
}
// The shortest text that reads back as the same number: 95, 0.1, 1e+300.
template <class Number>
requires std::is_floating_point_v<Number>
void append_piece(std::string& out, Number piece) {
    std::array<char, 64> text{};
    const auto [end, code] = std::to_chars(text.data(), text.data() + text.size(), piece);
    out.append(text.data(), code == std::errc() ? end : text.data());
}

}  // namespace detail

// ASCII letters alone, whatever the locale.
[[nodiscard]] bool equal_ignoring_case(std::string_view a, std::string_view b);
[[nodiscard]] std::string lower(std::string_view text);

// cat("k is ", 3, '.') == "k is 3."
template <class... Pieces>
[[nodiscard]] std::string cat(const Pieces&... pieces) {
    std::string out;
    (detail::append_piece(out, pieces), ...);
    return out;
}

}  // namespace vss
