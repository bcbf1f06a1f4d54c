"""A sync by an embedder that takes no time, alone and beside a process that commits single rows.

python benchmarks/sync_beside.py [seconds between the other's commits; 0 for none]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import vssnative
from search_statements import DIM, NoTime

ROWS = 20_000
OTHER = """
import select, sqlite3, sys, time
conn = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
print("ready", flush=True)
waits = []
while not select.select([sys.stdin], [], [], float(sys.argv[2]))[0]:
    began = time.monotonic()
    conn.execute("insert into other values (1)")
    waits.append(1e3 * (time.monotonic() - began))
waits.sort()
print(f"{len(waits)} commits beside: median {waits[len(waits) // 2]:.0f} ms, longest {waits[-1]:.0f} ms")
"""


class Constant(NoTime):
    vectors = np.random.default_rng(0).normal(size=(512, DIM)).astype(np.float32)

    def embed_documents(self, texts):  # type: ignore[no-untyped-def]
        return self.vectors[np.arange(len(texts)) % 512]

    embed_queries = embed_documents


def main() -> None:
    every = sys.argv[1] if len(sys.argv) > 1 else "0"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.db"
        conn = vssnative.connect(path)
        conn.execute("create table posts(id integer primary key, title text)")
        conn.execute("create table other(x)")
        conn.executemany("insert into posts(title) values (?)", [(f"text {n}",) for n in range(ROWS)])
        conn.commit()
        vssnative.add_embeddings(conn, "posts", columns=["title"], model=Constant())
        other = None
        if float(every):
            command = [sys.executable, "-c", OTHER, str(path), every]
            other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert other.stdout is not None
            other.stdout.readline()
        done = vssnative.sync(conn, embedder=Constant())
        print(f"{done.rows / done.seconds:,.0f} rows a second")
        if other is not None:
            print(other.communicate("x")[0].strip())
        conn.close()


if __name__ == "__main__":
    main()
