"""The command ``vssnative``: each command is one call of the library, its answer in words or as a table."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console

from . import connection, display, model_commands
from .errors import ConfigurationError, VssError, VssWarning
from .sharded.commands import app as shards_app

if TYPE_CHECKING:
    from ._sync import Report
    from .embedding import Embedder

__all__ = ["app", "main"]


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """On standard error, without Python's words about the place in the code."""
    typer.secho(f"note: {message}", err=True)


class _Commands(typer.core.TyperGroup):
    """An error that the library raises on purpose is told in its own words, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", VssWarning)
                warnings.showwarning = _show_warning
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
app.add_typer(model_commands.app, name="model")
app.add_typer(shards_app, name="shards")

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


def _tell_version(wanted: bool) -> None:
    if wanted:
        from . import _core

        typer.echo(f"vssnative {_core.vss0_version()}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        conn = connection.connect(path)
    except sqlite3.Error as error:
        raise ConfigurationError(f"{path}: {error}") from None
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
            f"{marks[finding.state]}{' ' * (5 - len(finding.state))}",
            finding.subject,
            highlight=False,
            end=": ",
            soft_wrap=True,
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


# --- vss0 tables ----------------------------------------------------------------------------------------------------


@app.command()
def info(database: ExistingDatabase) -> None:
    """List the vss0 tables of a file: columns, dimensions, metrics, vectors."""
    console = Console()
    with _opened(database) as conn:
        rows: list[tuple[object, ...]] = []
        for table in _vss_tables(conn):
            [(text,)] = connection.execute(conn, "select vss_describe(?)", [table])
            for column in json.loads(text)["columns"]:
                count = None
                if column["kind"] == "vector":
                    [(count,)] = connection.execute(conn, "select vss_count(?, ?)", [table, column["name"]])
                shape = (column.get("dim"), column.get("type"), column.get("metric"))
                rows.append((table, column["name"], column["kind"], *shape, count))
    headers = ("table", "column", "kind", "dimensions", "type", "metric", "vectors")
    console.print(display.rows_table(f"{database}: vss0 tables", headers, rows))


@app.command()
def check(
    database: ExistingDatabase,
    table: Annotated[str | None, typer.Argument(help="Only this vss0 table.", show_default=False)] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended, and say what was lost.")
    ] = False,
) -> None:
    """Look for damage in the stored bytes of vss0 tables, and in the file. Exit code 1 if there is some."""
    faults = False
    with _opened(database) as conn:
        for (words,) in connection.execute(conn, "pragma integrity_check(10)"):
            if words != "ok":
                faults = True
                typer.echo(f"file: {words}")
        for name in _vss_tables(conn) if table is None else [table]:
            if repair:
                with connection.transaction(conn):
                    [(words,)] = connection.execute(conn, "select vss_repair(?)", [name])
                typer.echo(f"{name}: {words}")
            [(words,)] = connection.execute(conn, "select vss_check(?)", [name])
            faults |= words != "ok"
            typer.echo(f"{name}: {words}")
    if faults:
        raise typer.Exit(1)


@app.command()
def stats(
    database: ExistingDatabase,
    table: TableName,
    column: Annotated[str | None, typer.Argument(help="Only this vector column.", show_default=False)] = None,
) -> None:
    """Tell how a vss0 table's vectors are searched: cells, their sizes, what recall needs, the cache."""
    console = Console()
    with _opened(database) as conn:
        for name in _vector_columns(conn, table, column):
            [(text,)] = connection.execute(conn, "select vss_stats(?, ?)", [table, name])
            console.print(display.pairs_table(f"{table}.{name}", json.loads(text)))


@app.command()
def optimize(
    database: ExistingDatabase,
    table: TableName,
    column: Annotated[str | None, typer.Argument(help="Only this vector column.", show_default=False)] = None,
) -> None:
    """Cluster anew what many changes have worn. Small steps, each a commit: stop it when you like, others work on."""
    from rich.progress import Progress

    with _opened(database) as conn, Progress(console=Console(stderr=True)) as progress:
        for name in _vector_columns(conn, table, column):
            task = progress.add_task(f"{table}.{name}", total=None)
            cell: int | None = 0
            while cell is not None:
                with connection.transaction(conn):
                    [(text,)] = connection.execute(conn, "select vss_optimize(?, ?, ?)", [table, name, cell])
                step = json.loads(text)
                cell = step["next"]
                done = step["cells"] if cell is None else cell
                progress.update(task, total=max(step["cells"], 1), completed=max(done, int(cell is None)))
            typer.echo(f"{table}.{name}: {step['cells']} cells gone through")


def _vector_columns(conn: sqlite3.Connection, table: str, column: str | None) -> list[str]:
    if column is not None:
        return [column]
    [(text,)] = connection.execute(conn, "select vss_describe(?)", [table])
    if text is None:
        raise ConfigurationError(f"there is no vss0 table {table!r}; vssnative info lists those of a file")
    return [one["name"] for one in json.loads(text)["columns"] if one["kind"] == "vector"]


def _vss_tables(conn: sqlite3.Connection) -> list[str]:
    names = (
        "select name from sqlite_master where type = 'table' and sql like 'create virtual table%using%vss0%'"
    )
    return [name for (name,) in connection.execute(conn, f"{names} order by name")]


# --- embeddings of one's own table ----------------------------------------------------------------------------------


_NO_EMBEDDINGS = "{}: no table has embeddings; vssnative add-embeddings gives it some"


Precision = Annotated[
    str | None, typer.Option(help="float32, or bfloat16: faster where the processor has it, less exact.")
]


def _model(name: str, precision: str | None) -> str | Embedder:
    from .embedding import get_embedder

    return name if precision is None else get_embedder(name, precision=precision)


@app.command("add-embeddings")
def add_embeddings(
    database: ExistingDatabase,
    table: TableName,
    columns: Annotated[
        list[str] | None, typer.Option("--column", "-c", help="A text column; may be given several times.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help='One text of several columns instead: "{title} {summary}".')
    ] = None,
    model: Annotated[str, typer.Option(help="The embedding model.")] = "minilm",
    precision: Precision = None,
    chunk: Annotated[
        int | None, typer.Option(help="Split long texts into passages of so many tokens.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name, where a table gets several embeddings.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be done, and its cost.")] = False,
) -> None:
    """Give a table embeddings; its rows stay as they are. `sync` then fills them."""
    from .migrations import add_embeddings as add
    from .migrations import plan_embeddings

    console = Console()
    if not columns and template is None:
        raise ConfigurationError(
            "say which columns hold the texts: -c title -c summary (or one text of several: --template)"
        )
    with _opened(database) as conn:
        if plan:
            planned = plan_embeddings(
                conn, table, columns, template, _model(model, precision), chunk=chunk, name=name
            )
            console.print(display.pairs_table("the backfill", dataclasses.asdict(planned.estimate)))
            for note in planned.notes:
                console.print("note:", note, highlight=False, markup=False)
            for statement in planned.statements:
                console.print(f"{statement};", highlight=False, markup=False, soft_wrap=True)
            return
        added = add(conn, table, columns, template, _model(model, precision), chunk=chunk, name=name)
    fields = ", ".join(field.name for field in added.active.fields)
    console.print(
        f"{added.name}: embeddings of {fields} by {added.active.model_name}; now: vssnative sync {database}"
    )


@app.command("change-model")
def change_model(
    database: ExistingDatabase,
    table: TableName,
    model: Annotated[str, typer.Argument(help="The new embedding model.", show_default=False)],
    precision: Precision = None,
) -> None:
    """Begin to build vectors by another model; `sync` fills them, and switches searches to them when complete."""
    from .migrations import change_model as change

    with _opened(database) as conn:
        changed = change(conn, table, _model(model, precision))
    Console().print(
        f"{changed.name}: changing to {changed.live[-1].model_name}, searches use {changed.active.model_name} until"
        f" then; now: vssnative sync {database}"
    )


@app.command("drop-embeddings")
def drop_embeddings(database: ExistingDatabase, table: TableName) -> None:
    """Take a table's embeddings away; the table is as it was before them."""
    from .migrations import drop_embeddings as drop

    with _opened(database) as conn:
        drop(conn, table)
    Console().print(f"{table}: embeddings dropped")


@app.command()
def sync(
    database: ExistingDatabase,
    table: Annotated[str | None, typer.Argument(help="Only this table.", show_default=False)] = None,
    limit: Annotated[int | None, typer.Option(help="Rows to work on at most.")] = None,
    where: Annotated[
        str | None, typer.Option(help='Only rows for which this SQL holds, e.g. "id > ?".')
    ] = None,
    params: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="The value of a ?; may be given several times.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Embed what is new or changed. Stop it with Ctrl-C whenever you like: it goes on from there."""
    from ._sync import status as ask
    from ._sync import sync as run

    with _opened(database) as conn:
        if table is None and not ask(conn):
            Console().print(_NO_EMBEDDINGS.format(database))
            return
        result = run(conn, table, progress=not quiet, limit=limit, where=where, params=params or ())
    Console().print(
        f"{result.rows:,} rows done, {result.texts:,} texts embedded in {result.seconds:.1f} s;"
        f" {result.remaining:,} rows remain, {result.dead:,} given up",
        highlight=False,
    )


@app.command()
def worker(
    database: ExistingDatabase,
    table: Annotated[str | None, typer.Argument(help="Only this table.", show_default=False)] = None,
    rate_limit: Annotated[float | None, typer.Option(help="Texts per second at most.")] = None,
) -> None:
    """Embed what is new or changed, for ever. Ctrl-C or SIGTERM ends it after the batch that it is at."""
    from ._sync import Settings, Worker

    Worker(database, table, settings=Settings(rate_limit=rate_limit)).run()


@app.command()
def status(
    database: ExistingDatabase,
    table: Annotated[str | None, typer.Argument(help="Only this table.", show_default=False)] = None,
) -> None:
    """Tell how far each table's embeddings are."""
    from ._sync import status as ask

    console = Console()
    with _opened(database) as conn:
        found = ask(conn, table)
    for one in found:
        console.print(display.pairs_table(one.name, dataclasses.asdict(one)))
    if not found:
        console.print(_NO_EMBEDDINGS.format(database))


@app.command()
def search(
    database: ExistingDatabase,
    table: TableName,
    query: Annotated[str, typer.Argument(help="What to look for, in words.", show_default=False)],
    k: Annotated[int, typer.Option("-k", help="How many rows.")] = 10,
    where: Annotated[str | None, typer.Option(help='SQL over the table, e.g. "company = ?".')] = None,
    params: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="The value of a ?; may be given several times.")
    ] = None,
    show: Annotated[
        list[str] | None, typer.Option("--show", help="A column to show; may be given several times.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Embed what is pending first.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, with all columns.")
    ] = False,
) -> None:
    """Find the rows that are nearest to a text."""
    from ._search import search as find
    from ._sync import status as ask

    with _opened(database) as conn:
        results = find(conn, table, query, k, where, params or (), fresh=fresh)
        pending = sum(one.pending for one in ask(conn, table))
    if as_json:
        for record in results.records():
            typer.echo(json.dumps(record, ensure_ascii=False, default=repr))
        return
    unknown = [name for name in show or () if name not in results.columns]
    if unknown:
        raise ConfigurationError(f"{table} has no column {unknown[0]!r}; it has {', '.join(results.columns)}")
    Console().print(display.hits_table(results, show or results.columns, query))
    if pending:
        typer.echo(f"{pending:,} rows are new or changed since: vssnative sync {database}", err=True)


@app.command()
def verify(
    database: ExistingDatabase,
    table: TableName,
    sample: Annotated[int, typer.Option(help="Vectors to make again with the model and compare.")] = 100,
) -> None:
    """Compare stored vectors with the rows' present texts; changes nothing. Exit code 1 if something is wrong."""
    from ._sync import verify as check

    with _opened(database) as conn:
        report = check(conn, table, sample=sample)
    Console().print(
        display.pairs_table(f"{report.name}: {'in order' if report.ok else 'faults'}", _counts(report))
    )
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def repair(database: ExistingDatabase, table: TableName) -> None:
    """Mend what `verify` finds."""
    from ._sync import repair as mend

    with _opened(database) as conn:
        report = mend(conn, table, progress=True)
    Console().print(display.pairs_table(f"{report.name}: found and mended", _counts(report)))


def _counts(report: Report) -> dict[str, object]:
    """Lists of row numbers as their length and first few."""
    counts: dict[str, object] = {}
    for field in dataclasses.fields(report):
        value = getattr(report, field.name)
        if isinstance(value, list):
            some = ", ".join(map(str, value[:5])) + (", ..." if len(value) > 5 else "")
            value = f"{len(value):,} ({some})" if value else 0
        if field.name != "name":
            counts[field.name] = value
    return counts


if __name__ == "__main__":
    main()
