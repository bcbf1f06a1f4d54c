"""The ranking by vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._catalog.records import EmbeddingConfig, Field
from ..._connection import Connection, driver_error, execute
from ..._sql import quote_identifier
from ...errors import QueryError
from ..unseen import changed_unseen
from .columns import nearest_in_column

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Hit:
    """A row by its number, the field that was nearest (None: it was found by words alone), and its passage."""

    distance: float
    row_id: int
    field: Field | None
    passage: int | None = None


@dataclass(frozen=True)
class Limits:
    """Which rows count, and how exactly they are looked for.

    Attributes:
        among: the numbers of the rows that count, as a JSON array; None for all.
        stale: whether rows count that changed since they were embedded.
        watched: triggers note such changes; else they are found by comparing texts.
        recall: share of the true neighbours wanted; None for the table's default.
        max_distance: leave out what is farther.
    """

    among: str | None
    stale: bool
    watched: bool
    recall: float | None
    max_distance: float | None


def nearest_rows(
    conn: Connection, embedding: EmbeddingConfig, vectors: Mapping[str, Vector], k: int, limits: Limits
) -> list[Hit]:
    """The k nearest rows, each by its best field, nearest first.

    Args:
        vectors: what to be near to, by field; fields left out are not looked at.
    """
    generation = embedding.active
    best: dict[int, Hit] = {}
    for text_field in (one for one in generation.fields if one.name in vectors):
        vector = vectors[text_field.name]
        if generation.vss_table is None:
            found = nearest_in_column(conn, embedding, text_field, vector, k, limits.among, limits.stale)
            hits = [Hit(distance, row_id, text_field) for row_id, distance in found]
        else:
            hits = _nearest(conn, embedding, text_field, vector, k, limits)
        for hit in hits:
            if limits.max_distance is not None and hit.distance > limits.max_distance:
                continue
            known = best.get(hit.row_id)
            if known is None or hit.distance < known.distance:
                best[hit.row_id] = hit
    return sorted(best.values(), key=lambda hit: (hit.distance, hit.row_id))[:k]


def _nearest(
    conn: Connection, embedding: EmbeddingConfig, text_field: Field, vector: Vector, k: int, limits: Limits
) -> list[Hit]:
    """The k nearest rows that count, by one field. Asks for more where rows that do not count took their places.

    The rows to search among go in as one value: ``rowid in (select ...)`` would be evaluated by each search again, and
    SQLite before 3.38 searched once for each of its values.
    """
    generation = embedding.active
    among = "?4"
    if limits.among is not None and generation.chunk is not None:
        among = (
            "(select json_group_array(id) from main.vssnative_passages where generation = ?5 and field = ?6"
            " and row_id in (select value from json_each(?4)))"
        )
    sql = (
        f"select rowid, distance from main.{quote_identifier(generation.vss_table or '')}"
        f" where {quote_identifier(text_field.vector_column)} match vss_search_params(?1, ?2, ?3, {among})"
    )
    chosen = (generation.id, text_field.name) if "?5" in among else ()
    wanted = k
    while True:
        try:
            found = execute(conn, sql, (vector.tobytes(), wanted, limits.recall, limits.among, *chosen))
        except driver_error(conn) as error:
            raise QueryError(f"search of {embedding.name}: {error}") from error
        hits = _live_hits(conn, embedding, text_field, found, limits)
        if len(hits) >= k or len(found) < wanted:
            return hits[:k]
        wanted *= 2


def _live_hits(
    conn: Connection,
    embedding: EmbeddingConfig,
    text_field: Field,
    found: Sequence[tuple[int, float]],
    limits: Limits,
) -> list[Hit]:
    """Found numbers as rows: passages give way to their row, deleted and replaced rows are left out."""
    chunked = embedding.active.chunk is not None
    rows: list[tuple[int, int | None, float]]
    if chunked:
        sql = "select id, row_id from main.vssnative_passages where id in (select value from json_each(?))"
        row_of = dict(execute(conn, sql, (json.dumps([row[0] for row in found]),)))
        rows = [(row_of[number], number, distance) for number, distance in found if number in row_of]
    else:
        rows = [(number, None, distance) for number, distance in found]
    ids = json.dumps([row[0] for row in rows])
    row_id = embedding.row_id_sql("t")
    sql = (
        f"select {row_id} from {embedding.rows_sql('t')} where {row_id} in (select value from json_each(?1))"
        f" and not exists (select 1 from main.vssnative_queue as q where q.embedding = ?2 and q.row_id = {row_id}"
        " and (q.gone = 1 or (?3 and q.priority = 0)))"
    )
    there = {row[0] for row in execute(conn, sql, (ids, embedding.id, int(not limits.stale)))}
    if not limits.stale and not limits.watched:
        there -= changed_unseen(conn, embedding, sorted(there))
    hits: dict[int, Hit] = {}
    for number, passage, distance in rows:
        if number in there and number not in hits:
            hits[number] = Hit(float(distance), number, text_field, passage)
    return list(hits.values())
