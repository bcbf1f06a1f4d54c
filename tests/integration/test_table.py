"""vss0 in plain SQL: rows in and out, searches, filters, refusals."""

from __future__ import annotations

import importlib
import json
import sqlite3

import numpy as np
import pytest

import vssnative
from tests.conftest import brute_force, vectors

N, DIM = 4000, 12


@pytest.fixture
def matrix(random: np.random.Generator) -> np.ndarray:
    return vectors(random, N, DIM)


@pytest.fixture
def filled(db: sqlite3.Connection, matrix: np.ndarray) -> sqlite3.Connection:
    db.execute(
        f"create virtual table t using vss0(a({DIM}), b(4) metric_type=COSINE, company text collate nocase indexed,"
        " year integer, price real, user_id integer partition key, +note text)"
    )
    db.executemany(
        "insert into t(rowid, a, b, company, year, price, user_id, note) values(?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                i,
                matrix[i].tobytes(),
                matrix[i, :4].tobytes() if i % 4 else None,
                ["Acme", "bolt", "Cog", None][i % 4],
                1990 + i % 30,
                i / 10,
                i % 7,
                f"note {i}",
            )
            for i in range(N)
        ],
    )
    db.commit()
    return db


def nearest(matrix: np.ndarray, query: np.ndarray, ids: list[int], k: int) -> list[int]:
    array = np.array(ids, np.int64)
    found, _ = brute_force(query[None], array, matrix[array], k)
    return [int(i) for i in found[0] if i >= 0]


def test_values_come_back(filled: sqlite3.Connection, matrix: np.ndarray) -> None:
    row = filled.execute(
        "select rowid, a, b, company, year, price, user_id, note, distance from t where rowid = 5"
    )
    assert row.fetchall() == [
        (5, matrix[5].tobytes(), matrix[5, :4].tobytes(), "bolt", 1995, 0.5, 5, "note 5", None)
    ]
    assert filled.execute("select count(*), count(b), sum(length(a)) from t").fetchone() == (
        N,
        N * 3 // 4,
        N * DIM * 4,
    )
    assert [
        r[0] for r in filled.execute("select rowid from t where rowid between 10 and 13 order by rowid desc")
    ] == [
        13,
        12,
        11,
        10,
    ]
    assert filled.execute(
        "select rowid from t where company = 'ACME' and year = 1990 limit 2"
    ).fetchall() == [
        (0,),
        (60,),
    ]


FILTERS = {
    "rowid in (select value from json_each('[1, 5, 700, 99999, \"x\", 7.0]'))": lambda i: i in (1, 5, 700, 7),
    "rowid in (3, 4)": lambda i: i in (3, 4),
    "rowid = 17": lambda i: i == 17,
    "rowid < 100": lambda i: i < 100,
    "rowid between 50 and 59": lambda i: 50 <= i <= 59,
    "rowid >= 3990": lambda i: i >= 3990,
    "company = 'acme'": lambda i: i % 4 == 0,
    "company = 'acme' collate binary": lambda i: False,
    "company in ('ACME', 'Cog')": lambda i: i % 4 in (0, 2),
    "company <> 'acme'": lambda i: i % 4 in (1, 2),
    "company is null": lambda i: i % 4 == 3,
    "company is not null": lambda i: i % 4 != 3,
    "company is 'bolt'": lambda i: i % 4 == 1,
    "company is not 'bolt'": lambda i: i % 4 != 1,
    "company like 'c%'": lambda i: i % 4 == 2,
    "company glob 'C*'": lambda i: i % 4 == 2,
    "year = '1995'": lambda i: i % 30 == 5,
    "year in (1990, 1995.0, 'x')": lambda i: i % 30 in (0, 5),
    "year < 1993": lambda i: i % 30 < 3,
    "price between 1.5 and 2": lambda i: 15 <= i <= 20,
    "user_id = 3": lambda i: i % 7 == 3,
    "user_id = 3 and year = 2000 and company in ('Acme', 'Cog')": lambda i: (
        i % 7 == 3 and i % 30 == 10 and i % 4 in (0, 2)
    ),
    "a is not null and b is null": lambda i: i % 4 == 0,
    "year = 1995 and rowid in (select value from json_each('[5, 6, 35]'))": lambda i: i in (5, 35),
    "year = 1": lambda i: False,
}


@pytest.mark.parametrize("where", FILTERS)
@pytest.mark.parametrize("k", [1, 10, 5000])
def test_filters_hold_k(filled: sqlite3.Connection, matrix: np.ndarray, where: str, k: int) -> None:
    matching = [i for i in range(N) if FILTERS[where](i)]
    query = matrix[123] * 0.5
    sql = f"select rowid, distance from t where a match ? and k = ? and {where}"
    rows = filled.execute(sql, (query.tobytes(), k)).fetchall()
    assert [r[0] for r in rows] == nearest(matrix, query, matching, k)
    assert [r[1] for r in rows] == sorted(r[1] for r in rows)


@pytest.mark.parametrize(
    ("where", "match"),
    [
        ("company not like 'a%'", lambda i: i % 4 in (1, 2)),
        ("length(note) = 6", lambda i: i < 10),
        ("note = 'note 12'", lambda i: i == 12),
        ("year + 1 = 1996 or price = 0.7", lambda i: i % 30 == 5 or i == 7),
        ("abs(distance) >= 0 and rowid % 2 = 0", lambda i: i % 2 == 0),
    ],
)
def test_any_other_condition_with_limit(
    filled: sqlite3.Connection, matrix: np.ndarray, where: str, match
) -> None:
    query = matrix[77]
    sql = f"select rowid from t where a match ? and ({where}) order by distance limit 10 offset 2"
    expected = nearest(matrix, query, [i for i in range(N) if match(i)], 12)[2:]
    assert [r[0] for r in filled.execute(sql, (query.tobytes(),))] == expected


def test_distance_bounds_and_paging(filled: sqlite3.Connection, matrix: np.ndarray) -> None:
    query = matrix[9]
    everything = filled.execute(
        "select rowid, distance from t where a match ?", (query.tobytes(),)
    ).fetchall()
    assert len(everything) == N
    tenth = everything[9][1]
    for op, expected in [
        ("<", everything[:9]),
        ("<=", everything[:10]),
        (">", everything[10:]),
        (">=", everything[9:]),
    ]:
        sql = f"select rowid, distance from t where a match ? and distance {op} ? order by distance"
        assert filled.execute(sql, (query.tobytes(), tenth)).fetchall() == expected
    sql = "select rowid, distance from t where a match ? and distance between ? and ? and k = 4"
    bounds = (everything[3][1], everything[20][1])
    assert filled.execute(sql, (query.tobytes(), *bounds)).fetchall() == everything[3:7]
    pages = []
    last = (-1.0, -1)
    while True:
        sql = "select rowid, distance from t where a match ? and (distance, rowid) > (?, ?) order by distance, rowid limit 500"
        page = filled.execute(sql, (query.tobytes(), *last)).fetchall()
        if not page:
            break
        pages += page
        last = (page[-1][1], page[-1][0])
    assert pages == everything


def test_joins_and_subqueries(filled: sqlite3.Connection, matrix: np.ndarray) -> None:
    filled.execute("create table posts(id integer primary key, title text)")
    filled.executemany("insert into posts values(?, ?)", [(i, f"post {i}") for i in range(0, N, 2)])
    query = matrix[50]
    best = nearest(matrix, query, list(range(N)), 10)
    sql = "select p.title from t join posts p on p.id = t.rowid where t.a match ? and k = 10 order by t.distance"
    assert [r[0] for r in filled.execute(sql, (query.tobytes(),))] == [
        f"post {i}" for i in best if i % 2 == 0
    ]
    sql = "select rowid from t where a match ? and k = 10 and rowid in (select id from posts where title like 'post 1%')"
    ids = [i for i in range(0, N, 2) if str(i).startswith("1")]
    assert [r[0] for r in filled.execute(sql, (query.tobytes(),))] == nearest(matrix, query, ids, 10)


def test_two_columns_of_one_table(filled: sqlite3.Connection, matrix: np.ndarray) -> None:
    query = matrix[3, :4]
    ids = [i for i in range(N) if i % 4]
    array = np.array(ids, np.int64)
    expected, _ = brute_force(query[None], array, matrix[array, :4], 10, "cosine")
    rows = filled.execute("select rowid from t where b match ? and k = 10", (query.tobytes(),)).fetchall()
    assert [r[0] for r in rows] == expected[0].tolist()


def test_sqlite_vss_searches(filled: sqlite3.Connection, matrix: np.ndarray) -> None:
    query = matrix[5].tobytes()
    by_match = filled.execute("select rowid, distance from t where a match ? and k = 10", (query,)).fetchall()
    for sql in (
        "select rowid, distance from t where vss_search(a, vss_search_params(?, 10))",
        "select rowid, distance from t where vss_search(a, vss_search_params(?, 10, 1.0))",
        "select rowid, distance from t where vss_search(a, ?) limit 10",
        "select rowid, distance from t where vss_search(a, ?) order by distance limit 10",
    ):
        assert filled.execute(sql, (query,)).fetchall() == by_match
    radius = by_match[6][1]
    sql = "select rowid, distance from t where vss_range_search(a, vss_range_search_params(?, ?)) order by distance"
    assert filled.execute(sql, (query, radius)).fetchall() == by_match[:6]
    filled.execute("create virtual table ip using vss0(a(3) metric_type=INNER_PRODUCT)")
    filled.executemany(
        "insert into ip(rowid, a) values(?, ?)", [(1, "[1,0,0]"), (2, "[2,0,0]"), (3, "[0,1,0]")]
    )
    sql = "select rowid, distance from ip where vss_search(a, vss_search_params('[1,1,0]', 2))"
    assert filled.execute(sql).fetchall() == [(2, 2.0), (1, 1.0)]  # as sqlite-vss: larger is nearer
    sql = "select rowid, distance from ip where a match '[1,1,0]' and k = 2"
    assert filled.execute(sql).fetchall() == [(2, -2.0), (1, -1.0)]


def test_json_and_blobs_are_the_same_vector(db: sqlite3.Connection) -> None:
    db.execute("create virtual table t using vss0(a(3))")
    db.execute("insert into t(rowid, a) values(1, '[0.5, -2, 1e-3]')")
    blob = np.array([0.5, -2, 1e-3], np.float32).tobytes()
    assert db.execute("select a from t").fetchone() == (blob,)
    assert db.execute("select rowid, distance from t where a match ' [0.5,-2.0,0.001] '").fetchall() == [
        (1, 0.0)
    ]


def test_rowids_of_any_value(db: sqlite3.Connection) -> None:
    db.execute("create virtual table t using vss0(a(2))")
    ids = [-(2**63), -5, 0, 2**63 - 1]
    db.executemany("insert into t(rowid, a) values(?, '[1, 2]')", [(i,) for i in ids])
    assert [r[0] for r in db.execute("select rowid from t where a match '[1, 2]' and k = 9")] == ids
    assert [r[0] for r in db.execute("select rowid from t")] == ids


def test_last_insert_rowid_is_the_callers(db: sqlite3.Connection) -> None:
    db.execute("create virtual table t using vss0(a(2), +note)")
    db.execute("create table log(id integer primary key, x)")
    assert db.execute("insert into t(a) values('[1, 2]')").lastrowid == 1
    assert db.execute("insert into t(a) values('[1, 2]')").lastrowid == 2
    db.execute("insert into log values(41, 0)")
    db.execute("update t set a = '[3, 4]', note = 'x' where rowid = 1")
    db.execute("delete from t where rowid = 2")
    db.commit()
    assert db.execute("select last_insert_rowid()").fetchone() == (41,)
    db.execute(
        "create trigger log_t after insert on log begin insert into t(rowid, a) values(new.id, '[5, 6]'); end"
    )
    assert db.execute("insert into log(x) values(1)").lastrowid == 42
    assert db.execute("select count(*) from t where rowid = 42").fetchone() == (1,)


REFUSED = {
    "duplicate rowid": ("insert into t(rowid, a) values(1, '[1, 2, 3]')", "row 1 exists already"),
    "odd blob": (
        "insert into t(a) values(x'0102')",
        "expected a vector of 3 dimensions .* got a blob of 2 bytes",
    ),
    "wrong dimension": ("insert into t(a) values(zeroblob(8))", r"got a blob of 8 bytes \(2 dimensions\)"),
    "empty blob": ("insert into t(a) values(x'')", "got a blob of 0 bytes"),
    "JSON of another length": ("insert into t(a) values('[1, 2]')", "got a JSON array of 2 numbers"),
    "JSON that is none": ("insert into t(a) values('1, 2, 3')", 'column "a"'),
    "JSON cut off": ("insert into t(a) values('[1, 2,')", 'column "a"'),
    "JSON with a word": ("insert into t(a) values('[1, 2, null]')", 'column "a"'),
    "an integer": ("insert into t(a) values(5)", "got integer"),
    "NaN": ("insert into t(a) values(x'0000803F0000803F0000C07F')", 'column "a".*(NaN|finite|nan)'),
    "infinity": ("insert into t(a) values(x'0000803F0000803F0000807F')", 'column "a".*(inf|finite)'),
    "JSON beyond float32": ("insert into t(a) values('[1, 2, 1e39]')", 'column "a"'),
    "zero under cosine": ("insert into t(c) values('[0, 0, 0]')", 'column "c".*zero'),
    "zero query under cosine": ("select * from t where c match '[0, 0, 0]'", 'column "c".*zero'),
    "unknown operation": (
        "insert into t(operation, rowid, a) values('grow', 1, '[1, 2, 3]')",
        "unknown operation",
    ),
    "negative k": ("select * from t where a match '[1, 2, 3]' and k = -1", "expected k"),
    "k as text": ("select * from t where a match '[1, 2, 3]' and k = 'ten'", "expected k"),
    "JSON with a string": ("insert into t(a) values('[1, 2, \"x\"]')", r'at byte 7, got "x"$'),
    "recall in percent": (
        "select * from t where a match '[1, 2, 3]' and recall = 95",
        "expected recall above 0 and at most 1, got 95$",
    ),
    "recall as text": (
        "select * from t where a match '[1, 2, 3]' and recall = 'high'",
        "expected recall above 0 and at most 1, got text$",
    ),
    "two searches": (
        "select * from t where a match '[1, 2, 3]' and c match '[1, 2, 3]'",
        "search each in a subquery",
    ),
    "farthest first": ("select * from t where a match '[1, 2, 3]' order by distance desc", "nearest first"),
    "vss_search as a value": ("select vss_search(a, 1) from t", "where clause"),
    "range search without params": (
        "select * from t where vss_range_search(a, 1)",
        "vss_range_search_params",
    ),
    "k without a search": ("select * from t where k = 5", 'this query has none; write "a match'),
    "recall without a search": ("select * from t where recall = 0.9", "belong to a search"),
    "distance without a search": (
        "select * from t where distance < 2 and company = 'acme'",
        "belong to a search",
    ),
    "k as a value of a row": ("insert into t(a, k) values('[1, 2, 3]', 3)", "where clause of a search"),
    "recall as a value of a row": ("update t set recall = 1 where rowid = 1", "where clause of a search"),
    "distance as a value of a row": ("update t set distance = 3", "read, not written"),
    "distance as a value of a new row": (
        "insert into t(a, distance) values('[1, 2, 3]', 3)",
        "read, not written",
    ),
    "distance set from a search": (
        "update t set distance = 0 where a match '[1, 2, 3]' and k = 1",
        "read, not written",
    ),
    "operation of an update": ("update t set operation = 'add'", "what an insert is to do"),
    "a check of no table": ("select vss_check('none')", 'there is no table "none" in "main"'),
    "a bulk load's bad row": (
        "insert into t(operation, rowid, a) values('add', 77, '[1, 2]')",
        r"got a JSON array of 2 numbers \(row 77\)",
    ),
    "a made-up ticket": ("select * from t where a match vss_batch(12345)", "ticket"),
    "a made-up buffer": ("select * from vss_buffer(12345)", "ticket"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals_say_what_came_and_change_nothing(db: sqlite3.Connection, what: str) -> None:
    db.execute("create virtual table t using vss0(a(3), c(3) metric_type=cosine, company text)")
    db.execute("insert into t(rowid, a, c, company) values(1, '[1, 2, 3]', '[1, 1, 1]', 'acme')")
    db.commit()
    before = db.execute("select rowid, * from t").fetchall()
    shadow = [
        db.execute(f"select * from t_{s}").fetchall() for s in ("rows", "vectors0", "segments0", "free0")
    ]
    sql, words = REFUSED[what]
    with pytest.raises(sqlite3.Error, match=words):
        db.execute(sql).fetchall()
    assert db.execute("select rowid, * from t").fetchall() == before
    db.commit()
    assert [
        db.execute(f"select * from t_{s}").fetchall() for s in ("rows", "vectors0", "segments0", "free0")
    ] == shadow


def test_constraints_of_metadata_columns(db: sqlite3.Connection) -> None:
    db.execute("create virtual table t using vss0(a(2), company text not null, code text unique)")
    with pytest.raises(sqlite3.IntegrityError, match='table "t": NOT NULL'):
        db.execute("insert into t(a) values('[1, 2]')")
    db.execute("insert into t(a, company, code) values('[1, 2]', 'acme', 'x')")
    with pytest.raises(sqlite3.IntegrityError, match='table "t": UNIQUE'):
        db.execute("insert into t(a, company, code) values('[1, 2]', 'acme', 'x')")
    db.execute(
        "insert or ignore into t(a, company, code) values('[1, 2]', 'acme', 'x'), ('[3, 4]', 'acme', 'y')"
    )
    assert db.execute("select rowid, code from t where a match '[1, 2]'").fetchall() == [(1, "x"), (2, "y")]


def test_declarations_that_are_refused(db: sqlite3.Connection) -> None:
    for args, words in [
        ("", "at least one vector column"),
        ("a(3) foo=1", 'unknown option "foo"'),
        ("a(0)", "from 1 to 65536"),
        ("a(3), a(4)", "declared twice"),
    ]:
        with pytest.raises(sqlite3.OperationalError, match=words):
            db.execute(f"create virtual table t using vss0({args})")
    assert db.execute("select count(*) from sqlite_master").fetchone() == (0,)


def test_conflict_clauses(db: sqlite3.Connection) -> None:
    db.execute("create virtual table t using vss0(a(2), +note)")
    db.execute("insert into t(rowid, a, note) values(1, '[1, 2]', 'first'), (2, '[3, 4]', 'second')")
    db.execute("insert or ignore into t(rowid, a) values(1, '[9, 9]'), (3, '[5, 6]')")
    assert db.execute("select vss_to_json(a), note from t where rowid = 1").fetchone() == (
        "[1.0,2.0]",
        "first",
    )
    assert db.execute("select count(*) from t").fetchone() == (3,)
    db.execute("insert or replace into t(rowid, a) values(1, '[9, 9]')")
    assert db.execute("select vss_to_json(a), note from t where rowid = 1").fetchone() == ("[9.0,9.0]", None)
    with pytest.raises(sqlite3.OperationalError):
        db.execute("insert or replace into t(rowid, a) values(2, '[9]')")
    assert db.execute("select vss_to_json(a), note from t where rowid = 2").fetchone() == (
        "[3.0,4.0]",
        "second",
    )
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("update t set rowid = 2 where rowid = 1")
    db.execute("update or replace t set rowid = 2 where rowid = 1")
    assert db.execute("select rowid, vss_to_json(a) from t").fetchall() == [
        (2, "[9.0,9.0]"),
        (3, "[5.0,6.0]"),
    ]
    db.execute("update t set rowid = rowid + 10")
    assert db.execute("select rowid from t where a match '[9, 9]' and k = 1").fetchone() == (12,)
    db.commit()
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("insert or rollback into t(rowid, a) values(12, '[1, 1]')")
    assert not db.in_transaction


def test_describe_and_count(filled: sqlite3.Connection) -> None:
    columns = json.loads(filled.execute("select vss_describe('t')").fetchone()[0])["columns"]
    assert [c["name"] for c in columns] == ["a", "b", "company", "year", "price", "user_id", "note"]
    assert columns[1] == {
        "name": "b",
        "kind": "vector",
        "dim": 4,
        "type": "float32",
        "metric": "COSINE",
        "index": "cells",
    }
    assert filled.execute("select vss_describe('missing')").fetchone() == (None,)
    assert filled.execute("select vss_count('t', 'a'), vss_count('t', 'B')").fetchone() == (N, N * 3 // 4)
    with pytest.raises(sqlite3.OperationalError, match='no vector column "year"'):
        filled.execute("select vss_count('t', 'year')")


def test_plans_are_in_words(filled: sqlite3.Connection) -> None:
    sql = "explain query plan select rowid from t where a match '[]' and k = 3 and company in ('a', 'b') and year > 5"
    assert "nearest rows by a, k = ?, company in ?, year > ?" in filled.execute(sql).fetchall()[0][3]
    sql = "explain query plan select rowid from t where company = 'a' order by rowid"
    assert "rows where company = ?, by rowid" in filled.execute(sql).fetchall()[0][3]


@pytest.mark.parametrize("driver", ["sqlite3", "pysqlite3", "apsw"])
def test_an_or_of_searches_is_their_union(driver: str) -> None:
    """Each row once, with the distance of the first search that finds it; k and the rest hold for each of them."""
    conn = vssnative.connect(":memory:", driver=importlib.import_module(driver))
    conn.execute("create virtual table t using vss0(a(2), b(2), g integer)")
    conn.execute(
        "insert into t(rowid, a, b, g) values (1, '[1, 1]', '[9, 9]', 1), (2, '[2, 2]', '[8, 8]', 1),"
        " (3, '[3, 3]', '[7, 7]', 2), (4, null, '[1, 1]', 2), (5, '[0, 0]', null, 2)"
    )

    def found(where: str) -> list[tuple[int, float | None]]:
        return sorted(conn.execute(f"select rowid, distance from t where {where}").fetchall())

    either = "(a match '[1, 1]' or b match '[1, 1]')"
    assert found(either) == [(1, 0.0), (2, 2.0), (3, 8.0), (4, 0.0), (5, 2.0)]
    assert found(f"{either} and k = 1") == [(1, 0.0), (4, 0.0)]
    assert found(f"{either} and k = '1' and recall = 1.0") == [(1, 0.0), (4, 0.0)]
    assert found(f"{either} and k = 2 and g = 2") == [(3, 8.0), (4, 0.0), (5, 2.0)]
    assert found(f"{either} and k = 1000000000000 and distance < 8") == [
        (1, 0.0),
        (2, 2.0),
        (4, 0.0),
        (5, 2.0),
    ]
    assert found("(a match '[1, 1]' and k = 2) or (b match '[1, 1]' and k = 1)") == [
        (1, 0.0),
        (2, 2.0),
        (4, 0.0),
    ]
    assert found("a match '[1, 1]' and k = 2 and (g = 2 or rowid = 2)") == [(2, 2.0), (5, 2.0)]
    assert found(
        "a match '[1, 1]' and k = 2 and rowid in (select rowid from t where g = 2 or rowid = 2)"
    ) == [
        (2, 2.0),
        (5, 2.0),
    ]
    [(k, recall)] = conn.execute(
        "select k, recall from t where a match '[1, 1]' and k = 1 and recall = 0.5"
    ).fetchall()
    assert (k, recall) == (1, 0.5)
    conn.close()


@pytest.mark.parametrize("driver", ["sqlite3", "pysqlite3", "apsw"])
def test_hidden_columns_that_are_not_set_are_in_nobodys_way(driver: str) -> None:
    conn = vssnative.connect(":memory:", driver=importlib.import_module(driver))
    conn.execute("create virtual table t using vss0(a(2), g integer)")
    conn.execute("insert into t(rowid, a, g) values (1, '[1, 1]', 1), (2, '[2, 2]', 1), (3, '[5, 5]', 1)")
    conn.execute("create virtual table copy using vss0(a(2), g integer)")
    conn.execute("insert into copy select * from t")
    conn.execute("update copy set g = 2 where a match '[1, 1]' and k = 2 and recall = 1.0")
    conn.execute("create table given(id integer primary key, g)")
    conn.execute("insert into given values (1, 10), (3, 30)")
    conn.execute(
        "update copy set g = given.g from given where given.id = copy.rowid and a match '[1, 1]' and k = 2"
    )
    conn.execute(
        "create trigger follow after update on given begin update copy set g = new.g where rowid = new.id; end"
    )
    conn.execute("update given set g = 31 where id = 3")
    assert conn.execute("select rowid, g, vss_to_json(a) from copy").fetchall() == [
        (1, 10, "[1.0,1.0]"),
        (2, 2, "[2.0,2.0]"),
        (3, 31, "[5.0,5.0]"),
    ]
    conn.execute(
        "insert into copy(a, g, distance, k, recall, operation) values ('[7, 7]', 7, null, null, null, null)"
    )
    assert conn.execute("select count(*) from copy").fetchall() == [(4,)]
    conn.close()
