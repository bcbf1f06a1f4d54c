"""Compare what is stored with what should be: by SQL, by hash, and by embedding a sample again; and mend it."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .._catalog import full_text
from .._catalog.content import EMPTY_HASH, Unreadable, embedded_hashes, read_texts
from .._catalog.models import embedder_for
from .._catalog.records import EmbeddingConfig, Field, Generation, load_embedding
from .._connection import Connection, execute, in_its_thread, load
from .._sql import quote_identifier
from ..embedding._texts import content_hash
from ..embedding.precision import is_rounded
from ..embedding.protocol import Embedder
from . import cache
from .engine import Settings
from .health import lost_parts, mend, needs_mending, problem_with
from .locking import read, require_no_transaction, write
from .run import sync
from .store import stores_of

_PAGE = 1000
_LARGEST_DIFFERENCE = 1e-3
# Twice what vectors with a cosine of 0.9999 differ by.
_LARGEST_DIFFERENCE_ROUNDED = 0.03


@dataclass
class Report:
    """What ``verify`` found; all lists are row numbers, except where said. Rows in the queue are no fault: sync will
    see to them; nor are rows that were given up. Both are counted.

    Attributes:
        name: the embeddings' name.
        checked: rows of the table that were looked at.
        missing: rows that have a text but not its vector, and are neither queued nor given up.
        stale: rows whose vectors were made of another text than the present one.
        orphaned: rows that are not in the table any more, but still have vectors or records of them.
        stray: numbers in the vss0 table that no record accounts for.
        wrong: rows, of the sample, whose stored vector is not what the model makes of the text.
        words: rows that the kept full-text index holds otherwise than the table, or not, or without there being such a row.
        problem: triggers that are lost, or a table or column that is gone; None if all is well.
        waiting: how many rows are in the queue: new, changed or deleted, and sync has not seen to them yet.
        given_up: how many rows have a text that was given up, and so no vector of it (``dead_letters`` says why).
    """

    name: str
    checked: int = 0
    missing: list[int] = field(default_factory=list)
    stale: list[int] = field(default_factory=list)
    orphaned: list[int] = field(default_factory=list)
    stray: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    problem: str | None = None
    waiting: int = 0
    given_up: int = 0

    @property
    def verdict(self) -> str:
        """In a few words: ``in order``, ``in order, but 2 rows wait for sync``, ``faults``."""
        if not self.ok:
            return "faults"
        left = [f"{_rows(self.waiting, 'wait')} for sync"] if self.waiting else []
        left += [f"{_rows(self.given_up, 'have')} a text that was given up"] if self.given_up else []
        return "in order, but " + " and ".join(left) if left else "in order"

    @property
    def ok(self) -> bool:
        """No fault was found. Rows may be waiting all the same: see `waiting`."""
        return self.problem is None and not (
            self.missing or self.stale or self.orphaned or self.stray or self.wrong or self.words
        )


def _rows(count: int, verb: str) -> str:
    return f"{count:,} rows {verb}" if count != 1 else f"1 row {'has' if verb == 'have' else verb + 's'}"


@in_its_thread
def verify(
    conn: Connection,
    table: str,
    *,
    sample: int = 100,
    embedder: Embedder | None = None,
    seed: int | None = None,
) -> Report:
    """Check every row's vectors, and its entry in the kept full-text index, against its present text. Changes nothing.

    Args:
        table: the embeddings' name, or the name of a table that has only one.
        sample: vectors to make again with the model, chosen at random; 0 to load no model.
        embedder: the model, where it cannot be built from its record.
        seed: for the choice of the sample.

    Raises:
        MigrationError: there are no such embeddings.
        SyncError: a transaction is open: the check is one snapshot of its own.
    """
    load(conn)
    require_no_transaction(conn, "verify")
    return read(conn, lambda: _verify(conn, load_embedding(conn, table), sample, embedder, seed))


@in_its_thread
def repair(
    conn: Connection,
    table: str,
    *,
    sample: int = 0,
    embedder: Embedder | None = None,
    settings: Settings | None = None,
    progress: bool = False,
) -> Report:
    """Mend what ``verify`` finds: put triggers and vss0 tables back, drop stray vectors, queue the rest, and sync.

    Args:
        table: the embeddings' name, or the name of a table that has only one.
        sample: vectors to make again with the model, to find wrong ones.
        embedder, settings, progress: as for ``sync``.

    Returns:
        What was found, and is mended now. Where triggers or a vss0 table were lost, `problem` says so, and all rows
        were queued; likewise where the full-text index was damaged, which was rebuilt.

    Raises:
        MigrationError: there are no such embeddings, or the table or a column is gone.
        SyncError: a transaction is open, or the model cannot be used.
    """
    load(conn)
    require_no_transaction(conn, "repair")
    embedding = load_embedding(conn, table)
    lost = None
    if problem_with(conn, embedding) is None and needs_mending(conn, embedding):
        lost = f"{embedding.name}: {lost_parts(conn, embedding)}"
    embedding = mend(conn, embedding, None)
    report = _Repair(conn, sample, embedder).run(embedding.name)
    sync(conn, embedding.name, embedder=embedder, settings=settings, progress=progress)
    report.problem = lost or report.problem
    return report


class _Repair:
    def __init__(self, conn: Connection, sample: int, embedder: Embedder | None) -> None:
        self._conn = conn
        self._sample = sample
        self._embedder = embedder

    def run(self, name: str) -> Report:
        conn = self._conn

        def work() -> Report:
            # Read again: a switch may have renamed the vss0 tables meanwhile.
            embedding = load_embedding(conn, name)
            report = _verify(conn, embedding, self._sample, self._embedder, None)
            self._mend_words(embedding, report)
            for generation in embedding.live:
                self._drop_stray(embedding, generation)
            again = sorted({*report.missing, *report.stale, *report.wrong, *report.orphaned})
            # Without provenance a row is embedded again, whatever its text.
            for generation in embedding.live:
                execute(
                    conn,
                    "update vssnative_provenance set content_hash = '' where generation = ?"
                    " and row_id in (select value from json_each(?))",
                    (generation.id, json.dumps(sorted({*report.missing, *report.wrong}))),
                )
            self._forget_cached(embedding, report.wrong)
            execute(
                conn,
                "insert into vssnative_queue(embedding, row_id, queued_at) select ?, value, ? from json_each(?)"
                " where true on conflict(embedding, row_id) do update set generation = generation + 1, lease = null",
                (embedding.id, time.time(), json.dumps(again)),
            )
            return report

        return write(conn, work)

    def _mend_words(self, embedding: EmbeddingConfig, report: Report) -> None:
        report.problem = None
        if embedding.full_text is not None and (found := full_text.damage(self._conn, embedding, write=True)):
            full_text.rebuild(self._conn, embedding)
            report.problem = (
                f"{embedding.name}: its full-text index {embedding.full_text.table} was damaged ({found})"
            )
        else:
            full_text.mend_rows(self._conn, embedding, report.words)

    def _drop_stray(self, embedding: EmbeddingConfig, generation: Generation) -> None:
        for text_field in generation.fields:
            stray = sorted(_stray_ids(self._conn, generation, text_field))
            for store in stores_of(self._conn, embedding, generation):
                store.remove(text_field, stray)

    def _forget_cached(self, embedding: EmbeddingConfig, row_ids: Sequence[int]) -> None:
        """A wrong vector may be in the cache too."""
        for generation in embedding.live:
            texts = read_texts(self._conn, embedding, generation, row_ids)
            whole = {
                (row_id, name): text
                for row_id, fields in texts.items()
                for name, text in fields.items()
                if isinstance(text, str)
            }
            hashes = [content_hash(text) for text in whole.values()]
            if generation.chunk is not None:
                passages = execute(
                    self._conn,
                    "select row_id, field, start, stop from vssnative_passages"
                    " where generation = ? and row_id in (select value from json_each(?))",
                    (generation.id, json.dumps(list(row_ids))),
                )
                hashes = [
                    content_hash(whole[row_id, name][start:stop])
                    for row_id, name, start, stop in passages
                    if (row_id, name) in whole
                ]
            cache.forget(self._conn, generation.model_digest, hashes)


def _verify(
    conn: Connection, embedding: EmbeddingConfig, sample: int, embedder: Embedder | None, seed: int | None
) -> Report:
    report = Report(embedding.name, problem=problem_with(conn, embedding))
    if report.problem is not None:
        return report
    if needs_mending(conn, embedding):
        report.problem = f"{embedding.name}: {lost_parts(conn, embedding)}; sync or repair puts that right"
    elif embedding.full_text is not None and (found := full_text.damage(conn, embedding, write=False)):
        report.problem = (
            f"{embedding.name}: its full-text index {embedding.full_text.table} is damaged ({found}); repair"
            " rebuilds it"
        )
    queued = {
        row[0]
        for row in execute(conn, "select row_id from vssnative_queue where embedding = ?", (embedding.id,))
    }
    report.waiting = len(queued)
    [(report.given_up,)] = execute(
        conn,
        "select count(distinct row_id) from vssnative_dead_letters where embedding = ?",
        (embedding.id,),
    )
    missing: set[int] = set()
    stale: set[int] = set()
    seen: set[int] = set()
    for page in _pages(conn, embedding):
        seen.update(page)
        for generation in embedding.live:
            _check_page(conn, embedding, generation, page, missing, stale)
    report.checked = len(seen)
    known = {
        row[0]
        for g in embedding.generations
        for row in execute(
            conn, "select distinct row_id from vssnative_provenance where generation = ?", (g.id,)
        )
    }
    for generation in embedding.live:
        for text_field in generation.fields:
            report.stray += sorted(_stray_ids(conn, generation, text_field))
            missing |= _without_vector(conn, embedding, generation, text_field)
    report.missing = sorted((missing & seen) - queued)
    report.stale = sorted(stale - queued)
    report.orphaned = sorted(known - seen - queued)
    if embedding.full_text is not None and full_text.is_there(conn, embedding):
        otherwise, left_over = full_text.differing_rows(conn, embedding)
        # What sync will still take away: rows that REPLACE deleted without a trigger.
        report.words = sorted(otherwise | (left_over - queued))
    if sample > 0:
        report.wrong = _check_sample(
            conn, embedding, sorted(seen - queued - missing - stale), sample, embedder, seed
        )
    return report


def _pages(conn: Connection, embedding: EmbeddingConfig) -> Iterable[list[int]]:
    """Row numbers of the table, a page at a time."""
    last: int | None = None
    row_id = embedding.row_id_sql("t")
    while True:
        condition = "" if last is None else f"where {row_id} > {last}"
        rows = execute(
            conn,
            f"select {row_id} from {embedding.rows_sql('t')} {condition} order by {row_id} limit {_PAGE}",
        )
        if not rows:
            return
        page = [row[0] for row in rows]
        last = page[-1]
        yield page


def _check_page(
    conn: Connection,
    embedding: EmbeddingConfig,
    generation: Generation,
    page: list[int],
    missing: set[int],
    stale: set[int],
) -> None:
    rows = json.dumps(page)
    known = embedded_hashes(conn, generation, page)
    dead = {
        (row[0], row[1])
        for row in execute(
            conn,
            "select row_id, field from vssnative_dead_letters where generation = ?"
            " and row_id in (select value from json_each(?))",
            (generation.id, rows),
        )
    }
    for row_id, fields in read_texts(conn, embedding, generation, page).items():
        for name, text in fields.items():
            hash_ = known.get((row_id, name))
            if hash_ is None:
                if (row_id, name) not in dead:
                    missing.add(row_id)
            elif isinstance(text, Unreadable) or hash_ != (
                EMPTY_HASH if text is None else content_hash(text)
            ):
                stale.add(row_id)


def _expected_sql(generation: Generation) -> str:
    """The numbers under which a field's vectors must be; parameters: generation, field."""
    if generation.chunk is None:
        return "select row_id from vssnative_provenance where generation = ? and field = ? and passages > 0"
    return "select id from vssnative_passages where generation = ? and field = ?"


def _stray_ids(conn: Connection, generation: Generation, text_field: Field) -> set[int]:
    if generation.vss_table is None or not _exists(conn, generation.vss_table):
        return set()
    present = execute(conn, _present_sql(generation, text_field))
    expected = execute(conn, _expected_sql(generation), (generation.id, text_field.name))
    return {row[0] for row in present} - {row[0] for row in expected}


def _without_vector(
    conn: Connection, embedding: EmbeddingConfig, generation: Generation, text_field: Field
) -> set[int]:
    """Rows whose record says that they have vectors, but which have none."""
    lost: set[int] = set()
    if generation.vss_table is not None:
        present = set()
        if _exists(conn, generation.vss_table):
            present = {row[0] for row in execute(conn, _present_sql(generation, text_field))}
        if generation.chunk is None:
            expected = execute(conn, _expected_sql(generation), (generation.id, text_field.name))
            lost |= {row[0] for row in expected} - present
        else:
            passages = execute(
                conn,
                "select id, row_id from vssnative_passages where generation = ? and field = ?",
                (generation.id, text_field.name),
            )
            lost |= {row_id for passage, row_id in passages if passage not in present}
    if embedding.uses_columns and generation.state == "active":
        rows = execute(
            conn,
            f"select {embedding.row_id_sql('t')} from {embedding.rows_sql('t')} join vssnative_provenance p"
            f" on p.generation = ? and p.field = ? and p.row_id = {embedding.row_id_sql('t')}"
            f" where (p.passages > 0) <> (t.{quote_identifier(text_field.blob_column)} is not null)",
            (generation.id, text_field.name),
        )
        lost |= {row[0] for row in rows}
    return lost


def _present_sql(generation: Generation, text_field: Field) -> str:
    assert generation.vss_table is not None
    column = quote_identifier(text_field.vector_column)
    return f"select rowid from main.{quote_identifier(generation.vss_table)} where {column} is not null"


def _exists(conn: Connection, table: str) -> bool:
    return bool(execute(conn, "select 1 from main.sqlite_master where name = ?", (table,)))


def _check_sample(
    conn: Connection,
    embedding: EmbeddingConfig,
    candidates: list[int],
    sample: int,
    given: Embedder | None,
    seed: int | None,
) -> list[int]:
    """Rows among a random few whose stored vectors the model would not make today."""
    chosen = random.Random(seed).sample(candidates, min(sample, len(candidates)))
    wrong: set[int] = set()
    generation = embedding.active
    if not chosen or generation.chunk is not None:
        return _check_passages(conn, generation, chosen, embedding, given)
    embedder = embedder_for(generation, () if given is None else (given,), to_compare=True)
    rounded = is_rounded(generation.model_digest) or is_rounded(embedder.digest)
    for row_id, fields in read_texts(conn, embedding, generation, chosen).items():
        for text_field in generation.fields:
            text = fields[text_field.name]
            if isinstance(text, str):
                stored = _stored_vector(conn, embedding, generation, text_field, row_id)
                if stored is not None and _differs(stored, embedder.embed_documents([text])[0], rounded):
                    wrong.add(row_id)
    return sorted(wrong)


def _check_passages(
    conn: Connection,
    generation: Generation,
    chosen: list[int],
    embedding: EmbeddingConfig,
    given: Embedder | None,
) -> list[int]:
    wrong: set[int] = set()
    if not chosen:
        return []
    embedder = embedder_for(generation, () if given is None else (given,), to_compare=True)
    rounded = is_rounded(generation.model_digest) or is_rounded(embedder.digest)
    texts = read_texts(conn, embedding, generation, chosen)
    for passage, row_id, name, start, stop in execute(
        conn,
        "select id, row_id, field, start, stop from vssnative_passages where generation = ?"
        " and row_id in (select value from json_each(?))",
        (generation.id, json.dumps(chosen)),
    ):
        text = texts[row_id][name]
        stored = _stored_vector(conn, embedding, generation, generation.field(name), passage)
        if not isinstance(text, str) or stored is None:
            continue
        if _differs(stored, embedder.embed_documents([text[start:stop]])[0], rounded):
            wrong.add(row_id)
    return sorted(wrong)


def _stored_vector(
    conn: Connection, embedding: EmbeddingConfig, generation: Generation, text_field: Field, number: int
) -> npt.NDArray[np.float32] | None:
    if generation.vss_table is not None:
        rows = execute(
            conn,
            f"select {quote_identifier(text_field.vector_column)} from main.{quote_identifier(generation.vss_table)}"
            " where rowid = ?",
            (number,),
        )
    else:
        rows = execute(
            conn,
            f"select t.{quote_identifier(text_field.blob_column)} from {embedding.rows_sql('t')}"
            f" where {embedding.row_id_sql('t')} = ?",
            (number,),
        )
    return np.frombuffer(rows[0][0], dtype="<f4") if rows and rows[0][0] is not None else None


def _differs(stored: npt.NDArray[np.float32], made: npt.NDArray[np.float32], rounded: bool) -> bool:
    if stored.shape != made.shape:
        return True
    # bfloat16 products differ with the processor that makes them, or with one that has none and computes exactly.
    largest = _LARGEST_DIFFERENCE_ROUNDED if rounded else _LARGEST_DIFFERENCE
    scale = float(np.linalg.norm(stored) * np.linalg.norm(made)) or 1.0
    return bool(np.linalg.norm(stored - made) > largest * scale**0.5)
