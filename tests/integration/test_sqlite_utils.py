"""The commands that sqlite-utils gets: embeddings, sync, search, in its own formats."""

from __future__ import annotations

import csv
import io
import json
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import sqlite_utils
import sqlite_utils.cli
from click.testing import CliRunner, Result
from sqlite_utils.plugins import pm

from vssnative.integrations import sqlite_utils as plugin

Run = Callable[..., Result]


@pytest.fixture
def run() -> Iterator[Run]:
    sqlite_utils.Database(memory=True).close()  # the first one loads the plugins of installed packages
    registered = pm.is_registered(plugin)
    if not registered:
        pm.register(plugin)
    group = click.Group()
    plugin.register_commands(group)

    def run_(*arguments: object, code: int = 0) -> Result:
        result = CliRunner().invoke(group, [str(argument) for argument in arguments])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    yield run_
    if not registered:
        pm.unregister(plugin)


@pytest.fixture
def blog(tmp_path: Path) -> Path:
    path = tmp_path / "my blog.db"
    db = sqlite_utils.Database(path)
    rows = [("apple pie", "bake"), ("pear cake", "stir"), ("oil change", "drain")]
    db["posts"].insert_all([{"id": i, "title": t, "body": b} for i, (t, b) in enumerate(rows, 1)], pk="id")
    db.close()
    return path


def test_the_commands_are_there_and_say_how(run: Run) -> None:
    for name in ("vss-add-embeddings", "vss-sync", "vss-search"):
        assert f"sqlite-utils {name} blog.db" in run(name, "--help").output


def test_from_a_table_to_results(run: Run, blog: Path) -> None:
    said = run("vss-add-embeddings", blog, "posts", "title", "body", "--model", "hash:64", "--full-text")
    assert "posts: embeddings of title, body" in said.stderr
    assert "3 rows are new or changed since" in run("vss-search", blog, "posts", "apple").stderr
    assert "3 rows done; 0 remain, 0 given up" in run("vss-sync", blog).stderr
    found = json.loads(run("vss-search", blog, "posts", "oil drain", "-k", 2).stdout)
    assert found[0]["id"] == 3 and found[0]["rank"] == 1 and len(found) == 2
    lines = run("vss-search", blog, "posts", "pear", "-c", "title", "--nl", "--mode", "text").stdout
    assert [json.loads(line)["title"] for line in lines.splitlines()] == ["pear cake"]
    where = ("--where", "body = :b", "-p", "b", "bake")
    rows = list(csv.DictReader(io.StringIO(run("vss-search", blog, "posts", "oil", *where, "--csv").stdout)))
    assert [row["title"] for row in rows] == ["apple pie"]
    assert "\tapple pie\t" in run("vss-search", blog, "posts", "oil", *where, "--tsv").stdout
    assert (
        "apple pie" in run("vss-search", blog, "posts", "apple", "-t", "-c", "title").stdout.splitlines()[2]
    )


def test_embedding_at_once_and_the_journal_stays(run: Run, blog: Path) -> None:
    run("vss-add-embeddings", blog, "posts", "title", "--model", "hash:64", "--sync")
    conn = sqlite3.connect(blog)
    assert conn.execute("pragma journal_mode").fetchone() == ("delete",)
    conn.execute("insert into posts(title) values ('new')")
    conn.commit()
    conn.close()
    assert "1 row done" in run("vss-sync", blog, "posts").stderr
    assert json.loads(run("vss-search", blog, "posts", "new", "-k", 1).stdout)[0]["title"] == "new"


def test_errors_are_sentences(run: Run, blog: Path) -> None:
    assert "Error: no embeddings on 'posts'" in run("vss-search", blog, "posts", "x", code=1).stderr
    assert "has no column 'colour'" in run("vss-add-embeddings", blog, "posts", "colour", code=1).stderr
    assert run("vss-sync", blog.parent / "nothing.db", code=2).exit_code == 2


def test_the_commands_of_the_manual_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    posts = [
        {"id": 1, "title": "Apple pie", "body": "Bake apples in a crust", "topic": "food"},
        {"id": 2, "title": "Oil change", "body": "Drain the oil", "topic": "cars"},
    ]
    Path("posts.json").write_text(json.dumps(posts))
    page = (Path(__file__).parents[2] / "docs" / "sqlite-utils.md").read_text("utf-8")
    said = []
    for line in page.partition("```sh\n")[2].partition("```")[0].splitlines():
        name, *words = shlex.split(line)[1:]
        if name.startswith("vss-"):
            said.append(run(name, *words).stdout)
        else:
            done = CliRunner().invoke(sqlite_utils.cli.cli, [name, *words])
            assert done.exit_code == 0, done.output
            said.append(done.output)
    assert json.loads(said[3])[0]["title"] == "Apple pie"
    assert "Apple pie" in said[4] and "Oil change" not in said[4]
    assert json.loads(said[5]) == [{"count(*)": 2}]
