"""What keeps vectors in step with the rows, and tells how far they are."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import _display as display
from .._advice import command
from .._words import counted
from ..errors import ConfigurationError
from .failures import about
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
    from .._sync import Event, Report, Status


def sync(
    database: ExistingDatabase,
    table: Annotated[
        str | None, typer.Argument(help="Only this table.", show_default=False, metavar="TABLE")
    ] = None,
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

    if where is not None and table is None:
        place = command("sync", "TABLE", file=database)
        raise ConfigurationError(f"--where is a condition on one table, say which: {place} --where ...")
    with opened(database) as conn:
        if table is None and not ask(conn):
            tell(as_json, NO_EMBEDDINGS.format(database), rows=0)
            return
        result = run(
            conn,
            table,
            progress=not quiet and not as_json and sys.stderr.isatty(),
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
            f"{counted(result.rows, 'row')} done, {counted(result.texts, 'text')} embedded in {result.seconds:.1f} s;"
            f" {counted(result.remaining, 'row')} {'remains' if result.remaining == 1 else 'remain'}, {result.dead:,} given up",
            highlight=False,
        )
    for one in embeddings:
        if one.paused:
            typer.echo(
                f"{one.name} is paused; {command('resume', one.name, file=database)} ends that", err=True
            )
    if result.dead and not as_json:
        typer.echo(
            f"{command('dead', table or 'TABLE', file=database)} says why texts were given up", err=True
        )


def worker(
    database: ExistingDatabase,
    table: Annotated[
        str | None, typer.Argument(help="Only this table.", show_default=False, metavar="TABLE")
    ] = None,
    rate_limit: Annotated[float | None, typer.Option(help="Texts per second at most.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")] = False,
    as_json: AsJson = False,
) -> None:
    """Embed what is new or changed, for ever. Ctrl-C or SIGTERM ends it after the batch that it is at.

    It says on standard error what it does; with --json on standard output, an event a line.

    Example: vssnative worker blog.db --rate-limit 100
    """
    from .._catalog.records import load_embeddings
    from .._sync import Settings, Worker
    from .._sync import status as ask

    log = _WorkerLog(database, quiet=quiet, as_json=as_json)
    settings = Settings(rate_limit=rate_limit)
    with opened(database, write=False) as conn:
        if table is not None:  # a name that is not there would be looked for, for ever
            load_embeddings(conn, table)
        found = ask(conn, table)
    with about(database):
        log.started(found)
        try:
            Worker(database, table, settings=settings, on_event=log.happened).run()
        finally:
            log.ended()


class _WorkerLog:
    """What a worker tells: sentences on standard error, or JSON on standard output."""

    def __init__(self, database: Path, *, quiet: bool, as_json: bool) -> None:
        self._database = database
        self._quiet = quiet
        self._as_json = as_json
        self._rows = 0
        self._texts = 0
        self._since = time.monotonic()

    def started(self, found: Sequence[Status]) -> None:
        """That it begins, and with what."""
        tables = [{"name": one.name, "model": one.model, "pending": one.pending} for one in found]
        words = "; ".join(
            f"{one.name} by {one.model}, {counted(one.pending, 'row')} pending" for one in found
        )
        self._tell("started", f"started: {words or 'no table has embeddings yet'}", tables=tables)

    def happened(self, event: Event) -> None:
        """One event of the worker's."""
        details = event.details
        if event.kind == "batch":
            self._rows += details["rows"]
            self._texts += details["texts"]
            if not any(details.values()):  # nothing but failures, which are told one by one
                return
        words = _words_of(event)
        self._tell(event.kind, words, error=event.kind in _TROUBLES, name=event.embedding, **details)

    def ended(self) -> None:
        """What it has done in all."""
        seconds = round(time.monotonic() - self._since, 1)
        words = f"ended: {counted(self._rows, 'row')} done, {counted(self._texts, 'text')} embedded in {seconds:,} s"
        self._tell("ended", words, rows=self._rows, texts=self._texts, seconds=seconds)

    def _tell(self, kind: str, words: str, *, error: bool = False, **values: object) -> None:
        if self._as_json:
            if error or not self._quiet:
                tell_json({"event": kind, "file": str(self._database), **values, "at": round(time.time(), 3)})
        elif error or not self._quiet:
            clock = time.strftime("%H:%M:%S")
            typer.echo(f"{clock} {self._database}: {display.printable(words)}", err=True)


_TROUBLES = frozenset({"failed", "dead", "paused", "broken"})


def _words_of(event: Event) -> str:
    name, details = event.embedding, event.details
    reason = details.get("reason")
    if event.kind == "batch":
        removed = f", vectors of {details['removed']:,} removed" if details["removed"] else ""
        return f"{name}: {counted(details['rows'], 'row')} done, {counted(details['texts'], 'text')} embedded{removed}"
    if event.kind == "failed":
        return f"{name}: row {details['row_id']}, {details['field']} failed: {reason}"
    if event.kind == "dead":
        return f"{name}: row {details['row_id']}, {details['field']} is given up: {reason}"
    if event.kind == "paused":
        return f"{name}: its model is paused for {details['seconds']:,.1f} s: {reason}"
    if event.kind == "switched":
        return f"{name}: the change of model is complete, searches use the new vectors"
    if event.kind == "mended":
        return f"{name}: triggers or tables were lost, they are back"
    if event.kind == "broken":
        return f"{name}: cannot go on: {reason}"
    return f"{name}: {event.kind}"


def status(
    database: ExistingDatabase,
    table: Annotated[
        str | None, typer.Argument(help="Only this table.", show_default=False, metavar="TABLE")
    ] = None,
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
        pairs = {
            **{name: value for name, value in dataclasses.asdict(one).items() if name != "name"},
            "coverage": f"{one.coverage:.1%}",
        }
        console.print(display.pairs_table(one.name, pairs))
    if not found:
        typer.echo(NO_EMBEDDINGS.format(database))


def pause(database: ExistingDatabase, table: TableName, as_json: AsJson = False) -> None:
    """Let workers leave a table alone until `resume`; its edits go on being noted.

    Example: vssnative pause blog.db posts
    """
    from .._sync import pause as hold

    with opened(database) as conn:
        hold(conn, table)
    tell(
        as_json,
        f"{table}: paused; {command('resume', table, file=database)} ends that",
        name=table,
        paused=True,
    )


def resume(database: ExistingDatabase, table: TableName, as_json: AsJson = False) -> None:
    """End `pause`, and the waits after failures: what failed is tried again at the next sync.

    Example: vssnative resume blog.db posts
    """
    from .._sync import resume as go_on

    with opened(database) as conn:
        go_on(conn, table)
    tell(as_json, f"{table}: goes on; now: {command('sync', file=database)}", name=table, paused=False)


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
    if not letters:
        typer.echo(f"{table}: nothing was given up")
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
    words = (
        f"{counted(rows, 'row')} queued again; now: {command('sync', file=database)}"
        if rows
        else "nothing was given up"
    )
    tell(as_json, f"{table}: {words}", rows=rows)


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
        display.console().print(display.pairs_table(title, _counts(report), _OF_REPORTS))
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
        report = mend(conn, table, progress=not as_json and sys.stderr.isatty())
    if as_json:
        tell_json(dataclasses.asdict(report))
        return
    if report.ok:
        typer.echo(f"{report.name}: nothing was wrong; {counted(report.checked, 'row')} looked at")
        return
    display.console().print(
        display.pairs_table(f"{report.name}: found and mended", _counts(report), _OF_REPORTS)
    )


_OF_REPORTS = {
    "checked": "rows of the table",
    "missing": "rows with a text and no vector of it",
    "stale": "vectors of an earlier text",
    "orphaned": "vectors of rows that are gone",
    "stray": "vectors that no record accounts for",
    "wrong": "vectors, of the sample, that the model makes otherwise",
    "words": "rows that the full-text index has otherwise",
    "problem": "what is lost or gone",
    "waiting": "rows that the next sync looks at",
    "given_up": "rows with a text that could not be embedded",
}


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
