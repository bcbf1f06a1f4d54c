#include "sqlite/functions/functions.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>

#include "base/text.h"
#include "base/types.h"
#include "kernels/vector_value.h"

namespace vss {
namespace {

Status refuse(std::string_view what, sqlite3_value* value) {
    return Status::invalid(
        cat(what, ": expected a vector (a blob of float32 values or a JSON array of numbers), got ", described(value)));
}

}  // namespace

std::string described(sqlite3_value* value) {
    switch (sqlite3_value_type(value)) {
        case SQLITE_INTEGER: return "integer";
        case SQLITE_FLOAT: return "real";
        case SQLITE_TEXT: return "text";
        case SQLITE_BLOB: {
            const int bytes = sqlite3_value_bytes(value);
            return cat("blob of ", bytes, bytes == 1 ? " byte" : " bytes");
        }
        default: return "null";
    }
}

std::span<const std::byte> blob_of(sqlite3_value* value) {
    const auto* data = static_cast<const std::byte*>(sqlite3_value_blob(value));
    const int size = sqlite3_value_bytes(value);
    return {data, data == nullptr ? 0 : static_cast<std::size_t>(size)};
}

std::string text_of(sqlite3_value* value) {
    const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(value));
    return text == nullptr ? std::string() : std::string(text, static_cast<std::size_t>(sqlite3_value_bytes(value)));
}

Status read_json_argument(sqlite3_value* value, std::string_view what, VectorArgument& out) {
    out.values_ = {};
    const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(value));
    const int size = sqlite3_value_bytes(value);
    if (text == nullptr) {
        return {Code::no_memory, "out of memory"};
    }
    const Status status = parse_json_vector({text, static_cast<std::size_t>(size)}, out.storage_);
    if (!status.is_ok()) {
        return {status.code(), cat(what, ": ", status.message())};
    }
    out.values_ = out.storage_;
    return Status::ok();
}

Status read_vector_argument(sqlite3_value* value, std::string_view what, VectorArgument& out) {
    out.values_ = {};
    const int type = sqlite3_value_type(value);
    if (type == SQLITE_TEXT) {
        return read_json_argument(value, what, out);
    }
    if (type != SQLITE_BLOB) {
        return refuse(what, value);
    }
    std::span<const std::byte> bytes = blob_of(value);
    if (bytes.size() % sizeof(float) == sizeof vector_blob_header &&
        std::equal(std::begin(vector_blob_header), std::end(vector_blob_header), bytes.begin())) {
        bytes = bytes.subspan(sizeof vector_blob_header);
    }
    const std::size_t dim = bytes.size() / sizeof(float);
    if (bytes.size() % sizeof(float) != 0) {
        return refuse(what, value);
    }
    if (dim > max_dimensions) {
        return {Code::too_big, cat(what, ": expected at most ", max_dimensions, " dimensions, got ", dim)};
    }
    VSS_TRY(validate_vector(ElementType::float32, Metric::l2, bytes.data(), dim, what));
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(float) == 0) {
        out.values_ = {reinterpret_cast<const float*>(bytes.data()), dim};
        return Status::ok();
    }
    out.storage_.resize(dim);
    std::memcpy(out.storage_.data(), bytes.data(), bytes.size());
    out.values_ = out.storage_;
    return Status::ok();
}

Status read_type(sqlite3_value* type, std::string_view what, ElementType& out) {
    out = ElementType::float32;
    if (type == nullptr) {
        return Status::ok();
    }
    const std::string name = text_of(type);
    const std::optional<ElementType> found = parse_element_type(name);
    if (!found) {
        return Status::invalid(
            cat(what, ": expected the type float32, float16, bfloat16, int8 or bit, got ",
                sqlite3_value_type(type) == SQLITE_NULL ? std::string("null") : cat('"', name.substr(0, 40), '"')));
    }
    out = *found;
    return Status::ok();
}

Status read_typed_argument(sqlite3_value* value, sqlite3_value* type, std::string_view what, VectorArgument& out) {
    ElementType element = ElementType::float32;
    VSS_TRY(read_type(type, what, element));
    return read_typed_argument(value, element, what, out);
}

Status read_typed_argument(sqlite3_value* value, ElementType element, std::string_view what, VectorArgument& out) {
    if (element == ElementType::float32 || sqlite3_value_type(value) == SQLITE_TEXT) {
        return read_vector_argument(value, what, out);
    }
    const std::span<const std::byte> bytes = blob_of(value);
    const std::size_t dim = bytes.size() * 8 / vector_bytes(element, 8);
    if (sqlite3_value_type(value) != SQLITE_BLOB || vector_bytes(element, dim) != bytes.size()) {
        return Status::invalid(
            cat(what, ": expected a blob of ", name_of(element), " values or a JSON array, got ", described(value)));
    }
    if (dim > max_dimensions) {
        return {Code::too_big, cat(what, ": expected at most ", max_dimensions, " dimensions, got ", dim)};
    }
    VSS_TRY(validate_vector(element, Metric::l2, bytes.data(), dim, what));
    out.storage_.resize(dim);
    decode_vector(element, bytes.data(), dim, out.storage_.data());
    out.values_ = out.storage_;
    return Status::ok();
}

void set_result(sqlite3_context* context, std::string_view text) {
    sqlite3_result_text64(context, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

void set_result(sqlite3_context* context, std::span<const std::byte> bytes) {
    // A null pointer would make it NULL, not an empty blob.
    sqlite3_result_blob64(context, bytes.empty() ? "" : static_cast<const void*>(bytes.data()), bytes.size(),
                          SQLITE_TRANSIENT);
}

void set_result(sqlite3_context* context, std::span<const float> values) {
    set_result(context, std::as_bytes(values));
}

void set_error(sqlite3_context* context, const Status& status) {
    if (status.code() == Code::no_memory) {
        sqlite3_result_error_nomem(context);
        return;
    }
    sqlite3_result_error(context, status.message().data(), static_cast<int>(status.message().size()));
    sqlite3_result_error_code(context, status.sqlite_code());
}

int register_functions(sqlite3* db) {
    for (const auto registration :
         {&register_distance_functions, &register_arithmetic_functions, &register_conversion_functions,
          &register_about_functions, &register_settings_function, &register_fvecs_table, &register_embed_function}) {
        if (const int rc = registration(db); rc != SQLITE_OK) {
            return rc;
        }
    }
    return SQLITE_OK;
}

}  // namespace vss
