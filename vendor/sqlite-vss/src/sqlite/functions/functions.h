// The SQL functions that work on vectors as values: distances, arithmetic, conversions (docs/functions.md lists them).
#pragma once

#include <cstddef>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "kernels/vector_value.h"
#include "storage/sqlite_api.h"

namespace vss {

// Registers every scalar function and table-valued function of functions_*.cpp and fvecs_table.cpp on `db`; returns a
// SQLite code.
int register_functions(sqlite3* db);

// A vector argument of a SQL function.
class VectorArgument {
  public:
    // Aligned for float, whatever the address of the blob was. Valid while the SQL value and this object are.
    [[nodiscard]] std::span<const float> values() const { return values_; }
    [[nodiscard]] std::size_t size() const { return values_.size(); }

  private:
    friend Status read_vector_argument(sqlite3_value* value, std::string_view what, VectorArgument& out);
    friend Status read_json_argument(sqlite3_value* value, std::string_view what, VectorArgument& out);
    friend Status read_typed_argument(sqlite3_value* value, ElementType type, std::string_view what,
                                      VectorArgument& out);

    std::span<const float> values_;  // into the SQL value or into storage_
    std::vector<float> storage_;
};

// Reads a vector: a float32 blob, a blob of vector_to_blob() (two bytes of header before the floats, so the length
// tells the two apart), or JSON text. Every element is finite, there are at most max_dimensions, and there may be none.
// `what` begins the message of an error.
Status read_vector_argument(sqlite3_value* value, std::string_view what, VectorArgument& out);
// JSON text only.
Status read_json_argument(sqlite3_value* value, std::string_view what, VectorArgument& out);

// The element type that an argument names; float32 where there is none (nullptr).
Status read_type(sqlite3_value* type, std::string_view what, ElementType& out);
// A vector of the type that `type` names, as floats: a blob of that type, or JSON text.
Status read_typed_argument(sqlite3_value* value, sqlite3_value* type, std::string_view what, VectorArgument& out);
Status read_typed_argument(sqlite3_value* value, ElementType type, std::string_view what, VectorArgument& out);

// "integer", "real", "text", "blob of 3 bytes", "null": what came, for a message.
[[nodiscard]] std::string described(sqlite3_value* value);
[[nodiscard]] std::span<const std::byte> blob_of(sqlite3_value* value);
[[nodiscard]] std::string text_of(sqlite3_value* value);

void set_result(sqlite3_context* context, std::string_view text);
void set_result(sqlite3_context* context, std::span<const float> values);  // as a float32 blob
void set_result(sqlite3_context* context, std::span<const std::byte> bytes);
void set_error(sqlite3_context* context, const Status& status);

// A SQL function's body returns a Status and may throw std::bad_alloc; this turns it into what SQLite calls.
template <auto Body>
void function_entry(sqlite3_context* context, int argc, sqlite3_value** argv) {
    try {
        const Status status = Body(context, std::span<sqlite3_value*>(argv, static_cast<std::size_t>(argc)));
        if (!status.is_ok()) {
            set_error(context, status);
        }
    } catch (const std::bad_alloc&) {
        sqlite3_result_error_nomem(context);
    } catch (const std::exception& exception) {
        sqlite3_result_error(context, exception.what(), -1);
    } catch (...) {
        sqlite3_result_error_code(context, SQLITE_INTERNAL);
    }
}

// Functions of their arguments and nothing else, safe in any schema.
inline constexpr int pure_function = SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;

template <auto Body>
int register_function(sqlite3* db, const char* name, int argc, int flags = pure_function, void* data = nullptr,
                      void (*destroy)(void*) = nullptr) {
    return register_scalar<&function_entry<Body>>(db, name, argc, flags, data, destroy);
}

// One per file; each returns a SQLite code.
int register_distance_functions(sqlite3* db);
int register_arithmetic_functions(sqlite3* db);
int register_conversion_functions(sqlite3* db);
int register_settings_function(sqlite3* db);
int register_about_functions(sqlite3* db);
int register_fvecs_table(sqlite3* db);
int register_embed_function(sqlite3* db);

// Refuses a query that was noted (vss_note_model) to be of another model than the table's vectors, where the host knows
// that.
Status check_model(sqlite3* db, std::string_view schema, std::string_view table, sqlite3_value* query);

}  // namespace vss
