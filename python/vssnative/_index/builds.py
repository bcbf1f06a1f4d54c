"""Hearing of Faiss indexes that are made: by a commit, ``vss_rebuild``, ``Index.optimize``."""

from __future__ import annotations

from collections.abc import Callable

from .._connection import Connection, create_function, load

__all__ = ["watch_builds"]


def watch_builds(conn: Connection, callback: Callable[[str, str, str, int, int], object] | None) -> None:
    """Have `callback` called while this connection makes the Faiss index of a column with ``factory``.

    It hears of every way to begin that: the commit after which there are rows enough, `Index.optimize`, ``vss_rebuild``,
    ``vss_relearn``, ``operation='training'``. ``conn.interrupt()`` ends it, and so does an exception of the callback: the
    statement or commit fails with an error of the driver's, and the transaction rolls back.

    Args:
        conn: an open connection.
        callback: called as ``callback(table, column, stage, done, total)`` a few times a second, stages being
            ``"training"`` (how long is not known: `total` is 0, `done` grows), ``"adding"`` (rows) and ``"measuring"``
            (queries that recall is learned from; `total` is 0). It must not use the connection. None: nobody is called
            any more.
    """
    load(conn)

    def tell(table: str, column: str, stage: str, done: int, total: int) -> None:
        if callback is not None:
            callback(table, column, stage, done, total)

    create_function(conn, "vss_progress", tell)
