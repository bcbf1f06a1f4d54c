"""The command ``vssnative``: each command is one call of the library, its answer in words or as a table."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from . import connection, display
from .errors import ConfigurationError, VssError

__all__ = ["app", "main"]


class _Commands(typer.core.TyperGroup):
    """An error that the library raises on purpose is told in its own words, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (VssError, sqlite3.Error) as error:
            typer.secho(f"error: {error}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.secho("interrupted; what was committed is kept, run it again to go on", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Commands,
    help="Vector search inside an SQLite file, with embeddings kept in sync.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
index_app = typer.Typer(help="Vectors of your own, from .npy files.", no_args_is_help=True)
app.add_typer(index_app, name="index")

Database = Annotated[Path, typer.Argument(help="The SQLite file.", show_default=False)]
ExistingDatabase = Annotated[
    Path, typer.Argument(help="The SQLite file.", exists=True, dir_okay=False, show_default=False)
]
TableName = Annotated[str, typer.Argument(help="The table.", show_default=False)]
Matrix = Annotated[
    Path,
    typer.Argument(help="A .npy file of float32 (n, dim).", exists=True, dir_okay=False, show_default=False),
]


def main() -> None:
    """Entry point of the console script."""
    app()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    conn = connection.connect(path)
    try:
        yield conn
    finally:
        conn.close()


# --- the machine, the demo ------------------------------------------------------------------------------------------


@app.command()
def doctor(
    database: Annotated[Path | None, typer.Argument(help="A database to look into as well.")] = None,
) -> None:
    """Tell what this machine has, what works, and what to do about the rest."""
    from .doctor import diagnose

    console = Console()
    findings = diagnose(database)
    marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "fault": "[red]fault[/]"}
    for finding in findings:
        console.print(
            f"{marks[finding.state]:<16}", finding.subject, highlight=False, end=": ", soft_wrap=True
        )
        console.print(finding.found, highlight=False, markup=False, soft_wrap=True)
        if finding.advice is not None and finding.state != "ok":
            console.print("        to do:", finding.advice, highlight=False, markup=False, soft_wrap=True)
    if any(finding.state == "fault" for finding in findings):
        raise typer.Exit(1)


@app.command()
def demo(
    query: Annotated[
        str | None, typer.Option("--query", "-q", help="Answer this instead of five questions.")
    ] = None,
    database: Annotated[Path, typer.Option(help="The file to fill and search.")] = Path("demo.db"),
) -> None:
    """Search the docstrings of Python's standard library; the first run embeds them, later ones go on."""
    from .demo import run

    run(database, query, Console())


# --- vectors of one's own -------------------------------------------------------------------------------------------


@index_app.command("add")
def index_add(
    database: Database,
    matrix: Matrix,
    ids: Annotated[
        Path | None,
        typer.Option(help="A .npy file of int64 (n,); counted from the first free id if left out."),
    ] = None,
    table: Annotated[str, typer.Option(help="The vss0 table, made where it does not exist.")] = "vss_vectors",
    column: Annotated[str, typer.Option(help="Its vector column.")] = "embedding",
    metric: Annotated[str | None, typer.Option(help="l2, inner_product or cosine, for a new table.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace vectors whose ids are there.")] = False,
) -> None:
    """Add the rows of a matrix, all or none."""
    import numpy as np

    from .index import Index

    vectors = _array(matrix)
    with _opened(database) as conn:
        index = Index(conn, table, column, metric=metric)
        with connection.transaction(conn):
            if ids is not None:
                rowids = _array(ids)
            else:
                first = _next_id(conn, index)
                rowids = np.arange(first, first + len(vectors), dtype=np.int64)
            index.add(rowids, vectors, replace=replace)
        Console().print(f"{table}.{column}: {len(vectors):,} vectors added, {len(index):,} in all")


@index_app.command("search")
def index_search(
    database: ExistingDatabase,
    queries: Matrix,
    k: Annotated[int, typer.Option("-k", help="How many rows for each query.")] = 10,
    table: Annotated[str, typer.Option(help="The vss0 table.")] = "vss_vectors",
    column: Annotated[str, typer.Option(help="Its vector column.")] = "embedding",
    where: Annotated[str | None, typer.Option(help="A condition in SQL over the table's columns.")] = None,
    recall: Annotated[float | None, typer.Option(help="Share of true neighbours wanted; 1 is exact.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write ids and distances to this .npz file instead of showing them.")
    ] = None,
) -> None:
    """Find the nearest rows for each row of a matrix."""
    import numpy as np

    from .index import Index

    vectors = _array(queries)
    with _opened(database) as conn:
        found, distances = Index(conn, table, column).search(vectors, k, where=where, recall=recall)
    if output is not None:
        np.savez(output, ids=found, distances=distances)
        Console().print(f"{output}: ids {found.shape}, distances {distances.shape}")
        return
    found, distances = np.atleast_2d(found), np.atleast_2d(distances)
    rows = [
        (query, rank + 1, str(found[query, rank]), float(distances[query, rank]))
        for query in range(len(found))
        for rank in range(k)
        if found[query, rank] != -1
    ]
    Console().print(display.rows_table(f"{table}.{column}", ("query", "rank", "rowid", "distance"), rows))


def _array(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise ConfigurationError(f"{path} is no .npy file of numbers, as numpy.save writes it") from None


def _next_id(conn: sqlite3.Connection, index: Any) -> int:
    from .sql import quote_identifier

    if len(index) == 0:
        return 1
    [(last,)] = connection.execute(conn, f"select max(rowid) from {quote_identifier(index.table)}")
    return int(last) + 1


if __name__ == "__main__":
    main()
