"""A vector column as its table declares it, and what is given to it: checked, and converted where it must be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .. import _core
from .._advice import Advice
from .._connection import Connection, driver_error, execute, is_corrupt, load, told_error
from .._sql import quote_identifier
from ..errors import (
    ConfigurationError,
    DamagedError,
    DimensionError,
    DuplicateIdError,
    InvalidVectorError,
    QueryError,
)
from .arrays import Keys, Matrix, ids_of, queries_of
from .checks import (
    bfloat16,
    checked_dim,
    checked_factory,
    checked_index,
    checked_metric,
    checked_recall,
    checked_type,
)

if TYPE_CHECKING:
    import numpy.typing as npt

_BIT_DTYPE = "uint8"


class Column:
    """One vector column of a vss0 table, or of one that is not there yet. See ``Index``."""

    def __init__(
        self,
        conn: Connection,
        table: str = "vss_vectors",
        column: str = "embedding",
        dim: int | None = None,
        metric: str | None = None,
        *,
        type: str | None = None,
        index: str | None = None,
        factory: str | None = None,
        recall: float | None = None,
        schema: str = "main",
    ) -> None:
        self.conn = conn
        self.table = table
        self.column = column
        self.schema = schema
        self._table_sql = f"{quote_identifier(schema)}.{quote_identifier(table)}"
        self._column_sql = quote_identifier(column)
        self._wanted_dim = checked_dim(dim)
        self._wanted_metric = None if metric is None else checked_metric(metric)
        self._wanted_type = None if type is None else checked_type(type)
        self._wanted_index = None if index is None else checked_index(index)
        self._wanted_factory = None if factory is None else checked_factory(factory, index)
        self._wanted_recall = checked_recall(recall)
        self._known: dict[str, Any] | None = None
        self._type = "float32"
        self._key: str | None = None
        self._id_sql = "rowid"
        self._search_sql = ""
        # A query that can be taken as it is: dtype, length and element type. Known with the table.
        self._taken: tuple[np.dtype[Any], int, str] | None = None
        try:
            self._look()
        except driver_error(conn) as error:
            if "no such function" not in str(error):
                raise
            load(conn)
            self._look()

    @property
    def dim(self) -> int | None:
        """Dimensions of a vector; None as long as neither the table nor the caller has said."""
        known = self._look()
        return self._wanted_dim if known is None else int(known["dim"])

    @property
    def metric(self) -> str:
        """As `metric` names it: ``"l2"``, ``"euclidean"``, ``"inner_product"``, ``"cosine"``, ``"l1"``, ``"hamming"``, ..."""
        known = self._look()
        return self._new_metric if known is None else str(known["metric"]).lower()

    @property
    def type(self) -> str:
        """Element type: ``"float32"``, ``"float16"``, ``"bfloat16"``, ``"int8"`` or ``"bit"``."""
        known = self._look()
        return self._wanted_type or "float32" if known is None else str(known["type"])

    def _look(self) -> dict[str, Any] | None:
        """What the table says of the column now; None where there is no table.

        A search goes by what was found last, and looks again where it fails: tables can be dropped, made again with
        other dimensions, and their creation rolled back.
        """
        self._known = None
        [(text,)] = execute(self.conn, "select vss_describe(?, ?)", (self.table, self.schema))
        if text is None:
            return None
        columns: dict[str, dict[str, Any]] = {
            column["name"].lower(): column for column in json.loads(text)["columns"]
        }
        known = columns.get(self.column.lower())
        key = next((column for column in columns.values() if column["kind"] == "key"), None)
        vectors = [column["name"] for column in columns.values() if column["kind"] == "vector"]
        where = f"table {self.table!r}"
        if known is None or known["kind"] != "vector":
            raise ConfigurationError(
                f"{where} has no vector column {self.column!r}; it has {', '.join(vectors)}"
            )
        for name, wanted in (
            ("dim", self._wanted_dim),
            ("metric", self._wanted_metric),
            ("type", self._wanted_type),
            ("index", self._wanted_index),
            ("factory", self._wanted_factory),
            ("recall", self._wanted_recall),
        ):
            is_there = known.get(name)
            if isinstance(is_there, str) and name != "factory":
                is_there = is_there.lower()
            if wanted is not None and wanted != is_there:
                raise ConfigurationError(
                    f"{where}, column {self.column!r} exists with {name}={is_there!r}, not {wanted!r}"
                )
        self._known = known
        self._type = str(known["type"])
        self._taken = (*self._native(known), self._type)
        self._key = None if key is None else str(key["declared"])
        self._id_sql = "rowid" if key is None else quote_identifier(key["name"])
        wanted = "rowid" if key is None else f"rowid, {self._id_sql}"
        self._search_sql = (
            f"select {wanted} from {self._table_sql} where {self._column_sql} match vss_batch(?)"
        )
        return known

    def _native(self, known: dict[str, Any] | None = None) -> tuple[np.dtype[Any], int]:
        """dtype and length of a stored vector in numpy."""
        known = known or self._known
        type = self._wanted_type or "float32" if known is None else str(known["type"])
        dim = self._wanted_dim or 0 if known is None else int(known["dim"])
        if type == "bit":
            return np.dtype(_BIT_DTYPE), (dim + 7) // 8
        if type == "bfloat16":
            return bfloat16() or np.dtype(np.uint16), dim
        return np.dtype(type), dim

    @property
    def _new_metric(self) -> str:
        return self._wanted_metric or ("hamming" if self._wanted_type == "bit" else "l2")

    def _dim_of(self, matrix: Matrix) -> int:
        """Dimensions of a new table for these vectors."""
        is_packed = (
            self._wanted_type == "bit" and matrix.array is not None and matrix.array.dtype == _BIT_DTYPE
        )
        if is_packed and self._wanted_dim and matrix.width == (self._wanted_dim + 7) // 8:
            return self._wanted_dim
        return matrix.width * (8 if is_packed and not self._wanted_dim else 1)

    def _is_in_place(self, array: npt.NDArray[Any]) -> bool:
        """Whether the extension can take the rows' bytes as they are."""
        native, width = self._native()
        if array.dtype.name != native.name and array.dtype != np.float32:
            return False
        if array.dtype.name == native.name and array.shape[1] != width:
            return False  # numbers that stand for bits
        row, step = array.strides
        contiguous = array.shape[1] <= 1 or step == array.itemsize
        return bool(array.dtype.isnative and contiguous and (len(array) <= 1 or row >= 0))

    def _is_code(self, array: npt.NDArray[Any]) -> bool:
        """Whether the rows are as the column stores them, and would be other vectors if they were taken as numbers: packed
        bits, bfloat16 as uint16, int8 of a column with a scale."""
        native, width = self._native()
        if array.dtype.name != native.name or array.shape[1] != width:
            return False
        has_scale = self._known is not None and self._known.get("scale") is not None
        return native.kind == "u" or (native == np.int8 and has_scale)

    def _check_width(self, matrix: Matrix, name: str) -> None:
        native, width = self._native()
        dim = self.dim if self._known is None else int(self._known["dim"])
        is_native = matrix.array is not None and matrix.array.dtype.name == native.name
        if dim and matrix.width not in ((dim, width) if is_native else (dim,)):
            raise DimensionError(
                f"{name}: table {self.table!r}, column {self.column!r} has {dim} dimensions,"
                f" got shape {matrix.n, matrix.width}"
            )
        if matrix.width == 0:
            raise DimensionError(
                f"{name}: expected at least one dimension, got shape {matrix.n, matrix.width}"
            )

    @property
    def _uuids_as_text(self) -> bool:
        return self._key is None or "blob" not in self._key.lower()

    def _checked_ids(self, ids: Any, n: int | None) -> Keys:
        keys = ids_of(ids, n, uuids_as_text=self._uuids_as_text)
        if self._known is None or len(keys) == 0:
            return keys if len(keys) else np.empty(0, np.int64)
        got = "integers" if isinstance(keys, np.ndarray) else "texts" if isinstance(keys[0], str) else "bytes"
        declared = (self._key or "integer").lower()
        if "int" in declared:
            expected = "integers"
        elif any(word in declared for word in ("char", "clob", "text")):
            expected = "texts"
        else:
            expected = "bytes" if "blob" in declared else got
        if got != expected:
            raise InvalidVectorError(f"ids: table {self.table!r} has {expected} as ids, got {got}")
        return keys

    def _checked_queries(self, queries: Any) -> tuple[npt.NDArray[Any], bool]:
        """Contiguous queries of the column's own type, of one dimension where one vector was given."""
        if (
            self._taken is not None
            and type(queries) is np.ndarray
            and queries.dtype == self._taken[0]
            and queries.shape == (self._taken[1],)
            and queries.flags.c_contiguous
            and queries.flags.aligned
        ):
            return queries, True
        array = queries_of(queries, "queries")
        single = array.ndim == 1
        array = array[None] if single else array
        if array.ndim != 2:
            raise DimensionError(f"queries: expected shape (nq, dim) or (dim,), got {array.shape}")
        self._check_width(Matrix(array.shape[0], array.shape[1], array), "queries")
        native, width = self._native()
        if array.dtype == native and array.shape[1] == width:
            array = np.require(array, requirements=("C", "A", "E"))
        else:
            try:
                array = _core.as_float32(array)
            except ValueError as error:
                raise InvalidVectorError(f"queries: {error}") from None
            if native != np.float32:
                array = self._converted(array)
        return (array[0], True) if single else (array, False)

    def _converted(self, queries: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """float32 queries in the column's element type, by the extension's own rules."""
        native, width = self._native()
        scale = None if self._known is None else self._known.get("scale")
        sql, params = f"select vss_{self._type}(?)", ()  # type: tuple[str, tuple[float, ...]]
        if scale is not None:
            sql, params = "select vss_quantize_int8(?, ?)", (scale,)
        out = np.empty((len(queries), width), native)
        for i, query in enumerate(queries):
            try:
                [(blob,)] = self._execute(sql, (query.tobytes(), *params))
            except driver_error(self.conn) as error:
                raise InvalidVectorError(f"queries: row {i}: {error}") from error
            out[i] = np.frombuffer(blob, native)
        return out

    def _told(self, call: str, params: Sequence[Any]) -> dict[str, Any]:
        [(text,)] = self._execute(f"select {call}", params)
        told = json.loads(text)
        assert isinstance(told, dict)
        return told

    def _execute(self, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            return execute(self.conn, sql, params)
        except driver_error(self.conn) as error:
            self._raise_ours(error)

    def _raise_ours(self, error: Exception) -> NoReturn:
        """Raise what the driver raised in a statement on this table: as the package's own error, if it is one."""
        if (ours := self._our_error(error)) is not error:
            raise ours from error
        raise error

    def _our_error(self, error: Exception) -> Exception:
        """The package's own error for what the driver raised in a statement on this table; else that error itself."""
        message = str(error)
        if "exists already" in message:
            words = message.partition(";")[0]
            advice = Advice("add(..., replace=True) replaces its vector", "--replace replaces its vector")
            return DuplicateIdError(words, advice=advice)
        if message.startswith("vss_buffer: row"):
            words = message.partition(": ")[2]
            return InvalidVectorError(f'table "{self.table}", column "{self.column}": {words}')
        if is_corrupt(error) and f'table "{self.table}"' in message:
            return DamagedError(message)
        if '", search settings: ' in message:
            return QueryError(message)
        if f'table "{self.table}", column "' in message:
            return InvalidVectorError(message)
        return told_error(self.conn, error)
