"""``vssnative index``: vectors of one's own, from .npy files."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import _display as display
from .._connection import execute, transaction
from .._words import counted
from ..errors import ConfigurationError
from .output import (
    AsJson,
    Database,
    ExistingDatabase,
    Matrix,
    Params,
    Queries,
    file_to_look_into,
    new_file,
    opened,
    tell,
    tell_json,
    values_of,
)

app = typer.Typer(help="Vectors of your own, from .npy files.", no_args_is_help=True)


@app.command("add")
def index_add(
    database: Database,
    matrix: Matrix,
    ids: Annotated[
        Path | None,
        typer.Option(
            help="A .npy file of int64 (n,); counted from the first free id if left out.",
            parser=file_to_look_into,
        ),
    ] = None,
    table: Annotated[str, typer.Option(help="The vss0 table, made where it does not exist.")] = "vss_vectors",
    column: Annotated[str, typer.Option(help="Its vector column.")] = "embedding",
    metric: Annotated[str | None, typer.Option(help="l2, inner_product or cosine, for a new table.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace vectors whose ids are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add the rows of a matrix, all or none.

    Example: vssnative index add posts.db vectors.npy --ids ids.npy
    """
    import numpy as np

    from .._index import Index

    vectors = array_of(matrix)
    with opened(database, make=True) as conn:
        index = Index(conn, table, column, metric=metric)
        with transaction(conn):
            if ids is not None:
                rowids = array_of(ids)
            else:
                first = _next_id(conn, index)
                rowids = np.arange(first, first + len(vectors), dtype=np.int64)
            index.add(rowids, vectors, replace=replace)
        words = f"{table}.{column}: {counted(len(vectors), 'vector')} added, {len(index):,} in all"
        tell(as_json, words, table=table, column=column, added=len(vectors), vectors=len(index))


@app.command("search")
def index_search(
    database: ExistingDatabase,
    queries: Queries,
    k: Annotated[int, typer.Option("-k", help="How many rows for each query.")] = 10,
    table: Annotated[str, typer.Option(help="The vss0 table.")] = "vss_vectors",
    column: Annotated[str, typer.Option(help="Its vector column.")] = "embedding",
    where: Annotated[str | None, typer.Option(help="A condition in SQL over the table's columns.")] = None,
    params: Params = None,
    recall: Annotated[float | None, typer.Option(help="Share of true neighbours wanted; 1 is exact.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write ids and distances to this .npz file instead of showing them.", parser=new_file
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the nearest rows for each row of a matrix.

    Example: vssnative index search posts.db queries.npy -k 5 --json
    """
    import numpy as np

    from .._index import Index

    vectors = array_of(queries)
    with opened(database, write=False) as conn:
        found, distances = Index(conn, table, column).search(
            vectors, k, where=where, params=values_of(params), recall=recall
        )
    if output is not None:
        output = output if output.suffix == ".npz" else Path(f"{output}.npz")  # as numpy names it
        np.savez(output, ids=found, distances=distances)
        words = f"{output}: ids {found.shape}, distances {distances.shape}"
        tell(as_json, words, output=str(output), shape=list(found.shape))
        return
    found, distances = np.atleast_2d(found), np.atleast_2d(distances)
    rows = [
        (query, rank + 1, str(found[query, rank]), float(distances[query, rank]))
        for query in range(len(found))
        for rank in range(k)
        if found[query, rank] != -1 or distances[query, rank] != np.inf
    ]
    headers = ("query", "rank", "rowid", "distance")
    if as_json:
        tell_json(*(dict(zip(headers, (q, rank, int(r), d), strict=True)) for q, rank, r, d in rows))
        return
    display.console().print(display.rows_table(f"{table}.{column}", headers, rows))


def array_of(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise ConfigurationError(f"{path} is no .npy file of numbers, as numpy.save writes it") from None


def _next_id(conn: sqlite3.Connection, index: Any) -> int:
    from .._sql import quote_identifier

    if len(index) == 0:
        return 1
    [(last,)] = execute(conn, f"select max(rowid) from {quote_identifier(index.table)}")
    return int(last) + 1
