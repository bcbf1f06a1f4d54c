"""What public functions that take a connection have in common: in which thread they run, and what their errors say."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from .drivers import known_driver, send_to_aiosqlite, unwrap
from .failures import explains
from .protocol import Connection, Raw

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])


def in_its_thread(function: _F) -> _F:
    """For functions of the package that take a connection first: inside SQLAlchemy's ``run_sync`` they work, in the thread
    of the aiosqlite connection, while the event loop goes on. SQLite's errors say which file, and what to do."""
    function = explains(lambda conn: conn)(function)

    @functools.wraps(function)
    def call(conn: Connection, *args: Any, **options: Any) -> Any:
        if known_driver(conn) is not None or not _in_run_sync():
            return function(conn, *args, **options)
        raw, run = unwrap(conn)
        if not isinstance(run, functools.partial):
            return function(conn, *args, **options)
        return _awaited_in_greenlet(run.args[0], lambda: function(raw, *args, **options))

    return call  # type: ignore[return-value]


def _in_run_sync() -> bool:
    """Whether this code runs in a greenlet of SQLAlchemy's, which can await."""
    greenlet = sys.modules.get("greenlet")
    return greenlet is not None and type(greenlet.getcurrent()).__name__ == "_AsyncIoGreenlet"


def _awaited_in_greenlet(conn: Raw, function: Callable[[], _T]) -> _T:
    import asyncio

    from sqlalchemy.util import await_only

    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def finish(result: _T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]
        else:
            done.set_exception(error)

    def work() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as raised:  # noqa: BLE001  (raised again where it is awaited)
            error = raised
        loop.call_soon_threadsafe(finish, result, error)

    send_to_aiosqlite(conn, work)
    return await_only(done)
