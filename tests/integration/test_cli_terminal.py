"""What a person sees in a terminal of 80 or 100 columns, of rows like those of real tables, and of odd ones."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import sqlite3
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

import vssnative
from vssnative import _cli as cli
from vssnative import _display as display

BIG = 2**53 + 1
_STYLES = re.compile(r"\x1b\[(\?25[hl]|[0-9;]*m)")


def shown(columns: int, *arguments: object) -> list[str]:
    """The lines that a command writes to a terminal of so many columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment |= {"TERM": "xterm", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "vssnative", *map(str, arguments)]
    output = b""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower, env=environment
    ) as process:
        os.close(follower)
        with contextlib.suppress(OSError):
            while part := os.read(leader, 65536):
                output += part
    os.close(leader)
    assert process.returncode == 0, output
    return [_STYLES.sub("", line) for line in output.decode().split("\r\n")]


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@pytest.fixture
def blog(tmp_path: Path) -> Path:
    """Posts with long texts in several columns."""
    path = tmp_path / "blog.db"
    with contextlib.closing(vssnative.connect(path)) as conn:
        conn.execute(
            "create table posts(id integer primary key, company text, title text, summary text, description text,"
            " inserted_at text, updated_at text)"
        )
        rows = [
            (
                BIG - n,
                "a company of some length",
                f"title {n} of a post",
                f"summary {n} " * 20,
                f"text {n} " * 90,
            )
            for n in range(20)
        ]
        conn.executemany(
            "insert into posts(id, company, title, summary, description) values (?, ?, ?, ?, ?)", rows
        )
        conn.commit()
        vssnative.add_embeddings(conn, "posts", ["title", "summary"], model="hash:32", full_text=True)
        vssnative.sync(conn)
    return path


# --- search ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [50, 60, 80, 100, 132])
@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
def test_rank_distance_score_and_id_are_always_readable(blog: Path, columns: int, mode: str) -> None:
    lines = shown(columns, "search", blog, "posts", "title 7 of a post", "-k", 3, "--mode", mode)
    assert max(map(cell_len, lines)) <= columns
    found = json.loads(
        run("search", blog, "posts", "title 7 of a post", "-k", 3, "--mode", mode, "--json").splitlines()[0]
    )
    assert found["id"] == BIG - 7
    [first] = [line for line in lines if line.split()[:1] == ["1"]]
    distance = "-" if found["distance"] is None else f"{found['distance']:.4f}"
    expected = ["1", distance] if mode == "vector" else ["1", distance, f"{found['score']:.4f}"]
    assert first.split()[: len(expected) + 1] == [*expected, str(BIG - 7)]
    head = next(line for line in lines if line.startswith("rank")).split()
    assert head[: len(expected) + 1] == ["rank", "distance", *(["score"] if mode != "vector" else []), "id"]


def test_columns_without_room_are_named_and_the_searched_ones_go_first(blog: Path) -> None:
    lines = shown(80, "search", blog, "posts", "title 7 of a post", "-k", 1, "--mode", "vector")
    head = next(line for line in lines if line.startswith("rank")).split()
    assert "title" in head and "description" not in head
    # Every column of texts that is there has room for some of it.
    note = " ".join(lines[next(at for at, line in enumerate(lines) if line.startswith("no room for: ")) :])
    assert "description" in note and "--select COLUMN" in note
    assert not {"title", *head} & set(re.findall(r"\w+", note.partition("(")[0]))
    lines = shown(80, "search", blog, "posts", "title 7 of a post", "-k", 1, "--select", "description")
    assert any("text 7 text 7" in line for line in lines) and not any("no room" in line for line in lines)


def test_a_long_key_is_folded_not_cut(tmp_path: Path) -> None:
    key = "a-key-of-many-letters-" * 4
    with contextlib.closing(vssnative.connect(tmp_path / "k.db")) as conn:
        conn.execute("create table t(id text primary key, title text)")
        conn.execute("insert into t values (?, ?)", (key, "words " * 50))
        conn.commit()
        vssnative.add_embeddings(conn, "t", ["title"], model="hash:8")
        vssnative.sync(conn)
    lines = shown(80, "search", tmp_path / "k.db", "t", "words")
    column = next(line for line in lines if line.startswith("rank")).index("id")
    assert key in "".join(line[column : column + 24].strip() for line in lines if not line.startswith("rank"))


def test_nothing_found_is_said(tmp_path: Path) -> None:
    with contextlib.closing(vssnative.connect(tmp_path / "e.db")) as conn:
        conn.execute("create table t(id integer primary key, title text)")
        conn.commit()
        vssnative.add_embeddings(conn, "t", ["title"], model="hash:8")
    assert shown(80, "search", tmp_path / "e.db", "t", "words") == ["no rows found", ""]
    result = CliRunner().invoke(cli.app, ["search", str(tmp_path / "e.db"), "t", "words", "--json"])
    assert (result.exit_code, result.output) == (0, "")


# --- other tables ---------------------------------------------------------------------------------------------------


def test_the_widest_column_gives_way_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(80, "model", "list")
    assert max(map(cell_len, lines)) <= 80
    head = next(line for line in lines if line.startswith("name"))
    assert head.split() == ["name", "digest", "size", "from", "revision", "directory"]
    assert any(line.startswith("minilm") and " MB " in line for line in lines)


@pytest.mark.parametrize("kind", ["cells", "faiss"])
def test_stats_are_tables_and_no_python(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "v.db"
    with contextlib.closing(vssnative.connect(path)) as conn:
        try:
            more = {"factory": "IVF16,Flat"} if kind == "faiss" else {}
            index = vssnative.Index(conn, "v", index=kind, **more)  # type: ignore[arg-type]
            rng = np.random.default_rng(3)
            index.add(np.arange(5000), rng.standard_normal((5000, 64), dtype=np.float32))
        except sqlite3.OperationalError as error:
            assert "needs Faiss" in str(error)
            pytest.skip("this build has no Faiss")
        conn.commit()
    lines = shown(80, "stats", path, "v")
    assert max(map(cell_len, lines)) <= 80
    text = "\n".join(lines)
    assert not set("{}'…") & set(text) and "None" not in text and "True" not in text
    assert any(line.split() == ["rows", "5,000"] for line in lines)
    assert any(line.startswith("recall ") for line in lines) and any(
        line.startswith("0.95 ") for line in lines
    )
    [told] = run("stats", path, "v", "--json").splitlines()
    stats = json.loads(told)
    assert stats["rows"] == 5000
    by_recall = "cells_for_recall" if kind == "cells" else "settings_for_recall_at_10"
    assert set(stats[by_recall]) >= {"0.9", "0.95", "0.99"}


def test_explain_is_a_table_or_json(blog: Path) -> None:
    lines = shown(80, "explain", blog, "posts", "title 7")
    assert "posts.title" in lines and any(line.startswith("plan ") for line in lines)
    told = [json.loads(line) for line in run("explain", blog, "posts", "title 7", "--json").splitlines()]
    assert [one["column"] for one in told] == ["title", "summary"] and all("plan" in one for one in told)


def test_status_speaks_no_python(blog: Path) -> None:
    lines = shown(80, "status", blog)
    assert "paused no" in [" ".join(line.split()) for line in lines]
    assert "coverage 100.0%" in [" ".join(line.split()) for line in lines]


# --- odd rows -------------------------------------------------------------------------------------------------------

ODD = "a\nb\tc \x1b[31mred\x1b[0m\x07 [bold]x[/] \u202eevil \u200d \x9b2J"


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    path = tmp_path / "odd.db"
    with contextlib.closing(vssnative.connect(path)) as conn:
        conn.execute("create table t(id integer primary key, title text, wide text, data blob, num real)")
        rows = [(BIG, ODD, "日本語" * 30, b"\x00\xff", float("inf")), (2, "family", "👩‍👩‍👧" * 9, None, -1.5)]
        conn.executemany("insert into t values (?, ?, ?, ?, ?)", rows)
        conn.commit()
        vssnative.add_embeddings(conn, "t", ["title"], model="hash:8")
        vssnative.sync(conn)
    return path


def test_rows_are_never_commands_to_the_terminal(odd: Path) -> None:
    for columns in (60, 80, 100, 200):
        lines = shown(columns, "search", odd, "t", "\x1b[31mred", "--select", "title", "--select", "wide")
        assert max(map(cell_len, lines)) <= columns
        text = "\n".join(lines)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
        assert "\\x1b[31mred" in text and str(BIG) in text


def test_in_a_pipe_an_odd_row_is_a_line(odd: Path) -> None:
    lines = run("search", odd, "t", "red").splitlines()
    [line] = [line for line in lines if str(BIG) in line]
    assert "a b c \\x1b[31mred\\x1b[0m\\x07 [bold]x[/] \\u202eevil" in line and "日本語" in line


def test_json_is_json_whatever_the_row_holds(odd: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    output = run(
        "search",
        odd,
        "t",
        "red",
        "--select",
        "id",
        "--select",
        "title",
        "--select",
        "data",
        "--select",
        "num",
        "--json",
    )
    found = {
        row["id"]: row for row in (json.loads(line, parse_constant=refuse) for line in output.splitlines())
    }
    assert found[BIG]["title"] == ODD and found[BIG]["data"] == "00ff" and found[BIG]["num"] is None
    assert found[2]["num"] == -1.5


def test_ids_beyond_2_to_the_53_stay_what_they_are(tmp_path: Path) -> None:
    ids = [BIG, 2**63 - 1, -(2**63)]
    (tmp_path / "t.jsonl").write_text("".join(f'{{"id": {number}, "title": "x"}}\n' for number in ids))
    for form in ("jsonl", "csv", "parquet"):
        run("import", tmp_path / f"{form}.db", "t", tmp_path / f"t.{form}")
        output = run("export", tmp_path / f"{form}.db", "t", "-", "--format", "jsonl")
        assert [json.loads(line)["id"] for line in output.splitlines()] == sorted(ids)
        for other in ("csv", "parquet"):
            run("export", tmp_path / f"{form}.db", "t", tmp_path / f"t.{other}")


def test_numbers_beyond_64_bits_stay_texts_or_are_refused(tmp_path: Path) -> None:
    big = 2**63
    (tmp_path / "t.csv").write_text(f"a,b\n{big},1e+300\n")
    run("import", tmp_path / "t.db", "t", tmp_path / "t.csv")
    with contextlib.closing(sqlite3.connect(tmp_path / "t.db")) as conn:
        assert conn.execute("select a, b from t").fetchall() == [(str(big), 1e300)]
    (tmp_path / "t.jsonl").write_text(f'{{"a": {big}}}\n')
    result = CliRunner().invoke(cli.app, ["import", str(tmp_path / "t.db"), "u", str(tmp_path / "t.jsonl")])
    assert result.exit_code == 1
    assert result.output == (
        f"error: {tmp_path / 't.jsonl'}, row 1, column 'a': SQLite's integers have 64 bits, {big} needs more\n"
    )


def test_names_with_odd_characters(tmp_path: Path) -> None:
    name = "my \x1b[31mtable"
    path = tmp_path / "n.db"
    with contextlib.closing(sqlite3.connect(path)) as conn:
        conn.execute(f'create table "{name}"(id integer primary key, "ti\ttle" text)')
        conn.execute(f"insert into \"{name}\" values (1, 'x')")
        conn.commit()
    output = run("add-embeddings", path, name, "-c", "ti\ttle", "--model", "hash:8") + run("sync", path)
    output += (
        run("search", path, name, "x") + run("status", path) + run("info", path) + run("verify", path, name)
    )
    result = CliRunner().invoke(cli.app, ["search", str(path), name + "s", "x"])
    assert result.exit_code == 2
    assert "\x1b" not in output + result.output and "\\x1b[31mtable" in output


def test_bytes_that_are_not_utf_8_are_one_sentence(odd: Path) -> None:
    command = [sys.executable, "-m", "vssnative", "search", str(odd), "t"]
    for arguments, text in (
        ([b"caf\xe9"], b""),
        (["-"], b"caf\xe9"),
        (["x", "--where", "title = ?", "-p", b"\xe9"], b""),
    ):
        done = subprocess.run(
            [*command, *arguments],  # type: ignore[list-item]
            input=text,
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONUTF8": "1"},
        )
        assert done.returncode in (1, 2) and done.stdout == b""
        assert (
            done.stderr.startswith(b"error: ") and done.stderr.count(b"\n") == 1 and b"UTF-8" in done.stderr
        )


def test_printable() -> None:
    assert display.printable("a\x1b[1m\u202e\x85\n") == "a\\x1b[1m\\u202e\\x85\\n"
    assert display.printable("a\nb\u200dc", lines=True) == "a\nb\u200dc"
    assert display.printable("\udce9") == "\\udce9"
    assert display.json_line({1: (float("nan"), b"\x01"), "p": Path("x")}) == '{"1": [null, "01"], "p": "x"}'


# --- an empty file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["info", "check", "status", "sync", "upgrade"])
def test_an_empty_file_is_told_in_a_sentence(tmp_path: Path, command: str) -> None:
    (tmp_path / "empty.db").touch()
    [line] = run(command, tmp_path / "empty.db").splitlines()
    assert line.startswith(f"{tmp_path / 'empty.db'}: ")


# --- what else is shown ---------------------------------------------------------------------------------------------


def test_the_passage_found_is_shown(tmp_path: Path) -> None:
    with contextlib.closing(vssnative.connect(tmp_path / "p.db")) as conn:
        conn.execute("create table t(id integer primary key, author text, body text)")
        body = (
            " ".join(["nothing of interest here"] * 60) + " the needle " + " ".join(["and so on and on"] * 60)
        )
        conn.execute("insert into t values (1, ?, ?)", ("somebody of a long name " * 4, body))
        conn.commit()
        vssnative.add_embeddings(conn, "t", ["body"], model="hash:64", chunk=20)
        vssnative.sync(conn)
    found = json.loads(run("search", tmp_path / "p.db", "t", "the needle", "-k", 1, "--json").splitlines()[0])
    lines = shown(100, "search", tmp_path / "p.db", "t", "the needle", "-k", 1)
    assert next(line for line in lines if line.startswith("rank")).split()[3] == "passage"
    assert any(found["passage"][:14] in line for line in lines)


def test_reports_say_what_their_words_mean(blog: Path) -> None:
    lines = shown(80, "verify", blog, "posts")
    assert any(re.match(r"stale +0 +vectors of an earlier text", line) for line in lines)
    assert any(re.match(r"waiting +0 +rows that the next sync looks at", line) for line in lines)
    assert any(re.match(r"given up +0 +rows with a text that", line) for line in lines)
    lines = shown(80, "measure-recall", blog, "posts", "title")
    assert any(re.match(r"asked +0.95 +the recall that", line) for line in lines)
    assert any(re.match(r"queries +0 +asked; 0: none, as every search is exact", line) for line in lines)
    assert max(map(cell_len, lines)) <= 80


def test_bars_and_answers_do_not_share_a_line(blog: Path) -> None:
    lines = shown(100, "optimize", blog, "posts")
    assert "vss_posts.title_embedding: 0 cells gone through" in lines


def test_without_a_command_the_help_is_shown_once() -> None:
    for arguments in ([], ["index"]):
        result = CliRunner().invoke(cli.app, arguments)
        assert result.exit_code == 2 and result.output.count("Usage: ") == 1
