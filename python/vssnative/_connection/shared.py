"""Connections that threads share: one call at a time.

SQLite runs a Python function (``vss_embed``, a progress handler) while it holds the connection's mutex, and the function
needs the GIL. Python's sqlite3 waits for that mutex with the GIL held (where it binds values, reads columns, asks for the
words of an error). So two threads on one connection can wait for each other for ever. Here each call waits for a lock of
its own before, without the GIL.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .protocol import Raw
from .statements import turn

# All that comes to SQLite. Not what must not wait (interrupt), nor what only looks at fields (in_transaction).
_CONNECTION_METHODS = (
    "__exit__",
    "backup",
    "blobopen",
    "close",
    "commit",
    "create_aggregate",
    "create_collation",
    "create_function",
    "create_window_function",
    "deserialize",
    "enable_load_extension",
    "getconfig",
    "getlimit",
    "load_extension",
    "rollback",
    "serialize",
    "set_authorizer",
    "set_progress_handler",
    "set_trace_callback",
    "setconfig",
    "setlimit",
)
_CONNECTION_PROPERTIES = ("autocommit", "isolation_level")  # setting them may commit
_CURSOR_METHODS = (
    "__next__",
    "close",
    "execute",
    "executemany",
    "executescript",
    "fetchall",
    "fetchmany",
    "fetchone",
)


def shared_class(driver: ModuleType) -> type[Any]:
    """The driver's class of connections, as one that threads may share.

    Args:
        driver: in the manner of ``sqlite3``.
    """
    return _shared_class(driver.Connection, driver.Cursor)


@functools.cache
def _shared_class(base: type[Any], base_cursor: type[Any]) -> type[Any]:
    def cursor(self: Raw, factory: Any = base_cursor) -> Any:
        """A cursor whose calls wait for those of other threads on this connection."""
        with turn(self):
            return base.cursor(self, _shared_cursor(factory) if isinstance(factory, type) else factory)

    members: dict[str, Any] = {"__doc__": _DOC, "__module__": __name__, "cursor": cursor}
    for name in ("execute", "executemany", "executescript"):  # sqlite3's own would make a plain cursor
        members[name] = _on_new_cursor(getattr(base, name))
    for name in _CONNECTION_METHODS:
        if hasattr(base, name):
            members[name] = _one_at_a_time(getattr(base, name), _itself)
    for name in _CONNECTION_PROPERTIES:
        if hasattr(base, name):
            members[name] = _set_one_at_a_time(getattr(base, name))
    return type("SharedConnection", (base,), members)


@functools.lru_cache(64)
def _shared_cursor(base: type[Any]) -> type[Any]:
    members: dict[str, Any] = {"__doc__": base.__doc__, "__module__": __name__}
    for name in _CURSOR_METHODS:
        members[name] = _one_at_a_time(getattr(base, name), _connection_of)
    return type(base.__name__, (base,), members)


def _itself(conn: Raw) -> Raw:
    return conn


def _connection_of(cursor: Raw) -> Raw:
    return cursor.connection


def _one_at_a_time(method: Callable[..., Any], connection_of: Callable[[Raw], Raw]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Raw, *args: Any, **options: Any) -> Any:
        with turn(connection_of(self)):
            return method(self, *args, **options)

    return call


def _on_new_cursor(method: Callable[..., Any]) -> Callable[..., Any]:
    name = method.__name__

    @functools.wraps(method)
    def call(self: Raw, *args: Any) -> Any:
        return getattr(self.cursor(), name)(*args)

    return call


def _set_one_at_a_time(descriptor: Any) -> property:
    def set_it(self: Raw, value: Any) -> None:
        with turn(self):
            descriptor.__set__(self, value)

    return property(descriptor.__get__, set_it, doc=descriptor.__doc__)


_DOC = """A connection of ``sqlite3`` that threads may share: a call waits until those of other threads have ended.

``vssnative.connect(path, check_same_thread=False)`` returns one. For whoever opens connections by other means it is the
``factory``: ``sqlite3.connect(path, check_same_thread=False, factory=vssnative.SharedConnection)``.

A plain connection that two threads use at once can stop both for ever, where its SQL calls a Python function: ``vss_embed``,
``watch_builds``, a progress handler. Transactions are the connection's, so all threads are in the same one; ``Pool`` gives
each thread its own. ``interrupt`` waits for nobody.
"""

if TYPE_CHECKING:

    class SharedConnection(sqlite3.Connection): ...

else:
    SharedConnection = shared_class(sqlite3)
