"""Hits as rows: the user's columns as they are now, whatever they hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from .._catalog.content import Unreadable, database_encoding, read_texts
from .._catalog.records import EmbeddingConfig
from .._connection import Connection, driver_error, execute, execute_as_set
from .._sql import quote_identifier
from ..errors import QueryError
from .current import Current
from .rankings.full_text import rowid_name
from .rankings.vectors import Hit
from .results import Result, record_names
from .unseen import changed_unseen


def selected_columns(now: Current, select: Sequence[str] | None) -> tuple[str, ...]:
    """The columns to return: those asked for, else all that are not declared as blobs, nor hold our vectors.

    Raises:
        QueryError: there is no such column.
    """
    embedding = now.embedding
    shown = [column for column in now.columns if column.hidden != 1]
    if select is not None:
        if isinstance(select, str) or not isinstance(select, Sequence):
            raise QueryError(f"select: expected a list of columns, got {select!r}")
        names = {column.name.lower(): column.name for column in shown}
        for name in select:
            if not isinstance(name, str) or name.lower() not in names:
                raise QueryError(
                    f"select: {embedding.source} has no column {name!r}; it has {', '.join(names.values())}"
                )
        return tuple(dict.fromkeys(names[name.lower()] for name in select))
    keys = {name.lower() for name in embedding.key_columns}
    return tuple(
        column.name
        for column in shown
        if "BLOB" not in column.declared.upper() or column.name.lower() in keys
    )


def results_of(
    conn: Connection,
    now: Current,
    hits: Sequence[tuple[Hit, float]],
    places: Mapping[int, int],
    columns: tuple[str, ...],
    first_rank: int,
) -> tuple[Result, ...]:
    """The rows of hits, each with its score."""
    embedding = now.embedding
    numbers = [hit.row_id for hit, _ in hits]
    rows = _rows(conn, embedding, (*embedding.key_columns, *columns), json.dumps(numbers))
    for number in () if now.watched else changed_unseen(conn, embedding, numbers):
        rowid, _, *values = rows[number]
        rows[number] = (rowid, 1, *values)
    passages = _passages(conn, embedding, hits, rows)
    width = len(embedding.key_columns)
    names = record_names(embedding.source, columns)
    results = []
    for rank, (hit, score) in enumerate(hits, first_rank):
        rowid, waiting, *values = rows[hit.row_id]
        key = values[0] if width == 1 else tuple(values[:width])
        results.append(
            Result(
                rank,
                key,
                rowid,
                hit.distance,
                score,
                None if hit.field is None else hit.field.name,
                dict(zip(columns, values[width:], strict=True)),
                None if hit.passage is None else passages.get(hit.passage),
                bool(waiting),
                places.get(hit.row_id),
                names,
            )
        )
    return tuple(results)


def similarity(distance: float, metric: str) -> float:
    """The score of a distance: larger is better."""
    if math.isinf(distance):
        return -math.inf
    if metric == "cosine":
        return 1.0 - distance
    return -distance if metric == "inner_product" else 1.0 / (1.0 + distance)


def _rows(
    conn: Connection, embedding: EmbeddingConfig, columns: Sequence[str], ids: str
) -> dict[int, tuple[Any, ...]]:
    """Row number to rowid, whether it waits for sync, and values: texts as the connection's text_factory has them."""
    row_id = embedding.row_id_sql("t")
    try:
        rowid = f"t.{rowid_name(conn, embedding)}"
    except QueryError:  # WITHOUT ROWID
        rowid = "null"
    waiting = (
        f"exists (select 1 from main.vssnative_queue as q where q.embedding = {embedding.id}"
        f" and q.row_id = {row_id} and q.priority = 0)"
    )
    names = [f"t.{quote_identifier(column)}" for column in columns]
    rest = f"from {embedding.rows_sql('t')} where {row_id} in (select value from json_each(?))"
    try:
        found = execute_as_set(
            conn, f"select {row_id}, {rowid}, {waiting}, {', '.join(names)} {rest}", (ids,)
        )
        return {row[0]: row[1:] for row in found}
    except (driver_error(conn), UnicodeDecodeError) as error:
        if not isinstance(error, UnicodeDecodeError) and "decode" not in str(error).lower():
            raise
    # A text that is none in the file's encoding; the other cells are none the worse for it.
    raw = ", ".join(
        f"typeof({name}), case typeof({name}) when 'text' then cast({name} as blob) else {name} end"
        for name in names
    )
    encoding = database_encoding(conn)
    decoded = {}
    sql = f"select {row_id}, {rowid}, {waiting}, {raw} {rest}"
    for number, rowid_value, waits, *pairs in execute(conn, sql, (ids,)):
        values = [
            pairs[at + 1].decode(encoding, "replace") if pairs[at] == "text" else pairs[at + 1]
            for at in range(0, len(pairs), 2)
        ]
        decoded[number] = (rowid_value, waits, *values)
    return decoded


def _passages(
    conn: Connection, embedding: EmbeddingConfig, hits: Sequence[tuple[Hit, float]], rows: Mapping[int, Any]
) -> dict[int, str]:
    """The passages' texts by their numbers. Left out where the text changed since: the places do not fit any more."""
    places = {
        hit.passage: (hit.row_id, hit.field.name)
        for hit, _ in hits
        if hit.passage is not None and hit.field is not None and not rows[hit.row_id][1]
    }
    if not places:
        return {}
    texts = read_texts(conn, embedding, embedding.active, [row_id for row_id, _ in places.values()])
    sql = "select id, start, stop from main.vssnative_passages where id in (select value from json_each(?))"
    found = {}
    for number, start, stop in execute(conn, sql, (json.dumps(list(places)),)):
        row_id, field = places[number]
        text = texts[row_id][field]
        if text is not None and not isinstance(text, Unreadable):
            found[number] = text[start:stop]
    return found
