"""The full-text index that is kept beside vectors: verify compares it with the rows, repair mends it, models change it."""

from __future__ import annotations

import importlib
import sqlite3
from collections.abc import Callable

import pytest

import vssnative

# Columns before, and what ends the declaration.
KEYS = {
    "integer": ("id integer primary key", ")"),
    "text": ("id text primary key", ")"),
    "composite": ("id text, part integer default 1", ", primary key(part, id))"),
    "without rowid": ("id text primary key", ") without rowid"),
}


@pytest.fixture(params=KEYS)
def posts(request: pytest.FixtureRequest, db: sqlite3.Connection) -> sqlite3.Connection:
    key, end = KEYS[request.param]
    db.execute(f'create table posts({key}, "rank" text, body text, n{end}')
    rows = [(str(i), f"title{i}", f"body{i}", i) for i in range(1, 31)]
    db.executemany('insert into posts(id, "rank", body, n) values (?, ?, ?, ?)', rows)
    db.commit()
    vssnative.add_embeddings(db, "posts", columns=["rank", "body", "n"], model="hash:16", full_text=True)
    vssnative.sync(db)
    return db


def number(conn: sqlite3.Connection, id: int) -> int:
    """The number under which a row is indexed."""
    if conn.execute("select 1 from sqlite_master where name = 'vssnative_keys_1'").fetchone():
        column = (
            "k1" if len(conn.execute("select * from vssnative_keys_1 limit 1").description) == 3 else "k0"
        )
        sql = f"select id from vssnative_keys_1 where {column} = ?"
        return int(conn.execute(sql, (str(id),)).fetchone()[0])
    return id


DAMAGE: dict[str, Callable[[sqlite3.Connection], tuple[str, list[int]]]] = {
    "entry missing": lambda c: (f"delete from vss_text_posts where rowid = {number(c, 3)}", [number(c, 3)]),
    "another text": lambda c: (
        f"update vss_text_posts set body = 'other' where rowid = {number(c, 4)}",
        [number(c, 4)],
    ),
    "another type": lambda c: (
        f"update vss_text_posts set n = '5' where rowid = {number(c, 5)}",
        [number(c, 5)],
    ),
    "no text": lambda c: (
        f"update vss_text_posts set body = null where rowid = {number(c, 6)}",
        [number(c, 6)],
    ),
    "entry left over": lambda c: ("insert into vss_text_posts(rowid, body) values (999, 'gone')", [999]),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_verify_names_the_rows_and_repair_mends_them(posts: sqlite3.Connection, kind: str) -> None:
    assert vssnative.verify(posts, "posts").ok
    sql, rows = DAMAGE[kind](posts)
    posts.execute(sql)
    posts.commit()
    report = vssnative.verify(posts, "posts")
    assert report.words == rows and not report.ok
    assert vssnative.repair(posts, "posts").words == rows
    assert vssnative.verify(posts, "posts").ok
    for id in range(1, 31):
        found = vssnative.search(posts, "posts", f"body{id}", k=2, mode="text")
        assert [hit.row["body"] for hit in found] == [f"body{id}"]
    assert len(vssnative.search(posts, "posts", "gone", mode="text")) == 0


def test_a_damaged_index_is_made_anew(posts: sqlite3.Connection) -> None:
    posts.execute("delete from vss_text_posts_data where id > 10")
    posts.commit()
    if sqlite3.sqlite_version_info >= (3, 44):
        report = vssnative.verify(posts, "posts")
        assert report.problem is not None and "is damaged" in report.problem
    assert "vss_text_posts was damaged" in str(vssnative.repair(posts, "posts").problem)
    assert vssnative.repair(posts, "posts").ok
    posts.execute("insert into vss_text_posts(vss_text_posts) values ('integrity-check')")
    posts.commit()
    [hit] = vssnative.search(posts, "posts", "body7", mode="text")
    assert hit.row["body"] == "body7"


def test_edits_of_every_kind_leave_nothing_to_mend(posts: sqlite3.Connection) -> None:
    posts.execute("update posts set body = 'new words' where n = 3")
    posts.execute(
        "update posts set id = 'x1' where n = 4" if number(posts, 4) != 4 else "delete from posts where n = 4"
    )
    posts.execute("delete from posts where n = 5")
    posts.execute("insert into posts(id, body, n) values ('77', 'added', 2.5)")
    posts.execute("insert or replace into posts(id, body, n) values ('8', 'replaced', null)")
    posts.commit()
    assert vssnative.verify(posts, "posts").words == []
    vssnative.sync(posts)
    assert vssnative.verify(posts, "posts").ok


def words_of(conn: sqlite3.Connection, query: str) -> list[str]:
    return [hit.row["body"] for hit in vssnative.search(conn, "posts", query, k=3, mode="text")]


def test_other_columns_are_searched_by_words_from_the_switch_on(posts: sqlite3.Connection) -> None:
    vssnative.change_model(posts, "posts", columns=["rank"])
    assert words_of(posts, "body9") == ["body9"]
    vssnative.sync(posts)
    assert words_of(posts, "body9") == []
    assert words_of(posts, "title9") == ["body9"]
    # Triggers watch the new column, and the new one alone.
    posts.execute("update posts set \"rank\" = 'heading', body = 'text' where n = 9")
    posts.commit()
    assert words_of(posts, "heading") == ["text"] and words_of(posts, "title9") == []
    assert vssnative.verify(posts, "posts").words == []
    vssnative.sync(posts)
    assert vssnative.verify(posts, "posts").ok
    vssnative.migrations.rollback_model(posts, "posts")
    assert words_of(posts, "text") == ["text"] and words_of(posts, "body8") == ["body8"]
    vssnative.sync(posts)
    assert vssnative.verify(posts, "posts").ok


def test_a_template_is_searched_by_the_words_of_its_columns(posts: sqlite3.Connection) -> None:
    vssnative.change_model(posts, "posts", template="{body} of {rank}")
    vssnative.sync(posts)
    assert words_of(posts, "title9") == ["body9"] and words_of(posts, "9") == []
    assert vssnative.verify(posts, "posts").ok


def test_another_model_of_the_same_columns_leaves_the_index_alone(posts: sqlite3.Connection) -> None:
    before = posts.execute("select rootpage from sqlite_master where name = 'vss_text_posts_data'").fetchall()
    vssnative.change_model(posts, "posts", "hash:8")
    vssnative.sync(posts)
    after = posts.execute("select rootpage from sqlite_master where name = 'vss_text_posts_data'").fetchall()
    assert before == after
    assert vssnative.verify(posts, "posts").ok


@pytest.mark.parametrize("driver", ["sqlite3", "apsw", "pysqlite3"])
@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
def test_texts_that_begin_with_a_byte_order_mark_are_in_order(driver: str, encoding: str) -> None:
    """In UTF-16, FTS5 gets them without it; verify took that for a change, for ever."""
    conn = vssnative.connect(":memory:", driver=importlib.import_module(driver))
    cursor = conn.cursor()
    cursor.execute(f"pragma encoding = '{encoding}'")
    cursor.execute("create table posts(id integer primary key, body)")
    texts = ["\ufeffhello", "\ufeff\ufeffhello", "\ufeff", "a\ufeffb", "more", "plain", 7, None]
    for text in texts:
        cursor.execute("insert into posts(body) values (?)", (text,))
    cursor.execute("insert into posts(body) values (char(65279) || 'a' || char(0) || 'b')")
    if driver != "apsw":
        conn.commit()
    vssnative.add_embeddings(conn, "posts", ["body"], model="hash:16", full_text=True)
    vssnative.sync(conn)
    assert vssnative.verify(conn, "posts").ok
    assert {r.key for r in vssnative.search(conn, "posts", "hello", mode="text")} >= {1, 2}
    cursor.execute("update vss_text_posts set body = body || '!' where rowid in (1, 2, 5, 6)")
    if driver != "apsw":
        conn.commit()
    assert vssnative.verify(conn, "posts").words == [1, 2, 5, 6]
    vssnative.repair(conn, "posts")
    assert vssnative.verify(conn, "posts").ok
    conn.close()
