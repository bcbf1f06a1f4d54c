"""Full-text indexes that are kept beside embeddings: an FTS5 table of ours under the rows' numbers.

It holds a copy of the texts, so that taking a row away needs only its number: also REPLACE, which deletes rows without
firing delete triggers, can leave no entry behind that a later one does not overwrite, or that sync does not remove.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .._connection import Connection, execute
from .._sql import quote_identifier

if TYPE_CHECKING:
    from .records import EmbeddingConfig, FullText

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_RESERVED = ("rank", "rowid")


def meta_key(embedding_id: int) -> str:
    """Where a file's settings name the full-text index of an embedding."""
    return f"full_text:{embedding_id}"


def record(conn: Connection, embedding_id: int, full_text: FullText) -> None:
    """Note in the file that there is one."""
    execute(
        conn,
        "insert or replace into vssnative_meta(key, value) values (?, ?)",
        (
            meta_key(embedding_id),
            json.dumps({"table": full_text.table, "columns": list(full_text.columns)}),
        ),
    )


def build_statements(embedding: EmbeddingConfig) -> tuple[str, str]:
    """CREATE of the index, and the INSERT that fills it with every row."""
    full_text = embedding.full_text
    assert full_text is not None
    table, declared = quote_identifier(full_text.table), _declared(full_text)
    texts = ", ".join(f"t.{quote_identifier(column)}" for column in full_text.columns)
    return (
        f"create virtual table main.{table} using fts5({declared})",
        f"insert into main.{table}(rowid, {declared})"
        f" select {embedding.row_id_sql('t')}, {texts} from {embedding.rows_sql('t')}",
    )


def rebuild(conn: Connection, embedding: EmbeddingConfig) -> None:
    """Make the index of the rows there are now. In the caller's transaction."""
    drop(conn, embedding)
    for statement in build_statements(embedding):
        execute(conn, statement)


def drop(conn: Connection, embedding: EmbeddingConfig) -> None:
    assert embedding.full_text is not None
    execute(conn, f"drop table if exists main.{quote_identifier(embedding.full_text.table)}")


def is_there(conn: Connection, embedding: EmbeddingConfig) -> bool:
    """Whether the index exists; True where there is to be none."""
    if embedding.full_text is None:
        return True
    sql = "select 1 from main.sqlite_master where type = 'table' and name = ? collate nocase"
    return bool(execute(conn, sql, (embedding.full_text.table,)))


def forget_rows(conn: Connection, embedding: EmbeddingConfig, row_ids: Sequence[int]) -> None:
    """Take rows out of the index. In the caller's transaction."""
    if embedding.full_text is not None and row_ids:
        execute(
            conn,
            f"delete from main.{quote_identifier(embedding.full_text.table)}"
            " where rowid in (select value from json_each(?))",
            (json.dumps(list(row_ids)),),
        )


def trigger_steps(embedding: EmbeddingConfig, numbers: dict[str, str]) -> tuple[str, str]:
    """The steps of a trigger that put NEW into the index, and those that take OLD out.

    Args:
        numbers: SQL for the row number of ``NEW`` and of ``OLD``.
    """
    if embedding.full_text is None:
        return "", ""
    table = quote_identifier(embedding.full_text.table)
    texts = ", ".join(f"NEW.{quote_identifier(column)}" for column in embedding.full_text.columns)
    out = {row: f"delete from {table} where rowid = {number}; " for row, number in numbers.items()}
    # A row whose key holds NULL has no number.
    put = (
        f"insert into {table}(rowid, {_declared(embedding.full_text)}) select {numbers['NEW']}, {texts}"
        f" where {numbers['NEW']} is not null; "
    )
    return out["NEW"] + put, out["OLD"]


def _declared(full_text: FullText) -> str:
    """The index's columns, named as the table's where FTS5 allows it."""
    taken = {column.lower() for column in full_text.columns}
    names = []
    for number, column in enumerate(full_text.columns):
        name = column
        if not _PLAIN_NAME.match(column) or column.lower() in (*_RESERVED, full_text.table.lower()):
            name = f"c{number}"
            while name in taken:
                name += "_"
        names.append(quote_identifier(name))
    return ", ".join(names)
