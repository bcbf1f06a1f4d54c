"""``vssnative upgrade``: files of sqlite-vss 0.1.2."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from .. import _display as display
from .._words import counted
from ..compat import sqlite_vss
from .output import AsJson, ExistingDatabase, opened, tell

if TYPE_CHECKING:
    from rich.progress import TaskID


def upgrade_command(
    database: ExistingDatabase,
    table: Annotated[
        str | None, typer.Argument(help="Only this table.", show_default=False, metavar="TABLE")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Upgrade tables that sqlite-vss 0.1.2 wrote. Each is done whole or not at all; Ctrl-C leaves it as it was.

    Example: vssnative upgrade old.db
    """
    done: list[tuple[str, sqlite_vss.Upgraded | None]] = []
    try:
        with opened(database) as conn, display.progress() as progress:
            names = sqlite_vss.old_tables(conn) if table is None else [table]
            for name in names:
                task = progress.add_task(name, total=None)

                def tell_progress(rows: int, total: int, task: TaskID = task) -> None:
                    progress.update(task, total=max(total, 1), completed=rows)

                done.append((name, sqlite_vss.upgrade(conn, name, progress=tell_progress)))
                progress.remove_task(task)
    finally:  # what is done stays done, whatever happened to the next table
        for name, upgraded in done:
            _tell_upgraded(as_json, name, upgraded)
    if not names:
        tell(as_json, f"{database}: no table is as sqlite-vss wrote it", table=None)


def _tell_upgraded(as_json: bool, name: str, upgraded: sqlite_vss.Upgraded | None) -> None:
    if upgraded is None:
        tell(as_json, f"{name}: there was nothing to upgrade", table=name, rows=None)
        return
    words = [f"{name}: {counted(upgraded.rows, 'row')} upgraded"]
    for column in upgraded.columns:
        words.append(f"{column.name}: {counted(column.vectors, 'vector')}")
        if column.lossy:
            words[-1] += ", those that its codes stand for (the file has no others)"
        if column.not_finite:
            words[-1] += f"; {column.not_finite:,} with NaN or infinity are NULL now"
    tell(as_json, "\n  ".join(words), **asdict(upgraded))


__all__ = ["upgrade_command"]
