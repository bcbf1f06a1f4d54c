"""The command ``vssnative``: each command is one call of the library, its answer in words or as a table."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from .. import connection, display, model_commands
from ..errors import ConfigurationError, VssError, VssWarning
from ..sharded.commands import app as shards_app
from . import data, moving
from .output import AsJson, opened, tell, tell_json, values_of

if TYPE_CHECKING:
    from .._sync import Report
    from ..embedding import Embedder

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
    pretty_exceptions_enable=False,
)
index_app = typer.Typer(help="Vectors of your own, from ..npy files.", no_args_is_help=True)
app.add_typer(index_app, name="index")
app.add_typer(model_commands.app, name="model")
app.add_typer(shards_app, name="shards")
app.command("import")(data.import_command)
app.command("export")(data.export_command)
app.command("upgrade")(moving.upgrade_command)

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
    app(prog_name="vssnative")


def _tell_version(wanted: bool) -> None:
    if wanted:
        from .. import _core

        typer.echo(f"vssnative {_core.vss0_version()}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


# --- the machine, the demo ------------------------------------------------------------------------------------------


@app.command()
def doctor(
    database: Annotated[Path | None, typer.Argument(help="A database to look into as well.")] = None,
) -> None:
    """Tell what this machine has, what works, and what to do about the rest."""
    from ..doctor import diagnose

    console = display.console()
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
    from ..demo import run

    run(database, query, display.console())


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
    as_json: AsJson = False,
) -> None:
    """Add the rows of a matrix, all or none."""
    import numpy as np

    from ..index import Index

    vectors = _array(matrix)
    with opened(database) as conn:
        index = Index(conn, table, column, metric=metric)
        with connection.transaction(conn):
            if ids is not None:
                rowids = _array(ids)
            else:
                first = _next_id(conn, index)
                rowids = np.arange(first, first + len(vectors), dtype=np.int64)
            index.add(rowids, vectors, replace=replace)
        words = f"{table}.{column}: {len(vectors):,} vectors added, {len(index):,} in all"
        tell(as_json, words, table=table, column=column, added=len(vectors), vectors=len(index))


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
    as_json: AsJson = False,
) -> None:
    """Find the nearest rows for each row of a matrix."""
    import numpy as np

    from ..index import Index

    vectors = _array(queries)
    with opened(database, write=False) as conn:
        found, distances = Index(conn, table, column).search(vectors, k, where=where, recall=recall)
    if output is not None:
        np.savez(output, ids=found, distances=distances)
        words = f"{output}: ids {found.shape}, distances {distances.shape}"
        tell(as_json, words, output=str(output), shape=list(found.shape))
        return
    found, distances = np.atleast_2d(found), np.atleast_2d(distances)
    rows = [
        (query, rank + 1, str(found[query, rank]), float(distances[query, rank]))
        for query in range(len(found))
        for rank in range(k)
        if found[query, rank] != -1
    ]
    headers = ("query", "rank", "rowid", "distance")
    if as_json:
        tell_json(*(dict(zip(headers, (q, rank, int(r), d), strict=True)) for q, rank, r, d in rows))
        return
    display.console().print(display.rows_table(f"{table}.{column}", headers, rows))


def _array(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise ConfigurationError(f"{path} is no .npy file of numbers, as numpy.save writes it") from None


def _next_id(conn: sqlite3.Connection, index: Any) -> int:
    from ..sql import quote_identifier

    if len(index) == 0:
        return 1
    [(last,)] = connection.execute(conn, f"select max(rowid) from {quote_identifier(index.table)}")
    return int(last) + 1


# --- vss0 tables ----------------------------------------------------------------------------------------------------


@app.command()
def info(
    database: ExistingDatabase,
    as_json: AsJson = False,
) -> None:
    """List the vss0 tables of a file: columns, dimensions, metrics, vectors."""
    console = display.console()
    with opened(database, write=False) as conn:
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
    if as_json:
        tell_json(*(dict(zip(headers, row, strict=True)) for row in rows))
        return
    console.print(display.rows_table(f"{database}: vss0 tables", headers, rows))


@app.command()
def check(
    database: ExistingDatabase,
    table: Annotated[str | None, typer.Argument(help="Only this vss0 table.", show_default=False)] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended, and say what was lost.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look for damage in the stored bytes of vss0 tables, and in the file. Exit code 1 if there is some."""
    faults = False
    with opened(database, write=repair) as conn:
        for (words,) in connection.execute(conn, "pragma integrity_check(10)"):
            if words != "ok":
                faults = True
                tell(as_json, f"file: {words}", table=None, found=words)
        for name in _vss_tables(conn) if table is None else [table]:
            if repair:
                with connection.transaction(conn):
                    [(words,)] = connection.execute(conn, "select vss_repair(?)", [name])
                tell(as_json, f"{name}: {words}", table=name, repaired=words)
            [(words,)] = connection.execute(conn, "select vss_check(?)", [name])
            faults |= words != "ok"
            tell(as_json, f"{name}: {words}", table=name, found=words)
    if faults:
        raise typer.Exit(1)


@app.command()
def stats(
    database: ExistingDatabase,
    table: TableName,
    column: Annotated[str | None, typer.Argument(help="Only this vector column.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Tell how a vss0 table's vectors are searched: cells, their sizes, what recall needs, the cache."""
    console = display.console()
    with opened(database, write=False) as conn:
        for name in _vector_columns(conn, table, column):
            [(text,)] = connection.execute(conn, "select vss_stats(?, ?)", [table, name])
            if as_json:
                tell_json({"table": table, "column": name, **json.loads(text)})
                continue
            console.print(display.pairs_table(f"{table}.{name}", json.loads(text)))


@app.command()
def optimize(
    database: ExistingDatabase,
    table: TableName,
    column: Annotated[str | None, typer.Argument(help="Only this vector column.", show_default=False)] = None,
) -> None:
    """Cluster anew what many changes have worn. Small steps, each a commit: stop it when you like, others work on."""
    from rich.progress import Progress

    with opened(database) as conn, Progress(console=display.console(stderr=True)) as progress:
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
    from ..embedding import get_embedder

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
    full_text: Annotated[
        bool, typer.Option("--full-text", help="Keep a full-text index too: searches go by words as well.")
    ] = False,
    price: Annotated[float | None, typer.Option(help="Money per million tokens, for the plan.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be done, and its cost.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give a table embeddings; its rows stay as they are. `sync` then fills them."""
    from ..migrations import add_embeddings as add
    from ..migrations import plan_embeddings

    console = display.console()
    if not columns and template is None:
        raise ConfigurationError(
            "say which columns hold the texts: -c title -c summary (or one text of several: --template)"
        )
    with opened(database, write=not plan) as conn:
        if plan:
            planned = plan_embeddings(
                conn,
                table,
                columns,
                template,
                _model(model, precision),
                chunk=chunk,
                name=name,
                full_text=full_text,
                price=price,
            )
            if as_json:
                tell_json(dataclasses.asdict(planned))
                return
            console.print(display.pairs_table("the backfill", dataclasses.asdict(planned.estimate)))
            for note in planned.notes:
                console.print("note:", note, highlight=False, markup=False)
            for statement in planned.statements:
                console.print(f"{statement};", highlight=False, markup=False, soft_wrap=True)
            return
        added = add(
            conn,
            table,
            columns,
            template,
            _model(model, precision),
            chunk=chunk,
            name=name,
            full_text=full_text,
        )
    fields = [field.name for field in added.active.fields]
    tell(
        as_json,
        f"{added.name}: embeddings of {', '.join(fields)} by {added.active.model_name}; now: vssnative sync {database}",
        name=added.name,
        fields=fields,
        model=added.active.model_name,
    )


@app.command("change-model")
def change_model(
    database: ExistingDatabase,
    table: TableName,
    model: Annotated[str, typer.Argument(help="The new embedding model.", show_default=False)],
    precision: Precision = None,
    as_json: AsJson = False,
) -> None:
    """Begin to build vectors by another model; `sync` fills them, and switches searches to them when complete."""
    from ..migrations import change_model as change

    with opened(database) as conn:
        changed = change(conn, table, _model(model, precision))
    new, old = changed.live[-1].model_name, changed.active.model_name
    tell(
        as_json,
        f"{changed.name}: changing to {new}, searches use {old} until then; now: vssnative sync {database}",
        name=changed.name,
        changing_to=new,
        model=old,
    )


@app.command("drop-embeddings")
def drop_embeddings(database: ExistingDatabase, table: TableName) -> None:
    """Take a table's embeddings away; the table is as it was before them."""
    from ..migrations import drop_embeddings as drop

    with opened(database) as conn:
        drop(conn, table)
    display.console().print(f"{table}: embeddings dropped")


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
    timeout: Annotated[
        float | None, typer.Option(help="Seconds after which to end with what is done.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    as_json: AsJson = False,
) -> None:
    """Embed what is new or changed. Stop it with Ctrl-C whenever you like: it goes on from there."""
    from .._sync import status as ask
    from .._sync import sync as run

    with opened(database) as conn:
        if table is None and not ask(conn):
            tell(as_json, _NO_EMBEDDINGS.format(database), rows=0)
            return
        result = run(
            conn,
            table,
            progress=not quiet and not as_json,
            limit=limit,
            where=where,
            params=values_of(params),
            timeout=timeout,
        )
    if as_json:
        tell_json(dataclasses.asdict(result))
        return
    display.console().print(
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
    from .._sync import Settings, Worker

    Worker(database, table, settings=Settings(rate_limit=rate_limit)).run()


@app.command()
def status(
    database: ExistingDatabase,
    table: Annotated[str | None, typer.Argument(help="Only this table.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Tell how far each table's embeddings are."""
    from .._sync import status as ask

    console = display.console()
    with opened(database, write=False) as conn:
        found = ask(conn, table)
    if as_json:
        tell_json(*map(dataclasses.asdict, found))
        return
    for one in found:
        console.print(display.pairs_table(one.name, dataclasses.asdict(one)))
    if not found:
        console.print(_NO_EMBEDDINGS.format(database))


@app.command()
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
    params: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="The value of a ?; may be given several times.")
    ] = None,
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

    vssnative search blog.db posts "how to bake bread" -k 5 --where "year > ?" -p 2020
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


@app.command()
def pause(database: ExistingDatabase, table: TableName) -> None:
    """Let workers leave a table alone until `resume`; its edits go on being noted."""
    from .._sync import pause as hold

    with opened(database) as conn:
        hold(conn, table)
    typer.echo(f"{table}: paused; vssnative resume goes on")


@app.command()
def resume(database: ExistingDatabase, table: TableName) -> None:
    """End `pause`, and the waits after failures: what failed is tried again at the next sync."""
    from .._sync import resume as go_on

    with opened(database) as conn:
        go_on(conn, table)
    typer.echo(f"{table}: goes on; now: vssnative sync {database}")


@app.command()
def dead(database: ExistingDatabase, table: TableName, as_json: AsJson = False) -> None:
    """List the texts that were given up, and why."""
    from .._sync import dead_letters

    with opened(database, write=False) as conn:
        letters = dead_letters(conn, table)
    if as_json:
        tell_json(*map(dataclasses.asdict, letters))
        return
    rows = [(letter.row_id, letter.field, letter.attempts, letter.reason) for letter in letters]
    title = f"{table}: {len(rows):,} given up"
    display.console().print(display.rows_table(title, ("row", "field", "attempts", "reason"), rows))


@app.command()
def retry(database: ExistingDatabase, table: TableName, as_json: AsJson = False) -> None:
    """Queue the texts that were given up once more, with all their attempts."""
    from .._sync import retry_dead

    with opened(database) as conn:
        rows = retry_dead(conn, table)
    tell(as_json, f"{table}: {rows:,} rows queued again; now: vssnative sync {database}", rows=rows)


@app.command("rollback-model")
def rollback_model(database: ExistingDatabase, table: TableName, as_json: AsJson = False) -> None:
    """Go back to the model before the last change, whose vectors are still there."""
    from ..migrations import rollback_model as go_back

    with opened(database) as conn:
        changed = go_back(conn, table)
    name = changed.active.model_name
    tell(as_json, f"{table}: searches use {name} again; now: vssnative sync {database}", model=name)


@app.command()
def explain(
    database: ExistingDatabase,
    table: TableName,
    query: Annotated[str, typer.Argument(help="A query, in words.", show_default=False)],
    k: Annotated[int, typer.Option("-k", help="How many rows.")] = 10,
    recall: Annotated[float, typer.Option(help="Share of true neighbours wanted.")] = 0.95,
) -> None:
    """Tell what a search looks at, where its time goes, and the recall it reaches; takes as long as an exact search.

    One JSON object for each embedded column: vssnative explain blog.db posts "how to bake bread"
    """
    from .._catalog.records import load_embedding
    from .._search.query import query_vectors
    from ..index import Index

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


@app.command()
def verify(
    database: ExistingDatabase,
    table: TableName,
    sample: Annotated[int, typer.Option(help="Vectors to make again with the model and compare.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Compare stored vectors with the rows' present texts; changes nothing. Exit code 1 if something is wrong."""
    from .._sync import verify as check

    with opened(database, write=False) as conn:
        report = check(conn, table, sample=sample)
    if as_json:
        tell_json({**dataclasses.asdict(report), "ok": report.ok})
    else:
        title = f"{report.name}: {'in order' if report.ok else 'faults'}"
        display.console().print(display.pairs_table(title, _counts(report)))
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def repair(
    database: ExistingDatabase,
    table: TableName,
    as_json: AsJson = False,
) -> None:
    """Mend what `verify` finds."""
    from .._sync import repair as mend

    with opened(database) as conn:
        report = mend(conn, table, progress=not as_json)
    if as_json:
        tell_json(dataclasses.asdict(report))
        return
    display.console().print(display.pairs_table(f"{report.name}: found and mended", _counts(report)))


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
