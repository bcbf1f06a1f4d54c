"""Statements and transactions, the same for every driver."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from .. import _core
from .cancellation import current, shielded
from .drivers import Driver, known_driver, resolve
from .protocol import Connection, Parameters, Raw
from .turns import WriteTurn
from .values import bound_values

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_SAVEPOINT = "vssnative"
_turns: dict[int, threading.RLock] = {}
_write_turns: dict[int, WriteTurn] = {}


def _forget_turns() -> None:
    _turns.clear()
    _write_turns.clear()


# A lock that another thread held at the fork would stay held in the child for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_turns)


def execute(conn: Connection, sql: str, params: Parameters = ()) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows as plain tuples with text as ``str``.

    The caller's row factories, text factory and row traces stay set, and have no part in it. Like any
    statement of the caller's own, an INSERT, UPDATE or DELETE begins sqlite3's implicit transaction where
    that is its habit.

    Raises:
        QueryError: a value that has no one form in SQLite, see ``bound_values``.
        The driver's own error, see ``driver_error``.
    """
    return _execute(conn, sql, params, str)


def execute_as_set(conn: Connection, sql: str, params: Parameters = ()) -> list[tuple[Any, ...]]:
    """As ``execute``, but with texts as the connection's own text_factory makes them: for values of the user's."""
    return _execute(conn, sql, params, None)


def _execute(conn: Connection, sql: str, params: Parameters, text: type[str] | None) -> list[tuple[Any, ...]]:
    raw, driver = resolve(conn)
    if len(params):
        params = bound_values(params, driver.native)
    cancellation = current()
    if cancellation is None:
        return _run(raw, driver, sql, params, text)
    with cancellation.statement(driver.native.Error):
        return _run(raw, driver, sql, params, text)


def _run(
    raw: Raw, driver: Driver, sql: str, params: Parameters, text: type[str] | None
) -> list[tuple[Any, ...]]:
    with turn(raw):
        if driver.is_apsw:
            return _execute_apsw(raw, driver, sql, params)
        cursor = driver.connection_class.cursor(raw)
        cursor.row_factory = None
        text_factory = raw.text_factory
        change = text is not None and text_factory is not text
        try:
            if change:
                raw.text_factory = text
            rows: list[tuple[Any, ...]] = cursor.execute(sql, params).fetchall()
            return rows
        finally:
            if change:
                raw.text_factory = text_factory
            cursor.close()


def _execute_apsw(conn: Raw, driver: Driver, sql: str, params: Parameters) -> list[tuple[Any, ...]]:
    cursor = driver.native.Cursor(conn)
    try:
        # A cursor's own hook goes before the connection's; these hand on what SQLite returned.
        cursor.setrowtrace(lambda _cursor, row: row)
        if getattr(conn, "convert_jsonb", None) is not None:
            cursor.convert_jsonb = lambda _cursor, _column, blob: blob
        return list(cursor.execute(sql, params if isinstance(params, dict) else tuple(params)))
    finally:
        cursor.close()


def search_plainly(
    conn: Connection,
    sql: str,
    column: tuple[np.dtype[Any], int, str],
    queries: object,
    k: int,
    recall: float | None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]] | None:
    """A search with no value to bind or convert but the queries: see ``search_plainly`` in src/register_buffers.cpp.

    None where it is not such a one: the queries are no array of the column's own type, the connection is apsw's or a
    wrapper's, this thread's work can be cancelled.
    """
    driver = known_driver(conn)
    if driver is None or driver.is_apsw or current() is not None:
        return None
    with turn(conn):
        return _core.search_plainly(
            driver.connection_class.cursor(conn), sql, column, queries, k, recall or 0.0
        )


def in_transaction(conn: Connection) -> bool:
    """Whether a transaction is open on the connection. Always so under Python 3.12's ``autocommit=False``."""
    raw, driver = resolve(conn)
    if driver.is_apsw:
        return not raw.getautocommit()
    return bool(raw.in_transaction)


def exclusive(conn: Connection) -> contextlib.AbstractContextManager[Any]:
    """A block in which no other thread uses the connection through this package."""
    return turn(resolve(conn)[0])


@contextlib.contextmanager
def transaction(
    conn: Connection, mode: Literal["DEFERRED", "IMMEDIATE", "EXCLUSIVE"] = "IMMEDIATE"
) -> Iterator[None]:
    """All or nothing: commits at the end of the block, takes everything back if an exception leaves it.

    Inside a transaction that is open already it is a savepoint, and the outer one stays open either way. Threads that
    share a connection wait for each other's blocks.

    Args:
        mode: how to begin where no transaction is open. IMMEDIATE takes the write lock at once, waiting as
            long as the connection's busy timeout says, so that nothing later in the block fails for a lock.
    """
    raw = resolve(conn)[0]
    with turn(raw):
        nested = in_transaction(conn)
        writers = None if nested or mode == "DEFERRED" else _write_turns.get(id(raw))
        with contextlib.nullcontext() if writers is None else writers.taken(partial(_locked, conn)):
            yield from _transaction(conn, mode, nested)


def _transaction(conn: Connection, mode: str, nested: bool) -> Iterator[None]:
    if nested:
        execute(conn, f"SAVEPOINT {_SAVEPOINT}")
    else:
        begin(conn, mode)
    try:
        yield
        execute(conn, f"RELEASE {_SAVEPOINT}" if nested else "COMMIT")
    except BaseException:
        # Some errors (a full disk, an I/O error) make SQLite roll back the whole transaction by itself.
        with shielded():
            if in_transaction(conn) and nested:
                execute(conn, f"ROLLBACK TO {_SAVEPOINT}")
                execute(conn, f"RELEASE {_SAVEPOINT}")
            elif in_transaction(conn):
                execute(conn, "ROLLBACK")
        raise


def begin(conn: Connection, mode: str) -> None:
    """Begin a transaction. None stays open where Ctrl-C, or a cancellation, comes just when it has begun."""
    try:
        execute(conn, f"BEGIN {mode}")
    except Exception:
        raise
    except BaseException:
        with shielded():
            if in_transaction(conn):
                execute(conn, "ROLLBACK")
        raise


def join_turns(conn: Connection, writers: WriteTurn, statements: threading.RLock | None) -> None:
    """From now on the connection's write transactions take turns with those of others, and all its statements too where
    `statements` is a lock that others share."""
    raw = resolve(conn)[0]
    _write_turns[id(raw)] = writers
    if statements is not None:
        _turns[id(raw)] = statements


def leave_turns(conn: Connection) -> None:
    """The connection is about to be closed: the next one at its address has turns of its own."""
    raw = resolve(conn)[0]
    _write_turns.pop(id(raw), None)
    _turns.pop(id(raw), None)


def _locked(conn: Connection, message: str) -> BaseException:
    """What the driver raises where a lock is not to be had."""
    native = resolve(conn)[1].native
    error: type[BaseException] = getattr(native, "OperationalError", None) or native.BusyError
    return error(message)


def turn(conn: Raw) -> threading.RLock:
    """The lock of a driver's connection, for threads that share it. By its address: sqlite3's connections take no weak
    reference, and a lock that outlives its connection serves the next one there."""
    lock = _turns.get(id(conn))
    return _turns.setdefault(id(conn), threading.RLock()) if lock is None else lock


def create_function(conn: Connection, name: str, function: Callable[..., Any]) -> None:
    """Give the connection a SQL function of any number of values, that always answers the same for the same."""
    raw, driver = resolve(conn)
    if driver.is_apsw:
        raw.create_scalar_function(name, function, -1, deterministic=True)
    else:
        raw.create_function(name, -1, function, deterministic=True)


def driver_error(conn: Connection) -> type[Exception]:
    """Base class of the errors that the connection's driver raises, for ``except driver_error(conn):``."""
    error: type[Exception] = resolve(conn)[1].native.Error
    return error


def lists_arrive_whole(conn: Connection) -> bool:
    """Whether SQLite hands ``rowid in (...)`` to a search at once (3.38); before, it searched once for each value."""
    return sqlite_version(conn) >= (3, 38)


def sqlite_version(conn: Connection) -> tuple[int, ...]:
    """Of the library that the connection uses, for example ``(3, 40, 1)``."""
    [(version,)] = execute(conn, "select sqlite_version()")
    return tuple(map(int, version.split(".")))
