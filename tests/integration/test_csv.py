"""Rows to CSV and JSON lines, and back: value for value, or an error in a sentence."""

from __future__ import annotations

import io
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from vssnative._csv import read_csv, write_csv
from vssnative.errors import ConfigurationError

from .test_cli_data import run

ODD: list[Any] = [
    None, "", " ", "x", "12", "-3.5", "007", "1e3", "inf", "nan", 'a "b"', "a,b", "a\nb", "a\r\nb", "X'00'", "ü\u2028", "NULL",
    0, -1, 2**63 - 1, -(2**63), 0.0, 5.0, 0.1, 1e300, -1e-300, float("inf"), b"", b"\x00\xff", b"text", '"', "''", "\ufeff",
]  # fmt: skip


def round_trip(columns: list[str], rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    stream = io.StringIO(newline="")
    write_csv(stream, columns, rows, "f.csv")
    stream.seek(0)
    return [tuple(row.values()) for row in read_csv(stream, "f.csv")]


def exact(rows: list[tuple[Any, ...]]) -> list[list[tuple[type, Any]]]:
    return [[(type(value), value) for value in row] for row in rows]


def test_every_value_comes_back_as_it_was() -> None:
    rows = [(number, value) for number, value in enumerate(ODD)]
    assert exact(round_trip(["id", "value"], rows)) == exact(rows)
    draw = random.Random(7)
    for _ in range(400):
        width = draw.randint(2, 4)
        some = [draw.sample(ODD, draw.randint(1, 6)) for _ in range(width)]
        rows = [tuple(draw.choice(values) for values in some) for _ in range(draw.randint(1, 8))]
        rows = [row for row in rows if any(value is not None for value in row)]
        names = [f"c{n}" for n in range(width - 1)] + ['na"me,']
        assert exact(round_trip(names, rows)) == exact(rows)


def test_a_whole_table_goes_out_and_comes_back(tmp_path: Path) -> None:
    conn = sqlite3.connect(tmp_path / "a.db")
    conn.execute("create table t(id integer primary key, a, b)")
    conn.executemany("insert into t(a, b) values (?, ?)", [(value, "x") for value in ODD])
    conn.execute("create table keyed(id text primary key, a)")
    conn.executemany("insert into keyed values (?, ?)", [("k1", b"\x01"), ("2", None)])
    conn.commit()
    told = "select id, typeof(id), typeof(a), quote(a), a from {} order by id"
    for table in ("t", "keyed"):
        for form in ("csv", "jsonl"):
            file = tmp_path / f"{table}.{form}"
            run("export", tmp_path / "a.db", table, file)
            run("import", tmp_path / f"{table}.{form}.db", "t", file)
            again = sqlite3.connect(tmp_path / f"{table}.{form}.db")
            assert again.execute(told.format("t")).fetchall() == conn.execute(told.format(table)).fetchall()
            again.close()
    conn.close()


def test_what_other_programs_wrote() -> None:
    def read(text: str) -> list[dict[str, Any]]:
        return list(read_csv(io.StringIO(text, newline=""), "f.csv"))

    assert read("a,b\r\n1,\r\n2,x\r\n") == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]
    assert read("a,b\n1,007\n\n2.50,8\n") == [{"a": 1, "b": "007"}, {"a": 2.5, "b": "8"}]
    assert read('"a","b"\n"1",""\n"2","3"\n') == [
        {"a": 1, "b": None},
        {"a": 2, "b": 3},
    ]  # quotes everywhere say nothing
    assert read('"a","b"\n1,"2"\n') == [{"a": 1, "b": "2"}]
    assert read('a,b\n"x"y,z"z\n') == [{"a": "xy", "b": 'z"z'}]
    assert read("a\n") == [] and read("") == []
    assert read("\ufeffid,a\n1,2\n") == [{"id": 1, "a": 2}]
    for text, words in (
        ("a,b\n1,2\n3\n", "row 2: it has not as many"),
        ('a,b\n1,"2\n', "row 1: .* no quote ends it"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            read(text)


def test_what_has_no_form_is_refused() -> None:
    stream = io.StringIO()
    with pytest.raises(ConfigurationError, match="of one column cannot hold NULL"):
        write_csv(stream, ["a"], [("x",), (None,)], "f.csv")
    with pytest.raises(ConfigurationError, match="every value has quotes"):
        write_csv(stream, ["a,b"], [("12",)], "f.csv")
    assert stream.getvalue() == ""


def test_null_beside_names_that_all_have_quotes() -> None:
    for rows in ([(None, None)], [("a,b", None), ("c,d", "")], [("", None), (None, "")]):
        assert exact(round_trip(["a,", '"b"'], rows)) == exact(rows)


def test_what_is_no_number_of_sqlites_stays_a_text(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    ids = [str(2**63), "12345678901234567890", "-9223372036854775809", "9" * 5000]
    file.write_text(
        "id,code,word,mixed\n" + "".join(f"{n},{one},nan,{n}.5\n" for n, one in enumerate(ids, 1))
    )
    run("import", tmp_path / "a.db", "t", file)
    conn = sqlite3.connect(tmp_path / "a.db")
    assert conn.execute("select id, code, word, mixed from t").fetchall() == [
        (n, one, "nan", n + 0.5) for n, one in enumerate(ids, 1)
    ]
    conn.close()
    found = read_csv(io.StringIO(f"a,b,c\n{2**63 - 1},1\u0662,0.5\n{-(2**63)},2,nan\n", newline=""), "f.csv")
    first, second = found
    assert first == {"a": 2**63 - 1, "b": "1\u0662", "c": 0.5} and second["a"] == -(2**63)
