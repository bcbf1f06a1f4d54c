"""The package's functions over engines, connections and sessions; awaited where those are asynchronous."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

import sqlalchemy as sa
from sqlalchemy.orm import Mapper, Session, scoped_session

from ... import _sync, migrations
from ..._catalog.records import EmbeddingConfig
from ..._connection import load
from ...errors import ConfigurationError
from .driving import asynchronous_session, is_asynchronous, on_driver
from .embedded import Embedded, declared_on

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_scoped_session

_T = TypeVar("_T")

Source: TypeAlias = "sa.Engine | sa.Connection | Session | scoped_session[Any]"
"""What a call works on. An engine lends a connection for the call; a session its own, with its transaction."""
AsyncSource: TypeAlias = "AsyncEngine | AsyncConnection | AsyncSession | async_scoped_session[Any]"
"""The same of ``sqlalchemy.ext.asyncio``: what is returned is awaited."""
Named: TypeAlias = "str | type[Any] | sa.Table | Embedded"
"""Embeddings: their name, a table's, a mapped class, a ``Table``, or an ``Embedded``."""


@overload
def run(source: Source, function: Callable[..., _T], *args: Any, **options: Any) -> _T: ...
@overload
def run(source: AsyncSource, function: Callable[..., _T], *args: Any, **options: Any) -> Awaitable[_T]: ...
def run(source: Any, function: Callable[..., _T], *args: Any, **options: Any) -> _T | Awaitable[_T]:
    """Call ``function(conn, *args, **options)`` with the driver's own connection, vss0 loaded, in the thread that may use
    it.

    Args:
        source: an engine, connection or session; for an asynchronous one the answer is awaited.
        function: any of this package that takes a connection, or one of yours.
    """

    def work(raw: Any) -> _T:
        load(raw)
        return function(raw, *args, **options)

    if is_asynchronous(source):
        return _awaited(source, work)
    return _called(source, work)


@overload
def sync(source: Source, table: Named | None = None, **options: Any) -> _sync.SyncResult: ...
@overload
def sync(source: AsyncSource, table: Named | None = None, **options: Any) -> Awaitable[_sync.SyncResult]: ...
def sync(source: Any, table: Any = None, **options: Any) -> Any:
    """``vssnative.sync``. It commits by itself: give it an engine, or a session that has no transaction open."""
    return run(source, _sync.sync, None if table is None else name_of(table), **options)


@overload
def status(source: Source, table: Named | None = None) -> list[_sync.Status]: ...
@overload
def status(source: AsyncSource, table: Named | None = None) -> Awaitable[list[_sync.Status]]: ...
def status(source: Any, table: Any = None) -> Any:
    """``vssnative.status``."""
    return run(source, _sync.status, None if table is None else name_of(table))


@overload
def add_embeddings(source: Source, table: Named, **options: Any) -> EmbeddingConfig: ...
@overload
def add_embeddings(source: AsyncSource, table: Named, **options: Any) -> Awaitable[EmbeddingConfig]: ...
def add_embeddings(source: Any, table: Any, **options: Any) -> Any:
    """``vssnative.add_embeddings``; for an ``Embedded``, or a class that declares one, without further arguments."""
    if not isinstance(table, (str, Embedded)) and not options:
        declared = declared_on(table_of(table))
        if len(declared) != 1:
            raise ConfigurationError(
                f"add_embeddings: {table_of(table).name} declares {len(declared)} Embedded; say which columns, or"
                " hand over the Embedded"
            )
        table = declared[0]
    if isinstance(table, Embedded):
        options = {**table.arguments(), **options}
        table = table.table
    name = table if isinstance(table, str) else table_of(table).name
    return run(source, migrations.add_embeddings, name, **options)


@overload
def drop_embeddings(source: Source, table: Named) -> None: ...
@overload
def drop_embeddings(source: AsyncSource, table: Named) -> Awaitable[None]: ...
def drop_embeddings(source: Any, table: Any) -> Any:
    """``vssnative.drop_embeddings``."""
    return run(source, migrations.drop_embeddings, name_of(table))


@overload
def change_model(source: Source, table: Named, model: Any = None, **options: Any) -> EmbeddingConfig: ...
@overload
def change_model(
    source: AsyncSource, table: Named, model: Any = None, **options: Any
) -> Awaitable[EmbeddingConfig]: ...
def change_model(source: Any, table: Any, model: Any = None, **options: Any) -> Any:
    """``vssnative.change_model``."""
    return run(source, migrations.change_model, name_of(table), model, **options)


def name_of(named: Named) -> str:
    """The name that means embeddings: a table's, where it is a class or a table.

    Raises:
        ConfigurationError: it is nothing of these.
    """
    if isinstance(named, str):
        return named
    if isinstance(named, Embedded):
        return named.embeddings_name
    return table_of(named).name


def table_of(named: Any) -> sa.Table:
    """The table of a mapped class.

    Raises:
        ConfigurationError: it is none.
    """
    if isinstance(named, sa.Table):
        return named
    mapper: Any = sa.inspect(named, raiseerr=False)
    if not isinstance(mapper, Mapper) or not isinstance(mapper.local_table, sa.Table):
        raise ConfigurationError(
            f"expected the name of a table, a Table or a class mapped to one, got {named!r}"
        )
    return mapper.local_table


def _called(source: Any, work: Callable[[Any], _T]) -> _T:
    if isinstance(source, sa.Engine):
        with source.connect() as connection:
            return on_driver(connection, work)
    if isinstance(source, scoped_session):
        source = source()
    if isinstance(source, Session):
        source.flush()
        return on_driver(source.connection(), work)
    if isinstance(source, sa.Connection):
        return on_driver(source, work)
    raise ConfigurationError(
        "expected an engine, connection or session of SQLAlchemy, got"
        f" {type(source).__module__}.{type(source).__qualname__}"
    )


async def _awaited(source: Any, work: Callable[[Any], _T]) -> _T:
    if hasattr(source, "sync_engine") and hasattr(source, "connect"):
        async with source.connect() as connection:
            return await connection.run_sync(_called, work)  # type: ignore[no-any-return]
    return await asynchronous_session(source).run_sync(_called, work)  # type: ignore[no-any-return]
