"""Many equal vectors: a handful of cells hold them, their neighbours keep theirs, and optimize comes to an end."""

from __future__ import annotations

import sqlite3
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vssnative import Index

DIM = 16
Matrix = npt.NDArray[np.float32]


def optimized(index: Index, calls: int) -> dict[str, Any]:
    """The index's figures after one optimize, which may take so many calls."""
    told: list[int] = []

    def progress(at: int, _cells: int) -> None:
        told.append(at)
        assert len(told) <= calls, told

    index.optimize(progress=progress)
    return index.stats()


def figures(stats: dict[str, Any]) -> dict[str, Any]:
    return {key: stats[key] for key in ("rows", "cells", "entries", "largest_cell", "tail", "batched")}


@pytest.mark.parametrize("metric", ["l2", "inner_product", "cosine"])
@pytest.mark.parametrize("at_once", [30_000, 700])
def test_equal_vectors_leave_a_handful_of_cells(db: sqlite3.Connection, metric: str, at_once: int) -> None:
    index = Index(db, metric=metric, dim=DIM)
    rows = np.tile(np.linspace(0.1, 0.9, DIM, dtype=np.float32), (30_000, 1))
    for first in range(0, len(rows), at_once):
        index.add(np.arange(first, min(first + at_once, len(rows))), rows[first : first + at_once])
        db.commit()
    assert index.stats()["cells"] <= 8
    first_time = figures(optimized(index, 4))
    assert first_time["cells"] <= 8
    assert figures(optimized(index, 4)) == first_time
    found, distances = index.search(rows[0], 10)
    assert len(set(found.tolist())) == 10 and np.allclose(distances, distances[0])
    assert index.search(rows[0], 10, recall=1.0)[0].tolist() == list(range(10))
    assert db.execute("select vss_check('vss_vectors')").fetchone() == ("ok",)


@pytest.mark.parametrize("order", ["equal first", "equal last", "mixed"])
def test_the_neighbours_of_equal_vectors_keep_their_cells(
    db: sqlite3.Connection, random: np.random.Generator, order: str
) -> None:
    centers = np.random.default_rng(3).standard_normal((50, DIM))
    others = (centers[random.integers(0, 50, 6000)] + 0.4 * random.standard_normal((6000, DIM))).astype(
        np.float32
    )
    rows = np.concatenate([np.tile(others[0], (20_000, 1)), others])
    ids = np.arange(len(rows))
    if order == "equal last":
        ids = ids[::-1].copy()
    elif order == "mixed":
        ids = random.permutation(ids)
    index = Index(db, dim=DIM)
    for part in np.array_split(ids, 13):
        index.add(part, rows[part])
        db.commit()
    # 6,000 rows in cells of 90, not shredded, and few for the others.
    assert index.stats()["cells"] < 6000 / 90 * 2.5
    hits = 0
    for query in others[1:400:10] + np.float32(0.01):
        found, _ = index.search(query, 10)
        truth = np.sort(((rows.astype(np.float64) - query) ** 2).sum(1))[9]
        hits += int((((rows[found].astype(np.float64) - query) ** 2).sum(1) <= truth * (1 + 1e-6)).sum())
    assert hits >= 0.9 * 400
    optimized(index, 60)
    assert index.stats()["cells"] < 6000 / 90 * 2.5
    assert db.execute("select vss_check('vss_vectors')").fetchone() == ("ok",)


def test_optimizing_comes_to_rest(db: sqlite3.Connection, random: np.random.Generator) -> None:
    """Each further call changes fewer cells, until none."""
    centers = np.random.default_rng(3).standard_normal((50, DIM))
    rows = (centers[random.integers(0, 50, 9000)] + 0.4 * random.standard_normal((9000, DIM))).astype(
        np.float32
    )
    index = Index(db, dim=DIM)
    index.add(np.arange(9000), rows)
    db.commit()
    before = None
    for _ in range(12):
        optimized(index, 60)
        state = db.execute(
            "select version from vss_vectors_segments0 order by segment desc limit 1"
        ).fetchone()
        if state == before:
            break
        before = state
    else:
        pytest.fail("optimize goes on changing cells")
