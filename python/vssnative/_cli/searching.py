"""``vssnative search`` and ``vssnative explain``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from .. import _display as display
from .._advice import command
from .._words import counted
from ..errors import ConfigurationError
from .output import (
    AsJson,
    ExistingDatabase,
    Params,
    TableName,
    from_input,
    opened,
    tell_json,
    values_of,
)


def search(
    database: ExistingDatabase,
    table: TableName,
    query: Annotated[
        str,
        typer.Argument(
            help="What to look for, in words; - reads it from standard input.",
            show_default=False,
            metavar="QUERY",
        ),
    ],
    k: Annotated[int, typer.Option("-k", help="How many rows.")] = 10,
    where: Annotated[str | None, typer.Option(help='SQL over the table, e.g. "company = ?".')] = None,
    params: Params = None,
    select: Annotated[
        list[str] | None,
        typer.Option("--select", "--show", help="A column to show; may be given several times."),
    ] = None,
    mode: Annotated[
        Literal["vector", "text", "hybrid"] | None,
        typer.Option(help="By meaning (vector), by words (text), or by both (hybrid)."),
    ] = None,
    full_text: Annotated[str | None, typer.Option(help="An FTS5 table of yours over the same rows.")] = None,
    recall: Annotated[float | None, typer.Option(help="Share of true neighbours wanted; 1 is exact.")] = None,
    offset: Annotated[int, typer.Option(help="Leave out so many of the first rows.")] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Embed what is pending first, for 5 s at most.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find the rows that are nearest to a text.

    Example: vssnative search blog.db posts "bread" --where "year > ?" -p 2020
    """
    from .._search import search as find

    words = from_input(query)
    with opened(database, write=fresh) as conn:
        results = find(
            conn,
            table,
            words,
            k,
            where,
            values_of(params),
            mode=mode,
            full_text=full_text,
            select=select,
            recall=recall,
            offset=offset,
            fresh=fresh,
        )
    if as_json:
        tell_json(*results.to_dicts())
        return
    console = display.console()
    if results:
        console.print(
            display.hits_table(results, results.columns, words, keys=results.key_columns, width=console.width)
        )
    else:
        typer.echo("no rows found", err=True)
    if results.pending:
        typer.echo(
            f"{counted(results.pending, 'row', 'is')} new or changed since: {command('sync', file=database)}",
            err=True,
        )


def explain(
    database: ExistingDatabase,
    table: TableName,
    query: Annotated[
        str,
        typer.Argument(
            help="A query, in words; - reads it from standard input.", show_default=False, metavar="QUERY"
        ),
    ],
    k: Annotated[int, typer.Option("-k", help="How many rows.")] = 10,
    recall: Annotated[float | None, typer.Option(help="Share of true neighbours wanted.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a search looks at, where its time goes, and the recall it reaches; takes as long as an exact search.

    Example: vssnative explain blog.db posts "how to bake bread"
    """
    from .._catalog.records import load_embedding
    from .._index import Index
    from .._search.query import query_vectors

    with opened(database, write=False) as conn:
        embedding = load_embedding(conn, table, to_read=True)
        generation = embedding.active
        if generation.vss_table is None:
            raise ConfigurationError(
                f"{table}: its vectors are in columns of its own, where every row is looked at"
            )
        [vector] = query_vectors(generation, [from_input(query)], None)
        for field in generation.fields:
            index = Index(conn, generation.vss_table, field.vector_column)
            found = index.explain(vector, k, recall=recall)
            if as_json:
                tell_json({"column": field.name, **found})
            else:
                display.console().print(display.stats_tables(f"{embedding.name}.{field.name}", found))
