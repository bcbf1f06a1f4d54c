"""How far sync is, what was given up, and how to pause it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .._catalog.models import ask_again
from .._catalog.records import EmbeddingConfig, load_embedding, load_embeddings
from .._catalog.schema import installed_version
from .._connection import Connection, execute, in_its_thread
from .._sql import quote_identifier
from .._words import counted
from . import pauses
from .engine import clock_time
from .health import lost_parts, needs_mending, problem_with
from .locking import require_no_transaction, write

_WORKER_ALIVE_SECONDS = 60.0


@dataclass(frozen=True)
class Status:
    """The progress of one set of embeddings. The view ``vssnative_status`` shows the same to SQL, as far as it can.

    Attributes:
        name: the embeddings' name.
        table: the user's table.
        model: the model that searches use.
        changing_to: the model whose vectors are being built beside, or None.
        paused: whether ``pause`` stopped it.
        model_paused_seconds: how long the model stays paused after a failure of its provider; 0 if it does not.
        rows: rows in the table now.
        embedded: rows that are done under the model that searches use, also those without any text; not those that
            have a text which was given up.
        pending: rows in the queue, leased ones included.
        leased: rows that workers hold.
        dead: rows given up.
        oldest_pending_seconds: age of the oldest queue entry; None where the queue is empty.
        rate: texts per second, over the workers seen in the last minute.
        coverage: share of the rows whose vectors are all there and up to date, from 0 to 1; 1 for an empty table. Rows
            without any text count as done.
        waiting_for: what holds the pending rows up, and until when: ``pause``, a paused model with the reason, rows
            that failed and wait for their next attempt; None where nothing does.
        problem: why sync cannot go on (a table or column that is gone), or that triggers are lost; None if all is
            well.
    """

    name: str
    table: str
    model: str
    changing_to: str | None
    paused: bool
    model_paused_seconds: float
    rows: int
    embedded: int
    pending: int
    leased: int
    dead: int
    oldest_pending_seconds: float | None
    rate: float
    coverage: float
    waiting_for: str | None
    problem: str | None


@dataclass(frozen=True)
class DeadLetter:
    """A text that was given up.

    Attributes:
        row_id: the row's number: its INTEGER PRIMARY KEY, or that of the key table.
        content_hash: BLAKE2b of the text, 16 bytes in hexadecimal; None where it could not be read.
        died_at: seconds since 1970.
    """

    row_id: int
    field: str
    reason: str
    content_hash: str | None
    attempts: int
    died_at: float


@in_its_thread
def status(conn: Connection, table: str | None = None) -> list[Status]:
    """The progress of each set of embeddings. Changes nothing, and needs no vss0.

    Args:
        table: embeddings by their name, or all those of a table; None for all of the file.

    Raises:
        MigrationError: `table` has none.
    """
    return [_status_of(conn, embedding) for embedding in load_embeddings(conn, table, to_read=True)]


@in_its_thread
def dead_letters(conn: Connection, table: str) -> list[DeadLetter]:
    """The texts of a table that were given up, by row.

    Raises:
        MigrationError: the table has no embeddings.
    """
    embedding = load_embedding(conn, table, to_read=True)
    rows = execute(
        conn,
        "select row_id, field, reason, content_hash, attempts, died_at from vssnative_dead_letters"
        " where embedding = ? order by row_id, generation, field",
        (embedding.id,),
    )
    return [DeadLetter(*row) for row in rows]


@in_its_thread
def retry_dead(conn: Connection, table: str) -> int:
    """Queue the rows that were given up once more, with all their attempts. Returns how many.

    Raises:
        MigrationError: the table has no embeddings.
        SyncError: a transaction is open.
    """
    require_no_transaction(conn, "retry_dead")
    embedding = load_embedding(conn, table)

    def again() -> int:
        rows = execute(
            conn, "select distinct row_id from vssnative_dead_letters where embedding = ?", (embedding.id,)
        )
        execute(
            conn,
            "insert into vssnative_queue(embedding, row_id, queued_at)"
            " select distinct embedding, row_id, ? from vssnative_dead_letters where embedding = ?"
            " on conflict(embedding, row_id) do update set attempts = 0, ready_at = 0, lease = null",
            (time.time(), embedding.id),
        )
        execute(conn, "delete from vssnative_dead_letters where embedding = ?", (embedding.id,))
        return len(rows)

    return write(conn, again)


@in_its_thread
def pause(conn: Connection, table: str) -> None:
    """Let workers leave this table alone until ``resume``. Its edits are still noted.

    Raises:
        MigrationError: the table has no embeddings.
        SyncError: a transaction is open.
    """
    _set_paused(conn, table, 1)


@in_its_thread
def resume(conn: Connection, table: str) -> None:
    """End ``pause``. Also a model that is paused after failures of its provider is asked again at once, and rows that
    wait for their next attempt are ready.

    Raises:
        MigrationError: the table has no embeddings.
        SyncError: a transaction is open.
    """
    _set_paused(conn, table, 0)
    ask_again(generation.model_digest for generation in load_embedding(conn, table).live)


def _set_paused(conn: Connection, table: str, paused: int) -> None:
    require_no_transaction(conn, "pausing and resuming")
    embedding = load_embedding(conn, table)

    def change() -> None:
        execute(conn, "update vssnative_embeddings set paused = ? where id = ?", (paused, embedding.id))
        if not paused:
            pauses.clear_pause(conn, [generation.model_digest for generation in embedding.live])
            execute(
                conn,
                "update vssnative_queue set ready_at = 0 where embedding = ? and lease is null and ready_at > 0",
                (embedding.id,),
            )

    write(conn, change)


def _status_of(conn: Connection, embedding: EmbeddingConfig) -> Status:
    now = time.time()
    problem = problem_with(conn, embedding)
    rows = 0
    if problem is None:
        if needs_mending(conn, embedding):
            problem = f"{embedding.name}: {lost_parts(conn, embedding)}; the next sync puts that right"
        if execute(
            conn, "select 1 from main.sqlite_master where type = 'table' and name = ?", (embedding.source,)
        ):
            [(rows,)] = execute(conn, f"select count(*) from main.{quote_identifier(embedding.source)}")
    active = embedding.active
    building = [g for g in embedding.live if g.state == "building"]
    # A field has no record where its text cannot be read or was given up.
    [(embedded,)] = execute(
        conn,
        "select count(*) from (select 1 from vssnative_provenance where generation = ? group by row_id"
        " having count(*) >= ?)",
        (active.id, len(active.fields)),
    )
    [(pending, leased, oldest, behind)] = execute(
        conn,
        "select count(*), coalesce(sum(lease is not null and ready_at > ?1), 0), min(queued_at),"
        " coalesce(sum(priority = 0 and ?4 <= (select count(*) from vssnative_provenance p where p.generation = ?2"
        " and p.row_id = q.row_id)), 0) from vssnative_queue q where embedding = ?3",
        (now, active.id, embedding.id, len(active.fields)),
    )
    [(dead,)] = execute(
        conn,
        "select count(*) from (select distinct row_id from vssnative_dead_letters where embedding = ?)",
        (embedding.id,),
    )
    [(rate,)] = execute(
        conn,
        "select coalesce(sum(rate), 0.0) from vssnative_workers where seen_at > ?",
        (now - _WORKER_ALIVE_SECONDS,),
    )
    paused = execute(
        conn, "select paused_until from vssnative_models where digest = ?", (active.model_digest,)
    )
    coverage = 1.0 if rows == 0 else max(0.0, min(1.0, (embedded - behind) / rows))
    return Status(
        embedding.name,
        embedding.source,
        active.model_name,
        building[0].model_name if building else None,
        embedding.paused,
        max(0.0, paused[0][0] - now) if paused else 0.0,
        rows,
        embedded,
        pending,
        leased,
        dead,
        None if oldest is None else max(0.0, now - oldest),
        rate,
        coverage,
        _waiting_for(conn, embedding, now) if pending else None,
        problem,
    )


def _waiting_for(conn: Connection, embedding: EmbeddingConfig, now: float) -> str | None:
    if embedding.paused:
        return "it is paused until it is resumed"
    paused = pauses.reasons(conn)
    ends = [(*paused[g.model_digest], g.model_name) for g in embedding.live if g.model_digest in paused]
    if ends and len(ends) == len(embedding.live):
        until, reason, model = min(ends)
        return f"model {model} is paused until {clock_time(until)}: {reason}"
    [(ready, first, rows)] = execute(
        conn,
        "select sum(ready_at <= ?), min(ready_at), count(*) from vssnative_queue where embedding = ? and lease is null",
        (now, embedding.id),
    )
    if rows and not ready:
        return f"{counted(rows, 'row')} failed or had to wait; the next is tried at {clock_time(first)}"
    return None


def has_embeddings(conn: Connection) -> bool:
    """Whether the file has any embeddings recorded."""
    return installed_version(conn, to_read=True) > 0 and bool(
        execute(conn, "select 1 from vssnative_embeddings limit 1")
    )
