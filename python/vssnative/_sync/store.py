"""Where vectors are kept: in a vss0 table, in blob columns of the user's table, or in both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .._catalog.records import EmbeddingConfig, Field, Generation
from .._connection import Connection, execute
from .._index import Index
from .._sql import quote_identifier

Matrix = npt.NDArray[np.float32]


class VectorStore(Protocol):
    """Vectors of one generation. All calls are within the caller's transaction."""

    def put(self, field: Field, ids: Sequence[int], matrix: Matrix) -> None:
        """Set the field's vectors of these rows (or passages): float32 ``(len(ids), dim)``."""
        ...

    def remove(self, field: Field, ids: Sequence[int]) -> None:
        """Take the field's vectors of these rows (or passages) away; ids without one are ignored."""
        ...


def stores_of(conn: Connection, embedding: EmbeddingConfig, generation: Generation) -> list[VectorStore]:
    """All places that a generation's vectors go to."""
    stores: list[VectorStore] = []
    if generation.vss_table is not None:
        stores.append(VssStore(conn, generation))
    if embedding.uses_columns and generation.state == "active":
        stores.append(ColumnStore(conn, embedding))
    return stores


class VssStore:
    """Vectors in the generation's vss0 table; its rowid is the row's number, or the passage's."""

    def __init__(self, conn: Connection, generation: Generation) -> None:
        assert generation.vss_table is not None
        self._conn = conn
        self._generation = generation
        self._table = generation.vss_table
        self._indexes: dict[str, Index] = {}

    def index(self, field: Field) -> Index:
        """The index over a field's vector column."""
        if field.name not in self._indexes:
            self._indexes[field.name] = Index(
                self._conn,
                self._table,
                field.vector_column,
                dim=self._generation.dim,
                metric=self._generation.metric,
            )
        return self._indexes[field.name]

    def put(self, field: Field, ids: Sequence[int], matrix: Matrix) -> None:
        self.index(field).add(np.asarray(ids, dtype=np.int64), matrix, replace=True)

    def remove(self, field: Field, ids: Sequence[int]) -> None:
        column = quote_identifier(field.vector_column)
        present = execute(
            self._conn,
            f"select rowid from main.{quote_identifier(self._table)}"
            f" where rowid in (select value from json_each(?)) and {column} is not null",
            (json.dumps(list(ids)),),
        )
        if present:
            self.index(field).remove(np.array([row[0] for row in present], dtype=np.int64))


class ColumnStore:
    """Vectors as float32 blobs in columns that add_embeddings added to the user's table."""

    def __init__(self, conn: Connection, embedding: EmbeddingConfig) -> None:
        self._conn = conn
        self._embedding = embedding

    def put(self, field: Field, ids: Sequence[int], matrix: Matrix) -> None:
        statement = self._update(field, "?")
        for row_id, vector in zip(ids, np.ascontiguousarray(matrix, dtype="<f4"), strict=True):
            execute(self._conn, statement, (vector.tobytes(), row_id))

    def remove(self, field: Field, ids: Sequence[int]) -> None:
        statement = self._update(field, "null")
        for row_id in ids:
            execute(self._conn, statement, (row_id,))

    def _update(self, field: Field, value: str) -> str:
        embedding = self._embedding
        if not embedding.keyed:
            condition = f"{quote_identifier(embedding.key_columns[0])} = ?"
        else:
            key = ", ".join(quote_identifier(column) for column in embedding.key_columns)
            own = ", ".join(f"k{number}" for number in range(len(embedding.key_columns)))
            condition = f"({key}) = (select {own} from main.{embedding.key_table} where id = ?)"
        return (
            f"update main.{quote_identifier(embedding.source)}"
            f" set {quote_identifier(field.blob_column)} = {value} where {condition}"
        )
