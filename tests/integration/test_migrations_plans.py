"""Plans: what a backfill will be, by the texts as they will be cut; and nothing is sent to anybody for it."""

from __future__ import annotations

import json
import sqlite3

import httpx
import pytest

import vssnative
from vssnative.embedding import HostedEmbedder
from vssnative.errors import ConfigurationError, MigrationError


def test_a_plan_counts_passages_and_their_tokens(db: sqlite3.Connection) -> None:
    db.execute("create table books(id integer primary key, body text)")
    db.executemany("insert into books(body) values (?)", [(" ".join(f"word{n}." for n in range(4000)),)] * 2)
    db.commit()
    planned = vssnative.plan_embeddings(
        db, "books", ["body"], model="hash:16", chunk=200, price=10.0
    ).estimate
    vssnative.add_embeddings(db, "books", ["body"], model="hash:16", chunk=200)
    done = vssnative.sync(db)
    [(passages,)] = db.execute("select count(*) from vssnative_passages").fetchall()
    assert planned.texts == passages > 40
    assert planned.tokens > 8000 and planned.cost == pytest.approx(planned.tokens * 10 / 1e6)
    assert done.texts + done.reused == passages


def test_a_plan_sends_nothing_to_a_server(db: sqlite3.Connection) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError(json.loads(request.content)["input"])

    embedder = HostedEmbedder("toy", base_url="http://x.test", dim=8, transport=httpx.MockTransport(answer))
    db.execute("create table t(id integer primary key, body text)")
    db.execute("insert into t(body) values ('secret'), ('other')")
    db.commit()
    estimate = vssnative.plan_embeddings(db, "t", ["body"], model=embedder, price=1.0).estimate
    assert (estimate.rows, estimate.texts, estimate.seconds) == (2, 2, None) and estimate.tokens > 0


@pytest.mark.parametrize("chunk", [(100, 60), 0, -5, (10, -1), "20", (1, 2, 3), 2.5, True, (True, 0)])
def test_a_rule_that_sync_could_not_work_by_is_refused_at_once(db: sqlite3.Connection, chunk: object) -> None:
    db.execute("create table t(id integer primary key, body text)")
    with pytest.raises(ConfigurationError, match="chunk: expected"):
        vssnative.add_embeddings(db, "t", ["body"], model="hash:16", chunk=chunk)  # type: ignore[call-overload]
    assert db.execute("select count(*) from sqlite_master").fetchone() == (1,)


def test_a_server_that_moved_keeps_the_vectors(db: sqlite3.Connection) -> None:
    def right(request: httpx.Request) -> httpx.Response:
        texts = json.loads(request.content)["input"]
        return httpx.Response(
            200, json={"data": [{"index": n, "embedding": [1.0, 2.0]} for n in range(len(texts))]}
        )

    def at(host: str) -> HostedEmbedder:
        return HostedEmbedder(
            "toy", base_url=f"http://{host}.test", dim=2, transport=httpx.MockTransport(right)
        )

    db.execute("create table t(id integer primary key, body text)")
    db.execute("insert into t(body) values ('a'), ('b')")
    db.commit()
    vssnative.add_embeddings(db, "t", ["body"], model=at("old"))
    vssnative.sync(db, embedder=at("old"))
    moved = vssnative.migrations.change_server(db, "t", "http://new.test")
    assert moved.active.model["base_url"] == "http://new.test"
    assert vssnative.sync(db, embedder=at("new")).texts == 0
    assert len(vssnative.search(db, "t", "a", embedder=at("new"))) == 2
    db.execute("create table u(id integer primary key, body text)")
    vssnative.add_embeddings(db, "u", ["body"], model="hash:8")
    with pytest.raises(MigrationError, match="no model of a server"):
        vssnative.migrations.change_server(db, "u", "http://new.test")


@pytest.mark.parametrize("statement", ["insert or ignore", "insert"])
def test_an_insert_that_changes_nothing_marks_nothing(db: sqlite3.Connection, statement: str) -> None:
    db.execute("create table t(id integer primary key, slug text unique, body text)")
    db.execute("insert into t values (1, 'a', 'red'), (2, 'b', 'blue')")
    db.commit()
    vssnative.add_embeddings(db, "t", ["body"], model="hash:16")
    vssnative.sync(db)
    upsert = " on conflict(slug) do nothing" if statement == "insert" else ""
    db.execute(f"{statement} into t(slug, body) values ('a', 'green'){upsert}")
    db.commit()
    assert [r.stale for r in vssnative.search(db, "t", "red")] == [False, False]
    assert len(vssnative.search(db, "t", "red", stale=False)) == 2
    assert vssnative.sync(db).texts == 0
    # One that does replace the row is noticed all the same.
    db.execute("insert or replace into t(id, slug, body) values (3, 'a', 'green')")
    db.commit()
    assert {r.key for r in vssnative.search(db, "t", "red")} == {2}
    vssnative.sync(db)
    assert db.execute("select rowid from vss_t order by 1").fetchall() == [(2,), (3,)]


def test_deleted_rows_are_taken_away_in_few_commits(db: sqlite3.Connection) -> None:
    """Each commit of the index has a price of its own: with many small ones, 240,000 rows once took 298 s."""
    rows = 12_000
    db.execute("create table t(id integer primary key, body text)")
    db.executemany("insert into t(body) values (?)", [(f"text {n}",) for n in range(rows)])
    db.commit()
    vssnative.add_embeddings(db, "t", ["body"], model="hash:8")
    vssnative.sync(db)
    db.execute("delete from t")
    db.commit()
    commits: list[int] = []
    result = vssnative.sync(
        db, on_event=lambda event: commits.append(event.details["removed"]) if event.kind == "batch" else None
    )
    assert result.removed == sum(commits) == rows and len(commits) <= 6
    assert db.execute("select count(*) from vss_t").fetchone() == (0,)
