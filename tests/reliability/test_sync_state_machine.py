"""A state machine over writes by an app without the extension, workers, crashed workers and changes of model.

Invariant: when nothing is pending, each row has exactly the vectors of its present text, none else.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import warnings
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import vssnative
from vssnative import Settings
from vssnative._catalog.records import load_embedding
from vssnative._sync.batch import Batch
from vssnative._sync.engine import Engine
from vssnative._sync.locking import Turns
from vssnative.embedding.hashing import HashEmbedder
from vssnative.errors import MigrationError
from vssnative.migrations import cancel_change, drop_retired, rollback_model

from .sync_oracle import assert_in_step

_TEXTS = st.one_of(
    st.none(),
    st.sampled_from(
        ["", "  ", "alpha", "Alpha", "beta gamma", "alpha beta", "naïve café", "漢字", "1", "1.0"]
    ),
    st.text(alphabet="abc ", max_size=6),
)
_IDS = st.integers(min_value=-2, max_value=8)
_VERBS = st.sampled_from(["insert", "insert or replace", "insert or ignore", "replace"])
_SETTINGS = Settings(batch_texts=4, backoff=0.001, lease_seconds=0.05)
_EXAMPLES = int(os.environ.get("VSSNATIVE_STATE_MACHINE", "25"))


class ShortTurns(Turns):
    """Commits of so many rows, however fast the machine is."""

    def __init__(self, conn: sqlite3.Connection, rows: int) -> None:
        super().__init__(conn)
        self._rows = rows

    @property
    def rows(self) -> int:
        return self._rows


class SyncMachine(RuleBasedStateMachine):
    """One file: an app's connection without vss0, and workers' connections."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "app.db"
        self.app = sqlite3.connect(self.path, isolation_level=None)
        self.app.executescript(
            """
            pragma journal_mode = wal;
            pragma synchronous = off;
            create table posts(id integer primary key, slug text unique, title text collate nocase, body text);
            create table log(post integer, what text);
            create trigger posts_log after update on posts begin insert into log values (new.id, new.title); end;
            """
        )
        self.conn = vssnative.connect(self.path, synchronous="OFF")
        self.abandoned: list[tuple[sqlite3.Connection, Engine, list[Batch]]] = []
        self.dim = 16

    @initialize(replace_fires=st.booleans())
    def start(self, replace_fires: bool) -> None:
        self.app.execute(f"pragma recursive_triggers = {int(replace_fires)}")
        self.app.execute("insert into posts values (1, 'one', 'alpha', 'beta'), (2, 'two', null, 'gamma')")
        vssnative.add_embeddings(self.conn, "posts", columns=["title", "body"], model="hash:16")

    def write(self, sql: str, params: tuple[Any, ...]) -> None:
        try:
            self.app.execute(sql, params)
        except sqlite3.IntegrityError:
            pass

    @rule(
        verb=_VERBS, row=_IDS, slug=st.sampled_from(["one", "two", "three", None]), title=_TEXTS, body=_TEXTS
    )
    def insert(self, verb: str, row: int, slug: str | None, title: str | None, body: str | None) -> None:
        self.write(f"{verb} into posts(id, slug, title, body) values (?, ?, ?, ?)", (row, slug, title, body))

    @rule(title=_TEXTS)
    def insert_anywhere(self, title: str | None) -> None:
        self.write("insert into posts(title) values (?)", (title,))

    @rule(row=_IDS, title=_TEXTS)
    def upsert(self, row: int, title: str | None) -> None:
        self.write(
            "insert into posts(id, title) values (?, ?) on conflict(id) do update set title = excluded.title",
            (row, title),
        )

    @rule(verb=st.sampled_from(["update", "update or replace", "update or ignore"]), row=_IDS, title=_TEXTS)
    def update(self, verb: str, row: int, title: str | None) -> None:
        self.write(f"{verb} posts set title = ? where id = ?", (title, row))

    @rule(
        verb=st.sampled_from(["update", "update or replace"]), row=_IDS, slug=st.sampled_from(["one", "two"])
    )
    def update_slug(self, verb: str, row: int, slug: str) -> None:
        self.write(f"{verb} posts set slug = ? where id = ?", (slug, row))

    @rule(
        verb=st.sampled_from(["update", "update or replace"]),
        row=_IDS,
        new=_IDS,
        name=st.sampled_from(["id", "rowid"]),
    )
    def move(self, verb: str, row: int, new: int, name: str) -> None:
        self.write(f"{verb} posts set {name} = ? where id = ?", (new, row))

    @rule(row=_IDS)
    def delete(self, row: int) -> None:
        self.write("delete from posts where id = ?", (row,))

    @rule()
    def delete_all(self) -> None:
        self.app.execute("delete from posts")

    @rule(row=_IDS, title=_TEXTS, keep=st.booleans(), inner=st.booleans())
    def transaction(self, row: int, title: str | None, keep: bool, inner: bool) -> None:
        self.app.execute("begin")
        self.write("insert or replace into posts(id, title) values (?, ?)", (row, title))
        self.app.execute("savepoint s")
        self.write("update posts set body = ? where id >= ?", (title, row))
        self.app.execute("release s" if inner else "rollback to s")
        self.write("delete from posts where id = ?", (row + 1,))
        self.app.execute("commit" if keep else "rollback")

    @rule()
    def rebuild_table(self) -> None:
        """As Alembic's batch mode and Django do: the triggers are lost, and an edit goes unseen."""
        self.app.executescript(
            """
            begin;
            create table posts_new(id integer primary key, slug text unique, title text collate nocase, body text);
            insert into posts_new select id, slug, title, body from posts;
            drop table posts;
            alter table posts_new rename to posts;
            update posts set title = coalesce(title, '') || ' again' where id = 1;
            delete from posts where id = 2;
            insert or ignore into posts(id, title) values (3, 'unseen');
            commit;
            """
        )

    @rule(limit=st.integers(min_value=1, max_value=3))
    def work_a_little(self, limit: int) -> None:
        vssnative.sync(self.conn, "posts", limit=limit, settings=_SETTINGS)

    @rule()
    def worker_dies(self) -> None:
        """A worker that has leased and planned a batch, and is never heard of again, or much later."""
        if len(self.abandoned) < 3:
            conn = vssnative.connect(self.path)
            engine = Engine(conn, "posts", settings=_SETTINGS)
            batch = engine._next_batch()
            if batch is None:
                engine.close()
                conn.close()
                return
            self.abandoned.append((conn, engine, [batch, *engine._waiting]))

    @precondition(lambda self: self.abandoned)
    @rule(rows=st.integers(min_value=1, max_value=4))
    def dead_worker_returns(self, rows: int) -> None:
        """It was only slow: its commits, of so many rows each, must not store what is out of date."""
        conn, engine, batches = self.abandoned.pop()
        engine._turns = ShortTurns(conn, rows)
        try:
            for batch in batches:
                engine._commit(batch, engine._submit(batch).future.result())
        except MigrationError:
            pass
        finally:
            engine.close()
            conn.close()

    @rule(dim=st.sampled_from([8, 16, 24]))
    def change_model(self, dim: int) -> None:
        try:
            vssnative.change_model(self.conn, "posts", f"hash:{dim}")
        except MigrationError:
            pass

    @rule(how=st.sampled_from([cancel_change, rollback_model, drop_retired]))
    def back_and_forth(self, how: Any) -> None:
        try:
            how(self.conn, "posts")
        except MigrationError:
            pass

    @rule()
    def quiesce(self) -> None:
        vssnative.sync(self.conn, settings=_SETTINGS)
        active = load_embedding(self.conn, "posts").active
        assert_in_step(self.conn, "posts", HashEmbedder(active.dim))
        report = vssnative.verify(self.conn, "posts", sample=5, seed=0)
        assert report.ok, report

    @rule(title=st.sampled_from(["alpha", "beta gamma"]))
    def search(self, title: str) -> None:
        with warnings.catch_warnings():
            # Rows that wait for their first vectors are told where nothing was found.
            warnings.simplefilter("ignore", vssnative.VssWarning)
            results = vssnative.search(self.conn, "posts", title, k=3)
        for result in results:
            assert self.app.execute("select 1 from posts where id = ?", (result.rowid,)).fetchone() == (1,)

    @invariant()
    def nobody_holds_a_transaction(self) -> None:
        assert not self.conn.in_transaction

    def teardown(self) -> None:
        try:
            for conn, engine, _ in self.abandoned:
                engine.close()
                conn.close()
            self.quiesce()
        finally:
            self.app.close()
            self.conn.close()
            shutil.rmtree(self.folder)


SyncMachine.TestCase.settings = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_a_slow_worker_stores_nothing_of_a_row_that_went_without_a_trigger() -> None:
    machine = SyncMachine()
    machine.start(replace_fires=False)
    try:
        machine.insert(body=None, row=0, slug="one", title=None, verb="insert")
        machine.rebuild_table()
        machine.worker_dies()
        machine.delete_all()
        machine.work_a_little(limit=1)
        machine.dead_worker_returns(rows=1)
        machine.quiesce()
    finally:
        machine.teardown()


TestSync = SyncMachine.TestCase
