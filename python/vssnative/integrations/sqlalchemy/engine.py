"""vss0 in every connection of an engine."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from ..._connection import check_synchronous, prepare
from ...errors import ConfigurationError
from .driving import on_dbapi

_KEY = "vssnative"


def install(
    engine: Any, *, wal: bool = True, synchronous: str | None = "NORMAL", mapped: bool = True
) -> None:
    """Load vss0 into every connection of an engine, and set it up as ``vssnative.connect`` does.

    Called again, it changes the settings of connections that are yet to come. Connections that the pool holds already
    get vss0 when they are next taken out of it.

    Args:
        engine: an ``Engine`` or ``AsyncEngine`` of SQLite.
        wal: switch the file to the write-ahead log, so that readers and one writer never block each other. In-memory
            and read-only databases keep the journal they have. False leaves the journal mode alone.
        synchronous: ``"OFF"``, ``"NORMAL"``, ``"FULL"``, ``"EXTRA"``, or None for SQLite's own default, which it also is
            where `wal` is False and nothing else is asked for: NORMAL is safe in a write-ahead log only.
        mapped: read the file through a mapping into memory, as ``connect`` does.

    Raises:
        ConfigurationError: it is no engine, or one of another database, or `synchronous` has no such value.
    """
    target = getattr(engine, "sync_engine", engine)
    if not isinstance(target, sa.Engine) and not hasattr(target, "dialect"):
        raise ConfigurationError(
            f"install: expected an Engine or AsyncEngine, got {type(engine).__module__}.{type(engine).__qualname__}"
        )
    if target.dialect.name != "sqlite":
        raise ConfigurationError(f"install: expected an engine of SQLite, got one of {target.dialect.name}")
    if not wal and synchronous == "NORMAL":
        synchronous = None
    check_synchronous(synchronous)
    installed = _installed.get(target)
    if installed is None:
        installed = _installed[target] = _Installed()
        sa.event.listen(target, "connect", installed.on_connect)
        sa.event.listen(target, "checkout", installed.on_checkout)
    installed.wal, installed.synchronous, installed.mapped = wal, synchronous, mapped


class _Installed:
    """What an engine's connections get."""

    wal: bool
    synchronous: str | None
    mapped: bool

    def on_connect(self, dbapi_connection: Any, record: Any) -> None:
        def set_up(raw: Any) -> None:
            prepare(raw, wal=self.wal, synchronous=self.synchronous, mapped=self.mapped)

        on_dbapi(dbapi_connection, set_up)
        record.info[_KEY] = True

    def on_checkout(self, dbapi_connection: Any, record: Any, _proxy: Any) -> None:
        if _KEY not in record.info:  # opened before install was called
            self.on_connect(dbapi_connection, record)


_installed: WeakKeyDictionary[sa.Engine, _Installed] = WeakKeyDictionary()
