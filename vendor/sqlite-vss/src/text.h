// Building messages and SQL text (the standard <format> needs a newer compiler than Debian 12 has).
#pragma once

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
    out.append(std::to_string(piece));
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
