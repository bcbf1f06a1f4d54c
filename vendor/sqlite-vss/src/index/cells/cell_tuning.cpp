#include "index/cells/cell_tuning.h"

#include <algorithm>

namespace vss {

CellTuning cell_tuning(std::size_t first_cells_at, std::size_t cell_rows) {
    CellTuning tuning;
    tuning.first_cells_at = std::max<std::size_t>(first_cells_at, 1);
    tuning.cell_rows = std::clamp<std::size_t>(cell_rows, 2, 1U << 16);
    tuning.split_above = 2 * tuning.cell_rows + tuning.cell_rows / 2;
    tuning.merge_below = tuning.cell_rows / 4;
    tuning.tail_rows = std::clamp<std::size_t>(tuning.first_cells_at / 32, 1, tuning.tail_rows);
    return tuning;
}

}  // namespace vss
