"""``vssnative worker`` and ``demo`` tell what they do: sentences on standard error, or JSON lines."""

from __future__ import annotations

import contextlib
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
from typing import Any

import pytest
from typer.testing import CliRunner

import vssnative
from vssnative import _cli as cli
from vssnative import _demo as demo


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    path = tmp_path / "blog.db"
    with contextlib.closing(vssnative.connect(path)) as conn:
        conn.execute("create table posts(id integer primary key, title text)")
        conn.executemany("insert into posts(title) values (?)", [(f"title {n}",) for n in range(40)])
        conn.execute("insert into posts(id, title) values (99, x'00ff')")
        conn.commit()
        vssnative.add_embeddings(conn, "posts", ["title"], model="hash:8")
    return path


def worked(path: Path, *options: str, until: Callable[[sqlite3.Connection], bool]) -> tuple[str, str, int]:
    """What a worker says until the file is as it should be and it gets SIGTERM."""
    command = [sys.executable, "-m", "vssnative", "worker", str(path), *options]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        contextlib.closing(sqlite3.connect(path)) as conn,
    ):
        deadline = time.monotonic() + 30
        while not until(conn):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    return out, err, process.returncode


def nothing_is_left(conn: sqlite3.Connection) -> bool:
    return bool(conn.execute("select count(*) from vssnative_queue").fetchone() == (0,))


def test_a_worker_tells_what_it_does_on_standard_error(posts: Path) -> None:
    out, err, status = worked(posts, until=nothing_is_left)
    assert (out, status) == ("", 0)
    lines = err.splitlines()
    assert all(f" {posts}: " in line for line in lines), err
    words = [line.partition(f" {posts}: ")[2] for line in lines]
    assert words[0] == "started: posts by hash:8, 41 rows pending"
    assert any(word.startswith("posts: ") and "rows done" in word for word in words)
    assert "posts: row 99, title is given up: column title holds a blob, expected text" in words
    assert words[-1].startswith("ended: 41 rows done, 40 texts embedded in ")
    assert "{" not in err and "reason=" not in err


def test_a_worker_tells_events_as_json(posts: Path) -> None:
    out, err, status = worked(posts, "--json", until=nothing_is_left)
    assert (err, status) == ("", 0)
    events = [json.loads(line) for line in out.splitlines()]
    assert events[0]["event"] == "started" and events[0]["tables"] == [
        {"name": "posts", "model": "hash:8", "pending": 41}
    ]
    assert {"batch", "failed", "dead"} <= {event["event"] for event in events}
    assert sum(event["rows"] for event in events if event["event"] == "batch") == 41
    [dead] = [event for event in events if event["event"] == "dead"]
    assert (dead["name"], dead["row_id"], dead["field"]) == ("posts", 99, "title")
    assert events[-1]["event"] == "ended" and events[-1]["texts"] == 40
    assert all(event["file"] == str(posts) and event["at"] > 0 for event in events)


def test_a_quiet_worker_tells_only_of_trouble(posts: Path) -> None:
    out, err, status = worked(posts, "--quiet", until=nothing_is_left)
    assert (out, status) == ("", 0)
    assert err and all("row 99" in line for line in err.splitlines())


def test_a_quiet_worker_without_trouble_says_nothing(posts: Path) -> None:
    with contextlib.closing(sqlite3.connect(posts)) as conn:
        conn.execute("delete from posts where id = 99")
        conn.commit()
    worked(posts, until=nothing_is_left)

    def stop_when_it_listens() -> None:
        while signal.getsignal(signal.SIGTERM) == before:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=stop_when_it_listens)
    thread.start()
    result = CliRunner().invoke(cli.app, ["worker", str(posts), "--quiet"])
    thread.join()
    assert (result.exit_code, result.output) == (0, "")


def test_a_worker_that_cannot_go_on_names_the_file(posts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("vssnative._sync.Worker.run", fail)
    result = CliRunner().invoke(cli.app, ["worker", str(posts)])
    assert result.exit_code == 1
    assert "ended: 0 rows done" in result.stderr
    assert result.stderr.splitlines()[-1].startswith(
        f"error: {posts} cannot be read or written (disk I/O error)"
    )


def test_sync_says_where_to_look_for_what_was_given_up(posts: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vssnative", "sync", posts, "posts"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "1 given up" in done.stdout
    # No bar in a pipe, and no words of the log.
    assert done.stderr == f"vssnative dead {posts} posts says why texts were given up\n"


@pytest.fixture
def few_posts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [demo.Post("shutil", f"shutil.f{n}", f"Delete a directory {n}.", None) for n in range(3)]
    monkeypatch.setattr(demo, "collect_posts", lambda root=None: iter(rows))
    run = demo.run
    monkeypatch.setattr(
        demo, "run", lambda path, query, *, progress: run(path, query, "hash:8", progress=progress)
    )


@pytest.mark.usefixtures("few_posts")
def test_the_demo_as_json_and_as_text(tmp_path: Path) -> None:
    def told(*options: str) -> str:
        result = CliRunner().invoke(cli.app, ["demo", "--database", str(tmp_path / "d.db"), *options])
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    steps: list[dict[str, Any]] = [json.loads(line) for line in told("--json").splitlines()]
    assert steps[0] == {"file": str(tmp_path / "d.db"), "table": "posts", "rows": 3}
    assert steps[1]["texts"] == 6 and steps[1]["seconds"] >= 0
    assert [step["query"] for step in steps[2:]] == [question.text for question in demo.QUESTIONS]
    assert steps[-1]["where"] == "company = ?" and steps[-1]["params"] == ["shutil"]
    assert {"rank", "distance", "title"} <= set(steps[2]["hits"][0])
    [_, _, one] = [json.loads(line) for line in told("--json", "--query", "folder").splitlines()]
    assert one["query"] == "folder" and len(one["hits"]) == 3
    assert "3 docstrings" in told("--query", "folder")


def test_the_demo_refuses_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "d.db").write_text("words")
    result = CliRunner().invoke(cli.app, ["demo", "--database", str(tmp_path / "d.db")])
    assert (result.exit_code, result.stderr) == (2, f"error: {tmp_path / 'd.db'} is not an SQLite database\n")
    assert os.listdir(tmp_path) == ["d.db"]
