"""Providers that fail: what is kept, how long anybody waits, what they are told, and what goes on afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import vssnative
from vssnative.embedding import HostedEmbedder
from vssnative.errors import ConfigurationError, ProviderError, SyncError

DIM = 8
# Seconds that no busy machine needs; where a limit is not kept, it takes the 60 of a request or of patience.
_LATE = 30.0
QUICK = vssnative.Settings(backoff=0.001, max_attempts=2)
Answer = Callable[[list[str]], httpx.Response]


def right(texts: list[str], dim: int = DIM) -> httpx.Response:
    rows = [
        {"index": n, "embedding": np.random.default_rng(len(text)).standard_normal(dim).tolist()}
        for n, text in enumerate(texts)
    ]
    return httpx.Response(200, json={"data": rows})


def hosted(answer: Answer, **options: Any) -> HostedEmbedder:
    transport = httpx.MockTransport(lambda request: answer(json.loads(request.content)["input"]))
    options = {"base_url": "http://models.test/v1", "dim": DIM, "backoff": 0.01, **options}
    return HostedEmbedder("toy", transport=transport, **options)


def at(url: str, **options: Any) -> HostedEmbedder:
    return HostedEmbedder("toy", base_url=url, dim=DIM, **options)


def make_posts(conn: sqlite3.Connection, rows: int, embedder: HostedEmbedder) -> None:
    conn.execute("create table posts(id integer primary key, body text)")
    conn.executemany("insert into posts(body) values (?)", [(f"text {n}",) for n in range(rows)])
    conn.commit()
    vssnative.add_embeddings(conn, "posts", columns=["body"], model=embedder)


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                taken.append(listener.accept()[0])

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    for one in taken:
        one.close()


@pytest.fixture
def nobody() -> str:
    """The address of a server that is down."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@pytest.mark.parametrize("status", [400, 500, 503])
def test_one_text_that_the_server_cannot_take_blocks_nobody(db: sqlite3.Connection, status: int) -> None:
    def answer(texts: list[str]) -> httpx.Response:
        return httpx.Response(status, text="no") if "text 17" in texts else right(texts)

    embedder = hosted(answer)
    make_posts(db, 251, embedder)
    result = vssnative.sync(db, embedder=embedder, settings=QUICK, patience=10)
    assert (result.texts, result.dead, result.remaining) == (250, 1, 0)
    [letter] = vssnative.dead_letters(db, "posts")
    assert letter.row_id == 18 and f"status {status}" in letter.reason
    assert vssnative.status(db)[0].model_paused_seconds == 0


def test_a_call_keeps_what_succeeded(db: sqlite3.Connection) -> None:
    sent: list[str] = []
    fails = iter([False, True, False, False])

    def answer(texts: list[str]) -> httpx.Response:
        if next(fails, False):
            return httpx.Response(503)
        sent.extend(texts)
        return right(texts)

    embedder = hosted(answer, batch_texts=10, concurrency=1)
    make_posts(db, 40, embedder)
    assert vssnative.sync(db, embedder=embedder, settings=QUICK).texts == 40
    texts = [text for text in sent if text != "vssnative"]
    assert len(texts) == len(set(texts)) == 40


def test_a_server_that_is_down_keeps_the_limits_and_is_named(db: sqlite3.Connection, nobody: str) -> None:
    embedder = at(nobody)
    make_posts(db, 50, embedder)
    began = time.monotonic()
    result = vssnative.sync(db, embedder=embedder, timeout=1.5)
    assert (result.rows, result.remaining) == (0, 50) and time.monotonic() - began < _LATE
    vssnative.resume(db, "posts")
    began = time.monotonic()
    with pytest.raises(SyncError, match="Connection refused"):
        vssnative.sync(db, embedder=embedder, patience=2)
    assert time.monotonic() - began < _LATE


def test_a_server_that_never_answers_keeps_the_limits_too(
    db: sqlite3.Connection, silent: str, tmp_path: Path
) -> None:
    embedder = at(silent)
    make_posts(db, 50, embedder)
    began = time.monotonic()
    assert vssnative.sync(db, embedder=embedder, timeout=1).remaining == 50
    assert time.monotonic() - began < _LATE
    began = time.monotonic()
    with pytest.raises(SyncError, match=r"no answer within"):
        vssnative.sync(db, embedder=embedder, patience=2.5)
    assert time.monotonic() - began < _LATE
    assert db.execute("select count(lease) from vssnative_queue").fetchone() == (0,)

    vssnative.resume(db, "posts")
    worker = vssnative.Worker(tmp_path / "test.db", poll=0.01, embedder=embedder)
    thread = threading.Thread(target=worker.run)
    thread.start()
    while not db.execute("select count(lease) from vssnative_queue").fetchone()[0]:
        time.sleep(0.01)
    time.sleep(0.2)
    worker.stop()
    thread.join(_LATE)
    assert not thread.is_alive()
    assert db.execute("select count(lease) from vssnative_queue").fetchone() == (0,)


@pytest.mark.parametrize("what", ["sync", "search", "embed"])
def test_ctrl_c_ends_a_process_that_waits_for_a_server(
    db: sqlite3.Connection, silent: str, tmp_path: Path, what: str
) -> None:
    make_posts(db, 300, at(silent))
    script = textwrap.dedent(
        """
        import signal, sys, vssnative
        from vssnative.embedding import HostedEmbedder
        signal.signal(signal.SIGINT, signal.default_int_handler)
        conn = vssnative.connect(sys.argv[1])
        embedder = HostedEmbedder("toy", base_url=sys.argv[2], dim=8)
        print("ready", flush=True)
        if sys.argv[3] == "sync":
            vssnative.sync(conn, embedder=embedder)
        elif sys.argv[3] == "search":
            vssnative.search(conn, "posts", "x", embedder=embedder)
        else:
            embedder.embed_documents([str(n) for n in range(300)])
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "test.db"), silent, what],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(1.0)
        began = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert "KeyboardInterrupt" in err
    assert time.monotonic() - began < _LATE
    assert db.execute("select count(lease) from vssnative_queue").fetchone() == (0,)


def test_a_long_pause_is_told_and_resume_ends_it(db: sqlite3.Connection) -> None:
    limited = True

    def answer(texts: list[str]) -> httpx.Response:
        return (
            httpx.Response(429, headers={"Retry-After": "3600"}, text="slow down")
            if limited
            else right(texts)
        )

    embedder = hosted(answer)
    make_posts(db, 50, embedder)
    for _ in range(2):  # also a sync that begins while the model is paused
        began = time.monotonic()
        with pytest.raises(SyncError, match=r"paused until \d.*429.*60 s of patience.*resume") as caught:
            vssnative.sync(db, embedder=embedder)
        assert time.monotonic() - began < _LATE
    assert isinstance(caught.value, SyncError)
    [status] = vssnative.status(db)
    assert status.pending == 50 and status.waiting_for is not None
    assert "model openai:toy is paused until" in status.waiting_for and "slow down" in status.waiting_for
    assert 3500 < status.model_paused_seconds <= 3600
    limited = False
    vssnative.resume(db, "posts")
    assert vssnative.status(db)[0].waiting_for is None
    assert vssnative.sync(db, embedder=embedder).rows == 50


def test_patience_is_used_to_its_end(db: sqlite3.Connection) -> None:
    began = time.monotonic()

    def answer(texts: list[str]) -> httpx.Response:
        return httpx.Response(503) if time.monotonic() - began < 2.5 else right(texts)

    embedder = hosted(answer, breaker_failures=1000)
    make_posts(db, 50, embedder)
    began = time.monotonic()
    assert vssnative.sync(db, embedder=embedder, patience=3).rows == 50


def test_recovery_frees_the_rows_that_waited(db: sqlite3.Connection) -> None:
    embedder = hosted(right)
    make_posts(db, 50, embedder)
    digest = embedder.digest
    db.execute("update vssnative_queue set ready_at = ? where row_id > 1", (time.time() + 3600,))
    db.execute("insert into vssnative_models values (?, ?, 3, 'was down')", (digest, time.time() - 1))
    db.commit()
    assert vssnative.sync(db, embedder=embedder).rows == 50  # the first that works frees the others


def test_times_that_a_clock_ahead_has_written_hold_nobody_up(db: sqlite3.Connection) -> None:
    embedder = hosted(right)
    make_posts(db, 20, embedder)
    week = time.time() + 7 * 86_400
    db.execute("update vssnative_queue set ready_at = ?, lease = 'dead' where row_id <= 10", (week,))
    db.execute("update vssnative_queue set ready_at = ? where row_id > 10", (week,))
    db.execute("insert into vssnative_models values (?, ?, 3, 'was down')", (embedder.digest, week))
    db.commit()
    assert vssnative.sync(db, embedder=embedder, timeout=20).rows == 20


def test_a_wrong_length_is_told_as_such(db: sqlite3.Connection) -> None:
    embedder = hosted(lambda texts: right(texts, 12))
    make_posts(db, 50, embedder)
    with pytest.raises(SyncError, match=r"expected 8 values, got 12; dim= asks for"):
        vssnative.sync(db, embedder=embedder)


def test_a_missing_key_is_named(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    db.execute("create table posts(id integer primary key, body text)")
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        vssnative.add_embeddings(db, "posts", columns=["body"], model="openai:text-embedding-3-small")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://models.test/v1")
    refused = hosted(lambda _: httpx.Response(401, text="who are you"))
    with pytest.raises(
        ProviderError, match="who are you; no key was sent: set the environment variable OPENAI_API_KEY"
    ):
        refused.embed_documents(["x"])
    other = hosted(lambda _: httpx.Response(401), base_url="http://other.test/v1")
    with pytest.raises(ProviderError, match="only by api_key="):
        other.embed_documents(["x"])


def test_no_key_and_no_text_of_the_users_is_told(db: sqlite3.Connection) -> None:
    key = "sk-" + "secret" * 8

    def answer(texts: list[str]) -> httpx.Response:
        if "vssnative" in texts:
            return right(texts)
        words = "x" * 280 + f" your key {key} and your input: {texts[0][3:60]} is not allowed"
        return httpx.Response(400, json={"error": {"message": words}})

    embedder = hosted(answer, api_key=key)
    db.execute("create table posts(id integer primary key, body text)")
    db.execute(
        "insert into posts(body) values ('The patient, Mrs Miller, was admitted on Monday with a fever.')"
    )
    db.commit()
    vssnative.add_embeddings(db, "posts", columns=["body"], model=embedder)
    vssnative.sync(db, embedder=embedder, settings=QUICK)
    [letter] = vssnative.dead_letters(db, "posts")
    assert "status 400" in letter.reason and "sk-" not in letter.reason and "secret" not in letter.reason
    short = hosted(lambda texts: httpx.Response(400, text=f"input: {texts[0][3:60]} is not allowed"))
    with pytest.raises(ProviderError, match=r"input: \[text\] is not allowed"):
        short.embed_documents(["The patient, Mrs Miller, was admitted on Monday with a fever."])
    model = Quoting(DIM)
    vssnative.drop_embeddings(db, "posts")
    vssnative.add_embeddings(db, "posts", columns=["body"], model=model)
    vssnative.sync(db, embedder=model, settings=QUICK)
    assert [letter.reason for letter in vssnative.dead_letters(db, "posts")] == [
        "ValueError: cannot embed '[text]'"
    ]


class Quoting(vssnative.embedding.HashEmbedder):
    def embed_documents(self, texts: Any) -> Any:
        if list(texts) != ["vssnative"]:
            raise ValueError(f"cannot embed {texts[0]!r}")
        return super().embed_documents(texts)


def test_while_the_provider_is_left_alone_a_search_fails_at_once_and_says_why(
    db: sqlite3.Connection,
) -> None:
    asked = 0

    def answer(_: list[str]) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(503, text="out to lunch")

    embedder = hosted(answer, breaker_failures=2, backoff=0.01)
    make_posts(db, 1, embedder)
    with pytest.raises(ProviderError, match="out to lunch"):
        vssnative.search(db, "posts", "x", embedder=embedder)
    before = asked
    with pytest.raises(
        ProviderError, match=r"failed 2 times in a row, the last time: status 503: out to lunch"
    ):
        vssnative.search(db, "posts", "x", embedder=embedder)
    assert asked == before > 0


def test_a_worker_waits_for_a_table_that_is_not_there_yet(db: sqlite3.Connection, tmp_path: Path) -> None:
    db.execute("create table other(id integer primary key, body text)")
    db.commit()
    vssnative.add_embeddings(db, "other", columns=["body"], model="hash:8")
    worker = vssnative.Worker(tmp_path / "test.db", "posts", poll=0.01)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            worker.run()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        time.sleep(0.3)
        db.execute("create table posts(id integer primary key, body text)")
        db.execute("insert into posts(body) values ('red')")
        db.commit()
        vssnative.add_embeddings(db, "posts", columns=["body"], model="hash:8")
        deadline = time.monotonic() + 20
        while vssnative.status(db, "posts")[0].pending and time.monotonic() < deadline:
            time.sleep(0.01)
        assert vssnative.status(db, "posts")[0].embedded == 1
        vssnative.drop_embeddings(db, "posts")
        time.sleep(0.3)
        assert thread.is_alive() and failures == []
    finally:
        worker.stop()
        thread.join(30)


def test_within_the_callers_transaction_nothing_outlives_its_rollback(db: sqlite3.Connection) -> None:
    db.execute("create table posts(id integer primary key, body text)")
    db.commit()
    vssnative.add_embeddings(db, "posts", columns=["body"], model="hash:8")
    db.execute("insert into posts(body) values ('red'), ('blue')")
    assert db.in_transaction
    with pytest.raises(SyncError, match=r"within=True"):
        vssnative.sync(db)
    assert vssnative.sync(db, within=True).rows == 2
    assert db.in_transaction
    assert vssnative.search(db, "posts", "red", k=1)[0].row["body"] == "red"
    db.rollback()
    assert db.execute("select count(*) from vss_posts").fetchone() == (0,)
    assert db.execute("select count(*) from vssnative_queue").fetchone() == (0,)


def test_resume_asks_again_at_once_also_a_model_that_is_left_alone(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vssnative._catalog import models

    down = True

    def answer(texts: list[str]) -> httpx.Response:
        if down:
            return httpx.Response(503, text="down")
        data = [{"index": i, "embedding": [1.0] * DIM} for i in range(len(texts))]
        return httpx.Response(200, json={"data": data})

    embedder = hosted(answer, dim=DIM, attempts=1, breaker_failures=1, breaker_pause=3600.0)
    make_posts(db, 3, embedder)
    monkeypatch.setitem(models._built, embedder.digest, embedder)
    with pytest.raises(SyncError):
        vssnative.sync(db, patience=0.0)
    down = False
    vssnative.resume(db, "posts")
    assert vssnative.sync(db, patience=0.0).remaining == 0
