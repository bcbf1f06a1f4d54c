"""What deleting costs beside adding: 100,000 rows of a large table, half of it, all of it.

    python benchmarks/cells/deleting.py FILE VECTORS.npy ROWS

FILE is a table that ``commits.py`` made of the first ROWS vectors; it is emptied. Each line: seconds of processor time
and of the clock for one transaction with its commit, on one thread; for deletions also beside adding as many rows.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import apsw
import numpy as np

import vssnative

MANY = 100_000


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    clock, start = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - start, time.perf_counter() - clock


def main() -> None:
    path, source, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
    vectors = np.load(source, mmap_mode="r")
    vssnative.configure(threads=1)
    conn = apsw.Connection(path)
    vssnative.load(conn)
    conn.execute("pragma journal_mode = wal; pragma synchronous = normal").fetchall()
    index = vssnative.Index(conn, "t", "a")
    random = np.random.default_rng(3)
    many = min(MANY, rows // 4)
    made = np.asarray(vectors[random.integers(0, rows, many)])
    made = made + random.normal(0, 0.02, made.shape).astype(np.float32)
    first = int(conn.execute("select max(rowid) from t").fetchall()[0][0]) + 1
    total = len(index)
    print(f"{total} rows", flush=True)

    def line(name: str, times: tuple[float, float], count: int) -> None:
        beside = f"; {times[0] / count / each:.2f} times adding as many" if name != "add" else ""
        print(f"{name:38} {count:>9,} rows {times[0]:7.2f} s (clock {times[1]:.2f}){beside}", flush=True)

    added = seconds(lambda: index.add(np.arange(first, first + many), made))
    each = added[0] / many
    line("add", added, many)
    line(
        "Index.remove, the rows just added",
        seconds(lambda: index.remove(np.arange(first, first + many))),
        many,
    )
    ids = np.sort(random.choice(rows, many, replace=False))
    left = len(index)
    times = seconds(lambda: index.remove(ids))
    line("Index.remove, rows at random", times, left - len(index))
    left = len(index)
    times = seconds(lambda: conn.execute("delete from t where rowid % 2 = 0").fetchall())
    line("delete where rowid % 2 = 0", times, left - len(index))
    left = len(index)
    line("delete from t", seconds(lambda: conn.execute("delete from t").fetchall()), left)
    assert len(index) == 0
    [(report,)] = conn.execute("select vss_check('t')").fetchall()
    assert report == "ok", report
    conn.close()


if __name__ == "__main__":
    main()
