"""What looks into vss0 tables: ``info``, ``check``, ``stats``, ``measure-recall``, ``optimize``."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Annotated

import typer

from .. import _display as display
from .._catalog.records import load_embedding
from .._connection import execute, transaction
from .._words import counted
from ..errors import ConfigurationError, MigrationError, UnknownNameError
from .output import AsJson, ExistingDatabase, file_to_look_into, opened, tell, tell_json
from .vectors import array_of

AnyTable = Annotated[
    str,
    typer.Argument(help="A vss0 table, or a table that has embeddings.", show_default=False, metavar="TABLE"),
]
OneColumn = Annotated[
    str | None, typer.Argument(help="Only this vector column.", show_default=False, metavar="COLUMN")
]


_OF_RECALL = {
    "queries": "asked; 0: none, as every search is exact",
    "asked": "the recall that searches were asked for",
    "recall": "what they reached",
    "low": "the lower end of its 95 % interval",
    "high": "the upper end",
    "scanned": "share of the codes that they looked at",
    "every_row": "share of the queries that looked at every row",
}


def info(
    database: ExistingDatabase,
    as_json: AsJson = False,
) -> None:
    """List the vss0 tables of a file: columns, dimensions, metrics, vectors.

    Example: vssnative info blog.db
    """
    with opened(database, write=False) as conn:
        rows: list[tuple[object, ...]] = []
        for table in _vss_tables(conn):
            [(text,)] = execute(conn, "select vss_describe(?)", [table])
            for column in json.loads(text)["columns"]:
                count = None
                if column["kind"] == "vector":
                    [(count,)] = execute(conn, "select vss_count(?, ?)", [table, column["name"]])
                shape = (column.get("dim"), column.get("type"), column.get("metric"))
                rows.append((table, column["name"], column["kind"], *shape, count))
    headers = ("table", "column", "kind", "dimensions", "type", "metric", "vectors")
    if as_json:
        tell_json(*(dict(zip(headers, row, strict=True)) for row in rows))
        return
    if not rows:
        typer.echo(f"{database}: no vss0 tables")
        return
    display.console().print(display.rows_table(f"{database}: vss0 tables", headers, rows))


def check(
    database: ExistingDatabase,
    table: Annotated[
        str | None, typer.Argument(help="Only this vss0 table.", show_default=False, metavar="TABLE")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended, and say what was lost.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look for damage in the stored bytes of vss0 tables, and in the file. Exit code 1 if there is some.

    Example: vssnative check blog.db --repair
    """
    faults = False
    with opened(database, write=repair) as conn:
        for (words,) in execute(conn, "pragma integrity_check(10)"):
            if words != "ok":
                faults = True
                tell(as_json, f"file: {words}", table=None, found=words)
        names = _vss_tables(conn) if table is None else [_vss_table(conn, table)]
        for name in names:
            if repair:
                with transaction(conn):
                    [(words,)] = execute(conn, "select vss_repair(?)", [name])
                tell(as_json, f"{name}: {words}", table=name, repaired=words)
            [(words,)] = execute(conn, "select vss_check(?)", [name])
            faults |= words != "ok"
            tell(as_json, f"{name}: {words}", table=name, found=words)
        if not names and not faults and not as_json:
            typer.echo(f"{database}: ok; no vss0 tables")
    if faults:
        raise typer.Exit(1)


def stats(
    database: ExistingDatabase,
    table: AnyTable,
    column: OneColumn = None,
    as_json: AsJson = False,
) -> None:
    """Tell how a table's vectors are searched: cells, their sizes, what recall needs, the cache.

    Example: vssnative stats blog.db posts
    """
    with opened(database, write=False) as conn:
        vss_table, columns = _vector_columns(conn, table, column)
        for name in columns:
            [(text,)] = execute(conn, "select vss_stats(?, ?)", [vss_table, name])
            if as_json:
                tell_json({"table": vss_table, "column": name, **json.loads(text)})
            else:
                display.console().print(display.stats_tables(f"{vss_table}.{name}", json.loads(text)))


def measure_recall(
    database: ExistingDatabase,
    table: AnyTable,
    column: OneColumn = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="A .npy file of queries (nq, dim); else 500 rows of the table are asked.",
            parser=file_to_look_into,
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many neighbours.")] = 10,
    recall: Annotated[
        float | None, typer.Option(help="The share of true neighbours that searches ask for.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the recall that searches reach on a table, beside exact searches; takes as long as those.

    Example: vssnative measure-recall blog.db posts --recall 0.9
    """
    from .._index import Index

    asked = None if queries is None else array_of(queries)
    with opened(database, write=False) as conn:
        vss_table, columns = _vector_columns(conn, table, column)
        for name in columns:
            found = Index(conn, vss_table, name).measure_recall(asked, k, recall=recall)
            if as_json:
                tell_json({"table": vss_table, "column": name, **found})
            else:
                display.console().print(display.pairs_table(f"{vss_table}.{name}", found, _OF_RECALL))


def optimize(
    database: ExistingDatabase,
    table: AnyTable,
    column: OneColumn = None,
    as_json: AsJson = False,
) -> None:
    """Cluster again the rows that many changes have spread. Every small step is a commit: others can write, and Ctrl-C is safe.

    Example: vssnative optimize blog.db posts
    """
    done: dict[str, int] = {}
    with opened(database) as conn, display.progress() as progress:
        vss_table, columns = _vector_columns(conn, table, column)
        for name in columns:
            task = progress.add_task(f"{vss_table}.{name}", total=None)
            cell: int | None = 0
            while cell is not None:
                with transaction(conn):
                    [(text,)] = execute(conn, "select vss_optimize(?, ?, ?)", [vss_table, name, cell])
                step = json.loads(text)
                cell = step["next"]
                through = step["cells"] if cell is None else cell
                progress.update(task, total=max(step["cells"], 1), completed=max(through, int(cell is None)))
            done[name] = step["cells"]
    for name, cells in done.items():
        words = f"{vss_table}.{name}: {counted(cells, 'cell')} gone through"
        tell(as_json, words, table=vss_table, column=name, cells=cells)


def _vector_columns(conn: sqlite3.Connection, table: str, column: str | None) -> tuple[str, list[str]]:
    """The vss0 table of that name, or of the embeddings of that name, and its vector columns: all, or the one asked for."""
    [(text,)] = execute(conn, "select vss_describe(?)", [table])
    if text is not None:
        names = [one["name"] for one in json.loads(text)["columns"] if one["kind"] == "vector"]
        if column is not None and column.lower() not in map(str.lower, names):
            raise UnknownNameError(f"{table} has no vector column {column!r}; it has {', '.join(names)}")
        return table, names if column is None else [column]
    try:
        active = load_embedding(conn, table).active
    except MigrationError:
        raise UnknownNameError(
            f"there is no vss0 table {table!r}, and no table of that name has embeddings; vssnative info lists those of a file"
        ) from None
    if active.vss_table is None:
        raise ConfigurationError(
            f"{table}: its vectors are in columns of its own, where every row is looked at"
        )
    fields = [field for field in active.fields if column in (None, field.name, field.vector_column)]
    if not fields:
        names = [field.name for field in active.fields]
        raise UnknownNameError(f"{table}: no vectors of {column!r}; it has {', '.join(names)}")
    return active.vss_table, [field.vector_column for field in fields]


def _vss_table(conn: sqlite3.Connection, table: str) -> str:
    if table.lower() not in map(str.lower, _vss_tables(conn)):
        there = ", ".join(_vss_tables(conn)) or "none"
        raise UnknownNameError(f"there is no vss0 table {table!r}; there are: {there}")
    return table


def _vss_tables(conn: sqlite3.Connection) -> list[str]:
    names = (
        "select name from sqlite_master where type = 'table' and sql like 'create virtual table%using%vss0%'"
    )
    return [name for (name,) in execute(conn, f"{names} order by name")]
