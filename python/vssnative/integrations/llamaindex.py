"""LlamaIndex: a vector store in a SQLite file.

    store = VssVectorStore("notes.db", table="notes")
    index = VectorStoreIndex(nodes, storage_context=StorageContext.from_defaults(vector_store=store))

Nodes are rows of an ordinary table (text, metadata as JSON), vectors those of a vss0 table beside it, words those of an FTS5
table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._connection import Connection, Pool
from .._extras import need
from ..errors import QueryError
from . import _metadata as metadata
from ._access import Access
from ._documents import Documents, Row, refuse_unknown, with_key
from ._metadata import EVERY, Condition

need("llama_index.core", "llamaindex", "stores for LlamaIndex")

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.indices.query.embedding_utils import get_top_k_mmr_embeddings
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

_REF_DOC_ID = "ref_doc_id"
_DEPTH = 50  # of each ranking that is fused, and of what diverse results are chosen from
_CONSTANT = 60  # of reciprocal rank fusion
_TEXT_MODES = (VectorStoreQueryMode.TEXT_SEARCH, VectorStoreQueryMode.SPARSE)
_OPTIONS = ("mmr_threshold", "mmr_prefetch_k")
_HYBRID_MODES = (VectorStoreQueryMode.HYBRID, VectorStoreQueryMode.SEMANTIC_HYBRID)


class VssVectorStore(BasePydanticVectorStore):
    """A LlamaIndex vector store over one table of a SQLite file.

    Args:
        source: a path or a ``vssnative.Pool``: any thread and event loop may then use the store. Or a connection: used in
            the thread that it belongs to and within its transaction, if one is open; an aiosqlite connection or
            ``AsyncSession`` for asynchronous calls alone.
        table: the table of nodes, made where it does not exist; vectors are in ``vss_<table>``, words in
            ``vss_words_<table>``.
        metric: ``"cosine"`` (default), ``"l2"`` or ``"inner_product"``, for a new table; None takes that of the table.
        recall: share of the true neighbours wanted, 1.0 for exact; None for the default.
        tokenizer: of a new table of words, as FTS5 writes it: ``"trigram"`` for languages without spaces between words;
            None for ``unicode61``.
    """

    stores_text: bool = True
    flat_metadata: bool = False
    table: str = "llamaindex"
    metric: str | None = None
    recall: float | None = None
    tokenizer: str | None = None

    _access: Access = PrivateAttr()
    _documents: Documents = PrivateAttr()

    def __init__(
        self,
        source: str | os.PathLike[str] | Pool | Connection,
        table: str = "llamaindex",
        metric: str | None = None,
        *,
        recall: float | None = None,
        tokenizer: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(  # type: ignore[call-arg]
            table=table, metric=metric, recall=recall, tokenizer=tokenizer, **options
        )
        self._access = Access(source)
        self._documents = Documents(table, metric, words=True, tokenizer=tokenizer, indexed=_REF_DOC_ID)

    @classmethod
    def class_name(cls) -> str:
        """The name that LlamaIndex writes down."""
        return "VssVectorStore"

    @property
    def client(self) -> Any:
        """The pool or connection."""
        return self._access.source

    def close(self) -> None:
        """Close the pool that was made for a path; what was handed over stays open."""
        self._access.close()

    def add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """Store nodes with their embeddings, in one transaction; a node that is there is replaced. Returns their ids.

        Raises:
            ValueError: a node has no embedding.
            QueryError: metadata that JSON cannot hold.
        """
        if nodes:
            self._access.call(self._adding(nodes), write=True)
        return [node.node_id for node in nodes]

    async def async_add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """As ``add``."""
        if nodes:
            await self._access.acall(self._adding(nodes), write=True)
        return [node.node_id for node in nodes]

    def _adding(self, nodes: Sequence[BaseNode]) -> Callable[[Connection], None]:
        keys = [node.node_id for node in nodes]
        texts = [node.get_content(metadata_mode=MetadataMode.NONE) for node in nodes]
        about = [node_to_metadata_dict(node, remove_text=True, flat_metadata=False) for node in nodes]
        matrix = np.array([node.get_embedding() for node in nodes], dtype=np.float32)
        return lambda conn: self._documents.add(conn, keys, texts, about, matrix)

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """Delete the nodes that were made from a document."""
        condition = _of_documents([ref_doc_id])
        self._access.call(lambda conn: self._documents.delete(conn, condition), write=True)

    async def adelete(self, ref_doc_id: str, **_: Any) -> None:
        """As ``delete``."""
        condition = _of_documents([ref_doc_id])
        await self._access.acall(lambda conn: self._documents.delete(conn, condition), write=True)

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **unknown: Any
    ) -> None:
        """Delete nodes by their ids, filters, or both together; all of them where both are None.

        Raises:
            ConfigurationError: ids that are not a list of texts, or any other argument.
            QueryError: filters that have no meaning; without ids, filters that are empty.
        """
        refuse_unknown("delete_nodes", unknown, "node_ids", "filters")
        condition = _to_delete(node_ids, filters)
        self._access.call(lambda conn: self._documents.delete(conn, condition), write=True)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **unknown: Any
    ) -> None:
        """As ``delete_nodes``."""
        refuse_unknown("delete_nodes", unknown, "node_ids", "filters")
        condition = _to_delete(node_ids, filters)
        await self._access.acall(lambda conn: self._documents.delete(conn, condition), write=True)

    def clear(self) -> None:
        """Delete all nodes."""
        self.delete_nodes()

    async def aclear(self) -> None:
        """As ``clear``."""
        await self.adelete_nodes()

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Nodes by their ids, filters, or both together: in the order of the ids, else in that of their adding."""
        condition = _condition(node_ids, None, filters)
        return _ordered(self._access.call(lambda conn: self._documents.select(conn, condition)), node_ids)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """As ``get_nodes``."""
        condition = _condition(node_ids, None, filters)
        rows = await self._access.acall(lambda conn: self._documents.select(conn, condition))
        return _ordered(rows, node_ids)

    def query(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """The nodes that answer a query, best first.

        Modes: default by vectors; text_search and sparse by words (BM25); hybrid and semantic_hybrid by both, fused by
        reciprocal ranks, where ``alpha`` (0.5) is the weight of the vectors; mmr for diverse results, where
        ``mmr_threshold`` (0.5) is 1 for the nearest, 0 for the most diverse, and ``mmr_prefetch_k`` how many
        they are chosen from. Filters hold k.

        Args:
            options: ``mmr_threshold``, ``mmr_prefetch_k``.

        Raises:
            QueryError: another mode; no embedding or text where the mode needs one; a filter that has no meaning.
            ConfigurationError: another option.
        """
        return self._access.call(self._answering(query, options))

    async def aquery(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """As ``query``."""
        return await self._access.acall(self._answering(query, options))

    def _answering(
        self, query: VectorStoreQuery, options: dict[str, Any]
    ) -> Callable[[Connection], VectorStoreQueryResult]:
        refuse_unknown(
            "query", {name: one for name, one in options.items() if name not in _OPTIONS}, *_OPTIONS
        )
        # VectorStoreIndex gives an empty list where it wants all.
        condition = _condition(query.node_ids or None, query.doc_ids or None, query.filters)
        mode = _mode_of(query)
        if mode in _TEXT_MODES:
            words = _words_of(query)
            k = query.sparse_top_k or query.similarity_top_k
            return lambda conn: _result(
                [(row, -rank) for row, rank in self._documents.by_words(conn, words, k, condition)]
            )
        if query.query_embedding is None:
            raise QueryError(f"query: mode {mode.value} needs query_embedding, the vector of the text")
        vector = query.query_embedding
        if mode == VectorStoreQueryMode.DEFAULT:
            return lambda conn: _result(self._near(conn, vector, query.similarity_top_k, condition))
        if mode in _HYBRID_MODES:
            words = _words_of(query)
            return lambda conn: _result(self._both(conn, query, vector, words, condition))
        if mode == VectorStoreQueryMode.MMR:
            return lambda conn: self._diverse(conn, query, vector, options, condition)
        raise _no_such_mode(mode.value)

    def _near(
        self, conn: Connection, vector: list[float], k: int, condition: Condition
    ) -> list[tuple[Row, float]]:
        found = self._documents.nearest(conn, vector, k, condition, self.recall)
        metric = self._documents.index(conn).metric if found else ""
        return [(row, _similarity(distance, metric)) for row, distance in found]

    def _both(
        self,
        conn: Connection,
        query: VectorStoreQuery,
        vector: list[float],
        words: str,
        condition: Condition,
    ) -> list[tuple[Row, float]]:
        k = query.hybrid_top_k or query.similarity_top_k
        alpha = 0.5 if query.alpha is None else query.alpha
        near = self._near(conn, vector, max(_DEPTH, k, query.similarity_top_k), condition)
        spoken = self._documents.by_words(conn, words, max(_DEPTH, k, query.sparse_top_k or 0), condition)
        rows: dict[int, Row] = {}
        scores: dict[int, float] = {}
        for weight, ranking in ((alpha, near), (1.0 - alpha, spoken)):
            for place, (row, _) in enumerate(ranking, 1):
                rows.setdefault(row.number, row)
                scores[row.number] = scores.get(row.number, 0.0) + weight / (_CONSTANT + place)
        best = sorted((n for n in scores if scores[n] > 0), key=lambda number: (-scores[number], number))
        return [(rows[number], scores[number]) for number in best[:k]]

    def _diverse(
        self,
        conn: Connection,
        query: VectorStoreQuery,
        vector: list[float],
        options: dict[str, Any],
        condition: Condition,
    ) -> VectorStoreQueryResult:
        k = query.similarity_top_k
        wanted = max(k, int(options.get("mmr_prefetch_k") or max(_DEPTH, 4 * k)))
        rows = [row for row, _ in self._documents.nearest(conn, vector, wanted, condition, self.recall)]
        if not rows:
            return _result([])
        threshold = options.get("mmr_threshold", query.mmr_threshold)
        scores, places = get_top_k_mmr_embeddings(
            vector,
            list(self._documents.vectors(conn, rows)),
            similarity_top_k=k,
            embedding_ids=list(range(len(rows))),
            mmr_threshold=threshold,
        )
        return _result([(rows[place], float(score)) for place, score in zip(places, scores, strict=True)])


def _result(found: Sequence[tuple[Row, float]]) -> VectorStoreQueryResult:
    return VectorStoreQueryResult(
        nodes=[_node(row) for row, _ in found],
        similarities=[similarity for _, similarity in found],
        ids=[row.key for row, _ in found],
    )


def _node(row: Row) -> BaseNode:
    return metadata_dict_to_node(row.metadata, text=row.text)


def _ordered(rows: Sequence[Row], node_ids: Sequence[str] | None) -> list[BaseNode]:
    if node_ids is None:
        return [_node(row) for row in rows]
    by_key = {row.key: row for row in rows}
    return [_node(by_key[key]) for key in dict.fromkeys(node_ids) if key in by_key]


def _similarity(distance: float, metric: str) -> float:
    if metric == "cosine":
        return 1.0 - distance
    return -distance if metric == "inner_product" else 1.0 / (1.0 + distance)


def _mode_of(query: VectorStoreQuery) -> VectorStoreQueryMode:
    """As LlamaIndex names it: ``VectorStoreQuery`` takes texts, too."""
    try:
        return VectorStoreQueryMode(query.mode)
    except ValueError:
        raise _no_such_mode(str(query.mode)) from None


def _no_such_mode(name: str) -> QueryError:
    return QueryError(
        f"query: expected mode default, text_search, sparse, hybrid, semantic_hybrid or mmr, got {name}"
    )


def _words_of(query: VectorStoreQuery) -> str:
    if query.query_str is None:
        raise QueryError(f"query: mode {_mode_of(query).value} needs query_str")
    return query.query_str


def _of_documents(ref_doc_ids: Sequence[str]) -> Condition:
    path = f'$."{_REF_DOC_ID}"'  # written out: so SQLite takes the index on it
    places = ", ".join("?" * len(ref_doc_ids))
    return Condition(f"json_extract(metadata, '{path}') in ({places})", tuple(ref_doc_ids))


def _condition(
    node_ids: Sequence[str] | None, doc_ids: Sequence[str] | None, filters: MetadataFilters | None
) -> Condition:
    conditions = []
    if node_ids is not None:
        conditions.append(with_key(node_ids))
    if doc_ids is not None:
        conditions.append(metadata.is_in(_REF_DOC_ID, doc_ids, "doc_ids"))
    if filters is not None:
        conditions.append(_filters(filters))
    return metadata.all_of(conditions)


def _to_delete(node_ids: Sequence[str] | None, filters: MetadataFilters | None) -> Condition:
    condition = _condition(node_ids, None, filters)
    if filters is not None and condition == EVERY:
        raise QueryError("delete_nodes: the filters hold for every node; clear() deletes all of them")
    return condition


def _filters(filters: MetadataFilters) -> Condition:
    parts = [_filters(one) if isinstance(one, MetadataFilters) else _filter(one) for one in filters.filters]
    if not parts:
        return EVERY
    if filters.condition == FilterCondition.OR:
        return metadata.any_of(parts)
    if filters.condition == FilterCondition.NOT:  # none of them
        return metadata.negated(metadata.any_of(parts))
    return metadata.all_of(parts)


def _filter(one: MetadataFilter) -> Condition:
    """As ``SimpleVectorStore`` has it: null is like missing, and only != and nin let it in; true is 1."""
    name, value, operator = one.key, one.value, one.operator
    called = operator.value
    if operator == FilterOperator.IS_EMPTY:
        return metadata.is_empty(name)
    if operator == FilterOperator.EQ:
        return metadata.NONE if value is None else metadata.equal(name, value, true_is_one=True)
    if operator == FilterOperator.NE:
        return EVERY if value is None else metadata.negated(metadata.equal(name, value, true_is_one=True))
    if operator in _COMPARISONS:
        return metadata.compared(name, _COMPARISONS[operator], value, called, true_is_one=True)
    if operator in (FilterOperator.IN, FilterOperator.NIN):
        among = (
            metadata.is_part_of(name, value)
            if isinstance(value, str)
            else metadata.is_in(name, value, called, true_is_one=True)
        )
        return among if operator == FilterOperator.IN else metadata.negated(among)
    if operator == FilterOperator.CONTAINS:
        return metadata.contains(name, value, called, true_is_one=True)
    if operator in (FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE):
        return metadata.has_part(
            name, value, called, any_case=operator == FilterOperator.TEXT_MATCH_INSENSITIVE
        )
    if operator in (FilterOperator.ANY, FilterOperator.ALL):
        items = metadata.list_of(name, value, called)
        parts = [metadata.contains(name, item, called, true_is_one=True) for item in items]
        if operator == FilterOperator.ANY:
            return metadata.any_of(parts)
        return metadata.all_of([metadata.negated(metadata.is_null(name)), *parts])
    raise QueryError(f"filter on {name!r}: operator {operator.value} is not known")


_COMPARISONS = {
    FilterOperator.GT: ">",
    FilterOperator.GTE: ">=",
    FilterOperator.LT: "<",
    FilterOperator.LTE: "<=",
}
