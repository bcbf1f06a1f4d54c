// What an object of Faiss's may be made of, and what must hold of it before it is searched. Its searches trust all of
// this: a neighbour or an id out of range would be read out of bounds.
#pragma once

#include <faiss/Index.h>

#include <cstddef>

#include "base/status.h"

namespace vss {

// Ok if the index, and all that it is made of, are of types that can be kept and read again.
[[nodiscard]] Status check_faiss_types(const faiss::Index& index);
// The same of an index that was read: it is trained and holds `rows` vectors of `dim` floats, by their numbers.
[[nodiscard]] Status check_faiss_objects(const faiss::Index& index, std::size_t dim, std::size_t rows,
                                         faiss::MetricType metric);

}  // namespace vss
