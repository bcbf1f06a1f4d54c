"""Distances between vectors, as expressions of querysets."""

from __future__ import annotations

from typing import Any

from django.db import NotSupportedError
from django.db.models import F, FloatField, Func, Value

from ...errors import InvalidVectorError
from .fields import VectorField


class _Distance(Func):
    """``Distance("vector", [1, 2, 3])``, or of two fields: smaller is nearer; NULL where a vector is."""

    output_field = FloatField()
    negative = False

    def __init__(self, expression: Any, vector: Any, **extra: Any) -> None:
        if vector is None:
            raise InvalidVectorError(f"{type(self).__name__}: expected a vector, got None")
        if not hasattr(vector, "resolve_expression"):
            vector = F(vector) if isinstance(vector, str) else Value(vector, output_field=VectorField())
        super().__init__(expression, vector, **extra)

    def as_sql(self, compiler: Any, connection: Any, **_: Any) -> Any:
        if connection.vendor != "sqlite":
            raise NotSupportedError(f"{type(self).__name__} is for SQLite, not for {connection.vendor}")
        first, second = self.get_source_expressions()
        left, left_params = compiler.compile(first)
        right, right_params = compiler.compile(second)
        there, params = f"{left} IS NOT NULL", [*left_params]
        if not isinstance(second, Value):
            there, params = f"{there} AND {right} IS NOT NULL", [*params, *right_params]
        sign = "-" if self.negative else ""
        # The functions refuse NULL.
        sql = f"CASE WHEN {there} THEN {sign}{self.function}({left}, {right}) END"
        return sql, (*params, *left_params, *right_params)


class L2Distance(_Distance):
    """Euclidean distance."""

    function = "vss_distance_euclidean"


class CosineDistance(_Distance):
    """1 - cosine."""

    function = "vss_distance_cosine"


class MaxInnerProduct(_Distance):
    """Minus the inner product."""

    function = "vss_inner_product"
    negative = True


class L1Distance(_Distance):
    """Sum of absolute differences."""

    function = "vss_distance_l1"
