"""The command line alone: a CSV of one's own to a hybrid search; answers for other programs; files that stay as they are."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import vssnative
from vssnative import _cli as cli

ROWS = [
    ("apples", "red fruit, crisp", 2019),
    ("bolts", "steel parts", 2021),
    ("cars", "fast, red machines", 2023),
]


def run(*arguments: object, code: int = 0, text: str | None = None) -> str:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], input=text)
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def lines(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    file = tmp_path / "posts.csv"
    rows = [f'{title},"{summary}",{year}' for title, summary, year in ROWS]
    file.write_text("\n".join(["title,summary,year", *rows]), encoding="utf-8")
    assert run("import", tmp_path / "p.db", "posts", file) == "posts: 3 rows imported\n"
    run("add-embeddings", tmp_path / "p.db", "posts", "-c", "summary", "--model", "hash:32", "--full-text")
    assert lines(run("sync", tmp_path / "p.db", "--json"))[0]["rows"] == 3
    return tmp_path / "p.db"


def test_from_a_csv_to_a_hybrid_search_and_back(posts: Path, tmp_path: Path) -> None:
    found = lines(run("search", posts, "posts", "steel", "-k", 1, "--json"))
    assert found[0]["title"] == "bolts" and {"rank", "distance", "score", "id"} <= set(found[0])
    assert [
        row["title"] for row in lines(run("search", posts, "posts", "machines", "--mode", "text", "--json"))
    ] == ["cars"]
    assert (
        lines(run("search", posts, "posts", "-", "-k", 1, "--json", text="steel parts\n"))[0]["title"]
        == "bolts"
    )
    found = lines(
        run(
            "search",
            posts,
            "posts",
            "red",
            "--where",
            "year > ?",
            "-p",
            "2020",
            "--select",
            "title",
            "--json",
        )
    )
    assert {row["title"] for row in found} == {"bolts", "cars"} and "summary" not in found[0]
    for form in ("csv", "jsonl", "parquet"):
        file = tmp_path / f"out.{form}"
        assert "3 rows" in run("export", posts, "posts", file)
        run("import", tmp_path / f"{form}.db", "again", file)
        assert run("export", tmp_path / f"{form}.db", "again", "-", "--format", "csv") == run(
            "export", posts, "posts", "-", "--format", "csv"
        )


def test_a_column_of_several_types_is_named_where_parquet_has_no_place_for_it(tmp_path: Path) -> None:
    conn = sqlite3.connect(tmp_path / "t.db")
    conn.execute("create table t(id integer primary key, plain text, mixed)")
    conn.executemany("insert into t values (?, ?, ?)", [(1, "a", "007"), (2, None, 7), (3, "b", None)])
    conn.commit()
    conn.close()
    said = run("export", tmp_path / "t.db", "t", tmp_path / "t.parquet", code=1)
    assert said.startswith(f"error: {tmp_path / 't.parquet'}: column 'mixed' has integers and texts")
    assert "csv and jsonl keep them" in said and not (tmp_path / "t.parquet").exists()


def test_a_number_is_a_number_and_a_code_a_text() -> None:
    from vssnative._cli.output import values_of

    assert values_of(["10", "-3", "2.5", "007", "1e3", "x", "", "１"]) == [
        10,
        -3,
        2.5,
        "007",
        "1e3",
        "x",
        "",
        "１",
    ]


def test_columns_of_numbers_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("id,year,price,code,mixed\n1,2020,1.50,007,1\n2,,-3,008,x\n")
    run("import", tmp_path / "t.db", "t", file)
    conn = sqlite3.connect(tmp_path / "t.db")
    assert conn.execute("select * from t").fetchall() == [
        (1, 2020, 1.5, "007", "1"),
        (2, None, -3.0, "008", "x"),
    ]
    conn.close()


def test_what_cannot_be_imported_changes_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    for content, words in (
        ("a,b\n1,2\n3\n", "row 2"),
        ("", "there are no rows"),
        (b"a\n\xff\n", "expected UTF-8"),
        ("a,b,a\n1,2,3\n", "column 'a' is twice in the first line"),
        ("a,b,A\n1,2,3\n", "column 'A' is twice in the first line"),
    ):
        bad.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert words in run("import", tmp_path / "x.db", "t", bad, code=1)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"a": 1}\n{"a": 1, "b": 2}\n')
    assert "column 'b' is not in the first row" in run("import", tmp_path / "x.db", "t", bad, code=1)
    bad.write_text('{"a": 1}\n[]\n')
    assert "line 2: expected a JSON object" in run("import", tmp_path / "x.db", "t", bad, code=1)
    bad.write_text('{"a": 1}\n\n{"a": }\n')
    assert "bad.jsonl, line 3, column 7: expected a JSON" in run(
        "import", tmp_path / "x.db", "t", bad, code=1
    )
    (tmp_path / "x.txt").touch()
    assert "expected a .csv" in run("import", tmp_path / "x.db", "t", tmp_path / "x.txt", code=2)
    assert not (tmp_path / "x.db").exists()


def test_commands_that_read_leave_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    conn = vssnative.connect(path, wal=False)
    conn.execute("create table t(id integer primary key, body text)")
    conn.execute("insert into t(body) values ('red'), ('blue')")
    conn.commit()
    vssnative.add_embeddings(conn, "t", ["body"], model="hash:16")
    vssnative.sync(conn)
    assert conn.execute("pragma journal_mode").fetchone() == ("delete",)
    conn.close()
    before = path.read_bytes()
    commands = (
        ["status"],
        ["search", "t", "red"],
        ["info"],
        ["verify", "t"],
        ["stats", "vss_t"],
        ["check"],
        ["dead", "t"],
    )
    for command, *rest in commands:
        run(command, path, *rest)
        run(command, path, *rest, "--json")
    run("explain", path, "t", "red")
    run("export", path, "t", tmp_path / "t.csv")
    run("add-embeddings", path, "t", "-c", "body", "--model", "hash:16", "--name", "u", "--plan")
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["d.db", "t.csv"]


def test_rows_that_failed_are_listed_and_tried_again(posts: Path) -> None:
    conn = sqlite3.connect(posts)
    conn.execute("update posts set summary = x'00ff' where title = 'bolts'")
    conn.commit()
    run("sync", posts, "--quiet")
    [letter] = lines(run("dead", posts, "posts", "--json"))
    assert letter["row_id"] == 2 and "holds a blob" in str(letter["reason"])
    assert "holds a blob" in run("dead", posts, "posts")
    conn.execute("update posts set summary = 'steel parts' where title = 'bolts'")
    conn.commit()
    conn.close()
    assert "1 row queued again" in run("retry", posts, "posts")
    run("pause", posts, "posts")
    assert lines(run("status", posts, "--json"))[0]["waiting_for"] == "it is paused until it is resumed"
    run("resume", posts, "posts")
    assert lines(run("sync", posts, "--json"))[0]["remaining"] == 0
    run("change-model", posts, "posts", "hash:16")
    run("sync", posts, "--quiet")
    assert lines(run("rollback-model", posts, "posts", "--json")) == [{"name": "posts", "model": "hash:32"}]


def test_a_row_is_a_line_in_a_pipe(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    rows = [{"a": f"{n} " + "long words " * 15, "b": "other words " * 15} for n in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("import", tmp_path / "t.db", "t", file)
    run("add-embeddings", tmp_path / "t.db", "t", "-c", "a", "--model", "hash:16")
    run("sync", tmp_path / "t.db", "--quiet")
    output = run("search", tmp_path / "t.db", "t", "words")
    assert sum(line.count("long words long words") > 0 for line in output.splitlines()) == 3


def test_the_package_is_a_program_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vssnative", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "vssnative")
    assert "--install-completion" in run("--help")
