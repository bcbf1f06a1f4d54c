// Walks over what Faiss's reader would read, before it does: Faiss makes room for as many elements as a file says, so
// each number of elements is held against the bytes that are there. Only types that we write are let pass.
//
// What the elements say is checked on the objects afterwards (faiss_objects.h). No Faiss in here.
#pragma once

#include <cstddef>
#include <span>

#include "base/status.h"

namespace vss {

// Ok if reading `bytes` as an index takes all of them and no more memory than a small multiple of their number.
[[nodiscard]] Status walk_faiss_bytes(std::span<const std::byte> bytes);

}  // namespace vss
