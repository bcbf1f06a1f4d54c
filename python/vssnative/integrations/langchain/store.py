"""LangChain's ``VectorStore`` over one table of a SQLite file."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from ..._connection import Connection, Pool
from ...errors import ConfigurationError, QueryError
from .._access import Access
from .._documents import Documents, Row, checked_keys, checked_texts, refuse_unknown, whole_number, with_key
from .._metadata import EVERY
from .embeddings import VssEmbeddings
from .filters import condition_of

_Filter = dict[str, Any] | None


class VssVectorStore(VectorStore):
    """A LangChain ``VectorStore`` over one table of a SQLite file.

    Texts and metadata (as JSON) are rows of an ordinary table, vectors those of a vss0 table beside it. A model of this
    package is recorded when texts are added; with another one, or with another metric, adding and searching raise
    ``ConfigurationError``. Of other models only the dimensions can be checked.

    Args:
        source: a path or a ``vssnative.Pool``: any thread and event loop may then use the store. Or a connection: used in
            the thread that it belongs to (asynchronous calls hold up the event loop) and within its transaction, if one is
            open; an aiosqlite connection or ``AsyncSession`` for asynchronous calls alone.
        embedding: LangChain's model; MiniLM of this package if None.
        table: the table of texts, made where it does not exist; vectors are in ``vss_<table>``.
        metric: ``"cosine"`` (default), ``"l2"`` or ``"inner_product"``, for a new table; None takes that of the table.
        recall: share of the true neighbours wanted, 1.0 for exact; None for the default.

    Raises:
        ConfigurationError: `embedding` is not a model, or there is no such metric. From the methods: an argument that they do
            not know, which would otherwise be left out without a word.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Pool | Connection,
        embedding: Embeddings | None = None,
        table: str = "langchain",
        metric: str | None = None,
        *,
        recall: float | None = None,
    ) -> None:
        if embedding is not None and not hasattr(embedding, "embed_query"):
            raise ConfigurationError(
                f"embedding: expected a model of LangChain's, got {embedding!r}; VssEmbeddings(...) makes one of a name"
            )
        self._embedding = VssEmbeddings() if embedding is None else embedding
        model = self._embedding.embedder if isinstance(self._embedding, VssEmbeddings) else None
        self._documents = Documents(table, metric, model=model)
        self._access = Access(source)
        self._recall = recall

    @property
    def embeddings(self) -> Embeddings:
        """The model."""
        return self._embedding

    def close(self) -> None:
        """Close the pool that was made for a path; what was handed over stays open."""
        self._access.close()

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int | None = None,
        **unknown: Any,
    ) -> list[str]:
        """Embed and store texts, in one transaction; an id that is there already is replaced. Returns the ids.

        Args:
            ids: texts; for None, or where one is None or empty, a random UUID.
            batch_size: as LangChain's ``index`` gives it; without effect, as the model chooses its batches.

        Raises:
            ConfigurationError: `metadatas` or `ids` are not as many as the texts; a text or an id is not a text; the table has
                another metric, or vectors of another model.
            DimensionError: vectors of another length than those of the table.
            QueryError: metadata that JSON cannot hold.
        """
        refuse_unknown("add_texts", unknown, "metadatas", "ids", "batch_size")
        rows = checked_texts("texts", texts)
        keys, about = _checked(rows, metadatas, ids)
        if rows:
            vectors = self._embedding.embed_documents(rows)
            self._access.call(self._adding(keys, rows, about, vectors), write=True)
        return keys

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int | None = None,
        **unknown: Any,
    ) -> list[str]:
        """As ``add_texts``."""
        refuse_unknown("add_texts", unknown, "metadatas", "ids", "batch_size")
        rows = checked_texts("texts", texts)
        keys, about = _checked(rows, metadatas, ids)
        if rows:
            vectors = await self._embedding.aembed_documents(rows)
            await self._access.acall(self._adding(keys, rows, about, vectors), write=True)
        return keys

    def add_embeddings(
        self,
        text_embeddings: Iterable[tuple[str, Sequence[float]]],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
    ) -> list[str]:
        """Store texts with vectors that are there already: pairs of a text and its vector, made by the store's model.

        In all else as ``add_texts``.
        """
        rows, keys, about, vectors = _checked_pairs(text_embeddings, metadatas, ids)
        if rows:
            self._access.call(self._adding(keys, rows, about, vectors), write=True)
        return keys

    async def aadd_embeddings(
        self,
        text_embeddings: Iterable[tuple[str, Sequence[float]]],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
    ) -> list[str]:
        """As ``add_embeddings``."""
        rows, keys, about, vectors = _checked_pairs(text_embeddings, metadatas, ids)
        if rows:
            await self._access.acall(self._adding(keys, rows, about, vectors), write=True)
        return keys

    def _adding(
        self, keys: list[str], rows: list[str], about: list[dict[str, Any]], vectors: Any
    ) -> Callable[[Connection], None]:
        matrix = np.asarray(vectors, dtype=np.float32)
        return lambda conn: self._documents.add(conn, keys, rows, about, matrix)

    def delete(self, ids: list[str] | None = None, *, filter: _Filter = None, **unknown: Any) -> bool:
        """Delete texts by their ids or a filter, all of them if both are None. Ids that are not there are passed over.

        Raises:
            ConfigurationError: both ids and a filter, ids that are not a list of texts, or any other argument (``where=``).
            QueryError: a filter that has no meaning, or is empty.
        """
        refuse_unknown("delete", unknown, "ids", "filter")
        self._access.call(self._deleting(ids, filter), write=True)
        return True

    async def adelete(self, ids: list[str] | None = None, *, filter: _Filter = None, **unknown: Any) -> bool:
        """As ``delete``."""
        refuse_unknown("delete", unknown, "ids", "filter")
        await self._access.acall(self._deleting(ids, filter), write=True)
        return True

    def _deleting(self, ids: list[str] | None, filter: _Filter) -> Callable[[Connection], int]:
        if ids is not None and filter is not None:
            raise ConfigurationError("delete: give either ids or filter")
        condition = condition_of(filter) if ids is None else with_key(ids)
        if filter is not None and condition == EVERY:
            raise QueryError(f"delete: filter {filter!r} holds for every text; delete() deletes all of them")
        return lambda conn: self._documents.delete(conn, condition)

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The stored texts of these ids; ids that are not there are passed over."""
        return self._access.call(lambda conn: self._by_ids(conn, ids))

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """As ``get_by_ids``."""
        return await self._access.acall(lambda conn: self._by_ids(conn, ids))

    def _by_ids(self, conn: Connection, ids: Sequence[str]) -> list[Document]:
        found = {row.key: _document(row) for row in self._documents.select(conn, with_key(ids))}
        return [found[key] for key in ids if key in found]

    def similarity_search(
        self, query: str, k: int = 4, filter: _Filter = None, **options: Any
    ) -> list[Document]:
        """The k nearest texts; `filter` as for ``similarity_search_with_score``."""
        return [document for document, _ in self.similarity_search_with_score(query, k, filter, **options)]

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: _Filter = None, **options: Any
    ) -> list[Document]:
        """As ``similarity_search``."""
        found = await self.asimilarity_search_with_score(query, k, filter, **options)
        return [document for document, _ in found]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: _Filter = None, **unknown: Any
    ) -> list[tuple[Document, float]]:
        """The k nearest texts with their distances, smaller is nearer.

        Args:
            filter: ``{"kind": "a", "year": {"$gte": 2020}}``: k texts come back whenever so many match. Operators: ``$eq``,
                ``$ne``, ``$in``, ``$nin``, ``$gt``, ``$gte``, ``$lt``, ``$lte``, ``$like``, ``$exists``, ``$contains``,
                ``$all``; ``$and``, ``$or``, ``$not``. None equals null and missing, a value also a list that has it.

        Raises:
            QueryError: a filter that has no meaning.
            ConfigurationError: any other argument (``where=``).
        """
        refuse_unknown("similarity_search", unknown, "k", "filter")
        return self._access.call(self._searching(self._embedding.embed_query(query), k, filter))

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: _Filter = None, **unknown: Any
    ) -> list[tuple[Document, float]]:
        """As ``similarity_search_with_score``."""
        refuse_unknown("similarity_search", unknown, "k", "filter")
        vector = await self._embedding.aembed_query(query)
        return await self._access.acall(self._searching(vector, k, filter))

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: _Filter = None, **options: Any
    ) -> list[Document]:
        """The k texts nearest to a vector."""
        found = self.similarity_search_with_score_by_vector(embedding, k, filter, **options)
        return [document for document, _ in found]

    async def asimilarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: _Filter = None, **options: Any
    ) -> list[Document]:
        """As ``similarity_search_by_vector``."""
        found = await self.asimilarity_search_with_score_by_vector(embedding, k, filter, **options)
        return [document for document, _ in found]

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: _Filter = None, **unknown: Any
    ) -> list[tuple[Document, float]]:
        """The k texts nearest to a vector, with their distances, smaller is nearer."""
        refuse_unknown("similarity_search_by_vector", unknown, "k", "filter")
        return self._access.call(self._searching(embedding, k, filter))

    async def asimilarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: _Filter = None, **unknown: Any
    ) -> list[tuple[Document, float]]:
        """As ``similarity_search_with_score_by_vector``."""
        refuse_unknown("similarity_search_by_vector", unknown, "k", "filter")
        return await self._access.acall(self._searching(embedding, k, filter))

    def _searching(
        self, vector: Sequence[float], k: int, filter: _Filter
    ) -> Callable[[Connection], list[tuple[Document, float]]]:
        condition = condition_of(filter)

        def search(conn: Connection) -> list[tuple[Document, float]]:
            found = self._documents.nearest(conn, vector, k, condition, self._recall)
            return [(_document(row), distance) for row, distance in found]

        return search

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: _Filter = None,
        **options: Any,
    ) -> list[Document]:
        """k of the `fetch_k` nearest texts, near to the query and unlike each other.

        Args:
            lambda_mult: 1 for the nearest, 0 for the most diverse.
            filter: as for ``similarity_search_with_score``.
        """
        vector = self._embedding.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(
            vector, k, fetch_k, lambda_mult, filter, **options
        )

    async def amax_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: _Filter = None,
        **options: Any,
    ) -> list[Document]:
        """As ``max_marginal_relevance_search``."""
        vector = await self._embedding.aembed_query(query)
        return await self.amax_marginal_relevance_search_by_vector(
            vector, k, fetch_k, lambda_mult, filter, **options
        )

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: _Filter = None,
        **unknown: Any,
    ) -> list[Document]:
        """As ``max_marginal_relevance_search``, for a vector."""
        refuse_unknown("max_marginal_relevance_search", unknown, "k", "fetch_k", "lambda_mult", "filter")
        return self._access.call(self._diversifying(embedding, k, fetch_k, lambda_mult, filter))

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: _Filter = None,
        **unknown: Any,
    ) -> list[Document]:
        """As ``max_marginal_relevance_search_by_vector``."""
        refuse_unknown("max_marginal_relevance_search", unknown, "k", "fetch_k", "lambda_mult", "filter")
        return await self._access.acall(self._diversifying(embedding, k, fetch_k, lambda_mult, filter))

    def _diversifying(
        self, vector: Sequence[float], k: int, fetch_k: int, lambda_mult: float, filter: _Filter
    ) -> Callable[[Connection], list[Document]]:
        condition = condition_of(filter)

        def search(conn: Connection) -> list[Document]:
            most = max(whole_number(k), whole_number(fetch_k))
            found = self._documents.nearest(conn, vector, most, condition, self._recall)
            rows = [row for row, _ in found]
            if not rows or k < 1:
                return []
            vectors = list(self._documents.vectors(conn, rows))
            query = np.asarray(vector, np.float32)
            chosen = maximal_marginal_relevance(query, vectors, lambda_mult=lambda_mult, k=k)
            return [_document(rows[place]) for place in chosen]

        return search

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """From 0, unlike, to 1, the same."""
        metric = self._access.call(lambda conn: self._documents.index(conn).metric)
        return _RELEVANCE.get(metric, _closeness)

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        metric = await self._access.acall(lambda conn: self._documents.index(conn).metric)
        relevance = _RELEVANCE.get(metric, _closeness)
        found = await self.asimilarity_search_with_score(query, k, **options)
        return [(document, relevance(distance)) for document, distance in found]

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: str | os.PathLike[str] = ":memory:",
        source: Pool | Connection | None = None,
        conn: Connection | None = None,
        **options: Any,
    ) -> VssVectorStore:
        """A store in the file `path`, or in `source` (also called `conn`), with these texts added."""
        store = cls(_chosen(path, source, conn), embedding, **options)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: str | os.PathLike[str] = ":memory:",
        source: Pool | Connection | None = None,
        conn: Connection | None = None,
        **options: Any,
    ) -> VssVectorStore:
        """As ``from_texts``."""
        store = cls(_chosen(path, source, conn), embedding, **options)
        await store.aadd_texts(texts, metadatas, ids=ids)
        return store


def _chosen(path: Any, source: Any, conn: Any) -> Any:
    if source is not None and conn is not None:
        raise ConfigurationError("give either source or conn")
    return next((given for given in (source, conn) if given is not None), path)


def _checked(
    rows: list[str], metadatas: Sequence[dict[str, Any]] | None, ids: Sequence[str | None] | None
) -> tuple[list[str], list[dict[str, Any]]]:
    keys = [str(uuid.uuid4()) for _ in rows] if ids is None else _named(ids)
    about = [{} for _ in rows] if metadatas is None else [metadata or {} for metadata in metadatas]
    if not len(rows) == len(keys) == len(about):
        raise ConfigurationError(
            f"expected as many ids and metadatas as texts, got {len(rows)} texts, {len(keys)} ids and"
            f" {len(about)} metadatas"
        )
    return keys, about


def _named(ids: Sequence[str | None]) -> list[str]:
    return checked_keys(
        ids if isinstance(ids, str) else [str(uuid.uuid4()) if key in (None, "") else key for key in ids]
    )


def _checked_pairs(
    pairs: Iterable[tuple[str, Sequence[float]]],
    metadatas: Sequence[dict[str, Any]] | None,
    ids: Sequence[str | None] | None,
) -> tuple[list[str], list[str], list[dict[str, Any]], list[Sequence[float]]]:
    together = list(pairs)
    rows = checked_texts("texts", [text for text, _ in together])
    keys, about = _checked(rows, metadatas, ids)
    return rows, keys, about, [vector for _, vector in together]


def _document(row: Row) -> Document:
    return Document(id=row.key, page_content=row.text, metadata=row.metadata)


def _closeness(distance: float) -> float:
    return 1.0 / (1.0 + distance)


_RELEVANCE: dict[str, Callable[[float], float]] = {
    "cosine": lambda distance: min(1.0, max(0.0, 1.0 - distance / 2.0)),
    # Minus the product; of vectors of length 1 it is between -1 and 1.
    "inner_product": lambda distance: (1.0 - distance / max(1.0, abs(distance))) / 2.0,
}
