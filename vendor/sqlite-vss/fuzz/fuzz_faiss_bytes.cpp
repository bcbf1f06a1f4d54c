// Bytes of a Faiss index from a file that is not trusted: read or refused in words, with no more memory than they have.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "storage/faiss_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::unique_ptr<vss::StoredVectors> vectors;
    const vss::Status status = vss::read_faiss(std::as_bytes(std::span(data, size)), vectors);
    if (!status.is_ok()) {
        if (status.message().empty()) {
            std::abort();  // refused without a word
        }
        return 0;
    }
    if (!vectors->ids().empty() && vectors->ids().size() != vectors->size()) {
        std::abort();
    }
    std::vector<float> vector(vectors->dim());
    constexpr std::size_t most = 1000;
    for (std::size_t i = 0; i < vectors->size() && i < most; ++i) {
        vectors->read(i, vector.data());
    }
    if (vectors->size() > 0) {
        vectors->read(vectors->size() - 1, vector.data());
    }
    return 0;
}
