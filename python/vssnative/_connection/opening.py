"""Opening a database with vss0 loaded, and loading it into a connection that is open."""

from __future__ import annotations

import functools
import os
import sqlite3
import sys
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any, overload

from ..errors import ConfigurationError, ConnectionSetupError
from .drivers import unwrap
from .failures import explained, told_opening
from .files import file_of, has_journal, has_unread_log, why_unreadable
from .loading import Way, load_into
from .protocol import Connection
from .shared import shared_class
from .sqlite_errors import is_busy
from .statements import driver_error, execute

if TYPE_CHECKING:
    from pathlib import Path

_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")
# Of a file, mapped; SQLite lowers it to the most that it was compiled for, 2 GiB mostly. Not where addresses are scarce,
# nor on Windows, where a mapped file cannot be made shorter.
_MAPPED_BYTES = 1 << 40 if sys.maxsize > 1 << 32 and sys.platform != "win32" else 0


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
    raw, run = unwrap(conn)
    with explained(raw):
        return run(lambda: load_into(raw))


@overload
def connect(
    path: str | os.PathLike[str],
    *,
    wal: bool = True,
    synchronous: str | None = "NORMAL",
    timeout: float = 5.0,
    mapped: bool = True,
    immutable: bool = False,
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
    mapped: bool = True,
    immutable: bool = False,
    driver: ModuleType,
    **kwargs: Any,
) -> Connection: ...


def connect(
    path: str | os.PathLike[str],
    *,
    wal: bool = True,
    synchronous: str | None = "NORMAL",
    timeout: float = 5.0,
    mapped: bool = True,
    immutable: bool = False,
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
        mapped: read the file through a mapping into memory (SQLite's ``mmap_size``), which spares a copy and a call
            of the system for each page: searches that read rows from the file take a third less time. Writing goes
            on as without. Pass False on a file system where reading may fail (a network drive): there a mapping ends
            the process where a read gives an error. On Windows and 32-bit machines nothing is mapped.
        immutable: read a file that nobody writes while it is open, without locks and without any file beside it: on a
        read-only mount, in a directory that may not be written, where a file in WAL mode can be opened in no other way.
        `wal` and `synchronous` have no meaning then. Somebody who writes it all the same makes searches fail or answer
        wrongly.
        driver: the module to open it with, for example ``pysqlite3`` or ``apsw``; the standard ``sqlite3`` if
        None.
        **kwargs: handed to the driver's own ``connect`` (for apsw: to ``apsw.Connection``). With
            ``check_same_thread=False`` the connection is a ``SharedConnection``, unless a `factory` is given.

    Raises:
        ConfigurationError: an argument has no such value.
        ConnectionSetupError: the driver is unknown; or the file is to be `immutable`, and there are commits in a ``-wal``
            beside it, which would not be seen, or a ``-journal`` of one that is not complete.
        ExtensionLoadError: vss0 could not be loaded.
        The driver's own error where the file cannot be opened; it says why, as far as that can be seen.
    """
    check_synchronous(synchronous)
    place = os.fspath(path)
    if immutable:
        place = _immutable(place)
        wal, synchronous = False, None
        kwargs = {**kwargs, **_uri_options(driver)}
    if timeout < 0:
        raise ConfigurationError(f"timeout must be 0 or more seconds, not {timeout!r}")
    module = sqlite3 if driver is None else driver
    # Under autocommit=False (Python 3.12) a transaction is open from the start, in which the journal cannot
    # change.
    pep249_autocommit = kwargs.pop("autocommit", None)
    if module.__name__ == "apsw":
        open_it, errors = module.Connection, module.Error
    elif hasattr(module, "connect") and hasattr(module, "Connection"):
        open_it, errors = functools.partial(module.connect, timeout=timeout), module.Error
        if not kwargs.get("check_same_thread", True):
            kwargs.setdefault("factory", shared_class(module))
    else:
        raise ConnectionSetupError(
            f"driver must be a module such as sqlite3, pysqlite3 or apsw, not {module!r}"
        )
    conn = None
    try:
        conn = open_it(place, **kwargs)
        if module.__name__ == "apsw":
            conn.setbusytimeout(round(timeout * 1000))
        _set_up(conn, wal, synchronous, timeout, mapped)
        load(conn)
        if pep249_autocommit is not None:
            conn.autocommit = pep249_autocommit
    except BaseException as error:
        if conn is not None:
            conn.close()
        if isinstance(error, errors) and (told := told_opening(os.fsdecode(place), error)) is not error:
            raise told from error
        raise
    opened: Connection = conn
    return opened


def connect_to_read(path: Path) -> tuple[sqlite3.Connection, str | None]:
    """Open a file to read only, and leave it as it is, its journal mode too.

    Returns:
        The connection; and, where SQLite can only read the file as `immutable` (in WAL mode, in a directory that may not
        be written), why that is so.

    Raises:
        What ``connect`` does.
    """
    try:
        conn = connect(f"{path.resolve().as_uri()}?mode=ro", wal=False, synchronous=None, uri=True)
        try:
            with explained(conn):
                execute(conn, "select 1 from sqlite_master limit 1")
        except BaseException:
            conn.close()
            raise
        return conn, None
    except Exception:
        reason = why_unreadable(str(path))
        if reason is None or has_unread_log(str(path)):
            raise
        return connect(path.resolve(), immutable=True), reason


def _immutable(path: str | bytes) -> str:
    """The URI of a file to open with SQLite's ``immutable=1``."""
    place = os.fsdecode(path)
    if has_unread_log(place):
        raise ConnectionSetupError(
            f"{file_of(place)}: commits lie in the -wal beside it, which a connection with immutable=True does not see;"
            " open it once where its directory may be written, or copy both files to such a directory"
        )
    if has_journal(place):
        raise ConnectionSetupError(
            f"{file_of(place)}: the -journal beside it is of a commit that was cut short, or is under way, half of which a"
            " connection with immutable=True would see; open it once where its directory may be written, or copy both files"
            " to such a directory"
        )
    if not place.startswith("file:"):
        from pathlib import Path  # not before there is need: a connection comes without it

        place = Path(place).absolute().as_uri()
    file, _, query = place.partition("#")[0].partition("?")  # SQLite passes over what stands behind a #
    options = [one for one in query.split("&") if one and one.partition("=")[0] not in ("mode", "immutable")]
    return f"{file}?{'&'.join([*options, 'mode=ro', 'immutable=1'])}"


def _uri_options(driver: ModuleType | None) -> dict[str, Any]:
    if driver is not None and driver.__name__ == "apsw":
        return {"flags": driver.SQLITE_OPEN_READONLY | driver.SQLITE_OPEN_URI}
    return {"uri": True}


def check_synchronous(synchronous: str | None) -> None:
    """Refuse what SQLite's ``synchronous`` cannot be.

    Raises:
        ConfigurationError: says what it can be.
    """
    if synchronous is not None and synchronous.upper() not in _SYNCHRONOUS:
        raise ConfigurationError(
            f"synchronous must be one of {', '.join(_SYNCHRONOUS)} or None, not {synchronous!r}"
        )


def prepare(
    conn: Connection,
    *,
    wal: bool = True,
    synchronous: str | None = "NORMAL",
    timeout: float = 5.0,
    mapped: bool = True,
) -> None:
    """Make an open connection, with no transaction open, what ``connect`` returns. Arguments and errors are its."""
    check_synchronous(synchronous)
    raw, _ = unwrap(conn)
    # Under autocommit=False (Python 3.12) an empty transaction is open, in which the journal cannot change.
    waiting = getattr(raw, "autocommit", None) is False
    if waiting:
        raw.autocommit = True
    try:
        _set_up(raw, wal, synchronous, timeout, mapped)
    finally:
        if waiting:
            raw.autocommit = False
    load(raw)


def _set_up(conn: Connection, wal: bool, synchronous: str | None, timeout: float, mapped: bool) -> None:
    if wal:
        _switch_to_wal(conn, timeout)
    if synchronous is not None:
        execute(conn, f"PRAGMA synchronous={synchronous.upper()}")
    if mapped and _MAPPED_BYTES > 0:
        execute(conn, f"PRAGMA mmap_size={_MAPPED_BYTES}")


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
