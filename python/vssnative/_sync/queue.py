"""The queue's statements. Times are seconds since 1970; a lease is a random word that an edit wipes out."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .._catalog.conditions import Condition
from .._catalog.enqueue import BACKFILL_PRIORITY, EDIT_PRIORITY
from .._catalog.records import EmbeddingConfig
from .._connection import Connection, execute

# A provider may ask for a long pause, but no longer one is believed.
_LONGEST_WAIT = 90_000.0


class Entry(NamedTuple):
    """A leased queue entry."""

    row_id: int
    attempts: int
    gone: bool
    priority: int


@dataclass(frozen=True)
class Lease:
    """Entries that one worker holds until it finishes them, or until they expire."""

    token: str
    entries: tuple[Entry, ...]


def take(
    conn: Connection,
    embedding: EmbeddingConfig,
    *,
    now: float,
    seconds: float,
    limit: int,
    condition: Condition | None,
    edits_only: bool = False,
) -> Lease | None:
    """Lease the most urgent entries that are ready: new edits first, then the backfill. In the caller's transaction.

    A row that has failed before is leased together with others, but embedded by itself.
    """
    among, values = "", ()  # type: tuple[str, Sequence[object]]
    if condition is not None:
        among, values = f" and row_id in ({embedding.matching_sql(condition.sql)})", condition.params
    rows = execute(
        conn,
        "select row_id, attempts, gone, priority from vssnative_queue"
        f" where embedding = ? and {_priorities(edits_only)} and ready_at <= ?{among}"
        " order by priority, ready_at limit ?",
        (embedding.id, now, *values, limit),
    )
    if not rows:
        return None
    token = secrets.token_hex(8)
    execute(
        conn,
        "update vssnative_queue set lease = ?, ready_at = ?"
        " where embedding = ? and row_id in (select value from json_each(?))",
        (token, now + seconds, embedding.id, json.dumps([row[0] for row in rows])),
    )
    return Lease(token, tuple(Entry(row[0], row[1], bool(row[2]), row[3]) for row in rows))


def extend(conn: Connection, embedding: EmbeddingConfig, lease: Lease, until: float) -> None:
    """Heartbeat: move the end of a lease. Entries that were edited meanwhile are no longer part of it."""
    execute(conn, f"update vssnative_queue set ready_at = ? where {_HELD}", (until, *_held(embedding, lease)))


def still_held(conn: Connection, embedding: EmbeddingConfig, lease: Lease) -> set[int]:
    """Row numbers of the lease that nobody edited and nobody took over. Only true under the write lock."""
    rows = execute(conn, f"select row_id from vssnative_queue where {_HELD}", _held(embedding, lease))
    return {row[0] for row in rows}


def finish(conn: Connection, embedding: EmbeddingConfig, row_ids: Sequence[int]) -> None:
    """Take entries out of the queue; the caller has made sure that it holds them."""
    execute(
        conn,
        "delete from vssnative_queue where embedding = ? and row_id in (select value from json_each(?))",
        (embedding.id, json.dumps(list(row_ids))),
    )


def retry_later(conn: Connection, embedding: EmbeddingConfig, rows: Sequence[tuple[int, int, float]]) -> None:
    """Give entries back, each as (row number, attempts, ready at); the caller has made sure that it holds them."""
    alike: dict[tuple[int, float], list[int]] = {}
    for row_id, attempts, ready_at in rows:
        alike.setdefault((attempts, ready_at), []).append(row_id)
    for (attempts, ready_at), row_ids in alike.items():
        execute(
            conn,
            "update vssnative_queue set lease = null, attempts = ?, ready_at = ?"
            " where embedding = ? and row_id in (select value from json_each(?))",
            (attempts, ready_at, embedding.id, json.dumps(row_ids)),
        )


def release(conn: Connection, embedding: EmbeddingConfig, lease: Lease, ready_at: float) -> None:
    """Give a whole lease back, no attempt spent."""
    execute(
        conn,
        f"update vssnative_queue set lease = null, ready_at = ? where {_HELD}",
        (ready_at, *_held(embedding, lease)),
    )


def is_ready(conn: Connection, embedding: EmbeddingConfig, now: float, *, edits_only: bool = False) -> bool:
    """Whether an entry can be taken; asked before a write lock is."""
    return ready(conn, embedding, now, 1, edits_only=edits_only) > 0


def ready(
    conn: Connection, embedding: EmbeddingConfig, now: float, limit: int, *, edits_only: bool = False
) -> int:
    """How many entries can be taken; counted up to `limit`."""
    [(count,)] = execute(
        conn,
        "select count(*) from (select 1 from vssnative_queue"
        f" where embedding = ? and {_priorities(edits_only)} and ready_at <= ? limit ?)",
        (embedding.id, now, limit),
    )
    return int(count)


def next_ready(conn: Connection, embedding: EmbeddingConfig) -> float | None:
    """When the next entry can be taken; None where the queue is empty."""
    moments = [
        execute(
            conn,
            "select min(ready_at) from vssnative_queue where embedding = ? and priority = ?",
            (embedding.id, priority),
        )[0][0]
        for priority in (EDIT_PRIORITY, BACKFILL_PRIORITY)
    ]
    return min((float(when) for when in moments if when is not None), default=None)


def heal_times(conn: Connection, embedding: EmbeddingConfig, now: float, lease_seconds: float) -> None:
    """Free what a clock that was ahead has put out of reach: leases and waits that end later than any can."""
    for condition, longest in (
        ("lease is not null", max(3600.0, 2 * lease_seconds)),
        ("lease is null", _LONGEST_WAIT),
    ):
        execute(
            conn,
            "update vssnative_queue set lease = null, ready_at = 0"
            f" where embedding = ? and priority in ({EDIT_PRIORITY}, {BACKFILL_PRIORITY}) and ready_at > ? and {condition}",
            (embedding.id, now + longest),
        )


def out_of_reach(conn: Connection, embedding: EmbeddingConfig, now: float) -> bool:
    """Whether ``heal_times`` may find something; asked before a write lock is."""
    sql = (
        "select 1 from vssnative_queue where embedding = ?"
        f" and priority in ({EDIT_PRIORITY}, {BACKFILL_PRIORITY}) and ready_at > ? limit 1"
    )
    return bool(execute(conn, sql, (embedding.id, now + 3600.0)))


def pending(conn: Connection, embedding: EmbeddingConfig) -> int:
    """Entries in the queue, leased ones included."""
    [(count,)] = execute(conn, "select count(*) from vssnative_queue where embedding = ?", (embedding.id,))
    return int(count)


_HELD = "embedding = ? and lease = ? and row_id in (select value from json_each(?))"


def _priorities(edits_only: bool) -> str:
    # Naming them lets SQLite seek in the index, past the entries that are leased or wait for their next attempt.
    return (
        f"priority = {EDIT_PRIORITY}" if edits_only else f"priority in ({EDIT_PRIORITY}, {BACKFILL_PRIORITY})"
    )


def _held(embedding: EmbeddingConfig, lease: Lease) -> tuple[int, str, str]:
    return embedding.id, lease.token, json.dumps([entry.row_id for entry in lease.entries])
