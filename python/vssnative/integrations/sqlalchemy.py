"""SQLAlchemy: vss0 in every connection of an engine, and searches that answer with mapped objects.

engine = create_engine("sqlite:///blog.db")
install(engine)
with Session(engine) as session:
    for found in search(session, Post, "sqlite vector search", k=5):
        print(found.object.title, found.distance)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy
from sqlalchemy.orm import Session

from .._search import Result, Results
from .._search import search as search_table
from ..connection import load
from ..errors import ConfigurationError

_Mapped = TypeVar("_Mapped")


@dataclass(frozen=True)
class Found(Generic[_Mapped]):
    """A mapped object that was found.

    Attributes:
        object: the object, in the session.
        distance: smaller is nearer, see ``Result``.
        result: all that ``vssnative.search`` tells of the row.
    """

    object: _Mapped
    distance: float
    result: Result


def install(engine: Any) -> None:
    """Load vss0 into every connection that the engine opens from now on. Harmless when called again.

    Args:
        engine: an ``Engine`` or ``AsyncEngine`` of SQLite. Connections in its pool already are not touched; call it
            right after ``create_engine``.

    Raises:
        ConfigurationError: the engine is of another database.
    """
    target = getattr(engine, "sync_engine", engine)
    if target.dialect.name != "sqlite":
        raise ConfigurationError(f"expected an engine of SQLite, got one of {target.dialect.name}")
    if not sqlalchemy.event.contains(target, "connect", _on_connect):
        sqlalchemy.event.listen(target, "connect", _on_connect)


def search(
    session: Session, model: type[_Mapped], query: str, k: int = 10, **options: Any
) -> list[Found[_Mapped]]:
    """``vssnative.search`` over a mapped class's table, within the session's transaction.

    Pending changes are flushed first, as by any query. Rows are found by their vectors as of the last ``sync``.

    Args:
        model: a class mapped to one table, which has embeddings.
        options: as for ``vssnative.search``, except ``fresh``, which a transaction of the session's rules out.

    Returns:
        Objects, nearest first; one that the session has marked as deleted is left out.

    Raises:
        As ``vssnative.search``.
    """
    mapper = sqlalchemy.inspect(model, raiseerr=True)
    session.flush()
    raw: Any = session.connection().connection.driver_connection
    table: Any = mapper.local_table
    found = search_table(raw, options.pop("name", table.name), query, k, **options)
    objects = [(result, session.get(model, _identity(mapper, found, result))) for result in found]
    return [Found(one, result.distance, result) for result, one in objects if one is not None]


def _identity(mapper: Any, found: Results, result: Result) -> Sequence[Any]:
    values = result.key if isinstance(result.key, tuple) else (result.key,)
    by_name = dict(zip(found.key_columns, values, strict=True))
    return tuple(by_name[column.name] for column in mapper.primary_key)


def _on_connect(dbapi_connection: Any, _record: Any) -> None:
    load(getattr(dbapi_connection, "driver_connection", dbapi_connection))
