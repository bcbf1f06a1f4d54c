"""Columns of pandas, polars and pyarrow: vectors and texts that come in, frames that go out."""

from __future__ import annotations

import sqlite3
import sys
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import vssnative
from vssnative import DimensionError, Index, InvalidVectorError

N, DIM = 1300, 8
MATRIX = np.random.default_rng(3).standard_normal((N, DIM), dtype=np.float32)
LISTS = pa.FixedSizeListArray.from_arrays(pa.array(MATRIX.ravel()), DIM)
CHUNKS = pa.chunked_array([LISTS[:700], LISTS[700:]])
COLUMNS: dict[str, Any] = {
    "arrow fixed": LISTS,
    "arrow fixed, cut": pa.concat_arrays([LISTS[:5], LISTS])[5:],
    "arrow chunks": CHUNKS,
    "arrow list": pa.array(MATRIX.tolist(), pa.list_(pa.float32())),
    "arrow large list, cut": pa.array([[1.0]] + MATRIX.tolist(), pa.large_list(pa.float64()))[1:],
    "arrow tensors": pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [DIM]), LISTS),
    "arrow table": pa.table({"v": CHUNKS}),
    "arrow batch": pa.RecordBatch.from_pydict({"v": LISTS}),
    "pandas": pd.Series(list(MATRIX), index=range(7, 7 + N)),
    "pandas over arrow": pd.Series(pd.arrays.ArrowExtensionArray(CHUNKS)),
    "pandas frame": pd.DataFrame({"v": list(MATRIX)}),
    "polars array": pl.Series("v", MATRIX, dtype=pl.Array(pl.Float32, DIM)),
    "polars list": pl.Series("v", MATRIX.tolist(), dtype=pl.List(pl.Float32)),
    "polars frame": pl.DataFrame({"v": pl.Series("v", MATRIX, dtype=pl.Array(pl.Float32, DIM))}),
}


def part(column: Any, first: int, end: int) -> Any:
    return column.iloc[first:end] if isinstance(column, (pd.Series, pd.DataFrame)) else column[first:end]


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_of_vectors_are_added_and_searched(db: sqlite3.Connection, kind: str) -> None:
    column = COLUMNS[kind]
    index = Index(db)
    if kind == "arrow batch":
        queries: Any = column.column(0)[3:6]
    else:
        queries = column.slice(3, 3) if isinstance(column, (pa.Table, pa.Array)) else part(column, 3, 6)
    index.add(range(N), column)
    np.testing.assert_array_equal(index.get(range(N)), MATRIX)
    ids, distances = index.search(queries, k=2)
    np.testing.assert_array_equal(ids[:, 0], [3, 4, 5])
    assert distances.shape == (3, 2)


def test_one_query_may_be_a_series_of_numbers(db: sqlite3.Connection) -> None:
    index = Index(db)
    index.add(range(N), MATRIX)
    for query in (pd.Series(MATRIX[9]), pl.Series(MATRIX[9]), pa.array(MATRIX[9].tolist())[:]):
        ids, _ = index.search(np.asarray(query), k=3)
        assert ids.shape == (3,) and ids[0] == 9
    ids, _ = index.search(pd.Series(MATRIX[9]), k=3)
    assert ids.shape == (3,) and ids[0] == 9
    ids, _ = index.search(pl.Series(MATRIX[9]), k=3)
    assert ids.shape == (3,) and ids[0] == 9


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        (pa.array([[1.0, 2.0], [1.0]]), DimensionError, "row 1: expected 2 numbers as in row 0, got 1"),
        (pa.array([[1.0, 2.0], None]), InvalidVectorError, "1 of its rows is null"),
        (pa.array([[1.0, 2.0], [1.0, None]]), InvalidVectorError, "row 1: expected numbers, got .*None"),
        (pl.Series([[1.0, 2.0], [1.0]]), DimensionError, "row 1: expected 2 numbers as in row 0, got 1"),
        (pl.Series([[1.0, 2.0], [1.0, None]]), InvalidVectorError, "row 1"),
        (pl.Series([[1.0, 2.0], None]), InvalidVectorError, "row 1|null"),
        (pd.Series([[1.0, 2.0], [1.0]]), DimensionError, "row 1: expected 2 numbers as in row 0, got 1"),
        (pd.Series([[1.0, 2.0], None]), InvalidVectorError, "row 1: expected a row of numbers"),
        (pd.DataFrame({"v": ["a", "b"]}), InvalidVectorError, "expected (columns of )?numbers.*'a'"),
    ],
)
def test_columns_that_hold_no_vectors(
    db: sqlite3.Connection, column: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Index(db).add([1, 2], column)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_search_answers_with_a_frame(db: sqlite3.Connection, library: Any) -> None:
    index = Index(db)
    index.add(range(N), MATRIX)
    frame = index.search_frame(MATRIX[3:6], k=2, library=library)
    assert type(frame).__module__.partition(".")[0] == library
    rows = (
        frame.to_pydict()
        if library == "pyarrow"
        else frame.to_dict("list")
        if library == "pandas"
        else frame.to_dict(as_series=False)
    )
    ids, distances = index.search(MATRIX[3:6], k=2)
    assert rows["query"] == [0, 0, 1, 1, 2, 2] and rows["rank"] == [1, 2] * 3
    assert rows["id"] == ids.ravel().tolist()
    np.testing.assert_array_equal(np.array(rows["distance"], np.float32), distances.ravel())
    few = index.search_frame(MATRIX[0], k=10, where="rowid in (3, 5, 9999)", library=library)
    assert len(few) == 2 and set(map(int, few["id"].to_pylist() if library == "pyarrow" else few["id"])) == {
        3,
        5,
    }


def test_the_frame_is_of_the_queries_library(db: sqlite3.Connection) -> None:
    index = Index(db)
    index.add(["a", "b", "c"], MATRIX[:3])
    assert isinstance(index.search_frame(MATRIX[:1]), pd.DataFrame)
    found = index.search_frame(pl.Series("v", MATRIX[:2], dtype=pl.Array(pl.Float32, DIM)), k=5)
    assert isinstance(found, pl.DataFrame) and found["id"].to_list()[:1] == ["a"] and found.height == 6
    assert isinstance(index.search_frame(LISTS[:1]), pa.Table)
    none = index.search_frame(MATRIX[:1], where="rowid < 0")
    assert len(none) == 0 and list(none.columns) == ["query", "rank", "id", "distance"]


def test_a_library_that_is_not_there(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index(db)
    index.add([1], MATRIX[:1])
    with pytest.raises(vssnative.ConfigurationError, match="expected pandas, polars, pyarrow, got 'dask'"):
        index.search_frame(MATRIX[:1], library="dask")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(vssnative.MissingDependencyError, match="pip install polars"):
        index.search_frame(MATRIX[:1], library="polars")


TEXTS = ["one", "two", "drei ü"]


@pytest.mark.parametrize(
    "texts",
    [
        pd.Series(TEXTS, index=[5, 6, 7]),
        pd.Series(TEXTS, dtype="string[pyarrow]"),
        pl.Series(TEXTS),
        pa.array(TEXTS),
        pa.chunked_array([TEXTS[:1], TEXTS[1:]]),
        np.array(TEXTS),
        tuple(TEXTS),
    ],
    ids=lambda texts: f"{type(texts).__module__}.{type(texts).__name__}",
)
def test_columns_of_texts_are_embedded(texts: Any) -> None:
    np.testing.assert_array_equal(vssnative.embed(texts, "hash:16"), vssnative.embed(TEXTS, "hash:16"))
    np.testing.assert_array_equal(
        vssnative.embed(texts, "hash:16", kind="query"), vssnative.embed(TEXTS, "hash:16", kind="query")
    )


@pytest.mark.parametrize("texts", [pd.Series(["a", None]), pl.Series(["a", None]), pa.array(["a", None])])
def test_a_missing_text_is_named(texts: Any) -> None:
    with pytest.raises(vssnative.EmbeddingError, match=r"texts\[1\] must be a string"):
        vssnative.embed(texts, "hash:16")
