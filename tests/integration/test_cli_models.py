"""Changes of model by commands: begin, give up, switch, go back, drop, another server."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import vssnative
from vssnative import _cli as cli
from vssnative.embedding.hosted import HostedEmbedder
from vssnative.migrations import load_embedding


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def told(*arguments: object) -> dict[str, Any]:
    [line] = run(*arguments, "--json").splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    path = tmp_path / "blog.db"
    with contextlib.closing(vssnative.connect(path)) as conn:
        conn.execute("create table posts(id integer primary key, title text, body text)")
        conn.executemany(
            "insert into posts(title, body) values (?, ?)", [("apples", "red"), ("bolts", "steel")]
        )
        conn.commit()
        vssnative.add_embeddings(conn, "posts", ["title"], model="hash:8")
        vssnative.sync(conn)
    return path


def generations(path: Path) -> list[tuple[str, str]]:
    with contextlib.closing(vssnative.connect(path)) as conn:
        return [(one.model_name, one.state) for one in load_embedding(conn, "posts").generations]


def test_a_change_is_given_up(posts: Path) -> None:
    run("change-model", posts, "posts", "hash:16")
    assert "a change to hash:16 is under way" in run("change-model", posts, "posts", "hash:4", code=1)
    assert "posts: change given up, searches go on with hash:8" in run("cancel-change", posts, "posts")
    assert generations(posts) == [("hash:8", "active")]
    assert "no change of model is under way" in run("cancel-change", posts, "posts", code=1)
    run("change-model", posts, "posts", "hash:16")
    assert told("cancel-change", posts, "posts") == {"name": "posts", "model": "hash:8"}


def test_a_switch_before_all_is_done_is_forced(posts: Path) -> None:
    run("change-model", posts, "posts", "hash:16")
    assert "2 rows have no vectors by hash:16 yet" in run("switch", posts, "posts", code=1)
    assert generations(posts) == [("hash:8", "active"), ("hash:16", "building")]
    assert "posts: searches use hash:16" in run("switch", posts, "posts", "--force")
    assert generations(posts) == [("hash:8", "retired"), ("hash:16", "active")]
    run("rollback-model", posts, "posts")
    run("sync", posts, "--quiet")
    run("drop-retired", posts, "posts")
    run("change-model", posts, "posts", "hash:4")
    assert told("switch", posts, "posts", "--force") == {"name": "posts", "model": "hash:4"}


def test_retired_vectors_are_dropped(posts: Path) -> None:
    assert "there were no vectors of an earlier model" in run("drop-retired", posts, "posts")
    run("change-model", posts, "posts", "hash:16")
    run("sync", posts, "--quiet")
    assert told("drop-retired", posts, "posts") == {"name": "posts", "dropped": ["hash:8"]}
    assert generations(posts) == [("hash:16", "active")]
    assert "no earlier model's vectors" in run("rollback-model", posts, "posts", code=1)


def test_columns_and_passages_change_without_the_model(posts: Path) -> None:
    run("change-model", posts, "posts", "-c", "title", "-c", "body")
    run("sync", posts, "--quiet")
    with contextlib.closing(vssnative.connect(posts)) as conn:
        active = load_embedding(conn, "posts").active
        assert ([field.name for field in active.fields], active.model_name) == (["title", "body"], "hash:8")
    run("change-model", posts, "posts", "hash:16", "--template", "{title}: {body}", "--chunk", 50)
    run("sync", posts, "--quiet")
    with contextlib.closing(vssnative.connect(posts)) as conn:
        active = load_embedding(conn, "posts").active
        assert active.fields[0].template == "{title}: {body}" and active.chunk is not None
    assert "say what changes" in run("change-model", posts, "posts", code=2)
    assert "--precision is a model's" in run(
        "change-model", posts, "posts", "-c", "body", "--precision", "float32", code=2
    )


def test_a_server_moves(posts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with contextlib.closing(vssnative.connect(posts)) as conn:
        embedder = HostedEmbedder("m", base_url="http://127.0.0.1:9/v1", dim=8)
        vssnative.add_embeddings(conn, "posts", ["body"], model=embedder, name="hosted")
    assert told("change-server", posts, "hosted", "http://127.0.0.1:10/v1") == {
        "name": "hosted",
        "base_url": "http://127.0.0.1:10/v1",
    }
    with contextlib.closing(vssnative.connect(posts)) as conn:
        assert load_embedding(conn, "hosted").active.model["base_url"] == "http://127.0.0.1:10/v1"
    assert "is no model of a server" in run("change-server", posts, "posts", "http://127.0.0.1:10/v1", code=1)
    assert "base_url must be" in run("change-server", posts, "hosted", "nonsense", code=2)
