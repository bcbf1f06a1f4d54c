"""Searches by words and by both: the index that is kept beside, the user's own, words of any script, rows without vectors."""

from __future__ import annotations

import math
import sqlite3
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vssnative
from vssnative.errors import QueryError

TEXTS = {
    "nfc": unicodedata.normalize("NFC", "crème brûlée au café"),
    "nfd": unicodedata.normalize("NFD", "crème brûlée du résumé"),
    "hindi": "हिन्दी में खोज",
    "c++": "learn C++ quickly",
    "pi": "pi is 3.14 or so",
    "snake": "call foo_bar twice",
    "plain": "nothing of note",
}


def make(conn: sqlite3.Connection, key: str = "id integer primary key", **options: object) -> None:
    conn.execute(f"create table notes({key}, name text, body text)")
    conn.executemany("insert into notes(name, body) values (?, ?)", TEXTS.items())
    conn.commit()
    vssnative.add_embeddings(conn, "notes", columns=["body"], model="hash:32", **options)  # type: ignore[call-overload]


@pytest.fixture
def notes(db: sqlite3.Connection) -> sqlite3.Connection:
    make(db, full_text=True)
    vssnative.sync(db)
    return db


def names(results: vssnative.Results) -> list[str]:
    return [result.row["name"] for result in results]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (unicodedata.normalize("NFD", "brûlée"), {"nfc", "nfd"}),
        (unicodedata.normalize("NFC", "brûlée"), {"nfc", "nfd"}),
        (unicodedata.normalize("NFC", "résumé"), {"nfd"}),
        ("हिन्दी", {"hindi"}),
        ("C++", {"c++"}),
        ("3.14", {"pi"}),
        ("foo_bar", {"snake"}),
        ('"quoted" AND (', set()),
        ("++ --", set()),
    ],
)
@pytest.mark.parametrize("detail", ["full", "none", "own", "exact accents"])
def test_a_word_is_what_the_index_says(
    db: sqlite3.Connection, query: str, expected: set[str], detail: str
) -> None:
    if detail == "own":
        make(db, full_text=True)
        table: str | None = None
    else:
        make(db)
        option = "tokenize='unicode61 remove_diacritics 0'" if " " in detail else f"detail={detail}"
        db.execute(f"create virtual table words using fts5(body, {option})")
        db.execute("insert into words(rowid, body) select id, body from notes")
        db.commit()
        table = "words"
    if detail == "exact accents" and "brûlée" in unicodedata.normalize("NFC", query):
        expected = {"nfc", "nfd"}
    assert set(names(vssnative.search(db, "notes", query, mode="text", full_text=table))) == expected


def test_rows_without_vectors_are_found_by_their_words(notes: sqlite3.Connection) -> None:
    notes.execute("insert into notes(name, body) values ('new', 'a quokka smiles')")
    notes.commit()
    found = vssnative.search(notes, "notes", "quokka", k=3)
    # The nearest by vectors and the first by words have equal sums; the nearer goes first.
    new = found[1]
    assert new.row["name"] == "new"
    assert math.isinf(new.distance) and new.stale and new.text_rank == 1
    assert new.column is None and new["distance"] is None
    assert len(found) == 3  # the others are found by their vectors
    assert names(vssnative.search(notes, "notes", "quokka", k=3, max_distance=5)).count("new") == 0


def test_by_words_alone_needs_no_model_and_no_sync(db: sqlite3.Connection) -> None:
    make(db, full_text=True)
    found = vssnative.search(db, "notes", "quickly", mode="text")
    assert names(found) == ["c++"] and found[0].score > 0
    assert db.execute("select count(*) from vssnative_provenance").fetchone() == (0,)


def test_the_index_is_kept_in_step_by_triggers(notes: sqlite3.Connection, tmp_path: Path) -> None:
    app = sqlite3.connect(tmp_path / "test.db")
    app.execute("update notes set body = 'an aardvark' where name = 'plain'")
    app.execute("delete from notes where name = 'pi'")
    app.execute("insert or replace into notes(id, name, body) values (1, 'again', 'a walrus')")
    app.execute("update notes set id = 77 where name = 'snake'")
    assert app.execute("insert into notes(name, body) values ('x', 'y')").lastrowid == 78
    app.commit()
    app.close()

    def found(word: str) -> list[str]:
        return names(vssnative.search(notes, "notes", word, mode="text"))

    assert (found("aardvark"), found("walrus"), found("nothing")) == (["plain"], ["again"], [])
    assert (found("3.14"), found("café"), found("foo_bar")) == ([], [], ["snake"])
    assert vssnative.search(notes, "notes", "foo_bar", mode="text")[0].key == 77
    rows = notes.execute("select rowid from vss_text_notes order by 1").fetchall()
    assert rows == notes.execute("select id from notes order by 1").fetchall()


def test_a_row_that_replace_took_by_another_unique_column_leaves_the_index_at_sync(
    db: sqlite3.Connection,
) -> None:
    db.execute("create table notes(id integer primary key, name text unique, body text)")
    db.execute("insert into notes values (1, 'a', 'walrus'), (2, 'b', 'quokka')")
    db.commit()
    vssnative.add_embeddings(db, "notes", columns=["body"], model="hash:32", full_text=True)
    vssnative.sync(db)
    db.execute("insert or replace into notes values (3, 'a', 'heron')")
    db.commit()
    assert vssnative.search(db, "notes", "walrus", mode="text").items == ()
    vssnative.sync(db)
    assert db.execute("select rowid from vss_text_notes order by 1").fetchall() == [(2,), (3,)]


def test_a_rebuilt_table_gets_its_index_back(notes: sqlite3.Connection) -> None:
    notes.executescript(
        "create table copy(id integer primary key, name text, body text); insert into copy select * from notes;"
        "drop table notes; alter table copy rename to notes; update notes set body = 'a heron' where name = 'pi';"
    )
    vssnative.sync(notes)
    assert names(vssnative.search(notes, "notes", "heron", mode="text")) == ["pi"]
    notes.execute("drop table vss_text_notes")
    assert "full-text index vss_text_notes is gone" in str(vssnative.status(notes)[0].problem)
    vssnative.sync(notes)
    assert names(vssnative.search(notes, "notes", "heron", mode="text")) == ["pi"]
    vssnative.drop_embeddings(notes, "notes")
    left = notes.execute("select name from sqlite_master where name like 'vss_text%'").fetchall()
    assert left == []


KEYED = [
    "id text primary key default (hex(randomblob(8)))",
    "id text primary key not null default (hex(randomblob(8)))",
]


@pytest.mark.parametrize("key", KEYED)
@pytest.mark.parametrize("own", [True, False])
def test_on_tables_with_other_keys_words_and_vectors_mean_the_same_row(
    db: sqlite3.Connection, key: str, own: bool
) -> None:
    db.execute(f"create table notes({key}, name text, body text)")
    db.executemany("insert into notes(rowid, name, body) values (?, ?, ?)", [
        (1000 - n, name, body) for n, (name, body) in enumerate(TEXTS.items())
    ])  # fmt: skip
    db.commit()
    vssnative.add_embeddings(db, "notes", columns=["body"], model="hash:32", full_text=own)
    vssnative.sync(db)
    if not own:
        db.execute("create virtual table words using fts5(body, content='notes')")
        db.execute("insert into words(words) values ('rebuild')")
        db.commit()
    found = vssnative.search(db, "notes", "learn quickly", k=1, full_text=None if own else "words")
    assert names(found) == ["c++"]
    assert (found[0].rowid, found[0].text_rank) == (997, 1)
    assert found[0].key == db.execute("select id from notes where name = 'c++'").fetchone()[0]


def test_without_rowid_an_own_fts5_table_is_refused_and_ours_works(db: sqlite3.Connection) -> None:
    db.execute("create table notes(a text, b integer, name text, body text, primary key(a, b)) without rowid")
    db.executemany(
        "insert into notes values ('k', ?, ?, ?)", [(n, *item) for n, item in enumerate(TEXTS.items())]
    )
    db.execute("create virtual table words using fts5(body)")
    db.execute("insert into words(rowid, body) select b, body from notes")
    db.commit()
    vssnative.add_embeddings(db, "notes", columns=["body"], model="hash:32", full_text=True)
    vssnative.sync(db)
    with pytest.raises(QueryError, match="WITHOUT ROWID"):
        vssnative.search(db, "notes", "quickly", full_text="words")
    [found] = vssnative.search(db, "notes", "learn quickly", k=1)
    assert (found.key, found.rowid, found.row["name"], found.text_rank) == (("k", 3), None, "c++", 1)


def test_an_empty_index_is_refused_and_one_that_is_behind_is_told(db: sqlite3.Connection) -> None:
    make(db)
    vssnative.sync(db)
    db.execute("create virtual table words using fts5(body, content='notes', content_rowid='id')")
    with pytest.raises(QueryError, match="the table is empty"):
        vssnative.search(db, "notes", "quickly", full_text="words")
    db.execute("insert into words(words) values ('rebuild')")
    assert names(vssnative.search(db, "notes", "learn quickly", k=1, full_text="words")) == ["c++"]
    db.execute("insert into notes(name, body) values ('late', 'quickly')")
    with pytest.warns(vssnative.VssWarning, match="lacks the newest rows"):
        vssnative.search(db, "notes", "quickly", full_text="words")


def test_modes_that_cannot_be(notes: sqlite3.Connection, open_db: Callable[..., sqlite3.Connection]) -> None:
    with pytest.raises(QueryError, match="mode must be one of vector, text, hybrid"):
        vssnative.search(notes, "notes", "x", mode="words")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="leave full_text out"):
        vssnative.search(notes, "notes", "x", mode="vector", full_text=True)
    with pytest.raises(QueryError, match="max_distance, recall and columns have no meaning"):
        vssnative.search(notes, "notes", "x", mode="text", max_distance=1)
    with pytest.raises(QueryError, match="needs the query as a text"):
        vssnative.search(notes, "notes", [0.5] * 32, mode="hybrid")
    other = open_db("other.db")
    make(other)
    with pytest.raises(QueryError, match="has no full-text index"):
        vssnative.search(other, "notes", "x", mode="text")
    # Asking again adds the index to embeddings that are there.
    vssnative.add_embeddings(other, "notes", columns=["body"], model="hash:32", full_text=True)
    assert names(vssnative.search(other, "notes", "quickly", mode="text")) == ["c++"]


def test_a_weight_decides_between_words_and_meaning(notes: sqlite3.Connection) -> None:
    notes.execute(
        "insert into notes(name, body) values ('rare', 'zebra ' || ?)", (" ".join(map(str, range(300))),)
    )
    notes.commit()
    vssnative.sync(notes)
    query = "zebra call foo_bar twice"
    assert names(vssnative.search(notes, "notes", query, k=1, text_weight=0)) == ["snake"]
    by_words = vssnative.search(notes, "notes", query, mode="text")
    heavy = vssnative.search(notes, "notes", query, k=2, text_weight=1000)
    assert names(heavy) == names(by_words)[:2]


@pytest.mark.parametrize("mode", ["text", "vector", "hybrid"])
@pytest.mark.parametrize("query", ["a\ud800", ["red", "a\ud800"]])
def test_a_query_that_is_no_unicode_is_refused(db: sqlite3.Connection, mode: Any, query: Any) -> None:
    db.execute("create table t(id integer primary key, body text)")
    db.execute("insert into t values (1, 'red')")
    db.commit()
    vssnative.add_embeddings(db, "t", columns=["body"], model="hash:16", full_text=True)
    vssnative.sync(db)
    with pytest.raises(vssnative.errors.QueryError, match="lone surrogate at character 1"):
        vssnative.search(db, "t", query, mode=mode)
