// Building messages and SQL text (the standard <format> needs a newer compiler than Debian 12 has).
#pragma once

#include <array>
#include <charconv>
#include <string>
#include <string_view>
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
requires std::is_arithmetic_v<Number>
void append_piece(std::string& out, Number piece) {
    if constexpr (std::is_floating_point_v<Number>) {
        // The shortest text that reads back the same: 0.95, not 0.950000.
        std::array<char, 32> digits;
        const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), piece);
        out.append(digits.data(), end.ptr);
    } else {
        out.append(std::to_string(piece));
    }
}

}  // namespace detail

// cat("k is ", 3, '.') == "k is 3."
template <class... Pieces>
[[nodiscard]] std::string cat(const Pieces&... pieces) {
    std::string out;
    (detail::append_piece(out, pieces), ...);
    return out;
}

}  // namespace vss
