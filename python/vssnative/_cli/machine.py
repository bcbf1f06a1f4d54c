"""``vssnative doctor`` and ``vssnative demo``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import _display as display
from .output import AsJson, tell_json

if TYPE_CHECKING:
    from .._doctor import Finding


def doctor(
    database: Annotated[Path | None, typer.Argument(help="A database to look into as well.")] = None,
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
            finding.subject,
            highlight=False,
            end=": ",
            soft_wrap=True,
        )
        console.print(finding.found, highlight=False, markup=False, soft_wrap=True)
        if finding.advice is not None and finding.state != "ok":
            console.print("        to do:", finding.advice, highlight=False, markup=False, soft_wrap=True)


def demo(
    query: Annotated[
        str | None, typer.Option("--query", "-q", help="Answer this instead of five questions.")
    ] = None,
    database: Annotated[Path, typer.Option(help="The file to fill and search.")] = Path("demo.db"),
) -> None:
    """Search the docstrings of Python's standard library; the first run embeds them, later ones go on.

    Example: vssnative demo --query "parse dates"
    """
    from .._demo import run

    run(database, query, display.console())
