"""What a connection is to the rest of the package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable


@runtime_checkable
class HasCursor(Protocol):
    """A connection of ``sqlite3`` and its relatives, of ``apsw``, a Django connection, an aiosqlite connection."""

    def cursor(self) -> Any: ...


@runtime_checkable
class HasConnection(Protocol):
    """A SQLAlchemy connection or session: a driver's connection is inside."""

    @property
    def connection(self) -> Any: ...


@runtime_checkable
class HasConn(Protocol):
    """A sqlite-utils ``Database``."""

    @property
    def conn(self) -> Any: ...


Connection: TypeAlias = HasCursor | HasConnection | HasConn
"""A connection of any supported driver, or a wrapper round one. They share no base class; what else they must offer is
looked at when they are used."""

Raw: TypeAlias = Any
"""A driver's own connection. What it offers depends on the driver, so that no narrower type is true."""

Parameters: TypeAlias = Sequence[Any] | dict[str, Any]
