// Bytes of a Faiss index, as a file may hold them: dimensions, metric and rows (2 bytes) as the schema says them, then
// what Faiss would read. What is let pass is searched and written.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#ifdef VSS_HAVE_FAISS
#include "index/faiss/faiss_engine.h"
#endif

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
#ifdef VSS_HAVE_FAISS
    constexpr std::size_t header = 4;
    if (size < header) {
        return 0;
    }
    const std::size_t dim = data[0] % 64U + 1;
    const auto metric = static_cast<vss::Metric>(data[1] % 4);
    std::uint16_t rows = 0;
    std::memcpy(&rows, data + 2, sizeof rows);
    const auto* bytes = reinterpret_cast<const std::byte*>(data) + header;
    std::unique_ptr<vss::FaissEngine> engine;
    const vss::Status status = vss::FaissEngine::read({bytes, size - header}, dim, metric, rows, engine);
    if (!status.is_ok()) {
        if (status.message().empty()) {
            std::abort();  // refused without a word
        }
        return 0;
    }
    std::vector<float> query(dim);
    for (std::size_t i = 0; i < dim; ++i) {
        query[i] = std::sin(static_cast<float>(i));
    }
    std::vector<std::uint64_t> odd(rows / 64U + 1, 0xAAAAAAAAAAAAAAAA);
    std::vector<std::uint32_t> found;
    for (const std::vector<std::uint64_t>* allowed : {static_cast<const std::vector<std::uint64_t>*>(nullptr),
                                                      static_cast<const std::vector<std::uint64_t>*>(&odd)}) {
        for (const std::size_t width : {std::size_t{1}, std::size_t{1000}}) {
            if (engine->search(query.data(), 5, {width, width}, allowed, found).is_ok()) {
                for (const std::uint32_t number : found) {
                    if (number >= rows || (allowed != nullptr && engine->selects() && number % 2 == 0)) {
                        std::abort();
                    }
                }
            }
        }
    }
    std::vector<std::byte> out;
    if (!engine->write(out).is_ok()) {
        std::abort();
    }
#else
    (void)data;
    (void)size;
#endif
    return 0;
}
