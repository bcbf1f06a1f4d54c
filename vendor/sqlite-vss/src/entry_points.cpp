// The C entry points of include/vss0.h that need no SQLite.
#include <optional>

#include "cache.h"
#include "cpu.h"
#include "registry.h"
#include "settings.h"
#include "verify.h"
#include "vss0.h"

extern "C" {

// A ticket of 0 stands for nothing: out of memory.
VSS0_EXPORT int64_t vss0_register_rows(const int64_t* ids, const void* rows, size_t n, size_t row_bytes,
                                       size_t stride) {
    try {
        return vss::register_rows({ids, static_cast<const std::byte*>(rows), n, row_bytes, stride});
    } catch (...) {
        return 0;
    }
}

VSS0_EXPORT int64_t vss0_register_search(const void* queries, size_t nq, size_t query_bytes, size_t stride, size_t k,
                                         double recall, int64_t* ids, float* distances) {
    try {
        return vss::register_search(
            {static_cast<const std::byte*>(queries), nq, query_bytes, stride, k, recall, ids, distances});
    } catch (...) {
        return 0;
    }
}

VSS0_EXPORT void vss0_release(int64_t ticket) {
    vss::release_ticket(ticket);
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
