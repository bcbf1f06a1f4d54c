"""sqlite-utils: vss0 in every connection of its command line and of ``Database(...)``, and commands of this package.

A plugin, found by sqlite-utils through the package's entry point. The functions of this package take a
``sqlite_utils.Database`` wherever they take a connection.

    sqlite-utils vss-add-embeddings blog.db posts title summary
    sqlite-utils vss-sync blog.db
    sqlite-utils vss-search blog.db posts "how to bake bread"
"""

from __future__ import annotations

import contextlib
import csv
import json
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from sqlite_utils import hookimpl

from .._connection import connect, load
from .._words import counted
from ..errors import VssError

_PATH = click.Path(exists=True, file_okay=True, dir_okay=False, allow_dash=False)


@hookimpl  # type: ignore[untyped-decorator,unused-ignore]
def prepare_connection(conn: Any) -> None:
    """Called by sqlite-utils with each new connection."""
    load(conn)


@hookimpl  # type: ignore[untyped-decorator,unused-ignore]
def register_commands(cli: click.Group) -> None:
    """``vss-add-embeddings``, ``vss-sync`` and ``vss-search``."""

    @cli.command(name="vss-add-embeddings")
    @click.argument("path", type=_PATH)
    @click.argument("table")
    @click.argument("column", nargs=-1, required=True)
    @click.option("--model", default="minilm", show_default=True, help="The embedding model.")
    @click.option("--chunk", type=int, help="Split long texts into passages of so many tokens.")
    @click.option(
        "--full-text", is_flag=True, help="Keep a full-text index too: searches go by words as well."
    )
    @click.option("--sync", "at_once", is_flag=True, help="Embed the rows at once.")
    def vss_add_embeddings(
        path: str,
        table: str,
        column: tuple[str, ...],
        model: str,
        chunk: int | None,
        full_text: bool,
        at_once: bool,
    ) -> None:
        """Give a table embeddings of its text columns

        Its rows stay as they are; vss-sync then embeds them, and again what changes later.

        Example:

        \b
            sqlite-utils vss-add-embeddings blog.db posts title summary
        """
        from ..migrations import add_embeddings

        with _opened(path) as conn:
            added = add_embeddings(conn, table, list(column), model=model, chunk=chunk, full_text=full_text)
            click.echo(
                f"{added.name}: embeddings of {', '.join(column)} by {added.active.model_name}", err=True
            )
            if at_once:
                _sync(conn, added.name, None)

    @cli.command(name="vss-sync")
    @click.argument("path", type=_PATH)
    @click.argument("table", required=False)
    @click.option("--limit", type=int, help="Rows to work on at most.")
    def vss_sync(path: str, table: str | None, limit: int | None) -> None:
        """Embed the rows that are new or changed

        Stop it with Ctrl-C whenever you like: it goes on from there.

        Example:

        \b
            sqlite-utils vss-sync blog.db
        """
        with _opened(path) as conn:
            _sync(conn, table, limit)

    @cli.command(name="vss-search")
    @click.argument("path", type=_PATH)
    @click.argument("table")
    @click.argument("query")
    @click.option("-k", "--limit", "k", type=int, default=10, show_default=True, help="How many rows.")
    @click.option("-c", "--column", multiple=True, help="Columns to return.")
    @click.option("--where", help='SQL over the table, e.g. "year > :year".')
    @click.option("-p", "--param", multiple=True, type=(str, str), help="Named :parameters of the condition.")
    @click.option(
        "--mode", type=click.Choice(["vector", "text", "hybrid"]), help="By meaning, by words, or by both."
    )
    @click.option("--nl", is_flag=True, help="Output newline-delimited JSON")
    @click.option("--csv", "as_csv", is_flag=True, help="Output CSV")
    @click.option("--tsv", "as_tsv", is_flag=True, help="Output TSV")
    @click.option("-t", "--table", "as_table", is_flag=True, help="Output as a formatted table")
    def vss_search(
        path: str,
        table: str,
        query: str,
        k: int,
        column: tuple[str, ...],
        where: str | None,
        param: tuple[tuple[str, str], ...],
        mode: Any,
        nl: bool,
        as_csv: bool,
        as_tsv: bool,
        as_table: bool,
    ) -> None:
        """Find the rows of a table that are nearest to a text

        Example:

        \b
            sqlite-utils vss-search blog.db posts "how to bake bread" -c title -t
        """
        from .._search import search

        with _opened(path, write=False) as conn:
            found = search(conn, table, query, k, where, dict(param), mode=mode, select=column or None)
            _write(
                found.to_dicts(), nl=nl, separator="\t" if as_tsv else "," if as_csv else None, table=as_table
            )
            if found.pending:
                click.echo(
                    f"{counted(found.pending, 'row', 'is')} new or changed since: sqlite-utils vss-sync {path}",
                    err=True,
                )


@contextlib.contextmanager
def _opened(path: str, *, write: bool = True) -> Iterator[Any]:
    """The file; errors that are raised on purpose become sqlite-utils' own."""
    try:
        if write:
            opened = connect(path, wal=False, synchronous=None)
        else:
            from pathlib import Path

            place = f"{Path(path).resolve().as_uri()}?mode=ro"
            opened = connect(place, uri=True, wal=False, synchronous=None)
        with contextlib.closing(opened) as conn:
            yield conn
    except (VssError, sqlite3.Error) as error:
        raise click.ClickException(str(error)) from error


def _sync(conn: Any, table: str | None, limit: int | None) -> None:
    from .._sync import sync

    done = sync(conn, table, limit=limit, progress=sys.stderr.isatty())
    click.echo(
        f"{counted(done.rows, 'row')} done; {done.remaining:,} remain, {done.dead:,} given up", err=True
    )


def _write(rows: Sequence[Mapping[str, Any]], *, nl: bool, separator: str | None, table: bool) -> None:
    """Rows as sqlite-utils writes them."""
    names = list(rows[0]) if rows else []
    values = [[_told(row.get(name)) for name in names] for row in rows]
    if table:
        import tabulate

        click.echo(tabulate.tabulate(values, headers=names))
    elif separator is not None:
        writer = csv.writer(sys.stdout, delimiter=separator)
        writer.writerow(names)
        writer.writerows(values)
    else:
        lines = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in values]
        click.echo("\n".join(lines) if nl else "[" + ",\n ".join(lines) + "]")


def _told(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
