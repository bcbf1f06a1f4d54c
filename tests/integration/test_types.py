"""Element types and metrics, through SQL and numpy: what goes in, comes back, and is found, with and without filters.

Values are small whole numbers that every type holds exactly, so answers are compared for equality.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import vssnative

N, DIM = 300, 16
DTYPES: dict[str, Any] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "int8": np.int8,
}
METRICS = ("L2", "INNER_PRODUCT", "COSINE", "L1")
WHERE = "company = 'acme' and year < 30"


def distances(matrix: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    wide, q = matrix.astype(np.float64), query.astype(np.float64)
    if metric == "L2":
        found = ((wide - q) ** 2).sum(axis=1)
    elif metric == "L1":
        found = np.abs(wide - q).sum(axis=1)
    elif metric == "INNER_PRODUCT":
        found = -(wide @ q)
    elif metric == "HAMMING":
        found = (matrix != query).sum(axis=1)
    else:
        found = 1 - (wide @ q) / (np.linalg.norm(wide, axis=1) * np.linalg.norm(q))
    return found.astype(np.float32)


def matching(i: int) -> bool:
    return i % 3 == 0 and i % 50 < 30


def expected(found: np.ndarray, k: int, filtered: bool) -> list[tuple[int, float]]:
    ids = np.array([i for i in range(N) if not filtered or matching(i)])
    order = np.lexsort((ids, found[ids]))[:k]
    return [(int(ids[i]), float(found[ids[i]])) for i in order]


def fill(db: sqlite3.Connection, kind: str, metric: str) -> vssnative.Index:
    db.execute(
        f"create virtual table t using vss0(a({DIM}) type={kind} metric_type={metric}, company text, year integer)"
    )
    db.executemany(
        "insert into t(rowid, company, year) values(?, ?, ?)",
        ((i, "acme" if i % 3 == 0 else "bolt", i % 50) for i in range(N)),
    )
    return vssnative.Index(db, "t", "a")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", DTYPES)
def test_types_and_metrics(
    db: sqlite3.Connection, random: np.random.Generator, kind: str, metric: str
) -> None:
    matrix = random.integers(-8, 9, (N, DIM)).astype(DTYPES[kind])
    matrix[:, 0] = 1  # none is zero
    index = fill(db, kind, metric)
    index.add(np.arange(N), matrix, replace=True)
    assert (index.type, index.metric) == (kind, metric.lower())
    back = index.get([5, 3])
    assert back.dtype == matrix.dtype and back.tobytes() == matrix[[5, 3]].tobytes()
    [(blob, text)] = db.execute("select a, vss_to_json(a) from t where rowid = 7")
    assert blob == matrix[7].tobytes()
    # An int8 blob does not say what it is; where it can be told, the text is the vector's.
    if kind == "float32":
        assert json.loads(text) == matrix[7].astype(float).tolist()
    query = random.integers(-8, 9, DIM)
    query[1] = 3
    truth = distances(matrix, query, metric)
    as_float = query.astype(np.float32)
    function = {"float32": "", "float16": "vss_float16", "bfloat16": "vss_bfloat16", "int8": "vss_int8"}[kind]
    for given in (as_float.tobytes(), json.dumps(query.tolist()), query.astype(DTYPES[kind]).tobytes()):
        for k in (1, 10, N + 1):
            for filtered in (False, True):
                sql = "select rowid, distance from t where a match ? and k = ?" + f" and {WHERE}" * filtered
                rows = db.execute(sql, (given, k)).fetchall()
                close = expected(truth, k, filtered)
                assert [row[0] for row in rows] == [row[0] for row in close]
                assert [row[1] for row in rows] == pytest.approx([row[1] for row in close], abs=1e-6)
    ids, found = index.search(as_float, 10, where=WHERE)
    assert ids.tolist() == [row[0] for row in expected(truth, 10, True)]
    assert found.dtype == np.float32
    native, _ = index.search(query.astype(DTYPES[kind]), 10, where=WHERE)
    assert native.tolist() == ids.tolist()
    # By JSON text and by the type's own SQL function: the same vector.
    if function:
        db.execute(
            f"insert into t(rowid, a) values(1000, ?), (1001, {function}(?))",
            (json.dumps(query.tolist()),) * 2,
        )
    else:
        db.execute(
            "insert into t(rowid, a) values(1000, ?), (1001, ?)",
            (json.dumps(query.tolist()), as_float.tobytes()),
        )
    [(one,), (other,)] = db.execute("select a from t where rowid >= 1000 order by rowid")
    assert one == other == query.astype(DTYPES[kind]).tobytes()


def test_bits(db: sqlite3.Connection, random: np.random.Generator) -> None:
    bits = random.integers(0, 2, (N, DIM), dtype=np.uint8)
    packed = np.packbits(bits, axis=1, bitorder="little")
    index = fill(db, "bit", "HAMMING")
    index.add(np.arange(N), packed, replace=True)
    assert index.get([9]).tolist() == packed[[9]].tolist()
    query = random.integers(0, 2, DIM, dtype=np.uint8)
    truth = distances(bits, query, "HAMMING")
    given = np.packbits(query, bitorder="little").tobytes()
    for k in (1, 10, N + 1):
        for filtered in (False, True):
            sql = "select rowid, distance from t where a match ? and k = ?" + f" and {WHERE}" * filtered
            assert db.execute(sql, (given, k)).fetchall() == expected(truth, k, filtered)
    text = json.dumps(query.tolist())
    db.execute("insert into t(rowid, a) values(1000, vss_bit(?)), (1001, ?)", (text, text))
    assert db.execute("select a from t where rowid >= 1000").fetchall() == [(given,), (given,)]
    [(_, nearest)] = db.execute("select rowid, distance from t where a match vss_bit(?) and k = 1", (text,))
    assert nearest == 0


def test_what_a_type_cannot_hold_is_refused(db: sqlite3.Connection) -> None:
    for kind, value, words in [
        ("int8", "[1, 200, 3]", "200"),
        ("float16", "[1, 1e6, 3]", "1000000|1e6|1e\\+06"),
        ("bfloat16", "[1, 1e39, 3]", 'column "a"'),
    ]:
        db.execute(f"create virtual table t using vss0(a(3) type={kind})")
        with pytest.raises(sqlite3.Error, match=words):
            db.execute("insert into t(a) values(?)", (value,))
        assert db.execute("select count(*) from t").fetchone() == (0,)
        db.execute("drop table t")
    with pytest.raises(sqlite3.Error, match="HAMMING|bit"):
        db.execute("create virtual table t using vss0(a(8) type=bit metric_type=L2)")
    with pytest.raises(sqlite3.Error, match="HAMMING|bit"):
        db.execute("create virtual table t using vss0(a(8) metric_type=HAMMING)")


def test_the_vector_of_a_search_is_rounded_to_the_type_of_the_column() -> None:
    rows = np.random.default_rng(4).standard_normal((50, 8)).astype(np.float16)
    query = np.random.default_rng(5).standard_normal(8).astype(np.float32)
    index = vssnative.Index(vssnative.connect(":memory:"), "t", "a", type="float16")
    index.add(np.arange(50), rows)
    for recall in (None, 1.0):
        ids, distances = index.search(query, k=5, recall=recall)
        rounded = query.astype(np.float16).astype(np.float64)
        true = ((rows[ids].astype(np.float64) - rounded) ** 2).sum(1)
        assert distances == pytest.approx(true, rel=1e-6)
        assert distances != pytest.approx(((rows[ids] - query) ** 2).sum(1), rel=1e-6)
