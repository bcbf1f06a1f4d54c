"""What a search found, within SQL: two functions that a queryset's SELECT calls for each row."""

from __future__ import annotations

import itertools
import threading
from typing import Any
from weakref import WeakValueDictionary

from django.db.models import Expression, FloatField, IntegerField

from ..._connection import create_function
from ..._search import Result


class Found:
    """The results of one evaluation of a search.

    Attributes:
        results: by the row's key as SQLite stores it.
    """

    def __init__(self) -> None:
        self.results: dict[Any, Result] | None = None
        with _lock:
            self.token = next(_tokens)
            _found[self.token] = self


_tokens = itertools.count(1)
_lock = threading.Lock()
_found: WeakValueDictionary[int, Found] = WeakValueDictionary()


def register(connection: Any) -> None:
    """Give a connection the functions."""
    create_function(connection, "vssnative_found_distance", _distance)
    create_function(connection, "vssnative_found_rank", _rank)


def _result(token: int | None, key: Any) -> Result | None:
    found = None if token is None else _found.get(token)
    return None if found is None or found.results is None else found.results.get(key)


def _distance(token: int | None, key: Any) -> float | None:
    result = _result(token, key)
    return None if result is None else float(result.distance)


def _rank(token: int | None, key: Any) -> int | None:
    result = _result(token, key)
    return None if result is None else result.rank


class FoundValue(Expression):
    """Distance or rank of a row among what was found."""

    def __init__(self, key: Any, kind: str, found: Found | None = None) -> None:
        super().__init__(output_field=IntegerField() if kind == "rank" else FloatField())
        self.key = key
        self.kind = kind
        self.found = found

    def get_source_expressions(self) -> list[Any]:
        return [self.key]

    def set_source_expressions(self, expressions: Any) -> None:
        [self.key] = expressions

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        token = None if self.found is None else self.found.token  # None: somebody prints the query
        sql, params = compiler.compile(self.key)
        return f"vssnative_found_{self.kind}(%s, {sql})", [token, *params]
