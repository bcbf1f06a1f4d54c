"""Connections: opening them, loading vss0 into them, and the little that the other layers need of any driver.

This is the one module that knows SQLite drivers: the standard library's ``sqlite3`` and its relatives
(pysqlite3, sqlean, ...), and ``apsw``. Wrappers (SQLAlchemy, aiosqlite, Django, sqlite-utils) are unwrapped
to one of those.

How vss0 gets into a connection:

1. By the connection's own loader where it has one; extension loading is switched on for that moment only.
2. Else, many Pythons being built without ``enable_load_extension``, by calling vss0's entry point on the
   connection with the API table of the very SQLite library that the driver already uses, see ``_Library``. No
   second copy of SQLite enters the process, and nothing stays registered in it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import sqlite3
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias, TypeVar, overload

from .errors import ConfigurationError, ConnectionSetupError, ExtensionLoadError

__all__ = [
    "Connection",
    "connect",
    "driver_error",
    "execute",
    "in_transaction",
    "is_busy",
    "load",
    "load_by",
    "loadable_path",
    "transaction",
]

Connection: TypeAlias = Any
"""A connection of any supported driver. They share no base class, so there is no narrower type."""

Way: TypeAlias = Literal["loaded before", "by its own load_extension", "by vss0's entry point"]
"""How vss0 got into a connection."""

Parameters: TypeAlias = Sequence[Any] | dict[str, Any]

_T = TypeVar("_T")

_ENTRY_POINT = "sqlite3_vss_init"
_OLDEST_SQLITE = (3, 31, 0)
_DBCONFIG_ENABLE_LOAD_EXTENSION = 1005
_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")
_SAVEPOINT = "vssnative"


# --- Opening and loading ------------------------------------------------------------------------------------


def loadable_path() -> str:
    """Absolute path of the vss0 extension, one file free of Python.

    Any SQLite takes it: ``conn.load_extension(vssnative.loadable_path())``, or ``.load PATH`` in the sqlite3
    shell. Within a Python process ``load`` is better: it also works where the driver has no
    ``load_extension``.
    """
    from . import _core

    folder = Path(_core.__file__).resolve().parent
    for suffix in (".so", ".dylib", ".dll"):
        path = folder / f"vss0{suffix}"
        if path.is_file():
            return str(path)
    raise ExtensionLoadError(
        f"vss0 is missing beside {_core.__file__}: the installation is incomplete, reinstall vssnative"
    )


def load(conn: Connection) -> None:
    """Make vss0 and its SQL functions available on an open connection. Loading again is harmless.

    Nothing else of the connection changes: no transaction begins or ends, extension loading is left as it
    was.

    Args:
        conn: a connection of ``sqlite3``, ``pysqlite3``, ``sqlean`` or ``apsw``, also inside a SQLAlchemy
            connection or session, an aiosqlite connection, Django's connection, or a sqlite-utils database.

    Raises:
        ConnectionSetupError: the connection is closed, belongs to another thread, or is of no known driver.
        ExtensionLoadError: vss0 could not be loaded; the message says what was tried and what to do.
    """
    load_by(conn)


def load_by(conn: Connection) -> Way:
    """Like ``load``, and tells how vss0 got into the connection."""
    raw, run = _unwrap(conn)
    return run(lambda: _load(raw))


@overload
def connect(
    path: str | os.PathLike[str],
    *,
    wal: bool = True,
    synchronous: str | None = "NORMAL",
    timeout: float = 5.0,
    driver: None = None,
    **kwargs: Any,
) -> sqlite3.Connection: ...


@overload
def connect(
    path: str | os.PathLike[str],
    *,
    wal: bool = True,
    synchronous: str | None = "NORMAL",
    timeout: float = 5.0,
    driver: ModuleType,
    **kwargs: Any,
) -> Connection: ...


def connect(
    path: str | os.PathLike[str],
    *,
    wal: bool = True,
    synchronous: str | None = "NORMAL",
    timeout: float = 5.0,
    driver: ModuleType | None = None,
    **kwargs: Any,
) -> Connection:
    """Open a database with vss0 loaded.

    Args:
        path: the database file, ``":memory:"``, or a URI where ``uri=True`` (sqlite3) or the flags (apsw)
        allow it.
        wal: switch the file to the write-ahead log, so that readers and one writer never block each other. In
            memory and read-only databases keep the journal they have. False leaves the journal mode alone.
        synchronous: ``"OFF"``, ``"NORMAL"``, ``"FULL"``, ``"EXTRA"``, or None for SQLite's own default.
            NORMAL cannot damage a WAL file, but a power cut may undo the last commits.
        timeout: seconds to wait for a lock before "database is locked".
        driver: the module to open it with, for example ``pysqlite3`` or ``apsw``; the standard ``sqlite3`` if
        None.
        **kwargs: handed to the driver's own ``connect`` (for apsw: to ``apsw.Connection``).

    Raises:
        ConfigurationError: an argument has no such value.
        ConnectionSetupError: the driver is unknown.
        ExtensionLoadError: vss0 could not be loaded.
        The driver's own error where the file cannot be opened.
    """
    if synchronous is not None and synchronous.upper() not in _SYNCHRONOUS:
        raise ConfigurationError(
            f"synchronous must be one of {', '.join(_SYNCHRONOUS)} or None, not {synchronous!r}"
        )
    if timeout < 0:
        raise ConfigurationError(f"timeout must be 0 or more seconds, not {timeout!r}")
    module = sqlite3 if driver is None else driver
    # Under autocommit=False (Python 3.12) a transaction is open from the start, in which the journal cannot
    # change.
    pep249_autocommit = kwargs.pop("autocommit", None)
    if module.__name__ == "apsw":
        conn = module.Connection(os.fspath(path), **kwargs)
        conn.setbusytimeout(round(timeout * 1000))
    elif hasattr(module, "connect") and hasattr(module, "Connection"):
        conn = module.connect(os.fspath(path), timeout=timeout, **kwargs)
    else:
        raise ConnectionSetupError(
            f"driver must be a module such as sqlite3, pysqlite3 or apsw, not {module!r}"
        )
    try:
        if wal:
            _switch_to_wal(conn, timeout)
        if synchronous is not None:
            execute(conn, f"PRAGMA synchronous={synchronous.upper()}")
        load(conn)
        if pep249_autocommit is not None:
            conn.autocommit = pep249_autocommit
    except BaseException:
        conn.close()
        raise
    return conn


def _switch_to_wal(conn: Connection, timeout: float) -> None:
    """Switching needs the file alone for a moment, and SQLite does not wait for that lock by itself."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            if execute(conn, "PRAGMA journal_mode") != [("wal",)]:
                execute(conn, "PRAGMA journal_mode=WAL")
            return
        except driver_error(conn) as error:
            if "readonly" in str(error):
                return
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        time.sleep(0.01)


def _load(conn: Connection) -> Way:
    driver = _driver_of(conn)
    try:
        [(version,)] = execute(conn, "select sqlite_version()")
    except driver_error(conn) as error:
        raise ConnectionSetupError(f"the {driver.name} connection cannot be used: {error}") from error
    if tuple(int(part) for part in version.split(".")) < _OLDEST_SQLITE:
        oldest = ".".join(map(str, _OLDEST_SQLITE))
        raise ExtensionLoadError(
            f"vss0 needs SQLite {oldest} or newer; {driver.name} uses SQLite {version}. Use a newer Python, or"
            " a driver that carries its own SQLite: pip install pysqlite3-binary, or pip install apsw"
        )
    if _is_loaded(conn):
        return "loaded before"
    tried: list[str] = []
    ways: tuple[tuple[Way, Callable[[Connection, _Driver], str | None]], ...] = (
        ("by its own load_extension", _load_by_own_loader),
        ("by vss0's entry point", _load_by_entry_point),
    )
    for way, attempt in ways:
        reason = attempt(conn, driver)
        if reason is None and not _is_loaded(conn):
            reason = f"{way}: it reported success, but the connection has no module vss0"
        if reason is None:
            return way
        tried.append(reason)
    lines = "\n".join(f"  {number}. {reason}" for number, reason in enumerate(tried, 1))
    raise ExtensionLoadError(
        f"vss0 could not be loaded into this {driver.name} connection (SQLite {version}, Python"
        f" {sys.version.split()[0]}).\nTried:\n{lines}\nWhat to do: open the database with a driver that can"
        " load extensions, for example `pip install pysqlite3-binary` and vssnative.connect(path,"
        " driver=pysqlite3), or `pip install apsw`; `vssnative doctor` shows what this machine has.",
        tuple(tried),
    )


def _is_loaded(conn: Connection) -> bool:
    from . import _core

    ours = _core.vss0_version()
    modules = "select name from pragma_module_list where name in ('vss0', 'vss_buffer')"
    present = {name for (name,) in execute(conn, modules)}
    try:
        [(version,)] = execute(conn, "select vss_version()")
    except driver_error(conn):
        version = None
    if present == {"vss0"} or version not in (None, ours, f"v{ours}"):
        raise ExtensionLoadError(
            f"the connection already has another vss0, version {version!r}; this package brings {ours!r}. Load"
            " only one of them: leave out the other (sqlite-vss, say) and let vssnative.load do it."
        )
    return len(present) == 2


# --- Drivers ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Driver:
    """What a connection belongs to: `native` is the C module that made `connection_class`."""

    name: str
    native: ModuleType
    connection_class: type[Any]

    @property
    def is_apsw(self) -> bool:
        return self.name == "apsw"


_drivers: dict[type[Any], _Driver] = {}


def _driver_of(conn: Connection) -> _Driver:
    """The driver of an unwrapped connection, found by its class; ConnectionSetupError if it is of none
    known."""
    known = _drivers.get(type(conn))
    if known is not None:
        return known
    for cls in type(conn).__mro__:
        root = cls.__module__.partition(".")[0]
        native = sys.modules.get({"sqlite3": "_sqlite3", "apsw": "apsw"}.get(root, f"{root}._sqlite3"))
        if native is not None and getattr(native, "Connection", None) is cls:
            driver = _Driver(root, native, cls)
            _drivers[type(conn)] = driver
            return driver
    raise ConnectionSetupError(
        f"{type(conn).__module__}.{type(conn).__qualname__} is no SQLite connection that vssnative knows; pass"
        " one of sqlite3, pysqlite3, sqlean or apsw, or a SQLAlchemy, aiosqlite, Django or sqlite-utils object"
        " around one"
    )


def _resolve(conn: Connection) -> tuple[Connection, _Driver]:
    """The driver's own connection inside `conn`, for use in this thread, and its driver."""
    if type(conn) in _drivers:
        return conn, _drivers[type(conn)]
    raw, run = _unwrap(conn)
    if isinstance(run, functools.partial):
        raise ConnectionSetupError(
            "an aiosqlite connection can only be used by its own thread: load(conn) works, and SQL through it; for"
            " all else open a connection of your own with vssnative.connect in a worker thread"
        )
    return raw, _driver_of(raw)


def _unwrap(conn: Connection) -> tuple[Connection, Callable[[Callable[[], _T]], _T]]:
    """The driver's own connection inside `conn`, and how to run a function in the thread that may use it."""
    for _ in range(8):  # wrappers nest: session, connection, pool's proxy, async adapter
        cls = type(conn)
        package = cls.__module__.partition(".")[0]
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


def _run_in_aiosqlite_thread(conn: Connection, function: Callable[[], _T]) -> _T:
    """Only aiosqlite's own thread may touch its connection; it takes functions from a queue."""
    results: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            results.put((function(), None))
        except BaseException as error:  # noqa: BLE001  (raised again in the caller's thread)
            results.put((None, error))

    conn._tx.put_nowait((_NoLoop(), work))
    result, error = results.get()
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


# --- The two ways to load -----------------------------------------------------------------------------------


def _load_by_own_loader(conn: Connection, driver: _Driver) -> str | None:
    """Returns None on success, else a sentence that says what failed."""
    what = f"{driver.name}'s own load_extension"
    if not hasattr(conn, "enableloadextension" if driver.is_apsw else "enable_load_extension"):
        return f"{what}: this build of {driver.name} was compiled without it"
    # apsw has these names in all its versions, the ones with underscores since 3.42.
    enable = conn.enableloadextension if driver.is_apsw else conn.enable_load_extension
    try:
        was_enabled = _loading_is_enabled(conn, driver)
        if not was_enabled:
            enable(True)
        try:
            if driver.is_apsw:
                conn.loadextension(loadable_path(), _ENTRY_POINT)
            else:
                conn.load_extension(loadable_path())
        finally:
            if not was_enabled:
                enable(False)
    except driver_error(conn) as error:
        return f"{what}: {error}"
    return None


def _loading_is_enabled(conn: Connection, driver: _Driver) -> bool:
    if driver.is_apsw:
        return bool(conn.config(_DBCONFIG_ENABLE_LOAD_EXTENSION, -1))
    if hasattr(conn, "getconfig"):  # Python 3.12
        return bool(conn.getconfig(_DBCONFIG_ENABLE_LOAD_EXTENSION))
    try:
        execute(conn, "select load_extension(?)", [loadable_path() + ".no-such-file"])
    except driver_error(conn) as error:
        return "not authorized" not in str(error)
    return True


def _load_by_entry_point(conn: Connection, driver: _Driver) -> str | None:
    """Returns None on success, else a sentence that says what failed."""
    from . import _core

    what = "calling vss0's entry point in the driver's own SQLite"
    library = _library_of(driver)
    if isinstance(library, str):
        return f"{what}: {library}"
    code, message = _core.initialize_extension(library.handle_of(conn), library.api)
    return None if code == 0 else f"{what}: {message or f'SQLite error {code}'}"


@dataclass(frozen=True)
class _Library:
    """The SQLite library inside a driver module, as learnt from one connection of that driver.

    A function registered with the library's ``sqlite3_auto_extension`` is handed the ``sqlite3*`` of the next
    connection opened, and the library's API table. Where in the driver's Connection object that pointer
    stands is then looked up, not assumed: exactly one word of the object must equal it, and must be zero once
    it is closed.

    Attributes:
        offset: of the ``sqlite3*`` within a connection object, in bytes.
        api: address of the ``sqlite3_api_routines``.
    """

    offset: int
    api: int

    def handle_of(self, conn: Connection) -> int:
        """Address of the connection's ``sqlite3*``; `conn` must be open."""
        return _word_at(id(conn) + self.offset)


_WORD = struct.calcsize("P")
_libraries: dict[ModuleType, _Library | str] = {}
_libraries_lock = threading.Lock()  # two captures at once would cancel each other's registration


def _library_of(driver: _Driver) -> _Library | str:
    """The driver's library, or a sentence that says why it cannot be reached."""
    with _libraries_lock:
        if driver.native not in _libraries:
            _libraries[driver.native] = _learn_library(driver)
        return _libraries[driver.native]


def _learn_library(driver: _Driver) -> _Library | str:
    from . import _core

    if sys.implementation.name != "cpython":
        return f"only CPython's objects can be looked into, this is {sys.implementation.name}"
    try:
        import ctypes
    except ImportError as error:  # an optional part of a Python that was built without libffi
        return f"ctypes is needed to find SQLite's symbols: {error}"
    file = getattr(driver.native, "__file__", None)  # None: built into the interpreter
    place = file or sys.executable
    try:
        symbols = ctypes.CDLL(file)
        register = ctypes.cast(symbols.sqlite3_auto_extension, ctypes.c_void_p).value
        cancel = ctypes.cast(symbols.sqlite3_cancel_auto_extension, ctypes.c_void_p).value
    except (OSError, AttributeError) as error:
        return f"no sqlite3_auto_extension is visible through {place} ({error})"
    assert register is not None and cancel is not None  # a symbol that dlsym found has an address
    code = _core.begin_capture(register)
    try:
        probe = driver.connection_class(":memory:")
    finally:
        captured = _core.end_capture(cancel)
    try:
        if code != 0:
            return f"sqlite3_auto_extension answered with SQLite error {code}"
        if captured is None:
            return f"{driver.name} does not use the SQLite library that is visible through {place}"
        db, api = captured
        size = driver.connection_class.__basicsize__
        offsets = [at for at in range(0, size - _WORD + 1, _WORD) if _word_at(id(probe) + at) == db]
    finally:
        probe.close()
    if len(offsets) != 1 or _word_at(id(probe) + offsets[0]) != 0:
        return f"the layout of {driver.name}'s connections is not as expected"
    return _Library(offsets[0], api)


def _word_at(address: int) -> int:
    import ctypes

    return int.from_bytes(ctypes.string_at(address, _WORD), sys.byteorder)


# --- Statements and transactions, the same for every driver -------------------------------------------------


def execute(conn: Connection, sql: str, params: Parameters = ()) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows as plain tuples with text as ``str``.

    The caller's row factories, text factory and row traces stay set, and have no part in it. Like any
    statement of the caller's own, an INSERT, UPDATE or DELETE begins sqlite3's implicit transaction where
    that is its habit.

    Raises:
        The driver's own error, see ``driver_error``.
    """
    conn, driver = _resolve(conn)
    if driver.is_apsw:
        return _execute_apsw(conn, driver, sql, params)
    cursor = driver.connection_class.cursor(conn)
    cursor.row_factory = None
    text_factory = conn.text_factory
    try:
        if text_factory is not str:
            conn.text_factory = str
        rows: list[tuple[Any, ...]] = cursor.execute(sql, params).fetchall()
        return rows
    finally:
        if text_factory is not str:
            conn.text_factory = text_factory
        cursor.close()


def _execute_apsw(conn: Connection, driver: _Driver, sql: str, params: Parameters) -> list[tuple[Any, ...]]:
    cursor = driver.native.Cursor(conn)
    try:
        # A cursor's own hook goes before the connection's; these hand on what SQLite returned.
        cursor.setrowtrace(lambda _cursor, row: row)
        if getattr(conn, "convert_jsonb", None) is not None:
            cursor.convert_jsonb = lambda _cursor, _column, blob: blob
        return list(cursor.execute(sql, params if isinstance(params, dict) else tuple(params)))
    finally:
        cursor.close()


def in_transaction(conn: Connection) -> bool:
    """Whether a transaction is open on the connection. Always so under Python 3.12's ``autocommit=False``."""
    conn, driver = _resolve(conn)
    if driver.is_apsw:
        return not conn.getautocommit()
    return bool(conn.in_transaction)


@contextlib.contextmanager
def transaction(
    conn: Connection, mode: Literal["DEFERRED", "IMMEDIATE", "EXCLUSIVE"] = "IMMEDIATE"
) -> Iterator[None]:
    """All or nothing: commits at the end of the block, takes everything back if an exception leaves it.

    Inside a transaction that is open already it is a savepoint, and the outer one stays open either way.

    Args:
        mode: how to begin where no transaction is open. IMMEDIATE takes the write lock at once, waiting as
            long as the connection's busy timeout says, so that nothing later in the block fails for a lock.
    """
    nested = in_transaction(conn)
    execute(conn, f"SAVEPOINT {_SAVEPOINT}" if nested else f"BEGIN {mode}")
    try:
        yield
        execute(conn, f"RELEASE {_SAVEPOINT}" if nested else "COMMIT")
    except BaseException:
        # Some errors (a full disk, an I/O error) make SQLite roll back the whole transaction by itself.
        if in_transaction(conn):
            if nested:
                execute(conn, f"ROLLBACK TO {_SAVEPOINT}")
                execute(conn, f"RELEASE {_SAVEPOINT}")
            else:
                execute(conn, "ROLLBACK")
        raise


def driver_error(conn: Connection) -> type[Exception]:
    """Base class of the errors that the connection's driver raises, for ``except driver_error(conn):``."""
    error: type[Exception] = _resolve(conn)[1].native.Error
    return error


def lists_arrive_whole(conn: Connection) -> bool:
    """Whether SQLite hands ``rowid in (...)`` to a search at once (3.38); before, it searched once for each value."""
    return sqlite_version(conn) >= (3, 38)


def sqlite_version(conn: Connection) -> tuple[int, ...]:
    """Of the library that the connection uses, for example ``(3, 40, 1)``."""
    [(version,)] = execute(conn, "select sqlite_version()")
    return tuple(map(int, version.split(".")))


def is_corrupt(error: BaseException) -> bool:
    """Whether a driver's error says that what is stored is not as it was written."""
    code = getattr(error, "sqlite_errorcode", None)  # Python 3.11
    if code is None:
        code = getattr(error, "result", None)  # apsw
    if isinstance(code, int):
        return code & 0xFF in (11, 26)
    return type(error).__name__ == "DatabaseError"  # what sqlite3 makes of these two, and of no other


def is_busy(error: BaseException) -> bool:
    """Whether a driver's error says that another connection holds a lock, so that trying again may help."""
    code = getattr(error, "sqlite_errorcode", None)  # Python 3.11
    if code is None:
        code = getattr(error, "result", None)  # apsw
    if isinstance(code, int):
        return code & 0xFF in (5, 6)
    return "is locked" in str(error)
