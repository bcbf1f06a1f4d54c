"""What a commit costs the searches that follow: the first search after one row was committed, beside the next one.

    python benchmarks/cells/commits.py FILE VECTORS.npy ROWS [COMMITS [TOGETHER]]

FILE is made of the first ROWS vectors where it is not there. Then COMMITS times (300): TOGETHER rows (1) are inserted
and committed; the connection that wrote, another of this process and one of another process each search twice, with a query
that they have asked before. A line says milliseconds of processor time (other programs do not lengthen it much): median,
mean, the slowest in twenty and the slowest.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import apsw
import numpy as np

import vssnative

# A low recall, so that what a search reads beside its cells shows.
SEARCH = "select rowid from t where a match ? and k = 1 and recall = 0.2"


def connected(path: str) -> apsw.Connection:
    vssnative.configure(memory="2GB", threads=1)
    conn = apsw.Connection(path)
    vssnative.load(conn)
    conn.execute("pragma journal_mode = wal; pragma synchronous = normal").fetchall()
    return conn


def seconds(conn: apsw.Connection, sql: str, params: tuple[object, ...]) -> float:
    start = time.thread_time()
    conn.execute(sql, params).fetchall()
    return time.thread_time() - start


def warm(conn: apsw.Connection, queries: list[bytes]) -> None:
    for query in queries * 8:
        conn.execute(SEARCH, (query,)).fetchall()


def serve(pipe: Connection, path: str, queries: list[bytes]) -> None:
    """Another process: two searches for each query's number that comes."""
    conn = connected(path)
    warm(conn, queries)
    pipe.send(None)
    while (at := pipe.recv()) is not None:
        pipe.send([seconds(conn, SEARCH, (queries[at],)) for _ in range(2)])


def line(name: str, times: list[float]) -> str:
    ms = np.array(times) * 1000
    return (
        f"{name:44} median {np.median(ms):7.3f}  mean {ms.mean():7.3f}  p95 {np.quantile(ms, 0.95):7.3f}"
        f"  most {ms.max():7.3f} ms"
    )


def main() -> None:
    path, source, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
    commits = int(sys.argv[4]) if len(sys.argv) > 4 else 300
    together = int(sys.argv[5]) if len(sys.argv) > 5 else 1
    vectors = np.load(source, mmap_mode="r")
    is_new = not Path(path).exists()
    writer = connected(path)
    if is_new:
        start = time.thread_time()
        vssnative.Index(writer, "t", "a").add(np.arange(rows), vectors[:rows])
        print(f"{rows} rows added in {time.thread_time() - start:.1f} s of processor time", flush=True)
    random = np.random.default_rng(5)
    queries = [np.ascontiguousarray(vectors[i]).tobytes() for i in random.integers(0, rows, 50)]
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there, path, queries))
    process.start()
    here.recv()
    reader = connected(path)
    warm(writer, queries)
    warm(reader, queries)
    [(last,)] = writer.execute("select max(rowid) from t")
    took: dict[str, list[float]] = {}
    for i in range(commits):
        made = np.asarray(vectors[random.integers(0, rows, together)])
        made = made + random.normal(0, 0.02, made.shape)
        made = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
        start = time.thread_time()
        writer.execute("begin")
        for row in made:
            last += 1
            writer.execute("insert into t(rowid, a) values(?, ?)", (last, row.tobytes()))
        writer.execute("commit")
        took.setdefault("commit", []).append(time.thread_time() - start)
        at = i % len(queries)
        here.send(at)
        for who, times in (
            ("another process", here.recv()),
            ("another connection", [seconds(reader, SEARCH, (queries[at],)) for _ in range(2)]),
            ("the one that wrote", [seconds(writer, SEARCH, (queries[at],)) for _ in range(2)]),
        ):
            for which, each in zip(("first", "second"), times, strict=True):
                took.setdefault(f"{which} search, {who}", []).append(each)
    here.send(None)
    process.join()
    [(table_stats,)] = writer.execute("select vss_stats('t', 'a')")
    print(f"{rows} rows, {commits} commits of {together}; {table_stats}")
    for name in sorted(took):
        print(line(name, took[name]))


if __name__ == "__main__":
    main()
