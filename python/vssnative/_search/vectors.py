"""The ranking by vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._catalog.records import EmbeddingConfig, Field, Generation
from .._connection import Connection, driver_error, execute, lists_arrive_whole
from .._sql import quote_identifier, quote_text
from ..errors import QueryError
from .column_search import nearest_in_column
from .unseen import changed_unseen

Vector = npt.NDArray[np.float32]
# SQL that selects row numbers, and its parameters.
Candidates = tuple[str, Sequence[object]]

_DEFAULT_RECALL = 0.95  # vss0's own


@dataclass(frozen=True)
class Hit:
    """A row by its number, the field that was nearest (None: it was found by words alone), and its passage."""

    distance: float
    row_id: int
    field: Field | None
    passage: int | None = None


def nearest_rows(
    conn: Connection,
    embedding: EmbeddingConfig,
    vectors: Mapping[str, Vector],
    k: int,
    candidates: Candidates | None,
    stale: bool,
    recall: float | None,
    max_distance: float | None,
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
            hits = [
                Hit(distance, row_id, text_field)
                for row_id, distance in nearest_in_column(
                    conn, embedding, text_field, vector, k, candidates, stale
                )
            ]
        else:
            hits = _nearest(conn, embedding, generation, text_field, vector, k, candidates, stale, recall)
        for hit in hits:
            if max_distance is not None and hit.distance > max_distance:
                continue
            known = best.get(hit.row_id)
            if known is None or hit.distance < known.distance:
                best[hit.row_id] = hit
    return sorted(best.values(), key=lambda hit: (hit.distance, hit.row_id))[:k]


def _nearest(
    conn: Connection,
    embedding: EmbeddingConfig,
    generation: Generation,
    text_field: Field,
    vector: Vector,
    k: int,
    candidates: Candidates | None,
    stale: bool,
    recall: float | None,
) -> list[Hit]:
    """The k nearest rows that count, by one field. Asks for more where rows that do not count took their places."""
    rows, filtered, params = "", "", ()  # type: tuple[str, str, Sequence[object]]
    old_lists = False
    if candidates is not None:
        rows, params = candidates
        if generation.chunk is not None:
            rows = (
                f"select id from vssnative_passages where generation = {generation.id}"
                f" and field = {quote_text(text_field.name)} and row_id in ({rows})"
            )
        filtered = f" and rowid in ({rows})"
        old_lists = not lists_arrive_whole(conn)
    column = quote_identifier(text_field.vector_column)
    table = f"main.{quote_identifier(generation.vss_table or '')}"
    wanted = k
    while True:
        condition = f"{column} match ? and k = {wanted}{filtered}"
        share = _DEFAULT_RECALL if recall is None else float(recall)
        if old_lists:
            among = f"(with matching(id) as ({rows}) select json_group_array(id) from matching)"
            condition = f"{column} match vss_search_params(?, {wanted}, {share!r}, {among})"
        elif recall is not None:
            condition += f" and recall = {share!r}"
        sql = f"select rowid, distance from {table} where {condition}"
        try:
            found = execute(conn, sql, (vector.tobytes(), *params))
        except driver_error(conn) as error:
            raise QueryError(f"search of {embedding.name}: {error}") from error
        hits = _live_hits(conn, embedding, generation, text_field, found, stale)
        if len(hits) >= k or len(found) < wanted:
            return hits[:k]
        wanted *= 2


def _live_hits(
    conn: Connection,
    embedding: EmbeddingConfig,
    generation: Generation,
    text_field: Field,
    found: Sequence[tuple[int, float]],
    stale: bool,
) -> list[Hit]:
    """Found numbers as rows: passages give way to their row, deleted and replaced rows are left out."""
    passages: dict[int, int] = {}
    if generation.chunk is not None:
        passages = dict(
            execute(
                conn,
                "select id, row_id from vssnative_passages where id in (select value from json_each(?))",
                (json.dumps([row[0] for row in found]),),
            )
        )
    rows = [(passages.get(number), number, distance) for number, distance in found]
    if generation.chunk is None:
        rows = [(number, number, distance) for number, distance in found]
    ids = json.dumps([row_id for row_id, _, _ in rows if row_id is not None])
    row_id_sql = embedding.row_id_sql("t")
    there = {
        row[0]
        for row in execute(
            conn,
            f"select {row_id_sql} from {embedding.rows_sql('t')}"
            f" where {row_id_sql} in (select value from json_each(?))",
            (ids,),
        )
    }
    there -= {
        row[0]
        for row in execute(
            conn,
            "select row_id from vssnative_queue where embedding = ? and row_id in (select value from json_each(?))"
            " and (gone = 1 or (? and priority = 0))",
            (embedding.id, ids, int(not stale)),
        )
    }
    if not stale:
        there -= changed_unseen(conn, embedding, sorted(there))
    hits: dict[int, Hit] = {}
    for row_id, number, distance in rows:
        if row_id is not None and row_id in there and row_id not in hits:
            passage = number if generation.chunk is not None else None
            hits[row_id] = Hit(float(distance), row_id, text_field, passage)
    return list(hits.values())
