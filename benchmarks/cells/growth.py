"""How a table grows: adding, file, searches and the first query at several numbers of rows.

    python benchmarks/cells/growth.py VECTORS.npy QUERIES.npy ROWS...

VECTORS may come from ``grow.py``. One thread, k = 10, recall asked for: 0.95. Each line: seconds of Index.add, the file
against the raw vectors, recall reached, queries a second through SQL, and the median of five first queries, each in a
process of its own that opens and loads.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import apsw
import numpy as np

import vssnative

K = 10
WARM_UP = 4
FIRST = """
import sys, time
import apsw, numpy, vssnative
query = numpy.load(sys.argv[2])[0].tobytes()
vssnative.loadable_path()
start = time.perf_counter()
conn = apsw.Connection(sys.argv[1])
vssnative.load(conn)
conn.execute("select rowid from t where a match ? and k = 10", (query,)).fetchall()
print((time.perf_counter() - start) * 1000)
"""


def measure(matrix: np.ndarray, queries: np.ndarray, queries_path: str) -> str:
    truth = np.full((len(queries), K), -2, np.float32)
    for first in range(0, len(matrix), 50_000):
        part = np.concatenate([truth, queries @ matrix[first : first + 50_000].T], axis=1)
        truth = -np.partition(-part, K - 1, axis=1)[:, :K]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "growth.db"
        conn = apsw.Connection(str(path))
        vssnative.load(conn)
        conn.execute("pragma journal_mode = wal; pragma synchronous = normal").fetchall()
        start = time.perf_counter()
        vssnative.Index(conn, "t", "a").add(np.arange(len(matrix)), matrix)
        added = time.perf_counter() - start
        conn.execute("pragma wal_checkpoint(truncate)").fetchall()
        sql = f"select rowid from t where a match ? and k = {K}"
        # 4-bit codes of a segment are made once it was asked for some hundred rows, one segment's by a query.
        for query in np.tile(queries, (WARM_UP, 1)):
            conn.execute(sql, (query.tobytes(),)).fetchall()
        start = time.perf_counter()
        found = [[row[0] for row in conn.execute(sql, (query.tobytes(),))] for query in queries]
        speed = len(queries) / (time.perf_counter() - start)
        recall = np.mean(
            [
                (matrix[ids] @ query >= least - 1e-6).sum() / K
                for ids, query, least in zip(found, queries, truth.min(axis=1), strict=True)
            ]
        )
        conn.close()
        first = statistics.median(
            float(
                subprocess.run(
                    [sys.executable, "-c", FIRST, str(path), queries_path],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
            for _ in range(5)
        )
        size = os.path.getsize(path) / matrix.nbytes
    return (
        f"{len(matrix):>9,} rows: added in {added:.1f} s, file {size:.3f} times the vectors, recall {recall:.3f},"
        f" {speed:,.0f} q/s, first query {first:.1f} ms"
    )


def main() -> None:
    vssnative.configure(threads=1, memory="2GB")
    vectors = np.load(sys.argv[1], mmap_mode="r")
    queries = np.load(sys.argv[2]).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for rows in map(int, sys.argv[3:]):
        matrix = np.ascontiguousarray(vectors[:rows], np.float32)
        print(measure(matrix, queries, sys.argv[2]), flush=True)


if __name__ == "__main__":
    main()
