// The kinds of index that this build has: the only file outside of their folders that names them.
#include <array>

#include "index/cells/cells_kind.h"
#include "index/column_index.h"
#include "index/flat/flat_kind.h"
#ifdef VSS_HAVE_FAISS
#include "index/faiss/faiss_kind.h"
#endif

namespace vss {

std::span<const IndexKind* const> index_kinds() {
    // The first is the default, the last takes all vectors.
    static const std::array kinds = {
        &cells_kind(),
#ifdef VSS_HAVE_FAISS
        &faiss_kind(),
#endif
        &flat_kind(),
    };
    return kinds;
}

}  // namespace vss
