"""llm: its collections searched by vss0, its models for our tables, ours among its models."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlite_utils
from click.testing import CliRunner

with warnings.catch_warnings():  # of libraries that it imports
    warnings.simplefilter("ignore")
    import llm
    from llm.cli import cli
    from llm.models import EmbeddingModel
    from llm.plugins import pm

import vssnative
from vssnative.embedding import from_config, get_embedder
from vssnative.embedding.hashing import HashEmbedder
from vssnative.integrations import llm as plugin
from vssnative.integrations.llm import VssCollection


class HashModel(EmbeddingModel):
    model_id = "of-test"
    supports_binary = False
    batch_size = 10

    def embed_batch(self, items: Any, **_: Any) -> Iterator[list[float]]:
        yield from HashEmbedder(32).embed_documents(list(items)).tolist()


class Registers:
    @llm.hookimpl
    def register_embedding_models(self, register: Any) -> None:
        register(HashModel(), aliases=("of-test-alias",))


@pytest.fixture(autouse=True)
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    registers = Registers()
    pm.register(registers)
    assert plugin in pm.get_plugins()  # found by its entry point
    yield
    pm.unregister(registers)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite_utils.Database]:
    db = sqlite_utils.Database(tmp_path / "embeddings.db")
    yield db
    db.close()


def both(db: sqlite_utils.Database, name: str = "docs") -> tuple[llm.Collection, VssCollection]:
    return llm.Collection(name, db, model_id="of-test"), VssCollection(name, db, model_id="of-test")


def agree(theirs: llm.Collection, ours: VssCollection, text: str, **options: Any) -> list[str]:
    expected, found = theirs.similar(text, 5, **options), ours.similar(text, 5, **options)
    # Equal scores may stand in another order.
    np.testing.assert_allclose([e.score for e in found], [e.score for e in expected], atol=1e-5)
    scores = {entry.id: entry.score for entry in theirs.similar(text, 10_000, **options)}
    for entry in found:
        assert entry.score == pytest.approx(scores[entry.id], abs=1e-5)
    return [entry.id for entry in found]


def test_searches_agree_with_llms_own_whatever_it_writes(db: sqlite_utils.Database) -> None:
    theirs, ours = both(db)
    other_theirs, other_ours = both(db, "other")
    theirs.embed_multi([(f"a/{n}", f"text of {n}") for n in range(60)], store=True)
    other_theirs.embed("x", "another collection")
    assert ours.catch_up() == 60 and ours.catch_up() == 0
    assert agree(theirs, ours, "text of 7")[0] == "a/7"
    theirs.embed_multi_with_metadata([("b/1", "text of 7 again", {"n": 1})], store=True)
    theirs.embed("a/7", "wholly different")  # replaces the row
    assert ours.catch_up() == 3  # the old row, and two new ones
    assert agree(theirs, ours, "text of 7")[0] == "b/1"
    assert agree(theirs, ours, "text of 7", prefix="a/") and agree(theirs, ours, "x", prefix="b/") == ["b/1"]
    [entry] = ours.similar("text of 7 again", 1)
    assert (entry.content, entry.metadata) == ("text of 7 again", {"n": 1})
    by_id = ours.similar_by_id("a/3", 4)
    assert len(by_id) == 4 and "a/3" not in {entry.id for entry in by_id}
    expected = [entry.score for entry in theirs.similar_by_id("a/3", 4)]
    np.testing.assert_allclose([entry.score for entry in by_id], expected, atol=1e-5)
    db.execute("delete from embeddings where id like 'a/1%'")
    db.execute("update embeddings set embedding = ? where id = 'a/2'", [llm.encode([1.0] * 32)])
    db.conn.commit()
    agree(theirs, ours, "text of 12")
    assert ours.similar_by_vector([1.0] * 32, 1)[0].id == "a/2"
    assert agree(other_theirs, other_ours, "another collection") == ["x"]
    theirs.embed_multi([(f"c/{n}", f"more of {n}") for n in range(30)])
    agree(theirs, ours, "more of 5")
    assert len(ours._index()) == theirs.count()


def test_after_a_migration_of_llms_all_is_taken_again(db: sqlite_utils.Database) -> None:
    theirs, ours = both(db)
    theirs.embed_multi([(str(n), f"text of {n}") for n in range(20)])
    agree(theirs, ours, "text of 3")
    db["embeddings"].transform(rename={"content_blob": "blob"})  # copies the table: triggers are gone
    db["embeddings"].transform(rename={"blob": "content_blob"})
    db.execute("delete from embeddings where id = '3'")
    db.conn.commit()
    assert "3" not in agree(theirs, ours, "text of 3")
    assert ours.catch_up() == 0


def test_deleting_a_collection(db: sqlite_utils.Database) -> None:
    theirs, ours = both(db)
    theirs.embed("1", "one")
    assert agree(theirs, ours, "one") == ["1"]
    theirs.delete()  # llm knows nothing of the vss0 table; the next collection has the same number

    class Longer(HashModel):
        model_id = "longer"

        def embed_batch(self, items: Any, **_: Any) -> Iterator[list[float]]:
            yield from HashEmbedder(64).embed_documents(list(items)).tolist()

    again = VssCollection("next", db, model=Longer())
    assert again.id == ours.id
    assert again.similar("two") == []
    again.embed("2", "two")
    assert [entry.id for entry in again.similar("two")] == ["2"]
    again.delete()
    assert not [name for name in db.table_names() if name.startswith("vss_llm_1")]


def test_the_command(tmp_path: Path) -> None:
    path = str(tmp_path / "embeddings.db")
    runner = CliRunner()

    def call(*arguments: str) -> str:
        result = runner.invoke(cli, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    db = sqlite_utils.Database(path)
    llm.Collection("docs", db, model_id="of-test").embed_multi(
        [(str(n), f"text of {n}") for n in range(20)], store=True
    )
    db.close()
    for options in (["-c", "text of 7", "-n", "3"], ["7", "-n", "3", "--prefix", "1"]):
        ours = [json.loads(line) for line in call("vss-similar", "docs", "-d", path, *options).splitlines()]
        theirs = [json.loads(line) for line in call("similar", "docs", "-d", path, *options).splitlines()]
        assert ours[0]["id"] == theirs[0]["id"] and len(ours) == 3
        assert [e["score"] for e in ours] == pytest.approx([e["score"] for e in theirs], abs=1e-5)
    assert "text of 7" in call("vss-similar", "docs", "-d", path, "-c", "text of 7", "-p")
    result = runner.invoke(cli, ["vss-similar", "none", "-d", path, "-c", "x"])
    assert result.exit_code == 1 and "Collection does not exist" in result.output


def test_models_of_llm_by_their_name(tmp_path: Path) -> None:
    by_name, by_alias, given = (
        get_embedder("llm:of-test"),
        get_embedder("llm:of-test-alias"),
        get_embedder(HashModel()),
    )
    assert by_name.digest == by_alias.digest == given.digest
    assert (by_name.name, by_name.dim) == ("llm:of-test", 32)
    assert from_config(given.config()).digest == by_name.digest
    texts = [f"text {n}" for n in range(25)]
    np.testing.assert_array_equal(
        vssnative.embed(texts, "llm:of-test"), HashEmbedder(32).embed_documents(texts)
    )
    with pytest.raises(vssnative.ModelNotFoundError, match="no embedding model .*no-such"):
        get_embedder("llm:no-such")
    with pytest.raises(vssnative.ConfigurationError, match="llm:NAME"):
        get_embedder("llm:")
    with vssnative.Pool(tmp_path / "a.db") as pool, pool.connection() as conn:
        conn.execute("create table posts(id integer primary key, title text)")
        conn.execute("insert into posts(title) values ('one'), ('two')")
        vssnative.add_embeddings(conn, "posts", ["title"], model="llm:of-test-alias")
        assert vssnative.sync(conn).rows == 2
        assert vssnative.search(conn, "posts", "two", k=1)[0].key == 2


def test_minilm_is_among_llms_models() -> None:
    model = llm.get_embedding_model("vssnative/minilm")
    ours = vssnative.embed(["one", "two"])
    np.testing.assert_allclose(list(model.embed_multi(["one", "two"])), ours, atol=1e-6)
