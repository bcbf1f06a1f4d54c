#include "sqlite/vector_column.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "base/settings.h"
#include "base/text.h"
#include "kernels/vector_value.h"

namespace vss {
namespace {

Status from_floats(std::span<const float> values, const Column& column, std::string_view words,
                   std::vector<std::byte>& storage) {
    storage.resize(column.bytes());
    std::vector<float> scaled;
    Status status = column.scale == 0 ? Status::ok() : scale_to_int8(values, column.scale, scaled);
    if (status.is_ok()) {
        status = encode_vector(column.type, column.scale == 0 ? values : scaled, storage.data());
    }
    return status.is_ok() ? status : Status(status.code(), cat(words, ": ", status.message()));
}

// A blob of vector_to_blob() is two bytes longer than its float32 values.
std::span<const std::byte> without_vector_header(std::span<const std::byte> bytes, const Column& column) {
    const bool has_header = bytes.size() == column.dim * sizeof(float) + sizeof vector_blob_header &&
                            bytes.size() != column.bytes() &&
                            std::equal(std::begin(vector_blob_header), std::end(vector_blob_header), bytes.begin());
    return has_header ? bytes.subspan(sizeof vector_blob_header) : bytes;
}

Status read_blob(std::span<const std::byte> bytes, const Column& column, std::string_view words,
                 std::vector<std::byte>& storage, std::span<const std::byte>& out) {
    bytes = without_vector_header(bytes, column);
    if (bytes.size() == column.bytes()) {
        out = bytes;
        return Status::ok();
    }
    if (bytes.size() == column.dim * sizeof(float)) {
        std::vector<float> values(column.dim);
        std::memcpy(values.data(), bytes.data(), bytes.size());
        // Checked before the conversion, which could turn a NaN into a number.
        VSS_TRY(validate_vector(ElementType::float32, column.metric == Metric::cosine ? Metric::cosine : Metric::l2,
                                bytes.data(), column.dim, words));
        VSS_TRY(from_floats(values, column, words, storage));
        out = storage;
        return Status::ok();
    }
    std::string got = cat(bytes.size(), bytes.size() == 1 ? " byte" : " bytes");
    if (column.type == ElementType::float32) {
        got += bytes.size() % sizeof(float) == 0 ? cat(" (", bytes.size() / sizeof(float), " dimensions)")
                                                 : ", which is not a whole number of float32 values";
    }
    return Status::invalid(cat(words, ": expected a vector of ", column.dim, " dimensions (", column.bytes(),
                               " bytes of ", name_of(column.type), "), got a blob of ", got));
}

}  // namespace

double wanted_recall(const Column& column, double asked) {
    return asked > 0 ? asked : column.recall > 0 ? column.recall : default_recall();
}

std::string_view type_words(sqlite3_value* value) {
    switch (sqlite3_value_type(value)) {
        case SQLITE_INTEGER: return "integer";
        case SQLITE_FLOAT: return "real";
        case SQLITE_TEXT: return "text";
        case SQLITE_BLOB: return "blob";
        default: return "null";
    }
}

Status read_vector(sqlite3_value* value, const Column& column, std::string_view words, std::vector<std::byte>& storage,
                   std::span<const std::byte>& out) {
    switch (sqlite3_value_type(value)) {
        case SQLITE_BLOB: {
            const void* data = sqlite3_value_blob(value);
            const auto size = static_cast<std::size_t>(sqlite3_value_bytes(value));
            VSS_TRY(read_blob({static_cast<const std::byte*>(data), size}, column, words, storage, out));
            break;
        }
        case SQLITE_TEXT: {
            const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(value));
            const auto size = static_cast<std::size_t>(sqlite3_value_bytes(value));
            std::vector<float> values;
            Status status = parse_json_vector({text == nullptr ? "" : text, size}, values);
            if (!status.is_ok()) {
                return {status.code(), cat(words, ": ", status.message())};
            }
            if (values.size() != column.dim) {
                return Status::invalid(cat(words, ": expected a vector of ", column.dim,
                                           " dimensions, got a JSON array of ", values.size(), " numbers"));
            }
            VSS_TRY(from_floats(values, column, words, storage));
            out = storage;
            break;
        }
        default:
            return Status::invalid(cat(words, ": expected a vector of ", column.dim,
                                       " dimensions (a blob or a JSON array), got ", type_words(value)));
    }
    return validate_vector(column.type, column.metric, out.data(), column.dim, words);
}

}  // namespace vss
