"""Vectors in a blob column of an ordinary table, as sqlite-vector (sqliteai-vector) searches them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import _connection as connection
from .._sql import quote_identifier
from .._words import counted
from ..errors import ConfigurationError
from .source import Column, Source, free_names

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}


def open_source(
    conn: Any, table: str, column: str, *, element: str = "float32", metric: str | None = None
) -> Source:
    """The column as a source; the other columns stay where they are, and are joined by rowid.

    Args:
        conn: the file.
        table, column: where the blobs are.
        element: float32, float16, bfloat16 or int8.
        metric: L2 where it is None.

    Raises:
        ConfigurationError: there is no such column, or its blobs are not all of one length.
    """
    names = connection.execute(conn, "select name from pragma_table_info(?)", [table])
    if column not in [name for (name,) in names]:
        raise ConfigurationError(f"there is no table {table!r} with a column {column!r}")
    quoted, name = quote_identifier(table), quote_identifier(column)
    words = f"{table}.{column}"
    dim = dimensions(conn, quoted, name, element, words)
    [(count,)] = connection.execute(conn, f"select count({name}) from {quoted}")
    declared = Column(
        free_names([column])[0], f"({dim}) type={element} metric_type={metric or 'L2'}", is_vector=True
    )
    sql = f"select rowid, {name} from {quoted} where {name} is not null order by rowid"
    return Source(words, [declared], True, lambda: stream(conn, sql), count, {declared.name: count})


def dimensions(conn: Any, table: str, column: str, element: str, words: str) -> int:
    """From the length of the blobs, which must be the same; `table` and `column` are quoted."""
    if element not in _BYTES:
        raise ConfigurationError(f"expected {', '.join(_BYTES)} as the type, got {element!r}")
    [(shortest, longest, others)] = connection.execute(
        conn,
        f"select min(length({column})), max(length({column})),"
        f" count(*) filter (where typeof({column}) not in ('blob', 'null')) from {table}",
    )
    if shortest is None:
        raise ConfigurationError(f"{words}: there are no vectors")
    if others or shortest != longest or shortest % _BYTES[element] or not shortest:
        raise ConfigurationError(
            f"{words}: expected blobs of {element}, all of one length, got lengths from {shortest} to {longest}"
            + (
                f" and {counted(others, 'value')} that {'is no blob' if others == 1 else 'are no blobs'}"
                if others
                else ""
            )
        )
    return int(shortest) // _BYTES[element]


def stream(conn: Any, sql: str) -> Iterator[tuple[Any, ...]]:
    """The rows one by one."""
    yield from conn.execute(sql)
