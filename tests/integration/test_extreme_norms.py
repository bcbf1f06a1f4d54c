"""Vectors so long or so short that float32 squares overflow or vanish: ranked as in double precision, by every metric."""

from __future__ import annotations

import sqlite3

import numpy as np
import numpy.typing as npt
import pytest

from vssnative import Index

Wide = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]

DIM = 24
SCALES = (1e-37, 1e-30, 1e-22, 1e-19, 1e-8, 1e9, 1e16, 1e19, 1e20, 1e30, 3e37)


def distances(metric: str, rows: Matrix, query: Matrix) -> Wide:
    a, b = rows.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return np.asarray(((a - b) ** 2).sum(1))
    if metric == "l1":
        return np.asarray(np.abs(a - b).sum(1))
    if metric == "inner_product":
        return np.asarray(-(a @ b))
    return np.asarray(1 - (a @ b) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b)))


def drawn(random: np.random.Generator, rows: int, scale: float, type: str = "float32") -> Matrix:
    centers = np.random.default_rng(3).standard_normal((40, DIM))
    drawn = centers[random.integers(0, 40, rows)] + 0.4 * random.standard_normal((rows, DIM))
    # Within float32, whatever was drawn.
    matrix = (np.clip(drawn, -5, 5) * scale).astype(np.float32)
    if type == "bfloat16":
        matrix = (matrix.view(np.uint32) & 0xFFFF0000).view(np.float32)
    return matrix


def check_exact(metric: str, rows: Matrix, query: Matrix, found: npt.NDArray[np.int64]) -> None:
    truth = distances(metric, rows, query)
    best = np.sort(truth)[: len(found)]
    assert len(set(found.tolist())) == len(found) and (found >= 0).all()
    absolute = 1e-6 if metric == "cosine" else 0  # of distances that are rounded to float32
    np.testing.assert_allclose(truth[found], best, rtol=1e-6, atol=absolute)


@pytest.mark.parametrize("type", ["float32", "bfloat16"])
@pytest.mark.parametrize("metric", ["l2", "inner_product", "cosine", "l1"])
@pytest.mark.parametrize("scale", SCALES)
def test_exact_search_of_long_and_short_vectors(
    db: sqlite3.Connection, random: np.random.Generator, metric: str, scale: float, type: str
) -> None:
    rows = drawn(random, 700, scale, type)
    index = Index(db, metric=metric, type=type, dim=DIM, index="flat")
    index.add(np.arange(len(rows)), rows)
    for query in drawn(random, 3, scale, type):
        found, told = index.search(query, 15)
        check_exact(metric, rows, query, found)
        if metric == "cosine":
            np.testing.assert_allclose(told, distances(metric, rows, query)[found], rtol=1e-5, atol=1e-6)
    if metric in ("cosine", "inner_product"):  # only directions matter of the query
        for other in (1e-37, 1e-20, 1e20, 3e37):
            query = drawn(random, 1, other, type)[0]
            check_exact(metric, rows, query, index.search(query, 15)[0])


@pytest.mark.parametrize("metric", ["l2", "inner_product", "cosine"])
@pytest.mark.parametrize("scale", SCALES)
def test_cells_of_long_and_short_vectors(
    db: sqlite3.Connection, random: np.random.Generator, metric: str, scale: float
) -> None:
    rows = drawn(random, 4500, scale)
    index = Index(db, metric=metric, dim=DIM)
    index.add(np.arange(len(rows)), rows)
    db.commit()
    assert index.stats()["search"] == "cells"
    others = (scale,) if metric == "l2" else (scale, 1e-37, 1.0, 3e37)
    hits = 0
    for other in others:
        for query in drawn(random, 5, other):
            found, _ = index.search(query, 10, recall=1.0)
            check_exact(metric, rows, query, found)
            truth = distances(metric, rows, query)
            near, _ = index.search(query, 10, recall=0.99)
            assert (np.diff(truth[near]) >= -1e-6 * np.abs(truth[near][1:]).max()).all()
            hits += len(set(near.tolist()) & set(np.argsort(truth, kind="stable")[:10].tolist()))
    assert hits >= 0.9 * 10 * 5 * len(others)
    assert db.execute("select vss_check('vss_vectors')").fetchone() == ("ok",)


@pytest.mark.parametrize("metric", ["l2", "inner_product", "cosine"])
def test_lengths_of_all_kinds_in_one_table(
    db: sqlite3.Connection, random: np.random.Generator, metric: str
) -> None:
    rows = drawn(random, 4500, 1.0)
    scales = 10.0 ** random.uniform(-37, 37, len(rows))
    rows = (rows.astype(np.float64) * scales[:, None]).astype(np.float32)
    for kind in ("flat", "cells"):
        index = Index(db, kind, metric=metric, dim=DIM, index=kind)
        index.add(np.arange(len(rows)), rows)
        db.commit()
        for scale in (1e-37, 1e-20, 1e-10, 1.0, 1e10, 1e20, 3e37):
            query = drawn(random, 1, scale)[0]
            found, _ = index.search(query, 10, recall=1.0)
            check_exact(metric, rows, query, found)
            near, _ = index.search(query, 10)
            assert (near >= 0).all()
        assert db.execute("select vss_check(?)", (kind,)).fetchone() == ("ok",)


def test_sql_tells_distances_beyond_float32(db: sqlite3.Connection) -> None:
    db.execute("create virtual table t using vss0(a(2))")
    for rowid, value in enumerate(("[3e25, 0]", "[1e25, 0]", "[2e25, 0]"), 1):
        db.execute("insert into t(rowid, a) values (?, ?)", (rowid, value))
    told = db.execute("select rowid, distance from t where a match '[0, 0]' and k = 3").fetchall()
    assert [rowid for rowid, _ in told] == [2, 3, 1]
    assert [distance for _, distance in told] == pytest.approx([1e50, 4e50, 9e50], rel=1e-6)
    near = db.execute("select rowid from t where a match '[0, 0]' and distance < 5e50").fetchall()
    assert near == [(2,), (3,)]
