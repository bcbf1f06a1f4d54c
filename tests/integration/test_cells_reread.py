"""What a connection knows of the cells is brought up to date by what others commit, not read anew: it must be the same."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import vssnative
from tests.integration.test_cells import celled, check, clustered, nearest, search, stats

Opener = Callable[..., sqlite3.Connection]
COUNTED = ("rows", "tail", "cells", "entries", "largest_cell", "batched", "overfull_cells")


@pytest.fixture(autouse=True)
def no_cache() -> Iterator[None]:
    """Else connections of one process have each other's directories."""
    vssnative.configure(memory=0)
    yield
    vssnative.configure(memory="256MB")


def same_as_read_anew(
    db: sqlite3.Connection, open_db: Opener, queries: np.ndarray, model: dict[int, np.ndarray]
) -> None:
    fresh = open_db(isolation_level=None)
    for query in queries:
        wanted = nearest(model, query, 10)
        for conn in (db, fresh):
            assert search(conn, query, 10, 1.0) == wanted
            assert len(set(search(conn, query, 10, 0.99)) & set(wanted)) >= 7
    seen, expected = stats(db), stats(fresh)
    assert {name: seen.get(name) for name in COUNTED} == {name: expected.get(name) for name in COUNTED}
    fresh.close()


def celled_in_small_segments(open_db: Opener) -> sqlite3.Connection:
    """A segment is a block."""
    db = celled(open_db)
    size = "(select value from t_config where key = 'block_slots0')"
    db.execute(f"update t_config set value = {size} where key = 'segment_slots0'")
    assert db.execute("select changes()").fetchone() == (1,)
    db.close()
    return open_db(isolation_level=None)


def state(db: sqlite3.Connection) -> tuple[int, list[tuple[int, int]]]:
    """The generation, and the generations that the last changes were made to, with the segment that each changed."""
    [(generation, data)] = db.execute("select version, data from t_segments0 where segment = 4294967296")
    seen = struct.unpack_from("<4q4I", data, 40)
    return generation, list(zip(seen[:4], seen[4:], strict=True))


def test_a_commit_says_which_segment_it_changed(open_db: Opener, random: np.random.Generator) -> None:
    db = celled_in_small_segments(open_db)
    rows = clustered(random, 400)
    vssnative.Index(db, "t", "a").add(np.arange(300), rows[:300])
    assert state(db)[1] == [(0, 0)] * 4  # many
    seen = []
    for i in range(300, 340):
        seen.append(state(db)[0])
        db.execute("insert into t(rowid, a) values(?, ?)", (i, rows[i].tobytes()))
        assert [before for before, _ in state(db)[1]] == ([0] * 4 + seen)[-4:]
        assert state(db)[1][-1][1] == db.execute("select max(block) from t_vectors0").fetchone()[0]
    before = state(db)[0]
    db.execute("delete from t where rowid = 5")
    assert state(db)[1][-1] == (before, 0)
    db.execute("update t set a = ? where rowid in (6, 300)", (rows[0].tobytes(),))
    assert state(db)[1] == [(0, 0)] * 4
    db.execute("begin")
    before = state(db)[0]
    db.execute("update t set a = ? where rowid = 7", (rows[1].tobytes(),))
    db.execute("savepoint s")
    db.execute("update t set a = ? where rowid = 8", (rows[2].tobytes(),))
    db.execute("savepoint again")
    db.execute("rollback to s")
    db.execute("commit")
    assert state(db)[1][-1] == (before, 0)
    assert state(db)[1][-2] == (0, 0)
    check(db)


@pytest.mark.parametrize("at_once", [1, 40, 400])
def test_a_reader_follows_splits_merges_and_batches(
    open_db: Opener, random: np.random.Generator, at_once: int
) -> None:
    writer = celled_in_small_segments(open_db)
    reader = open_db(isolation_level=None)
    second = open_db(isolation_level=None)  # writes, too
    model: dict[int, np.ndarray] = {}
    queries = clustered(random, 3)
    next_id = 0
    for step in range({1: 150, 40: 30, 400: 8}[at_once]):
        for conn in (writer, second):
            rows = clustered(random, at_once)
            conn.execute("begin")
            conn.executemany(
                "insert into t(rowid, a) values(?, ?)",
                [(next_id + i, row.tobytes()) for i, row in enumerate(rows)],
            )
            model.update({next_id + i: row for i, row in enumerate(rows)})
            next_id += at_once
            gone = sorted(model)[:: 7 + step] if step % 5 == 4 else []
            conn.executemany("delete from t where rowid = ?", [(i,) for i in gone])
            for i in gone:
                del model[i]
            conn.execute("commit")
        if len(model) >= 10:
            same_as_read_anew(reader, open_db, queries, model)
            same_as_read_anew(writer, open_db, queries[:1], model)
    check(reader)
    assert stats(reader)["search"] == "cells" or len(model) < 60


def test_batches_that_a_rollback_undid_are_not_remembered(
    open_db: Opener, random: np.random.Generator
) -> None:
    # Their numbers are given to others.
    db = celled_in_small_segments(open_db)
    rows = clustered(random, 1500)
    model = dict(enumerate(rows[:600]))
    vssnative.Index(db, "t", "a").add(np.arange(600), rows[:600])
    queries = clustered(random, 5)
    next_id = 600
    for size in (70, 70, 140, 35):
        for end in ("rollback to s", "release s"):
            db.execute("begin")
            db.execute("savepoint s")
            part = {next_id + i: rows[(next_id + i * 3) % 1500] + (end == "release s") for i in range(size)}
            db.executemany(
                "insert into t(rowid, a) values(?, ?)", [(i, r.tobytes()) for i, r in part.items()]
            )
            db.execute("savepoint writes")
            db.execute("release writes")
            for query in queries:
                assert search(db, query, 10, 1.0) == nearest(model | part, query, 10)
            db.execute(end)
            if end == "release s":
                model |= part
                next_id += size
            same_as_read_anew_within(db, queries, model)
            db.execute("commit")
        same_as_read_anew(db, open_db, queries, model)
    check(db)


def same_as_read_anew_within(
    db: sqlite3.Connection, queries: np.ndarray, model: dict[int, np.ndarray]
) -> None:
    for query in queries:
        assert search(db, query, 10, 1.0) == nearest(model, query, 10)
        assert len(set(search(db, query, 10, 0.99)) & set(nearest(model, query, 10))) >= 7


def test_a_rebuilt_or_emptied_table_is_read_whole(open_db: Opener, random: np.random.Generator) -> None:
    db = celled(open_db)
    reader = open_db(isolation_level=None)
    rows = clustered(random, 3000)
    index = vssnative.Index(db, "t", "a")
    model: dict[int, np.ndarray] = {}
    queries = clustered(random, 3)
    for first, end in ((0, 300), (300, 3000)):
        index.add(np.arange(first, end), rows[first:end])
        model.update({i: rows[i] for i in range(first, end)})
        same_as_read_anew(reader, open_db, queries, model)
    index.remove(np.arange(100, 3000))
    model = {i: rows[i] for i in range(100)}
    same_as_read_anew(reader, open_db, queries, model)
    db.execute("delete from t")
    assert search(reader, queries[0], 10, 0.95) == []
    index.add(np.arange(500), rows[:500])
    same_as_read_anew(reader, open_db, queries, dict(enumerate(rows[:500])))
    check(reader)
