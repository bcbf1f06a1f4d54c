"""A pool of connections to one database, for all that hands work to threads."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from ..errors import ConnectionSetupError
from .cancellation import shielded
from .failures import explained
from .files import file_of
from .opening import connect
from .protocol import Connection, Raw
from .statements import execute, in_transaction, join_turns, leave_turns, transaction
from .turns import WriteTurn

_IDLE = 8
_LOOK_SECONDS = 0.02
_SHARED_MEMORY = (3, 36)  # the first with vfs=memdb by a name


class Pool:
    """Connections to one database, for any number of threads: each has one of its own while it uses it.

        with Pool("blog.db") as pool:
            with pool.connection() as conn:         # this thread's, until the end of the block
                vssnative.search(conn, "posts", "...")
            with pool.transaction() as conn:        # one writer at a time; committed at the end
                vssnative.Index(conn).add(ids, matrix)

    The writers among the threads wait for each other in the order in which they come, rather than for SQLite's lock, of
    whose holders they hear by polling; so do ``transaction``, ``sync`` and all else that this package writes on these
    connections. Readers wait for nobody where the file is in WAL mode. Connections are in autocommit mode. A
    transaction left open at the end of the block is rolled back.

    Args:
        path: a file; ``":memory:"``, which all connections of this pool share; or a URI, ``file:...``, also of a shared
            in-memory database: those that are in memory let one thread at a time run statements of this package.
            Or a function that opens a connection which any thread may use (``check_same_thread=False``), with vss0
            loaded.
        wait: seconds that a writer waits for the others before "database is locked".
        idle: connections that are kept open while nobody uses them.
        **options: as for ``connect``: ``wal``, ``synchronous``, ``timeout``, ``mapped``, ``driver``, and the driver's own.

    Raises:
        As ``connect``, when the first connection is opened, which is done at once.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Callable[[], Connection],
        *,
        wait: float = 60.0,
        idle: int = _IDLE,
        **options: Any,
    ) -> None:
        self._most_idle = idle
        self._in_memory = False
        if callable(path):
            self._open_one: Callable[[], Connection] = path
        else:
            self._open_one = self._opener(os.fspath(path), options)
        self._writers = WriteTurn(wait)
        self._shared = threading.RLock() if self._in_memory else None
        self._here = threading.local()
        self._process = os.getpid()
        self._state = _State()
        self._finalizer = weakref.finalize(self, _State.close_idle, self._state)
        with self.connection():
            pass
        # An in-memory database lives as long as a connection to it.
        self._keeper = self._take() if self._in_memory else None

    def _opener(self, path: str, options: dict[str, Any]) -> Callable[[], Connection]:
        driver: ModuleType | None = options.get("driver")
        is_apsw = driver is not None and driver.__name__ == "apsw"
        self._in_memory = is_in_memory(path)
        if path == ":memory:":
            name = f"vssnative-{os.urandom(16).hex()}"
            version = _version(driver)
            path = (
                f"file:/{name}?vfs=memdb"
                if version >= _SHARED_MEMORY
                else f"file:{name}?mode=memory&cache=shared"
            )
        if not is_apsw:
            if path.startswith("file:"):
                options.setdefault("uri", True)
            options.setdefault("isolation_level", None)
            options["check_same_thread"] = False
            options.setdefault("factory", (driver or sqlite3).Connection)  # not shared: one thread at a time
        elif path.startswith("file:") and driver is not None:
            flags = driver.SQLITE_OPEN_READWRITE | driver.SQLITE_OPEN_CREATE | driver.SQLITE_OPEN_URI
            options.setdefault("flags", flags)
        return lambda: connect(path, **options)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection for this thread alone, until the end of the block; a block within it has the same one.

        Raises:
            ConnectionSetupError: the pool is closed.
        """
        if self._process != os.getpid():
            self._begin_again()
        mine = getattr(self._here, "conn", None)
        if mine is not None:
            yield mine
            return
        conn = self._take()
        self._here.conn = conn
        try:
            yield conn
        finally:
            self._here.conn = None
            self._give(conn)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Any]:
        """As ``connection``, in a write transaction: one thread at a time. Committed at the end of the block, rolled back
        where an exception leaves it; within another one it is a savepoint.

        Raises:
            ConnectionSetupError: the pool is closed.
            The driver's "database is locked", where others write for longer than ``wait`` or ``timeout``.
        """
        with contextlib.ExitStack() as stack:
            conn = stack.enter_context(self.connection())
            with explained(conn):  # the beginning: what the block does is the caller's
                stack.enter_context(transaction(conn))
            yield conn

    def close(self, *, wait: bool = True, interrupt: bool = False) -> None:
        """Close the connections. Those in use are closed when their block ends; nobody gets a new one.

        Args:
            wait: until all are closed. A thread that calls this within a block of its own does not wait for itself.
            interrupt: end the statements that are running, with SQLite's own "interrupted".
        """
        state = self._state
        with state.changed:
            state.closed = True
        if self._keeper is not None:
            self._give(self._keeper)
            self._keeper = None
        state.close_idle()
        if self._process != os.getpid():
            return
        own = getattr(self._here, "conn", None)
        with state.changed:
            while others := [conn for conn in state.in_use if conn is not own]:
                for conn in others if interrupt else ():
                    with contextlib.suppress(Exception):  # it was closed meanwhile
                        conn.interrupt()
                if not wait:
                    break
                state.changed.wait(_LOOK_SECONDS if interrupt else None)

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._state.closed

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self) -> Raw:
        state = self._state
        with state.changed:
            if state.closed:
                raise ConnectionSetupError("the pool is closed")
            conn = state.idle.pop() if state.idle else None
            if conn is not None:
                state.in_use.append(conn)
                return conn
        conn = self._open_one()
        join_turns(conn, self._writers, self._shared)
        with state.changed:
            if state.closed:
                leave_turns(conn)
                conn.close()
                raise ConnectionSetupError("the pool is closed")
            state.in_use.append(conn)
        return conn

    def _give(self, conn: Raw) -> None:
        state = self._state
        usable = False
        with shielded(), contextlib.suppress(Exception):  # it was closed, or cannot be used any more
            if in_transaction(conn):
                execute(conn, "rollback")
            usable = True
        with state.changed:
            if usable and not state.closed and len(state.idle) < self._most_idle:
                state.idle.append(conn)
                state.in_use.remove(conn)
                state.changed.notify_all()
                return
        _close(conn)
        with state.changed:
            state.in_use.remove(conn)
            state.changed.notify_all()

    def _begin_again(self) -> None:
        """In a process that was forked: the parent's connections are kept from being closed, and not used."""
        if self._in_memory:
            raise ConnectionSetupError(
                "an in-memory database belongs to the process that made it; this is a fork of it"
            )
        _of_parents.append(self._state)
        self._finalizer.detach()
        self._state = _State()
        self._finalizer = weakref.finalize(self, _State.close_idle, self._state)
        self._writers = WriteTurn(self._writers.patience)
        self._here = threading.local()
        self._process = os.getpid()


class _State:
    """The connections; apart from the pool, so that they can be closed when it is gone."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.idle: list[Raw] = []
        self.in_use: list[Raw] = []
        self.closed = False

    def close_idle(self) -> None:
        with self.changed:
            idle, self.idle = self.idle, []
        for conn in idle:
            _close(conn)


_of_parents: list[_State] = []


def _close(conn: Raw) -> None:
    leave_turns(conn)
    with contextlib.suppress(Exception):  # what cannot be rolled back may not be closed either
        conn.close()


def is_in_memory(path: str) -> bool:
    """Whether a path or URI names a database that is in memory."""
    if path == ":memory:":
        return True
    return path.startswith("file:") and (
        path.startswith("file::memory:") or "mode=memory" in path or "vfs=memdb" in path
    )


def require_file(path: str | os.PathLike[str]) -> None:
    """Refuse a path or URI of a file that is not there, where SQLite would make an empty one.

    Raises:
        ConnectionSetupError: it is not there.
    """
    place = os.fspath(path)
    if place and not is_in_memory(place) and not os.path.exists(file_of(place)):
        raise ConnectionSetupError(f"{file_of(place)}: there is no such file")


def _version(driver: ModuleType | None) -> tuple[int, ...]:
    if driver is None:
        return sqlite3.sqlite_version_info
    text = getattr(driver, "sqlite_version", None) or driver.sqlite_lib_version()
    return tuple(int(part) for part in str(text).split("."))
