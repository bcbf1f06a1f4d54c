"""The texts of rows: read, put together by templates, hashed.

A text is NULL-like, and gets no vector, where its column is NULL or holds nothing but white space; with a template,
where all its columns are so. Numbers are taken as SQLite writes them. A blob is no text: that row's own failure.
"""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from dataclasses import dataclass

from .._connection import Connection, execute
from .._sql import quote_identifier
from ..embedding._texts import content_hash
from .records import EmbeddingConfig, Field, Generation


@dataclass(frozen=True)
class Unreadable:
    """Stands for a text that is none: `reason` is the sentence for the dead letters."""

    reason: str


Text = str | None | Unreadable


EMPTY_HASH = content_hash("")


def read_texts(
    conn: Connection, embedding: EmbeddingConfig, generation: Generation, row_ids: Sequence[int]
) -> dict[int, dict[str, Text]]:
    """The present texts of rows: row number to field name to text. Rows that are not there are left out."""
    columns = tuple(dict.fromkeys(column for field in generation.fields for column in field.columns))
    row_id = embedding.row_id_sql("t")
    rows = execute(
        conn,
        f"select {row_id}, {_raw_columns(columns)} from {embedding.rows_sql('t')}"
        f" where {row_id} in (select value from json_each(?))",
        (json.dumps(list(row_ids)),),
    )
    encoding = database_encoding(conn)
    return {row[0]: _texts_of(generation, columns, row[1:], encoding) for row in rows}


def embedded_hashes(
    conn: Connection, generation: Generation, row_ids: Sequence[int]
) -> dict[tuple[int, str], str]:
    """Row number and field to the hash of the text that its vectors were made of; rows without vectors are left out."""
    found = execute(
        conn,
        "select row_id, field, content_hash from main.vssnative_provenance"
        " where generation = ? and row_id in (select value from json_each(?))",
        (generation.id, json.dumps(list(row_ids))),
    )
    return {(row[0], row[1]): row[2] for row in found}


def sample_texts(
    conn: Connection, embedding: EmbeddingConfig, generation: Generation, limit: int
) -> list[str]:
    """Texts of the first `limit` rows, all fields together, empty ones left out. Needs no tables of ours."""
    columns = tuple(dict.fromkeys(column for field in generation.fields for column in field.columns))
    rows = execute(
        conn,
        f"select {_raw_columns(columns)} from main.{quote_identifier(embedding.source)} as t limit ?",
        (limit,),
    )
    encoding = database_encoding(conn)
    found = [text for row in rows for text in _texts_of(generation, columns, row, encoding).values()]
    return [text for text in found if isinstance(text, str)]


def database_encoding(conn: Connection) -> str:
    """Python's name for the encoding in which the file keeps text."""
    [(name,)] = execute(conn, "pragma main.encoding")
    return {"UTF-16le": "utf-16-le", "UTF-16be": "utf-16-be"}.get(name, "utf-8")


def _raw_columns(columns: Sequence[str]) -> str:
    # As blobs: a driver that decodes text would fail the whole statement for one row with broken UTF-8.
    return ", ".join(
        f"typeof(t.{quote_identifier(c)}), cast(t.{quote_identifier(c)} as blob)" for c in columns
    )


def _texts_of(
    generation: Generation, columns: Sequence[str], values: Sequence[object], encoding: str
) -> dict[str, Text]:
    by_column = {
        column: _decode(column, values[2 * number], values[2 * number + 1], encoding)
        for number, column in enumerate(columns)
    }
    return {field.name: _compose(field, by_column) for field in generation.fields}


def _decode(column: str, kind: object, value: object, encoding: str) -> Text:
    if value is None:
        return None
    if kind == "blob":
        return Unreadable(f"column {column} holds a blob, expected text")
    assert isinstance(value, bytes)
    try:
        text = value.decode(encoding)
    except UnicodeDecodeError as error:
        return Unreadable(f"column {column} is no valid {encoding}: {error.reason} at byte {error.start}")
    return None if text.isspace() or not text else text


def _compose(field: Field, by_column: dict[str, Text]) -> Text:
    parts: dict[str, str] = {}
    for column in field.columns:
        text = by_column[column]
        if isinstance(text, Unreadable):
            return text
        parts[column.lower()] = text or ""
    if not any(parts.values()):
        return None
    if field.template is None:
        return parts[field.columns[0].lower()]
    return _fill(field.template, parts)


def _fill(template: str, parts: dict[str, str]) -> str:
    filled = []
    for literal, name, _, _ in string.Formatter().parse(template):
        filled.append(literal)
        if name is not None:
            filled.append(parts[name.lower()])
    return "".join(filled)
