"""Exact search over vectors that are kept as blobs in the user's own table: every row is looked at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..._catalog.records import EmbeddingConfig, Field
from ..._connection import Connection, driver_error, execute
from ..._sql import quote_identifier
from ...errors import QueryError


def nearest_in_column(
    conn: Connection,
    embedding: EmbeddingConfig,
    text_field: Field,
    vector: npt.NDArray[np.float32],
    k: int,
    among: str | None,
    stale: bool,
) -> list[tuple[int, float]]:
    """The k nearest rows as (row number, distance), nearest first.

    Args:
        vector: float32 (dim,).
        among: the numbers of the rows that count, as a JSON array; None for all.
        stale: as for ``search``.

    Raises:
        QueryError: SQLite cannot read the column.
    """
    generation = embedding.active
    row_id = embedding.row_id_sql("t")
    column = f"t.{quote_identifier(text_field.blob_column)}"
    condition = "" if among is None else f" and {row_id} in (select value from json_each(?))"
    sql = (
        f"select {row_id}, {column} from {embedding.rows_sql('t')}"
        f" where {column} is not null and {row_id} not in (select row_id from vssnative_queue"
        f" where embedding = {embedding.id} and (gone = 1 or ({int(not stale)} and priority = 0))){condition}"
    )
    try:
        rows = execute(conn, sql, () if among is None else (among,))
    except driver_error(conn) as error:
        raise QueryError(f"search of {embedding.name}: {error}") from error
    rows = [row for row in rows if isinstance(row[1], bytes) and len(row[1]) == 4 * generation.dim]
    if not rows:
        return []
    matrix = np.frombuffer(b"".join(row[1] for row in rows), dtype="<f4").reshape(len(rows), generation.dim)
    distances = _distances(matrix, vector, generation.metric)
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    order = np.lexsort((ids, distances))[:k]
    return [(int(ids[number]), float(distances[number])) for number in order]


def _distances(
    matrix: npt.NDArray[np.float32], vector: npt.NDArray[np.float32], metric: str
) -> npt.NDArray[np.float32]:
    if metric == "l2":
        difference = matrix - vector
        return np.asarray(np.einsum("ij,ij->i", difference, difference), dtype=np.float32)
    products = matrix @ vector
    if metric == "inner_product":
        return np.asarray(-products, dtype=np.float32)
    norms = np.linalg.norm(matrix, axis=1) * np.linalg.norm(vector)
    return np.asarray(1.0 - products / np.where(norms == 0.0, 1.0, norms), dtype=np.float32)
