"""Changes that no trigger saw: a table was rebuilt, or its triggers were dropped, and sync has not compared its rows yet."""

from __future__ import annotations

from collections.abc import Sequence

from .._catalog.content import EMPTY_HASH, Unreadable, embedded_hashes, read_texts
from .._catalog.records import EmbeddingConfig
from .._connection import Connection
from ..embedding._texts import content_hash


def changed_unseen(conn: Connection, embedding: EmbeddingConfig, row_ids: Sequence[int]) -> set[int]:
    """Those of the rows whose vectors are of other texts, where nothing has noted it: by hash, as sync will."""
    if not row_ids:
        return set()
    generation = embedding.active
    known = embedded_hashes(conn, generation, row_ids)
    changed = set()
    for row_id, texts in read_texts(conn, embedding, generation, row_ids).items():
        for name, text in texts.items():
            made_of = known.get((row_id, name))
            is_now = (
                None if isinstance(text, Unreadable) else EMPTY_HASH if text is None else content_hash(text)
            )
            if made_of is not None and made_of != is_now:
                changed.add(row_id)
    return changed
