"""Every command's help and answers: an example each, 80 columns, JSON, a row a line in a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import vssnative
from vssnative import _cli as cli

Run = Callable[..., str]


def _commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, *path, name)
    if path and not hasattr(command, "commands"):
        yield path, command


COMMANDS = dict(_commands(typer.main.get_command(cli.app)))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "80")

    def run_(*arguments: object, code: int = 0) -> str:
        result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout

    return run_


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    """A file with forty posts that have embeddings, not filled."""
    path = tmp_path / "blog.db"
    with contextlib.closing(vssnative.connect(path)) as conn:
        conn.execute("create table posts(id integer primary key, title text, body text)")
        rows = [(f"a title of several words, number {i}", f"word{i} " * 30) for i in range(40)]
        conn.executemany("insert into posts(title, body) values (?, ?)", rows)
        conn.commit()
        vssnative.add_embeddings(conn, "posts", ["title"], model="hash:32")
    return path


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_can_be_copied_at_80_columns(run: Run, path: tuple[str, ...]) -> None:
    lines = run(*path, "--help").splitlines()
    assert max(map(len, lines)) <= 80
    [example] = [line for line in lines if line.strip().startswith("Example: ")]
    assert example.strip().startswith(f"Example: vssnative {' '.join(path)}")
    # The example is all on that line, and is what the docstring says.
    said = COMMANDS[path].help.partition("Example: ")[2].strip()
    assert example.strip() == f"Example: {said}"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_answers_in_json(path: tuple[str, ...]) -> None:
    options = {option for parameter in COMMANDS[path].params for option in parameter.opts}
    assert "--json" in options


def test_json_of_each_step(run: Run, posts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSSNATIVE_CACHE", str(tmp_path / "cache"))

    def told(*arguments: object, code: int = 0) -> list[dict[str, Any]]:
        return [json.loads(line) for line in run(*arguments, "--json", code=code).splitlines()]

    assert told("pause", posts, "posts") == [{"name": "posts", "paused": True}]
    assert told("status", posts)[0]["paused"] is True
    assert told("resume", posts, "posts") == [{"name": "posts", "paused": False}]
    assert told("sync", posts)[0]["rows"] == 40
    [hit] = told("search", posts, "posts", "number 7", "-k", 1)
    assert hit["id"] == 8
    [recall] = told("measure-recall", posts, "posts", "title", "-k", 3)
    assert recall["column"] == "title_embedding" and recall["recall"] == 1.0 and recall["k"] == 3
    assert told("optimize", posts, "posts") == [
        {"table": "vss_posts", "column": "title_embedding", "cells": 0}
    ]
    assert told("stats", posts, "vss_posts")[0]["rows"] == 40
    assert told("explain", posts, "posts", "number 7")[0]["column"] == "title"
    assert told("dead", posts, "posts") == []
    assert told("export", posts, "posts", tmp_path / "posts.csv")[0]["rows"] == 40
    assert {finding["state"] for finding in told("doctor", posts)} <= {"ok", "note"}
    assert told("drop-embeddings", posts, "posts") == [{"name": "posts", "dropped": True}]


def test_models_as_json(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSSNATIVE_CACHE", str(tmp_path))
    source = Path(json.loads(run("model", "list", "--json").splitlines()[0])["directory"])
    imported = json.loads(run("model", "import", source, "--name", "local:mine", "--json"))
    assert imported["name"] == "local:mine"
    names = [json.loads(line)["name"] for line in run("model", "list", "--json").splitlines()]
    assert names == ["minilm", "local:mine"]
    removed = json.loads(run("model", "remove", "local:mine", "--json"))
    assert removed == {"name": "local:mine", "digest": imported["digest"], "removed": True}


def test_recall_is_measured_with_queries_of_ones_own(run: Run, tmp_path: Path) -> None:
    rows = np.random.default_rng(5).standard_normal((60, 8), dtype=np.float32)
    np.save(tmp_path / "m.npy", rows)
    np.save(tmp_path / "q.npy", rows[:4] + 1)
    db = tmp_path / "v.db"
    run("index", "add", db, tmp_path / "m.npy")
    said = run("measure-recall", db, "vss_vectors", "--queries", tmp_path / "q.npy", "-k", 5)
    assert "recall" in said and "queries" in said and " 4" in said
    assert "0.5" in run("measure-recall", db, "vss_vectors", "--recall", 0.5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("measure-recall", "{db}", "nothing"), "no table of that name has embeddings"),
        (("optimize", "{db}", "posts", "colour"), "no vectors of 'colour'; it has title"),
        (("measure-recall", "{db}", "posts", "--recall", "2"), "recall: expected a number above 0"),
    ],
)
def test_what_is_not_there_is_one_sentence(posts: Path, arguments: tuple[str, ...], words: str) -> None:
    result = CliRunner().invoke(cli.app, [argument.format(db=posts) for argument in arguments])
    assert result.exit_code == 2
    assert result.output.startswith("error: ") and words in result.output


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (
            ("export", "{db}", "posts", "{dir}/none/p.csv"),
            "{dir}/none/p.csv: there is no directory {dir}/none",
            2,
        ),
        (
            ("export", "{db}", "posts", "{dir}/none/p.parquet"),
            "{dir}/none/p.parquet: there is no directory {dir}/none",
            2,
        ),
        (
            ("export", "{db}", "posts", "{dir}", "--format", "jsonl"),
            "{dir} is a directory, expected a file",
            2,
        ),
        (
            ("export", "{db}", "posts", "{dir}", "--format", "parquet"),
            "{dir} is a directory, expected a file",
            2,
        ),
        (
            ("export", "{db}", "mixed", "{dir}/m.parquet"),
            "{dir}/m.parquet: column 'a' has integers and texts",
            1,
        ),
        (("import", "{db}", "t", "{dir}", "--format", "csv"), "{dir} is a directory, expected a file", 2),
        (("import", "{db}", "t", "{dir}/broken.parquet"), "{dir}/broken.parquet: ", 1),
        (
            ("index", "search", "{db}", "{dir}/q.npy", "--output", "{dir}/no/f.npz"),
            "{dir}/no/f.npz: there is no directory {dir}/no",
            2,
        ),
    ],
)
def test_files_that_cannot_be_read_or_written_are_one_sentence(
    run: Run, posts: Path, arguments: tuple[str, ...], words: str, status: int
) -> None:
    directory = posts.parent
    np.save(directory / "q.npy", np.eye(3, dtype=np.float32))
    run("index", "add", posts, directory / "q.npy")
    (directory / "broken.parquet").write_bytes(b"PAR1 is all that it has of one" * 10)
    with contextlib.closing(sqlite3.connect(posts)) as conn:
        conn.execute("create table mixed(a)")
        conn.execute("insert into mixed values (1), ('x')")
        conn.commit()
    result = CliRunner().invoke(cli.app, [one.format(db=posts, dir=directory) for one in arguments])
    assert result.exit_code == status and isinstance(result.exception, SystemExit)
    assert result.output.startswith("error: " + words.format(dir=directory))
    assert result.output.count("\n") == 1


# JSON goes out as UTF-8 where the output is said to be ASCII: that is click's way.
@pytest.mark.parametrize(("encoding", "options"), [("latin-1", ()), ("ascii", ()), ("latin-1", ("--json",))])
def test_a_character_that_the_output_cannot_carry_is_one_sentence(
    posts: Path, encoding: str, options: tuple[str, ...]
) -> None:
    with contextlib.closing(vssnative.connect(posts)) as conn:
        conn.execute("update posts set title = 'a heron \u2192 pond'")
        conn.commit()
        vssnative.sync(conn)
    done = subprocess.run(
        [sys.executable, "-m", "vssnative", "search", posts, "posts", "heron", *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: the output is in ") and done.stderr.count("\n") == 1
    assert "'\\u2192'; set PYTHONIOENCODING=utf-8" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_an_output_without_room_is_a_sentence(posts: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "vssnative", "status", str(posts), "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: the output cannot be written: No space left on device\n"


def test_in_a_pipe_a_row_is_a_line_and_nothing_is_cut(posts: Path) -> None:
    command = [sys.executable, "-m", "vssnative"]
    subprocess.run([*command, "sync", posts, "--quiet"], check=True, capture_output=True)
    done = subprocess.run(
        [*command, "search", posts, "posts", "number 7", "-k", "5"],
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [line for line in done.stdout.splitlines() if "a title of several words, number" in line]
    assert len(rows) == 5
    assert "\x1b" not in done.stdout
    quiet = subprocess.run([*command, "optimize", posts, "posts"], check=True, capture_output=True, text=True)
    assert quiet.stderr == ""


def test_on_a_terminal_of_80_columns_no_line_is_longer(posts: Path) -> None:
    command = [sys.executable, "-m", "vssnative"]
    subprocess.run([*command, "sync", posts, "--quiet"], check=True, capture_output=True)
    for arguments in (["search", posts, "posts", "number 7"], ["status", posts], ["info", posts]):
        leader, follower = pty.openpty()
        environment = {**os.environ, "COLUMNS": "80", "TERM": "dumb"}
        with subprocess.Popen([*command, *arguments], stdout=follower, stderr=follower, env=environment):
            os.close(follower)
            shown = b""
            with contextlib.suppress(OSError):
                while part := os.read(leader, 65536):
                    shown += part
        os.close(leader)
        lines = shown.decode().splitlines()
        assert lines and max(map(len, lines)) <= 80


def test_reading_commands_leave_the_file_alone(run: Run, posts: Path) -> None:
    with contextlib.closing(sqlite3.connect(posts)) as conn:
        conn.execute("pragma journal_mode = delete")
    before = posts.read_bytes()
    for arguments in (("measure-recall", posts, "posts"), ("stats", posts, "posts"), ("info", posts)):
        run(*arguments)
    assert posts.read_bytes() == before


def test_numbers_of_the_users_rows_are_not_grouped(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "books.db"
    with contextlib.closing(vssnative.connect(path)) as conn:
        conn.execute("create table books(id integer primary key, title text, year int)")
        conn.execute("insert into books(title, year) values ('Moby-Dick', 1851)")
        conn.commit()
        vssnative.add_embeddings(conn, "books", ["title"], model="hash:8")
        vssnative.sync(conn)
    assert "1851" in run("search", path, "books", "whale").split()


@pytest.mark.parametrize("errors_too", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "{db}", "posts", "number", "-k", "2000"),
        ("search", "{db}", "posts", "number", "-k", "2000", "--json"),
        ("export", "{db}", "posts", "-", "--format", "csv"),
        ("export", "{db}", "posts", "-", "--format", "jsonl"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_a_reader_that_has_seen_enough_ends_it_without_a_word(
    tmp_path: Path, arguments: tuple[str, ...], errors_too: bool
) -> None:
    """As of other commands that are cut short by ``| head``, a shell sees 128 + SIGPIPE; it was 1."""
    path = tmp_path / "blog.db"
    with contextlib.closing(vssnative.connect(path)) as conn:
        conn.execute("create table posts(id integer primary key, title text)")
        conn.executemany(
            "insert into posts(title) values (?)", [(f"number {i} " + "x" * 190,) for i in range(2000)]
        )
        conn.commit()
        vssnative.add_embeddings(conn, "posts", ["title"], model="hash:4", full_text=True)
        vssnative.sync(conn)
    # Without a buffer Python does not see that a write was cut short.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "vssnative", *(one.format(db=path) for one in arguments)],
        stdout=writing,
        stderr=writing if errors_too else subprocess.PIPE,
        text=True,
        env=environment,
    )
    os.close(writing)
    if arguments[0] == "doctor":  # a short answer: it has no reader from the start
        os.close(reading)
    else:
        assert os.read(reading, 1)
        os.close(reading)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (141, None if errors_too else "")


def test_an_answer_that_is_read_to_its_end_is_no_such_case(posts: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "vssnative", "export", posts, "posts", "-", "--format", "jsonl"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stdout.count("\n"), process.stderr) == (0, 40, "40 rows\n")
