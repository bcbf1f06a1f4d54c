"""Models that are paused in the file while their provider cannot be used."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable

from ..connection import Connection, execute

_LONGEST_PAUSE = 300.0
# A provider that says "retry after 0 seconds" all the time must not be asked without end.
_SHORTEST_PAUSE = 0.1


def paused_until(conn: Connection) -> dict[str, float]:
    """Digest to end of pause, of the models that are paused now or were until lately."""
    return dict(execute(conn, "select digest, paused_until from vssnative_models"))


def pause(conn: Connection, digest: str, reason: str, retry_after: float | None) -> float:
    """Pause a model: as long as its provider asked, else longer with each failure. Returns the end of the pause."""
    rows = execute(conn, "select failures from vssnative_models where digest = ?", (digest,))
    failures = 1 + (rows[0][0] if rows else 0)
    if retry_after is not None:
        seconds = max(_SHORTEST_PAUSE, retry_after)
    else:
        seconds = min(_LONGEST_PAUSE, 0.5 * 2.0 ** min(failures, 16)) * random.uniform(0.75, 1.25)
    until = time.time() + seconds
    execute(
        conn,
        "insert or replace into vssnative_models(digest, paused_until, failures, reason) values (?, ?, ?, ?)",
        (digest, until, failures, reason),
    )
    return until


def clear_pause(conn: Connection, digests: Iterable[str]) -> None:
    """Forget failures of models that have just worked."""
    for digest in digests:
        execute(conn, "delete from vssnative_models where digest = ?", (digest,))
