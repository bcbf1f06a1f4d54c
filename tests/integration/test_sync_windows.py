"""Rows are leased many at a time, embedded in calls of like length, and committed in short parts."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import vssnative
from vssnative import Event, Settings, pause, resume, set_cache_limit
from vssnative._sync import locking
from vssnative.embedding.hashing import HashEmbedder
from vssnative.embedding.protocol import Float32Matrix
from vssnative.errors import ProviderError, SyncError

from ..reliability.sync_oracle import assert_in_step


class Recorder(HashEmbedder):
    """A hash embedder that keeps what it was asked for, and does what a test wants before each call."""

    def __init__(self, before: Callable[[int], None] | None = None) -> None:
        super().__init__(16)
        self.calls: list[list[str]] = []
        self._before = before

    def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
        self.calls.append(list(texts))
        if self._before is not None:
            self._before(len(self.calls))
        return super().embed_documents(texts)


def make_posts(conn: sqlite3.Connection, texts: Sequence[str]) -> None:
    conn.execute("create table posts(id integer primary key, body text)")
    conn.executemany("insert into posts(body) values (?)", [(text,) for text in texts])
    conn.commit()
    vssnative.add_embeddings(conn, "posts", columns=["body"], model="hash:16")


def app_writes(path: Path, sql: str) -> None:
    app = sqlite3.connect(path)
    with app:
        app.execute(sql)
    app.close()


def test_texts_of_like_length_go_through_the_model_together(db: sqlite3.Connection) -> None:
    make_posts(db, [f"{n % 8}" * (1 + n * 37 % 64) for n in range(64)])
    embedder = Recorder()
    vssnative.sync(db, embedder=embedder, settings=Settings(batch_texts=8))
    assert [len(call) for call in embedder.calls] == [8] * 8
    longest = [max(map(len, call)) for call in embedder.calls]
    shortest = [min(map(len, call)) for call in embedder.calls]
    assert all(a >= b for a, b in zip(shortest, longest[1:], strict=False))
    assert_in_step(db, "posts", HashEmbedder(16))


def test_a_call_has_no_more_tokens_than_asked_for(db: sqlite3.Connection) -> None:
    make_posts(db, ["word " * n for n in range(1, 41)])
    embedder = Recorder()
    vssnative.sync(db, embedder=embedder, settings=Settings(batch_tokens=60))
    assert len(embedder.calls) > 5
    assert all(len(call) == 1 or sum(map(len, call)) <= 4 * 60 for call in embedder.calls)
    assert_in_step(db, "posts", HashEmbedder(16))


def test_an_equal_text_is_embedded_once_however_many_calls_there_are(db: sqlite3.Connection) -> None:
    make_posts(db, [f"text {n % 20:02}" for n in range(80)])
    set_cache_limit(db, 0)
    db.commit()
    embedder = Recorder()
    result = vssnative.sync(db, embedder=embedder, settings=Settings(batch_texts=10))
    assert [len(call) for call in embedder.calls] == [10, 10]
    assert sorted(text for call in embedder.calls for text in call) == [f"text {n:02}" for n in range(20)]
    assert (result.rows, result.texts, result.reused) == (80, 20, 60)
    assert_in_step(db, "posts", HashEmbedder(16))


def test_an_edit_overtakes_a_backfill_that_is_leased_already(db: sqlite3.Connection, tmp_path: Path) -> None:
    make_posts(db, [f"text {n}" for n in range(400)])

    def edit(call: int) -> None:
        if call == 1:
            app_writes(tmp_path / "test.db", "update posts set body = 'urgent' where id = 399")

    embedder = Recorder(edit)
    vssnative.sync(db, embedder=embedder, settings=Settings(batch_texts=50))
    # Some calls were on their way when it came, six more were to follow.
    [place] = [number for number, call in enumerate(embedder.calls) if "urgent" in call]
    assert embedder.calls[place] == ["urgent"]
    assert place <= 3 < len(embedder.calls) - 4
    assert_in_step(db, "posts", HashEmbedder(16))


def test_an_edit_of_a_leased_row_is_never_overwritten_by_any_part(
    db: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking.Turns, "rows", 3)
    make_posts(db, [f"text {n}" for n in range(40)])
    edits = iter(range(1, 41, 7))

    def edit(_event: Event) -> None:
        row = next(edits, None)
        if row is not None:
            app_writes(tmp_path / "test.db", f"update posts set body = 'edit of {row}' where id = {row}")

    events: list[Event] = []
    result = vssnative.sync(
        db,
        settings=Settings(batch_texts=20),
        on_event=lambda event: (events.append(event), edit(event))[0],
    )
    assert len(events) > 40 // 3
    assert all(event.details["rows"] <= 3 for event in events)
    assert result.remaining == 0
    assert_in_step(db, "posts", HashEmbedder(16))


def test_pausing_reaches_rows_that_are_leased_already(db: sqlite3.Connection, tmp_path: Path) -> None:
    make_posts(db, [f"text {n}" for n in range(200)])
    other = vssnative.connect(tmp_path / "test.db", check_same_thread=False)

    def stop(call: int) -> None:
        if call == 1:
            pause(other, "posts")

    embedder = Recorder(stop)
    result = vssnative.sync(db, embedder=embedder, settings=Settings(batch_texts=10))
    other.close()
    # What was on its way is not lost.
    assert len(embedder.calls) in (1, 2, 3)
    assert result.rows == 10 * len(embedder.calls) == 200 - result.remaining
    assert db.execute("select count(lease) from vssnative_queue").fetchone() == (0,)
    resume(db, "posts")
    assert vssnative.sync(db).rows == result.remaining


@pytest.mark.parametrize("retry_after", [0.0, None])
def test_an_outage_gives_back_what_waits_and_a_limit_counts_only_what_was_worked_on(
    db: sqlite3.Connection, retry_after: float | None
) -> None:
    make_posts(db, [f"text {n}" for n in range(100)])

    def fail(call: int) -> None:
        if call == 2:
            raise ProviderError("busy", status=503, retry_after=retry_after, transient=True)

    embedder = Recorder(fail)
    result = vssnative.sync(db, "posts", limit=30, embedder=embedder, settings=Settings(batch_texts=10))
    assert (result.rows, result.failed, result.remaining) == (30, 0, 70)
    assert db.execute("select count(lease), max(attempts) from vssnative_queue").fetchone() == (0, 0)


def test_a_provider_that_says_zero_seconds_is_not_asked_without_end(db: sqlite3.Connection) -> None:
    make_posts(db, ["a", "b"])

    def fail(_call: int) -> None:
        raise ProviderError("busy", status=503, retry_after=0.0, transient=True)

    embedder = Recorder(fail)
    with pytest.raises(SyncError, match="busy"):
        vssnative.sync(db, embedder=embedder, patience=0.5)
    assert 2 <= len(embedder.calls) <= 10


def test_leases_of_what_waits_are_kept_alive(
    db: sqlite3.Connection, open_db: Callable[..., sqlite3.Connection]
) -> None:
    make_posts(db, [f"text {n}" for n in range(60)])
    other = open_db(check_same_thread=False)
    taken: list[int] = []

    def slow(_call: int) -> None:
        time.sleep(0.15)
        taken.append(vssnative.sync(other, "posts", limit=10).rows)

    embedder = Recorder(slow)
    settings = Settings(batch_texts=10, lease_seconds=0.3)
    result = vssnative.sync(db, embedder=embedder, settings=settings)  # takes three times as long as a lease
    assert (taken, result.rows) == ([0] * 6, 60)


def test_a_second_worker_is_left_a_share(db: sqlite3.Connection, tmp_path: Path) -> None:
    """The first leases half of what is ready at most, once it knows of the second."""
    make_posts(db, [f"text {n}" for n in range(400)])
    both = threading.Barrier(2, timeout=30)
    rows: list[int] = []

    def meet(call: int) -> None:
        if call == 1:
            both.wait()

    def work() -> None:
        conn = vssnative.connect(tmp_path / "test.db")
        embedder = Recorder(lambda call: (meet(call), time.sleep(0.005))[1])
        rows.append(vssnative.sync(conn, embedder=embedder, settings=Settings(batch_texts=10)).rows)
        conn.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(rows) == 400
    assert min(rows) >= 80
    assert_in_step(db, "posts", HashEmbedder(16))
