"""Vectors as values of columns, and the distances that SQL computes of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import ischema_names
from sqlalchemy.types import UserDefinedType

from ...errors import ConfigurationError, DimensionError, InvalidVectorError

# How blobs of each element type are read; a bfloat16 is the upper half of a float32.
_ELEMENTS = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "int8": "i1", "bit": "u1"}
_METRICS = ("L2", "EUCLIDEAN", "INNER_PRODUCT", "COSINE", "L1", "HAMMING")
_INDEXES = ("cells", "flat")
DECLARED = "F32_BLOB"


class Vector(UserDefinedType[npt.NDArray[Any]]):
    """A column of vectors: ``mapped_column(Vector(384))``.

    In an ordinary table it is a blob of float32 values, declared ``F32_BLOB(384)``. In a vss0 table it is a vector column
    with an index; `metric` and the options after it are those of docs/sql.md and have a meaning only there.

    Values are arrays or sequences of `dim` finite numbers, read as float32; what comes back is a numpy array of shape
    ``(dim,)`` in the element type (bits as 0 and 1; bfloat16 as float32). A new array has to be assigned: changes within an
    array are not seen.

    Columns have ``l2_distance``, ``cosine_distance``, ``max_inner_product`` and ``l1_distance``, for ``order_by``, ``where``
    and selects; each is NULL where a vector is.

    Args:
        dim: length of every vector.
        metric: ``"l2"``, ``"cosine"``, ``"inner_product"``, ``"euclidean"``, ``"l1"`` or ``"hamming"``.
        element: ``"float32"``, ``"float16"``, ``"bfloat16"``, ``"int8"`` or ``"bit"``.
        scale: int8 only: what floats are multiplied by before they are rounded.
        index: ``"cells"`` or ``"flat"``.

    Raises:
        ConfigurationError: an argument has no such value.
    """

    cache_ok = True
    hashable = False

    def __init__(
        self,
        dim: int,
        metric: str | None = None,
        element: str = "float32",
        scale: float | None = None,
        index: str | None = None,
    ) -> None:
        if isinstance(dim, bool) or not isinstance(dim, int) or not 1 <= dim <= 65_536:
            raise ConfigurationError(f"Vector: expected a number of dimensions, 1 to 65,536, got {dim!r}")
        if element not in _ELEMENTS:
            raise ConfigurationError(
                f"Vector: element must be one of {', '.join(_ELEMENTS)}, not {element!r}"
            )
        if metric is not None and metric.upper() not in _METRICS:
            names = ", ".join(_METRICS).lower()
            raise ConfigurationError(f"Vector: metric must be one of {names}, not {metric!r}")
        if index is not None and index not in _INDEXES:
            raise ConfigurationError(f"Vector: index must be one of {', '.join(_INDEXES)}, not {index!r}")
        self.dim = dim
        self.metric = metric
        self.element = element
        self.scale = scale
        self.index = index

    def __repr__(self) -> str:
        given = [str(self.dim)]
        given += [
            f"{name}={getattr(self, name)!r}"
            for name, default in (
                ("metric", None),
                ("element", "float32"),
                ("scale", None),
                ("index", None),
            )
            if getattr(self, name) != default
        ]
        return f"Vector({', '.join(given)})"

    def get_col_spec(self, **_: Any) -> str:
        return f"{DECLARED}({self.dim})"

    def vss_options(self) -> str:
        """What stands behind ``name(dim)`` in a vss0 table."""
        parts = [
            "" if self.metric is None else f" metric_type={self.metric.upper()}",
            "" if self.element == "float32" else f" type={self.element}",
            "" if self.scale is None else f" scale={self.scale:g}",
            "" if self.index is None else f" index={self.index}",
        ]
        return "".join(parts)

    def bind_processor(self, dialect: Any) -> Callable[[Any], bytes | None]:
        return functools.partial(_to_blob, self.dim)

    def literal_processor(self, dialect: Any) -> Callable[[Any], str]:
        return lambda value: f"x'{(_to_blob(self.dim, value) or b'').hex()}'"

    def result_processor(self, dialect: Any, coltype: object) -> Callable[[Any], npt.NDArray[Any] | None]:
        return functools.partial(_from_blob, self.element)

    def compare_values(self, x: Any, y: Any) -> bool:
        if x is None or y is None:
            return x is y
        return bool(np.array_equal(np.asarray(x), np.asarray(y)))

    @property
    def python_type(self) -> type[Any]:
        return np.ndarray

    class Comparator(UserDefinedType.Comparator[npt.NDArray[Any]]):
        """The distances of a column, or of any SQL expression of the type, to a vector or to another column."""

        def l2_distance(self, other: Any) -> sa.ColumnElement[float]:
            """Euclidean distance. (The metric ``l2`` of a vss0 table is its square: the same order.)"""
            return self._distance("vss_distance_euclidean", other)

        def cosine_distance(self, other: Any) -> sa.ColumnElement[float]:
            """1 - cosine."""
            return self._distance("vss_distance_cosine", other)

        def max_inner_product(self, other: Any) -> sa.ColumnElement[float]:
            """Minus the inner product, so that smaller is nearer, as with the other distances."""
            return self._distance("vss_inner_product", other, negative=True)

        def l1_distance(self, other: Any) -> sa.ColumnElement[float]:
            """Sum of absolute differences."""
            return self._distance("vss_distance_l1", other)

        def _distance(self, name: str, other: Any, negative: bool = False) -> sa.ColumnElement[float]:
            own: Any = self.expr
            kind: Any = self.type
            there = [own.is_not(None)]
            elements: tuple[Any, ...] = ()
            if other is None:
                raise InvalidVectorError("a distance: expected a vector or a column of vectors, got None")
            if hasattr(other, "__clause_element__") or isinstance(other, sa.ClauseElement):
                there.append(other.is_not(None))
            else:
                other = sa.bindparam(None, other, type_=kind, unique=True)
                if kind.element != "float32":
                    other = getattr(sa.func, f"vss_{kind.element}")(other)
            if kind.element != "float32":
                elements = (sa.literal_column(f"'{kind.element}'"),)
            value = getattr(sa.func, name)(own, other, *elements, type_=sa.Float())
            # The functions refuse NULL.
            return sa.case((sa.and_(*there), -value if negative else value))

    comparator_factory = Comparator


# So that reflection, and with it Alembic, knows the type.
ischema_names[DECLARED] = Vector


def _to_blob(dim: int, value: Any) -> bytes | None:
    """A vector as float32 bytes.

    Raises:
        DimensionError, InvalidVectorError: it is no vector of `dim` finite numbers.
    """
    if value is None:
        return None
    if isinstance(value, (bytes, bytearray, memoryview)):
        if len(value) != 4 * dim:
            raise DimensionError(f"Vector({dim}): expected {4 * dim} bytes of float32, got {len(value)}")
        value = np.frombuffer(value, dtype="<f4")
    try:
        vector = np.asarray(value, dtype="<f4")
    except (TypeError, ValueError) as error:
        raise InvalidVectorError(
            f"Vector({dim}): expected {dim} numbers, got {type(value).__name__}: {error}"
        ) from error
    if vector.shape != (dim,):
        got = f"{len(vector)} numbers" if vector.ndim == 1 else f"an array of shape {vector.shape}"
        raise DimensionError(f"Vector({dim}): expected {dim} numbers, got {got}")
    if not np.isfinite(vector).all():
        raise InvalidVectorError(
            f"Vector({dim}): element {int(np.argmin(np.isfinite(vector)))} is {value[np.argmin(np.isfinite(vector))]}"
        )
    return vector.tobytes()


def _from_blob(element: str, value: Any) -> npt.NDArray[Any] | None:
    if value is None:
        return None
    stored = np.frombuffer(value, dtype=_ELEMENTS[element])
    if element == "bit":
        return np.unpackbits(stored, bitorder="little")
    if element == "bfloat16":
        widened: npt.NDArray[Any] = (stored.astype("<u4") << 16).view("<f4")
        return widened
    copied: npt.NDArray[Any] = stored.copy()
    return copied
