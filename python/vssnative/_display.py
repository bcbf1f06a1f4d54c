"""Search results and reports as tables for a terminal, and as JSON for programs; for the command line and the demo."""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress

    from ._search import Result

_LONGEST = 200
# In a pipe a row is a line, however long.
_PIPE_WIDTH = 20_000
# A column of texts narrower than this tells nothing: it is left out, and named below the table.
_LEAST_TEXT = 14
# A key up to this width stands on one line; a longer one is folded.
_WIDEST_KEY = 24
_GAP = 3
# What joins letters of some scripts and emoji; the other invisible characters can only mislead.
_JOINERS = "\u200c\u200d"


class _Console(Console):
    """One that raises where nobody reads any more, as other outputs do; rich ends the process."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; in a pipe, wide enough for every row."""
    found = _Console(stderr=stderr)
    return found if found.is_terminal else _Console(stderr=stderr, width=_PIPE_WIDTH)


def progress() -> Progress:
    """Bars on standard error, where that is a terminal."""
    from rich.progress import Progress

    found = console(stderr=True)
    return Progress(console=found, disable=not found.is_terminal)


def printable(text: str, *, lines: bool = False) -> str:
    r"""A text that a terminal only shows: its control characters as ``\x1b`` and the like.

    Args:
        lines: keep the ends of lines.
    """
    kept = _JOINERS + "\n" if lines else _JOINERS
    return "".join(
        c if c.isprintable() or c in kept else c.encode("unicode_escape", "surrogatepass").decode("ascii")
        for c in text
    )


def json_line(value: object) -> str:
    """A value as JSON on one line: bytes in hexadecimal, what is no finite number as null."""
    return json.dumps(_plain_json(value), ensure_ascii=False, allow_nan=False, default=str)


def _plain_json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): _plain_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_json(inner) for inner in value]
    return value


def hits_table(
    hits: Sequence[Result],
    columns: Sequence[str],
    title: str,
    caption: str | None = None,
    *,
    keys: Sequence[str] = (),
    width: int = _PIPE_WIDTH,
) -> Group:
    """Rank, distance and key of each hit, never cut, and as many of the other columns as `width` has room for.

    Args:
        hits: the rows found. Where words had a part in it, their scores are shown too; stale ones are marked.
        columns: names of the columns to show.
        keys: names of the key's columns, which are shown whether `columns` has them or not.
        width: of the console.
    """
    scored = any(hit.text_rank is not None or math.isinf(hit.distance) for hit in hits)
    rows = [dict(hit.row) for hit in hits]
    texts = [name for name in columns if name not in keys]
    searched = {hit.column for hit in hits if hit.column is not None}
    if "passage" not in columns and any(hit.passage is not None for hit in hits):
        texts = ["passage", *texts]
        searched = {"passage"}
        for row, hit in zip(rows, hits, strict=True):
            row["passage"] = hit.passage
    cells = [[_plain(value, grouped=False) for value in _values_of_key(hit)] for hit in hits]
    table = _table()
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("distance", justify="right", no_wrap=True, min_width=8)
    if scored:
        table.add_column("score", justify="right", no_wrap=True, min_width=6)
    stale = any(hit.stale for hit in hits)
    if stale:
        table.add_column("stale", no_wrap=True)
    used = 4 + 8 + (_GAP + 6 if scored else 0) + (_GAP + 5 if stale else 0) + 2 * _GAP
    for at, name in enumerate(keys):
        widest = max([cell_len(name), *(cell_len(line[at].plain) for line in cells)])
        wide = min(widest, _WIDEST_KEY)
        _add_column(table, name, width=wide, overflow="fold")
        used += wide + _GAP
    shown = _that_fit(texts, searched, rows, width - used)
    for name in shown:
        _add_column(table, name)
    for hit, key, row in zip(hits, cells, rows, strict=True):
        distance = "-" if math.isinf(hit.distance) else f"{hit.distance:.4f}"
        scores = [f"{hit.score:.4f}"] if scored else []
        rest = [_one_line(_plain(row.get(name), grouped=False)) for name in shown]
        marked = [Text("yes" if hit.stale else "")] if stale else []
        table.add_row(str(hit.rank), distance, *scores, *marked, *key[: len(keys)], *rest)
    parts: list[RenderableType] = [_title(title if caption is None else f"{title}   ({caption})"), table]
    if len(shown) < len(texts):
        left = ", ".join(name for name in texts if name not in shown)
        parts.append(Text(printable(f"no room for: {left} (--select COLUMN shows one, --json all)"), "dim"))
    return Group(*parts, "")


def _values_of_key(hit: Result) -> tuple[Any, ...]:
    return hit.key if isinstance(hit.key, tuple) else (hit.key,)


def _that_fit(
    texts: Sequence[str], searched: Set[str], rows: Sequence[Mapping[str, Any]], room: int
) -> list[str]:
    """Columns that have room, in their own order; those that were searched go before the others."""
    chosen = set()
    for name in sorted(texts, key=lambda name: name not in searched):
        widths = [cell_len(_plain(row.get(name), grouped=False).plain) for row in rows]
        width = min(_LEAST_TEXT, max([cell_len(name), *widths]))
        if width + _GAP <= room:
            room -= width + _GAP
            chosen.add(name)
    return [name for name in texts if name in chosen]


def pairs_table(title: str, pairs: Mapping[str, Any], notes: Mapping[str, str] | None = None) -> Group:
    """Names and values, one pair a line.

    Args:
        notes: what some of the names mean.
    """
    return Group(_title(title), _pairs(pairs, notes or {}), "")


def rows_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> Group:
    """Any rows under headers. Where there is no room the widest columns are cut first."""
    return Group(_title(title), _rows(headers, rows), "")


def stats_tables(title: str, stats: Mapping[str, Any]) -> Group:
    """What ``vss_stats`` or ``vss_explain`` says of a column: single values, then a table of what it says for each recall."""
    single: dict[str, Any] = {}
    groups: dict[str, Mapping[str, Any]] = {}
    # By title: recall to heading to value.
    by_recall: dict[str, dict[str, dict[str, Any]]] = {}
    for name, value in stats.items():
        what, of_recall, at = name.partition("_for_recall")
        k = at.removeprefix("_at_")
        if not isinstance(value, Mapping):
            single[name] = _with_unit(name, value)
            continue
        if not of_recall:
            groups[name] = value
            continue
        for recall, inner in value.items():
            if isinstance(inner, Mapping):
                where, cells = f"{what} for a recall, k = {k}", inner
            elif k:
                where, cells = f"{what} for a recall, by k", {f"k = {k}": inner}
            else:
                where, cells = "for a recall", {what: inner}
            by_recall.setdefault(where, {}).setdefault(recall, {}).update(cells)
    parts: list[RenderableType] = [_title(title), _pairs(single), ""]
    for where, rows in by_recall.items():
        headings = list(dict.fromkeys(heading for row in rows.values() for heading in row))
        lines = [
            (recall, *(_reached(row.get(heading)) for heading in headings)) for recall, row in rows.items()
        ]
        parts += [_title(where), _rows(["recall", *headings], lines), ""]
    for name, inner in groups.items():
        parts += [_title(name.replace("_", " ")), _pairs(inner), ""]
    return Group(*parts)


def _reached(value: Any) -> Any:
    """A number below 0 stands for: none was found that reaches the recall."""
    return None if isinstance(value, int | float) and value < 0 else value


def _with_unit(name: str, value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if name.endswith(("_bytes", "_budget")):
            return f"{value / 2**20:,.1f} MB"
        if name.endswith("_when"):
            return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
    return value


def _pairs(pairs: Mapping[str, Any], notes: Mapping[str, str] | None = None) -> Table:
    table = _table()
    table.show_header = False
    table.add_column("name", no_wrap=True)
    table.add_column("value", overflow="fold")
    if notes:
        table.add_column("note", style="dim")
    for name, value in pairs.items():
        note = [notes.get(name, "")] if notes else []
        table.add_row(printable(name.replace("_", " ")), _plain(value), *note)
    return table


def _rows(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    table = _table()
    lines = [list(row) for row in rows]
    for at, header in enumerate(headers):
        values = [line[at] for line in lines if line[at] is not None]
        numbers = values and all(isinstance(value, int | float) for value in values)
        _add_column(table, header, justify="right" if numbers else "left")
    for line in lines:
        table.add_row(*(_one_line(_plain(value)) for value in line))
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)


def _add_column(table: Table, name: str, **options: Any) -> None:
    """A column that gives way where there is no room, the widest first (one with ``no_wrap`` would stay)."""
    table.add_column(_one_line(Text(printable(name))), **options)


def _one_line(text: Text) -> Text:
    """Cut with an ellipsis where the column is too narrow."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _title(title: str) -> Text:
    """As wide as the terminal; a table's own title would be folded to the table's width."""
    return Text(printable(" ".join(title.split())), style="bold")


def _plain(value: Any, *, grouped: bool = True) -> Text:
    """A value as text that is never read as markup, and never a command to the terminal: rows hold whatever their
    authors wrote.

    Args:
        grouped: digits of a number in threes; not in rows of the user's, where 1851 may be a year.
    """
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, float):
        return Text(f"{value:,.4g}" if grouped else f"{value:.6g}")
    if isinstance(value, int):
        return Text(f"{value:,}" if grouped else str(value))
    if isinstance(value, bytes):
        return Text(f"{len(value):,} bytes" if len(value) > 16 else f"x'{value.hex()}'")
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value)) or "-"
    text = printable(" ".join(str(value).split()))
    return Text(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
