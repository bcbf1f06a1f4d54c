"""add_embeddings and drop_embeddings: one atomic step up, one down, and the user's table as it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vssnative
from vssnative.embedding.hashing import HashEmbedder
from vssnative.errors import ConfigurationError, MigrationError, SchemaVersionError
from vssnative.migrations import embeddings, load_embedding, load_embeddings

from ..reliability.sync_oracle import assert_in_step, snapshot

_SEED = """
create table companies(name text primary key, city text);
create table posts(
  id integer primary key autoincrement,
  company text references companies(name) on delete cascade,
  title text not null collate nocase unique,
  summary text, -- one line
  description text default 'none',
  updated_at text check (updated_at <> ''));
create index posts_company on posts(company, title desc);
create unique index posts_summary on posts(summary) where summary is not null;
create table edits(post integer, at text);
create trigger posts_edited after update of title, summary on posts begin
  insert into edits values (new.id, 'now');
end;
"""
_COLUMNS = ["title", "summary", "description"]


def fill(conn: sqlite3.Connection, rows: int) -> None:
    conn.executescript(_SEED)
    conn.executemany("insert into companies values (?, 'x')", [(f"company {n}",) for n in range(10)])
    conn.executemany(
        "insert into posts(company, title, summary, description) values (?, ?, ?, ?)",
        [(f"company {n % 10}", f"title {n}", f"summary {n}", f"some words {n % 37}") for n in range(rows)],
    )
    conn.commit()


def without_embeddings(names: list[tuple[str]]) -> list[str]:
    return [name for (name,) in names if not name.startswith(("vssnative_", "sqlite_autoindex_vssnative"))]


def all_names(conn: sqlite3.Connection) -> list[str]:
    return without_embeddings(conn.execute("select name from sqlite_master order by name").fetchall())


@pytest.mark.parametrize("store", ["vss", "column", "both"])
def test_the_table_is_byte_for_byte_what_it_was(
    open_db: Callable[..., sqlite3.Connection], tmp_path: Path, store: str
) -> None:
    conn = open_db("app.db")
    fill(conn, 300 if store != "vss" else 5000)
    before, names = snapshot(conn, "posts"), all_names(conn)
    vssnative.add_embeddings(conn, "posts", columns=_COLUMNS, model="hash:16", store=store)
    vssnative.sync(conn)

    plain = sqlite3.connect(tmp_path / "app.db")  # no extension
    plain.execute("pragma foreign_keys = on")
    plain.execute("update posts set title = 'another title' where id = 7")
    plain.execute("insert into posts(id, title) values (900000, 'new')")
    plain.execute("delete from companies where name = 'company 3'")  # takes its posts along
    plain.commit()
    plain.close()
    result = vssnative.sync(conn)
    assert result.removed == (500 if store == "vss" else 30)
    if store == "vss":
        assert_in_step(conn, "posts", HashEmbedder(16))
    assert vssnative.verify(conn, "posts", sample=20).ok
    assert vssnative.search(conn, "posts", "another title", k=1)[0].rowid == 7

    with conn:  # the edits are taken back by hand, to compare
        conn.execute("delete from posts where id = 900000")
        conn.execute("update posts set title = 'title 6' where id = 7")
        conn.executemany(
            "insert into posts(id, company, title, summary, description, updated_at) values (?, ?, ?, ?, ?, ?)",
            [row[1:] for row in before[1] if row[2] == "company 3"],
        )
    vssnative.sync(conn)
    vssnative.drop_embeddings(conn, "posts")
    assert snapshot(conn, "posts") == before
    assert all_names(conn) == sorted({*names, "sqlite_sequence"})
    assert conn.execute("pragma integrity_check").fetchone() == ("ok",)


def test_dropping_columns_needs_a_sqlite_that_can(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(db, 5)
    vssnative.add_embeddings(db, "posts", columns=["title"], model="hash:16", store="both")
    before = snapshot(db, "posts")
    with monkeypatch.context() as patch:
        patch.setattr(embeddings, "sqlite_version", lambda conn: (3, 34, 1))
        with pytest.raises(MigrationError, match=r"posts: .* needs SQLite 3\.35 or newer; this is 3\.34\.1"):
            vssnative.drop_embeddings(db, "posts")
    assert snapshot(db, "posts") == before
    vssnative.drop_embeddings(db, "posts")
    assert load_embeddings(db) == []


def test_adding_again_changes_nothing_and_embeds_nothing(db: sqlite3.Connection) -> None:
    fill(db, 20)
    first = vssnative.add_embeddings(db, "posts", columns=["title"], model="hash:16")
    vssnative.sync(db)
    changes = db.total_changes
    assert vssnative.add_embeddings(db, "POSTS", columns=["Title"], model="hash:16") == first
    assert db.total_changes == changes
    assert vssnative.sync(db).rows == 0
    with pytest.raises(MigrationError, match="change_model"):
        vssnative.add_embeddings(db, "posts", columns=["summary"], model="hash:16")


def test_plan_changes_nothing_and_tells_the_work(db: sqlite3.Connection) -> None:
    fill(db, 100)
    names = all_names(db)
    plan = vssnative.plan_embeddings(db, "posts", columns=_COLUMNS, model="hash:16", price=2.0)
    assert all_names(db) == names
    assert db.execute("select count(*) from sqlite_master where name = 'vssnative_meta'").fetchone() == (0,)
    assert plan.estimate.rows == 100
    assert plan.estimate.texts == 300
    assert plan.estimate.tokens == pytest.approx(700, abs=50)  # 2 + 2 + 3 words
    assert plan.estimate.cost == pytest.approx(plan.estimate.tokens * 2.0 / 1e6)
    assert plan.statements[0].startswith("create virtual table")
    assert any("part of the rows" in note for note in plan.notes)
    vssnative.add_embeddings(db, "posts", columns=_COLUMNS, model="hash:16")
    assert vssnative.plan_embeddings(db, "posts", columns=_COLUMNS, model="hash:16").statements == ()


def test_the_step_belongs_to_the_callers_transaction(db: sqlite3.Connection) -> None:
    fill(db, 5)
    names = all_names(db)
    db.execute("begin")
    db.execute("insert into posts(title) values ('uncommitted')")
    vssnative.add_embeddings(db, "posts", columns=["title"], model="hash:16")
    assert db.in_transaction
    db.rollback()
    assert all_names(db) == names
    assert load_embeddings(db) == []
    assert db.execute("select count(*) from posts").fetchone() == (5,)


def test_a_failing_step_leaves_nothing(db: sqlite3.Connection) -> None:
    fill(db, 5)
    db.execute("create table vss_posts(x)")
    names = all_names(db)
    with pytest.raises(MigrationError, match="vss_posts is taken"):
        vssnative.add_embeddings(db, "posts", columns=["title"], model="hash:16")
    assert all_names(db) == names
    assert load_embeddings(db) == []
    assert not db.in_transaction


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("create view t as select 1 as x", "is a view"),
        ("create virtual table t using fts5(x)", "virtual table"),
        ("create table t(x text)", "no primary key"),
        ("create table other(x)", "no table 't' in the main database; tables there: other$"),
        ("create table tt(x)", "did you mean 'tt'"),
        ("create table t(id integer primary key, y text)", "no column 'x'; it has id, y"),
    ],
)
def test_tables_that_cannot_are_refused_in_words(db: sqlite3.Connection, sql: str, sentence: str) -> None:
    db.execute(sql)
    with pytest.raises(MigrationError, match=sentence):
        vssnative.add_embeddings(db, "t", columns=["x"], model="hash:16")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"columns": ["title"], "template": "{title}"},
        {"columns": "title"},
        {"columns": []},
        {"columns": ["title", "TITLE"]},
        {"columns": ["title"], "store": "elsewhere"},
        {"columns": ["title"], "chunk": 0},
        {"columns": ["title"], "chunk": (10, 10)},
        {"columns": ["title"], "chunk": 2.5},
        {"columns": ["title"], "chunk": (10, 2, 1)},
        {"columns": ["title"], "chunk": 10, "store": "both"},
        {"columns": ["title"], "model": "no such model"},
    ],
)
def test_arguments_that_cannot_be(db: sqlite3.Connection, arguments: dict[str, Any]) -> None:
    fill(db, 1)
    with pytest.raises(ConfigurationError):
        vssnative.add_embeddings(db, "posts", **{"model": "hash:16", **arguments})


@pytest.mark.parametrize(
    "template", ["nothing", "{title!r}", "{title:>10}", "{0}", "{}", "{title.x}", "{title"]
)
def test_templates_that_cannot_be(db: sqlite3.Connection, template: str) -> None:
    fill(db, 1)
    with pytest.raises(MigrationError, match="template"):
        vssnative.add_embeddings(db, "posts", template=template, model="hash:16")


KEYED = {
    "text key": "create table t({} text primary key, body text)",
    "text key without rowid": "create table t({} text primary key, body text) without rowid",
    "nocase key": "create table t({} text collate nocase primary key, body text)",
    "int key": "create table t({} int primary key, body text)",
    "descending key": "create table t({} integer primary key desc, body text)",
    "integer key without rowid": "create table t({} integer primary key, body text) without rowid",
}


@pytest.mark.parametrize("kind", KEYED)
def test_any_other_key_is_numbered_by_a_table_of_ours(db: sqlite3.Connection, kind: str) -> None:
    db.execute(KEYED[kind].format("id"))  # a column called as one of ours
    key = (lambda n: n) if "int" in kind or "desc" in kind else (lambda n: f"key {n}")
    db.executemany("insert into t values (?, ?)", [(key(n), f"word{n}") for n in range(30)])
    db.commit()
    vssnative.add_embeddings(db, "t", columns=["body"], model="hash:64")
    vssnative.sync(db)
    assert [r.row["id"] for r in vssnative.search(db, "t", "word7", k=1)] == [key(7)]
    db.execute("delete from t where id = ?", (key(7),))
    db.execute("update t set id = ? where id = ?", (key(99), key(8)))
    db.execute("insert or replace into t values (?, 'new words')", (key(9),))
    db.execute("vacuum") if not db.in_transaction else db.commit()
    db.execute("vacuum")
    vssnative.sync(db)
    assert [r.row["id"] for r in vssnative.search(db, "t", "word8", k=1)] == [key(99)]
    assert [r.row["id"] for r in vssnative.search(db, "t", "new words", k=1)] == [key(9)]
    found = vssnative.search(db, "t", "word3", k=40, where="id <> ?", params=[key(3)])
    assert len(found) == 28
    assert vssnative.verify(db, "t", sample=50).ok
    assert db.execute("select count(*) from vssnative_keys_1").fetchone() == (29,)
    vssnative.drop_embeddings(db, "t")
    assert all_names(db) == sorted({"t", *(n for n in all_names(db) if n.startswith("sqlite_"))})


def test_keys_of_any_type_in_a_strict_table_are_kept_apart(db: sqlite3.Connection) -> None:
    """ANY means no type at all in a STRICT table, and a number elsewhere: 5 and '5' were one key."""
    if sqlite3.sqlite_version_info < (3, 37):
        pytest.skip("no STRICT tables")
    db.execute("create table t(id any primary key, body text) strict")
    db.execute("create table plain(id any primary key, body text)")
    for key in (5, "5", "a", b"5", 5.5):
        db.execute("insert into t values (?, ?)", (key, f"word {key!r}"))
    db.execute("insert into plain values ('5', 'word')")
    db.commit()
    for table in ("t", "plain"):
        vssnative.add_embeddings(db, table, columns=["body"], model="hash:64")
    db.execute("insert into t values (?, ?)", ("5.5", "word late"))
    db.commit()
    vssnative.sync(db)
    found = {(type(r.key), r.key) for r in vssnative.search(db, "t", "word", k=9)}
    assert found == {(int, 5), (str, "5"), (str, "a"), (bytes, b"5"), (float, 5.5), (str, "5.5")}
    assert [r.key for r in vssnative.search(db, "plain", "word")] == [5]
    assert all(one.rows == one.embedded for one in vssnative.status(db))
    db.execute("delete from t where id = '5'")
    db.commit()
    vssnative.sync(db)
    assert len(vssnative.search(db, "t", "word", k=9)) == 5
    assert vssnative.verify(db, "t", sample=9).ok


def test_composite_keys_and_rows_without_identity(db: sqlite3.Connection) -> None:
    db.execute("create table t(a text, b int, body text, primary key(a, b))")
    db.executemany(
        "insert into t values (?, ?, ?)", [("x", 1, "first"), ("x", 2, "second"), (None, 1, "third")]
    )
    db.commit()
    vssnative.add_embeddings(db, "t", columns=["body"], model="hash:64")
    vssnative.sync(db)
    assert [(r.row["a"], r.row["b"]) for r in vssnative.search(db, "t", "second", k=1)] == [("x", 2)]
    assert len(vssnative.search(db, "t", "third", k=9)) == 2  # a key with NULL names no row
    db.execute("update t set b = b + 10")
    db.commit()
    vssnative.sync(db)
    assert [(r.row["a"], r.row["b"]) for r in vssnative.search(db, "t", "second", k=1)] == [("x", 12)]
    assert vssnative.verify(db, "t").ok


def test_names_that_need_quotes(db: sqlite3.Connection) -> None:
    db.execute('create table "my ""posts"" [2]"("the id" integer primary key, "sélect from" text unique)')
    db.execute('insert into "my ""posts"" [2]" values (3, \'hello world\')')
    db.commit()
    vssnative.add_embeddings(db, 'my "posts" [2]', columns=["sélect from"], model="hash:16")
    vssnative.sync(db)
    [found] = vssnative.search(db, 'my "posts" [2]', "hello", k=5)
    assert found.row == {"the id": 3, "sélect from": "hello world"}
    assert found.column == "sélect from"
    vssnative.drop_embeddings(db, 'my "posts" [2]')


def test_several_embeddings_of_one_table_have_names(db: sqlite3.Connection) -> None:
    fill(db, 10)
    vssnative.add_embeddings(db, "posts", columns=["title"], model="hash:16")
    vssnative.add_embeddings(db, "posts", template="{title}\n{summary}", model="hash:32", name="whole posts")
    vssnative.sync(db)
    assert [s.name for s in vssnative.status(db, "posts")] == ["posts"]
    assert len(vssnative.search(db, "whole posts", "summary 3", k=3)) == 3
    vssnative.drop_embeddings(db, "whole posts")
    vssnative.drop_embeddings(db, "posts")
    assert load_embeddings(db) == []
    with pytest.raises(MigrationError, match="no embeddings on 'posts'"):
        vssnative.drop_embeddings(db, "posts")


def test_a_template_makes_one_text_of_several_columns(db: sqlite3.Connection) -> None:
    db.execute("create table t(id integer primary key, a text, b text)")
    db.executemany("insert into t(a, b) values (?, ?)", [("x", "y"), (None, "z"), (None, None), ("", " ")])
    db.commit()
    vssnative.add_embeddings(db, "t", template="{{{a}}}: {b}", model="hash:16")
    vssnative.sync(db)
    assert db.execute("select row_id, passages from vssnative_provenance order by row_id").fetchall() == [
        (1, 1),
        (2, 1),
        (3, 0),
        (4, 0),
    ]
    expected = HashEmbedder(16).embed_documents(["{x}: y", "{}: z"])
    assert db.execute("select content_embedding from vss_t order by rowid").fetchall() == [
        (vector.tobytes(),) for vector in expected
    ]


def test_a_newer_file_is_refused_in_words(db: sqlite3.Connection) -> None:
    fill(db, 1)
    vssnative.add_embeddings(db, "posts", columns=["title"], model="hash:16")
    db.execute("update vssnative_meta set value = 99")  # its layout, and who can read it
    db.commit()
    with pytest.raises(SchemaVersionError, match="layout 99"):
        vssnative.status(db)
    with pytest.raises(SchemaVersionError, match="newer vssnative"):
        vssnative.sync(db)


@pytest.mark.parametrize("table", ["words_content", "vss_own_rows"])
def test_what_belongs_to_a_virtual_table_is_refused(db: sqlite3.Connection, table: str) -> None:
    db.execute("create virtual table words using fts5(x)")
    db.execute("create virtual table vss_own using vss0(a(2))")
    with pytest.raises(MigrationError, match="belongs to the virtual table"):
        vssnative.add_embeddings(db, table, columns=["c0"], model="hash:16")
    with pytest.raises(MigrationError, match="tables there: none"):
        vssnative.add_embeddings(db, "t", columns=["x"], model="hash:16")


def test_a_placeholder_is_shown_as_it_was_written(db: sqlite3.Connection) -> None:
    fill(db, 1)
    with pytest.raises(MigrationError, match="not {title!r:>10}"):
        vssnative.add_embeddings(db, "posts", template="{title!r:>10}", model="hash:16")


def test_dropping_after_the_table_is_gone(db: sqlite3.Connection) -> None:
    fill(db, 3)
    vssnative.add_embeddings(db, "posts", columns=["title"], model="hash:16")
    db.execute("drop table posts")
    db.commit()
    [status] = vssnative.status(db)
    assert status.problem is not None and "no table 'posts'" in status.problem
    with pytest.raises(MigrationError, match="no table 'posts'"):
        vssnative.sync(db)
    vssnative.drop_embeddings(db, "posts")
    assert not [name for name in all_names(db) if name.startswith("vss_")]


def test_what_was_done_is_recorded(db: sqlite3.Connection) -> None:
    fill(db, 3)
    vssnative.add_embeddings(db, "posts", columns=["title"], model="hash:16")
    assert load_embedding(db, "posts").active.model == {"kind": "hash", "dim": 16}
    vssnative.drop_embeddings(db, "posts")
    rows = db.execute("select name, action from vssnative_migrations order by id").fetchall()
    assert rows == [("posts", "add_embeddings"), ("posts", "drop_embeddings")]


def test_a_table_is_named_without_its_database(db: sqlite3.Connection) -> None:
    db.execute("attach ':memory:' as other")
    db.execute("create table other.t(id integer primary key, x text)")
    for name, words in (
        (
            "other.t",
            "expected the name alone, 't', of a table of the main database. Triggers .* connect to the file of 'other' itself",
        ),
        ("main.posts", "expected the name alone, 'posts', of a table$"),
        ("nothing.t", "no table 'nothing.t' in the main database"),
    ):
        with pytest.raises(MigrationError, match=words):
            vssnative.add_embeddings(db, name, columns=["x"], model="hash:8")


@pytest.mark.parametrize("columns", ['"a b" text, n', "n int, ID text, ID2"])
def test_a_table_without_a_key_is_told_how_to_get_one(db: sqlite3.Connection, columns: str) -> None:
    db.execute(f"create table loose({columns})")
    db.execute(f"insert into loose values ({', '.join('7' * (columns.count(',') + 1))})")
    db.commit()
    with pytest.raises(MigrationError, match="has no primary key") as caught:
        vssnative.add_embeddings(db, "loose", columns=["n"], model="hash:8")
    db.executescript(str(caught.value).partition("Rebuild it with one: ")[2])
    vssnative.add_embeddings(db, "loose", columns=["n"], model="hash:8")
    assert vssnative.sync(db).rows == 1
    assert db.execute("select n from loose").fetchall() == [(7,)]
