"""The user's own ordered steps."""

from __future__ import annotations

import sqlite3

import pytest

import vssnative
from vssnative.errors import ConfigurationError, MigrationError
from vssnative.migrations import Step, applied, downgrade, upgrade

STEPS = [
    Step(
        "001 posts",
        """create table posts(id integer primary key, title text default ';'); -- a comment; with a semicolon
        create trigger posts_t after insert on posts begin select 1; select 2; end;
        insert into posts(title) values ('a;b');""",
        "drop table posts",
    ),
    Step(
        "002 embeddings",
        lambda conn: vssnative.add_embeddings(conn, "posts", columns=["title"], model="hash:16"),
        lambda conn: vssnative.drop_embeddings(conn, "posts"),
    ),
    Step("003 index", "create index posts_title on posts(title)", None),
]


def names(conn: sqlite3.Connection) -> set[str]:
    return {row[0] for row in conn.execute("select name from sqlite_master where name not like 'vssnative%'")}


def test_up_and_down(db: sqlite3.Connection) -> None:
    assert upgrade(db, STEPS, to="002 embeddings") == ["001 posts", "002 embeddings"]
    assert [step.name for step in applied(db)] == ["001 posts", "002 embeddings"]
    assert upgrade(db, STEPS) == ["003 index"]
    assert upgrade(db, STEPS) == []
    assert "posts_title" in names(db)
    with pytest.raises(MigrationError, match="'003 index' has no down"):
        downgrade(db, STEPS, to=None)
    assert len(applied(db)) == 3
    assert not db.in_transaction


def test_down(db: sqlite3.Connection) -> None:
    upgrade(db, STEPS[:2])
    assert downgrade(db, STEPS[:2], to="001 posts") == ["002 embeddings"]
    assert "vss_posts" not in names(db)
    assert downgrade(db, STEPS[:2], to=None) == ["001 posts"]
    assert "posts" not in names(db)
    assert applied(db) == []


def test_a_dry_run_takes_everything_back(db: sqlite3.Connection) -> None:
    assert upgrade(db, STEPS, dry_run=True) == ["001 posts", "002 embeddings", "003 index"]
    assert names(db) == set()
    upgrade(db, STEPS[:2])
    before = names(db)
    assert downgrade(db, STEPS[:2], to=None, dry_run=True) == ["002 embeddings", "001 posts"]
    assert names(db) == before


def test_a_failing_step_is_taken_back_as_a_whole(db: sqlite3.Connection) -> None:
    broken = [*STEPS[:1], Step("002 broken", "create table x(y); insert into nowhere values (1)")]
    with pytest.raises(MigrationError, match="'002 broken' failed on the way up: no such table"):
        upgrade(db, broken)
    assert [step.name for step in applied(db)] == ["001 posts"]
    assert "x" not in names(db)


def test_history_cannot_be_rewritten(db: sqlite3.Connection) -> None:
    upgrade(db, STEPS[:2])
    with pytest.raises(MigrationError, match="'001 posts' done as number 1"):
        upgrade(db, [STEPS[1], STEPS[0]])
    with pytest.raises(ConfigurationError, match="same name"):
        upgrade(db, [STEPS[0], STEPS[0]])
    with pytest.raises(ConfigurationError, match="no step 'x'"):
        upgrade(db, STEPS, to="x")
