#include "index/cells/cells_kind.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "base/cache.h"
#include "base/text.h"
#include "index/cells/cell_search.h"
#include "index/cells/cell_tables.h"
#include "index/cells/cells.h"
#include "index/exact_search.h"
#include "storage/read_connection.h"

namespace vss {
namespace {

// Keys of t_config, followed by the column's number.
constexpr std::string_view cells_from_key = "cells_from";
constexpr std::string_view cell_rows_key = "cell_rows";
constexpr std::string_view slot_codes_key = "slot_codes";
// Neighbourhoods that one step of optimize() clusters again: some ten milliseconds of work.
constexpr std::size_t neighborhoods_per_step = 4;
// Rows of its own that a table asks for their neighbours, to learn when searches may end. To ask 400 takes as long as
// placing some ten thousand: a small table asks one in so many, and its searches scan more for what these leave open.
constexpr std::uint64_t most_learning_samples = 400;
constexpr std::uint64_t least_learning_samples = 160;
constexpr std::uint64_t rows_per_learning_sample = 50;
// Queries that measure every row, in a transaction that has added most of them, before one clusters the rows.
// Clustering takes as long as 150 such queries, and is no longer to be done at the commit.
constexpr std::size_t asked_before_clustering = 32;
// LearnedRecall::levels as text.
constexpr std::array<std::string_view, LearnedRecall::levels.size()> level_names = {"0.8",  "0.9",  "0.95", "0.97",
                                                                                    "0.98", "0.99", "0.995"};

CellTuning tuning_of(const TableConfig& config, std::size_t c) {
    const std::int64_t from = config.number(cells_from_key, c);
    const std::int64_t rows = config.number(cell_rows_key, c);
    CellTuning tuning = from > 0 && rows > 0
                            ? cell_tuning(static_cast<std::size_t>(from), static_cast<std::size_t>(rows))
                            : CellTuning{};
    if (const std::int64_t kept = config.number(slot_codes_key, c); kept >= 0) {
        tuning.slot_codes = kept != 0;
    }
    return tuning;
}

// By a connection of its own.
class OwnTables final : public CellSource {
  public:
    OwnTables(const DatabaseFile& file, const TableName& name, const VectorStore& store, std::size_t column)
        : connection_(file),
          name_(name),
          store_(name_, store.column(), column, store.geometry()),
          tables_(name_, store_, column),
          reads_(store_) {}

    // Whether it can read them, in that state.
    bool open(std::uint64_t generation) {
        if (!connection_.open().is_ok()) {
            return false;
        }
        name_.db = connection_.db();
        name_.schema = "main";
        CellState state;
        return tables_.read_state(0, state).is_ok() && state.generation == generation;
    }
    RowStore& rows() override { return tables_; }
    CellStore& cells() override { return tables_; }

  private:
    ReadConnection connection_;
    TableName name_;
    VectorStore store_;
    CellTables tables_;
    VectorStore::SingleReads reads_;
};

class CellsOfColumn final : public ColumnIndex {
  public:
    explicit CellsOfColumn(const IndexContext& context)
        : name_(context.name),
          store_(context.store),
          words_(context.name.words(context.store.column())),
          tables_(context.name, store_, context.column),
          index_(tables_, store_.column().dim, store_.column().metric, tuning_of(context.config, context.column)),
          search_(index_, tables_, store_.column().type, store_.column().dim, store_.column().metric) {}

    Status inserted(std::uint64_t slot) override { return index_.add(slot); }
    Status removing(std::uint64_t slot) override { return index_.remove(slot); }
    Status rows_changed() override { return index_.note_change(); }
    [[nodiscard]] bool is_dirty() const override { return index_.is_dirty(); }
    [[nodiscard]] bool has_bulk_work() const override { return index_.has_bulk_work(); }
    Status flush() override;
    void discard() override;

    Status search(const SearchRequest& request, SearchAnswer& answer) override;
    void explain(Json& json) override;
    Status is_exact(bool& out) override;
    Status count(std::uint64_t& out) override;

    Status check(const Report& report) override;
    Status restart(const Report& report) override;

    Status train() override;
    Status rebuild() override;
    Status relearn() override;
    Status optimize(OptimizeStep& step) override;
    Status parts(std::uint64_t& out) override;
    Status stats(Json& json) override;

  private:
    Status cluster_for(std::size_t queries);
    Status learn_if_due();
    Status learn_if_it_holds_no_more();
    Status learn();
    Status search_cells(const SearchRequest& request, bool approximate, SearchAnswer& answer);

    const TableName& name_;
    VectorStore& store_;
    std::string words_;
    CellTables tables_;
    CellIndex index_;
    CellSearch search_;
    bool measured_all_ = true;          // the last search did, by brute force
    std::size_t asked_of_unsaved_ = 0;  // queries that measured every row while most waited for being clustered
    bool clustered_for_search_ = false;
    bool was_approximate_ = false;
};

Status CellsOfColumn::flush() {
    if (!index_.is_dirty()) {
        return Status::ok();
    }
    VSS_TRY(index_.settle_and_write());
    VSS_TRY(learn_if_due());
    VSS_TRY(learn_if_it_holds_no_more());
    asked_of_unsaved_ = 0;
    clustered_for_search_ = false;
    return index_.flush();
}

void CellsOfColumn::discard() {
    asked_of_unsaved_ = 0;
    clustered_for_search_ = false;
    index_.discard();
}

// Rows that a transaction has added and not committed are clustered by its own searches once these are many. In memory
// only: a search must not write, as its statement may be one that reads the tables while it is asked.
Status CellsOfColumn::cluster_for(std::size_t queries) {
    if (index_.has_bulk_work()) {
        asked_of_unsaved_ += queries;
        if (asked_of_unsaved_ < asked_before_clustering || index_.bulk_bytes() > Cache::instance().budget()) {
            return Status::ok();
        }
        VSS_TRY(index_.settle());
        clustered_for_search_ = true;
    }
    return clustered_for_search_ ? learn_if_due() : Status::ok();
}

Status CellsOfColumn::learn_if_due() {
    if (!index_.state().is_celled() || !index_.is_changed()) {
        return Status::ok();
    }
    std::shared_ptr<const CellDirectory> directory;
    VSS_TRY(index_.directory(directory));
    const std::uint64_t then = index_.state().learned.cells_then;
    const std::uint64_t live = directory->live();
    directory.reset();
    // Rows that came in the place of others may be of another kind, in as many cells.
    const std::uint64_t half = std::clamp<std::uint64_t>(index_.state().learned.rows / 2, 1, CellState::most_removed);
    return live > then * 2 || live * 3 < then || index_.state().removed_since >= half ? learn() : Status::ok();
}

// Rows that came since then may be of another kind, long before the cells have doubled: some of them are asked each
// time that the table has grown by a quarter. Cells that rows have left are merged, and what is expected of merged
// cells may be another number: some rows of all are asked each time that an eighth of them has left.
Status CellsOfColumn::learn_if_it_holds_no_more() {
    constexpr double step = 1.25;
    constexpr std::uint64_t part = 8;
    const std::uint64_t then = index_.state().learned.rows;
    if (!index_.state().is_celled() || index_.state().learned.cells_then == 0 || then == 0) {
        return Status::ok();
    }
    const auto steps = [&](std::uint64_t rows) {
        return rows <= then
                   ? 0
                   : static_cast<int>(std::log(static_cast<double>(rows) / static_cast<double>(then)) / std::log(step));
    };
    const std::uint64_t leaving = std::clamp<std::uint64_t>(then / part, 1, CellState::most_removed / part);
    bool holds = true;
    if (steps(index_.state().rows) > steps(index_.rows_before())) {
        VSS_TRY(search_.holds_for(CellSearch::Sample::newest, holds));
    }
    if (holds && index_.state().removed_since / leaving > index_.removed_before() / leaving) {
        VSS_TRY(search_.holds_for(CellSearch::Sample::any, holds));
    }
    return holds ? Status::ok() : learn();
}

Status CellsOfColumn::learn() {
    if (index_.state().learned.cells_then == 0) {
        VSS_TRY(index_.measure_all_radii());
    }
    LearnedRecall learned;
    const std::uint64_t samples =
        std::clamp(index_.state().rows / rows_per_learning_sample, least_learning_samples, most_learning_samples);
    VSS_TRY(search_.learn(samples, learned));
    index_.set_learned(learned);
    return Status::ok();
}

Status CellsOfColumn::train() {
    if (!index_.has_bulk_work()) {
        return Status::ok();
    }
    VSS_TRY(index_.settle_and_write());
    return learn_if_due();
}

Status CellsOfColumn::relearn() {
    VSS_TRY(index_.load());
    return index_.state().is_celled() ? learn() : Status::ok();
}

Status CellsOfColumn::rebuild() {
    VSS_TRY(index_.load());
    if (!index_.state().is_celled() && index_.state().rows < index_.tuning().first_cells_at) {
        return Status::ok();
    }
    return index_.rebuild();
}

Status CellsOfColumn::search(const SearchRequest& request, SearchAnswer& answer) {
    answer = {};
    measured_all_ = true;
    // Where the nearest rows are ruled out by their distance, how many to look at is not known beforehand.
    const bool ruled_out = request.filter.distance_above != -std::numeric_limits<double>::infinity();
    VSS_TRY(index_.load());
    const bool approximate = request.recall < 1 && !ruled_out;
    if (approximate && request.k > 0) {
        VSS_TRY(cluster_for(request.queries.size()));
    }
    if (!index_.state().is_celled() || request.k == 0 || (!approximate && request.queries.size() > 1)) {
        return exact_search(store_, request, answer.neighbors);
    }
    if (approximate && request.queries.size() > 1 && !request.filter.allowed.has_value() &&
        search_.is_brute_better(request.recall, request.k)) {
        return exact_search(store_, request, answer.neighbors);
    }
    measured_all_ = false;
    was_approximate_ = approximate;
    std::optional<VectorStore::SingleReads> reads;
    if (request.queries.size() > 1) {  // a single query was no faster for it
        reads.emplace(store_);
    }
    Status status = search_cells(request, approximate, answer);
    if (status.code() == Code::corrupt && !status.message().starts_with("table ")) {
        // Search knows no names.
        return Status::corrupt(cat(words_, ": ", status.message()));
    }
    return status;
}

Status CellsOfColumn::search_cells(const SearchRequest& request, bool approximate, SearchAnswer& answer) {
    SlotFilter slots;
    slots.limited = request.filter.allowed.has_value();
    std::uint64_t slots_end = 0;
    VSS_TRY(search_.slots_end(slots_end));
    for (const auto& [rowid, slot] : request.members) {
        if (slot >= slots_end) {
            return Status::corrupt(cat(words_, ": row ", rowid, " names slot ", static_cast<std::int64_t>(slot),
                                       ", which does not exist"));
        }
        slots.allow(static_cast<std::uint32_t>(slot));
    }
    CellQuery query;
    query.k = request.k;
    query.recall = request.recall;
    query.rows = &request.filter;
    query.slots = slots.limited ? &slots : nullptr;
    answer.is_exact = !approximate;
    answer.neighbors.resize(request.queries.size());
    if (approximate && request.queries.size() > 1) {
        OpenSource open;
        if (const std::optional<DatabaseFile> file = database_file(name_.db, name_.schema)) {
            open = [this, file](std::uint64_t generation) {
                auto own = std::make_unique<OwnTables>(*file, name_, store_, tables_.column());
                return own->open(generation) ? std::move(own) : nullptr;
            };
        }
        return search_.search_many(
            query, request.queries, request.threads, [&] { return store_.check_interrupt(); }, open, answer.neighbors);
    }
    for (std::size_t i = 0; i < request.queries.size(); ++i) {
        query.vector = request.queries[i];
        if (i > 0) {  // the first was asked by reading the state
            VSS_TRY(store_.check_interrupt());
        }
        VSS_TRY(approximate ? search_.search(query, answer.neighbors[i])
                            : search_.search_exact(query, answer.neighbors[i]));
    }
    if (approximate && !search_.took_all()) {
        answer.looked_at =
            static_cast<double>(search_.costs().entries) / (2 * static_cast<double>(index_.state().rows));
    }
    return Status::ok();
}

void CellsOfColumn::explain(Json& json) {
    if (measured_all_) {
        json.add_text("plan", "exact: every vector is measured");
        return;
    }
    const SearchCosts& costs = search_.costs();
    json.add_text("plan", was_approximate_ && !search_.took_all() ? "cells: the nearest are scanned"
                          : search_.took_rows()                   ? "exact: every vector is measured"
                                                                  : "exact: pruned by 4-bit codes");
    json.add("cells", costs.cells).add("codes_scanned", costs.entries).add("candidates", costs.candidates);
    json.add("refined", costs.refined).add("reranked", costs.reranked).add("rows_read_from_pages", costs.cold_rows);
    json.add("code_chunks_read", costs.chunks_read);
    json.add("rank_us", costs.rank_us).add("scan_us", costs.scan_us).add("refine_us", costs.refine_us);
    json.add("rerank_us", costs.rerank_us);
}

Status CellsOfColumn::is_exact(bool& out) {
    VSS_TRY(index_.load());
    out = !index_.state().is_celled();
    return Status::ok();
}

Status CellsOfColumn::count(std::uint64_t& out) {
    VSS_TRY(index_.load());
    out = index_.state().rows;
    return Status::ok();
}

Status CellsOfColumn::check(const Report& report) {
    return index_.check(report);
}

Status CellsOfColumn::restart(const Report& report) {
    VSS_TRY(index_.restart());
    report("its rows were clustered again");
    return Status::ok();
}

Status CellsOfColumn::optimize(OptimizeStep& step) {
    for (std::size_t i = 0; i < neighborhoods_per_step && step.next < max_cells; ++i) {
        VSS_TRY(index_.optimize_step(step.next));
    }
    step.is_done = step.next >= max_cells;
    return Status::ok();
}

Status CellsOfColumn::parts(std::uint64_t& out) {
    out = 0;
    if (index_.state().is_celled()) {
        std::shared_ptr<const CellDirectory> directory;
        VSS_TRY(index_.directory(directory));
        out = directory->size();
    }
    return Status::ok();
}

Status CellsOfColumn::stats(Json& json) {
    VSS_TRY(index_.load());
    const CellState& state = index_.state();
    json.add_text("search", state.is_celled() ? "cells" : "exact").add("rows", state.rows);
    json.add("tail", index_.tail().size());
    if (state.is_celled()) {
        std::shared_ptr<const CellDirectory> directory;
        VSS_TRY(index_.directory(directory));
        std::uint64_t entries = 0;
        std::uint32_t largest = 0;
        std::uint32_t overfull = 0;
        for (std::uint32_t cell = 0; cell < directory->size(); ++cell) {
            const CellInfo& info = directory->info(cell);
            entries += info.entries;
            largest = std::max(largest, info.primaries);
            overfull += info.primaries > index_.tuning().split_above ? 1U : 0U;
        }
        json.add("cells", directory->live()).add("entries", entries).add("largest_cell", largest);
        json.add("batched", directory->batched_entries() / 2);
        json.add("overfull_cells", overfull).add("dimensions_coded", index_.space().padded());
        Json cells_needed;
        Json share;
        const LearnedRecall& learned = state.learned;
        for (std::size_t i = 0; i < LearnedRecall::levels.size(); ++i) {
            cells_needed.add(level_names[i], learned.cells[i]);
            share.add(level_names[i], learned.scanned[i]);
        }
        json.add_json("cells_for_recall", cells_needed.text()).add_json("share_for_recall", share.text());
        for (std::size_t k = 0; k < LearnedRecall::ks.size(); ++k) {
            Json misses;
            for (std::size_t i = 0; i < LearnedRecall::levels.size(); ++i) {
                misses.add(level_names[i], learned.misses[k][i]);
            }
            json.add_json(cat("misses_for_recall_at_", LearnedRecall::ks[k]), misses.text());
        }
        const UnitCosts& units = search_.unit_costs();
        Json took;
        took.add("sign_code", units.entry.ns()).add("code_at_random", units.refine.ns()).add("code", units.code.ns());
        took.add("row_measured_at_random", units.measure.ns()).add("row_measured", units.in_order.ns());
        took.add("row", units.row.ns());
        json.add_json("nanoseconds", took.text());
        json.add("learned_at_cells", learned.cells_then).add("learned_at_rows", learned.rows);
        json.add("learned_from_rows", learned.samples).add("learned_when", learned.when);
    }
    json.add("cache_bytes", Cache::instance().used()).add("cache_budget", Cache::instance().budget());
    return Status::ok();
}

constexpr std::array<std::string_view, 2> cells_tables = {"cells", "codes"};

class CellsKind final : public IndexKind {
  public:
    [[nodiscard]] std::string_view name() const override { return "cells"; }
    [[nodiscard]] std::string_view words() const override { return "approximate search where it pays"; }
    [[nodiscard]] int format() const override { return 2; }
    [[nodiscard]] std::span<const std::string_view> tables() const override { return cells_tables; }
    [[nodiscard]] bool supports(const Column& column) const override {
        return CellSpace::supports(column.type, column.metric);
    }
    Status create_tables(const TableName& name, std::size_t c, bool where_missing) const override {
        return CellTables::create_tables(name, c, where_missing);
    }
    Status forget(const TableName& name, std::size_t c) const override {
        return execute(name.db,
                       cat("delete from ", name.shadow(cat("segments", c)), " where segment = ", state_segment));
    }
    Status write_settings(ConfigWriter& config, std::size_t c) const override {
        const CellTuning tuning;
        VSS_TRY(config.put(cells_from_key, c, static_cast<std::int64_t>(tuning.first_cells_at)));
        return config.put(cell_rows_key, c, static_cast<std::int64_t>(tuning.cell_rows));
    }
    [[nodiscard]] std::unique_ptr<ColumnIndex> make(const IndexContext& context) const override {
        return std::make_unique<CellsOfColumn>(context);
    }
};

}  // namespace

const IndexKind& cells_kind() {
    static const CellsKind kind;
    return kind;
}

}  // namespace vss
