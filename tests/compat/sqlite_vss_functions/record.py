"""Records what the SQL functions of sqlite-vss 0.1.2 answer, as answers.json beside this file.

Run once, with a Python whose sqlite3 can load extensions and with the sqlite-vss package installed:

    python tests/compat/sqlite_vss_functions/record.py

The statements run in a process of their own, because some of them crash it: that is recorded as well.
"""

from __future__ import annotations

import json
import math
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def fvecs(*records: tuple[float, ...]) -> bytes:
    return b"".join(struct.pack("<i", len(record)) + floats(*record) for record in records)


VALUES = (
    ["'[1,2]'", "null", "5", "1.5", "'junk'", "x'01'", "x''", "x'0000803f00000040'", "'[]'", "' [ 1 , 2 ] '"]
    + [
        "'[1,null]'",
        "'[1,true]'",
        "'[[1]]'",
        "'[1'",
        "'{}'",
        "'[1,\"a\"]'",
        "'[1e40]'",
        "'[1e400]'",
        "'[1,2]x'",
    ]
    + ["'5'", "'null'", "'[0.1,-3e-7]'", "x'76010000803f'", "x'7601616263'", "x'76020000803f'"]
)
PAIRS = [
    ("'[1,2,3]'", "'[4,5,7]'"),
    ("'[0.1,0.2]'", "'[0.3,0.4]'"),
    ("'[-1,-2]'", "'[3,-4]'"),
    ("x'0000803f00000040'", "'[3,4]'"),
    ("vector_from_json('[1,2]')", "vector_to_blob('[3,4]')"),
    ("'[0,0]'", "'[0,0]'"),
    ("'[0,0]'", "'[1,0]'"),
    ("'[1,2,3]'", "'[4,5]'"),
    ("null", "'[1]'"),
    ("'[1]'", "null"),
    ("'junk'", "'[1]'"),
    ("'[1]'", "'junk'"),
    ("5", "'[1]'"),
    ("x'01'", "x'01'"),
    ("'[]'", "'[]'"),
    ("x'0000c07f'", "'[1]'"),
]
CASES: list[tuple[str, list[bytes]]] = []
for value in VALUES:
    CASES += [(f"select vector_to_json(vector_from_{form}({value}))", []) for form in ("json", "raw", "blob")]
    CASES += [(f"select hex(vector_to_{form}({value}))", []) for form in ("raw", "blob")]
    CASES += [(f"select {name}({value})", []) for name in ("vector_to_json", "vector_length", "vector_debug")]
for name in ("distance_l1", "distance_l2", "distance_linf", "inner_product", "cosine_similarity"):
    CASES += [(f"select vss_{name}({a}, {b})", []) for a, b in PAIRS]
    CASES.append((f"select vss_{name}('[1]')", []))
for name in ("add", "sub"):
    CASES += [(f"select vector_to_json(vss_fvec_{name}({a}, {b}))", []) for a, b in PAIRS]
    CASES.append((f"select typeof(vss_fvec_{name}('[1]', '[2]')), hex(vss_fvec_{name}('[1]', '[2]'))", []))
for index in ("0", "2", "3", "-1", "'x'", "null", "1.9", "99999999999"):
    CASES.append((f"select vector_value_at('[0.1,2,3]', {index})", []))
EACH = "select rowid, dimensions, vector_to_json(vector) from vector_fvecs_each"
CASES += [
    ("select vector0(1)", []),
    ("select vector0(null)", []),
    (
        "select typeof(vss_version()), typeof(vector_version()), typeof(vss_debug()), typeof(vss_memory_usage())",
        [],
    ),
    (f"{EACH}(?)", [fvecs((1, 2), (3, 4, 5))]),
    (f"{EACH}(?)", [fvecs((), ())]),
    (f"{EACH}(?)", [fvecs((1, 2), (3, 4))[:-2]]),
    (f"{EACH}(?)", [fvecs((1, 2))[:-4]]),
    (f"{EACH}(?)", [b""]),
    (f"{EACH}(?)", [struct.pack("<i", -2) + floats(1, 2)]),
    (f"{EACH}(null)", []),
    (f"{EACH}('/etc/hostname')", []),
    (EACH, []),
    ("select name, hidden from pragma_table_xinfo('vector_fvecs_each')", []),
]


def answer(connection: sqlite3.Connection, sql: str, arguments: list[bytes]) -> dict[str, Any]:
    try:
        rows = [list(row) for row in connection.execute(sql, arguments)]
    except sqlite3.Error as error:
        return {"error": str(error)}
    for row in rows:
        for i, value in enumerate(row):
            if isinstance(value, float) and not math.isfinite(value):
                row[i] = str(value)
    return {"rows": rows}


def worker(first: int) -> None:
    import sqlite_vss

    connection = sqlite3.connect(":memory:")
    connection.enable_load_extension(True)
    sqlite_vss.load(connection)
    for sql, arguments in CASES[first:]:
        sys.stdout.write(json.dumps(answer(connection, sql, arguments)) + "\n")
        sys.stdout.flush()


def main() -> None:
    answers: list[dict[str, Any]] = []
    while len(answers) < len(CASES):
        run = subprocess.run(
            [sys.executable, __file__, str(len(answers))], capture_output=True, text=True, check=False
        )
        answers += [json.loads(line) for line in run.stdout.splitlines()]
        if run.returncode < 0:
            answers.append({"crash": -run.returncode})
        elif len(answers) < len(CASES):
            raise SystemExit(run.stderr)
    records = [
        {"sql": sql, "arguments": [argument.hex() for argument in arguments], **given}
        for (sql, arguments), given in zip(CASES, answers, strict=True)
    ]
    lines = ",\n".join(json.dumps(record) for record in records)
    Path(__file__).with_name("answers.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        worker(int(sys.argv[1]))
    else:
        main()
