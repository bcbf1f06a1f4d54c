"""The engine under ``sync`` and ``Worker``: lease, embed in a second thread, commit; the next batch waits ready.

The connection is used by the calling thread only. While a batch is being embedded the calling thread commits the one
before it, in parts that each hold the write lock for a short time, keeps the leases alive, and notices Ctrl-C.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from functools import partial

from .._catalog.conditions import Condition
from .._catalog.enqueue import EDIT_PRIORITY
from .._catalog.generations import switch_if_complete
from .._catalog.models import embedder_for
from .._catalog.records import EmbeddingConfig, Generation, load_embeddings
from .._connection import Connection, check_cancelled, execute, shielded
from ..embedding.chunking import Passage, spans_of, split_text
from ..embedding.daemons import DaemonPool
from ..embedding.protocol import Embedder
from ..embedding.registry import is_hosted
from ..errors import ConfigurationError, SyncError
from . import pauses, queue
from .batch import Batch, Done, commit_batch, plan_batch
from .embed import Embedded, Outage, RateLimit, embed_texts
from .events import Listener, emit, span
from .locking import Turns, read, write
from .window import cut

_CHARACTERS_PER_TOKEN = 4
# One that is being committed, one that is being embedded, and one that waits ready.
_BATCHES_AHEAD = 3
# Rows are leased for so many batches at once, so that texts of similar length can be embedded together.
_BATCHES_PER_WINDOW = 8
# Before anything is known of the texts' lengths.
_FIRST_ROWS = 256
_RATE_SECONDS = 10.0
# A worker at work commits more often than that.
_WORKER_ALIVE_SECONDS = 10.0
# After a stop or a deadline a batch may end for so long; then its rows are given back.
_GRACE_SECONDS = 0.7
_LOOK_SECONDS = 0.1
# However little patience is left, a call gets so much time: one that gets none would tell of no outage either.
_SHORTEST_CALL_SECONDS = 2.0


@dataclass(frozen=True)
class Settings:
    """How a worker works.

    Attributes:
        batch_texts: texts per call of the model at most. They are committed in parts, so that other writers never wait
            for long.
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
            if value is None and name == "rate_limit":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ConfigurationError(f"{name} must be a number of more than 0, not {value!r}")


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


class Engine:
    """Works on the queues of one or all embeddings of a file.

    Args:
        conn: a connection with vss0 loaded and no transaction open.
        table: an embedding's or table's name; None for all.
        given: embedders that cannot be built from their record, or are there already.
        condition: only rows of the user's table for which it holds.
        limit: rows to work on at most.
    """

    def __init__(
        self,
        conn: Connection,
        table: str | None = None,
        *,
        settings: Settings | None = None,
        given: Sequence[Embedder] = (),
        condition: Condition | None = None,
        limit: int | None = None,
        on_event: Listener | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._conn = conn
        self._table = table
        self._settings = settings or Settings()
        self._given = tuple(given)
        self._condition = condition
        self._left = limit
        self._on_event = on_event
        self.stop = stop or threading.Event()
        self._rate_limit = RateLimit(self._settings.rate_limit) if self._settings.rate_limit else None
        # A thread that waits for a server is left behind at the end of the process; native code is waited for.
        self._pool = DaemonPool(1, "vssnative-embed", wait_at_exit=False)
        self._native_pool = DaemonPool(1, "vssnative-embed", wait_at_exit=True)
        self.deadline: float | None = None
        self.patience: float | None = None
        self.down_since: float | None = None
        self._rows_per_window: dict[int, int] = {}
        self._turns = Turns(conn)
        self._waiting: deque[Batch] = deque()
        self._running: deque[_Running] = deque()
        self._renew_at = 0.0
        self._worker_id = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"
        self._started_at = time.time()
        self._rate = 0.0
        self._last_commit = time.monotonic()
        self._registered = False
        self.totals = Totals()
        self.skip: frozenset[int] = frozenset()
        self.outage: Outage | None = None

    def close(self) -> None:
        """End the second thread and take the worker off the list of those at work."""
        self._pool.close(wait=False)
        self._native_pool.close(wait=False)
        if self._registered:
            self._registered = False
            with shielded():
                write(
                    self._conn,
                    lambda: execute(
                        self._conn, "delete from vssnative_workers where id = ?", (self._worker_id,)
                    ),
                )

    def embeddings(self) -> list[EmbeddingConfig]:
        """What this engine works on, as recorded now; without those whose numbers are in ``skip``."""
        return [e for e in load_embeddings(self._conn, self._table) if e.id not in self.skip]

    def drain(self, after_batch: Callable[[], None] | None = None) -> None:
        """Work until no entry is ready. On any exception, leases are given back with no attempt spent.

        Args:
            after_batch: called after each commit, for progress.
        """
        running = self._running
        try:
            while True:
                while len(running) < _BATCHES_AHEAD and not self.stop.is_set():
                    batch = self._next_batch()
                    if batch is None:
                        break
                    running.append(self._submit(batch))
                if not running:
                    return
                done = self._wait(running[0].future)
                if done is None:
                    return
                self._commit(running[0].batch, done)
                running.popleft()
                if after_batch is not None:
                    after_batch()
        finally:
            for one in running:
                one.future.cancel()
            with shielded():
                self._give_back(self._held())
            running.clear()
            self._waiting.clear()

    def next_ready(self) -> float | None:
        """When there will be something to do, None where nothing is queued."""
        now = time.time()
        moments = []
        embeddings = self.embeddings()
        paused = pauses.paused_until(self._conn) if embeddings else {}
        for embedding in embeddings:
            when = None if embedding.paused else queue.next_ready(self._conn, embedding)
            if when is not None:
                resume = min(paused.get(g.model_digest, 0.0) for g in embedding.live)
                moments.append(max(when, resume, now))
        return min(moments, default=None)

    def waits_for(self) -> tuple[float, str] | None:
        """When, in seconds since 1970, and for what, where all there is to do waits for models that are paused."""
        paused = pauses.reasons(self._conn)
        if not paused:
            return None
        found = []
        for embedding in self.embeddings():
            if embedding.paused or queue.pending(self._conn, embedding) == 0:
                continue
            ends = [
                (*paused[g.model_digest], g.model_name) for g in embedding.live if g.model_digest in paused
            ]
            if len(ends) < len(embedding.live):
                return None
            until, reason, model = min(ends)
            found.append((until, f"model {model} is paused until {clock_time(until)}: {reason}"))
        return min(found, default=None)

    def ask_again(self) -> None:
        """End the pauses of the models at work here."""
        digests = {g.model_digest for e in self.embeddings() for g in e.live}
        self._turns.write(partial(pauses.clear_pause, self._conn, sorted(digests)))

    def heal(self) -> None:
        """Free rows whose times a clock that was ahead has put out of reach."""
        now = time.time()
        for embedding in self.embeddings():
            if queue.out_of_reach(self._conn, embedding, now):
                seconds = self._settings.lease_seconds
                self._turns.write(partial(queue.heal_times, self._conn, embedding, now, seconds))

    def pending(self, *, paused: bool = False) -> int:
        """Entries in the queues, by default of embeddings that are not paused."""
        return sum(queue.pending(self._conn, e) for e in self.embeddings() if paused or not e.paused)

    def _next_batch(self) -> Batch | None:
        """The next batch to embed; where a backfill's wait already, edits that have come meanwhile go before them."""
        workable = read(self._conn, self._workable)
        self._return_unworkable({embedding.id for embedding in workable})
        waiting = self._waiting
        if not waiting or waiting[0].priority > EDIT_PRIORITY:
            for embedding in workable:
                batches = self._open_window(embedding, edits_only=bool(waiting))
                if batches:
                    waiting.extendleft(reversed(batches))
                    break
        return waiting.popleft() if waiting else None

    def _workable(self) -> list[EmbeddingConfig]:
        """The embeddings that are not paused and have a model that is not."""
        embeddings = self.embeddings()
        if not embeddings:  # perhaps not even our own tables
            return []
        paused = pauses.paused_until(self._conn)
        now = time.time()
        return [
            e
            for e in embeddings
            if not e.paused and any(paused.get(g.model_digest, 0.0) <= now for g in e.live)
        ]

    def _return_unworkable(self, workable: set[int]) -> None:
        back = [batch for batch in self._waiting if batch.embedding.id not in workable]
        if back:
            self._give_back(back)
            self._waiting = deque(batch for batch in self._waiting if batch.embedding.id in workable)

    def _open_window(self, embedding: EmbeddingConfig, *, edits_only: bool) -> list[Batch]:
        """Lease rows for some batches, compare them with what is stored, and cut them."""
        if self._left is not None and self._left <= 0:
            return []
        if not queue.is_ready(self._conn, embedding, time.time(), edits_only=edits_only):
            return []
        lease = self._turns.write(partial(self._take, embedding, edits_only))
        if lease is None:
            return []
        if self._left is not None:
            self._left -= len(lease.entries)
        if not self._held():
            self._renew_at = time.monotonic() + self._settings.lease_seconds / 3
        planned = Batch(embedding, lease)
        try:
            planned = read(self._conn, partial(plan_batch, self._conn, embedding, lease, self._split))
        except BaseException:
            self._give_back([planned])
            raise
        self._adapt(embedding, planned)
        return cut(planned, self._settings.batch_texts, self._settings.batch_tokens * _CHARACTERS_PER_TOKEN)

    def _take(self, embedding: EmbeddingConfig, edits_only: bool) -> queue.Lease | None:
        now = time.time()
        rows = self._rows_per_window.get(embedding.id, min(_FIRST_ROWS, self._most_rows(embedding)))
        [(others,)] = execute(
            self._conn,
            "select count(*) from vssnative_workers where seen_at > ? and id <> ?",
            (now - _WORKER_ALIVE_SECONDS, self._worker_id),
        )
        if others:
            # Towards the end, something is left for everybody.
            ready = queue.ready(self._conn, embedding, now, rows * (others + 1), edits_only=edits_only)
            fewest = self._most_rows(embedding) // _BATCHES_PER_WINDOW
            rows = min(rows, max(1, fewest, ready // (others + 1)))
        return queue.take(
            self._conn,
            embedding,
            now=now,
            seconds=self._settings.lease_seconds,
            limit=rows if self._left is None else min(rows, self._left),
            condition=self._condition,
            edits_only=edits_only,
        )

    def _split(self, generation: Generation, text: str) -> list[Passage]:
        assert generation.chunk is not None
        spans = spans_of(embedder_for(generation, self._given))
        return [p for p in split_text(text, generation.chunk, spans) if p.text]

    def _most_rows(self, embedding: EmbeddingConfig) -> int:
        fields = max(1, sum(len(g.fields) for g in embedding.live))
        return max(1, _BATCHES_PER_WINDOW * self._settings.batch_texts // fields)

    def _adapt(self, embedding: EmbeddingConfig, planned: Batch) -> None:
        """Choose the next window's rows by the lengths of this one's: all its texts are in memory."""
        rows = self._most_rows(embedding)
        tokens = planned.characters / _CHARACTERS_PER_TOKEN / len(planned.lease.entries)
        if tokens > 0:
            rows = min(rows, int(_BATCHES_PER_WINDOW * self._settings.batch_tokens / tokens))
        self._rows_per_window[embedding.id] = max(1, rows)

    def _submit(self, batch: Batch) -> _Running:
        paused = pauses.paused_until(self._conn)
        now = time.time()
        ready = {digest: texts for digest, texts in batch.texts.items() if paused.get(digest, 0.0) <= now}
        generations = {g.model_digest: g for g in batch.embedding.live}
        deadline, patience_ends = self.deadline, None
        if self.patience is not None:
            began = time.monotonic()
            patience_ends = max((self.down_since or began) + self.patience, began + _SHORTEST_CALL_SECONDS)
        remote = any(is_hosted(generations[digest].model) for digest in ready)

        def work() -> dict[str, Embedded]:
            results = {}
            for digest, texts in ready.items():
                try:
                    embedder = embedder_for(generations[digest], self._given)
                except Exception as error:  # noqa: BLE001 - raised by sync, noted by a worker
                    results[digest] = Embedded(outage=Outage(str(error), None, True, error))
                    continue
                with span("vssnative.embed", texts=len(texts), model=embedder.name):
                    results[digest] = embed_texts(
                        embedder,
                        texts,
                        sorted(batch.alone),
                        self._rate_limit,
                        self.stop,
                        deadline,
                        patience_ends,
                    )
            return results

        return _Running(batch, (self._pool if remote else self._native_pool).submit(work))

    def _wait(self, future: Future[dict[str, Embedded]]) -> dict[str, Embedded] | None:
        """The batch's outcome; None where it is not waited for any more: its rows go back, untouched."""
        over_since: float | None = None
        while True:
            self._keep_leases()
            wait_for([future], timeout=max(0.0, min(_LOOK_SECONDS, self._renew_at - time.monotonic())))
            if future.done():
                return future.result()
            check_cancelled()
            now = time.monotonic()
            if self.stop.is_set() or (self.deadline is not None and now >= self.deadline):
                over_since = over_since or now
                if now - over_since >= _GRACE_SECONDS:
                    return None

    def _held(self) -> list[Batch]:
        """What is leased and not committed."""
        return [*(one.batch for one in self._running), *self._waiting]

    def _keep_leases(self) -> None:
        """The heartbeat, where it is time for one."""
        if time.monotonic() < self._renew_at:
            return

        def renew() -> None:
            until = time.time() + self._settings.lease_seconds
            for batch in self._held():
                queue.extend(self._conn, batch.embedding, batch.lease, until)

        self._turns.write(renew)
        self._renew_at = time.monotonic() + self._settings.lease_seconds / 3

    def _commit(self, batch: Batch, done: Mapping[str, Embedded]) -> None:
        """Commit a batch, in parts that each hold the write lock for a short time only."""
        batch.note(done)
        self._note_providers(batch.embedding.name, done)
        entries = batch.lease.entries
        start = 0
        while start < len(entries):
            self._keep_leases()
            left = len(entries) - start
            # Rows to take away cost little each, and a commit much by itself: the index tidies up at its end.
            whole = len(batch.removed) == len(entries)
            part = batch.part(entries[start : start + (left if whole else self._turns.portion(left))])
            self._commit_part(part)
            start += len(part.lease.entries)
        self.totals.calls += sum(one.calls for one in done.values())

    def _note_providers(self, name: str, done: Mapping[str, Embedded]) -> None:
        """Pause the models whose provider failed, for all workers, and forget the pauses of those that work."""
        outages = {digest: one.outage for digest, one in done.items() if one.outage is not None}
        worked = [digest for digest, one in done.items() if one.vectors and digest not in outages]

        def note() -> dict[str, float]:
            pauses.clear_pause(self._conn, worked)
            return {
                digest: pauses.pause(self._conn, digest, outage.reason, outage.retry_after)
                for digest, outage in outages.items()
            }

        if not outages and not set(worked) & set(pauses.recorded(self._conn)):
            if worked:
                self.outage = None
            return
        for digest, until in self._turns.write(note).items():
            seconds = round(until - time.time(), 3)
            reason = outages[digest].reason
            emit(self._on_event, "paused", name, model=digest[:12], reason=reason, seconds=seconds)
        self.outage = next(iter(outages.values()), None)

    def _commit_part(self, part: Batch) -> None:
        name = part.embedding.name

        def store() -> tuple[Done, bool]:
            recorded = [e for e in load_embeddings(self._conn) if e.id == part.embedding.id]
            if not recorded:
                return Done(), False
            counts = commit_batch(
                self._conn,
                recorded[0],
                part,
                max_attempts=self._settings.max_attempts,
                backoff=self._settings.backoff,
                paused_until=pauses.paused_until(self._conn),
            )
            self._note_worker(counts)
            return counts, switch_if_complete(self._conn, recorded[0])

        with span("vssnative.commit", embedding=name, rows=len(part.lease.entries)):
            counts, switched = self._turns.write_rows(len(part.lease.entries), store)
        part.shared.stored |= counts.stored
        self._add(counts)
        emit(self._on_event, "batch", name, rows=counts.rows, texts=counts.texts, removed=counts.removed)
        for row_id, field_name, reason in counts.failed:
            emit(self._on_event, "failed", name, row_id=row_id, field=field_name, reason=reason)
        for row_id, field_name, reason in counts.dead:
            emit(self._on_event, "dead", name, row_id=row_id, field=field_name, reason=reason)
        if switched:
            emit(self._on_event, "switched", name)

    def _add(self, counts: Done) -> None:
        totals = self.totals
        totals.rows += counts.rows
        totals.texts += counts.texts
        totals.reused += counts.reused
        totals.unchanged += counts.unchanged
        totals.removed += counts.removed
        totals.failed += len(counts.failed)
        totals.dead += len({row_id for row_id, _, _ in counts.dead})
        if self._left is not None:
            self._left += counts.postponed

    def _note_worker(self, counts: Done) -> None:
        # Commits come in bursts: each counts by the time it stands for.
        now = time.monotonic()
        passed = max(1e-6, now - self._last_commit)
        weight = -math.expm1(-passed / _RATE_SECONDS)
        self._rate += weight * (counts.texts / passed - self._rate)
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
        """End leases, no attempt spent."""
        if not batches:
            return

        def give() -> None:
            for batch in batches:
                queue.release(self._conn, batch.embedding, batch.lease, 0.0)

        write(self._conn, give)
        if self._left is not None:
            self._left += sum(len(batch.lease.entries) for batch in batches)


def clock_time(when: float) -> str:
    """A time in seconds since 1970 for people, in their own time zone; with the day where that is another."""
    there, here = time.localtime(when), time.localtime()
    return time.strftime("%H:%M:%S" if there[:3] == here[:3] else "%Y-%m-%d %H:%M:%S", there)


def surface(outage: Outage) -> SyncError:
    """The error to raise for a provider that somebody has to mend."""
    return SyncError(f"the model's provider cannot be used: {outage.reason}; what is embedded so far is kept")
