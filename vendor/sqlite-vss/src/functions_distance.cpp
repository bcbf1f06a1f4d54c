// Distances and sums of two vectors. Distances are computed in double precision; the beginnings of the error texts are
// those of sqlite-vss.
#include <algorithm>
#include <cmath>

#include "functions.h"
#include "kernels.h"
#include "text.h"
#include "types.h"

namespace vss {
namespace {

using Arguments = std::span<sqlite3_value*>;

struct Pair {
    VectorArgument a;
    VectorArgument b;
};

Status read_pair(Arguments arguments, std::string_view function, Pair& pair) {
    VSS_TRY(read_vector_argument(arguments[0], cat("LHS is not a vector: ", function), pair.a));
    VSS_TRY(read_vector_argument(arguments[1], cat("RHS is not a vector: ", function), pair.b));
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

Status linf(sqlite3_context* context, Arguments arguments) {
    Pair pair;
    VSS_TRY(read_pair(arguments, "vss_distance_linf", pair));
    double largest = 0;
    for (std::size_t i = 0; i < pair.a.size(); ++i) {
        largest = std::max(largest,
                           std::abs(static_cast<double>(pair.a.values()[i]) - static_cast<double>(pair.b.values()[i])));
    }
    sqlite3_result_double(context, largest);
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

Status cosine_similarity(sqlite3_context* context, Arguments arguments) {
    Pair pair;
    VSS_TRY(read_pair(arguments, "vss_cosine_similarity", pair));
    if (is_zero(pair.a) || is_zero(pair.b)) {
        return Status::invalid("One or both vectors are zero-vectors: vss_cosine_similarity: expected directions");
    }
    sqlite3_result_double(context, 1.0 - distance(Metric::cosine, pair));
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
    int rc = register_function<&l1>(db, "vss_distance_l1", 2);
    rc = rc == SQLITE_OK ? register_function<&l2>(db, "vss_distance_l2", 2) : rc;
    rc = rc == SQLITE_OK ? register_function<&linf>(db, "vss_distance_linf", 2) : rc;
    rc = rc == SQLITE_OK ? register_function<&inner_product>(db, "vss_inner_product", 2) : rc;
    rc = rc == SQLITE_OK ? register_function<&cosine_similarity>(db, "vss_cosine_similarity", 2) : rc;
    rc = rc == SQLITE_OK ? register_function<&add>(db, "vss_fvec_add", 2) : rc;
    rc = rc == SQLITE_OK ? register_function<&subtract>(db, "vss_fvec_sub", 2) : rc;
    return rc;
}

}  // namespace vss
