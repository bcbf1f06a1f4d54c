"""Many rows in few statements."""

from __future__ import annotations

from collections.abc import Sequence

from .._connection import Connection, execute

# SQLite before 3.32 takes so many values in a statement.
_MOST_VALUES = 999


def insert_rows(conn: Connection, into: str, rows: Sequence[tuple[object, ...]], otherwise: str = "") -> None:
    """Insert rows of equal length. In the caller's transaction.

    Args:
        into: the statement up to ``values``.
        otherwise: the statement's end, ``on conflict ...``.
    """
    if not rows:
        return
    width = len(rows[0])
    marks = f"({', '.join('?' * width)})"
    step = _MOST_VALUES // width
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        values = [value for row in some for value in row]
        execute(conn, f"{into} values {', '.join([marks] * len(some))} {otherwise}", values)
