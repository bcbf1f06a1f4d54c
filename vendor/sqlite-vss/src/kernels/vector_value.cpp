#include "kernels/vector_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/half.h"
#include "base/text.h"
#include "kernels/kernels.h"

namespace vss {
namespace {

bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// The token at `at` in quotes (a JSON string has its own), for a message: short, and printable whatever the bytes are.
std::string quoted(std::string_view text, std::size_t at) {
    constexpr std::size_t most = 20;
    const bool is_string = text[at] == '"';
    std::string out = "\"";
    for (std::size_t i = at + (is_string ? 1 : 0); i < text.size() && i - at < most; ++i) {
        const char c = text[i];
        if (is_string ? c == '"' : i > at && (is_space(c) || c == ',' || c == ']')) {
            break;
        }
        out += c >= ' ' && c <= '~' ? c : '?';
    }
    return out + "\"";
}

// A cursor over JSON text that knows just what an array of numbers needs.
class JsonReader {
  public:
    explicit JsonReader(std::string_view text) : text_(text) {}

    Status array(std::vector<float>& out) {
        skip_space();
        if (!take('[')) {
            return error("expected \"[\"");
        }
        skip_space();
        if (!take(']')) {
            do {
                float value = 0;
                skip_space();
                VSS_TRY(number(value));
                if (out.size() == max_dimensions) {
                    return {Code::too_big, cat("not a vector: a JSON array of more than ", max_dimensions, " numbers")};
                }
                out.push_back(value);
                skip_space();
            } while (take(','));
            if (!take(']')) {
                return error("expected \",\" or \"]\"");
            }
        }
        skip_space();
        return at_ == text_.size() ? Status::ok() : error("expected the end of the text");
    }

  private:
    [[nodiscard]] bool at_end() const { return at_ == text_.size(); }
    [[nodiscard]] char peek() const { return at_end() ? '\0' : text_[at_]; }
    bool take(char c) {
        if (at_end() || text_[at_] != c) {
            return false;
        }
        ++at_;
        return true;
    }
    void skip_space() {
        while (!at_end() && is_space(text_[at_])) {
            ++at_;
        }
    }
    std::size_t skip_digits() {
        const std::size_t from = at_;
        while (!at_end() && is_digit(text_[at_])) {
            ++at_;
        }
        return at_ - from;
    }

    [[nodiscard]] Status error_at(std::string_view expected, std::size_t at) const {
        return Status::invalid(cat("not a JSON array of numbers: ", expected, " at byte ", at, ", got ",
                                   at == text_.size() ? std::string("the end of the text") : quoted(text_, at)));
    }
    [[nodiscard]] Status error(std::string_view expected) const { return error_at(expected, at_); }

    // JSON's own grammar: from_chars alone would take ".5", "1." and "inf".
    Status number(float& out) {
        const std::size_t from = at_;
        take('-');
        const bool leading_zero = peek() == '0';
        if (const std::size_t digits = skip_digits(); digits == 0 || (leading_zero && digits > 1)) {
            return error_at("expected a number", from);
        }
        if (take('.') && skip_digits() == 0) {
            return error_at("expected a number", from);
        }
        if (peek() == 'e' || peek() == 'E') {
            ++at_;
            if (!take('-')) {
                take('+');
            }
            if (skip_digits() == 0) {
                return error_at("expected a number", from);
            }
        }
        const char* const first = text_.data() + from;
        const char* const last = text_.data() + at_;
        const auto [end, code] = std::from_chars(first, last, out);
        if (code == std::errc() && end == last) {
            return Status::ok();
        }
        if (code == std::errc::result_out_of_range) {
            if (is_below_one({first, last})) {
                out = *first == '-' ? -0.0F : 0.0F;
                return Status::ok();
            }
            return error_at("expected a number that float32 can hold", from);
        }
        return error_at("expected a number", from);
    }

    // Whether a well-formed number, known to be too large or too small, is the latter: by the decimal exponent of its
    // first digit other than 0.
    static bool is_below_one(std::string_view number) {
        const std::size_t e = number.find_first_of("eE");
        const std::string_view digits = number.substr(0, e);
        const std::size_t point = std::min(digits.find('.'), digits.size());
        const std::size_t leading = digits.find_first_of("123456789");
        if (leading == std::string_view::npos) {
            return true;
        }
        std::int64_t exponent = 0;
        if (e != std::string_view::npos) {
            std::string_view text = number.substr(e + 1);
            const bool negative = text.front() == '-';
            text.remove_prefix(negative || text.front() == '+' ? 1 : 0);
            if (std::from_chars(text.data(), text.data() + text.size(), exponent).ec != std::errc()) {
                exponent = std::numeric_limits<std::int64_t>::max() / 2;
            }
            exponent = negative ? -exponent : exponent;
        }
        const auto place = leading < point ? static_cast<std::int64_t>(point - leading) - 1
                                           : -static_cast<std::int64_t>(leading - point);
        constexpr std::int64_t far = std::numeric_limits<std::int64_t>::max() / 2;
        return std::clamp(exponent, -far, far) + place < 0;
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

std::string number_text(float value) {
    std::array<char, 32> text{};
    const auto [end, code] = std::to_chars(text.data(), text.data() + text.size(), value);
    return {text.data(), code == std::errc() ? end : text.data()};
}

Status refuse_element(std::size_t i, float value, std::string_view expected) {
    return Status::invalid(cat("element ", i, ": expected ", expected, ", got ", number_text(value)));
}

template <class Half>
Status encode_halves(std::span<const float> values, std::byte* out, Half half, float largest,
                     std::string_view expected) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        // Written so that NaN is refused too. What only rounds to `largest` is within half a step above it.
        if (!(std::abs(values[i]) < largest)) {
            return refuse_element(i, values[i], expected);
        }
        const std::uint16_t bits = half(values[i]);
        std::memcpy(out + 2 * i, &bits, sizeof bits);
    }
    return Status::ok();
}

std::uint16_t half_at(const std::byte* in, std::size_t i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, in + 2 * i, sizeof bits);
    return bits;
}

// The first element whose exponent bits are all set: infinity or NaN.
template <class Word>
std::size_t first_not_finite(const std::byte* bytes, std::size_t dim, Word exponent) {
    for (std::size_t i = 0; i < dim; ++i) {
        Word word = 0;
        std::memcpy(&word, bytes + i * sizeof(Word), sizeof word);
        if ((word & exponent) == exponent) {
            return i;
        }
    }
    return dim;
}

std::size_t first_not_finite(ElementType type, const std::byte* bytes, std::size_t dim) {
    switch (type) {
        case ElementType::float32:
            return all_finite(bytes, dim) ? dim : first_not_finite<std::uint32_t>(bytes, dim, 0x7F800000);
        case ElementType::float16: return first_not_finite<std::uint16_t>(bytes, dim, 0x7C00);
        case ElementType::bfloat16: return first_not_finite<std::uint16_t>(bytes, dim, 0x7F80);
        case ElementType::int8:
        case ElementType::bit: return dim;
    }
    return dim;
}

// All bytes 0, but for the sign bits of elements that have one.
bool is_zero(ElementType type, const std::byte* bytes, std::size_t dim) {
    const std::size_t n = vector_bytes(type, dim);
    const std::size_t width = dim == 0 || type == ElementType::bit ? 1 : n / dim;
    const bool has_sign = type != ElementType::int8 && type != ElementType::bit;
    for (std::size_t i = 0; i < n; ++i) {
        const bool is_high = has_sign && i % width == width - 1;
        if ((bytes[i] & (is_high ? std::byte{0x7F} : std::byte{0xFF})) != std::byte{0}) {
            return false;
        }
    }
    return true;
}

}  // namespace

Status parse_json_vector(std::string_view text, std::vector<float>& out) {
    out.clear();
    Status status = JsonReader(text).array(out);
    if (!status.is_ok()) {
        out.clear();
    }
    return status;
}

std::string format_json_vector(std::span<const float> values) {
    std::string out = "[";
    for (const float value : values) {
        if (out.size() > 1) {
            out += ',';
        }
        const std::string number = number_text(value);
        out += number;
        // A whole number still says that it is a float, as in sqlite-vss.
        if (number.find_first_of(".en") == std::string::npos) {
            out += ".0";
        }
    }
    return out + "]";
}

Status encode_vector(ElementType type, std::span<const float> values, std::byte* out) {
    switch (type) {
        case ElementType::float32:
            if (!all_finite(values.data(), values.size())) {
                for (std::size_t i = 0; i < values.size(); ++i) {
                    if (!std::isfinite(values[i])) {
                        return refuse_element(i, values[i], "a finite number");
                    }
                }
            }
            if (!values.empty()) {
                std::memcpy(out, values.data(), values.size_bytes());
            }
            return Status::ok();
        case ElementType::float16:
            return encode_halves(values, out, float_to_float16, 65520.0F, "a number that float16 can hold");
        case ElementType::bfloat16:
            return encode_halves(values, out, float_to_bfloat16, 0x1.FFp+127F, "a number that bfloat16 can hold");
        case ElementType::int8:
            for (std::size_t i = 0; i < values.size(); ++i) {
                if (!(values[i] >= -128.0F && values[i] <= 127.0F) || values[i] != std::trunc(values[i])) {
                    return refuse_element(i, values[i], "a whole number from -128 to 127");
                }
                out[i] = static_cast<std::byte>(static_cast<std::int8_t>(values[i]));
            }
            return Status::ok();
        case ElementType::bit:
            std::fill_n(out, vector_bytes(type, values.size()), std::byte{0});
            for (std::size_t i = 0; i < values.size(); ++i) {
                if (values[i] != 0.0F && values[i] != 1.0F) {
                    return refuse_element(i, values[i], "0 or 1");
                }
                if (values[i] == 1.0F) {
                    out[i / 8] |= std::byte{1} << (i % 8);
                }
            }
            return Status::ok();
    }
    return {Code::internal, "unknown element type"};
}

Status scale_to_int8(std::span<const float> values, double scale, std::vector<float>& out) {
    out.resize(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double scaled = std::nearbyint(static_cast<double>(values[i]) * scale);
        if (!(scaled >= -128 && scaled <= 127)) {
            return refuse_element(i, values[i], cat("a number that is within -128 and 127 when multiplied by ", scale));
        }
        out[i] = static_cast<float>(scaled);
    }
    return Status::ok();
}

void decode_vector(ElementType type, const std::byte* in, std::size_t dim, float* out) {
    switch (type) {
        case ElementType::float32:
            if (dim > 0) {
                std::memcpy(out, in, dim * sizeof(float));
            }
            break;
        case ElementType::float16:
            for (std::size_t i = 0; i < dim; ++i) {
                out[i] = float16_to_float(half_at(in, i));
            }
            break;
        case ElementType::bfloat16:
            for (std::size_t i = 0; i < dim; ++i) {
                out[i] = bfloat16_to_float(half_at(in, i));
            }
            break;
        case ElementType::int8:
            for (std::size_t i = 0; i < dim; ++i) {
                out[i] = static_cast<float>(static_cast<std::int8_t>(in[i]));
            }
            break;
        case ElementType::bit:
            for (std::size_t i = 0; i < dim; ++i) {
                out[i] = (in[i / 8] >> (i % 8) & std::byte{1}) != std::byte{0} ? 1.0F : 0.0F;
            }
            break;
    }
}

bool is_finite(ElementType type, const std::byte* bytes, std::size_t dim) {
    return first_not_finite(type, bytes, dim) == dim;
}

Status validate_vector(ElementType type, Metric metric, const std::byte* bytes, std::size_t dim,
                       std::string_view what) {
    if (const std::size_t i = first_not_finite(type, bytes, dim); i < dim) {
        float value = 0;
        decode_vector(type, bytes + i * vector_bytes(type, 1), 1, &value);
        return Status::invalid(cat(what, ": element ", i, ": expected a finite number, got ", number_text(value)));
    }
    if (type == ElementType::bit && dim % 8 != 0 && (bytes[dim / 8] >> (dim % 8)) != std::byte{0}) {
        return Status::invalid(
            cat(what, ": expected the ", 8 - dim % 8, " unused bits after the last of ", dim, " to be 0"));
    }
    if (metric == Metric::cosine && is_zero(type, bytes, dim)) {
        return Status::invalid(cat(what,
                                   ": expected a vector with a direction, as the cosine metric needs, got all "
                                   "zeros"));
    }
    return Status::ok();
}

}  // namespace vss
