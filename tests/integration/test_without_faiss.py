"""Tables with a factory where the library was built without Faiss; the file was made by one with it (below)."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import HAS_FAISS, brute_force, vectors
from vssnative import Index

MADE = Path(__file__).parents[1] / "fixtures" / "faiss_column.db"
ROWS, DIM = 300, 8


def matrix() -> np.ndarray:
    return vectors(np.random.default_rng(5), ROWS, DIM)


def make(conn: sqlite3.Connection) -> None:
    """How the file was made."""
    index = Index(conn, "t", "a", factory="IVF4,SQ8")
    index.add(np.arange(ROWS), matrix())
    conn.execute("select vss_rebuild('t', 'a')")
    conn.commit()


@pytest.mark.skipif(HAS_FAISS, reason="this build of vss0 has Faiss")
@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat,IDMap2", "no factory at all"])
def test_a_factory_is_refused_in_a_sentence(db: sqlite3.Connection, factory: str) -> None:
    message = f'table "t", column "a": factory "{factory}" needs Faiss, which this build of vss0 has not'
    with pytest.raises(sqlite3.OperationalError) as error:
        db.execute(f'create virtual table t using vss0(a(4) factory="{factory}")')
    assert str(error.value) == message
    assert db.execute("select count(*) from sqlite_schema").fetchone() == (0,)


def test_a_table_that_has_one_is_searched_and_written(
    open_db: Callable[..., sqlite3.Connection], tmp_path: Path, random: np.random.Generator
) -> None:
    shutil.copyfile(MADE, tmp_path / "test.db")
    db = open_db()
    index = Index(db, "t", "a")
    assert index.stats()["search"] == ("faiss" if HAS_FAISS else "exact")
    rows, ids, queries = matrix(), np.arange(ROWS), vectors(random, 20, DIM)
    more = vectors(random, 30, DIM)
    for now_ids, now in ((ids, rows), (np.arange(ROWS + 30), np.concatenate([rows, more]))):
        if len(now) > ROWS:
            index.add(now_ids[ROWS:], more)
        truth, distances = brute_force(queries, now_ids, now, 10)
        got, measured = index.search(queries, k=10, recall=1.0 if HAS_FAISS else None)
        assert np.array_equal(got, truth)
        assert np.allclose(measured, distances, rtol=1e-6)
    db.commit()
    assert db.execute("select vss_check('t')").fetchone() == ("ok",)
