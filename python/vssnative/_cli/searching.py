"""``vssnative search`` and ``vssnative explain``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .. import _display as display
from ..errors import ConfigurationError
from .output import AsJson, ExistingDatabase, Params, TableName, opened, tell_json, values_of


def search(
    database: ExistingDatabase,
    table: TableName,
    query: Annotated[
        str,
        typer.Argument(
            help="What to look for, in words; - reads it from standard input.", show_default=False
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
        str | None, typer.Option(help="vector (by meaning), text (by words), or hybrid (by both).")
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

    words = sys.stdin.read().strip() if query == "-" else query
    with opened(database, write=fresh) as conn:
        results = find(
            conn,
            table,
            words,
            k,
            where,
            values_of(params),
            mode=mode,  # type: ignore[arg-type]
            full_text=full_text,
            select=select,
            recall=recall,
            offset=offset,
            fresh=fresh,
        )
    if as_json:
        tell_json(*results.to_dicts())
        return
    display.console().print(display.hits_table(results, results.columns, words))
    if results.pending:
        typer.echo(f"{results.pending:,} rows are new or changed since: vssnative sync {database}", err=True)


def explain(
    database: ExistingDatabase,
    table: TableName,
    query: Annotated[str, typer.Argument(help="A query, in words.", show_default=False)],
    k: Annotated[int, typer.Option("-k", help="How many rows.")] = 10,
    recall: Annotated[float | None, typer.Option(help="Share of true neighbours wanted.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="As it is: one JSON object for each embedded column.")
    ] = True,
) -> None:
    """Tell what a search looks at, where its time goes, and the recall it reaches; takes as long as an exact search.

    Example: vssnative explain blog.db posts "how to bake bread"
    """
    from .._catalog.records import load_embedding
    from .._index import Index
    from .._search.query import query_vectors

    with opened(database, write=False) as conn:
        embedding = load_embedding(conn, table)
        generation = embedding.active
        if generation.vss_table is None:
            raise ConfigurationError(
                f"{table}: its vectors are in columns of its own, where every row is looked at"
            )
        [vector] = query_vectors(generation, [query], None)
        for field in generation.fields:
            index = Index(conn, generation.vss_table, field.vector_column)
            tell_json({"column": field.name, **index.explain(vector, k, recall=recall)})
