"""A progress bar, drawn by rich, only when asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from .._extras import need


class Progress(Protocol):
    """What sync reports while it works."""

    def advance(self, rows: int) -> None:
        """`rows` are done since the beginning."""
        ...

    def waiting(self, reason: str | None) -> None:
        """What is waited for before it goes on; None where nothing special is."""
        ...


class _Silent:
    def advance(self, rows: int) -> None:
        pass

    def waiting(self, reason: str | None) -> None:
        pass


@contextlib.contextmanager
def no_progress() -> Iterator[Progress]:
    """Shows nothing."""
    yield _Silent()


@contextlib.contextmanager
def rich_progress(pending: Callable[[], int]) -> Iterator[Progress]:
    """A bar on the terminal's error stream with rows, rate and time left.

    Args:
        pending: rows that wait now; the bar's end moves where rows are edited meanwhile.
    """
    need("rich.progress", "cli", "progress bars")
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows, {task.fields[rate]}/s,"),
        TimeElapsedColumn(),
        TextColumn("passed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
    )
    total = pending()
    with bar:
        task = bar.add_task("embedding", total=total, rate="-")

        class Shown:
            def advance(self, rows: int) -> None:
                elapsed = bar.tasks[0].elapsed or 0.0
                rate = f"{rows / elapsed:.0f}" if elapsed > 0 else "-"
                bar.update(task, description="embedding", completed=rows, total=max(total, rows), rate=rate)

            def waiting(self, reason: str | None) -> None:
                bar.update(task, description="embedding" if reason is None else f"waiting: {escape(reason)}")

        yield Shown()
