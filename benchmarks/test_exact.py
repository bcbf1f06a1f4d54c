"""Exact search and bulk add beside sqlite-vec, vec1 and Faiss's flat index, in one run.

Our column says ``index=flat``, as the peers keep no index either; what the default adds to a bulk add is measured in
``test_cells.py``.

100,000 x 384 random vectors, k = 10, one thread, one query at a time:

    pytest benchmarks/test_exact.py --benchmark-only --benchmark-columns=median,ops

Ratios are taken within the run, each peer's turn right after ours (`extra_info` of the ratio tests, printed with -s).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import apsw.sqlite_extra
import numpy as np
import pytest

import vssnative

N, DIM, K = 100_000, 384, 10
ROUNDS = 7


@pytest.fixture(scope="module")
def matrix() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((N, DIM), dtype=np.float32)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((200, DIM), dtype=np.float32)


def _open(path: Path, extension: str | None = None) -> apsw.Connection:
    conn = apsw.Connection(str(path))
    if extension is not None:
        conn.enable_load_extension(True)
        conn.load_extension(extension)
    conn.execute("pragma journal_mode = wal")
    conn.execute("pragma synchronous = normal")
    return conn


class Ours:
    name = "vssnative"

    def __init__(self, path: Path) -> None:
        self.conn = _open(path)
        vssnative.load(self.conn)
        self.index = vssnative.Index(self.conn, dim=DIM, index="flat")

    def add(self, matrix: np.ndarray) -> None:
        self.index.add(np.arange(len(matrix)), matrix)

    def search(self, query: np.ndarray) -> list[int]:
        return self.index.search(query, K, recall=1.0)[0].tolist()


class SqliteVec:
    name = "sqlite-vec"

    def __init__(self, path: Path) -> None:
        import sqlite_vec

        self.conn = _open(path, sqlite_vec.loadable_path())
        self.conn.execute(f"create virtual table v using vec0(e float[{DIM}])")

    def add(self, matrix: np.ndarray) -> None:
        with self.conn:
            self.conn.executemany(
                "insert into v(rowid, e) values(?, ?)", ((i, row.data) for i, row in enumerate(matrix))
            )

    def search(self, query: np.ndarray) -> list[int]:
        sql = f"select rowid from v where e match ? and k = {K}"
        return [row[0] for row in self.conn.execute(sql, (query.tobytes(),))]


class Vec1:
    name = "vec1"

    def __init__(self, path: Path) -> None:
        self.conn = _open(path, apsw.sqlite_extra.path("vec1"))
        self.conn.execute("create virtual table v using vec1(e)")

    def add(self, matrix: np.ndarray) -> None:
        with self.conn:
            self.conn.executemany(
                "insert into v(rowid, e) values(?, ?)", ((i, row.data) for i, row in enumerate(matrix))
            )

    def search(self, query: np.ndarray) -> list[int]:
        return [row[0] for row in self.conn.execute(f"select rowid from v(?, {K})", (query.tobytes(),))]


class FaissFlat:
    name = "faiss flat"

    def __init__(self, path: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self.index = faiss.IndexFlatL2(DIM)

    def add(self, matrix: np.ndarray) -> None:
        self.index.add(matrix)

    def search(self, query: np.ndarray) -> list[int]:
        return self.index.search(query[None], K)[1][0].tolist()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, matrix: np.ndarray) -> dict[str, Any]:
    """Each engine with the matrix in it, and the seconds that adding took."""
    vssnative.configure(threads=1)
    engines: dict[str, Any] = {}
    for kind in (Ours, SqliteVec, Vec1, FaissFlat):
        seconds = []
        for _ in range(3 if kind is not FaissFlat else 1):
            engine = kind(tmp_path_factory.mktemp("exact") / "v.db")
            start = time.perf_counter()
            engine.add(matrix)
            seconds.append(time.perf_counter() - start)
        engine.add_seconds = statistics.median(seconds)
        engines[kind.name] = engine
    return engines


@pytest.mark.parametrize("name", ["vssnative", "sqlite-vec", "vec1", "faiss flat"])
def test_search(benchmark: Any, filled: dict[str, Any], queries: np.ndarray, name: str) -> None:
    engine = filled[name]
    turn = iter(np.tile(queries, (50, 1)))
    benchmark.pedantic(lambda: engine.search(next(turn)), rounds=30, warmup_rounds=3)


@pytest.mark.parametrize("name", ["sqlite-vec", "vec1", "faiss flat"])
def test_search_ratio(filled: dict[str, Any], queries: np.ndarray, name: str, benchmark: Any) -> None:
    ours, peer = filled["vssnative"], filled[name]
    for query in queries[:3]:
        assert ours.search(query) == peer.search(query)
    ratios = []
    for turn in range(ROUNDS):
        batch = queries[turn * 10 : turn * 10 + 10]
        ratios.append(_seconds(peer.search, batch) / _seconds(ours.search, batch))
    benchmark.extra_info["times as fast"] = round(statistics.median(ratios), 2)
    print(
        f"\nexact search: {statistics.median(ratios):.2f} times {name} (from {min(ratios):.2f} to {max(ratios):.2f})"
    )
    benchmark.pedantic(lambda: None, rounds=1)


def test_add_ratio(filled: dict[str, Any], benchmark: Any) -> None:
    ours = filled["vssnative"].add_seconds
    for name in ("sqlite-vec", "vec1"):
        ratio = filled[name].add_seconds / ours
        benchmark.extra_info[f"times {name}"] = round(ratio, 2)
        print(
            f"\nbulk add: {ratio:.2f} times {name} ({N / ours:,.0f} rows/s against {N / filled[name].add_seconds:,.0f})"
        )
    benchmark.pedantic(lambda: None, rounds=1)


def _seconds(search: Callable[[np.ndarray], Any], queries: np.ndarray) -> float:
    start = time.perf_counter()
    for query in queries:
        search(query)
    return time.perf_counter() - start
