"""Vectors by model and text, kept in the file, so that a text that comes again is not embedded again.

Bounded: the vectors stored first go first. The bound is a number of vectors, kept in the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .._catalog.schema import get_meta, set_meta
from .._catalog.statements import insert_rows, marks, portions
from .._connection import Connection, execute, in_its_thread, transaction
from ..errors import ConfigurationError

DEFAULT_LIMIT = 10_000

Vector = npt.NDArray[np.float32]


# The digest of a model, and the hash of a text.
Key = tuple[str, str]


def look_up(conn: Connection, model_digest: str, hashes: Sequence[str], dim: int) -> dict[str, Vector]:
    """The cached vectors of texts by their hashes: float32 ``(dim,)`` each."""
    key_of = _keys(model_digest)
    found: dict[str, Vector] = {}
    for some in portions(hashes):
        keys = {key_of(hash_): hash_ for hash_ in some}
        sql = f"select key, vector from vssnative_cache where key in ({marks(len(keys))})"
        rows = execute(conn, sql, list(keys))
        found |= {keys[key]: np.frombuffer(blob, dtype="<f4") for key, blob in rows if len(blob) == 4 * dim}
    return found


def store(conn: Connection, vectors: Mapping[Key, Vector]) -> None:
    """Keep vectors, and drop the oldest beyond the bound. In the caller's transaction."""
    limit = get_meta(conn, "cache_limit", DEFAULT_LIMIT)
    kept = list(vectors.items())[:limit]
    key_of = {digest: _keys(digest) for digest, _ in vectors}
    insert_rows(
        conn,
        "insert into vssnative_cache(key, vector)",
        [
            (key_of[digest](hash_), np.ascontiguousarray(vector, dtype="<f4").tobytes())
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


def forget(conn: Connection, model_digest: str, hashes: Sequence[str]) -> None:
    """Take the vectors of texts away. In the caller's transaction."""
    key_of = _keys(model_digest)
    for some in portions(hashes):
        keys = [key_of(hash_) for hash_ in some]
        execute(conn, f"delete from vssnative_cache where key in ({marks(len(keys))})", keys)


def _keys(model_digest: str) -> Callable[[str], bytes]:
    """Makes the key of a model's text of its hash: 16 bytes of BLAKE2b. Short ones, as each commit writes pages of their
    index all over.

    Half the digest tells models apart, and what stands behind its 64 characters precisions.
    """
    model = hashlib.blake2b(f"{model_digest[:32]}{model_digest[64:]}:".encode(), digest_size=16)

    def key_of(hash_: str) -> bytes:
        whole = model.copy()
        whole.update(hash_.encode())
        return whole.digest()

    return key_of


@in_its_thread
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
