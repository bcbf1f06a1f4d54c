"""``vssnative upgrade``: files of sqlite-vss 0.1.2."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .. import _display as display
from ..compat import sqlite_vss
from .output import AsJson, opened, tell


def upgrade_command(
    database: Annotated[
        Path, typer.Argument(help="The SQLite file.", exists=True, dir_okay=False, show_default=False)
    ],
    table: Annotated[str | None, typer.Argument(help="Only this table.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Upgrade tables that sqlite-vss 0.1.2 wrote. Each is done whole or not at all; Ctrl-C leaves it as it was.

    Example: vssnative upgrade old.db
    """
    from rich.progress import Progress

    with opened(database) as conn, Progress(console=display.console(stderr=True)) as progress:
        names = sqlite_vss.old_tables(conn) if table is None else [table]
        for name in names:
            task = progress.add_task(name, total=None)

            def tell_progress(done: int, total: int, task: object = task) -> None:
                progress.update(task, total=max(total, 1), completed=done)  # type: ignore[arg-type]

            upgraded = sqlite_vss.upgrade(conn, name, progress=tell_progress)
            progress.remove_task(task)
            if upgraded is None:
                tell(as_json, f"{name}: there was nothing to upgrade", table=name, rows=None)
                continue
            words = [f"{name}: {upgraded.rows:,} rows upgraded"]
            for column in upgraded.columns:
                words.append(f"{column.name}: {column.vectors:,} vectors")
                if column.lossy:
                    words[-1] += ", those that its codes stand for (the file has no others)"
                if column.not_finite:
                    words[-1] += f"; {column.not_finite:,} with NaN or infinity are NULL now"
            tell(as_json, "\n  ".join(words), **asdict(upgraded))
    if not names:
        tell(as_json, f"{database}: no table is as sqlite-vss wrote it", table=None)


__all__ = ["upgrade_command"]
