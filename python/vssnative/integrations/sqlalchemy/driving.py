"""The driver's own connection inside a connection of SQLAlchemy, and the thread that may use it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa

_T = TypeVar("_T")


def on_driver(connection: sa.Connection, function: Callable[[Any], _T]) -> _T:
    """Call a function with the driver's own connection, in the thread that may use it.

    Under SQLAlchemy's asyncio that is aiosqlite's thread: the event loop goes on meanwhile.
    """
    return on_dbapi(connection.connection.dbapi_connection, function)


def on_dbapi(dbapi_connection: Any, function: Callable[[Any], _T]) -> _T:
    """As ``on_driver``, of what SQLAlchemy's pools hold."""
    raw = getattr(dbapi_connection, "driver_connection", dbapi_connection)
    if not type(raw).__module__.startswith("aiosqlite"):
        return function(raw)
    from sqlalchemy.util import await_only

    from ...aio import run

    answer: _T = await_only(run(raw, function))
    return answer


def is_asynchronous(target: Any) -> bool:
    """Whether a target is of ``sqlalchemy.ext.asyncio``, which is imported by those who use it."""
    module: Any = sys.modules.get("sqlalchemy.ext.asyncio")
    if module is None:
        return False
    return isinstance(
        target,
        (module.AsyncEngine, module.AsyncConnection, module.AsyncSession, module.async_scoped_session),
    )


def asynchronous_session(target: Any) -> Any:
    """The ``AsyncSession`` of an ``async_scoped_session``; anything else as it is."""
    return target.registry() if hasattr(target, "registry") and hasattr(target, "session_factory") else target


def is_connected(connection: Any) -> bool:
    """Whether DDL goes to a connection of SQLite's, and not to ``create_mock_engine``'s."""
    return isinstance(connection, sa.Connection) and connection.dialect.name == "sqlite"
