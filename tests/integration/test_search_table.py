"""search: the table's own model, k rows whatever the filter, nothing stale unnoticed, nothing deleted."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vssnative
from vssnative import Results
from vssnative.embedding.hashing import HashEmbedder
from vssnative.errors import MigrationError, QueryError, SyncError, VssWarning

WORDS = ["red", "green", "blue", "round", "square", "old", "new", "big"]


def text(n: int) -> str:
    return " ".join(WORDS[(n >> bit) % 8] for bit in range(0, 9, 3)) + f" item{n}"


@pytest.fixture
def posts(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("create table posts(id integer primary key, company text, title text, body text)")
    db.executemany(
        "insert into posts(company, title, body) values (?, ?, ?)",
        [(f"c{n % 50}", text(n), text(7 * n + 1000) if n % 3 else None) for n in range(500)],
    )
    db.commit()
    vssnative.add_embeddings(db, "posts", columns=["title", "body"], model="hash:32")
    vssnative.sync(db)
    return db


def brute_force(
    conn: sqlite3.Connection, query: str, k: int, condition: str = "1"
) -> list[tuple[int, float]]:
    """Best distance over both columns per row, in double precision."""
    embedder = HashEmbedder(32)
    [vector] = embedder.embed_queries([query]).astype(np.float64)
    best: dict[int, float] = {}
    for column in ("title", "body"):
        rows = conn.execute(
            f"select id, {column} from posts where {column} is not null and {condition}"
        ).fetchall()
        matrix = embedder.embed_documents([row[1] for row in rows]).astype(np.float64)
        for (row_id, _), similarity in zip(rows, matrix @ vector, strict=True):
            best[row_id] = min(best.get(row_id, 9.0), 1 - similarity)
    return sorted(best.items(), key=lambda item: (round(item[1], 5), item[0]))[:k]


@pytest.mark.parametrize(
    ("where", "params"), [(None, ()), ("company = ?", ("c7",)), ("company in (?, ?)", ("c1", "c2"))]
)
@pytest.mark.parametrize("k", [1, 5, 30, 1000])
def test_the_nearest_rows_by_their_best_column(
    posts: sqlite3.Connection, where: str | None, params: tuple[str, ...], k: int
) -> None:
    condition = "1"
    if where is not None:
        condition = where
        for value in params:
            condition = condition.replace("?", f"'{value}'", 1)
    expected = brute_force(posts, "old red item77", k, condition)
    found = vssnative.search(posts, "posts", "old red item77", k=k, where=where, params=params, recall=1.0)
    assert len(found) == len(expected)
    np.testing.assert_allclose([r.distance for r in found], [distance for _, distance in expected], atol=1e-5)
    assert [r.rank for r in found] == list(range(1, len(found) + 1))
    # Rows at equal distances may change places by the last bit.
    assert {r.rowid for r in found if r.distance < found[-1].distance - 1e-5} <= {row for row, _ in expected}


def test_a_result_is_a_row_and_a_table(posts: sqlite3.Connection) -> None:
    found = vssnative.search(posts, "posts", text(77), k=3)
    assert found[0].rowid == 78
    assert found[0].row == {"id": 78, "company": "c27", "title": text(77), "body": text(1539)}
    assert (found[0].column, found[0].passage, found[0].stale) == ("title", None, False)
    assert found[0].distance == pytest.approx(0, abs=1e-6)
    assert [set(record) for record in found.records()] == [
        {"rank", "distance", "score", "stale", "id", "company", "title", "body"}
    ] * 3
    lines = str(found).splitlines()
    assert lines[0].split() == ["rank", "distance", "id", "company", "title", "body"]
    assert len(lines) == 4
    assert isinstance(found[:2], Results) and len(found[:2]) == 2
    assert list(found) == [found[0], found[1], found[2]]


def test_only_some_columns(posts: sqlite3.Connection) -> None:
    found = vssnative.search(posts, "posts", text(77), k=5, columns=["body"])
    assert {r.column for r in found} == {"body"}
    with pytest.raises(MigrationError, match="no embedded column 'company'; there are title, body"):
        vssnative.search(posts, "posts", "x", columns=["company"])


def test_a_vector_instead_of_a_text(posts: sqlite3.Connection) -> None:
    [vector] = HashEmbedder(32).embed_queries([text(5)])
    assert vssnative.search(posts, "posts", vector, k=1)[0].rowid == 6
    with pytest.raises(QueryError, match=r"shape \(32,\), got shape \(31,\)"):
        vssnative.search(posts, "posts", vector[:31])


def test_max_distance(posts: sqlite3.Connection) -> None:
    found = vssnative.search(posts, "posts", text(77), k=500, max_distance=0.3)
    assert 0 < len(found) < 500
    assert all(r.distance <= 0.3 for r in found)
    with pytest.raises(QueryError, match="max_distance must be a number, not nan"):
        vssnative.search(posts, "posts", text(77), max_distance=float("nan"))
    for wrong in (
        {"max_distance": "x"},
        {"max_distance": True},
        {"recall": "x"},
        {"recall": 0},
        {"recall": True},
    ):
        with pytest.raises(QueryError, match=next(iter(wrong))):
            vssnative.search(posts, "posts", text(77), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "5"])
def test_k_that_cannot_be(posts: sqlite3.Connection, k: object) -> None:
    with pytest.raises(QueryError, match="k must be"):
        vssnative.search(posts, "posts", "x", k=k)  # type: ignore[arg-type]


def test_questions_that_cannot_be(posts: sqlite3.Connection) -> None:
    with pytest.raises(QueryError, match="empty"):
        vssnative.search(posts, "posts", "  ")
    with pytest.raises(QueryError, match="no such column: colour"):
        vssnative.search(posts, "posts", "x", where="colour = 1")
    with pytest.raises(MigrationError, match="no embeddings on 'nothing'"):
        vssnative.search(posts, "nothing", "x")
    assert not posts.in_transaction


def test_a_changed_row_is_marked_or_left_out_and_fresh_embeds_it_first(posts: sqlite3.Connection) -> None:
    posts.execute("update posts set title = 'wholly other words' where id = 78")
    posts.commit()
    [found] = vssnative.search(posts, "posts", text(77), k=1)
    assert (found.rowid, found.stale, found.row["title"]) == (78, True, "wholly other words")
    assert vssnative.search(posts, "posts", text(77), k=1, stale=False)[0].rowid != 78
    [found] = vssnative.search(posts, "posts", "wholly other words", k=1, fresh=True)
    assert (found.rowid, found.stale) == (78, False)


def test_deleted_rows_never_appear_and_k_still_holds(posts: sqlite3.Connection, tmp_path: Path) -> None:
    nearest = [r.rowid for r in vssnative.search(posts, "posts", "old red", k=40)]
    app = sqlite3.connect(tmp_path / "test.db")
    app.executemany("delete from posts where id = ?", [(row,) for row in nearest[:30]])
    app.commit()
    app.close()
    found = [r.rowid for r in vssnative.search(posts, "posts", "old red", k=10)]
    assert found == nearest[30:40]


def test_the_callers_own_transaction_is_what_is_searched(
    posts: sqlite3.Connection, open_db: Callable[..., sqlite3.Connection]
) -> None:
    posts.execute("delete from posts where id = 78")
    assert vssnative.search(posts, "posts", text(77), k=1)[0].rowid != 78
    assert vssnative.search(open_db(), "posts", text(77), k=1)[0].rowid == 78
    assert posts.in_transaction
    with pytest.raises(SyncError, match="fresh"):
        vssnative.search(posts, "posts", "x", fresh=True)
    posts.rollback()
    assert vssnative.search(posts, "posts", text(77), k=1)[0].rowid == 78


def test_passages_of_long_texts(db: sqlite3.Connection) -> None:
    db.execute("create table books(id integer primary key, name text, body text)")
    long = ". ".join(f"Sentence {n} speaks of topic{n} and subject{n}" for n in range(60)) + "."
    db.execute(
        "insert into books(name, body) values ('long', ?), ('short', 'A few words on topic5'), ('none', null)",
        (long,),
    )
    db.commit()
    vssnative.add_embeddings(db, "books", columns=["body"], model="hash:256", chunk=(20, 4))
    vssnative.sync(db)
    [(passages,)] = db.execute("select passages from vssnative_provenance where row_id = 1").fetchall()
    assert passages > 10
    found = vssnative.search(db, "books", "topic41 subject41", k=2)
    assert [r.row["name"] for r in found] == [
        "long",
        "short",
    ]  # k rows, though the long one has all near passages
    assert found[0].passage is not None and "topic41" in found[0].passage and len(found[0].passage) < 250
    assert vssnative.search(db, "books", "topic41", k=5, where="name = 'short'")[0].row["name"] == "short"
    assert vssnative.verify(db, "books", sample=10).ok
    db.execute("update books set body = 'Now it is short.' where id = 1")
    db.commit()
    [stale] = vssnative.search(db, "books", "topic41 subject41", k=1)
    assert stale.stale and stale.passage is None
    vssnative.sync(db)
    assert db.execute("select count(*) from vss_books").fetchone() == (2,)
    assert db.execute("select count(*) from vssnative_passages").fetchone() == (2,)
    assert vssnative.verify(db, "books").ok
    vssnative.drop_embeddings(db, "books")


@pytest.mark.parametrize("store", ["column", "both"])
def test_vectors_in_the_tables_own_columns(db: sqlite3.Connection, store: str) -> None:
    db.execute("create table t(id integer primary key, name text, body text)")
    db.executemany("insert into t(name, body) values (?, ?)", [(f"n{n % 4}", text(n)) for n in range(60)])
    db.commit()
    vssnative.add_embeddings(db, "t", columns=["body"], model="hash:32", store=store)
    vssnative.sync(db)
    [found] = vssnative.search(db, "t", text(33), k=1)
    assert (found.rowid, set(found.row)) == (34, {"id", "name", "body"})
    assert len(vssnative.search(db, "t", text(33), k=100, where="name = ?", params=["n1"])) == 15
    db.execute("insert or replace into t values (34, 'n1', ?, null)", (text(33),))
    db.commit()
    vssnative.sync(db)
    assert vssnative.search(db, "t", text(33), k=1)[0].rowid == 34
    assert vssnative.verify(db, "t", sample=60).ok


def test_drivers_and_row_factories_make_no_difference(tmp_path: Path) -> None:
    import apsw
    import pysqlite3

    answers = []
    for number, driver in enumerate((sqlite3, pysqlite3, apsw)):
        conn = vssnative.connect(tmp_path / f"{number}.db", driver=driver)
        if driver is apsw:
            conn.setrowtrace(lambda _cursor, row: [row])
        else:
            conn.row_factory = driver.Row
            conn.text_factory = bytes
            conn.isolation_level = "EXCLUSIVE"
        cursor = conn.cursor()
        cursor.execute("create table t(name text primary key, body text)")
        cursor.execute("begin")
        cursor.executemany("insert into t values (?, ?)", [(f"n{n}", text(n)) for n in range(40)])
        cursor.execute("commit")
        vssnative.add_embeddings(conn, "t", columns=["body"], model="hash:32")
        assert vssnative.sync(conn).rows == 40
        cursor.execute("delete from t where name = 'n5'")
        if driver is not apsw:
            conn.commit()
        assert vssnative.sync(conn).removed == 1
        found = vssnative.search(conn, "t", text(5), k=5)
        # Texts of the user's rows come as the user's own text_factory makes them.
        assert {type(r.row["name"]) for r in found} == {str if driver is apsw else bytes}
        answers.append([(r.rowid, os.fsdecode(r.row["name"])) for r in found])
        assert vssnative.verify(conn, "t", sample=10).ok
        conn.close()
    assert answers[0] == answers[1] == answers[2]


def test_a_value_for_each_mark(posts: sqlite3.Connection) -> None:
    with pytest.raises(vssnative.QueryError, match=r"each of the 1 \? of where, got 2"):
        vssnative.search(posts, "posts", "item7", where="company = ?", params=["c1", "c2"])


def test_a_condition_is_evaluated_once_for_all_columns_and_queries(posts: sqlite3.Connection) -> None:
    asked: list[str] = []
    posts.create_function("noted", 1, lambda company: asked.append(company) or company == "c7")
    found = vssnative.search_many(posts, "posts", ["old red", "new"], k=7, where="noted(company)", recall=1.0)
    assert len(asked) == 500
    for results, query in zip(found, ["old red", "new"], strict=True):
        expected = brute_force(posts, query, 7, "company = 'c7'")
        assert [result.key for result in results] == [key for key, _ in expected]


def test_statements_of_a_search(posts: sqlite3.Connection) -> None:
    """A statement costs more than what it does here: a search of two columns had 25, with a condition 29."""

    def statements(query: object, **options: object) -> int:
        seen: list[str] = []
        posts.set_trace_callback(seen.append)
        vssnative.search(posts, "posts", query, **options)  # type: ignore[arg-type]
        posts.set_trace_callback(None)
        return sum(not sql.startswith("--") for sql in seen)

    vector = HashEmbedder(32).embed_queries(["red"])[0]
    vssnative.search(posts, "posts", vector)
    assert statements(vector) <= 12
    assert statements("red") <= 15
    assert statements(vector, where="company = ?", params=["c7"]) <= 13


def test_a_table_that_was_made_again_is_told(posts: sqlite3.Connection) -> None:
    """As pandas' to_sql(if_exists="replace") does: its triggers went with it, and nobody noted that its rows are others."""
    posts.execute("drop table posts")
    posts.execute("create table posts(id integer primary key, company text, title text, body text)")
    posts.execute("insert into posts(title) values ('blue')")
    posts.commit()
    with pytest.warns(VssWarning, match=r"lost its triggers.*sync\(conn\) puts the triggers back"):
        vssnative.search(posts, "posts", "red")
    with pytest.warns(VssWarning, match="lost its triggers"):
        vssnative.search(posts, "posts", similar_to=1)
    assert "triggers are missing" in (vssnative.status(posts)[0].problem or "")
    vssnative.sync(posts)
    assert [result.key for result in vssnative.search(posts, "posts", "red")] == [1]
