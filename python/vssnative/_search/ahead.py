"""Embedding a query before the snapshot is taken in which it is searched: models take long, snapshots hold locks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._catalog.models import embedder_for
from .._catalog.records import load_embedding
from .._connection import Connection
from ..embedding.protocol import Embedder, Float32Matrix, Int64Vector
from ..embedding.registry import get_embedder
from .query import check_query, query_vectors, words_in


class Remembering:
    """An embedder that answers from memory what it was asked before.

    Args:
        embedder: the one that it stands for.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return self._embedder.name

    @property
    def dim(self) -> int:
        return self._embedder.dim

    @property
    def metric(self) -> str:
        return self._embedder.metric

    @property
    def max_tokens(self) -> int | None:
        return self._embedder.max_tokens

    @property
    def digest(self) -> str:
        return self._embedder.digest

    def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
        """As the embedder's."""
        return self._embedder.embed_documents(texts)

    def count_tokens(self, texts: Sequence[str]) -> Int64Vector:
        """As the embedder's."""
        return self._embedder.count_tokens(texts)

    def config(self) -> dict[str, Any]:
        """As the embedder's."""
        return self._embedder.config()

    def embed_queries(self, texts: Sequence[str]) -> Float32Matrix:
        """As the embedder's."""
        unknown = [text for text in dict.fromkeys(texts) if text not in self._known]
        if unknown:
            self._known.update(zip(unknown, self._embedder.embed_queries(unknown), strict=True))
        return np.ascontiguousarray([self._known[text] for text in texts], dtype=np.float32)


def embed_ahead(conn: Connection, table: str, query: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Call the model for a search that is to come; the search's options, with an ``embedder`` that knows the answer.

    Args:
        table: the embeddings' name.
        query, options: arguments of the search.

    Raises:
        QueryError, EmbeddingError: as the search would.
    """
    if options.get("similar_to") is not None or options.get("mode") == "text":
        return options
    check_query(query)
    if words_in(query) is None:
        return options
    given = options.get("embedder")
    generation = load_embedding(conn, table, to_read=True).active
    found = embedder_for(generation, () if given is None else (get_embedder(given),), to_compare=True)
    remembering = Remembering(found)
    query_vectors(generation, [query], remembering)
    return {**options, "embedder": remembering}
