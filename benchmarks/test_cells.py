"""Approximate search beside its peers: recall against speed, start, adding, file, memory, growth.

    VSSNATIVE_BENCH_CELLS=200000 python -m pytest benchmarks/test_cells.py -s

Vectors are real (``benchmarks/data.py``), of length 1, k = 10, one thread, one query at a time; recall counts rows at
least as near as the true tenth. The kinds take turns within one run, and medians are shown; a peer's speed at a recall is
interpolated between its settings. ``VSSNATIVE_BENCH_CELLS`` is the number of rows (20,000; published: 200,000). Peers that
are not installed are left out and named. Tables are written to ``benchmarks/results`` where that is asked for by
``VSSNATIVE_BENCH_SAVE=1``.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

import vssnative
from cells import peers
from data import build

ROWS = int(os.environ.get("VSSNATIVE_BENCH_CELLS", "20000"))
QUERIES = int(os.environ.get("VSSNATIVE_BENCH_QUERIES", "400"))
TURNS = int(os.environ.get("VSSNATIVE_BENCH_TURNS", "3"))
K = 10
RECALLS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
RESULTS = Path(__file__).parent / "results"


class World:
    """The rows, the queries, their true tenth distances, and our table over them."""

    def __init__(self, folder: Path) -> None:
        directory = build(200_000, 1_000)
        self.matrix = np.load(directory / "vectors.npy", mmap_mode="r")[:ROWS].copy()
        self.queries = np.load(directory / "queries.npy")[:QUERIES].copy()
        self.matrix /= np.linalg.norm(self.matrix, axis=1, keepdims=True)
        self.queries /= np.linalg.norm(self.queries, axis=1, keepdims=True)
        self.truth = np.empty(len(self.queries), np.float32)
        for first in range(0, len(self.queries), 100):
            part = self.queries[first : first + 100] @ self.matrix.T
            self.truth[first : first + 100] = np.partition(part, -K, axis=1)[:, -K]
        self.path = folder / "cells.db"
        vssnative.configure(threads=1, memory="1GB")
        self.conn = opened(self.path)
        self.index = vssnative.Index(self.conn, "t", "a")
        start = time.perf_counter()
        self.index.add(np.arange(ROWS), self.matrix)
        self.add_seconds = time.perf_counter() - start
        self.conn.execute("pragma wal_checkpoint(truncate)").fetchall()

    def recall(self, query: int, ids: Any) -> float:
        found = np.asarray(list(ids)[:K], np.int64)
        return float((self.matrix[found] @ self.queries[query] >= self.truth[query] - 1e-6).sum()) / K


def opened(path: Path) -> apsw.Connection:
    conn = apsw.Connection(str(path))
    vssnative.load(conn)
    conn.execute(
        "pragma journal_mode = wal; pragma synchronous = normal; pragma mmap_size = 4000000000"
    ).fetchall()
    return conn


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("cells"))
    yield made
    made.conn.close()
    vssnative.configure(threads=0, memory="256MB")


def said(name: str, lines: list[str]) -> None:
    """Show a table, and keep it where that is asked for."""
    text = "\n".join(lines)
    print(f"\n{name}, {ROWS:,} rows\n{text}")
    if os.environ.get("VSSNATIVE_BENCH_SAVE") == "1":
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name.replace(' ', '-')}-{ROWS}.txt").write_text(text + "\n", encoding="utf-8")


def curves(world: World, kinds: list[peers.Peer]) -> dict[str, list[tuple[str, float, float]]]:
    """For each kind its settings with recall and queries a second; all kinds in turns."""
    seconds: dict[tuple[str, str], list[float]] = {}
    recalls: dict[tuple[str, str], float] = {}
    for kind in kinds:
        for setting, search in kind.searches.items():
            found = [search(query) for query in world.queries]
            recalls[kind.name, setting] = statistics.fmean(
                world.recall(i, ids) for i, ids in enumerate(found)
            )
    for _ in range(TURNS):
        for kind in kinds:
            for setting, search in kind.searches.items():
                start = time.perf_counter()
                for query in world.queries:
                    search(query)
                seconds.setdefault((kind.name, setting), []).append(time.perf_counter() - start)
    return {
        kind.name: [
            (
                setting,
                recalls[kind.name, setting],
                len(world.queries) / statistics.median(seconds[kind.name, setting]),
            )
            for setting in kind.searches
        ]
        for kind in kinds
    }


def speed_at(points: list[tuple[str, float, float]], recall: float) -> float | None:
    """Queries a second at a recall, between the two nearest settings: linear in the logarithms of speed and of what is missed."""
    line = sorted((math.log(max(1 - r, 1e-4)), math.log(speed)) for _, r, speed in points)
    wanted = math.log(max(1 - recall, 1e-4))
    for (x0, y0), (x1, y1) in zip(line, line[1:], strict=False):
        if x0 <= wanted <= x1:
            return math.exp(y0 if x1 == x0 else y0 + (y1 - y0) * (wanted - x0) / (x1 - x0))
    return None


def installed(makers: list[Callable[[peers.Matrix], peers.Peer]], matrix: peers.Matrix) -> list[peers.Peer]:
    made = []
    for maker in makers:
        try:
            made.append(maker(matrix))
        except ImportError as error:
            print(f"\nnot installed, left out: {maker.__name__} ({error})")
    return made


def told(results: dict[str, list[tuple[str, float, float]]], ours: str) -> list[str]:
    lines = []
    for name, points in results.items():
        lines += [f"{name:36} {setting:24} recall {r:.4f}  {speed:8.0f} q/s" for setting, r, speed in points]
    for recall in (0.95, 0.99):
        mine = speed_at(results[ours], recall)
        if mine is None:
            continue
        lines.append(f"at recall {recall}: {ours} {mine:.0f} q/s")
        for name, points in results.items():
            theirs = speed_at(points, recall)
            if name != ours and theirs is not None:
                lines.append(f"  {mine / theirs:6.2f} times {name} ({theirs:.0f} q/s)")
    return lines


def plotted(name: str, results: dict[str, list[tuple[str, float, float]]]) -> None:
    if os.environ.get("VSSNATIVE_BENCH_SAVE") != "1":
        return
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5))
    for label, points in results.items():
        axes.plot([r for _, r, _ in points], [speed for _, _, speed in points], marker="o", label=label)
    axes.set(xlim=(0.8, 1.0), yscale="log", xlabel="recall at 10", ylabel="queries a second, one thread")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend(fontsize=8)
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / f"{name}-{ROWS}.svg")
    pyplot.close(figure)


def test_in_process(world: World, benchmark: Any) -> None:
    """Index.search, from Python through SQLite, beside libraries whose index is in memory."""
    ours = peers.Peer(
        "vssnative, Index.search",
        {
            f"recall={recall}": lambda query, recall=recall: world.index.search(query, K, recall=recall)[0]  # type: ignore[misc]
            for recall in RECALLS
        },
    )
    makers = [peers.faiss_graph, peers.faiss_codes, peers.usearch, peers.hnswlib]
    results = curves(world, [ours, *installed(makers, world.matrix)])
    said("in process", told(results, ours.name))
    plotted("in-process", results)
    benchmark.pedantic(lambda: None, rounds=1)


def test_through_sql(world: World, benchmark: Any) -> None:
    def at(recall: float) -> peers.Search:
        sql = f"select rowid from t where a match ? and k = {K} and recall = {recall}"
        return lambda query: [row[0] for row in world.conn.execute(sql, (query.tobytes(),))]

    ours = peers.Peer("vssnative, SQL", {f"recall={recall}": at(recall) for recall in RECALLS})
    exact = peers.Peer("vssnative, SQL, exact", {"recall=1.0": at(1.0)})
    approximate = installed([peers.vectorlite, peers.vec1], world.matrix)
    results = curves(world, [ours, *approximate])
    lines = told(results, ours.name)
    for name, points in results.items():
        for setting, recall, speed in points if name == "vectorlite" else []:
            mine = speed_at(results[ours.name], recall)
            if mine is not None:
                lines.append(
                    f"at vectorlite's {setting} (recall {recall:.3f}): {mine / speed:.2f} times as fast"
                )
    world.queries = world.queries[:40]
    slow = curves(
        world, [exact, *installed([peers.sqlite_vector, peers.sqlite_vec, peers.faiss_flat], world.matrix)]
    )
    fast = speed_at(results[ours.name], 0.95) or results[ours.name][2][2]
    [(_, exact_recall, exact_speed)] = slow[exact.name]
    lines.append(f"{exact.name}: recall {exact_recall:.4f}, {exact_speed:.0f} q/s")
    for name, points in slow.items():
        for setting, recall, speed in points if name != exact.name else []:
            lines.append(
                f"{name} {setting}: recall {recall:.4f}, {speed:.1f} q/s; ours at 0.95 {fast / speed:.1f} times as fast,"
                f" exact {exact_speed / speed:.2f} times"
            )
    said("through SQL", lines)
    plotted("through-sql", {**results, **slow})
    benchmark.pedantic(lambda: None, rounds=1)


FRESH = """
import sys, time
import apsw, numpy, vssnative
query = numpy.load(sys.argv[2])[0]
def read():
    return int(dict(line.split(": ") for line in open("/proc/self/io").read().splitlines())["rchar"])
vssnative.loadable_path()
before, start = read(), time.perf_counter()
conn = apsw.Connection(sys.argv[1])
vssnative.load(conn)
rows = conn.execute("select rowid, distance from t where a match ? and k = 10", (query.tobytes(),)).fetchall()
took = time.perf_counter() - start
print(len(rows), took * 1000, read() - before)
start = time.perf_counter()
conn.execute("select rowid, distance from t where a match ? and k = 10", (query.tobytes(),)).fetchall()
print((time.perf_counter() - start) * 1000)
for query in numpy.load(sys.argv[2]):
    conn.execute("select rowid, distance from t where a match ? and k = 10", (query.tobytes(),)).fetchall()
peak = dict(line.split(":") for line in open("/proc/self/status").read().splitlines())["VmHWM"]
print(int(peak.split()[0]) / 1024)
"""
EMPTY = """
import apsw, numpy, vssnative, sys
conn = apsw.Connection(":memory:")
vssnative.load(conn)
queries = numpy.load(sys.argv[2])
print(int(dict(line.split(":") for line in open("/proc/self/status").read().splitlines())["VmHWM"].split()[0]) / 1024)
"""


def test_fresh_process(world: World, tmp_path: Path, benchmark: Any) -> None:
    """Open, load and the first query in a process of its own; then its peak memory after all queries."""
    np.save(tmp_path / "queries.npy", world.queries)
    conn = opened(world.path)
    conn.execute("pragma wal_checkpoint(truncate)").fetchall()
    conn.close()
    environment = {k: v for k, v in os.environ.items() if k not in ("VSSNATIVE_MEMORY", "VSSNATIVE_THREADS")}

    def run(program: str) -> list[str]:
        return subprocess.run(
            [sys.executable, "-c", program, str(world.path), str(tmp_path / "queries.npy")],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()

    empty = float(run(EMPTY)[0])
    runs = [run(FRESH) for _ in range(5)]
    first, read, second, peak = (statistics.median(float(r[i]) for r in runs) for i in (1, 2, 3, 4))
    said(
        "fresh process",
        [
            f"open, load, first query: {first:.2f} ms, {read / 1e6:.2f} MB read; second query {second:.2f} ms",
            f"peak memory after {len(world.queries)} queries: {peak:.0f} MB, {peak - empty:.0f} MB above a process"
            " that only loaded the library (budget 256 MB)",
        ],
    )
    benchmark.pedantic(lambda: None, rounds=1)


def test_adding(world: World, tmp_path: Path, benchmark: Any) -> None:
    import sqlite_vec

    lines = []
    vectors = [row.tobytes() for row in world.matrix]

    dim = world.matrix.shape[1]

    def seconds(
        connect: Callable[[Path], apsw.Connection], add: Callable[[apsw.Connection], object]
    ) -> float:
        path = tmp_path / "adding.db"
        conn = connect(path)
        start = time.perf_counter()
        add(conn)
        took = time.perf_counter() - start
        conn.close()
        os.unlink(path)
        return took

    def theirs(path: Path) -> apsw.Connection:
        conn = apsw.Connection(str(path))
        conn.enable_load_extension(True)
        conn.load_extension(sqlite_vec.loadable_path())
        conn.execute("pragma journal_mode = wal; pragma synchronous = normal").fetchall()
        conn.execute(f"create virtual table t using vec0(a float[{dim}])")
        return conn

    def ours(path: Path) -> apsw.Connection:
        conn = opened(path)
        conn.execute(f"create virtual table t using vss0(a({dim}))")
        return conn

    def row_by_row(conn: apsw.Connection) -> None:
        with conn:
            conn.executemany("insert into t(rowid, a) values(?, ?)", enumerate(vectors))

    def bulk(conn: apsw.Connection) -> None:
        vssnative.Index(conn, "t", "a").add(np.arange(ROWS), world.matrix)

    kinds = (("bulk", ours, bulk), ("vec", theirs, row_by_row), ("row", ours, row_by_row))
    times = {name: [seconds(connect, add) for _ in range(2)] for name, connect, add in kinds}
    best = {name: min(values) for name, values in times.items()}
    lines.append(
        f"Index.add, clustering included: {ROWS / best['bulk']:,.0f} rows/s, {best['bulk'] / best['vec']:.2f} times the time in"
        f" which sqlite-vec only stores ({ROWS / best['vec']:,.0f} rows/s)"
    )
    lines.append(f"row by row, one transaction: {ROWS / best['row']:,.0f} rows/s")
    lines += one_row_commits(world, tmp_path)
    size = os.path.getsize(world.path) / world.matrix.nbytes
    lines.append(f"file: {size:.3f} times the raw vectors")
    said("adding", lines)
    benchmark.pedantic(lambda: None, rounds=1)


def one_row_commits(world: World, tmp_path: Path) -> list[str]:
    """Bytes in the log and time of one row in one commit, beside a plain table that gets the same bytes."""
    plain = sqlite3.connect(tmp_path / "plain.db", isolation_level=None)
    plain.execute("pragma journal_mode = wal")
    plain.execute("pragma synchronous = normal")
    plain.execute("create table t(id integer primary key, a blob)")
    plain.execute("begin")
    plain.executemany(
        "insert into t values(?, ?)", ((i, row.tobytes()) for i, row in enumerate(world.matrix))
    )
    plain.execute("commit")

    def measured(
        execute: Callable[[str, tuple[Any, ...]], Any], path: Path, insert: str, first: int
    ) -> tuple[float, float]:
        execute("pragma wal_autocheckpoint = 0", ())
        execute("pragma wal_checkpoint(truncate)", ())
        start = time.perf_counter()
        count = 1000
        for i in range(count):
            execute(insert, (first + i, world.matrix[i].tobytes()))
        took = (time.perf_counter() - start) / count
        written = os.path.getsize(f"{path}-wal") / count
        execute("pragma wal_autocheckpoint = 1000", ())
        return took, written

    conn = opened(world.path)
    ours = measured(
        lambda sql, values: conn.execute(sql, values).fetchall(),
        world.path,
        "insert into t(rowid, a) values(?, ?)",
        ROWS,
    )
    conn.execute("delete from t where rowid >= ?", (ROWS,))
    conn.close()
    theirs = measured(
        lambda sql, values: plain.execute(sql, values).fetchall(),
        tmp_path / "plain.db",
        "insert into t values(?, ?)",
        ROWS,
    )
    plain.close()
    return [
        f"one row in one commit (mean of 1,000, cells kept): {ours[0] * 1e6:.0f} us, {ours[1] / 1024:.1f} kB of log;"
        f" plain table {theirs[0] * 1e6:.0f} us, {theirs[1] / 1024:.1f} kB: {ours[0] / theirs[0]:.2f} times the time,"
        f" {ours[1] / theirs[1]:.2f} times the bytes"
    ]


def test_stages(world: World, benchmark: Any) -> None:
    """Where a query's time goes, by vss_explain: medians of all queries."""
    lines = []
    for recall in (0.95, 0.99, 1.0):
        shown = [world.index.explain(query, K, recall=recall) for query in world.queries[:100]]
        numbers = {
            key: statistics.median(s[key] for s in shown)
            for key, value in shown[0].items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        lines.append(f"recall {recall}: {json.dumps({k: round(v, 2) for k, v in numbers.items()})}")
    lines.append(json.dumps(world.index.stats()))
    said("stages", lines)
    benchmark.pedantic(lambda: None, rounds=1)
