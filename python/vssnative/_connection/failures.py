"""What SQLite's short words mean here: which file, why, and what to do. The error stays one of the driver's own class."""

from __future__ import annotations

import contextlib
import functools
import os
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from .drivers import known_drivers, unwrap
from .protocol import Connection
from .statements import execute

_F = TypeVar("_F", bound=Callable[..., Any])

_BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _CONSTRAINT, _NOTADB = (
    5,
    6,
    8,
    10,
    11,
    13,
    14,
    19,
    26,
)
_BUSY_SNAPSHOT = _BUSY | 2 << 8
_ANOTHER_HOLDS = "another connection, of this process or another, holds the lock"
_LET_COMMIT = "let it commit, or wait longer: vssnative.connect(path, timeout=60)"

# Where the driver gives no code: Python 3.10, and errors that stand for SQLite's own.
_WORDS = {
    "table is locked": _LOCKED,
    "is locked": _BUSY,
    "readonly": _READONLY,
    "disk i/o": _IOERR,
    "is full": _FULL,
    "unable to open": _CANTOPEN,
    "constraint failed": _CONSTRAINT,
    "malformed": _CORRUPT,
    "not a database": _NOTADB,
}


@contextlib.contextmanager
def explained(conn: Connection) -> Iterator[None]:
    """A block whose errors of SQLite name the file and what to do. SQL errors and the package's own pass as they are."""
    try:
        yield
    except Exception as error:
        if (told := told_error(conn, error)) is error:
            raise
        raise told from error


def explains(conn_of: Callable[[Any], Connection]) -> Callable[[_F], _F]:
    """``explained`` for a function.

    Args:
        conn_of: gives the connection that is meant, from the function's first argument.
    """

    def decorate(function: _F) -> _F:
        @functools.wraps(function)
        def call(first: Any, *args: Any, **options: Any) -> Any:
            try:
                return function(first, *args, **options)
            except Exception as error:
                if (told := told_error(conn_of(first), error)) is error:
                    raise
                raise told from error

        return call  # type: ignore[return-value]

    return decorate


def told_error(conn: Connection, error: Exception) -> Exception:
    """`error` in words that help, to be raised from it; `error` itself where there is nothing to add.

    The new one is of the same class, has the same codes, and SQLite's own words in it.
    """
    if not _is_drivers_own(error) or getattr(error, "vssnative_told", False):
        return error
    advice = _advice(conn, error)
    return error if advice is None else _like(error, f"{_file_of(conn)}: {error}: {advice}")


def told_opening(path: str, error: Exception) -> Exception:
    """As ``told_error``, for an error of a driver's about a file that could not be opened.

    Args:
        path: as it was given to ``connect``.
    """
    if getattr(error, "vssnative_told", False):
        return error
    file = file_of(path)
    code, _ = _codes(error)
    if code in (_CANTOPEN, _READONLY) and (advice := advice_on_unreadable(file)) is not None:
        return _like(error, f"{file}: {error}: {advice}")
    if code == _CANTOPEN and file:
        folder = os.path.dirname(os.path.abspath(file))
        if not os.path.isdir(folder):
            return _like(error, f"{file}: {error}: there is no directory {folder}")
        if not os.path.exists(file):
            return _like(error, f"{file}: {error}: there is no such file")
        return _like(error, f"{file}: {error}: this process may not read it, or it is no file")
    if code == _NOTADB and file:
        return _like(error, f"{file}: {error}: it is no SQLite database, or an encrypted one")
    if code == _BUSY and file:
        return _like(error, f"{file}: {error}: {_ANOTHER_HOLDS}; {_LET_COMMIT}")
    return error


def file_of(path: str) -> str:
    """The file that a path or a URI names."""
    return urllib.parse.unquote(urllib.parse.urlsplit(path).path) if path.startswith("file:") else path


def advice_on_unreadable(file: str) -> str | None:
    """What to do about a file that can be seen and not be read by SQLite; None where that is not it."""
    if not _is_wal(file) or _may_write(os.path.dirname(os.path.abspath(file))):
        return None
    if _has_log(file):
        return (
            f"it is in WAL mode with commits in {os.path.basename(file)}-wal, and its directory may not be written,"
            " which reading them needs; copy both files to a directory that may be written"
        )
    return (
        f"it is in WAL mode and its directory may not be written, where SQLite needs {os.path.basename(file)}-shm even"
        " to read. Where nobody writes the file meanwhile: vssnative.connect(path, immutable=True); or, where it may be"
        " written, 'pragma journal_mode = delete' before it is copied here"
    )


def has_unread_log(path: str) -> bool:
    """Whether commits lie in a ``-wal`` beside the file, which an immutable connection would not see."""
    file = file_of(path)
    return _is_wal(file) and _has_log(file)


def has_journal(path: str) -> bool:
    """Whether a ``-journal`` beside the file has what a commit that was cut short, or is under way, must take back: an
    immutable connection would see the half of it that is written."""
    with contextlib.suppress(OSError), open(file_of(path) + "-journal", "rb") as opened:
        return opened.read(1) not in (b"", b"\0")
    return False


def _has_log(file: str) -> bool:
    with contextlib.suppress(OSError):
        return os.path.getsize(file + "-wal") > 0
    return False


def _is_wal(file: str) -> bool:
    with contextlib.suppress(OSError), open(file, "rb") as opened:
        return opened.read(20)[18:20] == b"\2\2"
    return False


def _is_drivers_own(error: Exception) -> bool:
    """Whether it is of a driver's own class: one that the user made from it may take other arguments."""
    return any(
        isinstance(error, driver.native.Error)
        and getattr(driver.native, type(error).__name__, None) is type(error)
        for driver in known_drivers()
    )


def _codes(error: Exception) -> tuple[int, int]:
    """SQLite's primary and extended result code; 0 where neither is known."""
    extended = getattr(error, "sqlite_errorcode", None)  # Python 3.11
    if extended is None:
        extended = getattr(error, "extendedresult", None) or getattr(error, "result", None)  # apsw
    if isinstance(extended, int):
        return extended & 0xFF, extended
    words = str(error).lower()
    code = next((code for part, code in _WORDS.items() if part in words), 0)
    return code, code


def _can_read(conn: Connection) -> bool:
    with contextlib.suppress(Exception):
        execute(conn, "select 1 from main.sqlite_master limit 1")
        return True
    return False


def _advice(conn: Connection, error: Exception) -> str | None:
    code, extended = _codes(error)
    file = _file_of(conn, "")
    if file and code in (_CANTOPEN, _READONLY) and not _can_read(conn):
        if (advice := advice_on_unreadable(file)) is not None:
            return advice
    if extended == _BUSY_SNAPSHOT:
        return (
            "somebody else has written since the open transaction began to read, so that it cannot write any more; roll"
            " back, and begin such a transaction with BEGIN IMMEDIATE"
        )
    if code == _BUSY:
        return f"{_ANOTHER_HOLDS}{_waited(conn)}; {_LET_COMMIT}. A transaction that will write begins with BEGIN IMMEDIATE"
    if code == _LOCKED:
        return "a statement that is still being read holds it; read it to its end, or close its cursor"
    if code == _READONLY:
        return _readonly(conn, file)
    if code == _FULL:
        return "no room is left on the disk, or in the largest size that was set; nothing of this was kept"
    if code == _IOERR:
        return "the disk or network drive failed; nothing of this was kept"
    if code == _CANTOPEN:
        return "the file, or one that SQLite makes beside it, cannot be opened: is the directory there, may it be written?"
    if code == _CONSTRAINT:
        return "a constraint of the table, or a trigger on it, refused a row; nothing of this was kept"
    if code == _CORRUPT and "vssnative" not in str(error) and 'table "' not in str(error):
        return "the file is damaged: 'vssnative check FILE' says where"
    if code == _NOTADB:
        return "it is no SQLite database, or an encrypted one"
    return None


def _readonly(conn: Connection, file: str) -> str:
    with contextlib.suppress(Exception):
        if execute(conn, "pragma query_only") == [(1,)]:
            return "the connection has 'pragma query_only'; switch it off to write"
    if file and os.path.exists(file):
        if not _may_write(file):
            return "this process may not write the file"
        if not _may_write(os.path.dirname(file)):
            return "this process may not write its directory, where SQLite keeps the journal"
    return "the connection was opened to read only; writing needs one without mode=ro, immutable and the like"


def _waited(conn: Connection) -> str:
    with contextlib.suppress(Exception):
        [(milliseconds,)] = execute(conn, "pragma busy_timeout")
        return f"; this one waits {milliseconds / 1000:g} s for it"
    return ""


def _file_of(conn: Connection, otherwise: str = "the database") -> str:
    with contextlib.suppress(Exception):
        raw, _ = unwrap(conn)
        for _, name, file in execute(raw, "pragma database_list"):
            if name == "main" and file:
                return str(file)
    return otherwise


def _like(error: Exception, message: str) -> Exception:
    told = type(error)(message)
    for name in ("sqlite_errorcode", "sqlite_errorname", "result", "extendedresult"):
        if hasattr(error, name):
            setattr(told, name, getattr(error, name))
    told.vssnative_told = True  # type: ignore[attr-defined]
    return told


def _may_write(path: str) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
