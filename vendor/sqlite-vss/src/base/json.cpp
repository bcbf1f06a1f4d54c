#include "base/json.h"

namespace vss {

void Json::begin(std::string_view name) {
    text_.append(text_.empty() ? "{\"" : ", \"").append(name).append("\": ");
}

Json& Json::add_text(std::string_view name, std::string_view text) {
    begin(name);
    text_ += json_text(text);
    return *this;
}

Json& Json::add_json(std::string_view name, std::string_view json) {
    begin(name);
    text_ += json;
    return *this;
}

std::string json_text(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += cat('\\', c);
        } else if (static_cast<unsigned char>(c) < 0x20) {
            constexpr std::string_view hex = "0123456789abcdef";
            out += cat("\\u00", hex[static_cast<unsigned char>(c) >> 4], hex[static_cast<unsigned char>(c) & 15]);
        } else {
            out += c;
        }
    }
    return out + '"';
}

}  // namespace vss
