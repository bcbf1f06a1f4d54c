"""Full-text indexes that are kept beside embeddings: an FTS5 table of ours under the rows' numbers.

It holds a copy of the texts, so that taking a row away needs only its number: also REPLACE, which deletes rows without
firing delete triggers, can leave no entry behind that a later one does not overwrite, or that sync does not remove.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .._connection import Connection, driver_error, execute, is_corrupt, sqlite_version
from .._sql import quote_identifier, quote_text
from ..errors import MigrationError

if TYPE_CHECKING:
    from .records import EmbeddingConfig, FullText, Generation

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_RESERVED = ("rank", "rowid")
# The first SQLite whose integrity_check looks into virtual tables.
_CHECKS_VIRTUAL = (3, 44, 0)


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
            json.dumps(
                {
                    "table": full_text.table,
                    "columns": list(full_text.columns),
                    **({} if full_text.tokenizer is None else {"tokenizer": full_text.tokenizer}),
                }
            ),
        ),
    )


def build_statements(embedding: EmbeddingConfig) -> tuple[str, str]:
    """CREATE of the index, and the INSERT that fills it with every row."""
    full_text = embedding.full_text
    assert full_text is not None
    table, declared = quote_identifier(full_text.table), _declared(full_text)
    texts = ", ".join(f"t.{quote_identifier(column)}" for column in full_text.columns)
    tokenizer = ""
    if full_text.tokenizer is not None:
        tokenizer = f", tokenize = {quote_text(full_text.tokenizer)}"
    return (
        f"create virtual table main.{table} using fts5({declared}{tokenizer})",
        f"insert into main.{table}(rowid, {declared})"
        f" select {embedding.row_id_sql('t')}, {texts} from {embedding.rows_sql('t')}",
    )


def rebuild(conn: Connection, embedding: EmbeddingConfig) -> None:
    """Make the index of the rows there are now. In the caller's transaction.

    Raises:
        MigrationError: this SQLite has no such tokenizer.
    """
    drop(conn, embedding)
    create, fill = build_statements(embedding)
    make(conn, embedding, create)
    execute(conn, fill)


def make(conn: Connection, embedding: EmbeddingConfig, statement: str) -> None:
    """Run a statement that may be the CREATE of the index.

    Raises:
        MigrationError: this SQLite has no such tokenizer.
    """
    try:
        execute(conn, statement)
    except driver_error(conn) as error:
        tokenizer = None if embedding.full_text is None else embedding.full_text.tokenizer
        if tokenizer is None or "tokenize" not in str(error):
            raise
        version = ".".join(map(str, sqlite_version(conn)))
        raise MigrationError(
            f"full_text={tokenizer!r}: FTS5 of SQLite {version} has no such tokenizer ({error}); trigram needs 3.34, and"
            " full_text=True is unicode61"
        ) from error


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


def follow(conn: Connection, embedding: EmbeddingConfig, generation: Generation) -> None:
    """Where `generation`, which becomes the active one, is of other columns: make the index one of those.

    In the caller's transaction; triggers are the caller's to renew.
    """
    if embedding.full_text is None:
        return
    columns = tuple(dict.fromkeys(column for field in generation.fields for column in field.columns))
    if columns == embedding.full_text.columns:
        return
    followed = replace(embedding, full_text=replace(embedding.full_text, columns=columns))
    assert followed.full_text is not None
    record(conn, embedding.id, followed.full_text)
    rebuild(conn, followed)


def differing_rows(conn: Connection, embedding: EmbeddingConfig) -> tuple[set[int], set[int]]:
    """Rows that are not in the index as they are in the table, and entries of the index without a row."""
    assert embedding.full_text is not None
    table = quote_identifier(embedding.full_text.table)
    row_id, rows = embedding.row_id_sql("t"), embedding.rows_sql("t")
    pairs = zip(_names(embedding.full_text), embedding.full_text.columns, strict=True)
    encoding = execute(conn, "pragma main.encoding")[0][0]
    differs = " or ".join(
        _differs(f"f.{quote_identifier(kept)}", f"t.{quote_identifier(column)}", encoding)
        for kept, column in pairs
    )
    wrong = execute(
        conn,
        f"select {row_id} from {rows} left join main.{table} as f on f.rowid = {row_id}"
        f" where f.rowid is null or {differs}",
    )
    left_over = execute(
        conn, f"select rowid from main.{table} where rowid not in (select {row_id} from {rows})"
    )
    return {row[0] for row in wrong}, {row[0] for row in left_over}


def _differs(kept: str, value: str, encoding: str) -> str:
    """SQL: the index holds another value than the table."""
    differs = f"({kept} collate binary is not {value} or typeof({kept}) <> typeof({value}))"
    if encoding == "UTF-8":
        return differs
    # SQLite takes a byte order mark off the begin of a text in UTF-16 that a module hands on, as FTS5 does, and turns the
    # bytes of the rest round where it is that of the other order.
    native, other = ("x'FFFE'", "x'FEFF'") if encoding == "UTF-16le" else ("x'FEFF'", "x'FFFE'")
    raw = f"cast({value} as blob)"
    without = (
        f"case substr({raw}, 1, 2) when {native} then cast(substr({raw}, 3) as text) is {kept} collate binary"
        f" when {other} then length(cast({kept} as blob)) = length({raw}) - 2 else 0 end"
    )
    return f"({differs} and not (typeof({value}) = 'text' and typeof({kept}) = 'text' and {without}))"


def mend_rows(conn: Connection, embedding: EmbeddingConfig, row_ids: Sequence[int]) -> None:
    """Put these rows into the index as they are now, or take them out. In the caller's transaction."""
    if embedding.full_text is None or not row_ids:
        return
    forget_rows(conn, embedding, row_ids)
    execute(
        conn,
        f"{build_statements(embedding)[1]} where {embedding.row_id_sql('t')} in (select value from json_each(?))",
        (json.dumps(list(row_ids)),),
    )


def damage(conn: Connection, embedding: EmbeddingConfig, *, write: bool) -> str | None:
    """What is wrong with the index's own bytes, in a few words; None where nothing is.

    Args:
        write: a write transaction is open. Without one only SQLite 3.44 and newer can look.
    """
    assert embedding.full_text is not None
    table = quote_identifier(embedding.full_text.table)
    try:
        if write:
            execute(conn, f"insert into main.{table}({table}) values ('integrity-check')")
        elif sqlite_version(conn) >= _CHECKS_VIRTUAL:
            [(words,), *_] = execute(conn, f"pragma main.integrity_check({table})")
            return None if words == "ok" else str(words)
    except driver_error(conn) as error:
        if not is_corrupt(error):
            raise
        return str(error)
    return None


def trigger_steps(
    embedding: EmbeddingConfig, numbers: dict[str, str], matches: dict[str, str]
) -> tuple[str, str]:
    """The steps of a trigger that put NEW into the index, and those that take OLD out.

    What is put there is the row as it is by then, and what is there again stays: a trigger of the user's that runs before ours,
    in the same statement, may have changed the row, taken it away, or put it back.

    Args:
        numbers: SQL for the row number of ``NEW`` and of ``OLD``.
        matches: SQL that holds for the row ``t`` of the table that has the key of ``NEW``, of ``OLD``.
    """
    if embedding.full_text is None:
        return "", ""
    table = quote_identifier(embedding.full_text.table)
    source = f"{quote_identifier(embedding.source)} as t"
    texts = ", ".join(f"t.{quote_identifier(column)}" for column in embedding.full_text.columns)
    out = {row: f"delete from {table} where rowid = {number}" for row, number in numbers.items()}
    # A row whose key holds NULL has no number.
    put = (
        f"insert into {table}(rowid, {_declared(embedding.full_text)}) select {numbers['NEW']}, {texts}"
        f" from {source} where {matches['NEW']} and {numbers['NEW']} is not null; "
    )
    take = f"{out['OLD']} and not exists (select 1 from {source} where {matches['OLD']}); "
    return f"{out['NEW']}; {put}", take


def _declared(full_text: FullText) -> str:
    return ", ".join(map(quote_identifier, _names(full_text)))


def _names(full_text: FullText) -> list[str]:
    """The index's columns, named as the table's where FTS5 allows it."""
    taken = {column.lower() for column in full_text.columns}
    names = []
    for number, column in enumerate(full_text.columns):
        name = column
        if not _PLAIN_NAME.match(column) or column.lower() in (*_RESERVED, full_text.table.lower()):
            name = f"c{number}"
            while name in taken:
                name += "_"
        names.append(name)
    return names
