"""Index: one vector column of a vss0 table, with numpy arrays in and out.

Whole matrices go through one SQL statement on the caller's own connection: the statement names the arrays by a
ticket (``_core.register_rows``), the extension reads numpy's memory and writes SQLite's pages. So everything that
SQLite promises of a statement holds for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from .._connection import (
    Connection,
    driver_error,
    execute,
    explains,
    in_transaction,
    lists_arrive_whole,
    search_plainly,
)
from .._sql import check_params, is_list_of_rowids
from ..errors import DimensionError, InvalidVectorError, QueryError
from .arrays import Keys, Matrix, matrix_of
from .checks import MOST_ROWS, Distances, Ids, checked_k, checked_recall, keys_of, settings_text
from .column import Column
from .frames import FrameLibrary, frame_of, library_of

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Index"]


_explained = explains(lambda index: index.conn)


class Index(Column):
    """One vector column of a ``vss0`` table.

    The first ``add`` creates the table if it does not exist. Ids are the table's own: integers, which are its
    rowids, or texts or bytes if it declares ``id text primary key`` or the like. If the first ``add`` brings ids of
    text or bytes, it creates such a table.

    Args:
        conn: an open connection; vss0 is loaded into it if it is not there yet.
        table: the virtual table.
        column: its vector column.
        dim: number of dimensions; None takes the table's own, or that of the first matrix added.
        metric: ``"l2"`` (squared Euclidean distance, the default), ``"euclidean"`` (its root), ``"inner_product"`` (minus the inner product) or
            ``"cosine"`` (1 - cosine), ``"l1"``, ``"hamming"``, or one of Faiss' rare ones, searched exactly: ``"linf"``,
            ``"canberra"``, ``"braycurtis"``, ``"jensenshannon"``. None takes the table's own, or ``"l2"`` for a new one
            (``"hamming"`` for bits).
        type: element type of a new table: ``"float32"`` (default), ``"float16"``, ``"bfloat16"``, ``"int8"``,
            ``"bit"``. None takes the table's own.
        index: of a new table: ``"cells"`` (default: approximate search once it has 4,096 rows) or ``"flat"`` (every
            search is exact, and adding costs what storing costs); ``"faiss"`` is what `factory` asks for. None takes
            the table's own.
        factory: of a new table: a factory string of Faiss's, for example ``"IVF256,Flat"`` (docs/faiss.md). None
            takes the table's own.
        recall: of a new table: the recall of searches that ask for none, above 0 and at most 1. None: the process's
            default (``configure(recall=)``), or the table's own.
        schema: the database that the table is in: ``"main"``, ``"temp"`` or the name of an attached one.

    Attributes:
        conn, table, column, schema: as given.

    Raises:
        ConfigurationError: the table exists and differs from what was asked for, or the column is not there.
    """

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
        if self._look() is None:
            return False
        import uuid

        if isinstance(id, uuid.UUID):
            id = str(id) if self._uuids_as_text else id.bytes
        if self._key is None:
            if isinstance(id, (bool, np.bool_)) or not isinstance(id, (int, np.integer)):
                return False
            if not -(2**63) <= id < 2**63:
                return False
        elif not isinstance(id, (int, np.integer, str, bytes)):
            return False
        sql = f"select 1 from {self._table_sql} where {self._id_sql} = ? and {self._column_sql} is not null"
        return bool(execute(self.conn, sql, (id,)))

    @_explained
    def add(self, ids: Any, matrix: Any, *, replace: bool = False) -> None:
        """Add vectors, as one INSERT executed on the connection would: all or none, inside its transaction.

        Like any INSERT through Python's ``sqlite3``, it opens the implicit transaction where that is the
        connection's habit: ``conn.commit()`` makes it last. If it fails, a table that it has created is dropped.

        Args:
            ids: (n,): int64, or other integers, below 0 too (``search`` says how -1 is told from an empty place); for a table with a key of its own texts, bytes or UUIDs. Arrays,
                lists, pandas, polars and Arrow are taken.
            matrix: (n, dim). float32 with contiguous rows, or the column's own element type (float16, int8, uint8
                (n, ceil(dim / 8)) for bit, ``ml_dtypes.bfloat16``), is read in place, never copied; rows may lie
                apart, be read-only or memory-mapped. Everything else is converted while it is stored, never as a
                whole: float64 (rounded to float32), float16, integers (which float32 must hold exactly), bool,
                Fortran order, lists of rows, pandas and polars frames, Arrow arrays of lists, tensors. Packed bits whose
                rows are not contiguous are copied.
            replace: if an id already has a vector in this column, replace it instead of raising.

        Raises:
            DimensionError: the matrix does not have the column's dimensions, or as many rows as there are ids.
            InvalidVectorError: no numbers; NaN, infinity, masked or missing ones (the message names the row); ids that
                the table does not have; zero under cosine.
            DuplicateIdError: an id is there already, or twice in ``ids``. Nothing was added.
        """
        known = self._look()
        source = matrix_of(matrix, "matrix")
        keys = self._checked_ids(ids, source.n)
        if known is not None and (source.n, source.width) == (0, 0):
            return  # an empty list has no width that could be wrong
        if known is not None:
            self._check_width(source, "matrix")
        elif source.width == 0 or (self._wanted_dim and self._wanted_dim != self._dim_of(source)):
            raise DimensionError(
                f"matrix: expected {self._wanted_dim or 'at least one'} dimensions, got shape {source.n, source.width}"
            )
        was_open = in_transaction(self.conn)
        made = known is None and self._create(source, keys)
        try:
            self._bulk("upsert" if replace else "add", "vector", keys, source)
        except BaseException:
            if made:
                self._undo_creation(was_open)
            raise

    @_explained
    def remove(self, ids: Any) -> int:
        """Remove the column's vectors of these rows; a row that is left without any vector is deleted.

        Args:
            ids: as for `add`. Ids that are not there are ignored.

        Returns:
            How many vectors were removed.
        """
        known = self._look()
        keys = self._checked_ids(ids, None)
        if known is None or len(keys) == 0:
            return 0
        before = len(self)
        self._bulk("remove", "1", keys, None)
        return before - len(self)

    def _bulk(self, operation: str, value: str, keys: Keys, matrix: Matrix | None) -> None:
        # After the last row of a load its cells are made, so that searches before the commit need not measure each row.
        operation = (
            "'remove'"
            if matrix is None
            else f"case last when 1 then '{operation} last' else '{operation}' end"
        )
        sql = (
            f"insert into {self._table_sql}(operation, {self._id_sql}, {self._column_sql})"
            f" select {operation}, id, {value} from vss_buffer(?)"
        )
        with self._rows_ticket(keys, matrix) as ticket:
            try:
                self._execute(sql, (ticket.number,))
            except Exception:
                ticket.rethrow()
                raise

    def _rows_ticket(self, keys: Keys, matrix: Matrix | None) -> _core.RowsTicket:
        if matrix is None:
            return _core.register_rows(keys)
        if matrix.array is None:
            return _core.register_rows(keys, pieces=matrix.piece, dim=matrix.width)
        # Numbers at addresses that are no multiple of their size, as in a file behind a header, are not read in place.
        array = np.require(matrix.array, requirements="A")
        convert = not self._is_in_place(array)
        if convert and self._is_code(array):
            array, convert = np.ascontiguousarray(array, array.dtype.newbyteorder("=")), False
        return _core.register_rows(keys, array, convert=convert)

    @_explained
    def get(self, ids: Any) -> npt.NDArray[Any]:
        """The stored vectors of these ids, in their order.

        Args:
            ids: as for `add`.

        Returns:
            (n, dim) of the column's element type; for bit, uint8 (n, ceil(dim / 8)); for bfloat16, uint16 (n, dim)
            where ``ml_dtypes`` is not installed.

        Raises:
            KeyError: an id has no vector in this column; the message names the first few.
        """
        known = self._look()
        dtype, width = self._native()
        keys = self._checked_ids(ids, None)
        if known is None:
            if len(keys):
                raise KeyError(f"table {self.table!r} does not exist; add vectors first")
            return np.empty((0, width), dtype)
        out = np.empty((len(keys), width), dtype)
        missing: list[object] = []
        with _core.register_rows(keys) as ticket:
            sql = (
                f"select id, (select t.{self._column_sql} from {self._table_sql} t where t.{self._id_sql} = b.id)"
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
        params: Sequence[Any] | None = (),
        recall: float | None = None,
        settings: Mapping[str, int] | None = None,
    ) -> tuple[Ids, Distances]:
        """The k nearest rows of each query, nearest first, equal distances by id.

        Args:
            queries: float32 (nq, dim), or (dim,) for one; what is convertible to it is converted. For columns of
                other element types, arrays of that type are taken as they are, others are rounded to it. Distances are
                those from the rounded query.
            k: how many; fewer rows than k are padded.
            where: a condition in SQL over the table's columns and ``rowid``, for example
                ``"company = ? and year > ?"`` or ``"rowid in (select id from posts where draft = 0)"``. k rows come
                back whenever k rows meet it.
            params: the values of its ``?``.
            recall: the share of true neighbours wanted, above 0 and at most 1.0, which is exact.
            settings: of a column with ``factory``: how its Faiss index is searched, ``{"nprobe": 16}``, in place of what
                was learned for the recall (docs/faiss.md).

        Returns:
            ids int64 (nq, k) padded with -1, distances float32 (nq, k) padded with infinity; (k,) each for one query.
            Of a table with a key of its own the ids are its keys: an array of objects, padded with None. Any int64 can be
            an id, -1 and less too: a place is empty where the id is -1 and the distance infinity, both, which no row has.

        Raises:
            DimensionError, InvalidVectorError: the queries cannot be compared with the column's vectors.
            QueryError: there is no such table; k, recall or settings out of range, or settings that the column's index
                does not have; not one value in `params` for each ``?`` of `where`.
        """
        if type(k) is not int or not 0 <= k <= MOST_ROWS:
            k = checked_k(k)
        if recall is not None:
            recall = checked_recall(recall, QueryError)
        params = () if params is None else params
        if where is not None or len(params):
            check_params(where, params)
        how = None if settings is None else settings_text(settings)
        # What is known of the table may be of one that was dropped or rolled back since: then once more.
        if self._known is not None:
            known = self._known
            try:
                return self._search(queries, k, where, params, recall, how)
            except (DimensionError, InvalidVectorError, driver_error(self.conn)):
                if self._look() == known:
                    raise
        elif self._look() is None:
            pass
        if self._known is None:
            raise QueryError(f"there is no table {self.table!r} in {self.schema!r}; add vectors first")
        return self._search(queries, k, where, params, recall, how)

    def _search(
        self,
        queries: Any,
        k: int,
        where: str | None,
        params: Sequence[Any],
        recall: float | None,
        settings: str | None,
    ) -> tuple[Ids, Distances]:
        if (
            where is None
            and settings is None
            and self._key is None
            and 0 < k <= 1000
            and self._taken is not None
        ):
            try:
                answer = search_plainly(self.conn, self._search_sql, self._taken, queries, k, recall)
            except driver_error(self.conn) as error:
                self._raise_ours(error)
            if answer is not None:
                return answer
        among, behind = "null", ""
        if where is not None:
            matching = f"from {self._table_sql} where (\n{where}\n)"
            if self._takes_list(where, params):
                behind = f" and {where}"
            elif lists_arrive_whole(self.conn):
                behind = f" and rowid in (select rowid {matching})"
            else:
                among = f"(select json_group_array(rowid) {matching})"
        return self._search_among(queries, k, behind, among, params, recall, settings)

    def _takes_list(self, where: str, params: Sequence[Any]) -> bool:
        """Whether the search can take the list of rowids that a condition is: not one that depends on the row.

        In a select of the table's own rows, SQLite would look up each rowid of the list by a call.
        """
        if not is_list_of_rowids(where) or not lists_arrive_whole(self.conn):
            return False
        plan = self._execute(f"explain query plan {self._search_sql} and {where}", (0, *params))
        return ", rowid in ?" in str(plan[0][3])

    def _search_among(
        self,
        queries: Any,
        k: int,
        behind: str,
        among: str,
        params: Sequence[Any],
        recall: float | None,
        settings: str | None,
    ) -> tuple[Ids, Distances]:
        array, single = self._checked_queries(queries)
        # No array can be as long as an absurd k, and no more rows than there are can come back.
        found = min(k, len(self)) if k > 1000 else k
        ticket = _core.register_search(array, found, recall or 0.0, self._type)
        rows: list[tuple[Any, ...]] = []
        try:
            if found and len(array):
                # The settings' text holds names and whole numbers alone (settings_text).
                how = "" if settings is None else f", '{settings}'"
                plain = among == "null" and not how
                sql = (self._search_sql if plain else f"{self._search_sql[:-1]}, {among}{how})") + behind
                rows = self._execute(sql, (ticket.number, *params))
            elif self._look() is None:
                raise QueryError(f"there is no table {self.table!r} in {self.schema!r}; add vectors first")
        finally:
            ticket.release()
        ids: Ids = ticket.ids
        distances = ticket.distances
        if found < k:
            missing = (0, k - found) if single else ((0, 0), (0, k - found))
            ids = np.pad(ids, missing, constant_values=-1)
            distances = np.pad(distances, missing, constant_values=np.inf)
        return (ids if self._key is None else keys_of(ids, distances, dict(rows))), distances

    def search_frame(
        self,
        queries: Any,
        k: int = 10,
        *,
        where: str | None = None,
        params: Sequence[Any] | None = (),
        recall: float | None = None,
        settings: Mapping[str, int] | None = None,
        library: FrameLibrary | None = None,
    ) -> Any:
        """``search``, answered with a frame: columns ``query`` (the query's place, from 0), ``rank`` (from 1), ``id``, ``distance``; a
        row for each id found, none for what is padded.

        Args:
            queries, k, where, params, recall, settings: as for ``search``; `queries` may be a column of vectors.
            library: ``"pandas"``, ``"polars"`` or ``"pyarrow"``; None takes that of `queries`, or pandas.

        Raises:
            MissingDependencyError: the library is not installed.
            ConfigurationError: there is no such library.
            Whatever ``search`` raises.
        """
        found = self.search(queries, k, where=where, params=params, recall=recall, settings=settings)
        return frame_of(*found, library or library_of(queries))

    @_explained
    def stats(self) -> dict[str, Any]:
        """How the column is searched: rows, cells and their sizes, the tail, the cells each recall needs, the cache."""
        if self._look() is None:
            return {"search": "exact", "rows": 0}
        return self._told("vss_stats(?, ?, ?)", (self.table, self.column, self.schema))

    @_explained
    def to_faiss(self) -> Any:
        """The column's Faiss index as an index of the ``faiss`` package, whose ids are the rowids.

        Rows that were added, changed or removed since it was made (``stats()`` says how many) are not in it or have
        the id -1; ``optimize()`` rebuilds it.

        Returns:
            ``faiss.IndexIDMap2`` over what the factory string says.

        Raises:
            MissingDependencyError: the package faiss-cpu is not installed.
            vssnative's InvalidVectorError: the column has no Faiss index, or none yet.
        """
        from .faiss import deserialize

        [(blob,)] = self._execute("select vss_export_index(?, ?, ?)", (self.table, self.column, self.schema))
        return deserialize(blob)

    @classmethod
    def from_faiss(
        cls,
        conn: Connection,
        index: Any,
        ids: Any = None,
        *,
        table: str = "vss_vectors",
        column: str = "embedding",
        schema: str = "main",
        **options: Any,
    ) -> Index:
        """A new table with the vectors of a Faiss index: as they are, or, if it keeps codes, as it decodes them.

        Args:
            conn: an open connection.
            index: an index of the ``faiss`` package that can reconstruct: Flat, IVF, HNSW, PQ, SQ, with transforms
                or maps of ids around it.
            ids: (n,): ids of its vectors, by their numbers. None: those of its map of ids, or 0 to n - 1.
            table, column, schema: of the new table.
            options: further arguments of `Index`: `factory`, `type`, `recall`, ...

        Raises:
            ConfigurationError: its metric is neither L2 nor inner product; it cannot reconstruct.
            DuplicateIdError: the table has one of the ids already.
        """
        from .faiss import vectors_of

        metric, numbers, vectors = vectors_of(index)
        made = cls(conn, table, column, dim=vectors.shape[1], metric=metric, schema=schema, **options)
        made.add(numbers if ids is None else ids, vectors)
        return made

    @_explained
    def explain(
        self,
        query: npt.ArrayLike,
        k: int = 10,
        *,
        recall: float | None = None,
        settings: Mapping[str, int] | None = None,
    ) -> dict[str, Any]:
        """What a search of one query looks at, its time by stage in microseconds, and the recall it reaches.

        The recall is measured against brute force, so this takes as long as an exact search.

        Args:
            query: float32 (dim,), or of the column's element type.
            k: how many neighbours, 1 or more.
            recall: above 0 and at most 1.0, which is exact. None: that of a search that asks for none.
            settings: as for ``search``.

        Raises:
            DimensionError, InvalidVectorError: the query cannot be compared with the column's vectors.
            QueryError: more than one query, or there is no table yet.
        """
        if self._look() is None:
            raise QueryError(f"there is no table {self.table!r} in {self.schema!r}; add vectors first")
        array, single = self._checked_queries(query)
        if not single:
            raise QueryError("explain: expected one query")
        recall = checked_recall(recall, QueryError)
        return self._told(
            "vss_explain(?, ?, ?, ?, ?, ?, ?)",
            (self.table, self.column, array.tobytes(), k, recall, self.schema, settings_text(settings)),
        )

    @_explained
    def measure_recall(
        self,
        queries: npt.ArrayLike | None = None,
        k: int = 10,
        *,
        recall: float | None = None,
        settings: Mapping[str, int] | None = None,
    ) -> dict[str, Any]:
        """The recall that searches reach on this table, measured beside exact ones.

        Args:
            queries: float32 (nq, dim), queries as they will be asked. Without it 500 of the table's own rows are
                asked, each left out of what is searched: those of a table without outliers do for a first look.
            k: how many neighbours, 1 or more.
            recall: what searches are asked for, above 0 and at most 1.0. None: that of a search that asks for none.
            settings: as for ``search``.

        Returns:
            ``recall``, its 95 % interval ``low`` to ``high`` (of the mean over queries), ``scanned``: the share of
            codes looked at, ``every_row``: the share of queries that looked at every row, as that was cheaper;
            ``queries``, ``k`` and ``asked``. A row as near as the k-th true neighbour counts as found. ``queries`` is 0
            where none were given and every search of the column is exact: below 4,096 rows, or without an index.

        Raises:
            DimensionError, InvalidVectorError: the queries cannot be compared with the column's vectors.
            QueryError: k or recall out of range, or there is no table yet.
        """
        if self._look() is None:
            raise QueryError(f"there is no table {self.table!r} in {self.schema!r}; add vectors first")
        recall = checked_recall(recall, QueryError)
        if checked_k(k) < 1:
            raise QueryError(f"k: expected 1 or more, got {k}")
        blob = None if queries is None else self._checked_queries(queries)[0].tobytes()
        return self._told(
            "vss_measure_recall(?, ?, ?, ?, ?, ?, ?)",
            (self.table, self.column, blob, k, recall, self.schema, settings_text(settings)),
        )

    @_explained
    def optimize(self, *, start: int = 0, progress: Callable[[int, int], object] | None = None) -> None:
        """Cluster again what many changes have worn. Right answers never need it; searches then scan fewer rows.

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

    def _create(self, matrix: Matrix, keys: Keys) -> bool:
        declared = (
            "integer" if isinstance(keys, np.ndarray) else "text" if isinstance(keys[0], str) else "blob"
        )
        key = ""
        if declared != "integer":
            key = f"{'key' if self.column.lower() == 'id' else 'id'} {declared} primary key, "
        recall = "" if self._wanted_recall is None else f" recall={self._wanted_recall!r}"
        index = (
            f'factory="{self._wanted_factory}"'
            if self._wanted_factory
            else f"index={self._wanted_index or 'cells'}"
        )
        execute(
            self.conn,
            f"create virtual table {self._table_sql} using vss0({key}"
            f"{self._column_sql}({self._dim_of(matrix)}) type={self._wanted_type or 'float32'}"
            f" metric_type={self._new_metric.upper()} {index}{recall})",
        )
        self._look()
        return True

    def _undo_creation(self, was_open: bool) -> None:
        """The table that a failed `add` has made; nothing else is lost where no transaction was open before."""
        self._known = None
        with contextlib.suppress(driver_error(self.conn)):
            if not was_open and in_transaction(self.conn):
                execute(self.conn, "rollback")
            execute(self.conn, f"drop table if exists {self._table_sql}")
