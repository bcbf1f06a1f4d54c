"""Models at work: built from what is recorded, and paused in the file while their provider cannot be used."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable

from ..connection import Connection, execute
from ..embedding.protocol import Embedder
from ..embedding.registry import from_config
from ..errors import EmbeddingError
from ..migrations.records import Generation

_LONGEST_PAUSE = 300.0
# A provider that says "retry after 0 seconds" all the time must not be asked without end.
_SHORTEST_PAUSE = 0.1

_built: dict[str, Embedder] = {}
_built_lock = threading.Lock()


def embedder_for(generation: Generation, given: Iterable[Embedder] = ()) -> Embedder:
    """The very model that the generation records, `given` ones first; built once per process.

    Raises:
        EmbeddingError: what can be built today is another model than the recorded one.
        ModelNotFoundError: its files are not on this machine.
    """
    for embedder in given:
        if embedder.digest == generation.model_digest:
            return embedder
    with _built_lock:
        found = _built.get(generation.model_digest)
        if found is None:
            found = from_config(generation.model)
            if found.digest != generation.model_digest:
                raise EmbeddingError(
                    f"the vectors were made by model {generation.model_name} with digest"
                    f" {generation.model_digest[:12]}, but its files now have digest {found.digest[:12]}; vectors of"
                    " two models cannot be compared. Put the recorded files back, or call change_model."
                )
            _built[generation.model_digest] = found
    return found


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
