// A table as sqlite-vss 0.1.2 wrote it: t_index(rowid, idx) has a Faiss index for each column, numbered from 0,
// t_data(rowid,
// _) a row for each row. The only SQL to these two tables. Nothing here writes but clear() and drop().
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"
#include "storage/faiss_bytes.h"
#include "storage/schema.h"
#include "storage/statement.h"
#include "storage/storage.h"

namespace vss {

class OldFile {
  public:
    // What is known of one column.
    struct ColumnSummary {
        std::uint64_t vectors = 0;
        std::uint64_t not_finite = 0;  // NaN and infinity, which no vector may have here: left out
        bool is_lossy = false;         // they are those that codes stand for
    };
    // One row: the vector of each column as floats, or none.
    using Found = std::function<Status(std::int64_t rowid, std::span<const std::span<const float>> vectors)>;

    // Whether the table `name` is one: it has these two tables and no t_config.
    static Status is_there(const TableName& name, bool& out);
    // The names (after "t_") of its tables.
    static std::span<const std::string_view> suffixes();

    OldFile(const TableName& name, const Schema& schema) : name_(name), schema_(schema) {}
    // Reads the indexes, and checks them against the declaration and the rows.
    Status open();
    // Every row, by rowid.
    Status read(const Found& found);
    [[nodiscard]] const std::vector<ColumnSummary>& columns() const { return summaries_; }
    [[nodiscard]] std::uint64_t rows() const { return rows_; }

    // Empties both tables, which a statement that writes can do.
    static Status clear(const TableName& name);

  private:
    struct ColumnVectors {
        Statement row;  // holds the bytes
        std::unique_ptr<StoredVectors> vectors;
        std::vector<std::pair<std::int64_t, std::uint32_t>> places;  // rowid and position, by rowid
    };
    Status open_column(std::size_t c, ColumnVectors& out);
    [[nodiscard]] Status damaged(std::size_t c, std::string_view what) const;

    const TableName& name_;
    const Schema& schema_;
    std::vector<ColumnVectors> columns_;
    std::vector<ColumnSummary> summaries_;
    std::uint64_t rows_ = 0;
};

}  // namespace vss
