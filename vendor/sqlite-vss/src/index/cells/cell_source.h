// The tables of a column as another thread reads them, by a connection of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "index/cells/cell_store.h"
#include "index/row_store.h"

namespace vss {

class CellSource {
  public:
    CellSource() = default;
    CellSource(const CellSource&) = delete;
    CellSource& operator=(const CellSource&) = delete;
    virtual ~CellSource() = default;

    virtual RowStore& rows() = 0;
    virtual CellStore& cells() = 0;
};

// Called by the thread that will read, and let go of what it gave. nullptr: the tables cannot be read so, or are in
// another state than that of the generation.
using OpenSource = std::function<std::unique_ptr<CellSource>(std::uint64_t generation)>;

}  // namespace vss
