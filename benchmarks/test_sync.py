"""What sync costs: beside the embedder alone, to the app's writes, and when a provider fails.

    python -m pytest benchmarks/test_sync.py -s

Rows are real: Debian's short package descriptions and the standard library's docstrings (``benchmarks/data.py``).
``VSSNATIVE_BENCH_ROWS`` sets how many (2,000; the published numbers used 20,000), ``VSSNATIVE_BENCH_OUTAGE`` how many
seconds the provider is down (2; published: 30). Speeds are ratios of two things measured in turns in one run.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sqlite3
import statistics
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest

import vssnative
from data import source_texts
from vssnative import Event as SyncEvent
from vssnative import Settings, dead_letters
from vssnative.embedding.hashing import HashEmbedder
from vssnative.embedding.protocol import Embedder, Float32Matrix
from vssnative.embedding.registry import get_embedder
from vssnative.errors import ProviderError

ROWS = int(os.environ.get("VSSNATIVE_BENCH_ROWS", "2000"))
OUTAGE = float(os.environ.get("VSSNATIVE_BENCH_OUTAGE", "2"))
# Enough commits for some checkpoints of the write-ahead log on both sides.
SINGLE = 4000
ROUNDS = int(os.environ.get("VSSNATIVE_BENCH_ROUNDS", "4"))


def real_texts(count: int) -> list[str]:
    sources = source_texts()
    texts = [*sources["short"], *sources["docstring"]]
    return random.Random(7).sample(texts, count)


def make_posts(path: Path, texts: Sequence[str], *, embedder: Embedder | None) -> sqlite3.Connection:
    conn = vssnative.connect(path)
    conn.execute("create table posts(id integer primary key, body text)")
    conn.executemany("insert into posts(body) values (?)", [(text,) for text in texts])
    conn.commit()
    if embedder is not None:
        vssnative.add_embeddings(conn, "posts", columns=["body"], model=embedder)
    return conn


def test_rate_beside_the_embedder_alone(tmp_path: Path) -> None:
    """In turns, a part of the rows at a time. The processor time of the whole process is told beside the time that
    passed: on a machine that others use too, it is the steadier of the two.
    """
    embedder = get_embedder("minilm")
    embedder.embed_documents(["warm up"])
    texts = real_texts(ROWS)
    conn = make_posts(tmp_path / "bench.db", (), embedder=embedder)
    spent: dict[str, list[tuple[float, float]]] = {"alone": [], "sync": []}
    for number in range(ROUNDS):
        part = texts[number * ROWS // ROUNDS : (number + 1) * ROWS // ROUNDS]
        conn.executemany("insert into posts(body) values (?)", [(text,) for text in part])
        conn.commit()
        for what in ("alone", "sync") if number % 2 else ("sync", "alone"):
            wall, processor = time.perf_counter(), time.process_time()
            if what == "alone":
                embedder.embed_documents(part)
            else:
                assert vssnative.sync(conn, embedder=embedder).texts == len(set(part))
            spent[what].append((time.perf_counter() - wall, time.process_time() - processor))
        done = (number + 1) * ROWS // ROUNDS
        sums = {what: [sum(column) for column in zip(*times, strict=True)] for what, times in spent.items()}
        ratios = [a[0] / s[0] for a, s in zip(spent["alone"], spent["sync"], strict=True)]
        print(
            f"\n{done:,} rows: sync at {sums['alone'][0] / sums['sync'][0]:.3f} of the rate of the embedder alone"
            f" (median of {number + 1} rounds {statistics.median(ratios):.3f}); by processor time"
            f" {sums['alone'][1] / sums['sync'][1]:.3f}; {done / sums['sync'][0]:.0f} rows/s",
            end="",
        )
    print()
    assert vssnative.verify(conn, "posts", sample=20).ok
    conn.close()


class Known(HashEmbedder):
    """Gives vectors that were made before: what is left is what sync itself does for a row."""

    def __init__(self, texts: Sequence[str], matrix: Float32Matrix) -> None:
        super().__init__(matrix.shape[1])
        self._places = {text: place for place, text in enumerate(texts)}
        self._matrix = matrix

    def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
        return self._matrix[[self._places[text] for text in texts]]


def test_own_cost_of_a_row(tmp_path: Path) -> None:
    """With vectors at hand, beside an index alone that gets them in commits of as many rows as a batch of sync has."""
    texts = real_texts(ROWS)
    matrix = get_embedder("minilm").embed_documents(texts)
    embedder = Known(texts, matrix)
    conn = make_posts(tmp_path / "bench.db", (), embedder=embedder)
    bare = vssnative.connect(tmp_path / "bare.db")
    index = vssnative.Index(bare, "bare", dim=matrix.shape[1], metric="cosine")
    spent = {"sync": 0.0, "index": 0.0}
    step = Settings().batch_texts
    vssnative.sync(conn, embedder=embedder)  # what is imported at the first use
    for number in range(ROUNDS):
        first, last = number * ROWS // ROUNDS, (number + 1) * ROWS // ROUNDS
        conn.executemany("insert into posts(body) values (?)", [(text,) for text in texts[first:last]])
        conn.commit()
        began = time.process_time()
        assert vssnative.sync(conn, embedder=embedder).rows == last - first
        spent["sync"] += time.process_time() - began
        began = time.process_time()
        for start in range(first, last, step):
            some = slice(start, min(start + step, last))
            index.add(np.arange(some.start, some.stop), matrix[some])
            bare.commit()
        spent["index"] += time.process_time() - began
    conn.close()
    bare.close()
    print(
        f"\n{ROWS:,} rows: {1e6 * spent['sync'] / ROWS:.0f} us of processor time a row, of which an index alone takes"
        f" {1e6 * spent['index'] / ROWS:.0f}"
    )


def test_cost_of_the_triggers_to_the_apps_inserts(tmp_path: Path) -> None:
    texts = real_texts(ROWS)
    bulk: dict[str, list[float]] = {"off": [], "on": []}
    single: dict[str, list[float]] = {"off": [], "on": []}
    for number in range(5):
        for what in ("off", "on"):
            path = tmp_path / f"{what}{number}.db"
            make_posts(path, (), embedder=HashEmbedder(16) if what == "on" else None).close()
            app = sqlite3.connect(path)
            app.execute("pragma synchronous = normal")
            started = time.perf_counter()
            with app:
                app.executemany("insert into posts(body) values (?)", [(text,) for text in texts])
            bulk[what].append(time.perf_counter() - started)
            started = time.perf_counter()
            for text in texts[:SINGLE]:
                app.execute("insert into posts(body) values (?)", (text,))
                app.commit()
            single[what].append(time.perf_counter() - started)
            app.close()
    for name, times, count in (("one transaction", bulk, ROWS), ("a commit each", single, min(ROWS, SINGLE))):
        off, on = statistics.median(times["off"]), statistics.median(times["on"])
        print(
            f"\n{count:,} inserts, {name}: {on / off:.2f} times as long with triggers"
            f" ({1e6 * (on - off) / count:.1f} us per row more)"
        )


def write_on(path: str, stop: Event, report: str) -> None:
    """An app that commits a row every few milliseconds, with the default timeout.

    It notes how long it waited for the write lock, and how long each commit took in all: now and then one of them
    writes the log back into the file and waits for the disk.
    """
    app = sqlite3.connect(path, isolation_level=None)
    app.execute("create table app(id integer primary key, at real)")
    Path(report).write_text("")
    lines = []
    while not stop.is_set():
        started = time.perf_counter()
        app.execute("begin immediate")
        locked = time.perf_counter()
        app.execute("insert into app(at) values (?)", (started,))
        app.execute("commit")
        lines.append(f"{locked - started} {time.perf_counter() - started}\n")
        time.sleep(0.005)
    app.close()
    Path(report).write_text("".join(lines))


def test_longest_wait_of_a_writer(tmp_path: Path) -> None:
    """With an embedder that takes no time, so that commits follow each other as closely as they can."""
    embedder = HashEmbedder(384)
    conn = make_posts(tmp_path / "bench.db", real_texts(ROWS), embedder=embedder)
    context = multiprocessing.get_context("spawn")
    stop, report = context.Event(), tmp_path / "waits"
    writer = context.Process(target=write_on, args=(str(tmp_path / "bench.db"), stop, str(report)))
    writer.start()
    while not report.exists():
        time.sleep(0.01)
    result = vssnative.sync(conn)
    stop.set()
    writer.join()
    conn.close()
    assert result.rows == ROWS
    assert writer.exitcode == 0  # it never saw "database is locked"
    times = np.loadtxt(report, ndmin=2) * 1e3
    print(
        f"\n{len(times):,} commits of a writer during a backfill at {result.rows / result.seconds:,.0f} rows/s:"
    )
    for name, column in (("waited for the lock", times[:, 0]), ("took in all", times[:, 1])):
        middle, most = np.percentile(column, [50, 99])
        print(f"{name}: median {middle:.1f} ms, 99th percentile {most:.0f} ms, longest {column.max():.0f} ms")


class Provider(HashEmbedder):
    """A stub of a hosted model: refuses 1 % of the texts, limits calls, and is down for a while."""

    def __init__(self) -> None:
        super().__init__(16)
        self.calls = self.refused = self.limited = self.failed = 0
        self.down_from: float | None = None

    def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
        self.calls += 1
        if self.calls == 10:
            self.down_from = time.monotonic()
        if self.down_from is not None and time.monotonic() < self.down_from + OUTAGE:
            self.failed += 1
            raise ProviderError("service unavailable", status=503, transient=True)
        if self.calls % 25 == 0:
            self.limited += 1
            raise ProviderError("too many requests", status=429, retry_after=0.2, transient=True)
        if any("[poison]" in text for text in texts):
            self.refused += 1
            raise ProviderError("bad input", status=400)
        return super().embed_documents(texts)


def test_a_provider_that_fails(tmp_path: Path) -> None:
    texts = [f"[poison] {text}" if n % 100 == 50 else text for n, text in enumerate(real_texts(ROWS))]
    poisoned = sum("[poison]" in text for text in texts)
    provider = Provider()
    conn = make_posts(tmp_path / "bench.db", texts, embedder=provider)
    pauses: list[SyncEvent] = []
    result = vssnative.sync(
        conn,
        embedder=provider,
        settings=Settings(batch_texts=64, backoff=0.1),
        patience=10 * OUTAGE + 600,
        on_event=lambda event: pauses.append(event) if event.kind == "paused" else None,
    )
    letters = dead_letters(conn, "posts")
    conn.close()
    assert result.rows == ROWS
    assert len(letters) == result.dead == poisoned
    assert {letter.attempts for letter in letters} == {3}
    print(
        f"\n{ROWS:,} rows, {poisoned} of them refused by the provider, which was down for {OUTAGE:g} s: all"
        f" {ROWS - poisoned:,} others embedded, {len(letters)} dead letters (3 attempts each), {provider.calls:,} calls"
        f" ({provider.refused} refused, {provider.limited} answered 429, {provider.failed} during the outage),"
        f" {len(pauses)} pauses"
    )


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-s"]))
