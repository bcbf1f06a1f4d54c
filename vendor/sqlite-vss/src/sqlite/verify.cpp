#include "sqlite/verify.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <string_view>

#include "base/text.h"

namespace vss {
namespace {

bool asked_by_environment() {
    const char* text = std::getenv("VSSNATIVE_VERIFY");
    return text != nullptr && std::string_view(text) != "0" && *text != '\0';
}

std::atomic<bool>& verifying() {
    static std::atomic<bool> on{asked_by_environment()};
    return on;
}

// Every row that may be found, for each query, nearest first.
Status all_neighbors(Table& table, std::size_t vector, const SearchRequest& request,
                     std::vector<std::vector<Neighbor>>& out) {
    const Column& column = table.schema().vector(vector);
    VectorStore& store = table.store(vector);
    out.assign(request.queries.size(), {});
    Statement rows;
    const std::string slot = cat("_slot", vector);
    VSS_TRY(rows.prepare(
        table.name().db,
        cat("select _rowid, ", slot, " from ", table.name().shadow("rows"), " where ", slot, " is not null"), false));
    std::vector<std::byte> bytes(store.geometry().vector_bytes);
    for (bool row = true;;) {
        VSS_TRY(rows.step(row));
        if (!row) {
            break;
        }
        const std::int64_t rowid = rows.int64(0);
        if (!request.filter.passes(rowid)) {
            continue;
        }
        VSS_TRY(store.read(static_cast<std::uint64_t>(rows.int64(1)), rowid, bytes));
        for (std::size_t q = 0; q < out.size(); ++q) {
            const Neighbor at = Neighbor::at(
                exact_distance(column.type, column.metric, request.queries[q], bytes.data(), column.dim), rowid);
            if (request.filter.passes_distance(at.reported())) {
                out[q].push_back(at);
            }
        }
    }
    for (std::vector<Neighbor>& neighbors : out) {
        std::sort(neighbors.begin(), neighbors.end());
    }
    return Status::ok();
}

}  // namespace

bool verification() {
    return verifying().load(std::memory_order_relaxed);
}

void set_verification(bool on) {
    verifying().store(on);
}

Status verify_search(Table& table, std::size_t vector, const SearchRequest& request, bool exact,
                     const std::vector<std::vector<Neighbor>>& results) {
    std::vector<std::vector<Neighbor>> truths;
    VSS_TRY(all_neighbors(table, vector, request, truths));
    const bool is_near_enough = request.filter.distance_below == std::numeric_limits<double>::infinity();
    for (std::size_t q = 0; q < truths.size(); ++q) {
        const std::vector<Neighbor>& truth = truths[q];
        const std::vector<Neighbor>& found = results[q];
        const auto wrong = [&](std::string_view what) {
            return Status(Code::internal, cat("verification of ", table.name().words(table.schema().vector(vector)),
                                              ", query ", q, ", k ", request.k, exact ? ", exact: " : ", approximate: ",
                                              what, "; ", found.size(), " rows of ", truth.size(), " that match"));
        };
        const std::size_t wanted = std::min(request.k, truth.size());
        if (found.size() > wanted || (found.size() < wanted && (exact || is_near_enough))) {
            return wrong("another number of rows");
        }
        for (std::size_t i = 0; i < found.size(); ++i) {
            if (i > 0 && !(found[i - 1] < found[i])) {
                return wrong(cat("row ", found[i].rowid, " is out of order"));
            }
            if (exact ? !(found[i] == truth[i]) : !std::binary_search(truth.begin(), truth.end(), found[i])) {
                return wrong(cat("row ", found[i].rowid, " at distance ", found[i].distance, " is not that answer"));
            }
        }
    }
    return Status::ok();
}

}  // namespace vss
