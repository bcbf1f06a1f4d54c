"""Filling a vss0 table from a source."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from .. import _connection as connection
from .._sql import quote_identifier
from .._words import counted
from ..errors import ConfigurationError, VssError
from .source import Source

_BATCH = 500


def load(conn: Any, table: str, source: Source, *, progress: Callable[[int, int], None] | None = None) -> int:
    """Make the table `table` in ``main`` and put the source's rows into it, all or none.

    Args:
        conn: with vss0 loaded.
        table: must not exist.
        source: the rows.
        progress: hears of rows done, and how many there are.

    Returns:
        The number of rows.

    Raises:
        ConfigurationError: there is such a table; or the numbers at the end are not those of the source.
        VssError, sqlite3.Error: a row is refused, for example a vector of zeros under COSINE; nothing is kept.
    """
    name = f"main.{quote_identifier(table)}"
    with connection.transaction(conn):
        if connection.execute(
            conn, "select 1 from main.sqlite_master where name = ? collate nocase", [table]
        ):
            raise ConfigurationError(f"there is already a table {table!r}; name a new one")
        declared = ", ".join(column.declaration for column in source.columns)
        connection.execute(conn, f"create virtual table {name} using vss0({declared})")
        columns = [quote_identifier(column.name) for column in source.columns]
        if source.has_rowid:
            columns.insert(0, "rowid")
        insert = f"insert into {name}({', '.join(columns)}) values ({', '.join('?' * len(columns))})"
        done = 0
        rows = source.rows()
        while batch := list(itertools.islice(rows, _BATCH)):
            for row in batch:
                try:
                    connection.execute(conn, insert, row)
                except (VssError, connection.driver_error(conn)) as error:
                    raise ConfigurationError(f"{source.words}, row {row[0]!r}: {error}") from error
            done += len(batch)
            if progress is not None:
                progress(done, source.count)
        _check(conn, table, source, done)
    return done


def _check(conn: Any, table: str, source: Source, done: int) -> None:
    [(there,)] = connection.execute(conn, f"select count(*) from main.{quote_identifier(table)}")
    if not there == done == source.count:
        raise ConfigurationError(
            f"{source.words}: expected {counted(source.count, 'row')}, read {done:,}, and {there:,} arrived"
        )
    for column, expected in source.vectors.items():
        [(found,)] = connection.execute(conn, "select vss_count(?, ?, 'main')", [table, column])
        if found != expected:
            raise ConfigurationError(
                f"{source.words}, column {column}: expected {counted(expected, 'vector')}, {found:,} arrived"
            )
