"""``vssnative doctor`` and ``vssnative demo``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.markup import escape
from rich.text import Text

from .. import _display as display
from .._words import counted
from .failures import about
from .output import AsJson, file_to_look_into, new_or_existing_database, tell_json

if TYPE_CHECKING:
    from .._demo import Step
    from .._doctor import Finding


def doctor(
    database: Annotated[
        Path | None,
        typer.Argument(help="A database to look into as well.", parser=file_to_look_into, metavar="FILE"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what this machine has, what works, and what to do about the rest.

    Example: vssnative doctor blog.db
    """
    from .._doctor import diagnose

    findings = diagnose(database)
    if as_json:
        tell_json(*map(dataclasses.asdict, findings))
    else:
        _show(findings)
    if any(finding.state == "fault" for finding in findings):
        raise typer.Exit(1)


def _show(findings: Sequence[Finding]) -> None:
    console = display.console()
    marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "fault": "[red]fault[/]"}
    for finding in findings:
        console.print(
            f"{marks[finding.state]}{' ' * (5 - len(finding.state))}",
            escape(display.printable(finding.subject)),
            highlight=False,
            end=": ",
            soft_wrap=True,
        )
        console.print(
            display.printable(finding.found, lines=True), highlight=False, markup=False, soft_wrap=True
        )
        if finding.advice is not None and finding.state != "ok":
            console.print("        to do:", finding.advice, highlight=False, markup=False, soft_wrap=True)


def demo(
    query: Annotated[
        str | None, typer.Option("--query", "-q", help="Answer this instead of five questions.")
    ] = None,
    database: Annotated[
        Path, typer.Option(help="The file to fill and search.", parser=new_or_existing_database)
    ] = Path("demo.db"),
    as_json: AsJson = False,
) -> None:
    """Search the docstrings of Python's standard library; the first run embeds them, later ones go on.

    Example: vssnative demo --query "parse dates"
    """
    from .._demo import run

    console = display.console()
    with about(database):
        for step in run(database, query, progress=not as_json and sys.stderr.isatty()):
            if as_json:
                tell_json(_step_as_json(database, step))
            else:
                console.print(shown_step(database, step, console.width), highlight=False)


def shown_step(database: Path, step: Step, width: int) -> RenderableType:
    """A step of the demo for a terminal of that width."""
    from .._demo import Filled, Synced

    if isinstance(step, Filled):
        words = f"{counted(step.rows, 'docstring')} of Python's standard library in table posts"
        return Text.assemble((display.printable(str(database)), "bold"), f": {words}")
    if isinstance(step, Synced):
        return f"{counted(step.texts, 'text')} embedded; in sync after {step.seconds:.1f} s\n"
    title = step.question.text
    if step.question.where is not None:
        title += f"   where {step.question.where.replace('?', repr(step.question.params[0]))}"
    columns = ("title", "summary")
    return display.hits_table(step.hits, columns, title, f"{step.seconds * 1000:.0f} ms", width=width)


def _step_as_json(database: Path, step: Step) -> dict[str, object]:
    from .._demo import Filled, Synced

    if isinstance(step, Filled):
        return {"file": str(database), "table": "posts", "rows": step.rows}
    if isinstance(step, Synced):
        return {"texts": step.texts, "seconds": round(step.seconds, 3)}
    question = step.question
    return {
        "query": question.text,
        "where": question.where,
        "params": list(question.params),
        "seconds": round(step.seconds, 6),
        "hits": step.hits.to_dicts(),
    }
