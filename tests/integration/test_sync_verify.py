"""verify finds each kind of damage, and repair mends it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

import vssnative
from vssnative import Report
from vssnative.embedding.hashing import HashEmbedder
from vssnative.errors import QueryError

from ..reliability.sync_oracle import assert_in_step


@pytest.fixture
def posts(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("create table posts(id integer primary key, title text, body text)")
    db.executemany(
        "insert into posts(title, body) values (?, ?)", [(f"title {n}", f"body {n}") for n in range(40)]
    )
    db.commit()
    vssnative.add_embeddings(db, "posts", columns=["title", "body"], model="hash:16")
    vssnative.sync(db)
    return db


def without_triggers(conn: sqlite3.Connection, sql: str) -> None:
    """Change the table behind the triggers' back, and leave them as they were."""
    triggers = conn.execute("select name, sql from sqlite_master where type = 'trigger'").fetchall()
    for name, _ in triggers:
        conn.execute(f'drop trigger "{name}"')
    conn.execute(sql)
    for _, statement in triggers:
        conn.execute(statement)


DAMAGE: dict[str, tuple[Callable[[sqlite3.Connection], object], str, list[int]]] = {
    "vectors deleted": (
        lambda c: c.execute("delete from vss_posts where rowid in (3, 5)"),
        "missing",
        [3, 5],
    ),
    "one vector deleted": (
        lambda c: c.execute("update vss_posts set body_embedding = null where rowid = 4"),
        "missing",
        [4],
    ),
    "records deleted": (
        lambda c: c.execute("delete from vssnative_provenance where row_id = 6 and field = 'title'"),
        "missing",
        [6],
    ),
    "unseen edit": (lambda c: without_triggers(c, "update posts set body = 'x' where id = 7"), "stale", [7]),
    "unseen blank": (
        lambda c: without_triggers(c, "update posts set body = null where id = 8"),
        "stale",
        [8],
    ),
    "unseen insert": (
        lambda c: without_triggers(c, "insert into posts(id, title) values (99, 'x')"),
        "missing",
        [99],
    ),
    "unseen delete": (lambda c: without_triggers(c, "delete from posts where id = 9"), "orphaned", [9]),
    "stray vector": (
        lambda c: c.execute(
            "insert into vss_posts(rowid, title_embedding) values (77, ?)", (b"\1\0\0\0" * 16,)
        ),
        "stray",
        [77],
    ),
    "another row's vector": (
        lambda c: c.execute(
            "update vss_posts set title_embedding = (select title_embedding from vss_posts where rowid = 1)"
            " where rowid = 2"
        ),
        "wrong",
        [2],
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_mended(posts: sqlite3.Connection, kind: str) -> None:
    damage, where, rows = DAMAGE[kind]
    damage(posts)
    posts.commit()
    report = vssnative.verify(posts, "posts", sample=1000)
    found = {name: getattr(report, name) for name in ("missing", "stale", "orphaned", "stray", "wrong")}
    expected: dict[str, list[int]] = {"missing": [], "stale": [], "orphaned": [], "stray": [], "wrong": []}
    if kind == "records deleted":
        expected["stray"] = rows  # no record accounts for the vector now
    assert found == {**expected, where: rows}
    assert not report.ok
    assert report.checked == posts.execute("select count(*) from posts").fetchone()[0]
    mended = vssnative.repair(posts, "posts", sample=1000)
    assert getattr(mended, where) == rows
    assert vssnative.verify(posts, "posts", sample=1000).ok
    assert_in_step(posts, "posts", HashEmbedder(16))


def test_a_dropped_vss_table_is_built_anew(posts: sqlite3.Connection) -> None:
    posts.execute("drop table vss_posts")
    posts.commit()
    report = vssnative.verify(posts, "posts", sample=0)
    assert report.missing == list(range(1, 41))
    assert report.problem == "posts: its table of vectors vss_posts is gone; sync or repair puts that right"
    problem = vssnative.repair(posts, "posts").problem
    assert problem == "posts: its table of vectors vss_posts is gone"
    assert_in_step(posts, "posts", HashEmbedder(16))


def test_sync_notices_a_dropped_vss_table_and_the_cache_knows_its_vectors(posts: sqlite3.Connection) -> None:
    posts.execute("drop table vss_posts")
    posts.commit()
    [status] = vssnative.status(posts)
    assert status.problem == "posts: its table of vectors vss_posts is gone; the next sync puts that right"
    with pytest.raises(QueryError, match="vss_posts is gone; the next sync builds it anew"):
        vssnative.search(posts, "posts", "x")
    result = vssnative.sync(posts)
    assert (result.rows, result.texts) == (40, 0)
    assert_in_step(posts, "posts", HashEmbedder(16))
    assert vssnative.verify(posts, "posts").ok


def test_what_is_queued_is_in_order(posts: sqlite3.Connection) -> None:
    posts.execute("update posts set title = 'x' where id = 1")
    posts.execute("delete from posts where id = 2")
    posts.execute("insert into posts(title) values ('y')")
    posts.commit()
    report = vssnative.verify(posts, "posts")
    assert report == Report("posts", checked=40, waiting=3)


def test_verify_changes_nothing(posts: sqlite3.Connection) -> None:
    changes = posts.total_changes
    vssnative.verify(posts, "posts")
    vssnative.status(posts)
    assert posts.total_changes == changes
    assert not posts.in_transaction


@pytest.mark.parametrize("chunk", [None, 3])
def test_a_wrong_vector_does_not_come_back_from_the_cache(db: sqlite3.Connection, chunk: int | None) -> None:
    """An embedder that once gave another vector for the text: it is wrong in the table and in the cache."""
    embedder = HashEmbedder(16)
    [wrong] = embedder.embed_documents(["something else entirely"])
    db.execute("create table posts(id integer primary key, title text)")
    db.execute("insert into posts(title) values ('the first words here and others behind them')")
    db.commit()
    vssnative.add_embeddings(db, "posts", columns=["title"], model=embedder, chunk=chunk)
    vssnative.sync(db)
    assert (db.execute("select count(*) from vssnative_passages").fetchone()[0] > 1) == (chunk is not None)
    [first] = db.execute("select min(rowid) from vss_posts").fetchone()
    db.execute("update vss_posts set title_embedding = ? where rowid = ?", (wrong.tobytes(), first))
    db.execute("update vssnative_cache set vector = ?", (wrong.tobytes(),))
    db.commit()
    assert vssnative.repair(db, "posts", sample=10).wrong == [1]
    assert vssnative.verify(db, "posts", sample=10).ok


@pytest.mark.parametrize("columns", [["title"], ["title", "body"]])
def test_a_blob_in_a_text_column_does_not_count_as_embedded(
    db: sqlite3.Connection, columns: list[str]
) -> None:
    db.execute("create table posts(id integer primary key, title, body)")
    db.executemany(
        "insert into posts(title, body) values (?, ?)",
        [("a title", "a body"), (b"\x01\x02", "a body"), (None, "  "), (7, "a body")],
    )
    db.commit()
    vssnative.add_embeddings(db, "posts", columns=columns, model="hash:16")
    vssnative.sync(db, settings=vssnative.Settings(backoff=0.001))
    [status] = vssnative.status(db)
    assert (status.embedded, status.dead, status.pending, status.coverage) == (3, 1, 0, 0.75)
    assert db.execute("select embedded, dead from vssnative_status").fetchone() == (3, 1)
    report = vssnative.verify(db, "posts")
    assert report.ok and (report.waiting, report.given_up) == (0, 1)
    assert report.verdict == "in order, but 1 row has a text that was given up"
    db.execute("update posts set title = 'readable' where id = 2")
    db.commit()
    assert vssnative.status(db)[0].coverage == 0.75
    vssnative.sync(db)
    assert vssnative.status(db)[0].coverage == 1.0 and vssnative.verify(db, "posts").verdict == "in order"


def test_verify_says_that_rows_wait(posts: sqlite3.Connection) -> None:
    assert vssnative.verify(posts, "posts").verdict == "in order"
    posts.execute("update posts set title = 'other' where id in (3, 4)")
    posts.execute("delete from posts where id = 9")
    posts.commit()
    report = vssnative.verify(posts, "posts")
    assert report.ok and report.waiting == 3
    assert report.verdict == "in order, but 3 rows wait for sync"
    vssnative.sync(posts)
    assert vssnative.verify(posts, "posts").waiting == 0
    posts.execute("delete from vss_posts where rowid = 5")
    posts.commit()
    assert vssnative.verify(posts, "posts").verdict == "faults"
