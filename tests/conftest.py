"""Fixtures that every test shares: connections that are closed, vectors that are the same every time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

# Every search of the tests, in other processes too, is answered a second way and compared.
os.environ.setdefault("VSSNATIVE_VERIFY", "1")
# Ray would report each start of its own to its makers.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import vssnative


@pytest.fixture
def open_db(tmp_path: Path) -> Iterator[Callable[..., sqlite3.Connection]]:
    """`open_db(name="test.db", **kwargs)`: a connection with vss0 loaded, closed at the end of the test."""
    opened: list[sqlite3.Connection] = []

    def open_one(name: str = "test.db", **kwargs: Any) -> sqlite3.Connection:
        path = name if name.startswith((":memory:", "file:")) else str(tmp_path / name)
        connection = vssnative.connect(path, **kwargs)
        opened.append(connection)
        return connection

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def db(open_db: Callable[..., sqlite3.Connection]) -> sqlite3.Connection:
    """A connection to a fresh file, with vss0 loaded."""
    return open_db()


def _has_faiss() -> bool:
    connection = vssnative.connect(":memory:")
    try:
        connection.execute("create virtual table t using vss0(a(2) factory=Flat)")
    except sqlite3.OperationalError as error:
        assert "needs Faiss, which this build of vss0 has not" in str(error)
        return False
    finally:
        connection.close()
    return True


HAS_FAISS = _has_faiss()
needs_faiss = pytest.mark.skipif(
    not HAS_FAISS, reason="this build of vss0 has no Faiss (VSSNATIVE_FAISS=OFF): factory= is refused"
)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(20261124)


def vectors(random: np.random.Generator, n: int, dim: int) -> npt.NDArray[np.float32]:
    return random.standard_normal((n, dim), dtype=np.float32)


def brute_force(
    queries: npt.NDArray[np.float32],
    ids: npt.NDArray[np.int64],
    matrix: npt.NDArray[np.float32],
    k: int,
    metric: str = "l2",
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The k nearest in double precision, rounded to float32 at the end, ties by id; padded like Index.search."""
    found = np.full((len(queries), k), -1, np.int64)
    distances = np.full((len(queries), k), np.inf, np.float32)
    wide = matrix.astype(np.float64)
    for i, query in enumerate(queries.astype(np.float64)):
        if metric == "l2":
            d = ((wide - query) ** 2).sum(axis=1)
        elif metric == "l1":
            d = np.abs(wide - query).sum(axis=1)
        elif metric == "inner_product":
            d = -(wide @ query)
        else:
            d = 1 - (wide @ query) / (np.linalg.norm(wide, axis=1) * np.linalg.norm(query))
        order = np.lexsort((ids, d.astype(np.float32)))[:k]
        found[i, : len(order)] = ids[order]
        distances[i, : len(order)] = d[order]
    return found, distances
