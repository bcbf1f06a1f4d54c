"""Vectors by model and text, kept in the file, so that a text that comes again is not embedded again.

Bounded: the vectors stored first go first. The bound is a number of vectors, kept in the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .._catalog.schema import get_meta, set_meta
from .._catalog.statements import insert_rows
from .._connection import Connection, execute, transaction
from ..errors import ConfigurationError

DEFAULT_LIMIT = 10_000

Vector = npt.NDArray[np.float32]


def cache_key(model_digest: str, text_hash: str) -> str:
    """The key of a text under a model. The text's hash is 128 bits, and half the digest tells models apart.

    What stands behind a digest's 64 characters tells precisions apart.
    """
    return f"{model_digest[:32]}{model_digest[64:]}:{text_hash}"


def look_up(conn: Connection, keys: Sequence[str], dim: int) -> dict[str, Vector]:
    """The cached vectors among `keys`: float32 ``(dim,)`` each."""
    rows = execute(
        conn,
        "select key, vector from vssnative_cache where key in (select value from json_each(?))",
        (json.dumps(list(keys)),),
    )
    return {key: np.frombuffer(blob, dtype="<f4") for key, blob in rows if len(blob) == 4 * dim}


def store(conn: Connection, vectors: Mapping[str, Vector]) -> None:
    """Keep vectors, and drop the oldest beyond the bound. In the caller's transaction."""
    limit = get_meta(conn, "cache_limit", DEFAULT_LIMIT)
    kept = list(vectors.items())[:limit]
    insert_rows(
        conn,
        "insert into vssnative_cache(key, vector)",
        [(key, np.ascontiguousarray(vector, dtype="<f4").tobytes()) for key, vector in kept],
        "on conflict do nothing",
    )
    # Numbers only grow, so the span is never below the count; gaps from deletions make it evict a little early.
    execute(
        conn,
        "delete from vssnative_cache where id <= (select max(id) from vssnative_cache) - ?",
        (limit,),
    )


def set_cache_limit(conn: Connection, vectors: int) -> None:
    """Bound the cache to so many vectors; 0 switches it off and empties it.

    Raises:
        ConfigurationError: the number is negative.
    """
    if vectors < 0:
        raise ConfigurationError(f"the cache's bound must be 0 or more vectors, not {vectors}")
    with transaction(conn):
        set_meta(conn, "cache_limit", vectors)
        execute(
            conn,
            "delete from vssnative_cache where id <= (select coalesce(max(id), 0) from vssnative_cache) - ?",
            (vectors,),
        )
