// Faiss's indexes, by factory string, as a kind of index.
#pragma once

#include "index/column_index.h"

namespace vss {

[[nodiscard]] const IndexKind& faiss_kind();

}  // namespace vss
