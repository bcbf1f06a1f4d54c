"""The version of the package's own tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

import vssnative
from vssnative._catalog import records, schema
from vssnative._catalog.schema import SCHEMA_VERSION, ensure_schema, installed_version
from vssnative._sync import health


@pytest.fixture
def old_file(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("create table posts(id integer primary key, title text)")
    db.execute("insert into posts(title) values ('one')")
    db.commit()
    vssnative.add_embeddings(db, "posts", columns=["title"], model="hash:16")
    return db


def next_version(monkeypatch: pytest.MonkeyPatch, *statements: str) -> None:
    """As if this were the release after, with one step more."""
    monkeypatch.setitem(schema._STEPS, SCHEMA_VERSION + 1, statements)
    for module in (schema, health):
        monkeypatch.setattr(module, "SCHEMA_VERSION", SCHEMA_VERSION + 1)


def test_an_older_file_is_brought_up_by_whatever_opens_it(
    old_file: sqlite3.Connection, open_db: Callable[..., sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installed_version(old_file) == SCHEMA_VERSION
    next_version(
        monkeypatch, "alter table vssnative_queue add column note text", "create table vssnative_new(x)"
    )
    monkeypatch.setattr(records, "SUFFICIENT_VERSION", SCHEMA_VERSION + 1)
    assert vssnative.status(old_file)[0].pending == 1
    assert installed_version(old_file) == SCHEMA_VERSION + 1
    assert vssnative.sync(old_file).rows == 1
    other = open_db()
    assert installed_version(other) == SCHEMA_VERSION + 1
    assert vssnative.status(other)[0].embedded == 1


# As version 1 had it.
VIEW_1 = """create view vssnative_status as
       select e.name, e.source, g.model_name as model, e.paused,
              (select count(*) from (select distinct row_id from vssnative_provenance p where p.generation = g.id))
                as embedded,
              (select count(*) from vssnative_queue q where q.embedding = e.id) as pending,
              (select count(*) from vssnative_queue q where q.embedding = e.id and q.lease is not null
                 and q.ready_at > (julianday('now') - 2440587.5) * 86400) as leased,
              (select count(*) from (select distinct row_id from vssnative_dead_letters d where d.embedding = e.id))
                as dead,
              (select (julianday('now') - 2440587.5) * 86400 - min(q.queued_at)
                 from vssnative_queue q where q.embedding = e.id) as oldest_pending_seconds
         from vssnative_embeddings e join vssnative_generations g on g.embedding = e.id and g.state = 'active'"""


def test_a_file_of_version_1_is_read_as_it_is_and_brought_up_by_sync(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    conn = vssnative.connect(file, wal=False, timeout=0.05)
    conn.execute("create table posts(id integer primary key, title text, body text)")
    conn.execute("insert into posts(title, body) values ('one', 'fruit'), ('two', 'cars')")
    conn.commit()
    vssnative.add_embeddings(conn, "posts", columns=["title", "body"], model="hash:16")
    vssnative.sync(conn)
    # A row one of whose two texts was given up.
    conn.execute("delete from vssnative_provenance where row_id = 2 and field = 'body'")
    conn.execute(
        "insert into vssnative_dead_letters(embedding, row_id, generation, field, reason, attempts, died_at)"
        " values (1, 2, 1, 'body', 'too long', 1, 0)"
    )
    now = conn.execute("select sql from sqlite_master where name = 'vssnative_status'").fetchone()
    conn.execute("drop view vssnative_status")
    conn.execute(VIEW_1)
    conn.execute("update vssnative_meta set value = 1 where key = 'schema_version'")
    conn.commit()
    view = "select embedded, dead from vssnative_status"
    assert conn.execute(view).fetchone() == (2, 1)
    written = file.read_bytes()

    only_reading = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
    for reader in (only_reading, conn):  # the other may write, and does not
        assert vssnative.search(reader, "posts", "fruit", k=1)[0].key == 1
        assert vssnative.status(reader)[0].embedded == 1
        assert len(vssnative.dead_letters(reader, "posts")) == 1
        assert vssnative.verify(reader, "posts").checked == 2
    only_reading.close()
    assert file.read_bytes() == written and not conn.in_transaction

    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("begin immediate")  # reading waits for nobody
    assert vssnative.search(conn, "posts", "fruit", k=1)[0].key == 1
    holder.close()

    vssnative.sync(conn)
    assert installed_version(conn) == SCHEMA_VERSION
    assert conn.execute(view).fetchone() == (1, 1)
    assert conn.execute("select sql from sqlite_master where name = 'vssnative_status'").fetchone() == now
    vssnative.sync(conn)
    conn.close()


def test_a_failing_step_leaves_the_file_at_its_version(
    old_file: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_version(monkeypatch, "create table vssnative_new(x)", "create table vssnative_new(x)")
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        ensure_schema(old_file)
    assert not old_file.in_transaction
    assert installed_version(old_file) == SCHEMA_VERSION
    assert old_file.execute("select * from sqlite_master where name = 'vssnative_new'").fetchall() == []


def test_a_version_that_is_none_is_told(old_file: sqlite3.Connection) -> None:
    old_file.execute("update vssnative_meta set value = 'x' where key = 'schema_version'")
    old_file.commit()
    with pytest.raises(vssnative.SchemaVersionError, match="holds no schema version but 'x'"):
        vssnative.status(old_file)


def test_a_newer_layout_that_says_so_is_read_and_never_written(old_file: sqlite3.Connection) -> None:
    vssnative.sync(old_file)
    assert old_file.execute("select value from vssnative_meta where key = 'readable_by'").fetchone() == (
        schema.READABLE_BY,
    )
    set_meta = "insert or replace into vssnative_meta(key, value) values (?, ?)"
    old_file.execute(set_meta, ("schema_version", SCHEMA_VERSION + 1))
    old_file.commit()
    written = list(old_file.iterdump())
    assert [result.key for result in vssnative.search(old_file, "posts", "one")] == [1]
    assert vssnative.status(old_file)[0].embedded == 1
    for write in (
        lambda: vssnative.sync(old_file),
        lambda: vssnative.search(old_file, "posts", "one", fresh=True),
        lambda: vssnative.pause(old_file, "posts"),
        lambda: vssnative.drop_embeddings(old_file, "posts"),
        lambda: vssnative.add_embeddings(old_file, "posts", columns=["title"], name="other", model="hash:16"),
        lambda: vssnative.change_model(old_file, "posts", model="hash:32"),
    ):
        with pytest.raises(vssnative.SchemaVersionError, match="nothing was changed"):
            write()
    assert list(old_file.iterdump()) == written

    for unreadable in (SCHEMA_VERSION + 1, 0, "x", None):
        old_file.execute(set_meta, ("readable_by", unreadable))
        old_file.commit()
        for read in (lambda: vssnative.search(old_file, "posts", "one"), lambda: vssnative.status(old_file)):
            with pytest.raises(vssnative.SchemaVersionError, match=f"layout {SCHEMA_VERSION + 1}"):
                read()
