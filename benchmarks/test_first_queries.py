"""The first searches of a new process, memory that holds only a part, and batches on several threads.

    VSSNATIVE_BENCH_FIRST=200000 python -m pytest benchmarks/test_first_queries.py -s

`VSSNATIVE_BENCH_FIRST` is the number of rows (50,000; published: 200,000 and 1,000,000), `VSSNATIVE_BENCH_VECTORS` a file of
them (.npy, float32; queries beside it, NAME.queries.npy); without it clustered vectors of 384 dimensions and length 1 are
drawn. k = 10, recall 0.95, the default budget of 256 MB, one thread but for batches. Times are those of the thread's own
work (``time.thread_time``) beside those of the clock, as other processes disturb the latter more.

Adding, opening and the first thousand searches are one account: the table is shown whole.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vssnative

ROWS = int(os.environ.get("VSSNATIVE_BENCH_FIRST", "50000"))
VECTORS = os.environ.get("VSSNATIVE_BENCH_VECTORS")
QUERIES = 4000
DIM = 384

PROCESS = """
import json, sys, time
import numpy, sqlite3
queries = numpy.load(sys.argv[2])
began = time.thread_time(), time.perf_counter()
import vssnative
from vssnative import Index, connect
imported = [(time.thread_time() - began[0]) * 1e3, (time.perf_counter() - began[1]) * 1e3]
vssnative.configure(threads=1, memory=sys.argv[3])
began = time.thread_time(), time.perf_counter()
index = Index(connect(sys.argv[1], isolation_level=None), "t", "a")
index.search(queries[0], k=10)
first = [(time.thread_time() - began[0]) * 1e3, (time.perf_counter() - began[1]) * 1e3]
def timed(query):
    began = time.thread_time(), time.perf_counter()
    index.search(query, k=10)
    return (time.thread_time() - began[0]) * 1e6, (time.perf_counter() - began[1]) * 1e6
warm = int(sys.argv[4])
early = [timed(query) for query in queries[1:1001]]
for i in range(warm):
    index.search(queries[i % len(queries)], k=10)
steady = [timed(query) for query in queries[1000:3000]]
print(json.dumps({"imported": imported, "first": first, "early": early, "steady": steady}))
"""


def drawn(rows: int, seed: int) -> np.ndarray:
    """Vectors around many centres on a bent surface of 48 dimensions, with some noise: neighbourhoods that overlap."""
    shape = np.random.default_rng(7)
    first = shape.standard_normal((48, 256), dtype=np.float32) / np.sqrt(np.float32(48))
    second = shape.standard_normal((256, DIM), dtype=np.float32) / 16
    centres = shape.standard_normal((3000, 48), dtype=np.float32)
    random = np.random.default_rng(seed)
    out = np.empty((rows, DIM), np.float32)
    for begin in range(0, rows, 50_000):
        n = min(50_000, rows - begin)
        inner = centres[random.integers(0, 3000, n)] + 0.7 * random.standard_normal((n, 48), dtype=np.float32)
        part = np.tanh(inner @ first) @ second + 0.12 * random.standard_normal((n, DIM), dtype=np.float32)
        out[begin : begin + n] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return out


class World:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "first.db"
        self.queries_path = folder / "queries.npy"
        if VECTORS:
            matrix = np.load(VECTORS, mmap_mode="r")[:ROWS].astype(np.float32)
            self.queries = np.load(VECTORS.removesuffix(".npy") + ".queries.npy")[:QUERIES].astype(np.float32)
        else:
            matrix, self.queries = drawn(ROWS, 1), drawn(QUERIES, 2)
        self.queries = np.resize(self.queries, (QUERIES, matrix.shape[1]))
        np.save(self.queries_path, self.queries)
        vssnative.configure(threads=1)
        conn = vssnative.connect(self.path, isolation_level=None)
        index = vssnative.Index(conn, "t", "a", metric="cosine")
        began = time.thread_time()
        index.add(np.arange(len(matrix)), matrix)
        self.added = time.thread_time() - began
        conn.execute("pragma wal_checkpoint(truncate)").fetchall()
        conn.close()
        self.size = self.path.stat().st_size / matrix.nbytes

    def process(self, memory: str, warm: int) -> dict[str, Any]:
        # As an installed package has it, whose modules are compiled.
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        variables["PYTHONPYCACHEPREFIX"] = str(self.path.parent / "compiled")
        compiled = "import numpy, vssnative; from vssnative import Index, connect"
        subprocess.run([sys.executable, "-c", compiled], env=variables, check=True)
        said = subprocess.run(
            [sys.executable, "-c", PROCESS, str(self.path), str(self.queries_path), memory, str(warm)],
            capture_output=True,
            text=True,
            check=True,
            env=variables,
        ).stdout
        result: dict[str, Any] = json.loads(said)
        return result


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield World(tmp_path_factory.mktemp("first"))
    vssnative.configure(threads=0)


def described(result: dict[str, Any], which: int) -> str:
    early = np.array(result["early"])[:, which]
    steady = float(np.array(result["steady"])[:, which].mean())
    shown = ", ".join(f"p{p} {np.percentile(early, p):.0f}" for p in (50, 90, 99))
    hundreds = " ".join(f"{early[i : i + 100].mean():.0f}" for i in range(0, len(early), 100))
    return (
        f"import {result['imported'][which]:.1f} ms; open, load, first search {result['first'][which]:.2f} ms; next 1,000:"
        f" mean {early.mean():.0f} us, {early.mean() / steady:.2f} times the later {steady:.0f}; {shown},"
        f" most {early.max():.0f}, above 3 ms {int((early > 3000).sum())}; by hundreds: {hundreds}"
    )


def test_first_searches(world: World, benchmark: Any) -> None:
    print(f"\n{ROWS:,} rows: added in {world.added:.1f} s of work, file {world.size:.3f} times the vectors")
    for _ in range(3):
        result = world.process("256MB", 3000)
        print("work:  " + described(result, 0))
        print("clock: " + described(result, 1))
    benchmark.pedantic(lambda: None, rounds=1)


def test_memory_for_a_part(world: World, benchmark: Any) -> None:
    """The default budget beside one that holds everything, in turns."""
    speeds: dict[str, list[float]] = {"256MB": [], "2GB": []}
    for _ in range(3):
        for memory, seen in speeds.items():
            steady = np.array(world.process(memory, max(3000, ROWS // 50))["steady"])[:, 0]
            seen.append(float(steady.mean()))
    part, whole = (statistics.median(speeds[memory]) for memory in ("256MB", "2GB"))
    print(
        f"\n{ROWS:,} rows: 256 MB {part:.0f} us a search, 2 GB {whole:.0f} us: {whole / part:.2f} of its speed"
    )
    benchmark.pedantic(lambda: None, rounds=1)


def test_batches_on_threads(world: World, benchmark: Any) -> None:
    """One batch of all queries on one thread and on two, in turns, for both budgets."""
    lines = []
    for memory in ("256MB", "2GB"):
        vssnative.configure(memory=memory)
        conn = vssnative.connect(world.path)
        index = vssnative.Index(conn, "t", "a")
        for threads in (1, 2, 1, 2):
            vssnative.configure(threads=threads)
            index.search(world.queries, k=10)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(5):
            for threads, seen in seconds.items():
                vssnative.configure(threads=threads)
                began = time.perf_counter()
                index.search(world.queries, k=10)
                seen.append(time.perf_counter() - began)
        conn.close()
        one, two = (min(seconds[threads]) for threads in (1, 2))
        lines.append(
            f"{memory}: {len(world.queries) / one:.0f} queries/s, on two threads {one / two:.2f} times"
        )
    print(f"\n{ROWS:,} rows, batches: " + "; ".join(lines))
    vssnative.configure(threads=1, memory="256MB")
    benchmark.pedantic(lambda: None, rounds=1)
