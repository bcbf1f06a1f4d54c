"""Recall against speed through SQL (apsw), beside Faiss's HNSW32 and flat index in process, in one run.

    python benchmarks/cells/curves.py VECTORS.npy QUERIES.npy [rows]

float32 vectors, cosine, k = 10, one thread, one query at a time. Speed is counted in processor time of the thread, so that
other programs count least; the kinds take turns, and the median of the turns is reported. Recall counts rows at
least as near as the true 10th.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import faiss
import numpy as np

import vssnative

K, TURNS = 10, 3


def main() -> None:
    vectors = np.load(sys.argv[1], mmap_mode="r")
    rows = int(sys.argv[3]) if len(sys.argv) > 3 else len(vectors)
    matrix = np.array(vectors[:rows], np.float32)
    queries = np.load(sys.argv[2])[:300].astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    dim = matrix.shape[1]
    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(dim)
    flat.add(matrix)
    truth = 1 - flat.search(queries, K)[0][:, -1]

    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "curves.db"
    conn = apsw.Connection(str(path))
    vssnative.load(conn)
    vssnative.configure(memory="1GB")
    conn.execute("pragma journal_mode = wal; pragma synchronous = normal; pragma mmap_size = 4000000000")
    conn.execute(f"create virtual table t using vss0(a({dim}) metric_type=COSINE)")
    start, wall = time.process_time(), time.perf_counter()
    index = vssnative.Index(conn, table="t", column="a")
    index.add(np.arange(rows), matrix)
    print(
        f"Index.add of {rows} rows: {time.process_time() - start:.1f} s of processor, {time.perf_counter() - wall:.1f} s"
    )
    conn.execute("pragma wal_checkpoint(truncate)")
    print(f"file {os.path.getsize(path) / matrix.nbytes:.3f} times the raw vectors")
    print(conn.execute("select vss_stats('t', 'a')").fetchone()[0])

    graph = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 80
    start = time.process_time()
    graph.add(matrix)
    print(f"HNSW32 built in {time.process_time() - start:.1f} s of processor")

    def ours(recall: float) -> Callable[[], float]:
        def run() -> float:
            hits = 0
            for i, query in enumerate(queries):
                sql = "select rowid, distance from t where a match ? and k = 10 and recall = ?"
                found = conn.execute(sql, (query.tobytes(), recall)).fetchall()
                hits += sum(distance <= truth[i] + 1e-6 for _, distance in found)
            return hits / truth.size / K

        return run

    def theirs(index: object, ef: int) -> Callable[[], float]:
        def run() -> float:
            if ef:
                graph.hnsw.efSearch = ef
            hits = 0
            for i, query in enumerate(queries):
                similarity, _ = index.search(query[None], K)  # type: ignore[attr-defined]
                hits += int((1 - similarity[0] <= truth[i] + 1e-6).sum())
            return hits / truth.size / K

        return run

    kinds = {f"vss0 recall={recall}": ours(recall) for recall in (0.8, 0.9, 0.95, 0.98, 0.99, 1.0)}
    kinds |= {f"HNSW32 efSearch={ef}": theirs(graph, ef) for ef in (16, 32, 64, 128, 256, 512)}
    kinds["Faiss flat"] = theirs(flat, 0)
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    recalls = {}
    for _ in range(TURNS):
        for kind, run in kinds.items():
            start = time.thread_time()
            recalls[kind] = run()
            seconds[kind].append(time.thread_time() - start)
    for kind in kinds:
        print(
            f"{kind:24} recall {recalls[kind]:.4f}  {len(queries) / statistics.median(seconds[kind]):8.0f} queries/s"
        )
    for recall in (0.95, 1.0):
        sql = "select vss_explain('t', 'a', ?, 10, ?)"
        print(conn.execute(sql, (queries[0].tobytes(), recall)).fetchone()[0])
    index = None
    conn.close()
    folder.cleanup()


if __name__ == "__main__":
    main()
