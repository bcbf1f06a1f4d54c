"""Searches as querysets: ``Post.objects.search("...").filter(...)[:10]``.

A search is done when its queryset is evaluated. Filters, wherever they stand, are conditions of the search, so that a slice
of ten has ten rows whenever ten match. Search and SELECT read one snapshot.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models
from django.db.models import Q
from django.db.models.expressions import RawSQL

from ..._catalog.records import EmbeddingConfig, load_embeddings
from ..._connection import execute, in_transaction, transaction
from ..._search import Results, embed_ahead
from ..._search import search as search_table
from ..._sql import question_marks, quote_identifier
from ..._sync import sync
from ...errors import MigrationError, QueryError
from .found import Found, FoundValue

_FRESH_SECONDS = 5.0
_ADDED = ("vss_distance", "vss_rank")


class SearchQuerySet(models.QuerySet):
    """A queryset that can search. Base your own on it, or use ``SearchManager``."""

    _search: dict[str, Any] | None = None
    _result_cache: Any

    def search(self, query: Any = None, k: int | None = None, **options: Any) -> Any:
        """Rows nearest to a text first, with ``vss_distance`` and ``vss_rank``; objects also have ``vss_result``.

        Filter, exclude, slice, annotate, ``values``, ``select_related``, ``count`` and so on work as on any queryset. Conditions
        of all filters, before and behind, hold inside the search. Without a slice or `k` all rows come that have vectors (or
        words, in a hybrid search), which looks at all of them.

        Args:
            query: as for ``vssnative.search``.
            k: how many rows at most; a slice does as well.
            options: as for ``vssnative.search``, except those that a queryset says by itself (`page`, `offset`, `select`);
                `where` may be a ``Q``, a queryset of the model, or SQL with ``?`` or ``%s`` and `params`; `name` says which
                embeddings, where the table has several; `similar_to` may be an object of the model, or its key.

        Raises:
            As ``vssnative.search``; when it is evaluated.
        """
        for name in ("page", "offset", "select"):
            if name in options:
                raise QueryError(f"search: a queryset has no {name}=; slice it, or say which values")
        if self._search is not None:
            raise QueryError("search: the queryset is a search already")
        clone = self._chain()
        key = models.F("pk")
        clone = clone.annotate(
            vss_distance=FoundValue(key, "distance"), vss_rank=FoundValue(key, "rank")
        ).order_by("vss_rank")
        clone._search = {"query": query, "k": k, **options}
        return clone

    def _clone(self) -> Any:
        clone = super()._clone()
        clone._search = self._search
        return clone

    def _fetch_all(self) -> None:
        if self._search is None or self._result_cache is not None:
            super()._fetch_all()
            return
        connection = _connection(self.db)
        self._embed_first(connection)
        ahead = self._asked_ahead(connection)
        with _snapshot(connection):
            plain, results = self._resolved(ahead)
            plain._fetch_all()
        self._result_cache = plain._result_cache
        self._prefetch_done = True
        for one in self._result_cache:
            if isinstance(one, self.model):
                one.vss_result = results.get(_raw_key(one, connection))

    def _plain(self) -> Any:
        if self._search is None:
            return self
        self._embed_first(_connection(self.db))
        return self._resolved(self._search)[0]

    def _embed_first(self, connection: Any) -> None:
        """What ``fresh=`` asks for: outside of the snapshot, as it commits."""
        options = dict(self._search or {})
        fresh = options.pop("fresh", False)
        if fresh:
            embedding = _embedding_of(connection, self.model, options.pop("name", None))
            where, params = _conditions(self, embedding, options)
            seconds = _FRESH_SECONDS if fresh is True else float(fresh)
            embedder = options.get("embedder")
            sync(connection, embedding.name, where=where, params=params, timeout=seconds, embedder=embedder)

    def iterator(self, *args: Any, **kwargs: Any) -> Any:
        if self._search is None:
            return super().iterator(*args, **kwargs)
        return iter(self)

    def count(self) -> int:
        if self._search is None or self._result_cache is not None:
            return int(super().count())
        return int(self._plain().count())

    def exists(self) -> bool:
        if self._search is None or self._result_cache is not None:
            return bool(super().exists())
        return bool(self[:1]._plain().exists()) if not self.query.is_sliced else bool(self.count())

    def aggregate(self, *args: Any, **kwargs: Any) -> Any:
        plain = self._plain()
        return models.QuerySet.aggregate(plain, *args, **kwargs)

    def explain(self, **kwargs: Any) -> str:
        return str(models.QuerySet.explain(self._plain(), **kwargs))

    def delete(self) -> Any:
        return models.QuerySet.delete(self._plain())

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def update(self, **kwargs: Any) -> Any:
        return models.QuerySet.update(self._plain(), **kwargs)

    update.alters_data = True  # type: ignore[attr-defined]

    def resolve_expression(self, *args: Any, **kwargs: Any) -> Any:
        if self._search is None:
            return super().resolve_expression(*args, **kwargs)
        return self._plain().resolve_expression(*args, **kwargs)

    def _combinator_query(self, *args: Any, **kwargs: Any) -> Any:
        if self._search is not None:
            raise QueryError(
                "search: union and the like would lose the order; write filter(pk__in=...search(...)[:10])"
            )
        return super()._combinator_query(*args, **kwargs)

    def __and__(self, other: Any) -> Any:
        if getattr(other, "_search", None) is not None:
            raise _not_combined()
        return super().__and__(other)

    def __or__(self, other: Any) -> Any:
        if self._search is not None or getattr(other, "_search", None) is not None:
            raise _not_combined()
        return super().__or__(other)

    def __xor__(self, other: Any) -> Any:
        if self._search is not None or getattr(other, "_search", None) is not None:
            raise _not_combined()
        return super().__xor__(other)

    def _asked_ahead(self, connection: Any) -> dict[str, Any]:
        """The search's options, the model asked already: outside of the snapshot, which may keep others from writing."""
        options = dict(self._search or {})
        name = _embedding_of(connection, self.model, options.get("name")).name
        return embed_ahead(connection, name, options["query"], options)

    def _resolved(self, search: dict[str, Any]) -> tuple[Any, dict[Any, Any]]:
        """The search done: a plain queryset over what it found, and the results by key."""
        connection = _connection(self.db)
        options = dict(search)
        query, limit = options.pop("query"), options.pop("k")
        options.pop("fresh", None)
        embedding = _embedding_of(connection, self.model, options.pop("name", None))
        where = _conditions(self, embedding, options)
        options["similar_to"] = _stored_key(self.model, options.get("similar_to"), connection)
        low, high = self.query.low_mark, self.query.high_mark
        # Where rows come in another order than that of the search, the slice is of that order.
        ours = self.query.order_by == ("vss_rank",) and self.query.standard_ordering
        wanted = limit
        if ours and high is not None:
            wanted = high if limit is None else min(limit, high)
        if wanted is None:
            [(rows,)] = execute(connection, f"select count(*) from main.{quote_identifier(embedding.source)}")
            wanted = max(1, rows)
        found = Found()
        results: Results = Results()
        if wanted > (low if ours else 0):
            skip = low if ours else 0
            results = search_table(
                connection, embedding.name, query, wanted - skip, *where, offset=skip, select=[], **options
            )
        found.results = {result.key: result for result in results}
        plain = self._chain()
        plain._search = None
        plain._found = found  # the SELECT asks for it by its token
        if ours:
            plain.query.clear_limits()
        plain.query.annotations = {
            name: _bound(expression, found) for name, expression in plain.query.annotations.items()
        }
        _restrict(plain, found)
        return plain, found.results


def _not_combined() -> QueryError:
    return QueryError(
        "search: a search cannot be combined with another queryset by |, & or ^; say what may be found before it,"
        " filter(Q(...) | Q(...)).search(...)"
    )


SearchManager = models.Manager.from_queryset(SearchQuerySet, class_name="SearchManager")
SearchManager.__doc__ = "``objects = SearchManager()``: a manager whose querysets can search."
SearchManager.__module__ = __name__


def _restrict(plain: Any, found: Found) -> None:
    """Only rows that were found. Not by ``filter``, which a sliced queryset refuses."""
    keys = list(found.results or ())
    if all(isinstance(key, (int, str)) for key in keys):
        condition: Any = Q(pk__in=RawSQL("SELECT value FROM json_each(%s)", [json.dumps(keys)]))
    else:
        condition = Q(pk__in=keys)
    plain.query.add_q(condition)


def _bound(expression: Any, found: Found) -> Any:
    """An annotation whose parts of ours know what was found."""
    if isinstance(expression, FoundValue):
        return FoundValue(expression.key, expression.kind, found)
    sources = expression.get_source_expressions()
    if not sources:
        return expression
    copied = expression.copy()
    copied.set_source_expressions([None if one is None else _bound(one, found) for one in sources])
    return copied


def _looks_at_found(node: Any) -> bool:
    """Whether a condition has a value in it that only the search brings."""
    if isinstance(node, FoundValue):
        return True
    inside = getattr(node, "children", None)
    if inside is None:
        inside = node.get_source_expressions() if hasattr(node, "get_source_expressions") else ()
    return any(_looks_at_found(one) for one in inside)


def _connection(alias: str) -> Any:
    connection = connections[alias]
    if connection.vendor != "sqlite":
        raise QueryError(f"search: database {alias!r} is {connection.vendor}; vssnative searches SQLite")
    connection.ensure_connection()
    return connection


@contextlib.contextmanager
def _snapshot(connection: Any) -> Iterator[None]:
    if in_transaction(connection):
        yield
    else:
        with transaction(connection, "DEFERRED"):
            yield


def _stored_key(model: Any, key: Any, connection: Any) -> Any:
    """A key as SQLite stores it: of an object of the model, or a value of its key's type (a UUID)."""
    if isinstance(key, model):
        return _raw_key(key, connection)
    if isinstance(key, models.Model):
        raise QueryError(f"similar_to: expected a {model.__name__} or its key, got {key!r}")
    if key is None or isinstance(key, (str, int, float, bytes, tuple)):
        return key
    return _key_field(model).get_db_prep_value(key, connection)


def _raw_key(one: Any, connection: Any) -> Any:
    """An object's key as SQLite stores it."""
    return _key_field(one).get_db_prep_value(one.pk, connection)


def _key_field(model: Any) -> Any:
    field = model._meta.pk
    while field.remote_field is not None:
        field = field.target_field
    return field


def _embedding_of(connection: Any, model: Any, name: str | None) -> EmbeddingConfig:
    """The embeddings of a model's table, or of one that it inherits from.

    Raises:
        MigrationError: there are none, or several.
    """
    recorded = load_embeddings(connection)
    tables = [model._meta.db_table, *(parent._meta.db_table for parent in model._meta.get_parent_list())]
    for table in tables:
        found = [one for one in recorded if one.source.lower() == table.lower()]
        if name is not None:
            found = [one for one in found if one.name.lower() == name.lower()]
        if len(found) > 1:
            names = ", ".join(one.name for one in found)
            raise MigrationError(
                f"{table} has several embeddings ({names}); say which, search(..., name=...)"
            )
        if found:
            if len(found[0].key_columns) > 1:
                raise QueryError(
                    f"search: {table} has a composite primary key, which querysets cannot search"
                )
            return found[0]
    wanted = "embeddings" if name is None else f"embeddings {name!r}"
    raise MigrationError(
        f"{model.__name__}: table {tables[0]} has no {wanted} in this database; declare an EmbeddedIndex in Meta.indexes,"
        " then makemigrations and migrate"
    )


def _conditions(queryset: Any, embedding: EmbeddingConfig, options: dict[str, Any]) -> tuple[Any, Any]:
    """``where`` and ``params``: the filters of a queryset, and the condition that was given beside."""
    where, params = options.pop("where", None), options.pop("params", ())
    inner = queryset._chain()
    inner._search = None
    inner.query.clear_ordering(force=True)
    inner.query.clear_limits()
    inner.query.select_related = False
    for name in _ADDED:
        inner.query.annotations.pop(name, None)
        if inner.query.annotation_select_mask is not None:
            inner.query.annotation_select_mask -= {name}
    if isinstance(where, (Q, models.QuerySet)):
        if params:
            raise QueryError("where: a Q or a queryset brings its values, leave params out")
        if isinstance(where, models.QuerySet):
            if where.model._meta.concrete_model is not queryset.model._meta.concrete_model:
                raise QueryError(
                    f"where: expected a queryset of {queryset.model.__name__}, got one of {where.model.__name__}"
                )
            where = Q(
                pk__in=where.order_by().values("pk") if not where.query.is_sliced else where.values("pk")
            )
        inner, where = inner.filter(where), None
    if _looks_at_found(inner.query.where):
        raise QueryError(
            "vss_distance and vss_rank are known when the search is done, and a filter comes before it: for rows within a"
            " distance write search(..., max_distance=...)"
        )
    parts: list[str] = []
    values: list[Any] = []
    table = queryset.model._meta.db_table
    if inner.query.where or inner.query.is_empty() or table.lower() != embedding.source.lower():
        try:
            sql, bound = inner.values("pk").query.get_compiler(using=queryset.db).as_sql()
        except EmptyResultSet:
            sql, bound = "NULL", ()
        plain = sql % (("?",) * len(bound))
        parts.append(f"{quote_identifier(embedding.key_columns[0])} in ({plain})")
        values += bound
    if where is None:
        return (" and ".join(parts) or None, values)
    if not isinstance(where, str):
        raise QueryError(f"where: expected a Q, a queryset or SQL as a text, got a {type(where).__name__}")
    if not isinstance(params, Mapping):
        where = question_marks(where, params)
    if not parts:
        return where, params
    if isinstance(params, Mapping) or not isinstance(params, Sequence):
        raise QueryError("where: beside filters its values are ? or %s, with a list in params")
    return f"({where}\n) and {parts[0]}", [*params, *values]
