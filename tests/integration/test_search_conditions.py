"""where= and params=: every way in which people write them gives their rows, or one sentence."""

from __future__ import annotations

import datetime
import sqlite3
from typing import Any

import numpy as np
import pytest

import vssnative
from vssnative.errors import QueryError


@pytest.fixture
def posts(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("create table posts(id integer primary key, company text, size real, made text, body text)")
    db.executemany(
        "insert into posts(company, size, made, body) values (?, ?, ?, ?)",
        [(f"c{n % 4}", n / 2, f"2026-01-{1 + n % 28:02} 00:00:00", f"item{n} red") for n in range(40)],
    )
    db.commit()
    vssnative.add_embeddings(db, "posts", columns=["body"], model="hash:16")
    vssnative.sync(db)
    return db


def keys(conn: sqlite3.Connection, where: Any, params: Any = ()) -> set[int]:
    return {r.key for r in vssnative.search(conn, "posts", "red", k=100, where=where, params=params)}


@pytest.mark.parametrize(
    ("where", "params", "same_as"),
    [
        ("company = 'c1' -- of one", (), "company = 'c1'"),
        ("company = 'c1' /* of one */", (), "company = 'c1'"),
        ("", (), "1"),
        ("  \n", (), "1"),
        (None, (), "1"),
        (None, None, "1"),
        ("company = 'c1'", None, "company = 'c1'"),
        ("company = :name", {"name": "c2"}, "company = 'c2'"),
        ("company = @a or company = $b", {"a": "c2", "b": "c3"}, "company in ('c2', 'c3')"),
        ("company = :name or size < :size and company <> :name", {"name": "c2", "size": 3}, "company = 'c2' or size < 3"),
        ("company = ?2 and size > ?1", [3, "c1"], "company = 'c1' and size > 3"),
        ("company in ?", [["c1", "c3"]], "company in ('c1', 'c3')"),
        ("company in (?)", [("c1", "c3")], "company in ('c1', 'c3')"),
        ("company in :some and size > :size", {"some": {"c1"}, "size": 4}, "company = 'c1' and size > 4"),
        ("id in ?", [np.array([3, 5])], "id in (3, 5)"),
        ("id in ?", [list(range(1, 30, 2))], "id < 30 and id % 2 = 1"),
        ("id in ?", [list(range(5, 5000))], "id >= 5"),
        ("id in ?", [[]], "0"),
        ("made >= ?", [datetime.datetime(2026, 1, 20)], "made >= '2026-01-20 00:00:00'"),
        ("id = ?", [np.int64(7)], "id = 7"),
        ("company = '?' or company = ':x' or id = ?", [7], "id = 7"),
        ("company = 'it''s' or \"id\" = ?", [7], "id = 7"),
    ],
)  # fmt: skip
def test_ways_to_write_a_condition(posts: sqlite3.Connection, where: Any, params: Any, same_as: str) -> None:
    expected = {row[0] for row in posts.execute(f"select id from posts where {same_as}")}
    assert keys(posts, where, params) == expected
    posts.execute("update posts set body = body || ' more'")
    posts.commit()
    assert vssnative.sync(posts, "posts", where=where, params=params).rows == len(expected)


@pytest.mark.parametrize(
    ("where", "params", "words"),
    [
        ("company = ?", [], "each of the 1 \\? of where, got 0"),
        ("company = ?", ["a", "b"], "each of the 1 \\? of where, got 2"),
        ("company = ?", {"a": 1}, "params must be a list"),
        ("company = :a", ["c1"], "names :a: .*; params must be a mapping then"),
        ("company = :a", {"b": 1}, "there is no value for :a"),
        ("company = :a", {"a": 1, "b": 1}, "where has no :b"),
        ("company = :a and id = ?", {"a": 1}, "not several"),
        ("company = ?2", ["c1"], "expected 2 values, got 1"),
        ("company = 'c1'", "c1", "params: expected a list"),
        ("", ["c1"], "where has no place"),
        ("company = (", [], "where='company = \\('"),
        ("company =", [], "where='company =': incomplete input$"),
        ("company = 'c1", [], "incomplete input, ' begins what nothing ends$"),
        ('"company', [], 'incomplete input, " begins what nothing ends$'),
        ("[company", [], r"incomplete input, \[ begins what nothing ends$"),
        ("company = 'c1')", [], r'near "\)": syntax error'),
        ("company = 'c1' /* open", [], "where="),
        (3, [], "expected SQL as a text, got a int"),
        ("distance > 0.5", [], "no such column: distance"),
        ("row_id > 0.5", [], "no such column: row_id"),
        ('"distance" > 0.5', [], "no such column: distance"),
        ("nearness > 0.5", [], "no such column: nearness"),
    ],
)
def test_conditions_that_cannot_be_are_told_in_one_sentence(
    posts: sqlite3.Connection, where: Any, params: Any, words: str
) -> None:
    with pytest.raises(QueryError, match=words):
        vssnative.search(posts, "posts", "red", where=where, params=params)
    if where != '"distance" > 0.5':  # which is a text to SQLite in the queue, where nothing has that name
        with pytest.raises(QueryError, match=words):
            vssnative.sync(posts, "posts", where=where, params=params)


def test_a_column_of_theirs_that_is_called_as_one_of_ours_is_theirs(db: sqlite3.Connection) -> None:
    db.execute("create table t(id integer primary key, distance real, row_id integer, body text)")
    db.executemany("insert into t values (?, ?, ?, 'red')", [(n, 100 * n, -n) for n in range(1, 5)])
    db.commit()
    vssnative.add_embeddings(db, "t", columns=["body"], model="hash:16", chunk=10)
    vssnative.sync(db, "t", where="row_id < -1")
    found = vssnative.search(db, "t", "red", where='"distance" > 250 and row_id < 0')
    assert {r.key for r in found} == {3, 4}


def test_a_sqlalchemy_expression_is_a_condition(posts: sqlite3.Connection) -> None:
    import sqlalchemy as sa

    table = sa.table("posts", sa.column("id"), sa.column("company"), sa.column("made", sa.DateTime))
    assert keys(posts, table.c.company == "c1") == keys(posts, "company = 'c1'")
    assert keys(posts, table.c.id.in_([3, 5, 8]) | (table.c.company == "c2")) == keys(
        posts, "id in (3, 5, 8) or company = 'c2'"
    )
    with pytest.raises(QueryError, match="brings its values"):
        vssnative.search(posts, "posts", "red", where=table.c.id == 1, params=[1])


def test_a_django_q_is_told_where_to_go(posts: sqlite3.Connection) -> None:
    from django.db.models import Q

    with pytest.raises(QueryError, match=r"integrations\.django\.search takes it"):
        vssnative.search(posts, "posts", "red", where=Q(id=1))
