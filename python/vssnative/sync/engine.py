"""The engine under ``sync`` and ``Worker``: lease, embed in a second thread, commit; the next batch waits ready.

The connection is used by the calling thread only. While a batch is being embedded the calling thread commits the one
before it, keeps the leases alive, and notices Ctrl-C.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from ..connection import Connection, execute
from ..embedding.protocol import Embedder
from ..errors import ConfigurationError, SyncError
from ..migrations.generations import switch_if_complete
from ..migrations.records import Embedding, Generation, load_embeddings
from . import models, queue
from .batch import Batch, Done, commit_batch, plan_batch
from .embed import Embedded, Outage, RateLimit, embed_texts
from .events import Listener, emit, span
from .locking import read, write

_CHARACTERS_PER_TOKEN = 4
_FIRST_BATCH_ROWS = 32
_BATCHES_AHEAD = 2
_SMOOTHING = 0.3
# A commit is to hold the write lock about so long at most; batches shrink to that, down to a few rows.
_TARGET_HOLD_SECONDS = 0.1
_FEWEST_ROWS = 16
_LONGEST_COURTESY = 0.5

_T = TypeVar("_T")


@dataclass(frozen=True)
class Settings:
    """How a worker works.

    Attributes:
        batch_texts: texts per batch at most. A batch is one commit, during which other writers wait.
        batch_tokens: their tokens at most, roughly, as guessed from the texts' lengths.
        lease_seconds: after so long without a heartbeat, a worker's rows go to another worker.
        max_attempts: failures of its own after which a row is given up.
        backoff: seconds before the second attempt; doubled for each further one, with jitter.
        rate_limit: texts per second at most, None for no limit.
    """

    batch_texts: int = 512
    batch_tokens: int = 65_536
    lease_seconds: float = 60.0
    max_attempts: int = 3
    backoff: float = 1.0
    rate_limit: float | None = None

    def __post_init__(self) -> None:
        for name in ("batch_texts", "batch_tokens", "lease_seconds", "max_attempts", "backoff", "rate_limit"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigurationError(f"{name} must be more than 0, not {value!r}")


@dataclass
class Totals:
    """Sums over all batches of an engine."""

    rows: int = 0
    texts: int = 0
    reused: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: int = 0
    dead: int = 0
    calls: int = 0


@dataclass
class _Running:
    batch: Batch
    future: Future[dict[str, Embedded]]
    renew_at: float
    started: float = field(default_factory=time.monotonic)


class Engine:
    """Works on the queues of one or all embeddings of a file.

    Args:
        conn: a connection with vss0 loaded and no transaction open.
        table: an embedding's or table's name; None for all.
        given: embedders that cannot be built from their record, or are there already.
        where: SQL over the user's table: only rows for which it holds; with `params`.
        limit: rows to work on at most.
    """

    def __init__(
        self,
        conn: Connection,
        table: str | None = None,
        *,
        settings: Settings | None = None,
        given: Sequence[Embedder] = (),
        where: str | None = None,
        params: Sequence[object] = (),
        limit: int | None = None,
        on_event: Listener | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._conn = conn
        self._table = table
        self._settings = settings or Settings()
        self._given = tuple(given)
        self._where = where
        self._params = tuple(params)
        self._left = limit
        self._on_event = on_event
        self.stop = stop or threading.Event()
        self._rate_limit = RateLimit(self._settings.rate_limit) if self._settings.rate_limit else None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vssnative-embed")
        self._rows_per_batch: dict[int, int] = {}
        self._worker_id = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"
        self._started_at = time.time()
        self._rate = 0.0
        self._last_commit = time.monotonic()
        self._registered = False
        self._released = 0.0
        self._held = 0.0
        self._hold_per_row = 0.0
        self.totals = Totals()
        self.skip: frozenset[int] = frozenset()
        self.outage: Outage | None = None

    def close(self) -> None:
        """End the second thread and take the worker off the list of those at work."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        if self._registered:
            self._registered = False
            write(
                self._conn,
                lambda: execute(self._conn, "delete from vssnative_workers where id = ?", (self._worker_id,)),
            )

    def embeddings(self) -> list[Embedding]:
        """What this engine works on, as recorded now; without those whose numbers are in ``skip``."""
        return [e for e in load_embeddings(self._conn, self._table) if e.id not in self.skip]

    def drain(self, after_batch: Callable[[], None] | None = None) -> None:
        """Work until no entry is ready. On any exception, leases are given back with no attempt spent.

        Args:
            after_batch: called after each commit, for progress.
        """
        running: deque[_Running] = deque()
        try:
            while True:
                while len(running) < _BATCHES_AHEAD and not self.stop.is_set():
                    batch = self._next_batch()
                    if batch is None:
                        break
                    running.append(self._submit(batch))
                if not running:
                    return
                current = running[0]
                done = self._wait(current, running)
                self._commit(current, done)
                running.popleft()
                if after_batch is not None:
                    after_batch()
        finally:
            for one in running:
                one.future.cancel()
            self._give_back([one.batch for one in running])

    def next_ready(self) -> float | None:
        """When there will be something to do, None where nothing is queued."""
        now = time.time()
        moments = []
        paused = models.paused_until(self._conn)
        for embedding in self.embeddings():
            when = None if embedding.paused else queue.next_ready(self._conn, embedding)
            if when is not None:
                resume = min(paused.get(g.model_digest, 0.0) for g in embedding.live)
                moments.append(max(when, resume, now))
        return min(moments, default=None)

    def pending(self) -> int:
        """Entries in the queues, of embeddings that are not paused."""
        return sum(queue.pending(self._conn, e) for e in self.embeddings() if not e.paused)

    def _next_batch(self) -> Batch | None:
        if self._left is not None and self._left <= 0:
            return None
        embeddings = read(self._conn, self.embeddings)
        paused = models.paused_until(self._conn)
        now = time.time()
        for embedding in embeddings:
            if embedding.paused or all(paused.get(g.model_digest, 0.0) > now for g in embedding.live):
                continue
            if not queue.is_ready(self._conn, embedding, now):
                continue
            first = min(_FIRST_BATCH_ROWS, self._settings.batch_texts)
            rows = self._rows_per_batch.get(embedding.id, first)
            limit = rows if self._left is None else min(rows, self._left)
            lease = self._write(partial(self._take, embedding, limit))
            if lease is None:
                continue
            if self._left is not None:
                self._left -= len(lease.entries)
            batch = Batch(embedding, lease)
            try:
                batch = read(self._conn, partial(plan_batch, self._conn, embedding, lease, self._split))
            except BaseException:
                self._give_back([batch])
                raise
            self._adapt(embedding, batch)
            return batch
        return None

    def _write(self, work: Callable[[], _T]) -> _T:
        """One write transaction, after leaving the lock alone for as long as the last one held it.

        SQLite's waiting writers poll, up to 100 ms apart, and have no queue: a worker that came back at once would
        starve them. It costs nothing where the model takes longer than the commits.
        """
        pause = min(self._held, _LONGEST_COURTESY) - (time.monotonic() - self._released)
        if pause > 0:
            time.sleep(pause)
        began = 0.0

        def timed() -> _T:
            nonlocal began
            began = time.monotonic()
            return work()

        result = write(self._conn, timed)
        self._released = time.monotonic()
        self._held = self._released - began
        return result

    def _note_hold(self, batch: Batch) -> None:
        """Learn how long a row's commit holds the lock, here and now: the machine may be slow, or busy."""
        per_row = self._held / len(batch.lease.entries)
        known = self._hold_per_row
        self._hold_per_row = per_row if known == 0.0 else (1 - _SMOOTHING) * known + _SMOOTHING * per_row

    def _take(self, embedding: Embedding, limit: int) -> queue.Lease | None:
        return queue.take(
            self._conn,
            embedding,
            now=time.time(),
            seconds=self._settings.lease_seconds,
            limit=limit,
            where=self._where,
            params=self._params,
        )

    def _split(self, generation: Generation, text: str) -> list[tuple[int, int]]:

        from ..embedding.chunking import Chunking, WordSpans, split_text

        assert generation.chunk is not None
        embedder = models.embedder_for(generation, self._given)
        # Embedders of our own know where their tokens are; words stand in for those of others.
        spans = getattr(embedder, "tokenizer", None) or WordSpans()
        chunking = Chunking(generation.chunk.tokens, generation.chunk.overlap)
        return [(p.start, p.end) for p in split_text(text, chunking, spans) if p.start < p.end]

    def _adapt(self, embedding: Embedding, batch: Batch) -> None:
        """Choose the next batch's rows, within the texts and tokens of the settings and the time of a commit."""
        fields = max(1, sum(len(g.fields) for g in embedding.live))
        rows = self._settings.batch_texts // fields
        seen = len(batch.lease.entries)
        tokens = batch.characters / _CHARACTERS_PER_TOKEN / seen
        if tokens > 0:
            rows = min(rows, int(self._settings.batch_tokens / tokens))
        if self._hold_per_row > 0:
            rows = min(rows, max(_FEWEST_ROWS, int(_TARGET_HOLD_SECONDS / self._hold_per_row)))
        self._rows_per_batch[embedding.id] = max(1, rows)

    def _submit(self, batch: Batch) -> _Running:
        paused = models.paused_until(self._conn)
        now = time.time()
        ready = {digest: texts for digest, texts in batch.texts.items() if paused.get(digest, 0.0) <= now}
        generations = {g.model_digest: g for g in batch.embedding.live}

        def work() -> dict[str, Embedded]:
            results = {}
            for digest, texts in ready.items():
                try:
                    embedder = models.embedder_for(generations[digest], self._given)
                except Exception as error:  # noqa: BLE001 - raised by sync, noted by a worker
                    results[digest] = Embedded(outage=Outage(str(error), None, True, error))
                    continue
                with span("vssnative.embed", texts=len(texts), model=embedder.name):
                    results[digest] = embed_texts(
                        embedder, texts, sorted(batch.alone), self._rate_limit, self.stop
                    )
            return results

        return _Running(
            batch, self._executor.submit(work), time.monotonic() + self._settings.lease_seconds / 3
        )

    def _wait(self, current: _Running, running: Sequence[_Running]) -> dict[str, Embedded]:
        while True:
            wake = min(one.renew_at for one in running)
            try:
                return current.future.result(timeout=max(0.0, wake - time.monotonic()))
            except FutureTimeout:
                if current.future.done():
                    raise
                self._heartbeat(running)

    def _heartbeat(self, running: Sequence[_Running]) -> None:
        def renew() -> None:
            until = time.time() + self._settings.lease_seconds
            for one in running:
                queue.extend(self._conn, one.batch.embedding, one.batch.lease, until)

        self._write(renew)
        for one in running:
            one.renew_at = time.monotonic() + self._settings.lease_seconds / 3

    def _commit(self, current: _Running, done: Mapping[str, Embedded]) -> None:
        batch = current.batch
        name = batch.embedding.name
        outages = {digest: one.outage for digest, one in done.items() if one.outage is not None}

        def store() -> tuple[Done, bool, dict[str, float]]:
            paused = models.paused_until(self._conn)
            for digest, outage in outages.items():
                paused[digest] = models.pause(self._conn, digest, outage.reason, outage.retry_after)
            worked = [digest for digest, one in done.items() if one.vectors and digest not in outages]
            models.clear_pause(self._conn, [digest for digest in worked if digest in paused])
            recorded = [e for e in load_embeddings(self._conn) if e.id == batch.embedding.id]
            if not recorded:
                return Done(), False, paused
            counts = commit_batch(
                self._conn,
                recorded[0],
                batch,
                done,
                max_attempts=self._settings.max_attempts,
                backoff=self._settings.backoff,
                paused_until=paused,
            )
            self._note_worker(counts)
            return counts, switch_if_complete(self._conn, recorded[0]), paused

        with span("vssnative.commit", embedding=name, rows=len(batch.lease.entries)):
            counts, switched, paused = self._write(store)
        self._note_hold(batch)
        self._add(counts, done)
        emit(self._on_event, "batch", name, rows=counts.rows, texts=counts.texts, removed=counts.removed)
        for row_id, field_name, reason in counts.failed:
            emit(self._on_event, "failed", name, row_id=row_id, field=field_name, reason=reason)
        for row_id, field_name, reason in counts.dead:
            emit(self._on_event, "dead", name, row_id=row_id, field=field_name, reason=reason)
        for digest, outage in outages.items():
            self.outage = outage
            seconds = round(paused[digest] - time.time(), 3)
            emit(self._on_event, "paused", name, model=digest[:12], reason=outage.reason, seconds=seconds)
        if not outages and any(one.vectors for one in done.values()):
            self.outage = None
        if switched:
            emit(self._on_event, "switched", name)

    def _add(self, counts: Done, done: Mapping[str, Embedded]) -> None:
        totals = self.totals
        totals.rows += counts.rows
        totals.texts += counts.texts
        totals.reused += counts.reused
        totals.unchanged += counts.unchanged
        totals.removed += counts.removed
        totals.failed += len(counts.failed)
        totals.dead += len({row_id for row_id, _, _ in counts.dead})
        totals.calls += sum(one.calls for one in done.values())

    def _note_worker(self, counts: Done) -> None:
        now = time.monotonic()
        rate = counts.texts / max(1e-6, now - self._last_commit)
        self._rate = rate if self._rate == 0.0 else (1 - _SMOOTHING) * self._rate + _SMOOTHING * rate
        self._last_commit = now
        self._registered = True
        seen = time.time()
        execute(
            self._conn,
            "insert or replace into vssnative_workers(id, host, pid, started_at, seen_at, texts, rate)"
            " values (?, ?, ?, ?, ?, ?, ?)",
            (
                self._worker_id,
                socket.gethostname(),
                os.getpid(),
                self._started_at,
                seen,
                self.totals.texts + counts.texts,
                self._rate,
            ),
        )
        execute(self._conn, "delete from vssnative_workers where seen_at < ?", (seen - 86_400.0,))

    def _give_back(self, batches: Sequence[Batch]) -> None:
        if batches:

            def give() -> None:
                for batch in batches:
                    queue.release(self._conn, batch.embedding, batch.lease, 0.0)

            write(self._conn, give)


def surface(outage: Outage) -> SyncError:
    """The error to raise for a provider that somebody has to mend."""
    return SyncError(f"the model's provider cannot be used: {outage.reason}; what is embedded so far is kept")
