"""The memory that adding takes: the most that the process held beside its files, while it added and committed.

    python benchmarks/cells/memory.py VECTORS.npy ROWS

One thread, the default budget (256 MB). Without what loading the library and numpy takes; the vectors, which lie in
a mapped file, and SQLite's file are not counted.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path

import apsw
import numpy as np

import vssnative


def held() -> int:
    """Megabytes of this process that are no file's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("RssAnon:")[1].split()[0]) // 1024


def main() -> None:
    vectors = np.load(sys.argv[1], mmap_mode="r")[: int(sys.argv[2])]
    vssnative.configure(threads=1)
    with tempfile.TemporaryDirectory() as folder:
        conn = apsw.Connection(str(Path(folder) / "memory.db"))
        vssnative.load(conn)
        conn.execute("pragma journal_mode = wal; pragma synchronous = off").fetchall()
        before = held()
        most = [0]
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.05):
                most[0] = max(most[0], held())

        watcher = threading.Thread(target=watch)
        watcher.start()
        start = time.process_time()
        vssnative.Index(conn, "t", "a").add(np.arange(len(vectors)), vectors)
        took = time.process_time() - start
        done.set()
        watcher.join()
        conn.close()
    print(
        f"{vectors.shape[0]:,} x {vectors.shape[1]}: at most {most[0] - before} MB more than the {before} MB before;"
        f" {took:.1f} s of processor time"
    )


if __name__ == "__main__":
    main()
