"""Models of one's own: functions and other libraries' objects, found again by a worker process where that can be."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vssnative
from vssnative.embedding import HashEmbedder, get_embedder
from vssnative.errors import ConfigurationError, EmbeddingError, ModelNotFoundError

from . import own_models

ROOT = Path(__file__).parents[2]


@pytest.fixture
def posts(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("create table posts(id integer primary key, body text)")
    db.executemany("insert into posts(body) values (?)", [(f"text {n}",) for n in range(20)])
    db.commit()
    return db


@pytest.mark.parametrize(
    "model",
    [
        own_models.plain,
        own_models.with_kind,
        own_models.LangChainLike(),
        own_models.SentenceTransformerLike(),
        own_models.FastEmbedLike(),
        own_models.LlmLike(),
        "tests.integration.own_models:chain",
        lambda texts: np.asfortranarray(own_models.plain(texts)),
    ],
)
def test_what_people_have_is_a_model(posts: sqlite3.Connection, model: Any) -> None:
    added = vssnative.add_embeddings(posts, "posts", columns=["body"], model=model)
    assert added.active.dim == 24
    assert vssnative.sync(posts).texts == 20
    if model is not own_models.with_kind:
        assert vssnative.search(posts, "posts", "text 7", k=1)[0].key == 8
    matrix = vssnative.embed(["a", "b"], model)
    assert matrix.dtype == np.float32 and matrix.flags.c_contiguous
    np.testing.assert_array_equal(matrix, HashEmbedder(24).embed_documents(["a", "b"]))


def test_queries_are_told_from_documents(posts: sqlite3.Connection) -> None:
    found = vssnative.embed(["a"], own_models.with_kind, kind="query")
    np.testing.assert_array_equal(found, HashEmbedder(24).embed_documents(["query: a"]))
    with pytest.raises(ConfigurationError, match="kind must be"):
        vssnative.embed(["a"], own_models.plain, kind="question")  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [own_models.plain, "tests.integration.own_models:chain"])
def test_a_worker_process_finds_it_by_its_import_path(
    posts: sqlite3.Connection, tmp_path: Path, model: Any
) -> None:
    vssnative.add_embeddings(posts, "posts", columns=["body"], model=model)
    code = "import sys, vssnative; print(vssnative.sync(vssnative.connect(sys.argv[1])).texts)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "test.db")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("20\n", "")


def test_one_without_a_path_is_asked_for_in_one_sentence(posts: sqlite3.Connection, tmp_path: Path) -> None:
    vssnative.add_embeddings(posts, "posts", columns=["body"], model=own_models.SentenceTransformerLike())
    code = """if True:
        import sys, vssnative
        from tests.integration import own_models
        conn = vssnative.connect(sys.argv[1])
        try:
            vssnative.sync(conn)
        except vssnative.SyncError as error:
            print(error)
        print(vssnative.sync(conn, embedder=own_models.SentenceTransformerLike()).texts)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "test.db")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert "no import path leads to it: hand it over (embedder=..." in done.stdout, done.stderr
    assert done.stdout.endswith("\n20\n")


def test_what_is_no_model_and_what_gives_no_vectors() -> None:
    for model in (3, ["minilm"], HashEmbedder):
        with pytest.raises(ConfigurationError, match="model must be a name, a function"):
            get_embedder(model)
    with pytest.raises(
        EmbeddingError, match=r"expected an array of shape \(1, dim\) for 1 texts, got one of shape \(2,\)"
    ):
        get_embedder(lambda texts: [1.0, 2.0])
    with pytest.raises(EmbeddingError, match="got a dict"):
        get_embedder(lambda texts: {"data": 1})
    with pytest.raises(ModelNotFoundError, match="has no attribute 'nothing'"):
        get_embedder("tests.integration.own_models:nothing")
    with pytest.raises(ConfigurationError, match="unknown embedder 'nothing'"):
        get_embedder("nothing:at-all")


def test_an_exception_of_the_models_is_told_with_its_kind(posts: sqlite3.Connection) -> None:
    def broken(texts: list[str]) -> Any:
        if texts != ["dimension"] and texts != ["vssnative"]:
            raise KeyError("argument")
        return own_models.plain(texts)

    vssnative.add_embeddings(posts, "posts", columns=["body"], model=broken)
    vssnative.sync(posts, limit=1, settings=vssnative.Settings(max_attempts=1))
    assert vssnative.dead_letters(posts, "posts")[0].reason == "KeyError: 'argument'"
