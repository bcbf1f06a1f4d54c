// vss_note_model(vector, model): the host says which of its models made a vector, so that a search that is given the
// same bytes can refuse to compare them with vectors of another. The last ones are remembered, for the process.
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <unordered_map>

#include "base/text.h"
#include "sqlite/functions/functions.h"
#include "storage/statement.h"

namespace vss {
namespace {

using Arguments = std::span<sqlite3_value*>;

constexpr std::size_t most_notes = 65536;
// Of a vector that two models made alike.
constexpr std::int64_t no_model = -1;

std::uint64_t hash_of(std::span<const std::byte> bytes) {
    return std::hash<std::string_view>{}({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

// Which model made a vector, by the vector's hash. Threads: any.
class ModelNotes {
  public:
    static ModelNotes& instance() {
        static ModelNotes notes;
        return notes;
    }

    void add(std::uint64_t hash, std::int64_t model) {
        const std::scoped_lock lock(mutex_);
        const auto [at, is_new] = models_.try_emplace(hash, model);
        if (!is_new) {
            at->second = at->second == model ? model : no_model;
            return;
        }
        order_.push_back(hash);
        if (order_.size() > most_notes) {
            models_.erase(order_.front());
            order_.pop_front();
        }
    }

    [[nodiscard]] std::int64_t find(std::span<const std::byte> bytes) {
        const std::scoped_lock lock(mutex_);
        if (models_.empty()) {
            return no_model;
        }
        const auto at = models_.find(hash_of(bytes));
        return at == models_.end() ? no_model : at->second;
    }

  private:
    std::mutex mutex_;
    std::unordered_map<std::uint64_t, std::int64_t> models_;
    std::deque<std::uint64_t> order_;
};

Status note_model(sqlite3_context* /*context*/, Arguments arguments) {
    if (sqlite3_value_type(arguments[0]) != SQLITE_BLOB || sqlite3_value_type(arguments[1]) != SQLITE_INTEGER ||
        sqlite3_value_int64(arguments[1]) < 0) {
        return Status::invalid("vss_note_model: expected a blob and a number of 0 or more");
    }
    ModelNotes::instance().add(hash_of(blob_of(arguments[0])), sqlite3_value_int64(arguments[1]));
    return Status::ok();
}

}  // namespace

Status check_model(sqlite3* db, std::string_view schema, std::string_view table, sqlite3_value* query) {
    if (sqlite3_value_type(query) != SQLITE_BLOB) {
        return Status::ok();
    }
    const std::int64_t model = ModelNotes::instance().find(blob_of(query));
    if (model == no_model) {
        return Status::ok();
    }
    Statement host;
    if (!host.prepare(db, "select vssnative_embed_fits(?, ?, ?)", false).is_ok()) {
        return Status::ok();  // a connection whose host has not said what its tables hold
    }
    host.bind(1, model);
    host.bind_text(2, schema);
    host.bind_text(3, table);
    bool row = false;
    VSS_TRY(host.step(row));
    return row && !host.is_null(0) ? Status::invalid(std::string(host.text(0))) : Status::ok();
}

int register_embed_function(sqlite3* db) {
    return register_function<&note_model>(db, "vss_note_model", 2, SQLITE_DIRECTONLY);
}

}  // namespace vss
