"""Models that are paused in the file while their provider cannot be used."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable

from .._connection import Connection, execute

_LONGEST_PAUSE = 300.0
# A day: whoever asks for more is asked again all the same.
_LONGEST_BELIEVED = 86_400.0
LONGEST_BACKOFF = 300.0  # of a row that failed
# A provider that says "retry after 0 seconds" all the time must not be asked without end.
_SHORTEST_PAUSE = 0.1


def paused_until(conn: Connection) -> dict[str, float]:
    """Digest to end of pause, of the models that are paused now or were until lately."""
    longest = time.time() + 2 * _LONGEST_BELIEVED  # beyond that, a clock was ahead
    rows = execute(
        conn, "select digest, paused_until from vssnative_models where paused_until < ?", (longest,)
    )
    return dict(rows)


def recorded(conn: Connection) -> set[str]:
    """Digests of the models of which failures are recorded."""
    return {row[0] for row in execute(conn, "select digest from vssnative_models")}


def pause(conn: Connection, digest: str, reason: str, retry_after: float | None) -> float:
    """Pause a model: as long as its provider asked, else longer with each failure. Returns the end of the pause."""
    rows = execute(conn, "select failures from vssnative_models where digest = ?", (digest,))
    failures = 1 + (rows[0][0] if rows else 0)
    if retry_after is not None:
        seconds = min(_LONGEST_BELIEVED, max(_SHORTEST_PAUSE, retry_after))
    else:
        seconds = min(_LONGEST_PAUSE, 0.5 * 2.0 ** min(failures, 16)) * random.uniform(0.75, 1.25)
    until = time.time() + seconds
    execute(
        conn,
        "insert or replace into vssnative_models(digest, paused_until, failures, reason) values (?, ?, ?, ?)",
        (digest, until, failures, reason),
    )
    return until


def reasons(conn: Connection) -> dict[str, tuple[float, str]]:
    """Digest to end and reason of the pause, of the models that are paused now."""
    rows = execute(
        conn,
        "select digest, paused_until, reason from vssnative_models where paused_until > ?",
        (time.time(),),
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def clear_pause(conn: Connection, digests: Iterable[str]) -> None:
    """Forget failures of models that have just worked, or are to be asked again: rows that waited for them are ready."""
    for digest in digests:
        if not execute(conn, "select 1 from vssnative_models where digest = ?", (digest,)):
            continue
        execute(conn, "delete from vssnative_models where digest = ?", (digest,))
        # A row that failed by itself keeps its own, shorter wait.
        execute(
            conn,
            "update vssnative_queue set ready_at = 0 where lease is null and ready_at > 0"
            " and (attempts = 0 or ready_at > ?) and embedding in (select embedding from vssnative_generations"
            " where model_digest = ? and state in ('active', 'building'))",
            (time.time() + 2 * LONGEST_BACKOFF, digest),
        )
