"""Index: one vector column of a vss0 table, with numpy arrays in and out.

Whole matrices go through one SQL statement on the caller's own connection: the statement names the arrays by a
ticket (``_core.register_rows``), the extension reads numpy's memory and writes SQLite's pages. So everything that
SQLite promises of a statement holds for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _core
from .connection import Connection, driver_error, execute, is_corrupt, lists_arrive_whole
from .errors import (
    ConfigurationError,
    DamagedError,
    DimensionError,
    DuplicateIdError,
    InvalidVectorError,
    QueryError,
)
from .sql import check_params, quote_identifier

__all__ = ["Index", "configure"]

Ids: TypeAlias = npt.NDArray[np.int64]
Distances: TypeAlias = npt.NDArray[np.float32]

_METRICS = {
    "l2": "l2",
    "l2sq": "l2",
    "euclidean": "l2",
    "ip": "inner_product",
    "dot": "inner_product",
    "inner_product": "inner_product",
    "cos": "cosine",
    "cosine": "cosine",
    "l1": "l1",
    "hamming": "hamming",
}
_INDEXES = ("cells", "flat")
_TYPES = ("float32", "float16", "bfloat16", "int8", "bit")
_BIT_DTYPE = "uint8"
_EXACT = 1.0


class Index:
    """One vector column of a ``vss0`` table.

    The table is made at the first ``add`` where it does not exist; one that exists is used as it is.

    Args:
        conn: a connection that vss0 is loaded into (``vssnative.connect`` or ``vssnative.load``).
        table: the virtual table.
        column: its vector column.
        dim: number of dimensions; None takes the table's own, or that of the first matrix added.
        metric: ``"l2"`` (squared Euclidean distance, the default), ``"inner_product"`` (minus the inner product) or
            ``"cosine"`` (1 - cosine), ``"l1"``, ``"hamming"``. None takes the table's own, or ``"l2"`` for a new one.
        type: element type of a new table: ``"float32"`` (default), ``"float16"``, ``"bfloat16"``, ``"int8"``,
            ``"bit"``. None takes the table's own.
        index: of a new table: ``"cells"`` (default: approximate search once it has 4,096 rows) or ``"flat"`` (every
            search is exact, and adding costs what storing costs). None takes the table's own.
        schema: the database that the table is in: ``"main"``, ``"temp"`` or the name of an attached one.

    Attributes:
        conn, table, column, schema: as given.

    Raises:
        ConfigurationError: the table exists and differs from what was asked for, or the column is not there.
    """

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
        schema: str = "main",
    ) -> None:
        self.conn = conn
        self.table = table
        self.column = column
        self.schema = schema
        self._table_sql = f"{quote_identifier(schema)}.{quote_identifier(table)}"
        self._column_sql = quote_identifier(column)
        self._wanted_dim = _checked_dim(dim)
        self._wanted_metric = None if metric is None else _checked_metric(metric)
        self._wanted_type = None if type is None else _checked_type(type)
        self._wanted_index = None if index is None else _checked_index(index)
        self._known: dict[str, Any] | None = None
        # A query that can be taken as it is; known with the table.
        self._dtype: np.dtype[Any] | None = None
        self._shape: tuple[int] | None = None
        self._search_sql = f"select rowid from {self._table_sql} where {self._column_sql} match vss_batch(?)"
        self._look()

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def dim(self) -> int | None:
        """Dimensions of a vector; None as long as neither the table nor the caller has said."""
        known = self._look()
        return self._wanted_dim if known is None else int(known["dim"])

    @property
    def metric(self) -> str:
        """``"l2"``, ``"inner_product"``, ``"cosine"``, ``"l1"`` or ``"hamming"``."""
        known = self._look()
        return self._wanted_metric or "l2" if known is None else str(known["metric"]).lower()

    @property
    def type(self) -> str:
        """Element type: ``"float32"``, ``"float16"``, ``"bfloat16"``, ``"int8"`` or ``"bit"``."""
        known = self._look()
        return self._wanted_type or "float32" if known is None else str(known["type"])

    def __repr__(self) -> str:
        return f"Index(table={self.table!r}, column={self.column!r}, dim={self.dim}, metric={self.metric!r})"

    def __len__(self) -> int:
        """Vectors in the column, as the connection sees it now."""
        if self._look() is None:
            return 0
        [(count,)] = execute(self.conn, "select vss_count(?, ?, ?)", (self.table, self.column, self.schema))
        return int(count)

    def __contains__(self, id: object) -> bool:
        """Whether a row of this id has a vector in the column."""
        if self._look() is None or isinstance(id, bool) or not isinstance(id, (int, np.integer)):
            return False
        sql = f"select 1 from {self._table_sql} where rowid = ? and {self._column_sql} is not null"
        return bool(execute(self.conn, sql, (int(id),)))

    # --- changing -----------------------------------------------------------------------------------------------------

    def add(self, ids: npt.ArrayLike, matrix: npt.NDArray[Any], *, replace: bool = False) -> None:
        """Add vectors, as one INSERT executed on the connection would: all or none, inside its transaction.

        Like any INSERT through Python's ``sqlite3``, it opens the implicit transaction where that is the
        connection's habit: ``conn.commit()`` makes it last.

        Args:
            ids: int64 (n,): the rowids. A list or range of integers is taken too.
            matrix: float32 (n, dim), or of the column's element type (float16, int8, uint8 (n, ceil(dim / 8)) for
                bit, ``ml_dtypes.bfloat16``). Rows must be contiguous; they may lie apart, be read-only or
                memory-mapped. It is read in place, never copied.
            replace: where an id has a vector in this column already, replace it instead of raising.

        Raises:
            DimensionError: the matrix does not have the column's dimensions.
            InvalidVectorError: dtype or layout that cannot be read in place, NaN, infinity, zero under cosine.
            DuplicateIdError: an id is there already, or twice in ``ids``. Nothing was added.
        """
        array = self._checked_matrix(matrix, "matrix")
        rowids = _checked_ids(ids, len(array))
        self._create(array)
        self._bulk("upsert" if replace else "add", "vector", rowids, array)

    def remove(self, ids: npt.ArrayLike) -> int:
        """Remove the column's vectors of these rows; a row that is left without any vector is deleted.

        Args:
            ids: int64 (n,), or a list or range of integers. Ids that are not there are passed over.

        Returns:
            How many vectors were removed.
        """
        rowids = _checked_ids(ids, None)
        if self._look() is None or len(rowids) == 0:
            return 0
        before = len(self)
        self._bulk("remove", "1", rowids, None)
        return before - len(self)

    def _bulk(self, operation: str, value: str, ids: Ids, matrix: npt.NDArray[Any] | None) -> None:
        sql = (
            f"insert into {self._table_sql}(operation, rowid, {self._column_sql})"
            f" select '{operation}', id, {value} from vss_buffer(?)"
        )
        with _core.register_rows(ids, matrix) as ticket:
            self._execute(sql, (ticket.number,))

    # --- reading ------------------------------------------------------------------------------------------------------

    def get(self, ids: npt.ArrayLike) -> npt.NDArray[Any]:
        """The stored vectors of these ids, in their order.

        Args:
            ids: int64 (n,), or a list or range of integers.

        Returns:
            (n, dim) of the column's element type; for bit, uint8 (n, ceil(dim / 8)); for bfloat16, uint16 (n, dim)
            where ``ml_dtypes`` is not installed.

        Raises:
            KeyError: an id has no vector in this column; the message names the first few.
        """
        rowids = _checked_ids(ids, None)
        dtype, width = self._native()
        if self._look() is None:
            if len(rowids):
                raise KeyError(f"table {self.table!r} does not exist; add vectors first")
            return np.empty((0, width), dtype)
        out = np.empty((len(rowids), width), dtype)
        missing: list[int] = []
        with _core.register_rows(rowids, None) as ticket:
            sql = (
                f"select id, (select t.{self._column_sql} from {self._table_sql} t where t.rowid = b.id)"
                " from vss_buffer(?) b"
            )
            for i, (id, blob) in enumerate(self._execute(sql, (ticket.number,))):
                if blob is None:
                    missing.append(id)
                else:
                    out[i] = np.frombuffer(blob, dtype)
        if missing:
            some = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
            raise KeyError(
                f"table {self.table!r}, column {self.column!r}: no vector for {len(missing)} ids: {some}"
            )
        return out

    def search(
        self,
        queries: npt.ArrayLike,
        k: int = 10,
        *,
        where: str | None = None,
        params: Sequence[Any] = (),
        recall: float | None = None,
    ) -> tuple[Ids, Distances]:
        """The k nearest rows of each query, nearest first, equal distances by id.

        Args:
            queries: float32 (nq, dim), or (dim,) for one; what is convertible to it is converted. For columns of
                other element types, arrays of that type are taken as they are.
            k: how many; fewer rows than k are padded.
            where: a condition in SQL over the table's columns and ``rowid``, for example
                ``"company = ? and year > ?"`` or ``"rowid in (select id from posts where draft = 0)"``. k rows come
                back whenever k rows meet it.
            params: the values of its ``?``.
            recall: the share of true neighbours wanted, above 0 and at most 1.0, which is exact.

        Returns:
            ids int64 (nq, k) padded with -1, distances float32 (nq, k) padded with infinity; (k,) each for one query.

        Raises:
            DimensionError, InvalidVectorError: the queries cannot be compared with the column's vectors.
            QueryError: k or recall out of range, or not one value in `params` for each ``?`` of `where`.
        """
        if type(k) is not int or k < 0:
            k = _checked_k(k)
        if recall is not None and not 0 < recall <= 1:
            raise QueryError(f"recall: expected a number above 0 and at most 1, got {recall!r}")
        check_params(where, params)
        array, single = self._checked_queries(queries)
        # No array can be as long as an absurd k, and no more rows than there are can come back.
        found = min(k, len(self)) if k > 1000 else k
        ticket = _core.register_search(array, found, recall or 0.0)
        try:
            if self._look() is not None and found and len(array):
                if where is None:
                    sql = self._search_sql
                else:
                    rows = f"from {self._table_sql} where (\n{where}\n)"
                    if lists_arrive_whole(self.conn):
                        sql = f"{self._search_sql} and rowid in (select rowid {rows})"
                    else:
                        sql = f"{self._search_sql[:-1]}, (select json_group_array(rowid) {rows}))"
                self._execute(sql, (ticket.number, *params))
        finally:
            ticket.release()
        ids, distances = ticket.ids, ticket.distances
        if found < k:
            missing = (0, k - found) if single else ((0, 0), (0, k - found))
            ids = np.pad(ids, missing, constant_values=-1)
            distances = np.pad(distances, missing, constant_values=np.inf)
        return ids, distances

    def stats(self) -> dict[str, Any]:
        """How the column is searched: rows, cells and their sizes, the tail, the cells each recall needs, the cache."""
        if self._look() is None:
            return {"search": "exact", "rows": 0}
        return self._told("vss_stats(?, ?, ?)", (self.table, self.column, self.schema))

    def explain(self, query: npt.ArrayLike, k: int = 10, *, recall: float = 0.95) -> dict[str, Any]:
        """What a search of one query looks at, its time by stage in microseconds, and the recall it reaches.

        The recall is measured against brute force, so this takes as long as an exact search.

        Args:
            query: float32 (dim,), or of the column's element type.
            k: how many neighbours, 1 or more.
            recall: above 0 and at most 1.0, which is exact.

        Raises:
            DimensionError, InvalidVectorError: the query cannot be compared with the column's vectors.
            QueryError: more than one query, or there is no table yet.
        """
        array, single = self._checked_queries(query)
        if not single or self._look() is None:
            raise QueryError("explain: expected one query on a table that exists")
        return self._told(
            "vss_explain(?, ?, ?, ?, ?, ?)",
            (self.table, self.column, array.tobytes(), k, recall, self.schema),
        )

    def optimize(self, *, start: int = 0, progress: Callable[[int, int], object] | None = None) -> None:
        """Clusters anew what many changes have worn. Never needed for right answers, only for fewer rows scanned.

        Each step is a transaction of its own, unless the caller has one open, so readers and writers go on meanwhile;
        stopped half-way it loses nothing, and `start` goes on from there.

        Args:
            start: the cell to begin with.
            progress: called as ``progress(cell, cells)`` after each step.
        """
        if self._look() is None:
            return
        at: int | None = start
        while at is not None:
            told = self._told("vss_optimize(?, ?, ?, ?)", (self.table, self.column, at, self.schema))
            at = told["next"]
            if progress is not None:
                progress(told["cells"] if at is None else at, told["cells"])

    # --- inner workings -----------------------------------------------------------------------------------------------

    def _look(self) -> dict[str, Any] | None:
        """What the table says of the column; None where there is no table. Asked again until there is one."""
        if self._known is not None:
            return self._known
        [(text,)] = execute(self.conn, "select vss_describe(?, ?)", (self.table, self.schema))
        if text is None:
            return None
        columns = {column["name"].lower(): column for column in json.loads(text)["columns"]}
        known = columns.get(self.column.lower())
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
        ):
            is_there = known[name].lower() if isinstance(known[name], str) else known[name]
            if wanted is not None and wanted != is_there:
                raise ConfigurationError(
                    f"{where}, column {self.column!r} exists with {name}={is_there!r}, not {wanted!r}"
                )
        self._known = known
        self._dtype, width = self._native()
        self._shape = (width,)
        return self._known

    def _create(self, matrix: npt.NDArray[Any]) -> None:
        if self._look() is not None:
            return
        dim = self._wanted_dim or matrix.shape[1] * (8 if self.type == "bit" else 1)
        execute(
            self.conn,
            f"create virtual table {self._table_sql} using vss0("
            f"{self._column_sql}({dim}) type={self.type} metric_type={self.metric.upper()}"
            f" index={self._wanted_index or 'cells'})",
        )
        self._look()

    def _native(self) -> tuple[np.dtype[Any], int]:
        """dtype and length of a stored vector in numpy."""
        dim = self.dim or 0
        if self.type == "bit":
            return np.dtype(_BIT_DTYPE), (dim + 7) // 8
        if self.type == "bfloat16":
            return _bfloat16() or np.dtype(np.uint16), dim
        return np.dtype(self.type), dim

    def _checked_matrix(self, matrix: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        """The array itself if its bytes can be read in place."""
        if not isinstance(matrix, np.ndarray):
            raise InvalidVectorError(
                f"{name}: expected a numpy array of float32, got {_kind(matrix)}; call numpy.asarray({name}, 'float32')"
            )
        native, width = self._native()
        if matrix.dtype not in (native, np.float32):
            accepted = "float32" if native == np.float32 else f"{native} or float32"
            raise InvalidVectorError(
                f"{name}: expected dtype {accepted}, got {matrix.dtype}; call {name}.astype('float32')"
            )
        if matrix.ndim != 2:
            raise DimensionError(
                f"{name}: expected shape (n, {self.dim or 'dim'}), got {matrix.shape}"
                + (f"; call {name}.reshape(1, -1) for one vector" if matrix.ndim == 1 else "")
            )
        expected = width if matrix.dtype == native and native != np.float32 else self.dim
        if expected and matrix.shape[1] != expected:
            raise DimensionError(
                f"{name}: table {self.table!r}, column {self.column!r} has {self.dim} dimensions,"
                f" got shape {matrix.shape}"
            )
        if matrix.shape[1] == 0:
            raise DimensionError(f"{name}: expected at least one dimension, got shape {matrix.shape}")
        row, step = matrix.strides
        if (matrix.shape[1] > 1 and step != matrix.itemsize) or (len(matrix) > 1 and row < 0):
            raise InvalidVectorError(
                f"{name}: its rows are not contiguous (strides {matrix.strides}); call numpy.ascontiguousarray({name})"
            )
        return matrix

    def _checked_queries(self, queries: npt.ArrayLike) -> tuple[npt.NDArray[Any], bool]:
        """Contiguous queries of the column's own type, of one dimension where one vector was given."""
        if (
            type(queries) is np.ndarray
            and queries.dtype == self._dtype
            and queries.shape == self._shape
            and queries.flags.c_contiguous
        ):
            return queries, True
        native, _ = self._native()
        array = np.asarray(queries)
        if array.dtype != native:
            try:
                array = np.asarray(array, np.float32)
            except (TypeError, ValueError) as error:
                raise InvalidVectorError(
                    f"queries: expected numbers, got {_kind(queries)}: {error}"
                ) from None
        single = array.ndim == 1
        array = np.ascontiguousarray(array[None] if single else array)
        if self.dim is not None or array.ndim != 2:
            array = self._checked_matrix(array, "queries")
            if array.dtype != native:
                array = self._converted(array)
        return (array[0], True) if single else (array, False)

    def _converted(self, queries: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """float32 queries in the column's element type, by the extension's own rules."""
        native, width = self._native()
        out = np.empty((len(queries), width), native)
        for i, query in enumerate(queries):
            [(blob,)] = self._execute(f"select vss_{self.type}(?)", (query.tobytes(),))
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
            message = str(error)
            if "exists already" in message:
                words = message.partition(";")[0]
                raise DuplicateIdError(f"{words}; add(..., replace=True) replaces its vector") from error
            if is_corrupt(error) and f'table "{self.table}"' in message:
                raise DamagedError(message) from error
            if f'table "{self.table}", column "' in message:
                raise InvalidVectorError(message) from error
            raise


def configure(*, memory: str | int | None = None, threads: int | None = None) -> None:
    """Set the process's memory budget and number of threads, for all connections.

    Args:
        memory: bytes, or text like ``"256MB"`` (units are powers of 1,024), for decoded vectors and codes that are
            kept between searches. Default: the environment's ``VSSNATIVE_MEMORY``, else 256 MB.
        threads: threads for batches of queries and large loads; 0 is one for each core this process may use.
            Default: the environment's ``VSSNATIVE_THREADS``, else 0.

    Raises:
        ConfigurationError: a value that cannot be.
    """
    if memory is not None:
        _core.set_memory_budget(_bytes_of(memory))
    if threads is not None:
        if isinstance(threads, bool) or not isinstance(threads, int) or not 0 <= threads <= 256:
            raise ConfigurationError(f"threads: expected an integer from 0 to 256, got {threads!r}")
        _core.set_threads(threads)


def _bytes_of(memory: str | int) -> int:
    if isinstance(memory, int) and not isinstance(memory, bool):
        if memory < 0:
            raise ConfigurationError(f"memory: expected 0 bytes or more, got {memory}")
        return memory
    size = _core.parse_bytes(str(memory).strip())
    if size < 0:
        raise ConfigurationError(f'memory: expected a number of bytes, or text like "256MB", got {memory!r}')
    return size


def _checked_dim(dim: int | None) -> int | None:
    if dim is None:
        return None
    if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)) or not 0 < dim <= 65536:
        raise ConfigurationError(f"dim: expected an integer from 1 to 65536, got {dim!r}")
    return int(dim)


def _checked_metric(metric: str) -> str:
    if not isinstance(metric, str) or metric.lower() not in _METRICS:
        raise ConfigurationError(f"metric: expected l2, inner_product, cosine, l1 or hamming, got {metric!r}")
    return _METRICS[metric.lower()]


def _checked_type(type: str) -> str:
    if not isinstance(type, str) or type.lower() not in _TYPES:
        raise ConfigurationError(f"type: expected {', '.join(_TYPES)}, got {type!r}")
    return type.lower()


def _checked_index(index: str) -> str:
    if not isinstance(index, str) or index.lower() not in _INDEXES:
        raise ConfigurationError(f"index: expected {', '.join(_INDEXES)}, got {index!r}")
    return index.lower()


def _checked_k(k: object) -> int:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 0:
        raise QueryError(f"k: expected an integer of 0 or more, got {k!r}")
    return int(k)


def _checked_ids(ids: npt.ArrayLike, n: int | None) -> Ids:
    if isinstance(ids, np.ndarray):
        if ids.dtype != np.int64:
            raise InvalidVectorError(f"ids: expected dtype int64, got {ids.dtype}; call ids.astype('int64')")
        array = ids
    else:
        items: Any = list(ids) if isinstance(ids, Iterable) else [ids]
        if any(isinstance(id, bool) or not isinstance(id, (int, np.integer)) for id in items):
            raise InvalidVectorError(f"ids: expected integers, got {_kind(ids)} of other things")
        try:
            array = np.asarray(items, np.int64).reshape(len(items))
        except OverflowError:
            raise InvalidVectorError("ids: an id does not fit into 64 bits") from None
    if array.ndim != 1:
        raise InvalidVectorError(f"ids: expected shape (n,), got {array.shape}; call ids.ravel()")
    if n is not None and len(array) != n:
        raise DimensionError(
            f"ids and matrix: expected as many ids as rows, got {len(array)} ids and {n} rows"
        )
    return np.ascontiguousarray(array)


def _bfloat16() -> np.dtype[Any] | None:
    try:
        import ml_dtypes  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def _kind(value: object) -> str:
    return type(value).__name__
