"""The worker: leases, fences, failures of texts and of providers, the cache, pauses, several at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vssnative
from vssnative import Event, Settings, Worker, dead_letters, pause, resume, retry_dead, set_cache_limit
from vssnative._sync.embed import RateLimit
from vssnative._sync.engine import Engine
from vssnative.embedding.hashing import HashEmbedder
from vssnative.embedding.protocol import Float32Matrix
from vssnative.errors import ConfigurationError, MigrationError, ProviderError, QueryError, SyncError

from ..reliability.sync_oracle import assert_in_step

QUICK = Settings(backoff=0.001, batch_texts=32)


class Scripted(HashEmbedder):
    """A hash embedder that does what a test tells it to before each call."""

    def __init__(self, dim: int = 16, before: Callable[[Sequence[str]], None] | None = None) -> None:
        super().__init__(dim)
        self.before = before
        self.calls: list[list[str]] = []

    def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
        self.calls.append(list(texts))
        if self.before is not None:
            self.before(texts)
        return super().embed_documents(texts)

    @property
    def texts(self) -> list[str]:
        return [text for call in self.calls for text in call]


def make_posts(conn: sqlite3.Connection, rows: int, table: str = "posts") -> None:
    conn.execute(f"create table {table}(id integer primary key, body text)")
    conn.executemany(f"insert into {table}(body) values (?)", [(f"text {n}",) for n in range(rows)])
    conn.commit()
    vssnative.add_embeddings(conn, table, columns=["body"], model="hash:16")


def test_a_file_without_embeddings_is_in_step(tmp_path: Path) -> None:
    with contextlib.closing(vssnative.connect(tmp_path / "plain.db")) as conn:
        assert vssnative.sync(conn).rows == 0
        assert conn.execute("select count(*) from sqlite_master").fetchone() == (0,)


def test_an_edit_made_while_embedding_is_never_overwritten(db: sqlite3.Connection, tmp_path: Path) -> None:
    make_posts(db, 10)
    edits = iter(["first edit", "second edit"])

    def edit(_texts: Sequence[str]) -> None:
        text = next(edits, None)
        if text is not None:
            app = sqlite3.connect(tmp_path / "test.db")
            with app:
                app.execute("update posts set body = ? where id = 3", (text,))
            app.close()

    embedder = Scripted(before=edit)
    result = vssnative.sync(db, embedder=embedder, settings=QUICK)
    assert result.remaining == 0
    assert_in_step(db, "posts", HashEmbedder(16))
    assert vssnative.search(db, "posts", "second edit", k=1)[0].rowid == 3


def test_one_poisoned_text_stands_alone_and_blocks_nobody(db: sqlite3.Connection) -> None:
    make_posts(db, 64)

    def refuse(texts: Sequence[str]) -> None:
        if "text 17" in texts:
            raise ValueError("cannot take 17")

    events: list[Event] = []
    result = vssnative.sync(db, embedder=Scripted(before=refuse), settings=QUICK, on_event=events.append)
    assert (result.rows, result.dead, result.failed) == (64, 1, 3)
    [letter] = dead_letters(db, "posts")
    assert (letter.row_id, letter.field, letter.attempts) == (18, "body", 3)
    assert letter.reason == "ValueError: cannot take 17"
    assert letter.content_hash is not None and abs(letter.died_at - time.time()) < 60
    assert [event.details["row_id"] for event in events if event.kind == "dead"] == [18]
    assert vssnative.status(db)[0].dead == 1
    assert vssnative.verify(db, "posts").ok  # given up is not missing

    assert retry_dead(db, "posts") == 1
    assert vssnative.sync(db).texts == 1
    assert dead_letters(db, "posts") == []
    assert_in_step(db, "posts", HashEmbedder(16))


def test_an_edit_gives_a_dead_row_its_attempts_back_and_a_dead_text_loses_its_old_vector(
    db: sqlite3.Connection,
) -> None:
    make_posts(db, 3)
    vssnative.sync(db)

    def refuse(texts: Sequence[str]) -> None:
        if any("bad" in text for text in texts):
            raise ValueError("bad")

    db.execute("update posts set body = 'bad' where id = 2")
    db.commit()
    vssnative.sync(db, embedder=Scripted(before=refuse), settings=QUICK)
    assert db.execute("select rowid from vss_posts").fetchall() == [(1,), (3,)]
    db.execute("update posts set body = 'good' where id = 2")
    db.commit()
    vssnative.sync(db, embedder=Scripted(before=refuse), settings=QUICK)
    assert dead_letters(db, "posts") == []
    assert_in_step(db, "posts", HashEmbedder(16))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\x01\x02", "column body holds a blob"),
        ("cast(x'ff41' as text)", "no valid utf-8: invalid start byte"),
    ],
)
def test_what_is_no_text_is_that_rows_own_failure(db: sqlite3.Connection, value: Any, reason: str) -> None:
    make_posts(db, 3)
    if isinstance(value, str):
        db.execute(f"update posts set body = {value} where id = 2")
    else:
        db.execute("update posts set body = ? where id = 2", (value,))
    db.commit()
    result = vssnative.sync(db, settings=QUICK)
    assert (result.dead, result.texts) == (1, 2)
    assert reason in dead_letters(db, "posts")[0].reason


def test_vectors_that_are_none_are_refused(db: sqlite3.Connection) -> None:
    make_posts(db, 4)

    class Broken(HashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
            matrix = super().embed_documents(texts)
            for row, text in zip(matrix, texts, strict=True):
                if text == "text 1":
                    row[0] = np.nan
                if text == "text 2":
                    row[:] = 0
            return matrix

    vssnative.sync(db, embedder=Broken(16), settings=QUICK)
    reasons = [letter.reason for letter in dead_letters(db, "posts")]
    assert reasons == [
        "the model's vector holds NaN or infinity",
        "the model's vector is all zeros, which has no cosine",
    ]


@pytest.mark.parametrize("retry_after", [None, 0.2])
def test_a_provider_that_is_down_spends_no_attempt_and_pauses_the_model(
    db: sqlite3.Connection, retry_after: float | None
) -> None:
    make_posts(db, 20)
    failures = iter([429, 503, 503])  # after a 503 a harmless text is tried, which fails too

    def fail(_texts: Sequence[str]) -> None:
        status = next(failures, None)
        if status is not None:
            raise ProviderError("slow down", status=status, retry_after=retry_after, transient=True)

    events: list[Event] = []
    embedder = Scripted(before=fail)
    result = vssnative.sync(db, embedder=embedder, settings=Settings(max_attempts=1), on_event=events.append)
    assert (result.rows, result.failed, result.dead) == (20, 0, 0)
    assert [event.kind for event in events].count("paused") == 2
    assert len(embedder.calls) == 4
    assert db.execute("select count(*) from vssnative_models").fetchone() == (0,)


def test_a_provider_that_raises_something_else_for_every_text_is_told_from_bad_texts(
    db: sqlite3.Connection,
) -> None:
    make_posts(db, 20)

    def fail(_texts: Sequence[str]) -> None:
        raise RuntimeError("the runtime is broken")

    with pytest.raises(SyncError, match="the runtime is broken"):
        vssnative.sync(db, embedder=Scripted(before=fail), settings=QUICK, patience=0.0)
    assert dead_letters(db, "posts") == []
    assert db.execute("select max(attempts), count(*), count(lease) from vssnative_queue").fetchone() == (
        0,
        20,
        0,
    )


def test_what_somebody_has_to_mend_raises_at_once(db: sqlite3.Connection) -> None:
    make_posts(db, 5)

    def fail(_texts: Sequence[str]) -> None:
        raise ProviderError("the key was refused", status=401)

    embedder = Scripted(before=fail)
    with pytest.raises(SyncError, match="the key was refused"):
        vssnative.sync(db, embedder=embedder)
    assert len(embedder.calls) == 1
    assert vssnative.status(db)[0].model_paused_seconds > 0
    resume(db, "posts")
    assert vssnative.sync(db).rows == 5


def test_the_model_on_disk_must_be_the_recorded_one(db: sqlite3.Connection) -> None:
    make_posts(db, 5)
    db.execute("update vssnative_generations set model_digest = 'another'")
    db.commit()
    with pytest.raises(SyncError, match="digest another"):
        vssnative.sync(db)


def test_unchanged_text_is_never_embedded_again_also_across_tables(db: sqlite3.Connection) -> None:
    make_posts(db, 10)
    first = Scripted()
    assert vssnative.sync(db, embedder=first).texts == 10
    make_posts(db, 10, table="others")
    db.execute("update posts set body = 'else' where id = 1")
    db.commit()
    vssnative.sync(db, embedder=first)
    db.execute("update posts set body = 'text 0' where id = 1")
    db.execute("insert into posts(body) values ('text 5'), ('fresh'), ('fresh')")
    db.commit()
    result = vssnative.sync(db, embedder=first)
    assert (result.texts, result.reused) == (1, 3)
    assert first.texts == [*(f"text {n}" for n in range(10)), "else", "fresh"]
    assert_in_step(db, "others", HashEmbedder(16))


def test_the_cache_is_bounded(db: sqlite3.Connection) -> None:
    make_posts(db, 100)
    set_cache_limit(db, 20)
    db.commit()
    vssnative.sync(db, settings=QUICK)
    assert db.execute("select count(*) from vssnative_cache").fetchone()[0] <= 20
    set_cache_limit(db, 0)
    db.execute("update posts set body = body || '!' where id < 5")
    db.commit()
    vssnative.sync(db)
    assert db.execute("select count(*) from vssnative_cache").fetchone() == (0,)
    with pytest.raises(ConfigurationError, match="0 or more"):
        set_cache_limit(db, -1)


def test_new_edits_go_before_the_backfill(db: sqlite3.Connection) -> None:
    make_posts(db, 50)
    db.execute("update posts set body = 'urgent' where id = 40")
    db.commit()
    embedder = Scripted()
    vssnative.sync(db, "posts", limit=1, embedder=embedder)
    assert embedder.texts == ["urgent"]


def test_limit_and_where(db: sqlite3.Connection) -> None:
    make_posts(db, 30)
    result = vssnative.sync(db, "posts", limit=7)
    assert (result.rows, result.remaining) == (7, 23)
    result = vssnative.sync(db, "posts", where="id > ?", params=[25])
    assert (result.rows, result.remaining) == (5, 18)
    with pytest.raises(SyncError, match="say which"):
        vssnative.sync(db, where="id > 1")
    with pytest.raises(QueryError, match="posts, where='idd > 1': no such column: idd"):
        vssnative.sync(db, "posts", where="idd > 1")
    with pytest.raises(QueryError, match="each of the 1 .* got 0"):
        vssnative.sync(db, "posts", where="id > ?")
    with pytest.raises(QueryError, match="where has no place for them"):
        vssnative.sync(db, "posts", params=[1])
    with pytest.raises(ConfigurationError, match="0 or more, not -1"):
        vssnative.sync(db, "posts", limit=-1)
    assert not db.in_transaction
    assert vssnative.sync(db).rows == 18


def test_pause_and_resume(db: sqlite3.Connection) -> None:
    make_posts(db, 5)
    pause(db, "posts")
    assert vssnative.sync(db).rows == 0
    assert vssnative.status(db)[0].paused
    db.execute("update posts set body = 'noted all the same' where id = 1")
    db.commit()
    resume(db, "posts")
    assert vssnative.sync(db).rows == 5


def test_sync_never_touches_somebody_elses_transaction(db: sqlite3.Connection) -> None:
    make_posts(db, 5)
    db.execute("update posts set body = 'open' where id = 1")
    for call in (
        lambda: vssnative.sync(db),
        lambda: vssnative.verify(db, "posts"),
        lambda: vssnative.repair(db, "posts"),
        lambda: vssnative.search(db, "posts", "open", fresh=True),
        lambda: pause(db, "posts"),
        lambda: retry_dead(db, "posts"),
    ):
        with pytest.raises(SyncError, match="transaction"):
            call()
    assert db.in_transaction
    db.rollback()


def test_leases_expire_and_are_kept_alive_by_heartbeats(
    db: sqlite3.Connection, open_db: Callable[..., sqlite3.Connection]
) -> None:
    make_posts(db, 4)
    other = open_db(check_same_thread=False)
    seen: list[int] = []

    def slow(_texts: Sequence[str]) -> None:
        time.sleep(0.6)  # twice the lease
        seen.append(vssnative.sync(other, limit=10).rows)

    result = vssnative.sync(db, embedder=Scripted(before=slow), settings=Settings(lease_seconds=0.3))
    assert seen == [0]  # nobody could take the rows
    assert result.rows == 4

    db.execute("update posts set body = body || ' again'")
    db.commit()
    engine = Engine(db, settings=Settings(lease_seconds=0.2))
    assert engine._next_batch() is not None  # a worker that dies here
    engine.close()
    assert vssnative.status(db)[0].leased == 4
    assert vssnative.sync(other).rows == 4
    assert_in_step(db, "posts", HashEmbedder(16))


def test_the_rate_limit_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(sys.modules[RateLimit.__module__].time, "monotonic", lambda: now)

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal now
            assert timeout is not None
            now += timeout
            return False

    limit = RateLimit(40)
    moments = []
    for _ in range(20):
        limit.wait(20, Stop())
        moments.append(now - 100.0)
    assert moments[0] == 0.0
    assert moments[-1] == pytest.approx(19 * 20 / 40)
    now += 100  # idle time is not saved up beyond one second
    for _ in range(10):
        limit.wait(20, Stop())
    assert now - 100.0 == pytest.approx(moments[-1] + 100 + 9 * 20 / 40 - 1.0)


@pytest.mark.parametrize(
    "name", ["batch_texts", "batch_tokens", "lease_seconds", "max_attempts", "backoff", "rate_limit"]
)
@pytest.mark.parametrize("value", [0, -1, "1", True, float("nan")])
def test_settings_that_cannot_be(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Settings(**{name: value})  # type: ignore[arg-type]


def test_timeout_returns_with_what_is_done(db: sqlite3.Connection) -> None:
    make_posts(db, 200)
    result = vssnative.sync(
        db,
        embedder=Scripted(before=lambda _: time.sleep(0.1)),
        settings=Settings(batch_texts=8),
        timeout=0.25,
    )
    assert 0 < result.rows < 200
    assert result.remaining == 200 - result.rows
    assert db.execute("select count(lease) from vssnative_queue").fetchone() == (0,)


def test_progress_is_shown_only_when_asked_for(
    db: sqlite3.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    make_posts(db, 10)
    vssnative.sync(db)
    assert capsys.readouterr() == ("", "")
    db.execute("update posts set body = 'x'")
    db.commit()
    vssnative.sync(db, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "10/10" in err


def test_ctrl_c_leaves_no_lease_and_loses_nothing(db: sqlite3.Connection) -> None:
    make_posts(db, 100)
    calls = 0

    def interrupt(_texts: Sequence[str]) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            time.sleep(0.3)  # the first batch is committed meanwhile
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]
            time.sleep(0.2)

    # A process that a shell put into the background ignores SIGINT, and Python then leaves it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        vssnative.sync(db, embedder=Scripted(before=interrupt), settings=QUICK)
    assert not db.in_transaction
    assert db.execute("select count(lease) from vssnative_queue").fetchone() == (0,)
    done = 100 - vssnative.status(db)[0].pending
    assert done > 0
    assert vssnative.sync(db).rows == 100 - done
    assert_in_step(db, "posts", HashEmbedder(16))


def test_workers_in_threads_share_the_work(db: sqlite3.Connection, tmp_path: Path) -> None:
    make_posts(db, 300)
    embedders = [Scripted(before=lambda _: time.sleep(0.01)) for _ in range(3)]
    workers = [
        Worker(tmp_path / "test.db", poll=0.01, embedder=e, settings=Settings(batch_texts=10))
        for e in embedders
    ]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while vssnative.status(db)[0].pending and time.monotonic() < deadline:
        time.sleep(0.01)
    for worker in workers:
        worker.stop()
    for thread in threads:
        thread.join()
    texts = [text for e in embedders for text in e.texts]
    assert sorted(texts) == sorted(f"text {n}" for n in range(300))  # none twice
    assert sum(bool(e.calls) for e in embedders) > 1
    assert db.execute("select count(*) from vssnative_workers").fetchone() == (0,)
    assert_in_step(db, "posts", HashEmbedder(16))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_worker_process_cleanly(
    db: sqlite3.Connection, tmp_path: Path, number: signal.Signals
) -> None:
    make_posts(db, 2000)
    script = textwrap.dedent(
        """
        import sys, vssnative
        from vssnative import Settings
        vssnative.Worker(sys.argv[1], poll=0.01, settings=Settings(batch_texts=5)).run()
        print("ended")
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "test.db")], stdout=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 30
        while vssnative.status(db)[0].embedded == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, number)
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (0, "ended\n")
    [status] = vssnative.status(db)
    assert 0 < status.embedded and status.leased == 0
    assert db.execute("select count(lease) from vssnative_queue").fetchone() == (0,)
    assert db.execute("select count(*) from vssnative_workers").fetchone() == (0,)


def test_a_table_that_is_gone_keeps_sync_from_no_other(db: sqlite3.Connection) -> None:
    make_posts(db, 3)
    make_posts(db, 3, table="others")
    db.execute("drop table posts")
    db.commit()
    events: list[Event] = []
    with pytest.raises(
        MigrationError, match=r"posts: there is no table.*Dropping the embeddings 'posts' removes"
    ):
        vssnative.sync(db, on_event=events.append)
    assert events[0].kind == "broken"
    assert_in_step(db, "others", HashEmbedder(16))
    with pytest.raises(QueryError, match="its table posts is gone"):
        vssnative.search(db, "posts", "text")
    vssnative.drop_embeddings(db, "posts")
    assert vssnative.sync(db).rows == 0


def test_a_worker_may_be_there_before_the_embeddings(db: sqlite3.Connection, tmp_path: Path) -> None:
    assert vssnative.sync(db).rows == 0
    worker = Worker(tmp_path / "test.db", poll=0.01)
    thread = threading.Thread(target=worker.run)
    thread.start()
    time.sleep(0.1)
    make_posts(db, 3)
    deadline = time.monotonic() + 30
    while vssnative.status(db)[0].pending and time.monotonic() < deadline:
        time.sleep(0.01)
    worker.stop()
    thread.join()
    assert_in_step(db, "posts", HashEmbedder(16))


def test_a_worker_in_a_thread_reports_a_table_that_is_gone_and_goes_on(
    db: sqlite3.Connection, tmp_path: Path
) -> None:
    make_posts(db, 3)
    make_posts(db, 3, table="others")
    db.execute("drop table posts")
    db.commit()
    events: list[Event] = []
    worker = Worker(tmp_path / "test.db", poll=0.01, on_event=events.append)
    thread = threading.Thread(target=worker.run)
    thread.start()
    deadline = time.monotonic() + 30
    while vssnative.status(db, "others")[0].pending and time.monotonic() < deadline:
        time.sleep(0.01)
    worker.stop()
    thread.join()
    assert (events[0].kind, events[0].embedding) == ("broken", "posts")
    assert_in_step(db, "others", HashEmbedder(16))


@pytest.mark.parametrize("table", [None, "nothing"])
def test_what_is_broken_is_told_once(
    db: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str | None
) -> None:
    monkeypatch.setattr("vssnative._sync.worker._MEND_EVERY_SECONDS", 0.0)
    make_posts(db, 3)
    db.execute("drop table posts")
    db.commit()
    events: list[Event] = []
    worker = Worker(tmp_path / "test.db", table, poll=0.01, on_event=events.append)
    thread = threading.Thread(target=worker.run)
    thread.start()
    time.sleep(0.3)
    worker.stop()
    thread.join()
    assert [(event.kind, event.embedding) for event in events] == [("broken", table or "posts")]
