"""What plain SQL sees of a change of model: under the name that it knows are always the vectors in use."""

from __future__ import annotations

import importlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vssnative
from vssnative.embedding import HashEmbedder
from vssnative.migrations import cancel_change, drop_retired, load_embedding, rollback_model

OTHER = "tests.integration.test_switch_names:other"
SQL = "select rowid from vss_posts where title_embedding match vss_embed('fast cars') and k = 1"


def other(texts: list[str], kind: str = "document") -> np.ndarray:
    """Another model whose vectors are as long: comparing them with those of ``hash:32`` means nothing."""
    return np.ascontiguousarray(-HashEmbedder(32).embed_queries(texts)[:, ::-1])


@pytest.fixture
def posts(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("create table posts(id integer primary key, title text)")
    db.executemany("insert into posts(title) values (?)", [("red fruit",), ("steel parts",), ("fast cars",)])
    db.commit()
    vssnative.load(db, embed=True)
    vssnative.add_embeddings(db, "posts", ["title"], model="hash:32")
    vssnative.sync(db)
    return db


def tables(conn: sqlite3.Connection) -> dict[str, str]:
    return {g.state: str(g.vss_table) for g in load_embedding(conn, "posts").generations}


def test_the_same_sql_is_right_before_during_and_after_a_change(posts: sqlite3.Connection) -> None:
    assert list(posts.execute(SQL)) == [(3,)]
    vssnative.change_model(posts, "posts", OTHER)
    assert list(posts.execute(SQL)) == [(3,)]
    vssnative.sync(posts)
    assert tables(posts) == {"retired": "vss_posts_g1", "active": "vss_posts"}
    [(distance,)] = posts.execute(SQL.replace("select rowid", "select distance"))
    assert list(posts.execute(SQL)) == [(3,)] and abs(distance) < 1e-5
    assert vssnative.search(posts, "posts", "fast cars", k=1)[0].key == 3
    assert vssnative.verify(posts, "posts").ok
    rollback_model(posts, "posts")
    vssnative.sync(posts)
    assert tables(posts) == {"active": "vss_posts", "retired": "vss_posts_g2"}
    [(distance,)] = posts.execute(SQL.replace("select rowid", "select distance"))
    assert list(posts.execute(SQL)) == [(3,)] and abs(distance) < 1e-5
    drop_retired(posts, "posts")
    assert vssnative.verify(posts, "posts").ok and tables(posts) == {"active": "vss_posts"}


def test_views_and_triggers_go_on_naming_the_vectors_in_use(posts: sqlite3.Connection) -> None:
    view = "create view likely as select rowid as id from vss_posts where title_embedding match vss_embed('x') and k = 3"
    posts.execute(view)
    posts.execute("create view broken as select * from not_there")
    vssnative.change_model(posts, "posts", OTHER)
    vssnative.sync(posts)
    assert posts.execute("select sql from sqlite_master where name = 'likely'").fetchone()[0] == view.replace(
        "create view", "CREATE VIEW", 1
    )
    assert len(list(posts.execute("select id from likely"))) == 3
    assert posts.execute("pragma legacy_alter_table").fetchone() == (0,)


def test_vss_embed_takes_the_table_whose_vectors_are_searched(posts: sqlite3.Connection) -> None:
    vssnative.change_model(posts, "posts", OTHER)
    vssnative.sync(posts, limit=2)
    vssnative.pause(posts, "posts")
    vssnative.resume(posts, "posts")
    building = tables(posts)["building"]
    sql = "select distance from {0} where title_embedding match vss_embed('red fruit', '{0}') and k = 1"
    assert abs(posts.execute(sql.format(building)).fetchone()[0]) < 1e-5
    vssnative.sync(posts)
    for table in tables(posts).values():
        assert abs(posts.execute(sql.format(table)).fetchone()[0]) < 1e-5
    posts.execute("create table notes(id integer primary key, body text)")
    vssnative.add_embeddings(posts, "notes", ["body"], model="hash:32")
    with pytest.raises(sqlite3.OperationalError):
        posts.execute("select vss_embed('x')")  # two models: which?
    assert abs(posts.execute(sql.format("VSS_posts")).fetchone()[0]) < 1e-5


@pytest.fixture
def readers(tmp_path: Path) -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    path = tmp_path / "posts.db"
    writer, reader = vssnative.connect(path), vssnative.connect(path)
    yield writer, reader
    writer.close()
    reader.close()


def test_a_reader_that_has_begun_sees_the_old_vectors_under_the_old_name(
    readers: tuple[sqlite3.Connection, sqlite3.Connection],
) -> None:
    writer, reader = readers
    writer.execute("create table posts(id integer primary key, title text)")
    writer.executemany("insert into posts(title) values (?)", [(f"title {n}",) for n in range(40)])
    writer.commit()
    vssnative.add_embeddings(writer, "posts", ["title"], model="hash:32")
    vssnative.sync(writer)
    vssnative.load(reader, embed=True)
    sql = "select rowid, distance from vss_posts where title_embedding match vss_embed('title 7') order by distance"
    reader.execute("begin")
    begun = reader.execute(sql)
    assert begun.fetchone()[0] == 8
    vssnative.change_model(writer, "posts", OTHER)
    vssnative.sync(writer)
    assert len(begun.fetchall()) == 39
    row, distance = reader.execute(sql).fetchone()
    assert row == 8 and abs(distance) < 1e-5  # the old snapshot: old vectors, old model
    reader.commit()
    row, distance = reader.execute(sql).fetchone()
    assert row == 8 and abs(distance) < 1e-5


def test_a_cursor_of_the_same_connection_that_is_half_read_does_not_hold_the_switch_up(
    posts: sqlite3.Connection,
) -> None:
    vssnative.change_model(posts, "posts", OTHER)
    begun = posts.execute("select rowid, title_embedding from vss_posts order by rowid")
    assert begun.fetchone()[0] == 1
    vssnative.sync(posts)
    assert tables(posts)["active"] == "vss_posts"
    assert list(posts.execute(SQL)) == [(3,)]


def test_names_that_are_taken_and_tables_that_are_gone(posts: sqlite3.Connection) -> None:
    posts.execute("create table vss_posts_g1(x)")
    posts.execute("create table vss_posts_g2(x)")
    vssnative.change_model(posts, "posts", OTHER)
    assert tables(posts)["building"] == "vss_posts_g2_2"
    posts.execute("drop table vss_posts")
    posts.commit()
    vssnative.sync(posts)
    vssnative.sync(posts)
    assert tables(posts) == {"retired": "vss_posts_g1_2", "active": "vss_posts"}
    assert list(posts.execute(SQL)) == [(3,)]
    vssnative.change_model(posts, "posts", "hash:48")
    cancel_change(posts, "posts")
    assert vssnative.verify(posts, "posts").ok


def test_files_where_the_old_vectors_kept_the_first_name(posts: sqlite3.Connection) -> None:
    """As earlier versions left them."""
    vssnative.change_model(posts, "posts", OTHER)
    vssnative.sync(posts)
    posts.execute("alter table vss_posts rename to vss_posts_g2")
    posts.execute("alter table vss_posts_g1 rename to vss_posts")
    posts.execute(
        "update vssnative_generations set vss_table = 'vss_posts' || substr('_g2', 1, 3 * (id = 2))"
    )
    posts.commit()
    assert vssnative.search(posts, "posts", "fast cars", k=1)[0].key == 3
    with pytest.raises(sqlite3.OperationalError):
        posts.execute(SQL)
    rollback_model(posts, "posts")
    assert tables(posts) == {"active": "vss_posts", "retired": "vss_posts_g2"}
    rollback_model(posts, "posts")
    assert tables(posts) == {"retired": "vss_posts_g1", "active": "vss_posts"}
    posts.execute("alter table vss_posts rename to vss_posts_g2")
    posts.execute("alter table vss_posts_g1 rename to vss_posts")
    posts.execute(
        "update vssnative_generations set vss_table = 'vss_posts' || substr('_g2', 1, 3 * (id = 2))"
    )
    posts.commit()
    drop_retired(posts, "posts")
    assert tables(posts) == {"active": "vss_posts"} and list(posts.execute(SQL)) == [(3,)]


def test_a_repair_that_met_the_switch_drops_no_vector(
    readers: tuple[sqlite3.Connection, sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row numbers of the vectors that are not in use any more must not be looked for under the first name."""
    writer, repairer = readers
    writer.execute("create table posts(id integer primary key, title text)")
    writer.executemany("insert into posts(title) values (?)", [(f"title {n} words",) for n in range(6)])
    writer.commit()
    vssnative.add_embeddings(writer, "posts", ["title"], model="hash:32")
    vssnative.sync(writer)
    vssnative.change_model(writer, "posts", "hash:32", chunk=(2, 0))
    from vssnative._sync import comparison

    mend = comparison.mend

    def meanwhile(*args: object) -> object:
        embedding = mend(*args)  # type: ignore[arg-type]
        vssnative.sync(writer)
        return embedding

    monkeypatch.setattr(comparison, "mend", meanwhile)
    vssnative.repair(repairer, "posts")
    assert load_embedding(writer, "posts").active.chunk is not None
    report = vssnative.verify(writer, "posts")
    assert report.ok and not report.missing, report
    assert vssnative.status(writer)[0].pending == 0


FORMS = {
    "match": "title_embedding match {0} and k = 2",
    "match without k": "title_embedding match {0} limit 2",
    "vss_search": "vss_search(title_embedding, vss_search_params({0}, 2))",
    "bare vss_search": "vss_search(title_embedding, {0}) limit 2",
    "vss_range_search": "vss_range_search(title_embedding, vss_range_search_params({0}, 9.0))",
    "subquery": "title_embedding match (select {0}) and k = 2",
    "named before": "title_embedding match (with q(v) as (select {0}) select v from q) and k = 2",
}


@pytest.mark.parametrize("driver", ["sqlite3", "apsw", "pysqlite3"])
@pytest.mark.parametrize("form", FORMS)
def test_a_vector_of_another_model_is_refused_whatever_table_is_named(driver: str, form: str) -> None:
    conn = vssnative.connect(":memory:", driver=importlib.import_module(driver))
    cursor = conn.cursor()
    cursor.execute("create table posts(id integer primary key, title text)")
    cursor.execute("insert into posts(title) values ('red fruit'), ('steel parts'), ('fast cars')")
    if driver != "apsw":
        conn.commit()
    vssnative.load(conn, embed=True)
    vssnative.load(conn, embed=True)  # again is harmless
    vssnative.add_embeddings(conn, "posts", ["title"], model="hash:32")
    vssnative.sync(conn)

    def rows(table: str, vector: str) -> list[int]:
        cursor.execute(f"select rowid from {table} where {FORMS[form].format(vector)}")
        return [row[0] for row in cursor.fetchall()]

    refused = "its vectors were made by model .* cannot be compared; write vss_embed"
    assert 3 in rows("vss_posts", "vss_embed('fast cars')")
    with pytest.raises(Exception, match=refused):
        rows("vss_posts", f"vss_embed('fast cars', '{OTHER}')")
    vssnative.change_model(conn, "posts", OTHER)
    for table in ("vss_posts", "vss_posts_g2"):
        assert isinstance(rows(table, f"vss_embed('fast cars', '{table}')"), list)
    with pytest.raises(Exception, match=refused):
        rows("vss_posts_g2", "vss_embed('fast cars')")
    vssnative.sync(conn)
    assert 3 in rows("vss_posts", "vss_embed('fast cars')")
    assert 3 in rows("vss_posts_g1", "vss_embed('fast cars', 'vss_posts_g1')")
    with pytest.raises(Exception, match=refused):
        rows("vss_posts_g1", "vss_embed('fast cars')")
    # A value that the program kept over the switch.
    cursor.execute("select vss_embed('fast cars', 'vss_posts_g1')")
    kept = cursor.fetchall()[0][0]
    if "select {0}" not in FORMS[form]:
        with pytest.raises(Exception, match=refused):
            cursor.execute(f"select rowid from vss_posts where {FORMS[form].format('?')}", (kept,))
            cursor.fetchall()
    # A table that is not of embeddings takes whatever fits.
    cursor.execute("create virtual table mine using vss0(title_embedding(32))")
    cursor.execute("insert into mine(rowid, title_embedding) select rowid, title_embedding from vss_posts_g1")
    assert isinstance(rows("mine", "vss_embed('fast cars')"), list)
    cursor.execute("select typeof(vss_embed('x')), length(vss_embed('x')), vss_embed(null)")
    assert cursor.fetchall() == [("blob", 128, None)]
    conn.close()


def test_errors_of_the_model_arrive_whole(posts: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="user-defined function raised exception"):
        posts.execute("select vss_embed(3)")
    conn = vssnative.connect(":memory:", driver=importlib.import_module("apsw"))
    vssnative.load(conn, embed=True)
    with pytest.raises(vssnative.QueryError, match="expected texts, got int"):
        list(conn.cursor().execute("select vss_embed(3)"))
    assert list(conn.cursor().execute("select 1")) == [(1,)]
    conn.close()


def test_tables_that_a_lost_vss0_table_left_behind(posts: sqlite3.Connection) -> None:
    """They would have the names of the renamed table's own tables, and no sync could switch."""
    posts.execute("create table vss_posts_g1_rows(x)")
    posts.execute("create table vss_posts_g2_config(x)")
    posts.commit()
    vssnative.change_model(posts, "posts", OTHER)
    assert tables(posts)["building"] == "vss_posts_g2_2"
    vssnative.sync(posts)
    assert tables(posts) == {"retired": "vss_posts_g1_2", "active": "vss_posts"}
    assert list(posts.execute(SQL)) == [(3,)] and vssnative.verify(posts, "posts").ok


def test_after_going_back_only_rows_changed_meanwhile_are_stale() -> None:
    conn = vssnative.connect(":memory:")
    conn.execute("create table p(id integer primary key, t text, u text)")
    conn.executemany("insert into p(t, u) values (?, ?)", [(word, "x") for word in ("apple", "pear", "plum")])
    conn.execute("insert into p(t, u) values ('fig', null)")
    conn.commit()
    vssnative.add_embeddings(conn, "p", ["t", "u"], model="hash:32")
    vssnative.sync(conn)
    vssnative.change_model(conn, "p", "hash:64")
    vssnative.sync(conn)
    conn.execute("update p set t = 'quince' where id = 2")
    conn.commit()
    vssnative.sync(conn)
    conn.execute("insert into p(t, u) values ('sloe', 'y')")
    conn.commit()
    vssnative.migrations.rollback_model(conn, "p")
    stale = {hit.key for hit in vssnative.search(conn, "p", "apple", k=9) if hit.stale}
    assert stale == {2}
    assert {hit.key for hit in vssnative.search(conn, "p", "apple", k=9, stale=False)} == {1, 3, 4}
    assert vssnative.status(conn)[0].coverage == 0.6
    vssnative.sync(conn)
    assert not any(hit.stale for hit in vssnative.search(conn, "p", "apple", k=9))
    assert vssnative.status(conn)[0].coverage == 1
    assert vssnative.verify(conn, "p").ok


def test_a_foreign_key_to_the_vectors_never_worked_and_holds_nothing_up(posts: sqlite3.Connection) -> None:
    """SQLite writes it anew when the tables are renamed; it refuses every insert under it before and after."""
    posts.isolation_level = None
    posts.execute("pragma foreign_keys = on")
    posts.execute("create table notes(v integer references vss_posts(rowid) on delete cascade)")
    for model in ("hash:16", "hash:24"):
        for value in (1, None):
            with pytest.raises(sqlite3.OperationalError, match="foreign key mismatch|no such table"):
                posts.execute("insert into notes values (?)", (value,))
        vssnative.change_model(posts, "posts", model)
        vssnative.sync(posts)
        vssnative.migrations.drop_retired(posts, "posts")
    assert vssnative.verify(posts, "posts").ok
    posts.execute("drop table notes")
    assert posts.execute("pragma foreign_key_check").fetchall() == []
