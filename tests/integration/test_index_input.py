"""What users hand to Index: arrays of other kinds and layouts, lists, frames, Arrow; and tables that come and go."""

from __future__ import annotations

import datetime
import sqlite3
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import vssnative
from tests.conftest import vectors
from vssnative import DimensionError, DuplicateIdError, Index, InvalidVectorError, QueryError, _core

GOOD = np.random.default_rng(5).integers(-128, 128, (1300, 8)).astype(np.float32)
"""Whole numbers within int8, so that every kind of number holds them."""

KINDS = ["float64", "float32", "float16", "int8", "int16", "int32", "int64", ">f4", ">f8", ">i2", "<f4"]


def stored(index: Index, n: int = len(GOOD)) -> npt.NDArray[np.float32]:
    return index.get(range(n)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["C", "F", "reversed", "every second", "mirrored", "read-only"])
def test_every_kind_and_layout_is_stored_as_float32_would_be(
    db: sqlite3.Connection, kind: str, layout: str
) -> None:
    matrix = GOOD.astype(kind)
    expected = GOOD
    if layout == "F":
        matrix = np.asfortranarray(matrix)
    elif layout == "reversed":
        matrix, expected = matrix[::-1], GOOD[::-1]
    elif layout == "every second":
        matrix = np.repeat(matrix, 2, axis=1)[:, ::2]
    elif layout == "mirrored":
        matrix, expected = matrix[:, ::-1], GOOD[:, ::-1]
    elif layout == "read-only":
        matrix.flags.writeable = False
    index = Index(db)
    index.add(range(len(matrix)), matrix)
    np.testing.assert_array_equal(stored(index), expected)
    found, distances = index.search(matrix[:3], k=1)
    np.testing.assert_array_equal(distances, 0)
    np.testing.assert_array_equal(index.get(found[:, 0]), expected[:3])


def behind_a_header(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same numbers at addresses that are no multiple of their size, as those of a file that begins with something else."""
    bytes_ = np.frombuffer(b"\0" + array.tobytes(), np.uint8)
    if bytes_.ctypes.data % 2:  # one byte further on, then
        bytes_ = np.frombuffer(b"\0\0" + array.tobytes(), np.uint8)[1:]
    return bytes_[1:].view(array.dtype).reshape(array.shape)


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_numbers_behind_a_header_are_not_read_where_they_lie(
    db: sqlite3.Connection, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading them there is undefined behaviour in C++."""
    handed: list[Any] = []
    for name in ("register_rows", "register_search"):
        real = getattr(_core, name)

        def register(*arrays: Any, real: Any = real, **options: Any) -> Any:
            handed.extend(array for array in arrays if isinstance(array, np.ndarray))
            return real(*arrays, **options)

        monkeypatch.setattr(_core, name, register)
    matrix, ids = behind_a_header(GOOD.astype(kind)), behind_a_header(np.arange(len(GOOD)))
    assert not matrix.flags.aligned and not ids.flags.aligned
    index = Index(db, type=kind)
    index.add(ids, matrix)
    for queries in (matrix[:3], matrix[1]):
        _, distances = index.search(queries, k=1)
        np.testing.assert_array_equal(distances, 0)
    np.testing.assert_array_equal(index.get(ids).astype(np.float32), GOOD)
    assert index.remove(ids) == len(GOOD)
    assert len(handed) >= 5 and all(array.flags.aligned for array in handed)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "uint64", "bool"])
def test_unsigned_numbers_and_bools(db: sqlite3.Connection, kind: str) -> None:
    matrix = np.abs(GOOD).astype(kind)
    index = Index(db)
    index.add(range(len(matrix)), matrix)
    np.testing.assert_array_equal(stored(index), matrix.astype(np.float32))


@pytest.mark.parametrize("type", ["float16", "bfloat16", "int8"])
@pytest.mark.parametrize("kind", ["float64", "float32", "int32"])
def test_columns_of_other_types_take_them_too(db: sqlite3.Connection, type: str, kind: str) -> None:
    index = Index(db, type=type)
    index.add(range(len(GOOD)), np.asfortranarray(GOOD.astype(kind)))
    if type == "bfloat16":
        np.testing.assert_array_equal(index.get(range(10)).astype(np.float32), GOOD[:10])
    else:
        np.testing.assert_array_equal(stored(index), GOOD)
    found, distances = index.search(GOOD[:3].astype(kind), k=1)
    np.testing.assert_array_equal(distances, 0)


@pytest.mark.parametrize("kind", ["float32", "float64", "int8"])
def test_a_memoryview_is_a_matrix(db: sqlite3.Connection, kind: str) -> None:
    index = Index(db)
    matrix = GOOD.astype(kind)
    index.add(range(len(GOOD)), memoryview(matrix))
    np.testing.assert_array_equal(stored(index), GOOD)
    assert index.search(memoryview(matrix[:2]), k=1)[1].tolist() == [[0], [0]]
    with pytest.raises(DimensionError, match=r"expected shape \(n, dim\), got \(8,\)"):
        index.add([1], memoryview(matrix[0]))


def test_bits_from_bools_and_packed(db: sqlite3.Connection) -> None:
    bools = np.random.default_rng(1).random((50, 16)) < 0.5
    packed = np.packbits(bools, axis=1, bitorder="little")
    index = Index(db, type="bit", dim=16)
    index.add(range(50), bools)
    index.add(range(50, 100), packed)
    index.add(range(100, 150), bools.tolist())
    np.testing.assert_array_equal(index.get(range(150)), np.concatenate([packed] * 3))
    assert index.search(bools[3], k=3)[1].tolist() == [0, 0, 0]


def fortran(matrix: npt.NDArray[Any]) -> Any:
    return np.asfortranarray(matrix)


def every_second_column(matrix: npt.NDArray[Any]) -> Any:
    return np.repeat(matrix, 2, axis=1)[:, ::2]


def backwards(matrix: npt.NDArray[Any]) -> Any:
    return np.ascontiguousarray(matrix[::-1, ::-1])[::-1, ::-1]


LAYOUTS = [fortran, every_second_column, backwards]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_packed_bits_of_every_layout(db: sqlite3.Connection, layout: Callable[[Any], Any]) -> None:
    packed = np.random.default_rng(1).integers(0, 256, (50, 4), np.uint8)
    index = Index(db, type="bit", dim=32)
    index.add(range(50), layout(packed))
    np.testing.assert_array_equal(index.get(range(50)), packed)
    assert index.search(layout(packed)[:3], k=1)[1].tolist() == [[0], [0], [0]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_int8_of_every_layout_is_stored_as_it_is_with_a_scale(
    db: sqlite3.Connection, layout: Callable[[Any], Any]
) -> None:
    db.execute("create virtual table scaled using vss0(embedding(4) type=int8 scale=0.5)")
    codes = np.arange(-20, 20, dtype=np.int8).reshape(10, 4)
    index = Index(db, "scaled")
    index.add(range(10), layout(codes))
    np.testing.assert_array_equal(index.get(range(10)), codes)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bfloat16_as_uint16_of_every_layout(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, layout: Callable[[Any], Any]
) -> None:
    monkeypatch.setattr("vssnative._index.column.bfloat16", lambda: None)  # ml_dtypes is not installed
    halves = (GOOD[:10].view(np.uint32) >> 16).astype(np.uint16)
    index = Index(db, type="bfloat16", dim=8)
    index.add(range(10), layout(halves))
    np.testing.assert_array_equal(index.get(range(10)), halves)


def as_lists(matrix: npt.NDArray[Any]) -> Any:
    return matrix.tolist()


def as_tuples(matrix: npt.NDArray[Any]) -> Any:
    return tuple(map(tuple, matrix.tolist()))


def as_arrays(matrix: npt.NDArray[Any]) -> Any:
    return list(matrix)


def as_pandas(matrix: npt.NDArray[Any]) -> Any:
    return pytest.importorskip("pandas").DataFrame(matrix)


def as_mixed_pandas(matrix: npt.NDArray[Any]) -> Any:
    frame = pytest.importorskip("pandas").DataFrame(matrix)
    return frame.astype({0: "float64", 1: "int64", 2: "Float64", 3: "Int32"})


def as_pandas_lists(matrix: npt.NDArray[Any]) -> Any:
    return pytest.importorskip("pandas").Series(matrix.tolist(), index=range(5, 5 + len(matrix)))


def as_polars(matrix: npt.NDArray[Any]) -> Any:
    return pytest.importorskip("polars").DataFrame(matrix)


def as_polars_arrays(matrix: npt.NDArray[Any]) -> Any:
    return pytest.importorskip("polars").Series(matrix)


def as_polars_lists(matrix: npt.NDArray[Any]) -> Any:
    return pytest.importorskip("polars").Series(matrix.tolist())


def as_arrow(matrix: npt.NDArray[Any]) -> Any:
    pa = pytest.importorskip("pyarrow")
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


def as_sliced_arrow(matrix: npt.NDArray[Any]) -> Any:
    return as_arrow(np.concatenate([matrix[:7], matrix])).slice(7)


def as_chunked_arrow(matrix: npt.NDArray[Any]) -> Any:
    pa = pytest.importorskip("pyarrow")
    return pa.chunked_array([as_arrow(matrix[:700]), as_arrow(matrix[700:701]), as_arrow(matrix[701:])])


def as_arrow_lists(matrix: npt.NDArray[Any]) -> Any:
    return pytest.importorskip("pyarrow").array(matrix.tolist())


def as_arrow_table(matrix: npt.NDArray[Any]) -> Any:
    pa = pytest.importorskip("pyarrow")
    return pa.table({f"c{i}": matrix[:, i] for i in range(matrix.shape[1])})


class Tensor:
    """Like torch's: an array by ``__array__`` alone."""

    def __init__(self, matrix: npt.NDArray[Any]) -> None:
        self.matrix = matrix

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
        return self.matrix if dtype is None else self.matrix.astype(dtype)


@pytest.mark.parametrize(
    "make",
    [
        as_lists,
        as_tuples,
        as_arrays,
        as_pandas,
        as_mixed_pandas,
        as_pandas_lists,
        as_polars,
        as_polars_arrays,
        as_polars_lists,
        as_arrow,
        as_sliced_arrow,
        as_chunked_arrow,
        as_arrow_lists,
        as_arrow_table,
        Tensor,
    ],
)
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_what_holds_rows_is_taken(
    db: sqlite3.Connection, make: Callable[[npt.NDArray[Any]], Any], kind: str
) -> None:
    index = Index(db)
    index.add(range(len(GOOD)), make(GOOD.astype(kind)))
    np.testing.assert_array_equal(stored(index), GOOD)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: np.arange(n, dtype=np.int32),
        lambda n: np.arange(n, dtype=np.uint64),
        lambda n: np.arange(2 * n, dtype=np.int64)[::2] // 2,
        lambda n: np.arange(n, dtype=">i4"),
        lambda n: list(map(np.int16, range(n))),
        lambda n: (i for i in range(n)),
        lambda n: pytest.importorskip("pandas").Series(range(n)),
        lambda n: pytest.importorskip("pandas").RangeIndex(n),
        lambda n: pytest.importorskip("polars").Series(range(n)),
        lambda n: pytest.importorskip("pyarrow").array(range(n)),
        lambda n: pytest.importorskip("pyarrow").chunked_array([list(range(5)), list(range(5, n))]),
        lambda n: np.array(range(n), object),
    ],
)
def test_any_integers_are_ids(db: sqlite3.Connection, make: Callable[[int], Any]) -> None:
    index = Index(db)
    index.add(make(len(GOOD)), GOOD)
    np.testing.assert_array_equal(stored(index), GOOD)
    assert index.remove(make(10)) == 10


BAD: list[tuple[Any, type[Exception], str]] = [
    (
        np.where(np.eye(5, 8) > 0, np.nan, 0.0)[[1, 2]],
        InvalidVectorError,
        r"row 0 \(id 1\): element 1: .* got nan",
    ),
    (
        np.array([[0.0] * 8, [0.0] * 7 + [1e39]]),
        InvalidVectorError,
        r"row 1 \(id 2\): element 7: .* got 1e\+39",
    ),
    (
        np.array([[0] * 8, [2**24 + 1] + [0] * 7]),
        InvalidVectorError,
        r"row 1 \(id 2\): element 0: .* 16777217",
    ),
    (
        np.array([[0] * 8, [2**63 - 1] + [0] * 7]),
        InvalidVectorError,
        r"row 1 .* element 0: .* 9223372036854775807",
    ),
    (
        np.full((2, 8), 2**64 - 1, np.uint64),
        InvalidVectorError,
        r"row 0 .* element 0: .* 18446744073709551615",
    ),
    (np.full((2, 8), np.inf, np.float16), InvalidVectorError, r"row 0 .* element 0: .* got inf"),
    (np.zeros((2, 8), np.complex64), InvalidVectorError, "expected numbers, got complex64"),
    (np.zeros((2, 8), "M8[s]"), InvalidVectorError, "expected numbers, got datetime64"),
    (np.zeros((2, 8), "m8[s]"), InvalidVectorError, "expected numbers, got timedelta64"),
    (np.full((2, 8), "1"), InvalidVectorError, "expected numbers, got <U1"),
    (np.zeros((2, 8), np.longdouble), InvalidVectorError, "at most 64 bits"),
    (
        np.ma.masked_equal(np.array([[0.0] * 8, [1.0] * 8]), 1),
        InvalidVectorError,
        "8 of its numbers are masked",
    ),
    ([[1.0] * 8, [1.0] * 7], DimensionError, "row 1: expected 8 numbers as in row 0, got 7"),
    ([[1.0] * 8, [1.0] * 7 + ["x"]], InvalidVectorError, r"row 1: expected numbers, got"),
    ([[1.0] * 8, [1.0] * 7 + [None]], InvalidVectorError, r"row 1: expected numbers, got .*None"),
    (
        [[1.0] * 8, [1.0] * 7 + [2**70]],
        InvalidVectorError,
        r"row 1: expected numbers, got .*1180591620717411303424",
    ),
    ([[1.0] * 8, [[1.0]] * 8], DimensionError, "row 1: expected numbers, got shape"),
    (
        [[1.0] * 8, [datetime.date(2024, 1, 1)] * 8],
        InvalidVectorError,
        "row 1: expected numbers, got .*2024-01-01",
    ),
    ([[1.0] * 8, [np.nan] * 8], InvalidVectorError, "row 1: element 0: expected a finite number, got nan"),
    ([1.0] * 2, DimensionError, "row 0: expected a row of numbers"),
    (["abc", "def"], InvalidVectorError, "row 0: expected a row of numbers, got 'abc'"),
    (np.zeros(8, np.float32), DimensionError, "call matrix.reshape"),
    (np.zeros((2, 2, 8), np.float32), DimensionError, r"got \(2, 2, 8\)"),
    (np.zeros((2, 0), np.float32), DimensionError, "at least one"),
    (None, InvalidVectorError, "expected numbers, got"),
    ("ab", InvalidVectorError, "expected numbers, got"),
]


@pytest.mark.parametrize(("matrix", "error", "words"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_converted_names_row_and_value(
    db: sqlite3.Connection, matrix: Any, error: type[Exception], words: str
) -> None:
    index = Index(db)
    with pytest.raises(error, match=words):
        index.add([1, 2], matrix)
    # Nothing is left of it, not even a table.
    assert db.execute("select count(*) from sqlite_master").fetchone() == (0,)
    assert not db.in_transaction
    index.add([7], GOOD[:1])
    with pytest.raises((InvalidVectorError, DimensionError)):
        index.add([1, 2], matrix)
    assert len(index) == 1


@pytest.mark.parametrize(
    ("queries", "error"),
    [
        ([[1.0] * 8, [1.0] * 7], InvalidVectorError),
        (np.ma.masked_equal(np.ones(8), 1), InvalidVectorError),
        (np.zeros(8, "M8[s]"), InvalidVectorError),
        ([2**70] + [0.0] * 7, InvalidVectorError),
        (np.full(8, 1e300), InvalidVectorError),
        (["1"] * 8, InvalidVectorError),
        (np.zeros(8, np.complex128), InvalidVectorError),
        (None, InvalidVectorError),
        ("abc", InvalidVectorError),
        (np.zeros((1, 1, 8)), DimensionError),
        (np.zeros(7), DimensionError),
        (np.full(8, np.nan), InvalidVectorError),
        (np.full(8, np.nan, np.float32), InvalidVectorError),
    ],
)
def test_queries_that_are_none_are_refused(
    db: sqlite3.Connection, queries: Any, error: type[Exception]
) -> None:
    index = Index(db)
    index.add(range(10), GOOD[:10])
    with pytest.raises(error):
        index.search(queries)


@pytest.mark.parametrize("kind", ["float32", "float64", "int8"])
@pytest.mark.parametrize("ids", [range(10), [f"key {i}" for i in range(10)]])
def test_no_queries_have_no_answers(db: sqlite3.Connection, kind: str, ids: Any) -> None:
    index = Index(db)
    with pytest.raises(QueryError, match="there is no table"):
        index.search(np.empty((0, 8), kind))
    index.add(ids, GOOD[:10])
    some, near = index.search(GOOD[:2])
    for queries in (np.empty((0, 8), kind), np.empty((0, 8), kind, order="F"), GOOD[:0]):
        for k in (0, 3, 2**32):
            found, distances = index.search(queries, k)
            assert (found.shape, distances.shape) == ((0, k), (0, k))
            assert (found.dtype, distances.dtype) == (some.dtype, near.dtype)
    with pytest.raises(DimensionError):
        index.search(np.empty((0, 7), kind))


def test_numbers_beyond_64_bits(db: sqlite3.Connection) -> None:
    index = Index(db)
    index.add(range(10), GOOD[:10])
    assert 2**70 not in index
    for call in (
        lambda: index.get([2**70]),
        lambda: index.remove([-(2**70)]),
        lambda: index.add([2**70], GOOD[:1]),
    ):
        with pytest.raises(InvalidVectorError, match="does not fit into SQLite's 64-bit integers"):
            call()
    with pytest.raises(InvalidVectorError, match="does not fit"):
        index.remove(np.array([2**64 - 1], np.uint64))
    with pytest.raises(QueryError, match="at most 4294967296 rows"):
        index.search(GOOD[0], k=2**70)
    with pytest.raises(QueryError, match="does not fit"):
        index.search(GOOD[0], where="rowid = ?", params=(2**70,))


def test_conversion_needs_no_second_matrix(db: sqlite3.Connection, random: np.random.Generator) -> None:
    matrix = np.asfortranarray(random.standard_normal((40_000, 64)))
    rows = list(matrix[:5000])
    index = Index(db, index="flat", dim=64)
    tracemalloc.start()
    try:
        index.add(range(40_000), matrix)
        index.add(range(40_000, 45_000), rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # As float32 they would be 10 MB; the ids are 0.3 MB, a piece of the list 0.4 MB.
    assert peak < 3_000_000
    np.testing.assert_array_equal(
        index.get([7, 39_999, 44_999]), matrix[[7, 39_999, 4999]].astype(np.float32)
    )


def test_float32_is_read_in_place(
    db: sqlite3.Connection, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[Any, Any]] = []
    register = _core.register_rows

    def watched(ids: Any, matrix: Any = None, convert: bool = False, **rest: Any) -> Any:
        taken.append((matrix, convert))
        return register(ids, matrix, convert, **rest)

    monkeypatch.setattr(_core, "register_rows", watched)
    index = Index(db)
    wide = vectors(random, 8, 16)
    for start, matrix in enumerate((wide[:2, :8], wide[::4, 8:], np.ascontiguousarray(wide[:2, :8]))):
        index.add([2 * start, 2 * start + 1], matrix)
        assert taken[-1][0] is matrix
        assert not taken[-1][1]
    index.add([10, 11], wide[:2, ::2])
    assert taken[-1][1]


# --- tables that come and go -----------------------------------------------------------------------------------------


def test_a_plain_connection_gets_vss0(tmp_path: Path) -> None:
    conn = sqlite3.connect(tmp_path / "plain.db")
    index = Index(conn)
    index.add([1, 2], GOOD[:2])
    assert index.search(GOOD[1], k=1)[0].tolist() == [2]
    conn.close()


def test_an_index_outlives_the_rollback_of_its_table(db: sqlite3.Connection) -> None:
    index = Index(db)
    db.execute("begin")
    index.add([1, 2], GOOD[:2])
    assert index.search(GOOD[1], k=1)[0].tolist() == [2]
    db.rollback()
    assert len(index) == 0
    assert 1 not in index
    with pytest.raises(QueryError, match="no table 'vss_vectors'"):
        index.search(GOOD[1], k=1)
    index.add([3], GOOD[:1])
    assert index.search(GOOD[0], k=1)[0].tolist() == [3]


def test_a_search_after_a_rollback_says_that_there_is_no_table(db: sqlite3.Connection) -> None:
    index = Index(db)
    db.execute("begin")
    index.add([1, 2], GOOD[:2])
    index.search(GOOD[1], k=1)
    db.rollback()
    with pytest.raises(QueryError, match="no table 'vss_vectors'"):
        index.search(GOOD[1], k=1)


@pytest.mark.parametrize("kind", ["other dimensions", "other type of as many bytes"])
def test_a_table_that_was_made_again(db: sqlite3.Connection, kind: str) -> None:
    index = Index(db, "t")
    index.add([1, 2], GOOD[:2])
    assert index.search(GOOD[1], k=1)[0].tolist() == [2]
    db.commit()
    db.execute("drop table t")
    if kind == "other dimensions":
        new = np.repeat(GOOD[:5], 2, axis=1)
        Index(db, "t").add(range(5), new)
    else:
        new = np.repeat(GOOD[:5], 2, axis=1).astype(np.float16)  # 16 halves: as many bytes as 8 floats
        Index(db, "t", type="float16").add(range(5), new)
        with pytest.raises(DimensionError, match=r"has 16 dimensions, got shape \(1, 8\)"):
            index.search(GOOD[0])
    np.testing.assert_array_equal(index.search(new[:3], k=1)[0][:, 0], range(3))
    np.testing.assert_array_equal(index.get([0, 4]), new[[0, 4]])
    assert index.dim == 16
    with pytest.raises(DimensionError, match=r"has 16 dimensions, got shape \(1, 8\)"):
        index.search(GOOD[0])
    with pytest.raises(DimensionError):
        index.add([9], GOOD[:1])


def test_empty_lists_are_nothing_to_add(db: sqlite3.Connection) -> None:
    """The last portion of a loop may be empty."""
    index = vssnative.Index(db, "vectors")
    with pytest.raises(vssnative.DimensionError, match="at least one dimensions"):
        index.add([], [])  # of a table that is not there yet nothing is known
    index.add([1], [[1.0, 2.0]])
    index.add([], [])
    index.add([], np.zeros((0, 2), np.float32), replace=True)
    assert len(index) == 1
    with pytest.raises(vssnative.DimensionError):
        index.add([], np.zeros((0, 3), np.float32))
    with pytest.raises(vssnative.DimensionError):
        index.add([2], [])


def test_a_table_that_does_not_exist_is_no_empty_answer(db: sqlite3.Connection) -> None:
    index = Index(db, "typo")
    with pytest.raises(QueryError, match="no table 'typo' in 'main'"):
        index.search(GOOD[0])
    with pytest.raises(QueryError, match="no table 'typo' in 'main'"):
        index.search(GOOD[0], k=0)
    with pytest.raises(QueryError, match="no table 'typo' in 'main'"):
        index.explain(GOOD[0])


def test_a_failed_first_add_leaves_no_table(db: sqlite3.Connection) -> None:
    index = Index(db)
    with pytest.raises(DuplicateIdError):
        index.add([1, 1], GOOD[:2])
    assert db.execute("select name from sqlite_master").fetchall() == []
    assert not db.in_transaction
    db.execute("create table mine(x)")
    db.execute("begin")
    db.execute("insert into mine values(1)")
    with pytest.raises(DuplicateIdError):
        index.add([1, 1], GOOD[:2])
    assert db.in_transaction
    db.commit()
    assert db.execute("select name from sqlite_master").fetchall() == [("mine",)]
    assert db.execute("select x from mine").fetchall() == [(1,)]
    index.add([1, 2], GOOD[:2])
    with pytest.raises(DuplicateIdError):
        index.add([3, 3], GOOD[:2])
    assert len(index) == 2


def test_errors_of_a_list_come_through_apsw_too() -> None:
    apsw = pytest.importorskip("apsw")
    conn = vssnative.connect(":memory:", driver=apsw)
    with pytest.raises(InvalidVectorError, match="row 1: element 0: .* got nan"):
        Index(conn).add([1, 2], [[1.0] * 8, [np.nan] * 8])
    Index(conn).add([1, 2], np.asfortranarray(GOOD[:2]))
    conn.close()
