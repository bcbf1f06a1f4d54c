// No index at all: every search measures every row that the filter lets pass.
#pragma once

#include "index/column_index.h"

namespace vss {

[[nodiscard]] const IndexKind& flat_kind();

}  // namespace vss
