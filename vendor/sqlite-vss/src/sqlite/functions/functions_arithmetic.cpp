// Arithmetic on vectors as values: sums, scaling, parts, quantizing, and means over rows. NULL gives NULL; the
// aggregates pass over it.
#include <array>
#include <cmath>
#include <memory>
#include <utility>

#include "base/text.h"
#include "base/types.h"
#include "kernels/vector_value.h"
#include "sqlite/functions/functions.h"

namespace vss {
namespace {

using Arguments = std::span<sqlite3_value*>;

// One byte holds -128 to 127; an element of a vector of length 1 lies within -1 and 1.
constexpr double default_int8_scale = 127;

bool any_is_null(Arguments arguments) {
    for (sqlite3_value* value : arguments) {
        if (sqlite3_value_type(value) == SQLITE_NULL) {
            return true;
        }
    }
    return false;
}

Status read_number(sqlite3_value* value, std::string_view what, double& out) {
    const int type = sqlite3_value_numeric_type(value);
    out = sqlite3_value_double(value);
    return (type == SQLITE_INTEGER || type == SQLITE_FLOAT) && std::isfinite(out)
               ? Status::ok()
               : Status::invalid(cat(what, ", got ", described(value)));
}

Status give_floats(sqlite3_context* context, std::string_view function, const std::vector<float>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (!std::isfinite(values[i])) {
            return Status::invalid(
                cat(function, ": element ", i, ": expected a result that float32 can hold, got one beyond it"));
        }
    }
    set_result(context, values);
    return Status::ok();
}

// vss_add(a, b [, type]), vss_sub(a, b [, type])
template <int sign>
Status combine(sqlite3_context* context, Arguments arguments) {
    const std::string_view function = sign > 0 ? "vss_add" : "vss_sub";
    if (any_is_null(arguments)) {
        return Status::ok();
    }
    VectorArgument a;
    VectorArgument b;
    sqlite3_value* type = arguments.size() > 2 ? arguments[2] : nullptr;
    VSS_TRY(read_typed_argument(arguments[0], type, function, a));
    VSS_TRY(read_typed_argument(arguments[1], type, function, b));
    if (a.size() != b.size()) {
        return Status::invalid(cat(function, ": expected equally many dimensions, got ", a.size(), " and ", b.size()));
    }
    std::vector<float> out(a.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = sign > 0 ? a.values()[i] + b.values()[i] : a.values()[i] - b.values()[i];
    }
    return give_floats(context, function, out);
}

// vss_scale(v, factor [, type])
Status scale(sqlite3_context* context, Arguments arguments) {
    if (any_is_null(arguments)) {
        return Status::ok();
    }
    VectorArgument vector;
    double factor = 0;
    VSS_TRY(read_typed_argument(arguments[0], arguments.size() > 2 ? arguments[2] : nullptr, "vss_scale", vector));
    VSS_TRY(read_number(arguments[1], "vss_scale: expected the factor as a number", factor));
    std::vector<float> out(vector.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = static_cast<float>(static_cast<double>(vector.values()[i]) * factor);
    }
    return give_floats(context, "vss_scale", out);
}

// vss_normalize(v [, type])
Status normalize(sqlite3_context* context, Arguments arguments) {
    if (any_is_null(arguments)) {
        return Status::ok();
    }
    VectorArgument vector;
    VSS_TRY(read_typed_argument(arguments[0], arguments.size() > 1 ? arguments[1] : nullptr, "vss_normalize", vector));
    double squares = 0;
    for (const float value : vector.values()) {
        squares += static_cast<double>(value) * static_cast<double>(value);
    }
    if (squares == 0) {
        return Status::invalid("vss_normalize: expected a vector with a direction, got all zeros");
    }
    const double length = std::sqrt(squares);
    std::vector<float> out(vector.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = static_cast<float>(static_cast<double>(vector.values()[i]) / length);
    }
    return give_floats(context, "vss_normalize", out);
}

// vss_slice(v, begin, end [, type]): elements begin, begin + 1, ..., end - 1, counted from 0, in the type of v.
Status slice(sqlite3_context* context, Arguments arguments) {
    if (any_is_null(arguments)) {
        return Status::ok();
    }
    VectorArgument vector;
    ElementType type = ElementType::float32;
    sqlite3_value* const type_value = arguments.size() > 3 ? arguments[3] : nullptr;
    VSS_TRY(read_type(type_value, "vss_slice", type));
    VSS_TRY(read_typed_argument(arguments[0], type_value, "vss_slice", vector));
    for (const std::size_t i : {1, 2}) {
        if (sqlite3_value_numeric_type(arguments[i]) != SQLITE_INTEGER) {
            return Status::invalid(cat("vss_slice: expected begin and end as integers, got ", described(arguments[i])));
        }
    }
    const std::int64_t begin = sqlite3_value_int64(arguments[1]);
    const std::int64_t end = sqlite3_value_int64(arguments[2]);
    const auto size = static_cast<std::int64_t>(vector.size());
    if (begin < 0 || end < begin || end > size) {
        return Status::invalid(cat("vss_slice: expected 0 <= begin <= end <= ", size, ", got ", begin, " and ", end));
    }
    const auto part = vector.values().subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
    if (type == ElementType::bit && part.size() % 8 != 0) {
        return Status::invalid(
            cat("vss_slice: expected a multiple of 8 bits, which bytes can hold, got ", part.size()));
    }
    std::vector<std::byte> bytes(vector_bytes(type, part.size()));
    VSS_TRY(encode_vector(type, part, bytes.data()));
    set_result(context, std::span<const std::byte>(bytes));
    return Status::ok();
}

// vss_quantize_int8(v [, scale]): each element times scale, rounded to the nearest whole number.
Status quantize_int8(sqlite3_context* context, Arguments arguments) {
    if (any_is_null(arguments)) {
        return Status::ok();
    }
    VectorArgument vector;
    double scale = default_int8_scale;
    VSS_TRY(read_vector_argument(arguments[0], "vss_quantize_int8", vector));
    if (arguments.size() > 1) {
        VSS_TRY(read_number(arguments[1], "vss_quantize_int8: expected the scale as a number", scale));
    }
    std::vector<float> scaled;
    const Status status = scale_to_int8(vector.values(), scale, scaled);
    if (!status.is_ok()) {
        return {status.code(), cat("vss_quantize_int8: ", status.message())};
    }
    std::vector<std::byte> bytes(scaled.size());
    VSS_TRY(encode_vector(ElementType::int8, scaled, bytes.data()));
    set_result(context, std::span<const std::byte>(bytes));
    return Status::ok();
}

// vss_quantize_bit(v): 1 for each element above 0.
Status quantize_bit(sqlite3_context* context, Arguments arguments) {
    if (any_is_null(arguments)) {
        return Status::ok();
    }
    VectorArgument vector;
    VSS_TRY(read_vector_argument(arguments[0], "vss_quantize_bit", vector));
    if (vector.size() % 8 != 0) {
        return Status::invalid(
            cat("vss_quantize_bit: expected a multiple of 8 dimensions, which bytes can hold, got ", vector.size()));
    }
    std::vector<std::byte> bytes(vector.size() / 8);
    for (std::size_t i = 0; i < vector.size(); ++i) {
        if (vector.values()[i] > 0) {
            bytes[i / 8] |= std::byte{1} << (i % 8);
        }
    }
    set_result(context, std::span<const std::byte>(bytes));
    return Status::ok();
}

// --- aggregates: vss_sum(v [, type]), vss_avg(v [, type]) ------------------------------------------------------------

struct Total {
    std::vector<double> sums;
    std::int64_t rows = 0;
};
// What SQLite keeps for each group, zeros at first.
struct Place {
    Total* total;  // owned: finish() is called for each place
};

template <bool is_mean>
constexpr std::string_view aggregate_name = is_mean ? "vss_avg" : "vss_sum";

template <bool is_mean>
Status add_row(sqlite3_context* context, Arguments arguments) {
    if (any_is_null(arguments)) {
        return Status::ok();
    }
    constexpr std::string_view function = aggregate_name<is_mean>;
    VectorArgument vector;
    VSS_TRY(read_typed_argument(arguments[0], arguments.size() > 1 ? arguments[1] : nullptr, function, vector));
    auto* const place = static_cast<Place*>(sqlite3_aggregate_context(context, sizeof(Place)));
    if (place == nullptr) {
        return {Code::no_memory, "out of memory"};
    }
    if (place->total == nullptr) {
        auto fresh = std::make_unique<Total>();
        fresh->sums.resize(vector.size());
        place->total = fresh.release();
    }
    Total* const total = place->total;
    if (total->sums.size() != vector.size()) {
        return Status::invalid(
            cat(function, ": expected ", total->sums.size(), " dimensions as in the rows before, got ", vector.size()));
    }
    for (std::size_t i = 0; i < vector.size(); ++i) {
        total->sums[i] += static_cast<double>(vector.values()[i]);
    }
    ++total->rows;
    return Status::ok();
}

template <bool is_mean>
void finish(sqlite3_context* context) {
    auto* const place = static_cast<Place*>(sqlite3_aggregate_context(context, 0));
    const std::unique_ptr<Total> total(place == nullptr ? nullptr : std::exchange(place->total, nullptr));
    if (total == nullptr) {
        return;  // NULL: there was no vector
    }
    try {
        std::vector<float> out(total->sums.size());
        for (std::size_t i = 0; i < out.size(); ++i) {
            out[i] = static_cast<float>(is_mean ? total->sums[i] / static_cast<double>(total->rows) : total->sums[i]);
        }
        const Status status = give_floats(context, aggregate_name<is_mean>, out);
        if (!status.is_ok()) {
            set_error(context, status);
        }
    } catch (...) {  // std::bad_alloc
        sqlite3_result_error_nomem(context);
    }
}

// As for scalar functions, an entry for each library.
template <bool is_mean, std::size_t slot>
void finish_entry(sqlite3_context* context) {
    const ApiScope scope(api_of_slot(slot));
    finish<is_mean>(context);
}

template <bool is_mean, std::size_t... slots>
int register_aggregate(sqlite3* db, int argc, std::index_sequence<slots...> /*slots*/) {
    using Finish = void (*)(sqlite3_context*);
    constexpr std::array<Finish, sizeof...(slots)> finishes = {&finish_entry<is_mean, slots>...};
    const std::size_t slot = api_slot_of_current();
    const ScalarFunction step = entry_for_current_api<&function_entry<&add_row<is_mean>>>();
    if (step == nullptr || slot >= max_sqlite_libraries) {
        return SQLITE_ERROR;
    }
    return sqlite3_create_function_v2(db, aggregate_name<is_mean>.data(), argc, SQLITE_UTF8 | pure_function, nullptr,
                                      nullptr, step, finishes[slot], nullptr);
}

}  // namespace

int register_arithmetic_functions(sqlite3* db) {
    int rc = SQLITE_OK;
    for (const int type : {0, 1}) {  // without and with
        rc = rc == SQLITE_OK ? register_function<&combine<1>>(db, "vss_add", 2 + type) : rc;
        rc = rc == SQLITE_OK ? register_function<&combine<-1>>(db, "vss_sub", 2 + type) : rc;
        rc = rc == SQLITE_OK ? register_function<&scale>(db, "vss_scale", 2 + type) : rc;
        rc = rc == SQLITE_OK ? register_function<&normalize>(db, "vss_normalize", 1 + type) : rc;
        rc = rc == SQLITE_OK ? register_function<&slice>(db, "vss_slice", 3 + type) : rc;
        rc = rc == SQLITE_OK ? register_function<&quantize_int8>(db, "vss_quantize_int8", 1 + type) : rc;
        constexpr auto libraries = std::make_index_sequence<max_sqlite_libraries>();
        rc = rc == SQLITE_OK ? register_aggregate<true>(db, 1 + type, libraries) : rc;
        rc = rc == SQLITE_OK ? register_aggregate<false>(db, 1 + type, libraries) : rc;
    }
    return rc == SQLITE_OK ? register_function<&quantize_bit>(db, "vss_quantize_bit", 1) : rc;
}

}  // namespace vss
