// Cells as a kind of index: CellTables, CellIndex and CellSearch behind the seam.
#pragma once

#include "index/column_index.h"

namespace vss {

[[nodiscard]] const IndexKind& cells_kind();

}  // namespace vss
