"""Hits as rows: the user's columns as they are now, whatever they hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from .._catalog.content import Unreadable, database_encoding, read_texts
from .._catalog.records import EmbeddingConfig, Generation
from .._connection import Connection, driver_error, execute, execute_as_set
from .._sql import quote_identifier
from ..errors import QueryError
from .full_text import rowid_name
from .results import Result, record_names
from .unseen import changed_unseen
from .vectors import Hit


def selected_columns(
    conn: Connection, embedding: EmbeddingConfig, select: Sequence[str] | None
) -> tuple[str, ...]:
    """The columns to return: those asked for, else all that are not declared as blobs, nor hold our vectors.

    Raises:
        QueryError: there is no such column.
    """
    info = execute(conn, f"pragma main.table_xinfo({quote_identifier(embedding.source)})")
    columns = {row[1].lower(): row[1] for row in info if row[6] != 1}
    if select is not None:
        if isinstance(select, str) or not isinstance(select, Sequence):
            raise QueryError(f"select: expected a list of columns, got {select!r}")
        for name in select:
            if not isinstance(name, str) or name.lower() not in columns:
                raise QueryError(
                    f"select: {embedding.source} has no column {name!r}; it has {', '.join(columns.values())}"
                )
        return tuple(dict.fromkeys(columns[name.lower()] for name in select))
    keys = {name.lower() for name in embedding.key_columns}
    return tuple(
        row[1]
        for row in info
        if row[6] != 1 and ("BLOB" not in str(row[2]).upper() or row[1].lower() in keys)
    )


def results_of(
    conn: Connection,
    embedding: EmbeddingConfig,
    hits: Sequence[tuple[Hit, float]],
    places: Mapping[int, int],
    columns: tuple[str, ...],
    first_rank: int,
) -> tuple[Result, ...]:
    """The rows of hits, each with its score."""
    generation = embedding.active
    numbers = [hit.row_id for hit, _ in hits]
    ids = json.dumps(numbers)
    rows = _rows(conn, embedding, (*embedding.key_columns, *columns), ids)
    waiting = {
        row[0]
        for row in execute(
            conn,
            "select row_id from vssnative_queue where embedding = ? and priority = 0"
            " and row_id in (select value from json_each(?))",
            (embedding.id, ids),
        )
    } | changed_unseen(conn, embedding, numbers)
    width = len(embedding.key_columns)
    names = record_names(embedding.source, columns)
    results = []
    for rank, (hit, score) in enumerate(hits, first_rank):
        rowid, *values = rows[hit.row_id]
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
                _passage_text(conn, embedding, generation, hit, hit.row_id in waiting),
                hit.row_id in waiting,
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
    """Row number to rowid and values, texts as the connection's text_factory has them."""
    row_id = embedding.row_id_sql("t")
    try:
        rowid = f"t.{rowid_name(conn, embedding)}"
    except QueryError:  # WITHOUT ROWID
        rowid = "null"
    names = [f"t.{quote_identifier(column)}" for column in columns]
    rest = f"from {embedding.rows_sql('t')} where {row_id} in (select value from json_each(?))"
    try:
        found = execute_as_set(conn, f"select {row_id}, {rowid}, {', '.join(names)} {rest}", (ids,))
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
    for number, rowid_value, *pairs in execute(conn, f"select {row_id}, {rowid}, {raw} {rest}", (ids,)):
        values = [
            pairs[at + 1].decode(encoding, "replace") if pairs[at] == "text" else pairs[at + 1]
            for at in range(0, len(pairs), 2)
        ]
        decoded[number] = (rowid_value, *values)
    return decoded


def _passage_text(
    conn: Connection, embedding: EmbeddingConfig, generation: Generation, hit: Hit, waiting: bool
) -> str | None:
    """The passage's text; None where the text changed since, so that the places do not fit any more."""
    if hit.passage is None or hit.field is None or waiting:
        return None
    [(start, stop)] = execute(conn, "select start, stop from vssnative_passages where id = ?", (hit.passage,))
    text = read_texts(conn, embedding, generation, [hit.row_id])[hit.row_id][hit.field.name]
    return None if text is None or isinstance(text, Unreadable) else text[start:stop]
