"""vss_rebuild, vss_relearn, vss_set_index: one statement each, seen by other connections, undone by a rollback."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.conftest import vectors
from vssnative import Index


def stats(db: sqlite3.Connection) -> dict[str, Any]:
    told = json.loads(db.execute("select vss_stats('t', 'a')").fetchone()[0])
    assert isinstance(told, dict)
    return told


def is_sound(db: sqlite3.Connection) -> bool:
    return bool(db.execute("select vss_check('t')").fetchone() == ("ok",))


@pytest.mark.parametrize("declared", ["cells", "flat"])
def test_flat_to_cells_and_back(
    open_db: Callable[..., sqlite3.Connection], random: np.random.Generator, declared: str
) -> None:
    db, other = open_db(), open_db()
    matrix = vectors(random, 6000, 16)
    db.execute(f"create virtual table t using vss0(a(16) index={declared}, kind text)")
    mine, theirs = Index(db, "t", "a"), Index(other, "t", "a")
    mine.add(range(6000), matrix)
    db.commit()
    queries = vectors(random, 10, 16)
    exact, _ = mine.search(queries, k=5, recall=1.0)
    np.testing.assert_array_equal(theirs.search(queries, k=5, recall=1.0)[0], exact)
    row = 6000
    for index in ("flat", "cells", "cells", "flat", "cells"):
        told = json.loads(db.execute("select vss_set_index('t', 'a', ?)", (index,)).fetchone()[0])
        db.commit()
        assert told["search"] == ("cells" if index == "cells" else "exact")
        assert is_sound(db)
        # Writers of both connections go by it at once.
        for writer in (theirs, mine):
            assert stats(writer.conn)["search"] == told["search"]
            writer.add([row], vectors(random, 1, 16) + 100)
            writer.conn.commit()
            assert row in mine
            row += 1
        assert is_sound(other)
        described = json.loads(other.execute("select vss_describe('t')").fetchone()[0])["columns"][0]
        assert described["index"] == index
        np.testing.assert_array_equal(theirs.search(queries, k=5, recall=1.0)[0], exact)
        np.testing.assert_array_equal(mine.search(queries, k=5, recall=1.0)[0], exact)
    third = open_db()
    assert stats(third)["search"] == "cells"
    assert stats(third)["rows"] == row
    assert is_sound(third)


def test_a_rollback_undoes_it(db: sqlite3.Connection, random: np.random.Generator) -> None:
    db.isolation_level = None
    index = Index(db, "t", "a")
    index.add(range(6000), vectors(random, 6000, 16))
    query = vectors(random, 1, 16)
    expected = index.search(query, k=5, recall=1.0)[0].tolist()
    for undo in ("rollback", "rollback to s"):
        db.execute("begin")
        db.execute("savepoint s")
        db.execute("select vss_set_index('t', 'a', 'flat')")
        assert stats(db)["search"] == "exact"
        index.add([6001], vectors(random, 1, 16))
        db.execute(undo)
        if db.in_transaction:
            assert stats(db)["search"] == "cells"
            index.add([7000], vectors(random, 1, 16) + 100)
            db.execute("commit")
        assert stats(db)["search"] == "cells"
        assert is_sound(db)
        assert index.search(query, k=5, recall=1.0)[0].tolist() == expected
        assert 6001 not in index


def test_what_cannot_be_is_said(db: sqlite3.Connection) -> None:
    db.execute("create virtual table t using vss0(a(16) type=bit, b(4))")
    for call, words in [
        ("vss_set_index('t', 'a', 'cells')", "type=bit under HAMMING are always searched exactly"),
        ("vss_set_index('t', 'b', 'tree')", 'expected cells, faiss or flat, got "tree"'),
        ("vss_set_index('t', 'c', 'flat')", 'no vector column "c"'),
        ("vss_rebuild('u', 'c')", 'no table "u"'),
    ]:
        with pytest.raises(sqlite3.OperationalError, match=words):
            db.execute(f"select {call}")
    db.execute("insert into t(b) values('[1,2,3,4]')")
    for name in ("vss_set_index('t', 'b', 'flat')", "vss_rebuild('t', 'b')", "vss_relearn('t', 'b')"):
        with pytest.raises(sqlite3.OperationalError, match=name.partition("(")[0]):
            db.execute(f"select {name} from t where b match '[1,2,3,4]' and k = 1").fetchall()


def test_rebuild_and_relearn(db: sqlite3.Connection, random: np.random.Generator) -> None:
    db.execute("create virtual table t using vss0(a(16), b(16) index=flat)")
    index = Index(db, "t", "a")
    matrix = vectors(random, 20_000, 16)
    for start in range(0, 20_000, 5000):
        index.add(range(start, start + 5000), matrix[start : start + 5000])
    index.remove(range(0, 20_000, 4))
    db.commit()
    queries = vectors(random, 10, 16)
    exact = index.search(queries, k=5, recall=1.0)[0]
    told = json.loads(db.execute("select vss_rebuild('t', 'a')").fetchone()[0])
    assert told["search"] == "cells"
    assert told["tail"] == 0
    assert told["rows"] == 15_000
    assert is_sound(db)
    told = json.loads(db.execute("select vss_relearn('t', 'a', 'main')").fetchone()[0])
    assert told["learned_at_cells"] == told["cells"]
    db.rollback()  # neither needs more than the transaction it is in
    assert is_sound(db)
    np.testing.assert_array_equal(index.search(queries, k=5, recall=1.0)[0], exact)
    for name in ("rebuild", "relearn"):
        told = json.loads(db.execute(f"select vss_{name}('t', 'b')").fetchone()[0])
        assert told["search"] == "exact"
