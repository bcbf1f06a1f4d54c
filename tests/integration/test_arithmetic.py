"""Vectors as values: sums, parts, means, quantizing, distances of every element type; EUCLIDEAN; int8 by a scale."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import vectors
from vssnative import ConfigurationError, Index, InvalidVectorError, _core, configure

TYPES = ["float32", "float16", "bfloat16", "int8", "bit"]


def one(db: sqlite3.Connection, sql: str, *params: Any) -> Any:
    [(value,)] = db.execute(sql, params).fetchall()
    return value


def floats(blob: bytes) -> npt.NDArray[np.float32]:
    return np.frombuffer(blob, np.float32)


@pytest.fixture
def pair(random: np.random.Generator) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    a, b = random.integers(0, 2, (2, 64)).astype(np.float32)  # what every type holds
    return a, b


@pytest.mark.parametrize("type", TYPES)
def test_distances_of_every_element_type(
    db: sqlite3.Connection, pair: tuple[npt.NDArray[np.float32], ...], type: str
) -> None:
    a, b = (
        one(db, f"select vss_{type}(?)", json.dumps(x.tolist())) if type != "float32" else x.tobytes()
        for x in pair
    )
    x, y = (values.astype(np.float64) for values in pair)
    for function, expected in [
        ("vss_distance_l2", ((x - y) ** 2).sum()),
        ("vss_distance_euclidean", np.sqrt(((x - y) ** 2).sum())),
        ("vss_distance_l1", abs(x - y).sum()),
        ("vss_distance_linf", abs(x - y).max()),
        ("vss_inner_product", x @ y),
        ("vss_cosine_similarity", x @ y / np.sqrt((x @ x) * (y @ y))),
        ("vss_distance_cosine", 1 - x @ y / np.sqrt((x @ x) * (y @ y))),
    ]:
        assert one(db, f"select {function}(?, ?, ?)", a, b, type) == pytest.approx(expected, abs=1e-15), (
            function
        )
        # JSON on one side; without the type where it is float32.
        assert one(db, f"select {function}(?, ?, ?)", a, json.dumps(y.tolist()), type) == pytest.approx(
            expected
        )
        if type == "float32":
            assert one(db, f"select {function}(?, ?)", a, b) == pytest.approx(expected, abs=1e-15)
    if type == "bit":
        assert one(db, "select vss_distance_hamming(?, ?)", a, b) == (x != y).sum()
        assert one(db, "select vss_distance_hamming('[1,0,1]', '[1,1,0]')") == 2
    np.testing.assert_array_equal(floats(one(db, "select vss_add(?, ?, ?)", a, b, type)), x + y)
    np.testing.assert_array_equal(floats(one(db, "select vss_sub(?, ?, ?)", a, b, type)), x - y)
    np.testing.assert_array_equal(floats(one(db, "select vss_scale(?, 2.5, ?)", a, type)), x * 2.5)
    np.testing.assert_allclose(
        floats(one(db, "select vss_normalize(?, ?)", a, type)), x / np.linalg.norm(x), rtol=1e-7
    )
    part = one(db, "select vss_slice(?, 8, 24, ?)", a, type)
    assert json.loads(one(db, "select vss_to_json(?, ?)", part, type)) == x[8:24].tolist()


def test_quantizing(db: sqlite3.Connection) -> None:
    values = [0.5, -1.0, 1.0, 0.003, 0.0, -0.25, 2 / 127, 0.9]
    text = json.dumps(values)
    assert np.frombuffer(one(db, "select vss_quantize_int8(?)", text), np.int8).tolist() == [
        round(x * 127) for x in values
    ]
    assert np.frombuffer(one(db, "select vss_quantize_int8(?, 10)", text), np.int8).tolist() == [
        5,
        -10,
        10,
        0,
        0,
        -2,
        0,
        9,
    ]
    assert (
        one(db, "select vss_quantize_bit(?)", text)
        == np.packbits(np.array(values) > 0, bitorder="little").tobytes()
    )


def test_sums_and_means_over_rows(db: sqlite3.Connection, random: np.random.Generator) -> None:
    db.execute("create virtual table t using vss0(a(8), b(8) type=int8, kind text)")
    matrix = vectors(random, 30, 8)
    small = random.integers(-128, 128, (30, 8)).astype(np.int8)
    db.executemany(
        "insert into t(rowid, a, b, kind) values(?, ?, ?, ?)",
        [(i, matrix[i].tobytes(), small[i].tobytes(), "xy"[i % 2]) for i in range(30)],
    )
    db.execute("insert into t(rowid, kind) values(99, 'x'), (98, 'z')")  # no vectors: passed over
    found = dict(db.execute("select kind, vss_avg(a) from t group by kind").fetchall())
    for at, kind in enumerate("xy"):
        mean = matrix[at::2].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(floats(found[kind]), mean, rtol=1e-6)
    assert found["z"] is None
    np.testing.assert_array_equal(
        floats(one(db, "select vss_sum(b, 'int8') from t")), small.astype(int).sum(axis=0)
    )
    assert one(db, "select vss_avg(a) from t where 0") is None
    assert one(db, "select vss_avg(null)") is None
    mean = one(db, "select vss_avg(a) from t where kind = 'x'")
    nearest = "select rowid from t where a match (select vss_avg(a) from t where kind = 'x') and k = 3"
    assert [row[0] for row in db.execute(nearest)] == Index(db, "t", "a").search(floats(mean), k=3)[
        0
    ].tolist()


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select vss_add('[1]', '[1,2]')", "vss_add: expected equally many dimensions, got 1 and 2"),
        ("select vss_add('[3e38]', '[3e38]')", "vss_add: element 0: .*float32 can hold"),
        ("select vss_add('[1]', '[1]', 'int9')", 'expected the type .* got "int9"'),
        ("select vss_scale('[1]', 'x')", "expected the factor as a number, got text"),
        ("select vss_scale('[1]', 1e39)", "vss_scale: element 0"),
        ("select vss_normalize('[0,0]')", "expected a vector with a direction"),
        ("select vss_slice('[1,2]', 1, 3)", "0 <= begin <= end <= 2, got 1 and 3"),
        ("select vss_slice('[1,2]', -1, 1)", "got -1 and 1"),
        ("select vss_slice('[1,2]', 'a', 1)", "begin and end as integers, got text"),
        ("select vss_slice(x'0f', 0, 4, 'bit')", "multiple of 8 bits"),
        (
            "select vss_quantize_int8('[1.5]')",
            "element 0: .*within -128 and 127 when multiplied by 127, got 1.5",
        ),
        ("select vss_quantize_bit('[1]')", "multiple of 8 dimensions"),
        ("select vss_distance_hamming(x'00', x'0000')", "equally many bits, got 8 and 16"),
        ("select vss_distance_hamming('[2]', '[1]')", "element 0: expected 0 or 1, got 2"),
        ("select vss_distance_l2(x'00', x'000000', 'float16')", "blob of float16"),
        (
            "select vss_avg(value) from json_each('[[1],[1,2]]')",
            "expected 1 dimensions as in the rows before, got 2",
        ),
        (
            "select vss_sum(value) from (select '[3e38]' value union all select '[3e38]')",
            "vss_sum: element 0",
        ),
        ("select vss_avg(5)", "vss_avg: expected a vector"),
    ],
)
def test_what_cannot_be_is_said(db: sqlite3.Connection, sql: str, words: str) -> None:
    with pytest.raises(sqlite3.OperationalError, match=words):
        db.execute(sql).fetchall()


def test_null_gives_null(db: sqlite3.Connection) -> None:
    for call in (
        "vss_add(null, '[1]')",
        "vss_scale('[1]', null)",
        "vss_normalize(null)",
        "vss_slice(null, 0, 1)",
    ):
        assert one(db, f"select {call}") is None


# --- EUCLIDEAN -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [500, 6000])
def test_euclidean_is_the_root_of_l2(db: sqlite3.Connection, random: np.random.Generator, n: int) -> None:
    matrix = vectors(random, n, 16)
    db.execute("create virtual table t using vss0(a(16) metric_type=EUCLIDEAN, b(16))")
    for column in "ab":
        Index(db, "t", column).add(range(n), matrix)
    roots, squares = Index(db, "t", "a"), Index(db, "t", "b")
    assert (roots.metric, squares.metric) == ("euclidean", "l2")
    queries = vectors(random, 5, 16)
    ids, distances = roots.search(queries, k=7, recall=1.0)
    expected_ids, expected = squares.search(queries, k=7, recall=1.0)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(distances, np.sqrt(expected), rtol=1e-7)
    query = queries[0].tobytes()
    told = db.execute(
        "select rowid, distance from t where a match ? and k = 40 and recall = 1", (query,)
    ).fetchall()
    for bound in [told[20][1], told[20][1] * (1 + 1e-15), 0.0, -1.0, 1e300, told[0][1]]:
        for op in ("<", "<=", ">", ">="):
            sql = (
                f"select rowid, distance from t where a match ? and k = 40 and recall = 1 and distance {op} ?"
            )
            compare = {"<": float.__lt__, "<=": float.__le__, ">": float.__gt__, ">=": float.__ge__}[op]
            found = db.execute(sql, (query, bound)).fetchall()
            assert all(compare(distance, float(bound)) for _, distance in found), (op, bound)
            inside = [row for row in told if compare(row[1], float(bound))]
            assert found[: len(inside)] == inside, (op, bound)
    ranged = "select rowid from t where vss_range_search(a, vss_range_search_params(?, ?))"
    assert {row[0] for row in db.execute(ranged, (query, told[20][1]))} == {row[0] for row in told[:20]}
    # Pages, by what the last one told.
    page = (
        "select rowid, distance from t where a match ? and recall = 1 and (distance, rowid) > (?, ?)"
        " order by distance, rowid limit 10"
    )
    assert db.execute(page, (query, *reversed(told[9]))).fetchall() == told[10:20]


def test_index_makes_euclidean_tables(db: sqlite3.Connection) -> None:
    index = Index(db, metric="euclidean")
    index.add([1], np.array([[3.0, 4.0]], np.float32))
    assert index.search([0.0, 0.0], k=1)[1].tolist() == [5.0]
    assert Index(db).metric == "euclidean"
    with pytest.raises(ConfigurationError, match="metric='euclidean', not 'l2'"):
        Index(db, metric="l2")


# --- int8 by a scale -------------------------------------------------------------------------------------------------


def test_fractions_enter_int8_columns_by_a_scale(db: sqlite3.Connection, random: np.random.Generator) -> None:
    matrix = vectors(random, 300, 32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    db.execute("create virtual table t using vss0(a(32) type=int8 scale=127 metric_type=COSINE)")
    index = Index(db, "t", "a")
    index.add(range(300), matrix)
    expected = np.round(matrix.astype(np.float64) * 127).astype(np.int8)
    np.testing.assert_array_equal(index.get(range(300)), expected)
    ids, distances = index.search(matrix[:10], k=1)
    assert ids[:, 0].tolist() == list(range(10))
    np.testing.assert_allclose(distances, 0, atol=1e-6)
    db.execute("insert into t(rowid, a) values(1000, ?)", (json.dumps(matrix[0].tolist()),))
    np.testing.assert_array_equal(index.get([1000])[0], expected[0])
    found = db.execute(
        "select rowid from t where a match ? and k = 1", (json.dumps(matrix[3].tolist()),)
    ).fetchall()
    assert found == [(3,)]
    index.add([2000], expected[5:6])  # bytes as they are
    np.testing.assert_array_equal(index.get([2000])[0], expected[5])
    with pytest.raises(InvalidVectorError, match="element 0: .* multiplied by 127, got 2"):
        index.add([3000], np.full((1, 32), 2, np.float32))
    with pytest.raises(InvalidVectorError, match="row 0: .* multiplied by 127, got 2"):
        index.search(np.full(32, 2, np.float32))
    assert json.loads(one(db, "select vss_describe('t')"))["columns"][0]["scale"] == 127
    for declared, words in [
        ("a(8) scale=3", "scale is for type=int8"),
        ("a(8) type=int8 scale=0", "scale as a number above 0"),
        ("a(8) type=int8 scale=x", "scale as a number above 0"),
    ]:
        with pytest.raises(sqlite3.OperationalError, match=words):
            db.execute(f"create virtual table bad using vss0({declared})")


# --- settings --------------------------------------------------------------------------------------------------------


def test_settings_in_sql(db: sqlite3.Connection) -> None:
    memory, threads = _core.memory_budget(), _core.threads()
    try:
        assert one(db, "select vss_setting('memory')") == memory
        assert one(db, "select vss_setting('memory', '64 MB')") == 64 << 20
        assert one(db, "select vss_setting('memory', 1000000)") == 1_000_000 == _core.memory_budget()
        assert one(db, "select vss_setting('threads', 2)") == 2 == _core.threads()
        assert one(db, "select vss_setting('threads', 0)") >= 1
        assert one(db, "select vss_setting('recall')") == 0.95
        assert one(db, "select vss_setting('recall', 0.8)") == 0.8 == _core.default_recall()
        configure(recall=1.0)
        assert one(db, "select vss_setting('recall')") == 1.0
        for call, words in [
            ("'memory', 'much'", "expected memory as a number of bytes"),
            ("'memory', null", "expected memory as a number of bytes"),
            ("'threads', -1", "got -1"),
            ("'threads', 'x'", "got text"),
            ("'recall', 0", "above 0 and at most 1, got 0"),
            ("'recall', 'x'", "got text"),
            ("'speed', 1", 'expected memory, threads or recall, got "speed"'),
        ]:
            with pytest.raises(sqlite3.OperationalError, match=words):
                db.execute(f"select vss_setting({call})")
        with pytest.raises(ConfigurationError, match="recall"):
            configure(recall=0)
    finally:
        configure(memory=memory, threads=threads)
        _core.set_default_recall(0)
    assert one(db, "select vss_setting('recall')") == 0.95


def test_the_default_recall_counts(db: sqlite3.Connection, random: np.random.Generator) -> None:
    matrix = vectors(random, 8000, 16)
    index = Index(db)
    index.add(range(8000), matrix)
    db.commit()  # until then every search is exact
    queries = vectors(random, 50, 16)
    exact, _ = index.search(queries, k=10, recall=1.0)
    try:
        configure(recall=0.01)
        assert (index.search(queries, k=10)[0] != exact).any()
        configure(recall=1.0)
        np.testing.assert_array_equal(index.search(queries, k=10)[0], exact)
        configure(recall=0.01)
        assert db.execute("select vss_setting('recall', 1)").fetchone() == (1.0,)
        np.testing.assert_array_equal(index.search(queries, k=10)[0], exact)
    finally:
        _core.set_default_recall(0)


@pytest.mark.parametrize(
    "sql",
    [
        "select avg(v) from e",
        "select count(*), SUM (v) from e",
        "select total(distinct e.v) from e group by kind",
        "select coalesce(avg(x.v), 1) + 1 from e as x where kind is not null",
        "select p.id, (select avg(v) from e where e.kind = p.kind) from p",
        "select avg(w) from p join e on e.kind = p.kind",
        'select avg("v") over (order by rowid) from main.e',
        "with m as (select sum(v) from e) select * from m",
        "select avg(v) from e where v match '[1, 1]' and k = 2",
    ],
)
def test_sums_of_sqlite_say_what_to_write(db: sqlite3.Connection, sql: str) -> None:
    db.execute("create virtual table e using vss0(v(2), w(2), kind text)")
    db.execute("create table p(id integer primary key, kind text)")
    db.execute(
        "insert into e(rowid, v, w, kind) values (1, '[1, 2]', '[5, 6]', 'a'), (2, '[3, 4]', '[7, 8]', 'a')"
    )
    db.execute("insert into p values (1, 'a')")
    with pytest.raises(sqlite3.OperationalError, match=r"write vss_avg\([vw]\) or vss_sum"):
        db.execute(sql).fetchall()


def test_sums_of_what_is_no_vector_are_left_alone(db: sqlite3.Connection) -> None:
    db.execute("create virtual table e using vss0(v(2), n integer)")
    db.execute("create table p(v real)")
    db.execute("insert into e(rowid, v, n) values (1, '[1, 2]', 4), (2, '[3, 4]', 6)")
    db.execute("insert into p values (2), (4)")
    assert db.execute("select avg(n), sum(length(v)) from e").fetchall() == [(5.0, 16)]
    assert floats(one(db, "select vss_avg(v) from e")).tolist() == [2, 3]
    assert db.execute("select v, (select avg(v) from p) from e where rowid = 1").fetchone()[1] == 3.0
    assert db.execute("select avg(p.v), max(e.v) from p join e").fetchone()[0] == 3.0
    assert db.execute("select 'avg(v)', v from e").fetchone()[0] == "avg(v)"
