"""What users keep vectors and ids in (numpy, lists, pandas, polars, Arrow, tensors), as the core takes it.

An array of float32 with contiguous rows is read in place. Everything else is converted row by row by the core
(``_core.register_rows(convert=True)``), or fetched in pieces of some hundred rows where there is no array to point to:
a second whole matrix is never made.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from .. import _core
from ..errors import DimensionError, InvalidVectorError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Keys", "Matrix", "ids_of", "matrix_of", "number_array", "queries_of"]

Keys: TypeAlias = "npt.NDArray[np.int64] | list[str] | list[bytes]"

_ROWS_PER_PIECE = 512


class Matrix(NamedTuple):
    """Rows of numbers: an array of two dimensions, or a function that gives float32 rows from a row on.

    Attributes:
        n, width: rows, and numbers in each.
        array: the array itself; None where there are pieces.
        piece: called with the number of a row.
    """

    n: int
    width: int
    array: npt.NDArray[Any] | None
    piece: Callable[[int], npt.NDArray[np.float32]] | None = None


def matrix_of(value: Any, name: str) -> Matrix:
    """A user's matrix, without a copy.

    Raises:
        InvalidVectorError: no numbers, masked ones, or ones that are missing.
        DimensionError: not of two dimensions, or rows of different lengths.
    """
    root = type(value).__module__.partition(".")[0]
    kind = type(value).__name__
    if root == "pyarrow":
        return _from_arrow(value, name)
    if root == "pandas":
        if kind == "DataFrame" and value.shape[1] == 1 and _holds_rows(value.iloc[:, 0]):
            value = value.iloc[:, 0]
        elif kind == "DataFrame":
            return _from_pandas(value, name)
        return _from_rows(len(value), lambda first, end: list(value.iloc[first:end]), name)
    if root == "polars":
        if kind == "DataFrame" and value.width == 1 and str(value.dtypes[0]).startswith(("List", "Array")):
            value = value.to_series(0)
        elif kind == "DataFrame":
            return _from_pieces(
                value.height, value.width, lambda first, end: value[first:end].to_numpy(), name
            )
        if not str(value.dtype).startswith("Array"):
            return _from_rows(
                len(value),
                lambda first, end: value[first:end].to_list(),
                name,
                lambda first, end, width: value[first:end].list.to_array(width).to_numpy(),
            )
        if value.null_count():
            raise InvalidVectorError(
                f"{name}: {value.null_count()} of its rows {'is' if value.null_count() == 1 else 'are'} null"
            )
        value = value.to_numpy()
    if (
        not isinstance(value, (np.ndarray, memoryview))  # a memoryview is an array, and gives no rows
        and isinstance(value, Sequence)
        and not isinstance(value, (str, bytes))
    ):
        return _from_rows(len(value), lambda first, end: list(value[first:end]), name)
    array = number_array(value, name)
    if array.ndim != 2:
        raise DimensionError(
            f"{name}: expected shape (n, dim), got {array.shape}"
            + (f"; call {name}.reshape(1, -1) for one vector" if array.ndim == 1 else "")
        )
    return Matrix(array.shape[0], array.shape[1], array)


def queries_of(value: Any, name: str) -> npt.NDArray[Any]:
    """Queries as an array of numbers: (n, dim), or (dim,); a column of vectors is (n, dim).

    Raises:
        InvalidVectorError, DimensionError: as for a matrix.
    """
    root = type(value).__module__.partition(".")[0]
    if root not in ("pandas", "polars"):
        return number_array(value, name)
    if getattr(value, "ndim", 2) == 1 or type(value).__name__ == "Series":
        holds = _holds_rows(value) if root == "pandas" else str(value.dtype).startswith(("List", "Array"))
        if not holds:
            return number_array(value, name)
    found = matrix_of(value, name)
    return found.array if found.array is not None else np.concatenate(list(_all_pieces(found)))


def _holds_rows(column: Any) -> bool:
    """Whether a pandas column's first value is a row of numbers."""
    return (
        bool(len(column))
        and hasattr(column.iloc[0], "__len__")
        and not isinstance(column.iloc[0], (str, bytes))
    )


def _unmasked(value: Any) -> tuple[int, Any]:
    """How many values of a masked array are masked, and the array without its mask; (0, `value`) for all else.

    numpy imports ``numpy.ma`` when that is first asked for, which takes longer than a small `add`: a value of its kind
    can be there only if somebody else did.
    """
    if "numpy.ma" not in sys.modules or not isinstance(value, np.ma.MaskedArray):
        return 0, value
    return int(np.ma.getmaskarray(value).sum()), value.data


def number_array(value: Any, name: str) -> npt.NDArray[Any]:
    """`value` as an array of numbers of any kind and shape, without a copy where it is one.

    Raises:
        InvalidVectorError: texts, times, objects, masked numbers, rows of different lengths.
    """
    masked, value = _unmasked(value)
    if masked:
        raise InvalidVectorError(f"{name}: {masked} of its numbers are masked; call {name}.filled(...)")
    if type(value).__module__.partition(".")[0] == "pyarrow":
        found = _from_arrow(value, name)
        value = found.array if found.array is not None else np.concatenate(list(_all_pieces(found)))
    try:
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidVectorError(f"{name}: expected rows of numbers, all of one length: {error}") from None
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        raise InvalidVectorError(f"{name}: expected numbers of at most 64 bits, got {array.dtype}")
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        example = next((item for item in array.flat if not isinstance(item, (int, float))), None)
        if example is None:
            example = next(
                (item for item in array.flat if isinstance(item, int) and abs(item) >= 2**63), None
            )
        got = f"{array.dtype}" if array.dtype.kind != "O" else f"{str(example)[:60]!r} ({_kind(example)})"
        raise InvalidVectorError(f"{name}: expected numbers, got {got}")
    return array


def _all_pieces(matrix: Matrix) -> Iterable[npt.NDArray[np.float32]]:
    assert matrix.piece is not None
    first = 0
    yield np.empty((0, matrix.width), np.float32)
    while first < matrix.n:
        piece = matrix.piece(first)
        yield piece
        first += len(piece)


def _as_float32(array: npt.NDArray[Any], first: int, name: str) -> npt.NDArray[np.float32]:
    try:
        return _core.as_float32(number_array(array, name), first)
    except ValueError as error:
        raise InvalidVectorError(f"{name}: {error}") from None


def _from_pieces(n: int, width: int, take: Callable[[int, int], npt.NDArray[Any]], name: str) -> Matrix:
    def piece(first: int) -> npt.NDArray[np.float32]:
        return _as_float32(take(first, min(n, first + _ROWS_PER_PIECE)), first, name)

    return Matrix(n, width, None, piece)


def _from_rows(
    n: int,
    take: Callable[[int, int], list[Any]],
    name: str,
    whole: Callable[[int, int, int], npt.NDArray[Any]] | None = None,
) -> Matrix:
    """Rows that are Python's: lists, tuples, arrays. `whole` may give some as an array of a width, quicker, or raise."""
    width = _width(take(0, 1)[0], 0, name) if n else 0

    def piece(first: int) -> npt.NDArray[np.float32]:
        if whole is not None:
            with contextlib.suppress(Exception):  # what is wrong with which row is said below
                array = whole(first, min(n, first + _ROWS_PER_PIECE), width)
                if array.shape == (min(_ROWS_PER_PIECE, n - first), width):
                    return _as_float32(array, first, name)
        rows = take(first, min(n, first + _ROWS_PER_PIECE))
        for i, row in enumerate(rows):
            if _width(row, first + i, name) != width:
                raise DimensionError(
                    f"{name}: row {first + i}: expected {width} numbers as in row 0, got {len(row)}"
                )
        try:
            return _as_float32(np.asarray(rows), first, name)
        except (InvalidVectorError, TypeError, ValueError, OverflowError):
            for i, row in enumerate(rows):  # which one?
                array = number_array(row, f"{name}: row {first + i}")
                if array.ndim != 1:
                    raise DimensionError(
                        f"{name}: row {first + i}: expected numbers, got shape {array.shape}"
                    ) from None
            raise

    return Matrix(n, width, None, piece)


def _width(row: Any, i: int, name: str) -> int:
    if isinstance(row, (str, bytes)) or not hasattr(row, "__len__"):
        raise (DimensionError if isinstance(row, (int, float)) else InvalidVectorError)(
            f"{name}: row {i}: expected a row of numbers, got {str(row)[:60]!r} ({_kind(row)})"
        )
    return len(row)


def _from_pandas(frame: Any, name: str) -> Matrix:
    dtypes = set(frame.dtypes)
    if len(dtypes) == 1 and isinstance(next(iter(dtypes)), np.dtype):
        array = number_array(frame.to_numpy(), name)
        return Matrix(array.shape[0], array.shape[1], array)

    def take(first: int, end: int) -> npt.NDArray[Any]:
        try:
            taken: npt.NDArray[Any] = frame.iloc[first:end].to_numpy(dtype="float64", na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise InvalidVectorError(f"{name}: expected columns of numbers: {error}") from None
        return taken

    return _from_pieces(len(frame), frame.shape[1], take, name)


def _from_arrow(value: Any, name: str) -> Matrix:
    kind = type(value).__name__
    if kind in ("Table", "RecordBatch") and value.num_columns == 1 and "list" in str(value.schema.types[0]):
        value = value.column(0)
        kind = type(value).__name__
    if kind in ("Table", "RecordBatch"):

        def take(first: int, end: int) -> npt.NDArray[Any]:
            part = value.slice(first, end - first)
            return np.column_stack(
                [
                    number_array(np.asarray(column), f"{name}: column {at}")
                    for at, column in enumerate(part.columns)
                ]
            )

        return _from_pieces(value.num_rows, value.num_columns, take, name)
    if value.null_count:
        raise InvalidVectorError(
            f"{name}: {value.null_count} of its rows {'is' if value.null_count == 1 else 'are'} null"
        )
    if kind == "ChunkedArray":
        chunks = [_from_arrow(chunk, name) for chunk in value.chunks if len(chunk)]
        if len(chunks) == 1:
            return chunks[0]
        ends = list(accumulate(chunk.n for chunk in chunks))

        def piece(first: int) -> npt.NDArray[np.float32]:
            at = int(np.searchsorted(ends, first, side="right"))
            begin = first - (ends[at] - chunks[at].n)
            chunk = chunks[at]
            if chunk.piece is not None:
                return chunk.piece(begin)
            assert chunk.array is not None
            return _as_float32(chunk.array[begin : begin + _ROWS_PER_PIECE], first, name)

        return Matrix(len(value), chunks[0].width if chunks else 0, None, piece)
    if kind == "FixedSizeListArray":
        numbers = value.flatten()
        if numbers.null_count:
            raise InvalidVectorError(f"{name}: {numbers.null_count} of its numbers are null")
        array = number_array(numbers.to_numpy(zero_copy_only=False), name).reshape(len(value), -1)
        return Matrix(len(value), int(value.type.list_size), array)
    return _from_rows(
        len(value),
        lambda first, end: value.slice(first, end - first).to_pylist(),
        name,
        lambda first, end, width: _flat(value.slice(first, end - first), width),
    )


def _flat(lists: Any, width: int) -> npt.NDArray[Any]:
    """Arrow's lists of one length as an array."""
    lengths = np.asarray(lists.value_lengths())
    if not (lengths == width).all():
        raise DimensionError("lists of other lengths")
    numbers = lists.flatten()
    if numbers.null_count:
        raise InvalidVectorError("null")
    return np.asarray(numbers.to_numpy(zero_copy_only=False)).reshape(len(lists), width)


def ids_of(ids: Any, n: int | None, *, uuids_as_text: bool = True) -> Keys:
    """A user's ids: int64 (n,), or a list of texts, or of bytes.

    Args:
        ids: any integers, texts, bytes or UUIDs; one alone counts as a list of one.
        n: how many there must be; None: any number.
        uuids_as_text: UUIDs become text; else their 16 bytes.

    Raises:
        InvalidVectorError: ids of other kinds, or that do not fit into 64 bits.
        DimensionError: another number of them, or not of one dimension.
    """
    if type(ids).__module__.partition(".")[0] in ("pandas", "polars", "pyarrow"):
        if getattr(ids, "null_count", 0) and not callable(ids.null_count):
            raise InvalidVectorError(f"ids: {ids.null_count} of them are null")
        ids = np.asarray(ids)
    masked, ids = _unmasked(ids)
    if masked:
        raise InvalidVectorError(f"ids: {masked} of them are masked")
    if isinstance(ids, range):
        ids = (
            list(ids)
            if max(map(abs, (ids.start, ids.stop))) > 2**62
            else np.arange(ids.start, ids.stop, ids.step)
        )
    keys = _from_array(ids, uuids_as_text) if isinstance(ids, np.ndarray) else _from_items(ids, uuids_as_text)
    if n is not None and len(keys) != n:
        raise DimensionError(
            f"ids and matrix: expected as many ids as rows, got {len(keys)} ids and {n} rows"
        )
    return keys


def _from_array(ids: npt.NDArray[Any], uuids_as_text: bool) -> Keys:
    if ids.ndim == 0:
        ids = ids[None]
    if ids.ndim != 1:
        raise DimensionError(f"ids: expected shape (n,), got {ids.shape}; call ids.ravel()")
    if ids.dtype.kind in "OUST":
        return _from_items(ids.tolist(), uuids_as_text)
    if ids.dtype.kind not in "iu":
        raise InvalidVectorError(f"ids: expected integers or texts, got {ids.dtype}")
    if ids.dtype.kind == "u" and ids.dtype.itemsize == 8 and len(ids) and int(ids.max()) >= 2**63:
        raise InvalidVectorError(f"ids: {ids.max()} does not fit into SQLite's 64-bit integers")
    return np.require(ids, np.int64, ("C", "A", "E"))


def _from_items(ids: Any, uuids_as_text: bool) -> Keys:
    items = list(ids) if isinstance(ids, Iterable) and not isinstance(ids, (str, bytes)) else [ids]
    if "uuid" in sys.modules:  # else there is none
        from uuid import UUID

        items = [(str(id) if uuids_as_text else id.bytes) if isinstance(id, UUID) else id for id in items]
    for wanted in (str, bytes):
        if items and all(isinstance(id, wanted) for id in items):
            return items
    first = next((kind for kind in (str, bytes) if items and isinstance(items[0], kind)), None)
    for id in items:
        if first is not None and isinstance(id, first):
            continue
        if first is not None or isinstance(id, (bool, np.bool_)) or not isinstance(id, (int, np.integer)):
            raise InvalidVectorError(
                f"ids: expected integers, or texts, or bytes, all of one kind, got {str(id)[:60]!r} ({_kind(id)})"
            )
        if not -(2**63) <= id < 2**63:
            shown = str(id) if abs(id) < 10**40 else f"an integer of {int(id).bit_length()} bits"
            raise InvalidVectorError(f"ids: {shown} does not fit into SQLite's 64-bit integers")
    return np.array([int(id) for id in items], np.int64)


def _kind(value: object) -> str:
    return type(value).__name__
