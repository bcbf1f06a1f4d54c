"""What keeps vectors in step with the rows, and tells how far they are."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from .. import _display as display
from .output import (
    NO_EMBEDDINGS,
    AsJson,
    ExistingDatabase,
    Params,
    TableName,
    opened,
    tell,
    tell_json,
    values_of,
)

if TYPE_CHECKING:
    from .._sync import Report


def sync(
    database: ExistingDatabase,
    table: Annotated[str | None, typer.Argument(help="Only this table.", show_default=False)] = None,
    limit: Annotated[int | None, typer.Option(help="Rows to work on at most.")] = None,
    where: Annotated[
        str | None, typer.Option(help='Only rows for which this SQL holds, e.g. "id > ?".')
    ] = None,
    params: Params = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds after which to end with what is done.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    as_json: AsJson = False,
) -> None:
    """Embed what is new or changed. Stop it with Ctrl-C whenever you like: it goes on from there.

    Example: vssnative sync blog.db posts --where "company = ?" -p acme
    """
    from .._catalog.records import load_embeddings
    from .._sync import status as ask
    from .._sync import sync as run

    with opened(database) as conn:
        if table is None and not ask(conn):
            tell(as_json, NO_EMBEDDINGS.format(database), rows=0)
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
        embeddings = load_embeddings(conn, table) if result.remaining else []
    if as_json:
        tell_json(dataclasses.asdict(result))
    else:
        display.console().print(
            f"{result.rows:,} rows done, {result.texts:,} texts embedded in {result.seconds:.1f} s;"
            f" {result.remaining:,} rows remain, {result.dead:,} given up",
            highlight=False,
        )
    for one in embeddings:
        if one.paused:
            typer.echo(f"{one.name} is paused; vssnative resume {database} {one.name} ends that", err=True)


def worker(
    database: ExistingDatabase,
    table: Annotated[str | None, typer.Argument(help="Only this table.", show_default=False)] = None,
    rate_limit: Annotated[float | None, typer.Option(help="Texts per second at most.")] = None,
) -> None:
    """Embed what is new or changed, for ever. Ctrl-C or SIGTERM ends it after the batch that it is at.

    Example: vssnative worker blog.db --rate-limit 100
    """
    from .._catalog.records import load_embeddings
    from .._sync import Settings, Worker

    if table is not None:  # a name that is not there would be looked for, for ever
        with opened(database, write=False) as conn:
            load_embeddings(conn, table)
    Worker(database, table, settings=Settings(rate_limit=rate_limit)).run()


def status(
    database: ExistingDatabase,
    table: Annotated[str | None, typer.Argument(help="Only this table.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Tell how far each table's embeddings are.

    Example: vssnative status blog.db --json
    """
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
        console.print(NO_EMBEDDINGS.format(database))


def pause(database: ExistingDatabase, table: TableName, as_json: AsJson = False) -> None:
    """Let workers leave a table alone until `resume`; its edits go on being noted.

    Example: vssnative pause blog.db posts
    """
    from .._sync import pause as hold

    with opened(database) as conn:
        hold(conn, table)
    tell(as_json, f"{table}: paused; vssnative resume goes on", name=table, paused=True)


def resume(database: ExistingDatabase, table: TableName, as_json: AsJson = False) -> None:
    """End `pause`, and the waits after failures: what failed is tried again at the next sync.

    Example: vssnative resume blog.db posts
    """
    from .._sync import resume as go_on

    with opened(database) as conn:
        go_on(conn, table)
    tell(as_json, f"{table}: goes on; now: vssnative sync {database}", name=table, paused=False)


def dead(database: ExistingDatabase, table: TableName, as_json: AsJson = False) -> None:
    """List the texts that were given up, and why.

    Example: vssnative dead blog.db posts
    """
    from .._sync import dead_letters

    with opened(database, write=False) as conn:
        letters = dead_letters(conn, table)
    if as_json:
        tell_json(*map(dataclasses.asdict, letters))
        return
    rows = [(letter.row_id, letter.field, letter.attempts, letter.reason) for letter in letters]
    title = f"{table}: {len(rows):,} given up"
    display.console().print(display.rows_table(title, ("row", "field", "attempts", "reason"), rows))


def retry(database: ExistingDatabase, table: TableName, as_json: AsJson = False) -> None:
    """Queue the texts that were given up once more, with all their attempts.

    Example: vssnative retry blog.db posts
    """
    from .._sync import retry_dead

    with opened(database) as conn:
        rows = retry_dead(conn, table)
    tell(as_json, f"{table}: {rows:,} rows queued again; now: vssnative sync {database}", rows=rows)


def verify(
    database: ExistingDatabase,
    table: TableName,
    sample: Annotated[int, typer.Option(help="Vectors to make again with the model and compare.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Compare stored vectors with the rows' present texts; changes nothing. Exit code 1 if something is wrong.

    Example: vssnative verify blog.db posts --sample 1000
    """
    from .._sync import verify as check

    with opened(database, write=False) as conn:
        report = check(conn, table, sample=sample)
    if as_json:
        tell_json({**dataclasses.asdict(report), "ok": report.ok})
    else:
        title = f"{report.name}: {report.verdict}"
        display.console().print(display.pairs_table(title, _counts(report)))
    if not report.ok:
        raise typer.Exit(1)


def repair(
    database: ExistingDatabase,
    table: TableName,
    as_json: AsJson = False,
) -> None:
    """Mend what `verify` finds.

    Example: vssnative repair blog.db posts
    """
    from .._sync import repair as mend

    with opened(database) as conn:
        report = mend(conn, table, progress=not as_json)
    if as_json:
        tell_json(dataclasses.asdict(report))
        return
    if report.ok:
        typer.echo(f"{report.name}: nothing was wrong; {report.checked:,} rows looked at")
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
