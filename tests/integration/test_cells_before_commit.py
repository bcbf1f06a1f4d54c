"""A transaction that has added many rows searches them through cells before it commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import numpy as np
import pytest

import vssnative
from tests.integration.test_cells import DIM, celled, check, clustered, nearest, search, stats

Opener = Callable[..., sqlite3.Connection]


def recall_of(db: sqlite3.Connection, model: dict[int, np.ndarray], queries: np.ndarray) -> float:
    found = [len(set(search(db, query, 10, 0.95)) & set(nearest(model, query, 10))) for query in queries]
    return float(np.mean(found)) / 10


def load(operation: str) -> str:
    """What `Index.add` executes, of a ticket."""
    last = f"case last when 1 then '{operation} last' else '{operation}' end"
    return f"insert into t(operation, rowid, a) select {last}, id, vector from vss_buffer(?)"


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_an_add_makes_its_cells_before_the_commit(
    open_db: Opener, random: np.random.Generator, end: str
) -> None:
    db = celled(open_db)
    rows = clustered(random, 2000)
    index = vssnative.Index(db, "t", "a")
    db.execute("begin")
    index.add(np.arange(2000), rows)
    now = stats(db)
    assert now["search"] == "cells"
    assert now["tail"] == 0
    assert now["learned_at_cells"] == now["cells"]
    assert recall_of(db, dict(enumerate(rows)), clustered(random, 40)) >= 0.9
    db.execute(end)
    check(db)
    other = open_db(isolation_level=None)
    check(other)
    left = 2000 if end == "commit" else 0
    assert stats(other)["rows"] == stats(db)["rows"] == len(index) == left
    assert stats(other)["search"] == ("cells" if end == "commit" else "exact")


def test_a_second_add_that_more_than_doubles_the_table_does_too(
    open_db: Opener, random: np.random.Generator
) -> None:
    db = celled(open_db)
    rows = clustered(random, 3000)
    index = vssnative.Index(db, "t", "a")
    index.add(np.arange(200), rows[:200])
    cells = stats(db)["cells"]
    assert isinstance(cells, int)
    db.execute("begin")
    index.add(np.arange(200, 3000), rows[200:])
    now = stats(db)
    assert now["tail"] == 0
    assert isinstance(now["cells"], int)
    assert now["cells"] > 5 * cells
    db.execute("rollback")
    assert stats(db)["cells"] == cells
    check(db)


def test_adds_in_pieces_keep_the_cells_up_to_date(open_db: Opener, random: np.random.Generator) -> None:
    db = celled(open_db)
    rows = clustered(random, 2000)
    index = vssnative.Index(db, "t", "a")
    db.execute("begin")
    for first in range(0, 2000, 20):
        index.add(np.arange(first, first + 20), rows[first : first + 20])
    now = stats(db)
    assert now["search"] == "cells"
    assert recall_of(db, dict(enumerate(rows)), clustered(random, 40)) >= 0.9
    db.execute("commit")
    check(db)


def test_an_add_that_fails_leaves_neither_rows_nor_cells(
    open_db: Opener, random: np.random.Generator
) -> None:
    db = celled(open_db)
    rows = clustered(random, 1000)
    index = vssnative.Index(db, "t", "a")
    db.execute("begin")
    index.add([5], rows[:1])
    with pytest.raises(vssnative.DuplicateIdError):
        index.add(np.arange(1000)[::-1], rows)
    assert stats(db)["search"] == "exact"
    assert len(index) == 1
    db.execute("commit")
    check(db)


@pytest.mark.parametrize("end", ["commit", "rollback", "savepoint"])
def test_searches_cluster_what_was_inserted_row_by_row(
    open_db: Opener, random: np.random.Generator, end: str
) -> None:
    db = celled(open_db)
    rows = clustered(random, 2000)
    queries = clustered(random, 40)
    model = dict(enumerate(rows))
    db.execute("begin")
    for i, row in enumerate(rows):
        db.execute("insert into t(rowid, a, g) values(?, ?, ?)", (i, row.tobytes(), i % 3))
    first = [search(db, query, 10, 0.95) for query in queries[:31]]
    assert stats(db)["search"] == "exact"
    assert first == [nearest(model, query, 10) for query in queries[:31]]
    search(db, queries[31], 10, 0.95)
    now = stats(db)
    assert now["search"] == "cells"
    assert now["learned_at_cells"] == now["cells"]
    assert recall_of(db, model, queries) >= 0.9
    assert search(db, queries[0], 10, 1.0) == nearest(model, queries[0], 10)
    # What comes and goes afterwards is seen, too.
    db.execute("insert into t(rowid, a) values(5000, ?)", (queries[0].tobytes(),))
    db.execute("delete from t where rowid = ?", (nearest(model, queries[1], 1)[0],))
    assert search(db, queries[0], 1, 0.95) == [5000]
    assert nearest(model, queries[1], 1)[0] not in search(db, queries[1], 10, 1.0)
    if end == "savepoint":
        db.execute("savepoint s")
        db.execute("delete from t where g = 1")
        db.execute("rollback to s")
        db.execute("release s")
        db.execute("commit")
    else:
        db.execute(end)
    check(db)
    left = 0 if end == "rollback" else 2000
    assert db.execute("select count(*) from t").fetchone()[0] == left
    assert stats(db)["search"] == ("exact" if end == "rollback" else "cells")


def test_one_call_with_many_queries_clusters_first(open_db: Opener, random: np.random.Generator) -> None:
    db = celled(open_db)
    rows = clustered(random, 2000)
    db.execute("begin")
    for i, row in enumerate(rows):
        db.execute("insert into t(rowid, a) values(?, ?)", (i, row.tobytes()))
    queries = clustered(random, 50)
    ids, _ = vssnative.Index(db, "t", "a").search(queries, 10)
    assert stats(db)["search"] == "cells"
    model = dict(enumerate(rows))
    assert (
        np.mean(
            [len(set(row) & set(nearest(model, query, 10))) for row, query in zip(ids, queries, strict=True)]
        )
        >= 9
    )
    db.execute("commit")
    check(db)


def test_no_cells_where_memory_has_no_room_for_them(open_db: Opener, random: np.random.Generator) -> None:
    # A search does not write, so that what it makes is held until the next write.
    rows = clustered(random, 3000)
    db = celled(open_db)
    vssnative.configure(memory=100_000)
    try:
        db.execute("begin")
        for i, row in enumerate(rows):
            db.execute("insert into t(rowid, a) values(?, ?)", (i, row.tobytes()))
        model = dict(enumerate(rows))
        queries = clustered(random, 40)
        assert [search(db, query, 10, 0.95) for query in queries] == [nearest(model, q, 10) for q in queries]
        assert stats(db)["search"] == "exact"
        # A command may write.
        db.execute("insert into t(operation) values('training')")
        assert stats(db)["search"] == "cells"
        assert recall_of(db, model, queries) >= 0.9
        db.execute("commit")
    finally:
        vssnative.configure(memory="256MB")
    check(db)


def test_adding_to_a_table_of_several_columns(open_db: Opener, random: np.random.Generator) -> None:
    db = celled(open_db, columns=f"a({DIM}), b({DIM})")
    rows = clustered(random, 1000)
    db.execute("begin")
    vssnative.Index(db, "t", "a").add(np.arange(1000), rows)
    vssnative.Index(db, "t", "b").add(np.arange(1000), rows)
    for column in "ab":
        [(text,)] = db.execute("select vss_stats('t', ?)", (column,))
        assert '"search": "cells"' in text or '"search":"cells"' in text
    db.execute("commit")
    check(db)


def test_rows_that_change_while_they_are_added_stay_as_they_were_stored(
    open_db: Opener, random: np.random.Generator
) -> None:
    """What is lent is another thread's to change: cells are made of what was stored."""
    db = celled(open_db)
    rows = clustered(random, 2000)
    lent = rows.copy()

    def change(id: int) -> int:
        if id == 1999:
            lent[:1500] = rows[499:1999]
        return 1

    db.create_function("change", 1, change)
    with vssnative._core.register_rows(np.arange(2000), lent) as ticket:
        db.execute(f"{load('add')} where change(id)", (ticket.number,))
    assert stats(db)["search"] == "cells"
    assert np.array_equal(vssnative.Index(db, "t", "a").get(np.arange(2000)), rows)
    check(db)
    assert recall_of(db, dict(enumerate(rows)), clustered(random, 40)) >= 0.9


def test_a_load_that_replaces_its_own_rows_and_fails_half_way(
    open_db: Opener, random: np.random.Generator
) -> None:
    db = celled(open_db)
    rows = clustered(random, 2000)
    index = vssnative.Index(db, "t", "a")
    db.execute("begin")
    ids = np.concatenate([np.arange(1000), np.arange(1000)])
    with vssnative._core.register_rows(ids, rows) as ticket:
        with pytest.raises(sqlite3.IntegrityError, match="exists already"):
            db.execute(load("add"), (ticket.number,))
        assert len(index) == 0
        db.execute(load("upsert"), (ticket.number,))
    check(db)
    assert np.array_equal(index.get(np.arange(1000)), rows[1000:])
    assert recall_of(db, dict(enumerate(rows[1000:])), clustered(random, 40)) >= 0.9
    db.execute("commit")
    check(open_db(isolation_level=None))
