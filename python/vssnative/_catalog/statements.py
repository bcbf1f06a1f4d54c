"""Many rows in few statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from .._connection import Connection, execute

# SQLite before 3.32 takes so many values in a statement.
_MOST_VALUES = 999

_T = TypeVar("_T")


def portions(values: Sequence[_T], width: int = 1) -> Iterator[Sequence[_T]]:
    """As many as a statement takes at a time, where each stands for `width` values."""
    step = _MOST_VALUES // width
    for start in range(0, len(values), step):
        yield values[start : start + step]


def marks(count: int) -> str:
    """So many question marks, between commas."""
    return ", ".join("?" * count)


def insert_rows(conn: Connection, into: str, rows: Sequence[tuple[object, ...]], otherwise: str = "") -> None:
    """Insert rows of equal length. In the caller's transaction.

    Args:
        into: the statement up to ``values``.
        otherwise: the statement's end, ``on conflict ...``.
    """
    if not rows:
        return
    width = len(rows[0])
    row_marks = f"({marks(width)})"
    for some in portions(rows, width):
        values = [value for row in some for value in row]
        execute(conn, f"{into} values {', '.join([row_marks] * len(some))} {otherwise}", values)
