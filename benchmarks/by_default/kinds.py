"""Rows and queries of each kind of data, and the true nearest rows, made once and kept in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import platformdirs

K = 10
QUERIES = 1000
YEARS = 10_000
SHARES = (0.5, 0.01, 0.001)
Matrix = npt.NDArray[np.float32]


class Data(NamedTuple):
    matrix: Matrix
    queries: Matrix
    years: npt.NDArray[np.int64]
    texts: list[str]


def _real() -> tuple[Matrix, Matrix]:
    cache = os.environ.get("VSSNATIVE_CACHE") or platformdirs.user_cache_dir("vssnative")
    folder = Path(cache) / "datasets" / "debian"
    return np.load(folder / "vectors_50k.npy"), np.load(folder / "queries.npy")


def _normal(rows: int, dim: int) -> tuple[Matrix, Matrix]:
    random = np.random.default_rng(1)
    return random.standard_normal((rows, dim), np.float32), random.standard_normal((QUERIES, dim), np.float32)


def _clusters(rows: int, dim: int) -> tuple[Matrix, Matrix]:
    random = np.random.default_rng(2)
    centres = random.standard_normal((500, dim), np.float32)

    def drawn(count: int) -> Matrix:
        noise = np.float32(0.7) * random.standard_normal((count, dim), np.float32)
        return centres[random.integers(0, 500, count)] + noise

    return drawn(rows), drawn(QUERIES)


def _made(kind: str) -> tuple[Matrix, Matrix]:
    if kind == "real-50000x384":
        return _real()
    if kind == "real-300x384":
        matrix, queries = _real()
        return matrix[:300], queries
    shape = kind.split("-")[1]
    rows, dim = (int(number) for number in shape.split("x"))
    return (_clusters if kind.startswith("clusters") else _normal)(rows, dim)


def get(kind: str, folder: Path) -> Data:
    """The rows, the queries, a year from 0 to 9,999 for each row at random, and a text."""
    if not (folder / f"{kind}.npy").is_file():
        matrix, queries = _made(kind)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{kind}.queries.npy", np.ascontiguousarray(queries[:QUERIES]))
        np.save(folder / f"{kind}.npy", np.ascontiguousarray(matrix))
    matrix, queries = np.load(folder / f"{kind}.npy"), np.load(folder / f"{kind}.queries.npy")
    years = np.random.default_rng(4).integers(0, YEARS, len(matrix))
    return Data(matrix, queries, years, [f"This is the text of row {i}." for i in range(len(matrix))])


def recall(data: Data, queries: Matrix, found: list[list[int]], among: npt.NDArray[np.bool_]) -> float:
    """The share of the k nearest of the rows in `among` that were found, over 200 queries at most; ties count."""
    rows = np.flatnonzero(among)
    found, wide = found[:200], queries[:200].astype(np.float64)
    matrix = data.matrix[rows].astype(np.float64)
    # Without the query's own length, which is the same for all rows.
    distances = np.einsum("ij,ij->i", matrix, matrix) - 2 * (wide @ matrix.T)
    k = min(K, len(rows))
    places = np.full(len(among), -1)
    places[rows] = np.arange(len(rows))
    hits = 0
    for row, ids in zip(distances, found, strict=True):
        limit = np.partition(row, k - 1)[k - 1]
        asked = places[np.unique(np.asarray(ids, np.int64))]
        hits += int((row[asked[asked >= 0]] <= limit + 1e-6 * abs(limit) + 1e-9).sum())
    return hits / (k * len(found))
