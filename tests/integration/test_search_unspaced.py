"""Search by words in languages that put no space between them."""

from __future__ import annotations

import importlib
import sqlite3
from typing import Any

import pytest

import vssnative
from vssnative._search.rankings.trigrams import parts_of
from vssnative.errors import MigrationError, QueryError, VssWarning

TEXTS = [
    "東京で食べたラーメンはとてもおいしかった",  # 1
    "京都の寺を見て、東京へ帰った。東京は雨だった",  # 2
    "大阪城公園を歩いた",  # 3
    "我爱北京天安门",  # 4
    "ฉันชอบกินข้าวผัด",  # 5
    "SQLite keeps a database in one file",  # 6
    "A C compiler",  # 7
    None,  # 8
]


@pytest.fixture
def notes(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("create table notes(id integer primary key, title text, body text)")
    db.executemany("insert into notes(title, body) values ('', ?)", [(text,) for text in TEXTS])
    db.commit()
    return db


def keys(conn: Any, query: str, mode: Any = "text", **options: Any) -> list[int]:
    return [r.key for r in vssnative.search(conn, "notes", query, k=20, mode=mode, **options)]


FOUND = [
    ("東京", [2, 1]),  # two characters; twice counts more
    ("雨", [2]),
    ("ラーメン", [1]),
    ("東京ラーメン", [1]),  # nowhere as such
    ("大阪城へ行った", [3]),
    ("北京 天安门", [4]),
    ("ข้าวผัด", [5]),
    ("database", [6]),
    ("DATABASE 東京", [2, 6, 1]),
    ("c", [7]),
    ("of 城", [3]),
    ("京%", [2, 1, 4]),
    ("存在しない", []),
]


@pytest.mark.parametrize("driver", ["sqlite3", "apsw", "pysqlite3"])
def test_parts_of_texts_are_found(driver: str) -> None:
    conn = vssnative.connect(":memory:", driver=importlib.import_module(driver))
    cursor = conn.cursor()
    cursor.execute("create table notes(id integer primary key, title text, body text)")
    for text in TEXTS:
        cursor.execute("insert into notes(title, body) values ('', ?)", (text,))
    if driver != "apsw":
        conn.commit()
    vssnative.add_embeddings(conn, "notes", ["title", "body"], model="hash:16", full_text="trigram")
    vssnative.sync(conn)
    for query, expected in FOUND:
        assert set(keys(conn, query)) == set(expected), query
    assert keys(conn, "東京") == [2, 1]
    assert keys(conn, "東京", where="id < 2") == [1]
    assert set(keys(conn, "東京", "hybrid")) >= {1, 2}
    [first] = vssnative.search(conn, "notes", "東京", k=1, mode="hybrid")
    assert first.text_rank == 1
    cursor.execute("insert into notes(body) values ('東京東京東京')")
    cursor.execute("delete from notes where id = 2")
    if driver != "apsw":
        conn.commit()
    assert keys(conn, "東京") == [9, 1]
    assert keys(conn, "東京", stale=False) == [1]
    vssnative.sync(conn)
    assert vssnative.verify(conn, "notes").ok
    vssnative.change_model(conn, "notes", columns=["body"])
    vssnative.sync(conn)
    assert keys(conn, "東京") == [9, 1]  # the tokenizer stays
    cursor.execute("drop table vss_text_notes")
    if driver != "apsw":
        conn.commit()
    vssnative.sync(conn)
    assert keys(conn, "東京") == [9, 1]
    conn.close()


def test_without_it_the_search_says_why_words_find_nothing(notes: sqlite3.Connection) -> None:
    vssnative.add_embeddings(notes, "notes", ["body"], model="hash:16", full_text=True)
    vssnative.sync(notes)
    with pytest.warns(VssWarning, match="a sentence without spaces for one word; .*full_text='trigram'"):
        assert keys(notes, "東京") == []
    with pytest.warns(VssWarning, match="full_text='trigram'"):
        keys(notes, "東京", None)
    assert keys(notes, "database") == [6]
    vssnative.add_embeddings(notes, "notes", ["body"], model="hash:16", full_text="trigram")
    assert keys(notes, "東京") == [2, 1]
    assert vssnative.status(notes)[0].pending == 0 and vssnative.verify(notes, "notes").ok
    vssnative.add_embeddings(notes, "notes", ["body"], model="hash:16", full_text=True)  # as it is
    assert keys(notes, "東京") == [2, 1]
    vssnative.add_embeddings(notes, "notes", ["body"], model="hash:16", full_text="porter unicode61")
    assert keys(notes, "databases") == [6]


def test_a_table_of_the_users_own(notes: sqlite3.Connection) -> None:
    notes.execute(
        "create virtual table mine using fts5(body, content=notes, content_rowid=id, tokenize='trigram')"
    )
    notes.execute("insert into mine(mine) values ('rebuild')")
    notes.commit()
    vssnative.add_embeddings(notes, "notes", ["body"], model="hash:16")
    vssnative.sync(notes)
    for query, expected in FOUND:
        assert set(keys(notes, query, full_text="mine")) == set(expected), query


def test_a_tokenizer_that_is_not_there_changes_nothing(notes: sqlite3.Connection) -> None:
    for bad in ("kuromoji", "trigram nonsense 1"):
        with pytest.raises(MigrationError, match=f"full_text='{bad}': FTS5 of SQLite .* no such tokenizer"):
            vssnative.add_embeddings(notes, "notes", ["body"], model="hash:16", full_text=bad)
    assert notes.execute("select name from sqlite_master").fetchall() == [("notes",)]
    vssnative.add_embeddings(notes, "notes", ["body"], model="hash:16", full_text=True)
    with pytest.raises(MigrationError, match="no such tokenizer"):
        vssnative.add_embeddings(notes, "notes", ["body"], model="hash:16", full_text="kuromoji")
    assert keys(notes, "database") == [6]
    with pytest.raises(QueryError):
        vssnative.search(notes, "notes", "", mode="text")


def test_parts() -> None:
    assert parts_of(["東京", "abc", "of"]) == (("abc",), ("東京",))
    assert parts_of(["ラーメン屋x"]) == (("ラーメ", "ーメン", "メン屋"), ())
    assert parts_of(["of"]) == ((), ("of",))
    assert parts_of([]) == ((), ())
    assert parts_of(["\u00d6l", "O\u0308l"]) == (
        (),
        ("\u00d6l", "O\u0308l"),
    )  # two letters, however they are written


def test_short_words_in_either_case_and_of_korean(notes: sqlite3.Connection) -> None:
    texts = ["Об этом", "об ином", "Öl und Brot", "öl", "한국은행이 금리를", "한국의 경제성장"]
    notes.executemany("insert into notes(id, title, body) values (?, '', ?)", list(enumerate(texts, 20)))
    notes.commit()
    vssnative.add_embeddings(notes, "notes", ["body"], model="hash:16", full_text="trigram")
    for query, expected in (
        ("Об", {20, 21}),
        ("об", {20, 21}),
        ("Öl", {22, 23}),
        ("ÖL", {22, 23}),
        ("한국", {24, 25}),
        ("한국 경제성장", {24, 25}),
    ):
        assert set(keys(notes, query)) == expected, query
    assert keys(notes, "한국 경제성장")[0] == 25


def test_as_many_short_words_as_there_are(notes: sqlite3.Connection) -> None:
    """More than SQLite takes terms in a sum, or values in a statement."""
    vssnative.add_embeddings(notes, "notes", ["title", "body"], model="hash:16", full_text="trigram")
    many = [chr(0x5000 + n) + chr(0x5001 + n) for n in range(0, 2400, 2)]
    assert set(keys(notes, " ".join([*many, "東京"]))) >= {1, 2}
    assert keys(notes, " ".join(["雨", *many, "東京", "京都"]))[0] == 2


def test_a_tokenizer_that_cannot_be_read(notes: sqlite3.Connection) -> None:
    for bad in ("trigram'); drop table notes; --", 'unicode61 tokenchars "-_"'):
        with pytest.raises(MigrationError, match="no such tokenizer"):
            vssnative.add_embeddings(notes, "notes", ["body"], model="hash:16", full_text=bad)
    assert notes.execute("select name from sqlite_master").fetchall() == [("notes",)]
