"""Many rows deleted at once: they leave the cells in one pass, and counts are kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from vssnative import Index

ROWS = 9000
DIM = 32

Matrix = npt.NDArray[np.float32]


def clustered(random: np.random.Generator, rows: int) -> Matrix:
    centers = np.random.default_rng(3).standard_normal((60, DIM))
    spread = centers[random.integers(0, 60, rows)] + 0.5 * random.standard_normal((rows, DIM))
    return spread.astype(np.float32)


def nearest(vectors: Matrix, ids: npt.NDArray[np.int64], query: Matrix, k: int) -> list[int]:
    squares = ((vectors[ids].astype(np.float64) - query) ** 2).sum(1)
    return [int(id) for id in ids[np.argsort(squares, kind="stable")[:k]]]


def check(db: sqlite3.Connection, index: Index, vectors: Matrix, left: npt.NDArray[np.int64]) -> None:
    assert db.execute("select vss_check('vss_vectors')").fetchone() == ("ok",)
    assert len(index) == len(left) == db.execute("select count(*) from vss_vectors").fetchone()[0]
    query = vectors[7] + np.float32(0.01)
    found, _ = index.search(query, 20, recall=1.0)
    assert [id for id in found if id >= 0] == nearest(vectors, left, query, 20)
    found, _ = index.search(query, 20)
    assert np.isin(found[found >= 0], left).all() and (found >= 0).sum() == min(20, len(left))


@pytest.fixture
def vectors(random: np.random.Generator) -> Matrix:
    return clustered(random, ROWS)


@pytest.fixture
def index(db: sqlite3.Connection, vectors: Matrix) -> Index:
    index = Index(db)
    index.add(np.arange(ROWS), vectors)
    db.commit()
    assert index.stats()["search"] == "cells"
    return index


WAYS: dict[str, tuple[Callable[[Index, npt.NDArray[np.int64]], object], npt.NDArray[np.int64]]] = {
    "remove, at random": (
        lambda index, ids: index.remove(ids),
        np.random.default_rng(5).permutation(ROWS)[:1500],
    ),
    "remove, the first": (lambda index, ids: index.remove(ids), np.arange(4000)),
    "delete every second": (
        lambda index, ids: index.conn.execute("delete from vss_vectors where rowid % 2 = 0"),
        np.arange(0, ROWS, 2),
    ),
    "delete nine of ten": (
        lambda index, ids: index.conn.execute("delete from vss_vectors where rowid % 10 <> 0"),
        np.arange(ROWS)[np.arange(ROWS) % 10 != 0],
    ),
    "delete all": (lambda index, ids: index.conn.execute("delete from vss_vectors"), np.arange(ROWS)),
    "set null": (
        lambda index, ids: index.conn.execute("update vss_vectors set embedding = null where rowid < 3000"),
        np.arange(3000),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_rows_deleted_together(db: sqlite3.Connection, index: Index, vectors: Matrix, way: str) -> None:
    delete, ids = WAYS[way]
    left = np.setdiff1d(np.arange(ROWS), ids)
    delete(index, ids)
    assert len(index) == len(left)  # within the transaction
    found, _ = index.search(vectors[7], 20, recall=1.0)
    assert [id for id in found if id >= 0] == nearest(vectors, left, vectors[7], 20)
    db.rollback()
    check(db, index, vectors, np.arange(ROWS))

    delete(index, ids)
    db.commit()
    if way == "set null":
        db.execute("delete from vss_vectors where embedding is null")
        db.commit()
    check(db, index, vectors, left)

    # Some come back under their old ids, others are changed: their slots are used again.
    back = ids[::3]
    index.add(back, vectors[back])
    db.commit()
    left = np.sort(np.concatenate([left, back]))
    check(db, index, vectors, left)


def test_a_savepoint_rolled_back_between_deletions(
    db: sqlite3.Connection, index: Index, vectors: Matrix
) -> None:
    db.execute("begin")
    db.execute("delete from vss_vectors where rowid < 2000")
    db.execute("savepoint a")
    db.execute("delete from vss_vectors where rowid < 6000")
    assert len(index) == 3000
    db.execute("rollback to a")
    assert len(index) == 7000
    db.execute("delete from vss_vectors where rowid >= 8000")
    db.execute("release a")
    db.commit()
    check(db, index, vectors, np.arange(2000, 8000))


def test_all_vectors_replaced_in_one_transaction(
    db: sqlite3.Connection, index: Index, vectors: Matrix, random: np.random.Generator
) -> None:
    changed = clustered(random, ROWS)
    index.add(np.arange(ROWS), changed, replace=True)
    index.remove(np.arange(0, ROWS, 3))
    index.add(np.arange(0, ROWS, 3), vectors[::3])
    changed[::3] = vectors[::3]
    db.commit()
    check(db, index, changed, np.arange(ROWS))


def steps(db: sqlite3.Connection, run: Callable[[], object]) -> int:
    """Hundreds of steps of SQLite's machine that a call takes."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    db.set_progress_handler(count, 100)
    try:
        run()
    finally:
        db.set_progress_handler(None, 0)
    return taken


@pytest.mark.parametrize("kind", ["cells", "flat"])
def test_counts_are_kept(db: sqlite3.Connection, vectors: Matrix, kind: str) -> None:
    db.execute(f"create virtual table t using vss0(a({DIM}) index={kind}, b({DIM}) index={kind})")
    a, b = Index(db, "t", "a"), Index(db, "t", "b")
    a.add(np.arange(ROWS), vectors)
    b.add(np.arange(100), vectors[:100])
    assert (len(a), len(b)) == (ROWS, 100)  # before the commit
    db.commit()
    assert steps(db, lambda: len(a)) < 20
    assert steps(db, lambda: a.remove([5])) < 40
    assert (len(a), len(b)) == (ROWS - 1, 100)
    db.rollback()
    assert (len(a), len(b)) == (ROWS, 100)
    db.execute("update t set a = null where rowid < 10")
    assert (len(a), len(b)) == (ROWS - 10, 100)
    assert db.execute("select count(*), count(a), count(b) from t").fetchone() == (ROWS, ROWS - 10, 100)
    db.commit()
    assert db.execute("select vss_check('t')").fetchone() == ("ok",)
