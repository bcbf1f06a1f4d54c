"""Index: whole matrices in and out of one vector column."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vssnative
from tests.conftest import brute_force, vectors
from vssnative import (
    ConfigurationError,
    DimensionError,
    DuplicateIdError,
    Index,
    InvalidVectorError,
    QueryError,
)


@pytest.mark.parametrize("metric", ["l2", "inner_product", "cosine", "l1"])
@pytest.mark.parametrize("dim", [1, 3, 16, 100, 384])
def test_search_equals_brute_force(
    db: sqlite3.Connection, random: np.random.Generator, metric: str, dim: int
) -> None:
    matrix = vectors(random, 3000, dim)
    ids = random.permutation(100_000)[:3000].astype(np.int64)
    index = Index(db, metric=metric)
    index.add(ids, matrix)
    queries = vectors(random, 20, dim)
    found, distances = index.search(queries, k=10)
    expected, expected_distances = brute_force(queries, ids, matrix, 10, metric)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-5, atol=1e-6)
    assert (found == expected).mean() > 0.999  # numpy's own rounding may swap neighbours at the same float32
    assert (index.dim, index.metric, len(index)) == (dim, metric, 3000)


class Spoilt(sqlite3.Connection):
    """A user's class whose own cursors are of no use to the package."""

    def cursor(self, *_: object, **__: object) -> sqlite3.Cursor:  # type: ignore[override]
        raise AssertionError("the user's cursor was asked for")


def test_a_query_is_found_the_same_however_it_is_given(tmp_path: Path, random: np.random.Generator) -> None:
    """An array of the column's own type is searched without a detour; all else is made one first."""
    conn = vssnative.connect(tmp_path / "test.db")
    index = Index(conn)
    matrix = vectors(random, 60, 24)
    index.add(range(60), matrix)
    conn.commit()
    query = matrix[7] + np.float32(0.01)
    wide = np.zeros(48, np.float32)
    wide[::2] = query
    given = [query, query.tolist(), wide[::2], query.astype(np.float64), query.astype(">f4")]
    answers = [index.search(one, k=5, recall=1.0) for one in given]
    answers += [tuple(part[0] for part in index.search(np.array([one]), k=5, recall=1.0)) for one in given]
    spoilt = sqlite3.connect(tmp_path / "test.db", factory=Spoilt)
    spoilt.row_factory = lambda *_: pytest.fail("the user's row factory was asked")
    vssnative.load(spoilt)
    answers.append(Index(spoilt).search(query, k=5, recall=1.0))
    for ids, distances in answers:
        assert ids.tolist() == answers[0][0].tolist()
        assert distances.tolist() == answers[0][1].tolist()
    assert answers[0][0][0] == 7
    spoilt.close()
    conn.close()


def test_what_ends_a_search_is_told_once(tmp_path: Path, random: np.random.Generator) -> None:
    """An interrupt ends the search that runs, which is not begun again another way."""
    conn = vssnative.connect(tmp_path / "test.db")
    index = Index(conn)
    index.add(range(200), vectors(random, 200, 24))
    conn.commit()
    statements: list[str] = []
    conn.set_trace_callback(statements.append)
    conn.set_progress_handler(lambda: 1, 1)
    with pytest.raises(sqlite3.OperationalError, match="interrupt"):
        index.search(np.zeros(24, np.float32), k=5)
    conn.set_progress_handler(None, 1)
    assert sum("vss_batch" in statement for statement in statements) == 1
    conn.execute("drop table vss_vectors")
    with pytest.raises(QueryError, match="no table"):
        index.search(np.zeros(24, np.float32), k=5)
    conn.close()


def test_one_query_gives_one_row(db: sqlite3.Connection, random: np.random.Generator) -> None:
    index = Index(db)
    matrix = vectors(random, 50, 8)
    index.add(range(50), matrix)
    ids, distances = index.search(matrix[7], k=3)
    assert ids.shape == distances.shape == (3,)
    assert ids.dtype == np.int64
    assert distances.dtype == np.float32
    assert ids[0] == 7
    assert distances[0] == 0
    assert index.search(matrix[7].tolist(), k=3)[0].tolist() == ids.tolist()


def test_results_are_padded(db: sqlite3.Connection, random: np.random.Generator) -> None:
    index = Index(db)
    queries = vectors(random, 2, 8)
    index.add(np.empty(0, np.int64), np.empty((0, 8), np.float32))
    ids, distances = index.search(queries, k=4)
    assert (ids == -1).all()
    assert np.isinf(distances).all()
    index.add([10, 20], vectors(random, 2, 8))
    ids, distances = index.search(queries, k=4)
    assert (ids[:, 2:] == -1).all()
    assert np.isposinf(distances[:, 2:]).all()
    assert (ids[:, :2] > 0).all()
    assert index.search(queries, k=0)[0].shape == (2, 0)
    assert index.search(queries, k=5000)[0].shape == (2, 5000)


def test_where_holds_k(db: sqlite3.Connection, random: np.random.Generator) -> None:
    matrix = vectors(random, 2000, 16)
    db.execute("create virtual table v using vss0(embedding(16), company text, year integer)")
    db.executemany(
        "insert into v(rowid, embedding, company, year) values(?, ?, ?, ?)",
        [(i, matrix[i].tobytes(), "acme" if i % 50 == 0 else "other", i % 30) for i in range(2000)],
    )
    db.execute("create table posts(id integer primary key, draft)")
    db.executemany("insert into posts values(?, ?)", [(i, i % 3) for i in range(2000)])
    index = Index(db, table="v")
    queries = vectors(random, 5, 16)
    for where, params, match in [
        ("company = ?", ("acme",), lambda i: i % 50 == 0),
        ("year < ? and company like ?", (7, "ac%"), lambda i: i % 30 < 7 and i % 50 == 0),
        ("length(company) = 4", (), lambda i: i % 50 == 0),
        ("rowid in (select id from posts where draft = ?) -- drafts", (1,), lambda i: i % 3 == 1),
        (" rowid IN (select id from posts where draft = ?)\n", (1,), lambda i: i % 3 == 1),
        ("rowid in (values (4), (5), (99999))", (), lambda i: i in (4, 5)),
        ("rowid in (select id from posts where draft = year % 3)", (), lambda i: i % 3 == i % 30 % 3),
        ("rowid in (select id from posts where draft = year)", (), lambda i: i % 3 == i % 30),
        ("rowid in (select 1) or rowid in (select 2)", (), lambda i: i in (1, 2)),
        ("rowid in (select id from posts where /* ) or (\n */ draft = 1)", (), lambda i: i % 3 == 1),
        ("rowid = 77", (), lambda i: i == 77),
        ("0", (), lambda i: False),
    ]:
        ids = np.array([i for i in range(2000) if match(i)], np.int64)
        expected, _ = brute_force(queries, ids, matrix[ids], 10)
        assert index.search(queries, 10, where=where, params=params)[0].tolist() == expected.tolist(), where


def test_lists_of_rowids_go_to_the_search_as_they_are(
    db: sqlite3.Connection, random: np.random.Generator
) -> None:
    """In a select of the table's own rows, SQLite asked for each rowid: 128 ms in place of 14 at 25,000 of 50,000."""
    index = Index(db)
    index.add(np.arange(100), vectors(random, 100, 8))
    db.execute("create table posts(id integer primary key, draft integer)")
    db.executemany("insert into posts values(?, ?)", [(i, i % 2) for i in range(100)])
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    index.search(
        vectors(random, 1, 8), 3, where="rowid in (select id from posts where draft = ?)", params=[1]
    )
    db.set_trace_callback(None)
    [search] = [sql for sql in asked if "vss_batch" in sql and not sql.startswith("explain")]
    assert "rowid in (select id from posts" in search and search.count("vss_vectors") == 1


@pytest.mark.parametrize(
    ("where", "params", "words"),
    [
        ("company = ? and year > ?", ("acme",), r"each of the 2 \? of where, got 1"),
        ("company = ?", (), r"each of the 1 \? of where, got 0"),
        ("company = 'wh?o' -- ?", ("acme",), r"each of the 0 \? of where, got 1"),
        (None, ("acme",), r"each of the 0 \? of where, got 1"),
        ("company = ?2", ("acme",), r"in the order of params, not \?2"),
        ("company = :name", ("acme",), "in the order of params, not :name"),
    ],
)
def test_values_for_each_mark(
    db: sqlite3.Connection, where: str | None, params: tuple[str, ...], words: str
) -> None:
    db.execute("create virtual table v using vss0(embedding(2), company text, year integer)")
    db.execute("insert into v(embedding, company, year) values('[1, 2]', 'wh?o', 7)")
    with pytest.raises(QueryError, match=words):
        Index(db, table="v").search([1, 2], k=1, where=where, params=params)
    found, _ = Index(db, table="v").search(
        [1, 2], k=1, where="company = 'wh?o' /* ? */ and \"year\" = ?", params=(7,)
    )
    assert found.tolist() == [1]


def test_replace_remove_get_contains(db: sqlite3.Connection, random: np.random.Generator) -> None:
    index = Index(db)
    first, second = vectors(random, 100, 8), vectors(random, 100, 8)
    ids = np.arange(100, dtype=np.int64)
    index.add(ids, first)
    assert index.get([5, 3]).tolist() == first[[5, 3]].tolist()
    with pytest.raises(DuplicateIdError, match="row 50 exists already"):
        index.add(np.arange(50, 150, dtype=np.int64), second)
    assert len(index) == 100
    index.add(np.arange(50, 150, dtype=np.int64), second, replace=True)
    assert len(index) == 150
    assert index.get(range(50, 150)).tolist() == second.tolist()
    assert index.get(range(50)).tolist() == first[:50].tolist()
    assert index.remove([0, 1, 149, 9999]) == 3
    assert 0 not in index
    assert 2 in index
    assert "2" not in index
    with pytest.raises(KeyError, match="no vector for 2 ids: 0, 9999"):
        index.get([0, 2, 9999])
    assert index.get([]).shape == (0, 8)


def test_several_vector_columns_keep_apart(db: sqlite3.Connection, random: np.random.Generator) -> None:
    db.execute("create virtual table v using vss0(title(8) metric_type=COSINE, body(4))")
    title, body = Index(db, "v", "title"), Index(db, "v", "body")
    titles, bodies = vectors(random, 40, 8), vectors(random, 40, 4)
    title.add(range(40), titles)
    body.add(range(20, 60), bodies)
    assert (len(title), len(body)) == (40, 40)
    assert db.execute("select count(*) from v").fetchone() == (60,)
    title.add([30], titles[:1], replace=True)
    assert body.get([30]).tolist() == bodies[10:11].tolist()
    assert title.remove([30, 5]) == 2
    assert 30 in body
    assert db.execute("select count(*) from v").fetchone() == (59,)
    assert db.execute("select title is null, body is null from v where rowid = 30").fetchone() == (1, 0)


def test_layouts_that_are_read_in_place(
    db: sqlite3.Connection, random: np.random.Generator, tmp_path: Path
) -> None:
    wide = vectors(random, 60, 20)
    np.save(tmp_path / "m.npy", wide[:, :8])
    read_only = wide[:20, :8].copy()
    read_only.flags.writeable = False
    mapped = np.load(tmp_path / "m.npy", mmap_mode="r")
    index = Index(db, dim=8)
    index.add(range(20), read_only)
    index.add(range(20, 40), mapped[20:40])
    index.add(range(40, 50), wide[40:60:2, :8])
    assert index.get(range(40)).tolist() == wide[:40, :8].tolist()
    assert index.get(range(40, 50)).tolist() == wide[40:60:2, :8].tolist()


def test_what_cannot_be_taken_says_what_to_call(db: sqlite3.Connection, random: np.random.Generator) -> None:
    index = Index(db, dim=8)
    good = vectors(random, 4, 8)
    ids = np.arange(4, dtype=np.int64)
    for bad_ids, bad, error, words in [
        (ids, good[0], DimensionError, r"reshape\(1, -1\)"),
        (ids, good[:, :7].copy(), DimensionError, r"expected 8 dimensions, got shape \(4, 7\)"),
        (ids[:3], good, DimensionError, "3 ids and 4 rows"),
        (ids.astype(np.float64), good, InvalidVectorError, "expected integers or texts, got float64"),
        (ids.reshape(2, 2), good, DimensionError, "shape"),
        ([1, 2.5, 3, 4], good, InvalidVectorError, r"expected integers, .* got '2.5' \(float\)"),
        ([1, 2, 3, 2**63], good, InvalidVectorError, "64-bit integers"),
        ([1, 2, 1, 3], good, DuplicateIdError, "row 1 exists already"),
    ]:
        with pytest.raises(error, match=words):
            index.add(bad_ids, bad)
        assert len(index) == 0
    for value in (np.nan, np.inf, -np.inf):
        bad = good.copy()
        bad[2, 3] = value
        with pytest.raises(InvalidVectorError, match='column "embedding"'):
            index.add(ids, bad)
        assert len(index) == 0
        with pytest.raises(InvalidVectorError, match='column "embedding"'):
            index.add(ids[:1], good[:1]) or index.search(bad)
        index.remove(ids)
    index.add(ids[:1], good[:1])
    with pytest.raises(DimensionError, match=r"has 8 dimensions, got shape \(4, 7\)"):
        index.add(ids, good[:, :7])
    with pytest.raises(DimensionError, match="8 dimensions"):
        index.search(vectors(random, 1, 9))
    with pytest.raises(QueryError, match="k: expected"):
        index.search(good, k=-1)
    with pytest.raises(QueryError, match="recall"):
        index.search(good, recall=1.5)


def test_zero_vector_under_cosine(db: sqlite3.Connection) -> None:
    index = Index(db, metric="cosine")
    with pytest.raises(InvalidVectorError, match="zero"):
        index.add([1], np.zeros((1, 4), np.float32))
    assert len(index) == 0


def test_existing_tables_are_held_to_what_is_asked(db: sqlite3.Connection) -> None:
    db.execute("create virtual table v using vss0(a(8) metric_type=COSINE, note text)")
    assert Index(db, "v", "a").metric == "cosine"
    for kwargs, words in [
        ({"column": "b"}, "has no vector column 'b'; it has a"),
        ({"column": "note"}, "no vector column"),
        ({"column": "a", "dim": 9}, "dim=8, not 9"),
        ({"column": "a", "metric": "l2"}, "metric='cosine', not 'l2'"),
        ({"column": "a", "type": "int8"}, "type='float32', not 'int8'"),
        ({"column": "a", "metric": "fast"}, "metric: expected"),
        ({"column": "a", "dim": 0}, "dim: expected"),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            Index(db, "v", **kwargs)


def test_add_is_one_statement_of_the_callers_transaction(
    open_db: Callable[..., sqlite3.Connection], random: np.random.Generator
) -> None:
    db, other = open_db(), open_db()
    matrix = vectors(random, 500, 8)
    index = Index(db, dim=8)
    before = db.total_changes
    index.add(range(500), matrix)
    assert db.in_transaction
    assert db.total_changes - before >= 500
    assert len(index) == 500
    assert len(Index(other)) == 0
    db.rollback()
    assert len(index) == 0
    db.execute("create table mine(x)")
    db.execute("insert into mine values(1)")
    index.add(range(100), matrix[:100])
    bad = matrix.copy()
    bad[-1, 0] = np.nan
    with pytest.raises(InvalidVectorError):
        index.add(range(100, 600), bad)
    assert db.in_transaction
    assert len(index) == 100
    db.commit()
    assert len(Index(other)) == 100
    assert other.execute("select x from mine").fetchall() == [(1,)]


def test_interrupt_stops_an_add(db: sqlite3.Connection, random: np.random.Generator) -> None:
    index = Index(db, dim=384)
    matrix = np.broadcast_to(vectors(random, 1, 384), (2_000_000, 384))
    stop = threading.Timer(0.2, db.interrupt)
    stop.start()
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        index.add(np.arange(len(matrix)), matrix)
    stop.join()
    assert len(index) == 0


def test_the_gil_is_free_while_adding(db: sqlite3.Connection, random: np.random.Generator) -> None:
    index = Index(db, dim=64)
    matrix = vectors(random, 60_000, 64)
    done = threading.Event()
    ticks = 0

    def count() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    index.add(range(len(matrix)), matrix)
    done.set()
    thread.join()
    assert ticks > 1


def test_names_are_quoted(db: sqlite3.Connection, random: np.random.Generator) -> None:
    index = Index(db, table='my "odd" table', column='a "b"')
    matrix = vectors(random, 5, 4)
    index.add(range(5), matrix)
    assert index.search(matrix[2], k=1)[0].tolist() == [2]
    assert 2 in index
    assert index.remove([2]) == 1


def test_temp_and_attached_schemas(
    db: sqlite3.Connection, tmp_path: Path, random: np.random.Generator
) -> None:
    db.execute("attach ? as side", (str(tmp_path / "side.db"),))
    matrix = vectors(random, 5, 4)
    for schema in ("temp", "side"):
        index = Index(db, table="v", schema=schema)
        index.add(range(5), matrix)
        assert len(index) == 5
        assert index.search(matrix[3], k=1)[0].tolist() == [3]
    assert db.execute("select count(*) from sqlite_master").fetchone() == (0,)


def test_configure(db: sqlite3.Connection, random: np.random.Generator) -> None:
    matrix = vectors(random, 4000, 32)
    index = Index(db)
    index.add(range(4000), matrix)
    expected = index.search(matrix[:20], k=5)[0].tolist()
    try:
        for memory, threads in (("0", 1), ("64kB", 2), (" 0.5 GiB ", 2), ("1GB", 0)):
            vssnative.configure(memory=memory, threads=threads)
            assert index.search(matrix[:20], k=5)[0].tolist() == expected
        for bad in (
            {"memory": "lots"},
            {"memory": "-5"},
            {"memory": "3 feet"},
            {"memory": -1},
            {"threads": -1},
            {"threads": True},
        ):
            with pytest.raises(ConfigurationError, match="expected"):
                vssnative.configure(**bad)
    finally:
        vssnative.configure(memory="256MB", threads=0)


def test_a_flat_column_never_gets_cells(db: sqlite3.Connection) -> None:
    random = np.random.default_rng(5)
    matrix = random.standard_normal((4500, 16), dtype=np.float32)
    for index in ("cells", "flat"):
        made = Index(db, index, "a", index=index)
        made.add(np.arange(4500), matrix)
        db.commit()
        made_tables = {name for (name,) in db.execute("select name from sqlite_master")}
        assert (f"{index}_cells0" in made_tables) == (index == "cells")
        ids, _ = made.search(matrix[7], k=1)
        assert ids.tolist() == [7]
    with pytest.raises(ConfigurationError, match="index='flat', not 'cells'"):
        Index(db, "flat", "a", index="cells")
    with pytest.raises(ConfigurationError, match="index: expected cells, flat, faiss, got 'hnsw'"):
        Index(db, "other", "a", index="hnsw")
    assert Index(db, "flat", "a").stats()["search"] == "exact"


def test_filters_where_sqlite_hands_lists_value_by_value(
    db: sqlite3.Connection, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite before 3.38 would search once for each rowid; the way around it gives the same answers on any version."""
    index = Index(db)
    matrix = vectors(random, 500, 8)
    index.add(np.arange(500), matrix)
    queries = vectors(random, 5, 8)
    where, params = "rowid in (select value from json_each(?)) or rowid > ?", ("[3, 4, 5]", 490)
    expected = index.search(queries, 4, where=where, params=params)
    sent: list[str] = []
    monkeypatch.setattr("vssnative._index.index.lists_arrive_whole", lambda conn: False)
    db.set_trace_callback(sent.append)
    found = index.search(queries, 4, where=where, params=params)
    none = index.search(queries, 4, where="rowid < 0")
    db.set_trace_callback(None)
    assert any("json_group_array" in sql for sql in sent)
    assert found[0].tolist() == expected[0].tolist() and found[1].tolist() == expected[1].tolist()
    assert (none[0] == -1).all()
    with pytest.raises(sqlite3.OperationalError, match="expected a JSON array of rowids"):
        db.execute("select rowid from vss_vectors where embedding match vss_batch(1, '[1, 2')").fetchall()


def test_ids_below_zero_are_ids_and_an_empty_place_is_told_from_minus_one(db: sqlite3.Connection) -> None:
    """-1 pads missing results, as Faiss has it; a row called -1 is a row all the same."""
    index = Index(db, "below")
    least = -(2**63)
    index.add([-1, -5, least, 3], [[1, 0], [0, 1], [1, 1], [5, 5]])
    assert index.get([-1]).tolist() == [[1, 0]] and -1 in index
    ids, distances = index.search([1, 0], k=6)
    assert ids.tolist() == [-1, least, -5, 3, -1, -1]
    assert ((ids == -1) & np.isposinf(distances)).tolist() == [False, False, False, False, True, True]
    assert index.search_frame([1, 0], k=6)["id"].tolist() == [-1, least, -5, 3]
    assert index.remove([-1]) == 1 and -1 not in index
    for metric in ("l2", "inner_product", "l1", "euclidean"):
        far = Index(db, f"far_{metric}", metric=metric)
        far.add([-1, 2], np.float32([[-3e38, -3e38], [-1e38, -1e38]]))
        for queries in (np.float32([3e38, 3e38]), np.full((20, 2), 3e38, np.float32)):
            ids, distances = far.search(queries, k=3)
            there = ~((ids == -1) & np.isposinf(distances))
            assert np.atleast_2d(there).tolist() == [[True, True, False]] * len(np.atleast_2d(ids)), metric
        assert sorted(far.search_frame([3e38, 3e38], k=3)["id"].tolist()) == [-1, 2]
    keyed = Index(db, "keyed")
    keyed.add(["a"], [[1, 0]])
    assert keyed.search([1, 0], k=2)[0].tolist() == ["a", None]
