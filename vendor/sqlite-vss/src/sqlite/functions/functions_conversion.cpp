// From one form of a vector to another: JSON text, float32 blobs, sqlite-vector's blobs, and the other element types.
//
// The vector_* functions are sqlite-vector's. There, vector_from_*() give a pointer that only its own functions can
// see, and that an ordinary column stores as NULL; here they give a float32 blob, which works in both places.
#include <optional>

#include "base/text.h"
#include "base/types.h"
#include "kernels/vector_value.h"
#include "sqlite/functions/functions.h"

namespace vss {
namespace {

using Arguments = std::span<sqlite3_value*>;

bool is_null(sqlite3_value* value) {
    return sqlite3_value_type(value) == SQLITE_NULL;
}

Status vector_from_json(sqlite3_context* context, Arguments arguments) {
    if (is_null(arguments[0])) {
        return Status::ok();
    }
    VectorArgument vector;
    VSS_TRY(
        read_json_argument(arguments[0], "input not valid json, or contains non-float data: vector_from_json", vector));
    set_result(context, vector.values());
    return Status::ok();
}

Status vector_from_raw(sqlite3_context* context, Arguments arguments) {
    if (is_null(arguments[0])) {
        return Status::ok();
    }
    if (sqlite3_value_type(arguments[0]) != SQLITE_BLOB || sqlite3_value_bytes(arguments[0]) % 4 != 0) {
        return Status::invalid(
            cat("Invalid raw blob length, blob must be divisible by 4: vector_from_raw: expected a blob of float32 "
                "values, got ",
                described(arguments[0])));
    }
    VectorArgument vector;
    VSS_TRY(read_vector_argument(arguments[0], "vector_from_raw", vector));
    set_result(context, vector.values());
    return Status::ok();
}

Status vector_from_blob(sqlite3_context* context, Arguments arguments) {
    // Described first: reading the bytes may convert the value.
    const std::string got =
        cat(": vector_from_blob: expected a blob of vector_to_blob(), got ", described(arguments[0]));
    const bool is_blob = sqlite3_value_type(arguments[0]) == SQLITE_BLOB;
    const std::span<const std::byte> bytes = blob_of(arguments[0]);
    if (bytes.size() < sizeof vector_blob_header) {
        return Status::invalid(cat("Vector blob size less than header length", got));
    }
    if (!is_blob || bytes[0] != vector_blob_header[0] || bytes.size() % sizeof(float) != sizeof vector_blob_header) {
        return Status::invalid(cat("Blob not well-formatted vector blob", got));
    }
    if (bytes[1] != vector_blob_header[1]) {
        return Status::invalid(cat("Blob type not right", got, " of type ", static_cast<int>(bytes[1])));
    }
    VectorArgument vector;
    VSS_TRY(read_vector_argument(arguments[0], "vector_from_blob", vector));
    set_result(context, vector.values());
    return Status::ok();
}

Status vector_to_json(sqlite3_context* context, Arguments arguments) {
    if (is_null(arguments[0])) {
        return Status::ok();
    }
    VectorArgument vector;
    VSS_TRY(read_vector_argument(arguments[0], "vector_to_json", vector));
    set_result(context, format_json_vector(vector.values()));
    return Status::ok();
}

Status vector_to_raw(sqlite3_context* context, Arguments arguments) {
    if (is_null(arguments[0])) {
        return Status::ok();
    }
    VectorArgument vector;
    VSS_TRY(read_vector_argument(arguments[0], "vector_to_raw", vector));
    // NULL where there is none, as in sqlite-vss.
    if (vector.size() > 0) {
        set_result(context, vector.values());
    }
    return Status::ok();
}

Status vector_to_blob(sqlite3_context* context, Arguments arguments) {
    if (is_null(arguments[0])) {
        return Status::ok();
    }
    VectorArgument vector;
    VSS_TRY(read_vector_argument(arguments[0], "vector_to_blob", vector));
    std::vector<std::byte> blob(std::begin(vector_blob_header), std::end(vector_blob_header));
    const auto bytes = std::as_bytes(vector.values());
    blob.insert(blob.end(), bytes.begin(), bytes.end());
    set_result(context, std::span<const std::byte>(blob));
    return Status::ok();
}

Status vector_length(sqlite3_context* context, Arguments arguments) {
    if (is_null(arguments[0])) {
        return Status::ok();
    }
    VectorArgument vector;
    VSS_TRY(read_vector_argument(arguments[0], "vector_length", vector));
    sqlite3_result_int64(context, static_cast<sqlite3_int64>(vector.size()));
    return Status::ok();
}

// vector_value_at(vector, index): counted from 0.
Status vector_value_at(sqlite3_context* context, Arguments arguments) {
    if (is_null(arguments[0]) || is_null(arguments[1])) {
        return Status::ok();
    }
    VectorArgument vector;
    VSS_TRY(read_vector_argument(arguments[0], "vector_value_at", vector));
    if (sqlite3_value_numeric_type(arguments[1]) != SQLITE_INTEGER) {
        return Status::invalid(cat("vector_value_at: expected the index as an integer, got ", described(arguments[1])));
    }
    const sqlite3_int64 index = sqlite3_value_int64(arguments[1]);
    if (index < 0 || static_cast<std::size_t>(index) >= vector.size()) {
        return Status::invalid(
            cat(index, " out of range: vector_value_at: expected an index of 0 or more and below ", vector.size()));
    }
    sqlite3_result_double(context, static_cast<double>(vector.values()[static_cast<std::size_t>(index)]));
    return Status::ok();
}

Status vector_debug(sqlite3_context* context, Arguments arguments) {
    VectorArgument vector;
    VSS_TRY(read_vector_argument(arguments[0], "Value not a vector: vector_debug", vector));
    std::string text = cat("size: ", vector.size(), " [");
    for (std::size_t i = 0; i < vector.size(); ++i) {
        text += cat(i == 0 ? "" : ", ", std::to_string(vector.values()[i]));  // six decimals, as sqlite-vss
    }
    set_result(context, text + "]");
    return Status::ok();
}

template <ElementType type>
Status encode(sqlite3_context* context, Arguments arguments) {
    if (is_null(arguments[0])) {
        return Status::ok();
    }
    const std::string function = cat("vss_", name_of(type));
    VectorArgument vector;
    VSS_TRY(read_vector_argument(arguments[0], function, vector));
    if (type == ElementType::bit && vector.size() % 8 != 0) {
        return Status::invalid(
            cat(function, ": expected a multiple of 8 dimensions, which bytes can hold, got ", vector.size()));
    }
    std::vector<std::byte> bytes(vector_bytes(type, vector.size()));
    const Status status = encode_vector(type, vector.values(), bytes.data());
    if (!status.is_ok()) {
        return {status.code(), cat(function, ": ", status.message())};
    }
    set_result(context, std::span<const std::byte>(bytes));
    return Status::ok();
}

// The vector and type arguments of vss_to_json() and vss_length(): a blob of the element type that the second argument
// names, or what read_vector_argument() takes where there is none. `bytes` are valid while the value is.
struct Typed {
    ElementType type = ElementType::float32;
    std::size_t dim = 0;
    std::span<const std::byte> bytes;
    VectorArgument vector;
};

Status read_typed(Arguments arguments, std::string_view function, Typed& out) {
    if (arguments.size() == 2) {
        const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(arguments[1]));
        const std::optional<ElementType> type = parse_element_type(text == nullptr ? "" : text);
        if (!type.has_value()) {
            return Status::invalid(
                cat(function, ": expected the type float32, float16, bfloat16, int8 or bit, got ",
                    text == nullptr ? std::string("null") : cat('"', std::string_view(text).substr(0, 40), '"')));
        }
        out.type = *type;
    }
    if (out.type == ElementType::float32) {
        VSS_TRY(read_vector_argument(arguments[0], function, out.vector));
        out.dim = out.vector.size();
        out.bytes = std::as_bytes(out.vector.values());
        return Status::ok();
    }
    if (sqlite3_value_type(arguments[0]) != SQLITE_BLOB) {
        return Status::invalid(
            cat(function, ": expected a blob of ", name_of(out.type), " values, got ", described(arguments[0])));
    }
    out.bytes = blob_of(arguments[0]);
    out.dim = out.bytes.size() * 8 / vector_bytes(out.type, 8);
    if (vector_bytes(out.type, out.dim) != out.bytes.size()) {
        return Status::invalid(
            cat(function, ": expected a blob of ", name_of(out.type), " values, got ", described(arguments[0])));
    }
    if (out.dim > max_dimensions) {
        return {Code::too_big, cat(function, ": expected at most ", max_dimensions, " dimensions, got ", out.dim)};
    }
    return validate_vector(out.type, Metric::l2, out.bytes.data(), out.dim, function);
}

Status to_json(sqlite3_context* context, Arguments arguments) {
    if (is_null(arguments[0])) {
        return Status::ok();
    }
    Typed typed;
    VSS_TRY(read_typed(arguments, "vss_to_json", typed));
    std::vector<float> values(typed.dim);
    decode_vector(typed.type, typed.bytes.data(), typed.dim, values.data());
    set_result(context, format_json_vector(values));
    return Status::ok();
}

Status length(sqlite3_context* context, Arguments arguments) {
    if (is_null(arguments[0])) {
        return Status::ok();
    }
    Typed typed;
    VSS_TRY(read_typed(arguments, "vss_length", typed));
    sqlite3_result_int64(context, static_cast<sqlite3_int64>(typed.dim));
    return Status::ok();
}

}  // namespace

int register_conversion_functions(sqlite3* db) {
    int rc = register_function<&vector_from_json>(db, "vector_from_json", 1);
    rc = rc == SQLITE_OK ? register_function<&vector_from_raw>(db, "vector_from_raw", 1) : rc;
    rc = rc == SQLITE_OK ? register_function<&vector_from_blob>(db, "vector_from_blob", 1) : rc;
    rc = rc == SQLITE_OK ? register_function<&vector_to_json>(db, "vector_to_json", 1) : rc;
    rc = rc == SQLITE_OK ? register_function<&vector_to_raw>(db, "vector_to_raw", 1) : rc;
    rc = rc == SQLITE_OK ? register_function<&vector_to_blob>(db, "vector_to_blob", 1) : rc;
    rc = rc == SQLITE_OK ? register_function<&vector_length>(db, "vector_length", 1) : rc;
    rc = rc == SQLITE_OK ? register_function<&vector_value_at>(db, "vector_value_at", 2) : rc;
    rc = rc == SQLITE_OK ? register_function<&vector_debug>(db, "vector_debug", 1) : rc;
    rc = rc == SQLITE_OK ? register_function<&encode<ElementType::float16>>(db, "vss_float16", 1) : rc;
    rc = rc == SQLITE_OK ? register_function<&encode<ElementType::bfloat16>>(db, "vss_bfloat16", 1) : rc;
    rc = rc == SQLITE_OK ? register_function<&encode<ElementType::int8>>(db, "vss_int8", 1) : rc;
    rc = rc == SQLITE_OK ? register_function<&encode<ElementType::bit>>(db, "vss_bit", 1) : rc;
    rc = rc == SQLITE_OK ? register_function<&to_json>(db, "vss_to_json", 1) : rc;
    rc = rc == SQLITE_OK ? register_function<&to_json>(db, "vss_to_json", 2) : rc;
    rc = rc == SQLITE_OK ? register_function<&length>(db, "vss_length", 1) : rc;
    rc = rc == SQLITE_OK ? register_function<&length>(db, "vss_length", 2) : rc;
    return rc;
}

}  // namespace vss
