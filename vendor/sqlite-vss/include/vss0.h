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
// The same, by a name that no other extension has: what is linked against this library must not meet another's.
VSS0_EXPORT int vss0_init(struct sqlite3* db, char** error, const struct sqlite3_api_routines* api);

// --- Buffers -------------------------------------------------------------------------------------------------------
// A ticket is a random positive 63-bit number that stands for a buffer of this process in a SQL statement:
//   insert into t(operation, rowid, a) select 'upsert', id, vector from vss_buffer(:ticket)
// The column `last` is 1 in the buffer's last row, for the operations 'add last' and 'upsert last'.
// The memory stays the caller's and must outlive the ticket. Thread-safe. A ticket of another process means nothing.

// Numbers that are to be converted to float32: `kind` as numpy names it ("float64", "int32", "bool", "bfloat16", ...),
// nonzero `swapped` where they are in the other byte order, `dim` of them in a row, `step` bytes apart.
struct vss0_numbers {
    const char* kind;
    int swapped;
    size_t dim;
    ptrdiff_t step;
};

// Ids and vectors. Of the ids either `ids` is given, n int64, or keys: key i is the bytes of `keys` from
// key_ends[i - 1] (0 for the first) to key_ends[i]. Of the vectors `rows`: n of `row_bytes` bytes, `stride` bytes
// apart, converted as `numbers` says if it is not NULL; or `piece`, which gives float32 rows from `first` on, one after
// the other, and in `count` how many (valid until the next call; NULL ends the statement with an error, why is known
// to the host); or neither, where only ids matter.
struct vss0_rows {
    const int64_t* ids;
    const char* keys;
    const int64_t* key_ends;
    int keys_are_text;  // else blobs
    const void* rows;
    size_t n;
    size_t row_bytes;
    ptrdiff_t stride;
    const struct vss0_numbers* numbers;
    const float* (*piece)(void* host, size_t first, size_t* count);
    void* host;
};
VSS0_EXPORT int64_t vss0_register_rows(const struct vss0_rows* rows);
// Converts one row. 0, or nonzero and what was wrong with which element in `message`.
VSS0_EXPORT int vss0_convert_row(const struct vss0_numbers* numbers, const void* row, float* out, char* message,
                                 size_t message_bytes);

// A batch of searches; used as `select ... from t where a match vss_batch(:ticket)`. Results go to the caller's
// arrays: ids int64[nq * k] padded with -1, distances float32[nq * k] padded with +infinity. `type` is the element type
// of the queries, which must be the column's; NULL asks for their size alone. A table with a key of its own gives its
// distinct results as rows too, so that their keys can be read by the same statement.
VSS0_EXPORT int64_t vss0_register_search(const void* queries, size_t nq, size_t query_bytes, size_t stride, size_t k,
                                         double recall, int64_t* ids, float* distances, const char* type);

VSS0_EXPORT void vss0_release(int64_t ticket);

// --- Files of faiss.write_index ------------------------------------------------------------------------------------
typedef struct vss0_faiss vss0_faiss;
// The bytes are not copied and must outlive it. NULL, and why in `message`, where they are damaged or do not give their
// vectors back.
VSS0_EXPORT vss0_faiss* vss0_faiss_open(const void* bytes, size_t size, char* message, size_t message_bytes);
VSS0_EXPORT void vss0_faiss_close(vss0_faiss* file);
VSS0_EXPORT size_t vss0_faiss_size(const vss0_faiss* file);
VSS0_EXPORT size_t vss0_faiss_dim(const vss0_faiss* file);
VSS0_EXPORT int vss0_faiss_metric(const vss0_faiss* file);    // Faiss' number
VSS0_EXPORT int vss0_faiss_is_lossy(const vss0_faiss* file);  // vectors are those that codes stand for
VSS0_EXPORT void vss0_faiss_ids(const vss0_faiss* file, int64_t* out);
// `count` vectors from the `first` on. Nonzero: out of memory.
VSS0_EXPORT int vss0_faiss_vectors(const vss0_faiss* file, size_t first, size_t count, float* out);

// --- Settings of the process ---------------------------------------------------------------------------------------
VSS0_EXPORT void vss0_set_memory_budget(uint64_t bytes);
VSS0_EXPORT uint64_t vss0_memory_budget(void);
// Bytes that a text like "256MB" stands for (units are powers of 1,024), or -1 if it stands for none.
VSS0_EXPORT int64_t vss0_parse_bytes(const char* text);
VSS0_EXPORT void vss0_set_threads(int threads);  // 0: one per core the process may use
VSS0_EXPORT int vss0_threads(void);
// The recall of searches that ask for none; 0: back to 0.95.
VSS0_EXPORT void vss0_set_default_recall(double recall);
VSS0_EXPORT double vss0_default_recall(void);
// Nonzero: every search is answered a second, slow way too, and fails where the two differ. For tests.
VSS0_EXPORT void vss0_set_verification(int on);
VSS0_EXPORT int vss0_verification(void);
VSS0_EXPORT const char* vss0_version(void);     // "0.1.0"
VSS0_EXPORT const char* vss0_simd_level(void);  // "scalar", "avx2", "avx512", "neon"

#ifdef __cplusplus
}
#endif

#endif
