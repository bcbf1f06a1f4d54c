"""Tables of SQLite's vec1 (``using vec1(vector, ...)``): the rows are in ``t_base(id, vector, c0, c1, ...)``."""

from __future__ import annotations

from typing import Any

from .. import _connection as connection
from .._sql import quote_identifier
from .blobs import dimensions, stream
from .declared import arguments, unquoted
from .source import Column, Source, free_names


def tables(conn: Any) -> list[str]:
    """Names of the file's vec1 tables."""
    found = connection.execute(
        conn,
        "select name from sqlite_master where type = 'table' and sql like 'create virtual table%using%vec1%'",
    )
    return [name for (name,) in found]


def open_source(conn: Any, table: str, metric: str | None = None) -> Source:
    """The table as a source. `metric`: L2 where it is None; the file does not say it readably."""
    [(sql,)] = connection.execute(conn, "select sql from sqlite_master where name = ?", [table])
    declared = [unquoted(text.split()[0]) for text in arguments(sql, "vec1")] or ["vector"]
    names = free_names(declared)
    base = quote_identifier(f"{table}_base")
    words = f"{table} (vec1)"
    dim = dimensions(conn, base, "vector", "float32", words)
    columns = [Column(names[0], f"({dim}) metric_type={metric or 'L2'}", is_vector=True)]
    columns += [Column(name, "") for name in names[1:]]
    [(count, vectors)] = connection.execute(conn, f"select count(*), count(vector) from {base}")
    values = "".join(f", c{at}" for at in range(len(names) - 1))
    sql = f"select id, vector{values} from {base} order by id"
    return Source(words, columns, True, lambda: stream(conn, sql), count, {names[0]: vectors})
