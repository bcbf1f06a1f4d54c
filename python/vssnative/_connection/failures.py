"""SQLite's errors in words that help: which file, why, and what to do. The error stays one of the driver's own class."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from .drivers import known_drivers, unwrap
from .files import file_of, has_unread_log, may_write, why_unreadable
from .protocol import Connection
from .sqlite_errors import BUSY, CANTOPEN, READONLY, Explanation, explain, unreadable
from .statements import execute

_F = TypeVar("_F", bound=Callable[..., Any])

_IMMUTABLE = (
    ". Where nobody writes the file meanwhile: vssnative.connect(path, immutable=True); or, where it may be written,"
    " 'pragma journal_mode = delete' before it is copied here"
)


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
    if not _is_drivers_own(error):
        return error
    return _told(error, _file_of(conn), conn)


def told_opening(path: str, error: Exception) -> Exception:
    """As ``told_error``, for an error of a driver's about a file that could not be opened.

    Args:
        path: as it was given to ``connect``.
    """
    return _told(error, file_of(path), None)


def explanation_of(error: BaseException) -> Explanation | None:
    """What an error means that came out of SQLite, or was raised from one that did; None where it is about no file or row."""
    found: Explanation | None = None
    cause: BaseException | None = error
    while cause is not None:
        if (known := getattr(cause, "vssnative_explanation", None)) is not None:
            explanation: Explanation = known
            return explanation
        if _is_drivers_own(cause):
            found = explain(cause)
        cause = cause.__cause__
    return found


def _told(error: Exception, file: str, conn: Connection | None) -> Exception:
    if hasattr(error, "vssnative_explanation"):
        return error
    explanation = explain(error)
    if explanation is None:
        return error
    if explanation.code in (CANTOPEN, READONLY) and (conn is None or not _can_read(conn)):
        if file and (reason := why_unreadable(file)) is not None:
            explanation = unreadable(error, reason, None if has_unread_log(file) else _IMMUTABLE)
    words = explanation.in_python(file, _more(explanation.code, file, conn))
    return _like(error, f"{file or 'the database'}: {error}: {words}", explanation)


def _more(code: int, file: str, conn: Connection | None) -> str:
    """What only the connection, or the folder, tells of the reason."""
    if code == BUSY:
        return "" if conn is None else _waited(conn)
    if code == READONLY:
        return _why_read_only(conn, file)
    return _why_not_opened(file) if code == CANTOPEN else ""


def _why_read_only(conn: Connection | None, file: str) -> str:
    with contextlib.suppress(Exception):
        if conn is not None and execute(conn, "pragma query_only") == [(1,)]:
            return "the connection has 'pragma query_only'; switch it off to write"
    if file and os.path.exists(file):
        if not may_write(file):
            return "this process may not write the file"
        if not may_write(os.path.dirname(os.path.abspath(file))):
            return "this process may not write its directory, where SQLite keeps the journal"
    return "the connection was opened to read only; writing needs one without mode=ro, immutable and the like"


def _why_not_opened(file: str) -> str:
    if file:
        folder = os.path.dirname(os.path.abspath(file))
        if not os.path.isdir(folder):
            return f"there is no directory {folder}"
        if not os.path.exists(file):
            return "there is no such file"
    return "this process may not read it, or make the files that SQLite needs beside it, or it is no file"


def _waited(conn: Connection) -> str:
    with contextlib.suppress(Exception):
        [(milliseconds,)] = execute(conn, "pragma busy_timeout")
        return f"; this one waits {milliseconds / 1000:g} s for it"
    return ""


def _can_read(conn: Connection) -> bool:
    with contextlib.suppress(Exception):
        execute(conn, "select 1 from main.sqlite_master limit 1")
        return True
    return False


def _file_of(conn: Connection) -> str:
    """The connection's database file; "" where it has none, or is closed."""
    with contextlib.suppress(Exception):
        raw, _ = unwrap(conn)
        for _, name, file in execute(raw, "pragma database_list"):
            if name == "main" and file:
                return str(file)
    return ""


def _is_drivers_own(error: BaseException) -> bool:
    """Whether it is of a driver's own class: one that the user made from it may take other arguments."""
    return any(
        isinstance(error, driver.native.Error)
        and getattr(driver.native, type(error).__name__, None) is type(error)
        for driver in known_drivers()
    )


def _like(error: Exception, message: str, explanation: Explanation) -> Exception:
    told = type(error)(message)
    for name in ("sqlite_errorcode", "sqlite_errorname", "result", "extendedresult"):
        if hasattr(error, name):
            setattr(told, name, getattr(error, name))
    told.vssnative_explanation = explanation  # type: ignore[attr-defined]
    told.__cause__ = error
    return told
