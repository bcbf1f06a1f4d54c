#include "index/row_store.h"

#include <algorithm>

namespace vss {

Status RowStore::read_slot(std::uint32_t slot, bool& live, std::int64_t& rowid, std::span<std::byte> vector) {
    live = false;
    return read_slots({&slot, 1}, [&](std::size_t /*i*/, std::int64_t id, std::span<const std::byte> bytes) {
        live = true;
        rowid = id;
        std::copy(bytes.begin(), bytes.end(), vector.begin());
    });
}

}  // namespace vss
