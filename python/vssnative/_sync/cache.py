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


# The digest of a model, and the hash of a text.
Key = tuple[str, str]


def look_up(conn: Connection, model_digest: str, hashes: Sequence[str], dim: int) -> dict[str, Vector]:
    """The cached vectors of texts by their hashes: float32 ``(dim,)`` each."""
    prefix = _prefix(model_digest)
    rows = execute(
        conn,
        "select substr(key, ?), vector from vssnative_cache where key in (select ? || value from json_each(?))",
        (len(prefix) + 1, prefix, json.dumps(hashes)),
    )
    return {hash_: np.frombuffer(blob, dtype="<f4") for hash_, blob in rows if len(blob) == 4 * dim}


def store(conn: Connection, vectors: Mapping[Key, Vector]) -> None:
    """Keep vectors, and drop the oldest beyond the bound. In the caller's transaction."""
    limit = get_meta(conn, "cache_limit", DEFAULT_LIMIT)
    kept = list(vectors.items())[:limit]
    prefixes = {digest: _prefix(digest) for digest, _ in vectors}
    insert_rows(
        conn,
        "insert into vssnative_cache(key, vector)",
        [
            (prefixes[digest] + hash_, np.ascontiguousarray(vector, dtype="<f4").tobytes())
            for (digest, hash_), vector in kept
        ],
        "on conflict do nothing",
    )
    # Numbers only grow, so the span is never below the count; gaps from deletions make it evict a little early.
    execute(
        conn,
        "delete from vssnative_cache where id <= (select max(id) from vssnative_cache) - ?",
        (limit,),
    )


def _prefix(model_digest: str) -> str:
    """What the keys of a model's texts begin with; the rest is the text's hash, of 128 bits.

    Half the digest tells models apart, and what stands behind its 64 characters precisions.
    """
    return f"{model_digest[:32]}{model_digest[64:]}:"


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
