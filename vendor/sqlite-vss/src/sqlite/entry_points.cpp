// The C entry points of include/vss0.h that need no SQLite.
#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <string_view>
#include <vector>

#include "base/cache.h"
#include "base/settings.h"
#include "kernels/cpu.h"
#include "sqlite/registry.h"
#include "sqlite/verify.h"
#include "storage/faiss_bytes.h"
#include "vss0.h"

namespace vss {
namespace {

std::optional<NumberRow> layout_of(const vss0_numbers& numbers) {
    const std::optional<NumberKind> kind = parse_number_kind(numbers.kind);
    return kind ? std::optional(NumberRow{*kind, numbers.swapped != 0, numbers.dim, numbers.step}) : std::nullopt;
}

// As much of the text as fits, with a zero behind it.
void copy_message(std::string_view text, char* message, std::size_t message_bytes) {
    if (message_bytes > 0) {
        const std::size_t n = std::min(text.size(), message_bytes - 1);
        std::copy_n(text.begin(), n, message);
        message[n] = '\0';
    }
}

}  // namespace
}  // namespace vss

struct vss0_faiss {
    std::unique_ptr<vss::StoredVectors> vectors;
};

extern "C" {

// A ticket of 0 stands for nothing: out of memory.
VSS0_EXPORT int64_t vss0_register_rows(const vss0_rows* rows) {
    try {
        vss::RowsBuffer buffer;
        buffer.ids = rows->ids;
        buffer.keys = rows->keys;
        buffer.key_ends = rows->key_ends;
        buffer.keys_are_text = rows->keys_are_text != 0;
        buffer.rows = static_cast<const std::byte*>(rows->rows);
        buffer.n = rows->n;
        buffer.row_bytes = rows->row_bytes;
        buffer.stride = rows->stride;
        buffer.piece = rows->piece;
        buffer.host = rows->host;
        if (rows->numbers != nullptr) {
            buffer.numbers = vss::layout_of(*rows->numbers);
            if (!buffer.numbers) {
                return 0;
            }
        }
        return vss::register_rows(buffer);
    } catch (...) {
        return 0;
    }
}

VSS0_EXPORT int vss0_convert_row(const vss0_numbers* numbers, const void* row, float* out, char* message,
                                 size_t message_bytes) {
    try {
        const std::optional<vss::NumberRow> layout = vss::layout_of(*numbers);
        const vss::Status status = layout ? vss::convert_row(*layout, static_cast<const std::byte*>(row), out)
                                          : vss::Status::invalid("expected numbers");
        if (!status.is_ok()) {
            vss::copy_message(status.message(), message, message_bytes);
        }
        return status.is_ok() ? 0 : 1;
    } catch (...) {
        return 1;
    }
}

VSS0_EXPORT int64_t vss0_register_search(const void* queries, size_t nq, size_t query_bytes, size_t stride, size_t k,
                                         double recall, int64_t* ids, float* distances, const char* type) {
    try {
        return vss::register_search({static_cast<const std::byte*>(queries), nq, query_bytes, stride, k, recall, ids,
                                     distances, type == nullptr ? std::nullopt : vss::parse_element_type(type)});
    } catch (...) {
        return 0;
    }
}

VSS0_EXPORT void vss0_release(int64_t ticket) {
    vss::release_ticket(ticket);
}

VSS0_EXPORT vss0_faiss* vss0_faiss_open(const void* bytes, size_t size, char* message, size_t message_bytes) {
    try {
        auto file = std::make_unique<vss0_faiss>();
        const vss::Status status = vss::read_faiss({static_cast<const std::byte*>(bytes), size}, file->vectors);
        if (status.is_ok()) {
            return file.release();
        }
        vss::copy_message(status.message(), message, message_bytes);
    } catch (...) {
        vss::copy_message("out of memory", message, message_bytes);
    }
    return nullptr;
}

VSS0_EXPORT void vss0_faiss_close(vss0_faiss* file) {
    const std::unique_ptr<vss0_faiss> owned(file);
}

VSS0_EXPORT size_t vss0_faiss_size(const vss0_faiss* file) {
    return file->vectors->size();
}

VSS0_EXPORT size_t vss0_faiss_dim(const vss0_faiss* file) {
    return file->vectors->dim();
}

VSS0_EXPORT int vss0_faiss_metric(const vss0_faiss* file) {
    return file->vectors->metric();
}

VSS0_EXPORT int vss0_faiss_is_lossy(const vss0_faiss* file) {
    return file->vectors->is_lossy() ? 1 : 0;
}

VSS0_EXPORT void vss0_faiss_ids(const vss0_faiss* file, int64_t* out) {
    const std::vector<std::int64_t>& ids = file->vectors->ids();
    if (ids.empty()) {
        std::iota(out, out + file->vectors->size(), std::int64_t{0});
    } else {
        std::copy(ids.begin(), ids.end(), out);
    }
}

VSS0_EXPORT int vss0_faiss_vectors(const vss0_faiss* file, size_t first, size_t count, float* out) {
    try {
        for (std::size_t i = 0; i < count; ++i) {
            file->vectors->read(first + i, out + i * file->vectors->dim());
        }
        return 0;
    } catch (...) {
        return 1;
    }
}

VSS0_EXPORT void vss0_set_memory_budget(uint64_t bytes) {
    vss::Cache::instance().set_budget(bytes);
}

VSS0_EXPORT uint64_t vss0_memory_budget(void) {
    return vss::Cache::instance().budget();
}

VSS0_EXPORT int64_t vss0_parse_bytes(const char* text) {
    try {
        const std::optional<std::uint64_t> bytes = vss::parse_bytes(text);
        return bytes ? static_cast<int64_t>(*bytes) : -1;
    } catch (...) {
        return -1;
    }
}

VSS0_EXPORT void vss0_set_threads(int threads) {
    vss::set_threads(threads);
}

VSS0_EXPORT int vss0_threads(void) {
    return vss::threads();
}

VSS0_EXPORT void vss0_set_default_recall(double recall) {
    vss::set_default_recall(recall);
}

VSS0_EXPORT double vss0_default_recall(void) {
    return vss::default_recall();
}

VSS0_EXPORT void vss0_set_verification(int on) {
    vss::set_verification(on != 0);
}

VSS0_EXPORT int vss0_verification(void) {
    return vss::verification() ? 1 : 0;
}

VSS0_EXPORT const char* vss0_version(void) {
    return VSSNATIVE_VERSION;
}

VSS0_EXPORT const char* vss0_simd_level(void) {
    return vss::name_of(vss::simd_level()).data();
}

}  // extern "C"
