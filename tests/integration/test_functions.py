"""The SQL functions on vectors as values, through a connection."""

from __future__ import annotations

import json
import math
import sqlite3
import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest


def one(db: sqlite3.Connection, sql: str, *arguments: object) -> object:
    [(value,)] = db.execute(sql, arguments).fetchall()
    return value


def error_of(db: sqlite3.Connection, sql: str, *arguments: object) -> str:
    with pytest.raises(sqlite3.Error) as caught:
        db.execute(sql, arguments).fetchall()
    return str(caught.value)


def vector(random: np.random.Generator, dim: int) -> npt.NDArray[np.float32]:
    return random.standard_normal(dim, dtype=np.float32)


@pytest.mark.parametrize("dim", [1, 3, 8, 31, 384, 1000, 65536])
def test_distances_are_those_of_numpy_in_double_precision(
    db: sqlite3.Connection, random: np.random.Generator, dim: int
) -> None:
    a, b = vector(random, dim), vector(random, dim)
    x, y = a.astype(np.float64), b.astype(np.float64)
    expected = {
        "vss_distance_l1": np.abs(x - y).sum(),
        "vss_distance_l2": ((x - y) ** 2).sum(),
        "vss_distance_linf": np.abs(x - y).max(),
        "vss_inner_product": x @ y,
        "vss_cosine_similarity": x @ y / math.sqrt((x @ x) * (y @ y)),
    }
    for name, value in expected.items():
        got = one(db, f"select {name}(?, ?)", a.tobytes(), b.tobytes())
        assert got == pytest.approx(float(value), rel=1e-12, abs=1e-12), name


def test_blobs_json_and_vector_blobs_are_the_same_vector(db: sqlite3.Connection) -> None:
    blob = struct.pack("<2f", 1.5, -2.0)
    for form in (blob, "[1.5, -2]", b"v\x01" + blob):
        assert one(db, "select vector_to_json(?)", form) == "[1.5,-2.0]"
        assert one(db, "select vss_distance_l2(?, '[1.5,-2]')", form) == 0.0
        assert one(db, "select vss_length(?)", form) == 2


def test_vector_from_json_gives_a_blob_that_any_column_keeps(db: sqlite3.Connection) -> None:
    db.execute("create table plain(v)")
    db.execute("insert into plain values (vector_from_json('[1, 2]'))")
    assert one(db, "select v from plain") == struct.pack("<2f", 1, 2)
    assert one(db, "select vector_to_json(v) from plain") == "[1.0,2.0]"


def test_json_reads_back_to_the_same_floats(db: sqlite3.Connection, random: np.random.Generator) -> None:
    values = vector(random, 384)
    text = one(db, "select vector_to_json(?)", values.tobytes())
    assert isinstance(text, str)
    assert np.array_equal(np.array(json.loads(text), np.float32), values)
    assert one(db, "select vector_from_json(?)", text) == values.tobytes()


def test_sum_and_difference(db: sqlite3.Connection, random: np.random.Generator) -> None:
    a, b = vector(random, 100), vector(random, 100)
    assert one(db, "select vss_fvec_add(?, ?)", a.tobytes(), b.tobytes()) == (a + b).tobytes()
    assert one(db, "select vss_fvec_sub(?, ?)", a.tobytes(), b.tobytes()) == (a - b).tobytes()
    large = struct.pack("<f", 3e38)
    assert error_of(db, "select vss_fvec_add(?1, ?1)", large) == (
        "vss_fvec_add: expected a result that float32 can hold, got one beyond it"
    )


def test_float16_is_numpys(db: sqlite3.Connection, random: np.random.Generator) -> None:
    values = np.concatenate([vector(random, 1000), vector(random, 1000) * np.float32(1e-6)])
    expected = values.astype(np.float16)
    assert one(db, "select vss_float16(?)", values.tobytes()) == expected.tobytes()
    text = one(db, "select vss_to_json(?, 'float16')", expected.tobytes())
    assert isinstance(text, str)
    assert np.array_equal(np.array(json.loads(text), np.float32), expected.astype(np.float32))


def test_bfloat16_keeps_the_upper_half_rounded_to_even(
    db: sqlite3.Connection, random: np.random.Generator
) -> None:
    values = vector(random, 1000)
    bits = values.view(np.uint32)
    expected = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    assert one(db, "select vss_bfloat16(?)", values.tobytes()) == expected.tobytes()
    assert one(db, "select vss_to_json(vss_bfloat16('[1, -2.5]'), 'bfloat16')") == "[1.0,-2.5]"


def test_int8_and_bit(db: sqlite3.Connection) -> None:
    assert one(db, "select vss_int8('[-128, 0, 127]')") == struct.pack("3b", -128, 0, 127)
    assert one(db, "select vss_to_json(x'80007f', 'int8')") == "[-128.0,0.0,127.0]"
    assert one(db, "select vss_bit('[1,0,0,0,0,0,0,1]')") == b"\x81"
    assert one(db, "select vss_to_json(x'81', 'bit')") == "[1.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0]"
    assert one(db, "select vss_length(x'8100', 'bit')") == 16


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("vss_int8('[1, 200]')", "vss_int8: element 1: expected a whole number from -128 to 127, got 200"),
        ("vss_int8('[0.5]')", "vss_int8: element 0: expected a whole number from -128 to 127, got 0.5"),
        (
            "vss_float16('[70000]')",
            "vss_float16: element 0: expected a number that float16 can hold, got 70000",
        ),
        ("vss_bit('[1,0,2,0,0,0,0,0]')", "vss_bit: element 2: expected 0 or 1, got 2"),
        ("vss_bit('[1]')", "vss_bit: expected a multiple of 8 dimensions, which bytes can hold, got 1"),
        (
            "vss_to_json(x'00', 'float16')",
            "vss_to_json: expected a blob of float16 values, got blob of 1 byte",
        ),
        ("vss_to_json(x'007c', 'float16')", "vss_to_json: element 0: expected a finite number, got inf"),
        (
            "vss_to_json(x'00', 'float8')",
            'vss_to_json: expected the type float32, float16, bfloat16, int8 or bit, got "float8"',
        ),
        (
            "vss_length(5)",
            "vss_length: expected a vector (a blob of float32 values or a JSON array of numbers), got integer",
        ),
        (
            "vss_distance_l2('[1,2,3]', '[1,2]')",
            "LHS and RHS are not vectors of the same size: vss_distance_l2: expected equally many dimensions, "
            "got 3 and 2",
        ),
        (
            "vss_cosine_similarity('[0,-0.0]', '[1,2]')",
            "One or both vectors are zero-vectors: vss_cosine_similarity: expected directions",
        ),
    ],
)
def test_what_is_wrong_is_said(db: sqlite3.Connection, sql: str, message: str) -> None:
    assert error_of(db, f"select {sql}") == message


def test_more_dimensions_than_a_vector_can_have_are_refused(db: sqlite3.Connection) -> None:
    assert error_of(db, "select vss_length(zeroblob(4 * 65537))") == (
        "vss_length: expected at most 65536 dimensions, got 65537"
    )
    assert one(db, "select vss_length(zeroblob(4 * 65536))") == 65536
    assert "more than 65536 numbers" in error_of(db, "select vss_length(?)", f"[{'0,' * 65536}0]")


def test_null_is_null_in_conversions(db: sqlite3.Connection) -> None:
    for name in (
        "vss_float16",
        "vss_bfloat16",
        "vss_int8",
        "vss_bit",
        "vss_to_json",
        "vss_length",
        "vector_to_json",
    ):
        assert one(db, f"select {name}(null)") is None


def test_functions_serve_schemas_where_they_may(db: sqlite3.Connection) -> None:
    """Pure functions may stand in indexes, generated columns and views; what tells of the process may not."""
    db.execute("pragma trusted_schema = off")
    db.execute("create table t(v text, n integer generated always as (vss_length(v)))")
    db.execute("create index t_first on t(vector_value_at(v, 0))")
    db.execute("create view lengths as select vss_distance_l2(v, '[0,0]') as d from t")
    db.execute("insert into t(v) values ('[3, 4]')")
    assert db.execute("select n, d from t, lengths").fetchall() == [(2, 25.0)]
    db.execute("create view usage as select vss_memory_usage() as bytes")
    assert "unsafe use of vss_memory_usage" in error_of(db, "select * from usage")
    assert isinstance(one(db, "select vss_memory_usage()"), int)


def test_fvecs_records_become_rows(db: sqlite3.Connection, random: np.random.Generator) -> None:
    matrix = random.standard_normal((50, 7), dtype=np.float32)
    contents = b"".join(struct.pack("<i", 7) + row.tobytes() for row in matrix)
    rows = db.execute("select rowid, dimensions, vector from vector_fvecs_each(?)", [contents]).fetchall()
    assert rows == [(i + 1, 7, row.tobytes()) for i, row in enumerate(matrix)]
    db.execute("create table files(name text, contents blob)")
    db.execute("insert into files values ('a', ?), ('b', null)", [contents])
    joined = "select name, count(*) from files, vector_fvecs_each(files.contents) group by name"
    assert db.execute(joined).fetchall() == [("a", 50)]


def test_fvecs_of_any_bytes_is_rows_or_a_sentence(
    db: sqlite3.Connection, random: np.random.Generator
) -> None:
    for _ in range(300):
        contents = random.integers(0, 3, size=int(random.integers(0, 40)), dtype=np.uint8).tobytes()
        try:
            rows = db.execute("select dimensions, vector from vector_fvecs_each(?)", [contents]).fetchall()
        except sqlite3.Error as error:
            assert str(error).startswith("vector_fvecs_each: record ")
        else:
            assert sum(4 + len(blob) for _, blob in rows) == len(contents)
            assert all(len(blob) == 4 * dim for dim, blob in rows)


def test_each_connection_of_a_process_has_the_functions(open_db: Callable[..., sqlite3.Connection]) -> None:
    for name in ("a.db", "b.db", ":memory:"):
        assert one(open_db(name), "select vss_distance_l1('[1]', '[3]')") == 2.0
