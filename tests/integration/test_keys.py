"""Primary keys of a vss0 table: `id integer primary key` names the rowid, one of another type is a key of its own."""

from __future__ import annotations

import json
import random as pyrandom
import sqlite3
import sys
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vssnative
from tests.conftest import vectors
from vssnative import DuplicateIdError, Index, InvalidVectorError


def v(*numbers: float) -> str:
    return json.dumps(numbers)


# --- integer primary key ---------------------------------------------------------------------------------------------


def test_integer_primary_key_is_the_rowid(db: sqlite3.Connection) -> None:
    """As sqlite-vec writes it; it failed with raw SQL of an inner table."""
    db.execute("create virtual table t using vss0(id integer primary key, a(3), kind text)")
    db.execute("insert into t(id, a, kind) values(7, ?, 'x'), (9, ?, 'y')", (v(1, 0, 0), v(0, 1, 0)))
    db.execute("insert into t(rowid, a) values(11, ?)", (v(0, 0, 1),))
    db.execute("insert into t(a) values(?)", (v(0.5, 1, 0.5),))
    assert db.execute("select last_insert_rowid()").fetchone() == (12,)
    assert db.execute("select id, rowid from t order by id desc").fetchall() == [
        (12, 12),
        (11, 11),
        (9, 9),
        (7, 7),
    ]
    assert db.execute("select name, type, pk from pragma_table_info('t')").fetchall()[0] == (
        "id",
        "INTEGER",
        1,
    ) or (
        db.execute("select name, lower(type), pk from pragma_table_info('t')").fetchall()[0]
        == ("id", "integer", 1)
    )
    nearest = "select id, distance from t where a match ? and k = 2"
    assert [row[0] for row in db.execute(nearest, (v(0, 1, 0),))] == [9, 12]
    assert [row[0] for row in db.execute(nearest + " and id in (7, 11)", (v(0, 1, 0),))] == [7, 11]
    assert [row[0] for row in db.execute(nearest + " and id > 9 order by distance, id", (v(0, 1, 0),))] == [
        12,
        11,
    ]
    assert db.execute("select kind from t where id = 9").fetchone() == ("y",)
    assert db.execute("select kind from t where id = '9'").fetchone() == ("y",)
    assert db.execute("select count(*) from t where id = 'nine'").fetchone() == (0,)
    plan = " ".join(str(row) for row in db.execute("explain query plan select * from t where id = 9"))
    assert "rowid = ?" in plan
    db.execute("update t set id = 20 where id = 7")
    assert db.execute("select id, rowid, vss_to_json(a), kind from t where id = 20").fetchone() == (
        20,
        20,
        "[1.0,0.0,0.0]",
        "x",
    )
    db.execute("insert or replace into t(id, a) values(20, ?)", (v(2, 0, 0),))
    assert db.execute("select vss_to_json(a), kind from t where id = 20").fetchone() == (
        "[2.0,0.0,0.0]",
        None,
    )
    for sql, words in [
        ("insert into t(id, a) values(20, '[1,1,1]')", "row 20 exists already"),
        ("insert into t(id, a) values('x', '[1,1,1]')", "expected an integer as id, got text"),
        ("insert into t(id, a) values(1.5, '[1,1,1]')", "expected an integer as id, got real"),
        ("insert into t(rowid, id, a) values(1, 2, '[1,1,1]')", "id is the rowid; got both 2 and 1"),
        ("update t set id = null where id = 20", "got null"),
        ("update t set id = 9 where id = 20", "row 9 exists already"),
        ("update t set id = 3, rowid = 4 where id = 20", "got both"),
    ]:
        with pytest.raises(sqlite3.Error, match=words):
            db.execute(sql)
    db.execute("insert into t(id, a) values(30.0, '[1,1,1]')")
    db.execute("insert into t(operation, id, a) values('upsert', 30, '[5,5,5]')")
    assert db.execute("select vss_to_json(a) from t where id = 30").fetchone() == ("[5.0,5.0,5.0]",)
    assert db.execute("delete from t where id = 30").rowcount == 1
    assert db.execute("select vss_check('t')").fetchone() == ("ok",)
    index = Index(db, "t", "a")
    assert index.search([0.0, 1.0, 0.0], k=1)[0].tolist() == [9]
    assert index.search([0.0, 1.0, 0.0], k=1)[0].dtype == np.int64


# --- keys of their own -----------------------------------------------------------------------------------------------


@pytest.fixture
def docs(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("create virtual table docs using vss0(id text primary key, a(3), b(2), kind text)")
    db.executemany(
        "insert into docs(id, a, b, kind) values(?, ?, ?, ?)",
        [("x", v(1, 0, 0), v(1, 1), "p"), ("y", v(0, 1, 0), None, "q"), ("z", v(0, 0, 1), v(2, 2), "p")],
    )
    db.commit()
    return db


def rows(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return db.execute("select id, vss_to_json(a), vss_to_json(b), kind from docs order by id").fetchall()


def test_a_text_key_in_where_and_joins(docs: sqlite3.Connection) -> None:
    db = docs
    assert db.execute("select rowid, kind from docs where id = 'y'").fetchone() == (2, "q")
    nearest = "select id from docs where a match ? and k = 2"
    near_y = v(0, 1, 0.1)
    assert db.execute(nearest, (near_y,)).fetchall() == [("y",), ("z",)]
    assert db.execute(nearest + " and id <> 'y'", (near_y,)).fetchall() == [("z",), ("x",)]
    assert db.execute(nearest + " and id in ('x', 'y')", (near_y,)).fetchall() == [("y",), ("x",)]
    assert db.execute(nearest + " and id = 'x'", (near_y,)).fetchall() == [("x",)]
    db.execute("create table posts(uuid text primary key, title text)")
    db.executemany("insert into posts values(?, ?)", [("x", "eks"), ("z", "zed"), ("w", "none")])
    joined = "select p.title from docs d join posts p on p.uuid = d.id where d.a match ? and k = 3"
    assert db.execute(joined, (near_y,)).fetchall() == [("zed",), ("eks",)]
    assert db.execute(
        "select d.kind from posts p join docs d on d.id = p.uuid where p.title = 'zed'"
    ).fetchall() == [("p",)]
    inside = nearest + " and id in (select uuid from posts)"
    assert db.execute(inside, (near_y,)).fetchall() == [("z",), ("x",)]
    assert db.execute("select id from docs order by id desc").fetchall() == [("z",), ("y",), ("x",)]
    plan = " ".join(str(row) for row in db.execute("explain query plan select * from docs where id = 'x'"))
    assert "id = ?" in plan


def test_conflicts_of_keys(docs: sqlite3.Connection) -> None:
    db = docs
    before = rows(db)
    for sql, words in [
        ("insert into docs(id, a) values('x', '[9,9,9]')", 'id = "x" exists already'),
        ("insert into docs(id, a) values('n', '[9,9,9]'), ('n', '[9,9,9]')", 'id = "n" exists already'),
        ("insert into docs(a) values('[9,9,9]')", "the key id, got null"),
        ("insert into docs(rowid, id, a) values(1, 'new', '[9,9,9]')", "row 1 exists already"),
        ("update docs set id = 'y' where id = 'x'", 'id = "y" exists already'),
        ("update docs set id = null", "the key id, got null"),
        ("update docs set id = 'same'", 'id = "same" exists already'),
        ("insert into docs(operation, id, a) values('add', 'x', '[9,9,9]')", 'id = "x" exists already'),
        ("insert into docs(operation, a) values('upsert', '[9,9,9]')", "the key id, got null"),
        ("insert or replace into docs(id, a) values('x', '[9,9]')", "expected a vector of 3 dimensions"),
    ]:
        with pytest.raises(sqlite3.Error, match=words):
            db.execute(sql)
        assert rows(db) == before
        assert db.execute("select vss_check('docs')").fetchone() == ("ok",)
    with pytest.raises(sqlite3.IntegrityError) as error:
        db.execute("insert into docs(id, a) values('x', '[9,9,9]')")
    if sys.version_info >= (3, 11):
        assert error.value.sqlite_errorname.startswith("SQLITE_CONSTRAINT")
    db.execute("insert or ignore into docs(id, a) values('x', '[9,9,9]'), ('w', '[4,4,4]')")
    assert [row for row in rows(db) if row[0] != "w"] == before
    db.execute("insert or replace into docs(id, a) values('x', '[9,9,9]')")
    assert rows(db)[1] == ("x", "[9.0,9.0,9.0]", None, None)
    assert db.execute("select rowid from docs where id = 'x'").fetchone() == (1,)  # it keeps its number
    # Both the rowid and the key are taken, by two rows: both go, as in an ordinary table.
    db.execute("insert or replace into docs(rowid, id, a) values(2, 'x', '[8,8,8]')")
    assert [row[0] for row in rows(db)] == ["w", "x", "z"]
    assert db.execute("select rowid from docs where id = 'x'").fetchone() == (2,)
    db.execute("update docs set id = 'v' where id = 'x'")
    db.execute("update or replace docs set id = 'z' where id = 'v'")
    assert [row[:2] for row in rows(db)] == [("w", "[4.0,4.0,4.0]"), ("z", "[8.0,8.0,8.0]")]
    db.execute(
        "insert into docs(operation, id, a) values('upsert', 'z', '[7,7,7]'), ('upsert', 'u', '[6,6,6]')"
    )
    assert [row[:2] for row in rows(db)] == [
        ("u", "[6.0,6.0,6.0]"),
        ("w", "[4.0,4.0,4.0]"),
        ("z", "[7.0,7.0,7.0]"),
    ]
    db.execute("insert into docs(operation, id, a) values('remove', 'z', 1), ('remove', 'none', 1)")
    assert [row[0] for row in rows(db)] == ["u", "w"]
    assert db.execute("select vss_check('docs')").fetchone() == ("ok",)


def test_keys_against_an_ordinary_table(db: sqlite3.Connection) -> None:
    """1,500 random changes: the table says what an ordinary table with the same key says, also of conflicts."""
    random = pyrandom.Random(14)
    db.execute("create virtual table t using vss0(id text collate nocase primary key, a(2), n integer)")
    db.execute(
        "create table plain(row integer primary key, id text collate nocase not null unique, a text, n integer)"
    )
    db.isolation_level = None
    keys = ["a", "B", "b", "c", "D", "7", "é", ""]

    def run(sql: str, params: tuple[Any, ...], table: str) -> str:
        row = "row" if table == "plain" else "rowid"
        try:
            db.execute(sql.format(t=table, row=row), params)
        except sqlite3.IntegrityError:
            return "conflict"
        return "done"

    outcomes = {"conflict": 0, "done": 0}
    for step in range(1500):
        if random.random() < 0.1:
            db.execute("begin" if not db.in_transaction else random.choice(["commit", "rollback"]))
        clause = random.choice(["", "", " or replace", " or ignore"])
        key, other, number = random.choice(keys), random.choice(keys), random.randrange(6)
        vector = f"[{number}.0,{step}.0]"
        kind = random.randrange(5)
        if kind == 0:
            # A row that is replaced keeps its rowid here; in an ordinary table it gets a new one, unless it is given.
            row = "(select {row} from {t} where id = ?1)" if clause == " or replace" else "null"
            change: tuple[str, tuple[Any, ...]] = (
                f"insert{clause} into {{t}}({{row}}, id, a, n) values({row}, ?1, ?2, ?3)",
                (key, vector, number),
            )
        elif kind == 1:
            change = (
                f"insert{clause} into {{t}}({{row}}, id, a, n) values(?, ?, ?, ?)",
                (number + 1, key, vector, number),
            )
        elif kind == 2:
            change = (f"update{clause} {{t}} set id = ? where id = ?", (key, other))
        elif kind == 3:
            change = (
                f"update{clause} {{t}} set {{row}} = ?, id = ?, n = ? where id = ?",
                (number + 1, key, step, other),
            )
        else:
            change = ("delete from {t} where id = ?", (key,))
        expected = run(*change, "plain")
        assert run(*change, "t") == expected, change
        outcomes[expected] += 1
        ours = db.execute("select rowid, id, vss_to_json(a), n from t order by rowid").fetchall()
        assert ours == db.execute("select row, id, a, n from plain order by row").fetchall(), change
    assert min(outcomes.values()) > 200
    assert db.execute("select vss_check('t')").fetchone() == ("ok",)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ("id integer primary key autoincrement, a(2)", "autoincrement is not kept here"),
        ("id integer primary key, other text primary key, a(2)", '"other" is a second primary key'),
        ("id text primary key on conflict replace, a(2)", "a conflict clause belongs to the statement"),
        ("a(2), primary key (a)", "write the key beside its column"),
        ("+id text primary key, a(2)", "neither a partition key nor an auxiliary column"),
    ],
)
def test_keys_that_cannot_be_are_refused(db: sqlite3.Connection, declared: str, words: str) -> None:
    with pytest.raises(sqlite3.OperationalError, match=words):
        db.execute(f"create virtual table t using vss0({declared})")
    assert db.execute("select count(*) from sqlite_master").fetchone() == (0,)


@pytest.mark.parametrize(
    "declared",
    [
        "id text primary key",
        "id  TEXT  Primary\n KEY not null",
        "id text not null primary key",
        "id varchar(40) primary key unique",
        '"id" text primary key collate nocase',
        "id text collate nocase primary key",
    ],
)
def test_spellings_of_a_key(db: sqlite3.Connection, declared: str) -> None:
    db.execute(f"create virtual table t using vss0({declared}, a(2))")
    db.execute("insert into t(id, a) values('k', '[1,2]')")
    assert ("nocase" in declared) == (db.execute("select count(*) from t where id = 'K'").fetchone() == (1,))
    db.execute("alter table t rename to u")
    with pytest.raises(sqlite3.IntegrityError, match="exists already"):
        db.execute("insert into u(id, a) values('k', '[1,2]')")
    db.execute("insert or replace into u(id, a) values('k', '[3,4]')")
    assert db.execute("select id, vss_to_json(a) from u").fetchall() == [("k", "[3.0,4.0]")]


def test_keys_stay_in_a_file(open_db: Callable[..., sqlite3.Connection]) -> None:
    first = open_db()
    first.execute("create virtual table t using vss0(id text primary key, a(2))")
    first.execute("insert into t(id, a) values('k', '[1,2]')")
    first.commit()
    second = open_db()
    assert second.execute("select id from t where a match '[1,2]' and k = 1").fetchall() == [("k",)]
    described = json.loads(second.execute("select vss_describe('t')").fetchone()[0])
    assert described["columns"][0] == {"name": "id", "kind": "key", "declared": "text"}
    with pytest.raises(sqlite3.IntegrityError):
        second.execute("insert into t(id, a) values('k', '[1,2]')")


# --- Index -----------------------------------------------------------------------------------------------------------


def test_index_with_texts_as_ids(db: sqlite3.Connection, random: np.random.Generator) -> None:
    matrix = vectors(random, 5000, 8)
    ids = [f"doc-{i:05}" for i in range(5000)]
    index = Index(db, "t")
    index.add(ids, matrix)
    assert json.loads(db.execute("select vss_describe('t')").fetchone()[0])["columns"][0]["kind"] == "key"
    found, distances = index.search(matrix[:20], k=3)
    assert found.shape == distances.shape == (20, 3)
    assert found.dtype == object
    assert found[:, 0].tolist() == ids[:20]
    one, _ = index.search(matrix[7], k=2, where="id <> ?", params=("doc-00007",))
    assert one.tolist()[0] != "doc-00007"
    numbers = Index(db, "n")
    numbers.add(range(5000), matrix)
    expected, expected_distances = numbers.search(matrix[:20], k=3, recall=1.0)
    found, distances = index.search(matrix[:20], k=3, recall=1.0)
    np.testing.assert_array_equal(distances, expected_distances)
    assert found.tolist() == [[ids[i] for i in row] for row in expected]
    assert "doc-00001" in index
    assert "doc-1" not in index
    assert 1 not in index
    np.testing.assert_array_equal(index.get(["doc-00003", "doc-00001"]), matrix[[3, 1]])
    with pytest.raises(KeyError, match="nothing"):
        index.get(["doc-00003", "nothing"])
    with pytest.raises(DuplicateIdError, match='"doc-00003" exists already'):
        index.add(["new", "doc-00003"], matrix[:2])
    assert "new" not in index
    index.add(["new", "doc-00003"], matrix[:2], replace=True)
    np.testing.assert_array_equal(index.get(["new", "doc-00003"]), matrix[:2])
    assert index.remove(["new", "doc-00003", "nothing"]) == 2
    assert len(index) == 4999
    for wrong in ([1], [b"x"], np.arange(3)):
        with pytest.raises(InvalidVectorError, match="has texts as ids"):
            index.get(wrong)
    with pytest.raises(InvalidVectorError, match="has integers as ids, got texts"):
        numbers.add(["a"], matrix[:1])
    few = Index(db, "few")
    few.add(["only"], matrix[:1])
    found, distances = few.search(matrix[:2], k=3)
    assert found.tolist() == [["only", None, None]] * 2
    assert np.isinf(distances[:, 1:]).all()
    assert few.search(matrix[0], k=2000)[0].tolist()[:2] == ["only", None]


def test_index_with_uuids_and_other_forms_of_keys(
    db: sqlite3.Connection, random: np.random.Generator
) -> None:
    matrix = vectors(random, 4, 8)
    ids = [uuid.UUID(int=i) for i in range(4)]
    texts = Index(db, "texts")
    texts.add(ids, matrix)
    assert texts.search(matrix[2], k=1)[0].tolist() == [str(ids[2])]
    assert ids[1] in texts
    db.execute("create virtual table blobs using vss0(id blob primary key, embedding(8))")
    blobs = Index(db, "blobs")
    blobs.add(ids, matrix)
    assert blobs.search(matrix[2], k=1)[0].tolist() == [ids[2].bytes]
    assert ids[1] in blobs
    np.testing.assert_array_equal(blobs.get([ids[3], ids[0].bytes]), matrix[[3, 0]])
    assert db.execute("select count(*) from blobs where id = ?", (ids[3].bytes,)).fetchone() == (1,)
    for name, make in [("arrays", np.array), ("objects", lambda x: np.array(x, object)), ("tuples", tuple)]:
        index = Index(db, name)
        index.add(make(["a", "b", "ü", "d"]), matrix)
        assert index.search(matrix[2], k=1)[0].tolist() == ["ü"]
    for library, make in [
        ("pandas", "Series"),
        ("pandas", "Index"),
        ("polars", "Series"),
        ("pyarrow", "array"),
    ]:
        module = pytest.importorskip(library)
        index = Index(db, f"{library}_{make}")
        index.add(getattr(module, make)(["a", "b", "ü", "d"]), matrix)
        assert index.search(matrix[2], k=1)[0].tolist() == ["ü"]
    with pytest.raises(InvalidVectorError, match="all of one kind"):
        Index(db, "mixed").add(["a", 1, "b", "c"], matrix)
    with pytest.raises(InvalidVectorError, match=r"all of one kind, got 'None'"):
        texts.add(["a", None, "b", "c"], matrix)


def test_a_search_and_its_keys_are_of_one_moment(
    open_db: Callable[..., sqlite3.Connection], random: np.random.Generator
) -> None:
    """Another connection deletes between: the keys are read by the statement that searched."""
    matrix = vectors(random, 50, 8)
    index = Index(open_db(), "t")
    index.add([f"d{i}" for i in range(50)], matrix)
    index.conn.commit()
    reader = Index(open_db(), "t")
    seen = []
    reader.conn.set_trace_callback(seen.append)
    reader.search(matrix[:5], k=4)
    assert len([sql for sql in seen if sql.startswith("select rowid")]) == 1


def test_sqlite_vec_statements_run(db: sqlite3.Connection) -> None:
    db.execute("create virtual table v using vss0(id integer primary key, embedding(4), +url text)")
    db.execute(
        "insert into v(id, embedding, url) values(?, ?, ?)", (1, np.ones(4, np.float32).tobytes(), "u")
    )
    sql = "select id, distance, url from v where embedding match ? order by distance limit 3"
    assert db.execute(sql, ("[1,1,1,1]",)).fetchall() == [(1, 0.0, "u")]
    assert vssnative.Index(db, "v").get([1]).tolist() == [[1, 1, 1, 1]]
