// Distances and sums of two vectors. Distances are computed in double precision; the beginnings of the error texts are
// those of sqlite-vss.
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "base/types.h"
#include "kernels/kernels.h"
#include "sqlite/functions/functions.h"

namespace vss {
namespace {

using Arguments = std::span<sqlite3_value*>;

// A blob of bits, or a JSON array of 0 and 1.
Status read_bits(sqlite3_value* value, std::string_view what, VectorArgument& out) {
    VSS_TRY(read_typed_argument(value, ElementType::bit, what, out));
    const auto* const wrong = std::find_if(out.values().data(), out.values().data() + out.size(),
                                           [](float bit) { return bit != 0.0F && bit != 1.0F; });
    return wrong == out.values().data() + out.size()
               ? Status::ok()
               : Status::invalid(
                     cat(what, ": element ", wrong - out.values().data(), ": expected 0 or 1, got ", *wrong));
}

struct Pair {
    VectorArgument a;
    VectorArgument b;
};

// (a, b [, type]); `type` is what their blobs hold where it is not float32. Every type's values are held by float32, so
// the distance is the same.
Status read_pair(Arguments arguments, std::string_view function, Pair& pair) {
    sqlite3_value* const type = arguments.size() > 2 ? arguments[2] : nullptr;
    VSS_TRY(read_typed_argument(arguments[0], type, cat("LHS is not a vector: ", function), pair.a));
    VSS_TRY(read_typed_argument(arguments[1], type, cat("RHS is not a vector: ", function), pair.b));
    if (pair.a.size() != pair.b.size()) {
        return Status::invalid(cat("LHS and RHS are not vectors of the same size: ", function,
                                   ": expected equally many dimensions, got ", pair.a.size(), " and ", pair.b.size()));
    }
    return Status::ok();
}

double distance(Metric metric, const Pair& pair) {
    return exact_distance(ElementType::float32, metric, pair.a.values().data(), pair.b.values().data(), pair.a.size());
}

Status l1(sqlite3_context* context, Arguments arguments) {
    Pair pair;
    VSS_TRY(read_pair(arguments, "vss_distance_l1", pair));
    sqlite3_result_double(context, distance(Metric::l1, pair));
    return Status::ok();
}

// Squared, as sqlite-vss has it.
Status l2(sqlite3_context* context, Arguments arguments) {
    Pair pair;
    VSS_TRY(read_pair(arguments, "vss_distance_l2", pair));
    sqlite3_result_double(context, distance(Metric::l2, pair));
    return Status::ok();
}

Status euclidean(sqlite3_context* context, Arguments arguments) {
    Pair pair;
    VSS_TRY(read_pair(arguments, "vss_distance_euclidean", pair));
    sqlite3_result_double(context, std::sqrt(distance(Metric::l2, pair)));
    return Status::ok();
}

Status linf(sqlite3_context* context, Arguments arguments) {
    Pair pair;
    VSS_TRY(read_pair(arguments, "vss_distance_linf", pair));
    sqlite3_result_double(context, distance(Metric::linf, pair));
    return Status::ok();
}

// Elements that differ, of two vectors of bits.
Status hamming(sqlite3_context* context, Arguments arguments) {
    Pair pair;
    for (const std::size_t i : {0, 1}) {
        VectorArgument& vector = i == 0 ? pair.a : pair.b;
        VSS_TRY(read_bits(
            arguments[i],
            i == 0 ? "LHS is not a vector: vss_distance_hamming" : "RHS is not a vector: vss_distance_hamming",
            vector));
    }
    if (pair.a.size() != pair.b.size()) {
        return Status::invalid(
            cat("vss_distance_hamming: expected equally many bits, got ", pair.a.size(), " and ", pair.b.size()));
    }
    std::int64_t different = 0;
    for (std::size_t i = 0; i < pair.a.size(); ++i) {
        different += pair.a.values()[i] != pair.b.values()[i] ? 1 : 0;
    }
    sqlite3_result_int64(context, different);
    return Status::ok();
}

// The product itself: larger is nearer.
Status inner_product(sqlite3_context* context, Arguments arguments) {
    Pair pair;
    VSS_TRY(read_pair(arguments, "vss_inner_product", pair));
    sqlite3_result_double(context, 0.0 - distance(Metric::inner_product, pair));
    return Status::ok();
}

bool is_zero(const VectorArgument& vector) {
    return std::all_of(vector.values().begin(), vector.values().end(), [](float value) { return value == 0.0F; });
}

template <bool is_distance>
Status cosine(sqlite3_context* context, Arguments arguments) {
    Pair pair;
    const std::string_view function = is_distance ? "vss_distance_cosine" : "vss_cosine_similarity";
    VSS_TRY(read_pair(arguments, function, pair));
    if (is_zero(pair.a) || is_zero(pair.b)) {
        return Status::invalid(cat("One or both vectors are zero-vectors: ", function, ": expected directions"));
    }
    const double found = distance(Metric::cosine, pair);
    sqlite3_result_double(context, is_distance ? found : 1.0 - found);
    return Status::ok();
}

template <class Operation>
Status combine(sqlite3_context* context, Arguments arguments, std::string_view function, Operation operation) {
    Pair pair;
    VSS_TRY(read_pair(arguments, function, pair));
    std::vector<float> result(pair.a.size());
    std::transform(pair.a.values().begin(), pair.a.values().end(), pair.b.values().begin(), result.begin(), operation);
    if (!all_finite(result.data(), result.size())) {
        return Status::invalid(cat(function, ": expected a result that float32 can hold, got one beyond it"));
    }
    set_result(context, result);
    return Status::ok();
}

Status add(sqlite3_context* context, Arguments arguments) {
    return combine(context, arguments, "vss_fvec_add", [](float a, float b) { return a + b; });
}

Status subtract(sqlite3_context* context, Arguments arguments) {
    return combine(context, arguments, "vss_fvec_sub", [](float a, float b) { return a - b; });
}

}  // namespace

int register_distance_functions(sqlite3* db) {
    int rc = SQLITE_OK;
    for (const int argc : {2, 3}) {  // without and with the type
        rc = rc == SQLITE_OK ? register_function<&l1>(db, "vss_distance_l1", argc) : rc;
        rc = rc == SQLITE_OK ? register_function<&l2>(db, "vss_distance_l2", argc) : rc;
        rc = rc == SQLITE_OK ? register_function<&euclidean>(db, "vss_distance_euclidean", argc) : rc;
        rc = rc == SQLITE_OK ? register_function<&linf>(db, "vss_distance_linf", argc) : rc;
        rc = rc == SQLITE_OK ? register_function<&inner_product>(db, "vss_inner_product", argc) : rc;
        rc = rc == SQLITE_OK ? register_function<&cosine<false>>(db, "vss_cosine_similarity", argc) : rc;
        rc = rc == SQLITE_OK ? register_function<&cosine<true>>(db, "vss_distance_cosine", argc) : rc;
    }
    rc = rc == SQLITE_OK ? register_function<&hamming>(db, "vss_distance_hamming", 2) : rc;
    rc = rc == SQLITE_OK ? register_function<&add>(db, "vss_fvec_add", 2) : rc;
    rc = rc == SQLITE_OK ? register_function<&subtract>(db, "vss_fvec_sub", 2) : rc;
    return rc;
}

}  // namespace vss
