"""Search results and reports as tables for a terminal, for the command line and the demo."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ._search import Result

_LONGEST = 200
# In a pipe a row is a line, however long.
_PIPE_WIDTH = 20_000


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; in a pipe, wide enough for every row."""
    found = Console(stderr=stderr)
    return found if found.is_terminal else Console(stderr=stderr, width=_PIPE_WIDTH)


def hits_table(
    hits: Iterable[Result], columns: Sequence[str], title: str, caption: str | None = None
) -> Group:
    """Rank and distance of each hit, and the named columns of its row, one line each; what is stale is marked."""
    hits = list(hits)
    stale = any(hit.stale for hit in hits)
    table = _table()
    table.add_column("rank", justify="right", min_width=4)
    table.add_column("distance", justify="right", min_width=8)
    if stale:
        table.add_column("stale")
    for column in columns:
        table.add_column(column, overflow="ellipsis", no_wrap=True)
    for hit in hits:
        cells = [_plain(hit.row.get(column), grouped=False) for column in columns]
        distance = "-" if math.isinf(hit.distance) else f"{hit.distance:.4f}"
        marked = [Text("yes" if hit.stale else "")] if stale else []
        table.add_row(str(hit.rank), distance, *marked, *cells)
    return _titled(title if caption is None else f"{title}   ({caption})", table)


def pairs_table(title: str, pairs: Mapping[str, Any]) -> Group:
    """Names and values, one pair a line."""
    table = _table()
    table.show_header = False
    table.add_column("name")
    table.add_column("value", overflow="fold")
    for name, value in pairs.items():
        table.add_row(name.replace("_", " "), _plain(value))
    return _titled(title, table)


def rows_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> Group:
    """Any rows under headers."""
    table = _table()
    for header in headers:
        table.add_column(header, overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*(_plain(value) for value in row))
    return _titled(title, table)


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False)


def _titled(title: str, table: Table) -> Group:
    """The title above, as wide as the terminal; a table's own title would be folded to the table's width."""
    return Group(Text(title, style="bold"), table)


def _plain(value: Any, *, grouped: bool = True) -> Text:
    """A value as text that is never read as markup: rows hold whatever their authors wrote.

    Args:
        grouped: digits of a number in threes; not in rows of the user's, where 1851 may be a year.
    """
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, float):
        return Text(f"{value:,.4g}" if grouped else f"{value:.6g}")
    if isinstance(value, int) and not isinstance(value, bool):
        return Text(f"{value:,}" if grouped else str(value))
    text = " ".join(str(value).split())
    return Text(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
