"""A batch: what leased rows need, found by comparing their texts with what is stored; and its commit.

Planning reads, embedding is elsewhere, a commit is one short write transaction. A row takes part in the commit only
if its lease still stands, that is, if nobody edited it since it was leased. Many rows are leased and planned at once;
parts of them are embedded, and parts of those committed.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .._catalog import full_text
from .._catalog.content import EMPTY_HASH, Unreadable, embedded_hashes, read_texts
from .._catalog.records import EmbeddingConfig, Field, Generation
from .._catalog.statements import insert_rows
from .._connection import Connection, execute
from ..embedding._texts import content_hash
from ..embedding.chunking import Passage
from . import cache, queue
from .embed import Embedded, Vector
from .pauses import LONGEST_BACKOFF
from .store import VectorStore, stores_of

Splitter = Callable[[Generation, str], list[Passage]]


class Job(NamedTuple):
    """A field of a row whose stored vectors are not those of its present text.

    Attributes:
        hash: of the whole text; None where it cannot be read (`unreadable` says why).
        passages: what to embed; empty where the text is empty and the vectors are to go.
    """

    generation: Generation
    row_id: int
    field: Field
    hash: str | None
    passages: tuple[Passage, ...]
    unreadable: str | None = None


@dataclass
class Shared:
    """What all parts of a batch have in common.

    Attributes:
        cached: model digest to passage hash to vector, of texts that the cache had when they were planned.
        embedded: model digest to what came of its texts so far.
        stored: model digest and passage hash of the vectors that a commit has put into the cache.
    """

    cached: dict[str, dict[str, Vector]] = field(default_factory=dict)
    embedded: dict[str, Embedded] = field(default_factory=dict)
    stored: set[cache.Key] = field(default_factory=set)


@dataclass
class Batch:
    """Leased rows, the jobs they need, and the texts that have to be embedded for those.

    Attributes:
        jobs: row number to its jobs; rows that need none are left out.
        texts: model digest to passage hash to text.
        alone: passage hashes of rows that failed before.
        removed: rows that are not in the table any more.
        characters: length of all texts of the rows.
    """

    embedding: EmbeddingConfig
    lease: queue.Lease
    jobs: dict[int, list[Job]] = field(default_factory=dict)
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    alone: set[str] = field(default_factory=set)
    removed: set[int] = field(default_factory=set)
    characters: int = 0
    shared: Shared = field(default_factory=Shared)

    @property
    def priority(self) -> int:
        """That of its most urgent row."""
        return min(entry.priority for entry in self.lease.entries)

    def part(self, entries: Sequence[queue.Entry], texts: dict[str, dict[str, str]] | None = None) -> Batch:
        """Some of the rows. What is embedded and stored for one part counts for all of them.

        Args:
            texts: what to embed for them; none by default.
        """
        jobs = {entry.row_id: self.jobs[entry.row_id] for entry in entries if entry.row_id in self.jobs}
        removed = {entry.row_id for entry in entries if entry.row_id in self.removed}
        lease = queue.Lease(self.lease.token, tuple(entries))
        return Batch(self.embedding, lease, jobs, texts or {}, self.alone, removed, shared=self.shared)

    def note(self, done: Mapping[str, Embedded]) -> None:
        """Keep what came of texts, by model."""
        for digest, one in done.items():
            known = self.shared.embedded.setdefault(digest, Embedded())
            known.vectors.update(one.vectors)
            known.failures.update(one.failures)

    def outcome(self, job: Job) -> list[Vector] | str | None:
        """The job's vectors, one per passage; or why it failed; or None where its model could not be used."""
        if job.unreadable is not None:
            return job.unreadable
        vectors = []
        digest = job.generation.model_digest
        cached, embedded = self.shared.cached.get(digest, {}), self.shared.embedded.get(digest)
        for passage in job.passages:
            vector = cached.get(passage.hash)
            if vector is None:
                if embedded is None:
                    return None
                if passage.hash in embedded.failures:
                    return embedded.failures[passage.hash]
                vector = embedded.vectors.get(passage.hash)
                if vector is None:
                    return None
            vectors.append(vector)
        return vectors

    def fresh_vectors(self) -> dict[cache.Key, Vector]:
        """Vectors of the texts of these rows that were embedded and are not in the cache yet."""
        fresh: dict[cache.Key, Vector] = {}
        for job in (job for jobs in self.jobs.values() for job in jobs):
            digest = job.generation.model_digest
            if digest not in self.shared.embedded:
                continue
            vectors = self.shared.embedded[digest].vectors
            for passage in job.passages:
                key = digest, passage.hash
                if passage.hash in vectors and key not in self.shared.stored:
                    fresh[key] = vectors[passage.hash]
        return fresh


@dataclass
class Done:
    """What a commit did.

    Attributes:
        texts: newly embedded.
        reused: passages whose vector came from the cache or an equal text.
        postponed: rows given back untouched: their model cannot be used for now, or there is another one.
        stored: model digest and passage hash of the vectors that it put into the cache.
    """

    rows: int = 0
    texts: int = 0
    reused: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: list[tuple[int, str, str]] = field(default_factory=list)
    dead: list[tuple[int, str, str]] = field(default_factory=list)
    postponed: int = 0
    stored: set[cache.Key] = field(default_factory=set)


def plan_batch(conn: Connection, embedding: EmbeddingConfig, lease: queue.Lease, split: Splitter) -> Batch:
    """Compare leased rows with what is stored. Reads only.

    Args:
        split: gives the passages of a text, for chunked generations.
    """
    batch = Batch(embedding, lease)
    row_ids = [entry.row_id for entry in lease.entries]
    failed_before = {entry.row_id for entry in lease.entries if entry.attempts > 0}
    # A new row under a number in use starts with empty blob columns, even if its text is the old one's.
    rewritten = {entry.row_id for entry in lease.entries if entry.gone} if embedding.uses_columns else set()
    for generation in embedding.live:
        texts = read_texts(conn, embedding, generation, row_ids)
        batch.removed = set(row_ids) - set(texts)
        known = embedded_hashes(conn, generation, row_ids)
        wanted: dict[str, str] = {}
        for row_id, fields in texts.items():
            for text_field in generation.fields:
                text = fields[text_field.name]
                if isinstance(text, Unreadable):
                    jobs = batch.jobs.setdefault(row_id, [])
                    jobs.append(Job(generation, row_id, text_field, None, (), text.reason))
                    continue
                whole = EMPTY_HASH if text is None else content_hash(text)
                batch.characters += len(text or "")
                if known.get((row_id, text_field.name)) == whole and row_id not in rewritten:
                    continue
                passages: tuple[Passage, ...] = ()
                if text is not None and generation.chunk is None:
                    passages = (Passage.whole(text, whole),)
                elif text is not None:
                    passages = tuple(split(generation, text))
                for passage in passages:
                    wanted[passage.hash] = passage.text
                if row_id in failed_before:
                    batch.alone.update(p.hash for p in passages)
                batch.jobs.setdefault(row_id, []).append(Job(generation, row_id, text_field, whole, passages))
        found = cache.look_up(conn, generation.model_digest, list(wanted), generation.dim)
        batch.shared.cached.setdefault(generation.model_digest, {}).update(found)
        missing = {hash_: text for hash_, text in wanted.items() if hash_ not in found}
        if missing:
            batch.texts.setdefault(generation.model_digest, {}).update(missing)
    return batch


def commit_batch(
    conn: Connection,
    embedding: EmbeddingConfig,
    batch: Batch,
    *,
    max_attempts: int,
    backoff: float,
    paused_until: Mapping[str, float],
) -> Done:
    """Store what came of a batch. In the caller's write transaction; `embedding` is as recorded now.

    Args:
        max_attempts: failures of its own after which a row is given up.
        backoff: seconds before the second attempt, doubled for each further one.
        paused_until: model digest to the time when it may be asked again.
    """
    # Also for rows that were edited meanwhile: such a text may come back.
    fresh = batch.fresh_vectors()
    cache.store(conn, fresh)
    counts = Done(texts=len(fresh), stored=set(fresh))
    held = queue.still_held(conn, embedding, batch.lease)
    if not held:
        return counts
    if {g.id for g in embedding.live} != {g.id for g in batch.embedding.live}:
        # Another model came or went meanwhile: the rows have to be looked at again, no attempt spent.
        queue.release(conn, embedding, batch.lease, 0.0)
        counts.postponed = len(held)
        return counts
    _forget_rows(conn, embedding, sorted(batch.removed & held), everywhere=True)
    full_text.forget_rows(conn, embedding, sorted(batch.removed & held))
    counts.removed = len(batch.removed & held)
    gone = {entry.row_id for entry in batch.lease.entries if entry.gone} & held - batch.removed
    _forget_rows(conn, embedding, sorted(gone), everywhere=False)

    failed: dict[int, list[tuple[Job, str]]] = {}
    waiting: dict[int, float] = {}
    finished: list[tuple[Job, list[Vector]]] = []
    for job in (job for row_id, jobs in batch.jobs.items() if row_id in held for job in jobs):
        outcome = batch.outcome(job)
        if outcome is None:
            waiting[job.row_id] = paused_until.get(job.generation.model_digest, 0.0)
        elif isinstance(outcome, str):
            failed.setdefault(job.row_id, []).append((job, outcome))
        else:
            finished.append((job, outcome))
    embedding_stores = {g.id: stores_of(conn, embedding, g) for g in embedding.live}
    _store(conn, embedding_stores, finished)

    attempts = {entry.row_id: entry.attempts for entry in batch.lease.entries}
    later: list[tuple[int, int, float]] = []
    given_up: list[tuple[Job, str]] = []
    now = time.time()
    for row_id, failures in failed.items():
        count = attempts[row_id] + 1
        counts.failed += [(row_id, job.field.name, reason) for job, reason in failures]
        if count >= max_attempts and row_id not in waiting:
            given_up += failures
        else:
            delay = min(LONGEST_BACKOFF, backoff * 2.0 ** (count - 1)) * random.uniform(0.5, 1.5)
            later.append((row_id, count, max(now + delay, waiting.pop(row_id, 0.0))))
    later += [(row_id, attempts[row_id], when) for row_id, when in waiting.items()]
    counts.postponed = len(waiting)
    _bury(conn, embedding, embedding_stores, given_up, attempts, now)
    counts.dead = [(job.row_id, job.field.name, reason) for job, reason in given_up]
    through = held - {row[0] for row in later}
    _clear_dead_letters(conn, embedding, sorted(through - {job.row_id for job, _ in given_up}))
    queue.retry_later(conn, embedding, later)
    queue.finish(conn, embedding, sorted(through))
    if embedding.keyed and batch.removed & held:
        execute(
            conn,
            f"delete from {embedding.key_table} where id in (select value from json_each(?))",
            (json.dumps(sorted(batch.removed & held)),),
        )
    used = {(job.generation.model_digest, passage.hash) for job, _ in finished for passage in job.passages}
    counts.rows = len(through)
    counts.reused = sum(len(job.passages) for job, _ in finished) - len(used & counts.stored)
    counts.unchanged = len(through - set(batch.jobs) - batch.removed)
    return counts


def _store(
    conn: Connection,
    stores: Mapping[int, Sequence[VectorStore]],
    finished: Sequence[tuple[Job, list[Vector]]],
) -> None:
    """Replace the vectors and provenance of fields."""
    groups: dict[tuple[int, str], list[tuple[Job, list[Vector]]]] = {}
    for job, vectors in finished:
        groups.setdefault((job.generation.id, job.field.name), []).append((job, vectors))
    for jobs in groups.values():
        generation, text_field = jobs[0][0].generation, jobs[0][0].field
        emptied = [job.row_id for job, vectors in jobs if not vectors]
        _forget_field(conn, stores[generation.id], generation, text_field, emptied)
        filled = [(job, vectors) for job, vectors in jobs if vectors]
        if filled:
            ids = [job.row_id for job, _ in filled]
            if generation.chunk is not None:
                _forget_field(conn, stores[generation.id], generation, text_field, ids)
                ids = _number_passages(conn, generation, text_field, [job for job, _ in filled])
            matrix = np.stack([vector for _, vectors in filled for vector in vectors])
            for store in stores[generation.id]:
                store.put(text_field, ids, matrix)
        insert_rows(
            conn,
            "insert into vssnative_provenance(generation, row_id, field, content_hash, passages)",
            [
                (generation.id, job.row_id, text_field.name, job.hash, len(vectors))
                for job, vectors in sorted(jobs, key=lambda pair: pair[0].row_id)
            ],
            "on conflict(generation, row_id, field)"
            " do update set content_hash = excluded.content_hash, passages = excluded.passages",
        )


def _number_passages(
    conn: Connection, generation: Generation, text_field: Field, jobs: Sequence[Job]
) -> list[int]:
    [(last,)] = execute(conn, "select coalesce(max(id), 0) from vssnative_passages")
    passages = [(job, ordinal, passage) for job in jobs for ordinal, passage in enumerate(job.passages)]
    ids = list(range(last + 1, last + 1 + len(passages)))
    insert_rows(
        conn,
        "insert into vssnative_passages(id, generation, row_id, field, ordinal, start, stop)",
        [
            (number, generation.id, job.row_id, text_field.name, ordinal, passage.start, passage.end)
            for number, (job, ordinal, passage) in zip(ids, passages, strict=True)
        ],
    )
    return ids


def _forget_field(
    conn: Connection,
    stores: Sequence[VectorStore],
    generation: Generation,
    text_field: Field,
    row_ids: Sequence[int],
) -> None:
    """Take a field's vectors and provenance of these rows away."""
    if not row_ids:
        return
    rows = json.dumps(list(row_ids))
    ids = list(row_ids)
    if generation.chunk is not None:
        condition = "generation = ? and field = ? and row_id in (select value from json_each(?))"
        values = (generation.id, text_field.name, rows)
        ids = [
            row[0] for row in execute(conn, f"select id from vssnative_passages where {condition}", values)
        ]
        execute(conn, f"delete from vssnative_passages where {condition}", values)
    for store in stores:
        store.remove(text_field, ids)
    execute(
        conn,
        "delete from vssnative_provenance where generation = ? and field = ?"
        " and row_id in (select value from json_each(?))",
        (generation.id, text_field.name, rows),
    )


def _forget_rows(
    conn: Connection, embedding: EmbeddingConfig, row_ids: Sequence[int], *, everywhere: bool
) -> None:
    """Take rows away: from all generations, or only from those that are not kept in step.

    The latter for a row whose number belonged to an earlier row: a rollback to an older model must not bring that
    one's vectors back.
    """
    if not row_ids:
        return
    for generation in embedding.generations:
        if not everywhere and generation in embedding.live:
            continue
        for text_field in generation.fields:
            _forget_field(conn, stores_of(conn, embedding, generation), generation, text_field, row_ids)
    if everywhere:
        _clear_dead_letters(conn, embedding, row_ids)


def _clear_dead_letters(conn: Connection, embedding: EmbeddingConfig, row_ids: Sequence[int]) -> None:
    if row_ids:
        execute(
            conn,
            "delete from vssnative_dead_letters where embedding = ? and row_id in (select value from json_each(?))",
            (embedding.id, json.dumps(list(row_ids))),
        )


def _bury(
    conn: Connection,
    embedding: EmbeddingConfig,
    stores: Mapping[int, Sequence[VectorStore]],
    given_up: Sequence[tuple[Job, str]],
    attempts: Mapping[int, int],
    now: float,
) -> None:
    """Write dead letters. What an earlier text left behind goes: it is not the row's present text."""
    _clear_dead_letters(conn, embedding, sorted({job.row_id for job, _ in given_up}))
    for job, reason in given_up:
        _forget_field(conn, stores[job.generation.id], job.generation, job.field, [job.row_id])
        execute(
            conn,
            "insert into vssnative_dead_letters(embedding, row_id, generation, field, reason, content_hash, attempts,"
            " died_at) values (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                embedding.id,
                job.row_id,
                job.generation.id,
                job.field.name,
                reason,
                job.hash,
                attempts[job.row_id] + 1,
                now,
            ),
        )
