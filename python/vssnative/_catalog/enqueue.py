"""Queueing every row of a table for comparison with what is stored."""

from __future__ import annotations

import time

from .._connection import Connection, execute
from .._sql import quote_identifier
from .records import EmbeddingConfig

EDIT_PRIORITY = 0
BACKFILL_PRIORITY = 1


def enqueue_all(
    conn: Connection, embedding: EmbeddingConfig, priority: int, now: float | None = None
) -> None:
    """Queue every row of the table, and every row number that has vectors but no row.

    What waits already keeps its place, but leases end, also of rows that went meanwhile: their holders looked at the
    rows before the change that this call is about.

    Args:
        now: seconds since 1970, by which ``dequeue_all`` knows the entries again.
    """
    rows = (
        f"select {embedding.row_id_sql('t')} from {embedding.rows_sql('t')}"
        f" union select p.row_id from vssnative_provenance p join vssnative_generations g on g.id = p.generation"
        f" where g.embedding = {embedding.id}"
        f" union select row_id from vssnative_queue where embedding = {embedding.id}"
    )
    if embedding.keyed:
        key = [quote_identifier(column) for column in embedding.key_columns]
        execute(
            conn,
            f"insert into {embedding.key_table}({', '.join(f'k{n}' for n in range(len(key)))})"
            f" select {', '.join(key)} from main.{quote_identifier(embedding.source)}"
            f" where {' and '.join(f'{k} is not null' for k in key)} on conflict do nothing",
        )
        rows += f" union select id from {embedding.key_table}"
    execute(
        conn,
        "insert into vssnative_queue(embedding, row_id, priority, queued_at)"
        f" select ?1, r.*, ?2, ?3 from ({rows}) as r where true"
        " on conflict(embedding, row_id) do update set generation = generation + 1, lease = null, ready_at = 0,"
        " priority = min(priority, excluded.priority)",
        (embedding.id, priority, time.time() if now is None else now),
    )


def dequeue_all(conn: Connection, embedding: EmbeddingConfig, now: float) -> None:
    """Take back what ``enqueue_all`` queued at that moment, and nothing else has asked for since.

    Each such row had been looked at under the active generation. Where that has no record of a text (it was given up, or is to be
    tried again) the row stays queued.
    """
    execute(
        conn,
        "delete from vssnative_queue where embedding = ?1 and priority = ?2 and queued_at = ?3 and generation = 1 and gone = 0"
        " and ?5 <= (select count(*) from vssnative_provenance p"
        " where p.generation = ?4 and p.row_id = vssnative_queue.row_id)",
        (embedding.id, BACKFILL_PRIORITY, now, embedding.active.id, len(embedding.active.fields)),
    )
