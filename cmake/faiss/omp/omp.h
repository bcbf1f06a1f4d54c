// Stands in for OpenMP's header while Faiss is compiled, and used, without OpenMP: a team of one thread.
//
// Two OpenMP runtimes in one process (ours and PyTorch's, say) can crash it, so vss0 brings none. Without -fopenmp the
// compiler ignores Faiss's pragmas; these functions answer what the pragmas' absence means.
#pragma once

struct omp_lock_t {
    int unused;
};

inline int omp_get_max_threads() { return 1; }
inline int omp_get_num_threads() { return 1; }
inline int omp_get_thread_num() { return 0; }
inline int omp_in_parallel() { return 0; }
inline int omp_get_nested() { return 0; }
inline void omp_set_nested(int) {}
inline void omp_set_num_threads(int) {}
inline void omp_init_lock(omp_lock_t*) {}
inline void omp_destroy_lock(omp_lock_t*) {}
inline void omp_set_lock(omp_lock_t*) {}
inline void omp_unset_lock(omp_lock_t*) {}
