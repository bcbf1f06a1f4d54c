// Vectors as values. The first byte picks what the rest is: JSON text, or the stored bytes of an element type.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/types.h"
#include "kernels/kernels.h"
#include "kernels/vector_value.h"

namespace {

void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

void text(std::string_view input) {
    std::vector<float> values;
    const vss::Status status = vss::parse_json_vector(input, values);
    if (!status.is_ok()) {
        require(!status.message().empty() && values.empty());
        return;
    }
    require(values.size() <= vss::max_dimensions && vss::all_finite(values.data(), values.size()));
    // What was read, written, reads back the same.
    std::vector<float> again;
    require(vss::parse_json_vector(vss::format_json_vector(values), again).is_ok());
    require(again.size() == values.size());
    require(values.empty() || std::memcmp(again.data(), values.data(), values.size() * sizeof(float)) == 0);
}

void stored(vss::ElementType type, const std::vector<std::byte>& bytes) {
    const std::size_t dim = bytes.size() * 8 / vss::vector_bytes(type, 8);
    if (dim == 0 || vss::vector_bytes(type, dim) != bytes.size()) {
        return;
    }
    std::vector<float> values(dim);
    vss::decode_vector(type, bytes.data(), dim, values.data());
    const vss::Metric metric = type == vss::ElementType::bit ? vss::Metric::hamming : vss::Metric::cosine;
    const vss::Status status = vss::validate_vector(type, metric, bytes.data(), dim, "input");
    if (!status.is_ok()) {
        require(status.message().starts_with("input: "));
        return;
    }
    // What is valid is finite, goes back to its own bytes, and lies at no distance from itself.
    require(vss::all_finite(values.data(), dim));
    std::vector<std::byte> again(bytes.size());
    require(vss::encode_vector(type, values, again.data()).is_ok());
    require(again == bytes);
    float itself = -1;
    vss::distance_kernels(type, metric).one(bytes.data(), bytes.data(), bytes.size(), 1, dim, &itself);
    require(itself >= 0 && itself <= 1e-2F);
    const double exact = vss::exact_distance(type, metric, bytes.data(), bytes.data(), dim);
    require(exact >= 0 && exact <= 1e-9);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0 || size > (std::size_t{1} << 18)) {
        return 0;
    }
    const auto* rest = reinterpret_cast<const char*>(data + 1);
    // A copy of the exact size, so that a read past the end is found.
    const std::vector<char> copy(rest, rest + size - 1);
    if (data[0] % 6 == 0) {
        text({copy.data(), copy.size()});
    } else {
        const auto* first = reinterpret_cast<const std::byte*>(rest);
        const std::vector<std::byte> bytes(first, first + copy.size());
        stored(static_cast<vss::ElementType>(data[0] % 6 - 1), bytes);
    }
    return 0;
}
