// Entry points of the vss0 library: the SQLite extension, and the in-process registry of buffers through which a
// host language hands whole matrices to SQL statements without copying them.
//
// Plain C, free of Python. The library links no SQLite: it uses the host's through sqlite3_api.
#ifndef VSS0_H
#define VSS0_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define VSS0_EXPORT __declspec(dllexport)
#else
#define VSS0_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct sqlite3;
struct sqlite3_api_routines;

// SQLite extension entry point (".load vss0", load_extension, sqlite3_auto_extension).
VSS0_EXPORT int sqlite3_vss_init(struct sqlite3* db, char** error, const struct sqlite3_api_routines* api);

// --- Buffers -------------------------------------------------------------------------------------------------------
// A ticket is a random positive 63-bit number that stands for a buffer of this process in a SQL statement:
//   insert into t(operation, rowid, a) select 'upsert', id, vector from vss_buffer(:ticket)
// The memory stays the caller's and must outlive the ticket. Thread-safe. A ticket of another process means nothing.

// `ids`: n int64. `rows`: n vectors of `row_bytes` bytes, `stride` bytes apart (NULL where only ids matter).
VSS0_EXPORT int64_t vss0_register_rows(const int64_t* ids, const void* rows, size_t n, size_t row_bytes, size_t stride);

// A batch of searches; used as `select ... from t where a match vss_batch(:ticket)`. Results go to the caller's
// arrays: ids int64[nq * k] padded with -1, distances float32[nq * k] padded with +infinity.
VSS0_EXPORT int64_t vss0_register_search(const void* queries, size_t nq, size_t query_bytes, size_t stride, size_t k,
                                         double recall, int64_t* ids, float* distances);

VSS0_EXPORT void vss0_release(int64_t ticket);

// --- Settings of the process ---------------------------------------------------------------------------------------
VSS0_EXPORT void vss0_set_memory_budget(uint64_t bytes);
VSS0_EXPORT uint64_t vss0_memory_budget(void);
// Bytes that a text like "256MB" stands for (units are powers of 1,024), or -1 if it stands for none.
VSS0_EXPORT int64_t vss0_parse_bytes(const char* text);
VSS0_EXPORT void vss0_set_threads(int threads);  // 0: one per core the process may use
VSS0_EXPORT int vss0_threads(void);
// Nonzero: every search is answered a second, slow way too, and fails where the two differ. For tests.
VSS0_EXPORT void vss0_set_verification(int on);
VSS0_EXPORT int vss0_verification(void);
VSS0_EXPORT const char* vss0_version(void);     // "0.1.0"
VSS0_EXPORT const char* vss0_simd_level(void);  // "scalar", "avx2", "avx512", "neon"

#ifdef __cplusplus
}
#endif

#endif
