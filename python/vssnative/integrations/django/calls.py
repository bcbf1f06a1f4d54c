"""``search``, ``sync`` and ``status`` over Django's connections."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import connections, models, router

from ... import _sync
from .querysets import SearchQuerySet

_Model = TypeVar("_Model", bound=models.Model)


def search(
    model: type[_Model], query: Any = None, k: int = 10, *, using: str | None = None, **options: Any
) -> list[_Model]:
    """A list of the `k` objects nearest to a text: for models without a ``SearchManager``.

    Args:
        using: the database's alias; the one for reading the model otherwise.
        options: as for ``SearchQuerySet.search``.

    Returns:
        Objects, nearest first, each with ``vss_distance`` and ``vss_result`` (see ``Result``).

    Raises:
        As ``vssnative.search``.
    """
    alias = using or router.db_for_read(model)
    return list(SearchQuerySet(model, using=alias).search(query, k, **options))


def sync(table: Any = None, *, using: str = "default", **options: Any) -> _sync.SyncResult:
    """``vssnative.sync`` on a database of the project. Within a transaction, as in a ``TestCase``, it works inside of it.

    Args:
        table: a model, the name of embeddings or of a table; None for all.
    """
    connection: Any = connections[using]
    connection.ensure_connection()
    options.setdefault("within", connection.in_atomic_block)
    return _sync.sync(connection, name_of(table), **options)


def status(table: Any = None, *, using: str = "default") -> list[_sync.Status]:
    """``vssnative.status`` of a database of the project."""
    connection: Any = connections[using]
    connection.ensure_connection()
    return _sync.status(connection, name_of(table))


def name_of(table: Any) -> str | None:
    """The name that means the embeddings of a model."""
    return str(table._meta.db_table) if hasattr(table, "_meta") else table
