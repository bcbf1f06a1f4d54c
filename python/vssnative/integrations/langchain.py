"""LangChain: a vector store in a SQLite file.

    store = VssVectorStore(vssnative.connect("notes.db"), OpenAIEmbeddings(), table="notes")
    store.add_texts(["first", "second"], metadatas=[{"kind": "a"}, {"kind": "b"}])
    store.similarity_search("something", k=4, filter={"kind": "a"})

Texts and metadata (as JSON) are rows of an ordinary table, vectors those of a vss0 table beside it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from ..connection import Connection, connect, execute, load, transaction
from ..errors import ConfigurationError
from ..index import Index
from ..sql import quote_identifier


class VssVectorStore(VectorStore):
    """A LangChain ``VectorStore`` over one table of a SQLite file.

    Args:
        conn: any supported connection; vss0 is loaded into it.
        embedding: the model, LangChain's.
        table: the table of texts, made where it does not exist; vectors are in ``vss_<table>``.
        metric: ``"cosine"``, ``"l2"`` or ``"inner_product"``, for a new table.
    """

    def __init__(
        self, conn: Connection, embedding: Embeddings, table: str = "langchain", metric: str = "cosine"
    ) -> None:
        load(conn)
        self._conn = conn
        self._embedding = embedding
        self._table = quote_identifier(table)
        execute(
            conn,
            f"create table if not exists {self._table}"
            "(id integer primary key, key text not null unique, text text not null, metadata text not null)",
        )
        known = execute(conn, "select 1 from sqlite_master where name = ?", (f"vss_{table}",))
        self._index = Index(conn, f"vss_{table}", metric=None if known else metric)

    @property
    def embeddings(self) -> Embeddings:
        """The model."""
        return self._embedding

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **_: Any,
    ) -> list[str]:
        """Embed and store texts, in one transaction; an id that is there already is replaced. Returns the ids.

        Raises:
            ConfigurationError: `metadatas` or `ids` are not as many as the texts.
        """
        rows = list(texts)
        keys = [str(uuid.uuid4()) for _ in rows] if ids is None else [key or str(uuid.uuid4()) for key in ids]
        about = metadatas if metadatas is not None else [{} for _ in rows]
        if not len(rows) == len(keys) == len(about):
            raise ConfigurationError(
                f"expected as many ids and metadatas as texts, got {len(rows)} texts, {len(keys)} ids and"
                f" {len(about)} metadatas"
            )
        if not rows:
            return []
        matrix = np.ascontiguousarray(self._embedding.embed_documents(rows), dtype=np.float32)
        numbers: dict[int, int] = {}  # row number to its last place, where an id comes twice
        with transaction(self._conn):
            for place, (key, text, metadata) in enumerate(zip(keys, rows, about, strict=True)):
                execute(
                    self._conn,
                    f"insert into {self._table}(key, text, metadata) values (?, ?, ?)"
                    " on conflict(key) do update set text = excluded.text, metadata = excluded.metadata",
                    (key, text, json.dumps(metadata)),
                )
                [(number,)] = execute(self._conn, f"select id from {self._table} where key = ?", (key,))
                numbers[number] = place
            self._index.add(list(numbers), matrix[list(numbers.values())], replace=True)
        return keys

    def delete(self, ids: list[str] | None = None, **_: Any) -> bool:
        """Delete texts by their ids, all of them if None. Ids that are not there are passed over."""
        condition, params = "", ()  # type: tuple[str, Sequence[object]]
        if ids is not None:
            condition, params = " where key in (select value from json_each(?))", (json.dumps(ids),)
        with transaction(self._conn):
            numbers = [
                row[0] for row in execute(self._conn, f"select id from {self._table}{condition}", params)
            ]
            self._index.remove(numbers)
            execute(self._conn, f"delete from {self._table}{condition}", params)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The stored texts of these ids; ids that are not there are passed over."""
        rows = execute(
            self._conn,
            f"select key, text, metadata from {self._table} where key in (select value from json_each(?))",
            (json.dumps(list(ids)),),
        )
        found = {row[0]: _document(*row) for row in rows}
        return [found[key] for key in ids if key in found]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The k nearest texts; `filter` as for ``similarity_search_with_score``."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: dict[str, Any] | None = None, **_: Any
    ) -> list[tuple[Document, float]]:
        """The k nearest texts with their distances, smaller is nearer.

        Args:
            filter: metadata values that must be equal; k texts come back whenever so many match.
        """
        return self._search(self._embedding.embed_query(query), k, filter)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: dict[str, Any] | None = None, **_: Any
    ) -> list[Document]:
        """The k texts nearest to a vector."""
        return [document for document, _ in self._search(embedding, k, filter)]

    def _search(
        self, vector: Sequence[float], k: int, wanted: dict[str, Any] | None
    ) -> list[tuple[Document, float]]:
        where, params = None, []  # type: tuple[str | None, list[object]]
        if wanted:
            matches = []
            for name, value in wanted.items():
                matches.append("json_extract(metadata, ?) = ?")
                params += [f'$."{name}"', value]
            where = f"rowid in (select id from {self._table} where {' and '.join(matches)})"
        ids, distances = self._index.search(np.asarray(vector, np.float32), k, where=where, params=params)
        found = dict(zip(ids[ids >= 0].tolist(), distances[ids >= 0].tolist(), strict=True))
        rows = execute(
            self._conn,
            f"select id, key, text, metadata from {self._table} where id in (select value from json_each(?))",
            (json.dumps(list(found)),),
        )
        documents = {row[0]: _document(*row[1:]) for row in rows}
        return [(documents[number], distance) for number, distance in found.items()]

    def _select_relevance_score_fn(self) -> Any:
        return {
            "cosine": lambda distance: 1.0 - distance / 2.0,
            "inner_product": lambda distance: -distance,
        }.get(self._index.metric, lambda distance: 1.0 / (1.0 + distance))

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: str = ":memory:",
        conn: Connection | None = None,
        **options: Any,
    ) -> VssVectorStore:
        """A store in the file `path`, or on `conn`, with these texts added."""
        store = cls(connect(path) if conn is None else conn, embedding, **options)
        store.add_texts(texts, metadatas, ids=ids)
        return store


def _document(key: str, text: str, metadata: str) -> Document:
    return Document(id=key, page_content=text, metadata=json.loads(metadata))
