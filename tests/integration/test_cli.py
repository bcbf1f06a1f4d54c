"""The command line: each command from the outside, its answers and its refusals."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from vssnative import _cli as cli
from vssnative import _doctor as doctor

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")

    def run_(*arguments: object, code: int = 0) -> Result:
        result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run_


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    """A file with a table of three posts, made without vssnative."""
    path = tmp_path / "blog.db"
    with contextlib.closing(sqlite3.connect(path)) as conn:
        conn.execute("create table posts(id integer primary key, company text, title text, summary text)")
        conn.executemany(
            "insert into posts(company, title, summary) values (?, ?, ?)",
            [("acme", "apples", "red fruit"), ("acme", "bolts", "steel [parts]"), ("other", "cars", None)],
        )
        conn.commit()
    return path


# --- the machine ----------------------------------------------------------------------------------------------------


def test_version(run: Run) -> None:
    assert run("--version").output == f"vssnative {importlib.metadata.version('vssnative')}\n"


def test_doctor_tells_what_works(run: Run, posts: Path) -> None:
    output = run("doctor", posts).output
    assert "sqlite3: SQLite" in output and "vss0 loads by" in output
    assert "apsw: SQLite" in output
    assert "blog.db" in output and "vssnative.connect switches it to wal" not in output


def test_doctor_leaves_the_database_as_it_was(posts: Path) -> None:
    before = posts.read_bytes()
    findings = {finding.subject: finding for finding in doctor.diagnose(posts)}
    assert "journal delete" in findings["database"].found
    assert posts.read_bytes() == before
    assert list(posts.parent.iterdir()) == [posts]


def test_doctor_names_faults_and_says_so_by_its_exit_code(run: Run, tmp_path: Path) -> None:
    junk = tmp_path / "junk.db"
    junk.write_bytes(b"this is no database, whatever its name may say" * 100)
    output = run("doctor", junk, code=1).output
    assert "file is not a database" in output
    output = run("doctor", tmp_path / "nothing.db", code=2).output
    assert "nothing.db: there is no such file" in output


def test_doctor_tells_of_a_driver_that_cannot_load(monkeypatch: pytest.MonkeyPatch) -> None:
    from vssnative._connection import loading

    monkeypatch.setattr(loading, "_load_by_own_loader", lambda conn, driver: "own loader: none")
    monkeypatch.setattr(loading, "_load_by_entry_point", lambda conn, driver: "entry point: hidden")
    findings = {finding.subject: finding for finding in doctor.diagnose()}
    assert findings["sqlite3"].state == "fault"
    assert "own loader: none" in findings["sqlite3"].found


def test_doctor_names_the_command_for_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    missing = ("onnx", "tokenizers", "sqlean")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in missing else find_spec(name, *rest)
    )
    findings = {finding.subject: finding for finding in doctor.diagnose()}
    for name, extra in (("onnx", "onnx"), ("tokenizers", "local")):
        assert findings[name].state == "note"
        assert findings[name].advice == f"pip install 'vssnative[{extra}]'"
    assert findings["sqlean"].state == "note"


# --- vectors of one's own -------------------------------------------------------------------------------------------


def test_index_add_and_search(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((50, 8), dtype=np.float32)
    np.save(tmp_path / "m.npy", matrix)
    np.save(tmp_path / "q.npy", matrix[[7, 9]])
    np.save(tmp_path / "ids.npy", np.arange(100, 150))
    db = tmp_path / "v.db"
    assert "50 vectors added, 50 in all" in run("index", "add", db, tmp_path / "m.npy").output
    assert (
        "50 vectors added, 100 in all"
        in run("index", "add", db, tmp_path / "m.npy", "--ids", tmp_path / "ids.npy").output
    )
    run("index", "search", db, tmp_path / "q.npy", "-k", 3, "--output", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as out:
        assert out["ids"][:, :2].tolist() == [[8, 107], [10, 109]]
        assert out["distances"].shape == (2, 3)
    output = run("index", "search", db, tmp_path / "q.npy", "-k", 1, "--where", "rowid > 100").output
    assert "107" in output and "109" in output and " 8 " not in output


def test_index_add_is_all_or_none(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.ones((3, 4), np.float32))
    np.save(tmp_path / "ids.npy", np.array([1, 2, 1]))
    db = tmp_path / "v.db"
    result = run("index", "add", db, tmp_path / "m.npy", "--ids", tmp_path / "ids.npy", code=1)
    assert result.output.startswith("error: ") and "Traceback" not in result.output
    with contextlib.closing(sqlite3.connect(db)) as conn:
        assert conn.execute("select count(*) from sqlite_master").fetchone() == (0,)


def test_what_is_no_array_is_refused(run: Run, tmp_path: Path, posts: Path) -> None:
    assert "is no .npy file of numbers" in run("index", "add", tmp_path / "v.db", posts, code=2).output


# --- vss0 tables ----------------------------------------------------------------------------------------------------


@pytest.fixture
def vectors(run: Run, tmp_path: Path) -> Path:
    """A file with twenty vectors in vss_vectors."""
    np.save(tmp_path / "m.npy", np.random.default_rng(3).standard_normal((20, 8), dtype=np.float32))
    run("index", "add", tmp_path / "v.db", tmp_path / "m.npy", "--metric", "cosine")
    return tmp_path / "v.db"


def test_info_lists_tables_and_columns(run: Run, vectors: Path) -> None:
    words = run("info", vectors).output.split()
    for word in ("vss_vectors", "embedding", "8", "float32", "COSINE", "20"):
        assert word in words


def test_check_finds_damage_and_repair_mends_it(run: Run, vectors: Path) -> None:
    assert run("check", vectors).output == "vss_vectors: ok\n"
    with contextlib.closing(sqlite3.connect(vectors)) as conn:
        conn.execute("update vss_vectors_segments0 set live = live - 1")
        conn.commit()
    output = run("check", vectors, "vss_vectors", code=1).output
    assert output.startswith("vss_vectors: ") and "ok" not in output.split()
    assert run("check", vectors, "--repair").output.endswith("vss_vectors: ok\n")
    assert run("check", vectors).output == "vss_vectors: ok\n"


def test_check_refuses_what_is_no_vss0_table(run: Run, posts: Path) -> None:
    assert run("check", posts, "posts", code=2).output.startswith("error: ")


def test_stats_and_optimize(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.random.default_rng(3).standard_normal((5000, 64), dtype=np.float32))
    db = tmp_path / "v.db"
    run("index", "add", db, tmp_path / "m.npy")
    words = run("stats", db, "vss_vectors").output.split()
    assert "5,000" in words and "cells" in words
    output = run("optimize", db, "vss_vectors", "embedding").output
    assert "cells gone through" in output
    assert run("check", db).output == "vss_vectors: ok\n"
    assert "there is no vss0 table 'nothing'" in run("stats", db, "nothing", code=2).output
    assert "no vector column 'nothing'" in run("optimize", db, "vss_vectors", "nothing", code=2).output


# --- embeddings of one's own table ----------------------------------------------------------------------------------


def test_sync_of_some_rows_and_a_worker_for_the_rest(run: Run, posts: Path) -> None:
    run("add-embeddings", posts, "posts", "-c", "title", "--model", "hash:16")
    output = run("sync", posts, "posts", "--where", "company = ?", "-p", "other", "--quiet").output
    assert "1 row done" in output and "2 rows remain" in output
    assert "no such column: firm" in run("sync", posts, "posts", "--where", "firm = 1", code=2).output

    def stop_when_done() -> None:
        with contextlib.closing(sqlite3.connect(posts)) as conn:
            while conn.execute("select count(*) from vssnative_queue").fetchone() != (0,):
                time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    # Only while the worker runs is the signal not the end of this process.
    thread = threading.Thread(target=stop_when_done)
    thread.start()
    run("worker", posts)
    thread.join()
    assert "3" in run("status", posts).output
    with contextlib.closing(sqlite3.connect(posts)) as conn:
        assert conn.execute("select pending, embedded from vssnative_status").fetchall() == [(0, 3)]


@pytest.mark.parametrize("options", [("--quiet",), ("--json",)])
def test_sync_of_a_paused_table_says_that_it_is_paused(
    run: Run, posts: Path, options: tuple[str, ...]
) -> None:
    run("add-embeddings", posts, "posts", "-c", "title", "--model", "hash:16")
    run("pause", posts, "posts")
    for arguments in (("sync", posts), ("sync", posts, "posts")):
        said = run(*arguments, *options).stderr
        assert said == f"posts is paused; vssnative resume {posts} posts ends that\n"
    run("resume", posts, "posts")
    assert run("sync", posts, *options).stderr == ""


def test_a_worker_for_a_name_that_is_not_recorded_ends_as_sync_does(run: Run, posts: Path) -> None:
    run("add-embeddings", posts, "posts", "-c", "title", "--model", "hash:16")
    timer = threading.Timer(5, os.kill, (os.getpid(), signal.SIGTERM))  # if it does not
    timer.start()
    try:
        output = run("worker", posts, "post", code=2).output
    finally:
        timer.cancel()
    assert output.count("\n") == 1 and output.startswith("error: ")
    assert output == run("sync", posts, "post", code=2).output


def test_the_whole_story(run: Run, posts: Path) -> None:
    for command in ("status", "sync"):
        assert "no table has embeddings" in run(command, posts).output
    plan = run(
        "add-embeddings", posts, "posts", "-c", "title", "-c", "summary", "--model", "hash:32", "--plan"
    ).output
    assert "CREATE" in plan.upper() and "rows" in plan
    output = run(
        "add-embeddings", posts, "posts", "-c", "title", "-c", "summary", "--model", "hash:32"
    ).output
    assert "posts: embeddings of title, summary" in output
    assert "3 rows are new or changed since: vssnative sync" in run("search", posts, "posts", "bolts").output
    assert "3 rows done" in run("sync", posts, "--quiet").output
    assert "coverage" in run("status", posts).output
    output = run("search", posts, "posts", "bolts", "-k", 2).output
    assert "steel [parts]" in output and "vssnative sync" not in output
    assert (
        "for each of the 1 ? of where, got 0"
        in run("search", posts, "posts", "x", "--where", "id = ?", code=2).output
    )
    output = run("search", posts, "posts", "bolts", "--where", "company = ?", "-p", "other", "--json").output
    assert [json.loads(line)["title"] for line in output.splitlines()] == ["cars"]
    assert "in order" in run("verify", posts, "posts").output
    assert run("repair", posts, "posts").stdout == "posts: nothing was wrong; 3 rows looked at\n"
    assert "changing to" in run("change-model", posts, "posts", "hash:16").output
    run("sync", posts, "--quiet")
    assert "dropped" in run("drop-embeddings", posts, "posts").output
    assert "no table has embeddings" in run("status", posts).output


def test_search_shows_the_columns_that_were_asked_for(run: Run, posts: Path) -> None:
    run("add-embeddings", posts, "posts", "-c", "title", "--model", "hash:32")
    run("sync", posts, "--quiet")
    output = run("search", posts, "posts", "apples", "-k", 1, "--show", "company").output
    assert "acme" in output and "red fruit" not in output
    assert (
        "has no column 'colour'; it has id, company"
        in run("search", posts, "posts", "apples", "--show", "colour", code=2).output
    )


def test_verify_fails_where_something_is_wrong(run: Run, posts: Path) -> None:
    run("add-embeddings", posts, "posts", "-c", "title", "--model", "hash:32")
    run("sync", posts, "--quiet")
    with contextlib.closing(sqlite3.connect(posts)) as conn:
        conn.execute("delete from vssnative_provenance where row_id = 2")
        conn.commit()
    output = run("verify", posts, "posts", code=1).output
    assert "faults" in output
    assert "found and mended" in run("repair", posts, "posts").output
    assert "in order" in run("verify", posts, "posts").output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search", "{db}", "posts", "apples"), "posts"),
        (("add-embeddings", "{db}", "nothing", "-c", "title", "--model", "hash:32"), "nothing"),
        (("add-embeddings", "{db}", "posts", "-c", "colour", "--model", "hash:32"), "colour"),
        (("add-embeddings", "{db}", "posts", "-c", "title", "--model", "no such model"), "no such model"),
        (("add-embeddings", "{db}", "posts"), "-c title"),
        (("drop-embeddings", "{db}", "posts"), "posts"),
        (("status", __file__), "test_cli.py is not an SQLite database"),
    ],
)
def test_errors_are_one_sentence_without_a_trace(
    run: Run, posts: Path, arguments: tuple[str, ...], words: str
) -> None:
    result = run(*(argument.format(db=posts) for argument in arguments), code=2)
    assert result.output.startswith("error: ") and words in result.output
    assert "Traceback" not in result.output


def test_a_file_that_does_not_exist_is_refused_and_not_made(run: Run, tmp_path: Path) -> None:
    output = run("status", tmp_path / "nothing.db", code=2).output
    assert output == f"error: {tmp_path / 'nothing.db'}: there is no such file\n"
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_ends_it_quietly(run: Run, posts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vssnative._connection.connect_to_read", interrupted)
    assert "run it again to go on" in run("status", posts, code=130).output


@pytest.mark.parametrize("module", ["typer", "vssnative._cli", "vssnative._cli.moving"])
def test_an_interrupt_while_it_imports_ends_it_quietly(module: str) -> None:
    script = f"""
import sys
from vssnative._command import main

class Interrupt:
    def find_spec(self, name, *_):
        if name == {module!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
