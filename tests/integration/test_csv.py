"""Rows to CSV and JSON lines, and back: value for value, or an error in a sentence."""

from __future__ import annotations

import io
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vssnative._csv import read_csv, write_csv
from vssnative.errors import ConfigurationError

from .test_cli_data import run

ODD: list[Any] = [
    None, "", " ", "x", "12", "-3.5", "007", "1e3", "inf", "nan", 'a "b"', "a,b", "a\nb", "a\r\nb", "X'00'", "ü\u2028", "NULL",
    0, -1, 2**63 - 1, -(2**63), 0.0, 5.0, 0.1, 1e300, -1e-300, float("inf"), b"", b"\x00\xff", b"text", '"', "''", "\ufeff", ";", "a;b", "a\tb",
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
        names = [f"c{n}" for n in range(width - 1)] + [draw.choice(['na"me,', "a;b", "a\tb", '"', ";"])]
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


def read(text: str, delimiter: str | None = None) -> list[dict[str, Any]]:
    return list(read_csv(io.StringIO(text, newline=""), "f.csv", delimiter=delimiter))


@pytest.mark.parametrize("mark", [";", "\t"])
def test_semicolons_and_tabs_between_values_are_found_out(mark: str) -> None:
    """Such files became tables of one column."""

    def found(text: str) -> list[dict[str, Any]]:
        return read(text.replace("|", mark))

    assert found("id|name|price\r\n1|Tee, grün|2.5\r\n2||1,5\r\n") == [
        {"id": 1, "name": "Tee, grün", "price": "2.5"},
        {"id": 2, "name": None, "price": "1,5"},
    ]
    assert found('\ufeff"a"|b|"c|d"\n"x|""y"""|7|"two\nlines"\n""|8|"1,5"\n') == [
        {"a": 'x|"y"'.replace("|", mark), "b": 7, f"c{mark}d": "two\nlines"},
        {"a": "", "b": 8, f"c{mark}d": "1,5"},
    ]
    assert found("a|b") == [] and found("a|b\n1|2") == [{"a": 1, "b": 2}]
    # One column, whose name has the mark: no row has it.
    assert found("a|b\nx\ny\n") == [{f"a{mark}b": "x"}, {f"a{mark}b": "y"}]
    # A comma in a name: the rows tell.
    assert found("name|price, EUR\nTee|2\n") == [{"name": "Tee", "price, EUR": 2}]
    with pytest.raises(
        ConfigurationError,
        match="row 2: expected 2 values with (semicolons|tabs) between, .* got 3; .* quotes",
    ):
        found("a|b\n1|2\n1|2|3\n")
    # These are commas, and the other marks are parts of texts.
    assert found("id,tags\n1,a|b\n2,c|d\n") == [
        {"id": 1, "tags": f"a{mark}b"},
        {"id": 2, "tags": f"c{mark}d"},
    ]
    assert found('id,"a|b"\n1,x\n') == [{"id": 1, f"a{mark}b": "x"}]
    assert found('"a|b"\nx|y\n') == [{f"a{mark}b": f"x{mark}y"}]
    with pytest.raises(
        ConfigurationError, match=r"may be commas or (semicolons|tabs); delimiter= says which"
    ):
        found("name|price, EUR\nTee|1,50\n")


def test_a_delimiter_that_is_given_is_taken() -> None:
    text = "name;price, EUR\nTee;1,50\n"
    assert read(text, ";") == [{"name": "Tee", "price, EUR": "1,50"}]
    assert read(text, ",") == [{"name;price": "Tee;1", " EUR": 50}]
    assert read('a|"b|c"\n1|2\n', "|") == [{"a": 1, "b|c": 2}]


def test_import_takes_files_of_excel(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes('\ufeffid;Name;Preis\r\n1;Äpfel;2,5\r\n2;"a;b";3\r\n'.encode())
    (tmp_path / "x.tsv").write_text("id\tbody\n1\tone, two\n")
    (tmp_path / "both.csv").write_text("name;price, EUR\nTee;1,50\n")
    db = tmp_path / "x.db"
    run("import", db, "excel", tmp_path / "x.csv")
    run("import", db, "tabs", tmp_path / "x.tsv")
    run("import", db, "piped", "-", "--format", "csv", text="a\tb\n1\t2\n")
    said = run("import", db, "both", tmp_path / "both.csv", code=1)
    assert said.endswith(
        "between its values may be commas or semicolons; --delimiter says which: ',', ';' or tab\n"
    )
    run("import", db, "both", tmp_path / "both.csv", "--delimiter", ";")
    run("import", db, "tabbed", "-", "--format", "csv", "--delimiter", "tab", text="a;b\tc\n1\t2\n")
    for wrong in ("", ";;", '"'):
        run("import", db, "t", tmp_path / "x.csv", "--delimiter", wrong, code=2)
    run("import", db, "t", tmp_path / "x.jsonl", "--delimiter", ";", code=2)
    conn = sqlite3.connect(db)
    assert conn.execute("select * from excel").fetchall() == [(1, "Äpfel", "2,5"), (2, "a;b", "3")]
    assert conn.execute("select * from tabs").fetchall() == [(1, "one, two")]
    assert conn.execute("select * from piped").fetchall() == [(1, 1, 2)]
    assert conn.execute('select name, "price, EUR" from both').fetchall() == [("Tee", "1,50")]
    assert conn.execute('select "a;b", c from tabbed').fetchall() == [(1, 2)]
    conn.close()


def test_what_other_programs_wrote() -> None:
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
        ("a,b\n1,2\n3\n", "row 2: expected 2 values with commas between, as in the first line, got 1"),
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


def test_texts_that_look_like_numbers_stay_in_columns_of_texts(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "f.db") as conn:
        conn.execute("create table t(id integer, version text, code varchar(9), blob clob, price numeric)")
    lines = "id,version,code,blob,price\n1,1.10,1e3,X'00',1.10\n2,2.0,100000000000000000000000.5,,2\n"
    (tmp_path / "f.csv").write_text(lines)
    run("import", tmp_path / "f.db", "t", tmp_path / "f.csv")
    with sqlite3.connect(tmp_path / "f.db") as conn:
        assert exact(conn.execute("select * from t").fetchall()) == exact(
            [(1, "1.10", "1e3", b"\x00", 1.1), (2, "2.0", "100000000000000000000000.5", None, 2)]
        )


@pytest.mark.parametrize(
    ("given", "row"), [(b'\xef\xbb\xbfa,b\n1,"x\r\ny"\n', (1, "x\r\ny")), (b"a,b\n1,\xff\n", None)]
)
def test_standard_input_is_read_as_a_file_is(
    given: bytes, row: tuple[int, str] | None, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "vssnative",
        "import",
        str(tmp_path / "f.db"),
        "t",
        "-",
        "--format",
        "csv",
    ]
    done = subprocess.run(command, input=given, capture_output=True, env=os.environ | {"LC_ALL": "C"})
    if row is None:
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"error: " in done.stderr and b"expected UTF-8" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp_path / "f.db") as conn:
        assert conn.execute("select a, b from t").fetchall() == [row]
