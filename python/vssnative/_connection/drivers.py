"""The drivers, and the wrappers round their connections."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from ..errors import ConnectionSetupError
from .protocol import Connection, Raw

_T = TypeVar("_T")


class Driver(NamedTuple):
    """What a connection belongs to: `native` is the C module that made `connection_class`."""

    name: str
    native: ModuleType
    connection_class: type[Any]

    @property
    def is_apsw(self) -> bool:
        return self.name == "apsw"


_drivers: dict[type[Any], Driver] = {}


def known_driver(conn: Connection) -> Driver | None:
    """The driver of a connection that is not wrapped, if one of its class was met before."""
    return _drivers.get(type(conn))


def known_drivers() -> list[Driver]:
    """The drivers whose connections were met so far."""
    return list(_drivers.values())


def driver_of(conn: Raw) -> Driver:
    """The driver of an unwrapped connection, found by its class; ConnectionSetupError if it is of none
    known."""
    known = _drivers.get(type(conn))
    if known is not None:
        return known
    for cls in type(conn).__mro__:
        root = cls.__module__.partition(".")[0]
        native = sys.modules.get({"sqlite3": "_sqlite3", "apsw": "apsw"}.get(root, f"{root}._sqlite3"))
        if native is not None and getattr(native, "Connection", None) is cls:
            driver = Driver(root, native, cls)
            _drivers[type(conn)] = driver
            return driver
    raise ConnectionSetupError(
        f"{type(conn).__module__}.{type(conn).__qualname__} is no SQLite connection that vssnative knows; pass"
        " one of sqlite3, pysqlite3, sqlean or apsw, or a SQLAlchemy, aiosqlite, Django or sqlite-utils object"
        " around one"
    )


def resolve(conn: Connection) -> tuple[Raw, Driver]:
    """The driver's own connection inside `conn`, for use in this thread, and its driver."""
    if type(conn) in _drivers:
        return conn, _drivers[type(conn)]
    raw, run = unwrap(conn)
    if isinstance(run, functools.partial):
        raise ConnectionSetupError(
            "an aiosqlite connection can only be used by its own thread: load(conn) works, and SQL through it; all else"
            " is awaited, vssnative.aio.search(conn, ...), also for an AsyncSession around one"
        )
    return raw, driver_of(raw)


_WRAPPERS = ("sqlalchemy", "aiosqlite", "django", "sqlite_utils")


def unwrap(conn: Raw) -> tuple[Raw, Callable[[Callable[[], _T]], _T]]:
    """The driver's own connection inside `conn`, and how to run a function in the thread that may use it."""
    for _ in range(8):  # wrappers nest: session, connection, pool's proxy, async adapter
        cls = type(conn)
        # A subclass of the user's, or of another package (sqlmodel.Session), is what it inherits from.
        packages = [base.__module__.partition(".")[0] for base in cls.__mro__]
        package = next((name for name in packages if name in _WRAPPERS), packages[0])
        inner: Any = None
        if package == "sqlalchemy":
            if hasattr(cls, "driver_connection"):
                inner = conn.driver_connection
            elif hasattr(conn, "sync_session"):
                inner = conn.sync_session
            elif hasattr(conn, "sync_connection"):
                inner = conn.sync_connection
            elif hasattr(cls, "connection"):
                inner = conn.connection() if callable(cls.connection) else conn.connection
        elif package == "aiosqlite":
            try:
                return conn._conn, functools.partial(_run_in_aiosqlite_thread, conn)
            except ValueError as error:
                raise ConnectionSetupError(f"the aiosqlite connection cannot be used: {error}") from error
        elif package == "django":
            conn.ensure_connection()
            inner = conn.connection
        elif package == "sqlite_utils":
            inner = conn.conn
        if inner is None:
            break
        conn = inner
    return conn, lambda function: function()


class _NoLoop:
    """Stands where aiosqlite's thread expects an asyncio future: our caller waits by another way."""

    def get_loop(self) -> _NoLoop:
        return self

    def call_soon_threadsafe(self, *_: object) -> None:
        pass

    def done(self) -> bool:
        return True


def send_to_aiosqlite(conn: Raw, function: Callable[[], None]) -> None:
    """Have the thread of an aiosqlite connection call a function, after what it was told before.

    Raises:
        ConnectionSetupError: the connection is closed, or not awaited yet.
    """
    try:
        _ = conn._conn
    except ValueError as error:
        raise ConnectionSetupError(f"the aiosqlite connection cannot be used: {error}") from error
    conn._tx.put_nowait((_NoLoop(), function))


def _run_in_aiosqlite_thread(conn: Raw, function: Callable[[], _T]) -> _T:
    """Only aiosqlite's own thread may touch its connection; it takes functions from a queue."""
    import queue

    results: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            results.put((function(), None))
        except BaseException as error:  # noqa: BLE001  (raised again in the caller's thread)
            results.put((None, error))

    send_to_aiosqlite(conn, work)
    result, error = results.get()
    if error is not None:
        raise error
    return result  # type: ignore[return-value]
