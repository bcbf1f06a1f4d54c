// Table: commands about the approximate index of a column, inside a transaction of the caller.
#include "base/text.h"
#include "sqlite/describe.h"
#include "sqlite/table.h"

namespace vss {

Status Table::learn(std::size_t c) {
    if (cells_[c]->index.state().learned.cells_then == 0) {
        VSS_TRY(cells_[c]->index.measure_all_radii());
    }
    LearnedRecall learned;
    VSS_TRY(cells_[c]->search.learn(learning_samples, learned));
    cells_[c]->index.set_learned(learned);
    return Status::ok();
}

Status Table::relearn(std::size_t c) {
    if (cells_[c] == nullptr) {
        return Status::ok();
    }
    VSS_TRY(cells_[c]->index.load());
    return cells_[c]->index.state().is_celled() ? learn(c) : Status::ok();
}

Status Table::rebuild(std::size_t c) {
    if (cells_[c] == nullptr) {
        return Status::ok();
    }
    CellIndex& index = cells_[c]->index;
    VSS_TRY(index.load());
    if (!index.state().is_celled() && index.state().rows < index.tuning().first_cells_at) {
        return Status::ok();
    }
    return index.rebuild();
}

// The tables of the cells are dropped and made again, also where they are empty: a change of the schema is what makes
// other connections read anew how the column is searched.
Status Table::set_cells(std::size_t c, bool wanted) {
    const Column& column = schema_.vector(c);
    if (wanted && !CellSpace::supports(column.type, column.metric)) {
        return Status::invalid(cat(name_.words(column), ": vectors of type=", name_of(column.type), " under ",
                                   column.metric_name(), " are always searched exactly"));
    }
    if (wanted == column.has_cells) {
        return Status::ok();
    }
    VSS_TRY(flush());
    discard();
    for (const std::string_view table : {"cells", "codes"}) {
        VSS_TRY(execute(name_.db, cat("drop table if exists ", name_.shadow(cat(table, c)))));
    }
    VSS_TRY(CellTables::create_tables(name_, c, true));
    VSS_TRY(
        execute(name_.db, cat("delete from ", name_.shadow(cat("segments", c)), " where segment = ", state_segment)));
    schema_.set_cells(c, wanted);
    Statement set;
    VSS_TRY(set.prepare(name_.db, cat("insert or replace into ", name_.shadow("config"), "(key, value) values(?, ?)"),
                        false));
    set.bind_text(1, cat("flat", c));
    set.bind(2, std::int64_t{wanted ? 0 : 1});
    VSS_TRY(set.run());
    const std::string columns = describe(schema_);
    set.bind_text(1, "columns");
    set.bind_text(2, columns);
    VSS_TRY(set.run());
    VSS_TRY(read_config());
    if (!wanted) {
        return Status::ok();
    }
    VSS_TRY(cells_[c]->index.restart());
    return rebuild(c);
}

}  // namespace vss
