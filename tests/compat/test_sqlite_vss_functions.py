"""The SQL functions of sqlite-vss 0.1.2 and sqlite-vector answer here what they answer there.

`sqlite_vss_functions/answers.json` holds their answers, made once by `record.py` beside it. What is answered otherwise
on purpose is listed here, statement by statement; docs/functions.md says why.
"""

from __future__ import annotations

import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest

RECORDS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "sqlite_vss_functions" / "answers.json").read_text()
)
Answer = list[list[Any]] | str  # the rows, or how the error begins

# There, what is no vector gives NULL, an empty blob or nonsense without a word; here an error.
NOT_VECTORS = [
    *["5", "1.5", "'junk'", "x'01'", "'[1,null]'", "'[1,true]'", "'[[1]]'", "'[1'", "'{}'", "'[1,\"a\"]'"],
    *["'[1e40]'", "'[1e400]'", "'[1,2]x'", "'5'", "'null'", "x'7601616263'", "x'76020000803f'"],
]
# There, vector_length() always gives NULL.
LENGTHS = {
    "'[1,2]'": 2,
    "x''": 0,
    "x'0000803f00000040'": 2,
    "'[]'": 0,
    "' [ 1 , 2 ] '": 2,
    "'[0.1,-3e-7]'": 2,
    "x'76010000803f'": 1,
}
EACH = "select rowid, dimensions, vector_to_json(vector) from vector_fvecs_each"
NOT_JSON = "input not valid json, or contains non-float data: vector_from_json: "
RAW_TEXT = "Invalid raw blob length, blob must be divisible by 4: vector_from_raw: expected a blob"
DIFFERENCES: dict[str, Answer] = {
    # There, a crash.
    "select vector_to_json(vector_from_json(null))": [[None]],
    f"{EACH}(?)020000000000803f000000400300000000004040000080400000a040": [
        [1, 2, "[1.0,2.0]"],
        [2, 3, "[3.0,4.0,5.0]"],
    ],
    f"{EACH}(?)0000000000000000": [[1, 0, "[]"], [2, 0, "[]"]],
    f"{EACH}(?)": [],
    f"{EACH}(?)feffffff0000803f00000040": "vector_fvecs_each: record 1 at byte 0: expected at most 65536 dimensions",
    f"{EACH}(null)": [],
    f"{EACH}('/etc/hostname')": "vector_fvecs_each(blob): expected the contents of an fvecs file as a blob, got text",
    EACH: "vector_fvecs_each(blob): expected an argument, got none",
    # There, a record that is cut short is left out.
    f"{EACH}(?)020000000000803f0000004002000000000040400000": (
        "vector_fvecs_each: record 2 at byte 12: expected 8 bytes of 2 dimensions, got 6"
    ),
    f"{EACH}(?)020000000000803f": "vector_fvecs_each: record 1 at byte 0: expected 8 bytes of 2 dimensions, got 4",
    # There, the index is an implementation's message, or is taken for 0, or loses its upper half or its fraction.
    "select vector_value_at('[0.1,2,3]', 3)": "3 out of range: vector_value_at: expected an index of 0 or more",
    "select vector_value_at('[0.1,2,3]', -1)": "-1 out of range: vector_value_at: expected an index of 0 or more",
    "select vector_value_at('[0.1,2,3]', 99999999999)": "99999999999 out of range: vector_value_at: ",
    "select vector_value_at('[0.1,2,3]', 'x')": "vector_value_at: expected the index as an integer, got text",
    "select vector_value_at('[0.1,2,3]', 1.9)": "vector_value_at: expected the index as an integer, got real",
    "select vector_value_at('[0.1,2,3]', null)": [[None]],
    # There, no vector and the empty one are taken for each other.
    "select vector_to_json(vector_from_raw(null))": [[None]],
    "select vector_to_json(vss_fvec_add('[]', '[]'))": [["[]"]],
    "select vector_to_json(vss_fvec_sub('[]', '[]'))": [["[]"]],
    # There, true is 1, and a number too large is infinite.
    "select vector_to_json(vector_from_json('[1,true]'))": NOT_JSON,
    "select vector_to_json(vector_from_json('[1e40]'))": NOT_JSON,
    "select vector_debug('[1,true]')": "Value not a vector: vector_debug: ",
    "select vector_debug('[1e40]')": "Value not a vector: vector_debug: ",
    # There, the letters of a text are taken for float32 values.
    "select vector_to_json(vector_from_raw('junk'))": RAW_TEXT,
    "select vector_to_json(vector_from_raw('[1,null]'))": RAW_TEXT,
    "select vector_to_json(vector_from_raw('[1,true]'))": RAW_TEXT,
    "select vector_to_json(vector_from_raw('null'))": RAW_TEXT,
    # There, bytes that are no whole value are left out.
    "select vector_to_json(vector_from_blob(x'7601616263'))": "Blob not well-formatted vector blob: vector_from_blob: ",
    "select vector_debug(x'7601616263')": "Value not a vector: vector_debug: ",
}
for value in NOT_VECTORS:
    DIFFERENCES[f"select vector_to_json({value})"] = "vector_to_json: "
    DIFFERENCES[f"select hex(vector_to_raw({value}))"] = "vector_to_raw: "
    DIFFERENCES[f"select hex(vector_to_blob({value}))"] = "vector_to_blob: "
    DIFFERENCES[f"select vector_length({value})"] = "vector_length: "
for value, length in LENGTHS.items():
    DIFFERENCES[f"select vector_length({value})"] = [[length]]
for name in ("distance_l1", "distance_l2", "distance_linf", "inner_product", "cosine_similarity"):
    DIFFERENCES[f"select vss_{name}(x'0000c07f', '[1]')"] = (
        f"LHS is not a vector: vss_{name}: element 0: expected a finite number, got nan"
    )
for name in ("add", "sub"):
    DIFFERENCES[f"select vector_to_json(vss_fvec_{name}(x'0000c07f', '[1]'))"] = (
        f"LHS is not a vector: vss_fvec_{name}: element 0: expected a finite number, got nan"
    )


def key(record: dict[str, Any]) -> str:
    return str(record["sql"]) + "".join(record["arguments"])


def recorded(record: dict[str, Any]) -> Answer:
    assert "crash" not in record, "a crash needs an entry in DIFFERENCES"
    return record["rows"] if "rows" in record else str(record["error"])


def is_same_value(ours: Any, theirs: Any) -> bool:
    """Floats to the precision of float32 sums (theirs are summed in float32), JSON arrays element by element."""
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-6)
    if isinstance(ours, str) and isinstance(theirs, str) and ours.startswith("[") and theirs.startswith("["):
        return all(map(is_same_value, json.loads(ours), json.loads(theirs))) and ours.count(
            ","
        ) == theirs.count(",")
    return bool(ours == theirs)


@pytest.mark.parametrize("record", RECORDS, ids=key)
def test_answer_is_that_of_sqlite_vss_or_a_listed_one(db: sqlite3.Connection, record: dict[str, Any]) -> None:
    expected = DIFFERENCES.get(key(record)) if key(record) in DIFFERENCES else recorded(record)
    arguments = [bytes.fromhex(argument) for argument in record["arguments"]]
    if isinstance(expected, str):
        with pytest.raises(sqlite3.Error) as caught:
            db.execute(record["sql"], arguments).fetchall()
        assert str(caught.value).startswith(expected)
    else:
        rows = [list(row) for row in db.execute(record["sql"], arguments)]
        assert expected is not None
        assert [len(row) for row in rows] == [len(row) for row in expected]
        for ours, theirs in zip(rows, expected, strict=True):
            assert all(map(is_same_value, ours, theirs)), f"{ours} is not {theirs}"


def test_every_listed_difference_is_one() -> None:
    by_key = {key(record): record for record in RECORDS}
    for statement, ours in DIFFERENCES.items():
        record = by_key[statement]
        if isinstance(ours, str):
            assert not str(record.get("error", "")).startswith(ours), statement
        else:
            assert record.get("rows") != ours, statement
