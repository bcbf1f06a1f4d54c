"""The version of the package's own tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

import vssnative
from vssnative._catalog import records, schema
from vssnative._catalog.schema import SCHEMA_VERSION, ensure_schema, installed_version


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
    monkeypatch.setattr(schema, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(records, "SCHEMA_VERSION", SCHEMA_VERSION + 1)


def test_an_older_file_is_brought_up_by_whatever_opens_it(
    old_file: sqlite3.Connection, open_db: Callable[..., sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installed_version(old_file) == SCHEMA_VERSION
    next_version(
        monkeypatch, "alter table vssnative_queue add column note text", "create table vssnative_new(x)"
    )
    assert vssnative.sync(old_file).rows == 1
    assert installed_version(old_file) == SCHEMA_VERSION + 1
    other = open_db()
    assert installed_version(other) == SCHEMA_VERSION + 1
    assert vssnative.status(other)[0].embedded == 1


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
