"""LangChain's vector store."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings

from vssnative.embedding.hashing import HashEmbedder
from vssnative.errors import ConfigurationError
from vssnative.integrations.langchain import VssVectorStore


class Words(Embeddings):
    """LangChain's interface over our hash embedder."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = HashEmbedder(64).embed_documents(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.fixture
def store(db: sqlite3.Connection) -> VssVectorStore:
    store = VssVectorStore(db, Words(), table="my notes")
    store.add_texts(
        [f"note word{n}" for n in range(20)],
        [{"kind": "even" if n % 2 == 0 else "odd", "n": n, 'a "key"': n} for n in range(20)],
        ids=[f"id{n}" for n in range(20)],
    )
    return store


def test_texts_are_found_by_meaning(store: VssVectorStore) -> None:
    [(found, score)] = store.similarity_search_with_score("note word7", k=1)
    assert (found.id, found.page_content, found.metadata["n"]) == ("id7", "note word7", 7)
    assert score == pytest.approx(0, abs=1e-6)
    assert [d.id for d in store.similarity_search_by_vector(Words().embed_query("note word3"), k=1)] == [
        "id3"
    ]
    [(_, relevance)] = store.similarity_search_with_relevance_scores("note word7", k=1)
    assert relevance == pytest.approx(1)
    assert store.as_retriever(search_kwargs={"k": 2}).invoke("note word7")[0].id == "id7"
    assert store.embeddings.embed_query("x") == Words().embed_query("x")


def test_a_filter_holds_k(store: VssVectorStore) -> None:
    found = store.similarity_search("note word7", k=10, filter={"kind": "even"})
    assert len(found) == 10 and {d.metadata["kind"] for d in found} == {"even"}
    assert [d.id for d in store.similarity_search("note", k=5, filter={"kind": "odd", "n": 5})] == ["id5"]


def test_replace_get_and_delete(store: VssVectorStore, db: sqlite3.Connection) -> None:
    store.add_texts(["twice", "wholly new"], ids=["id3", "id3"])
    assert [d.page_content for d in store.get_by_ids(["id3", "nothing", "id1"])] == [
        "wholly new",
        "note word1",
    ]
    assert store.similarity_search("wholly new", k=1)[0].id == "id3"
    store.delete(["id3", "nothing"])
    assert store.get_by_ids(["id3"]) == []
    assert all(d.id != "id3" for d in store.similarity_search("wholly new", k=20))
    assert VssVectorStore(db, Words(), table="my notes").similarity_search("note word5", k=1)[0].id == "id5"
    store.delete()
    assert store.similarity_search("note", k=3) == []


def test_made_from_texts(db: sqlite3.Connection) -> None:
    store = VssVectorStore.from_texts(["one", "two"], Words(), conn=db, metric="l2")
    assert store.similarity_search("two", k=1)[0].page_content == "two"
    assert len(store.add_texts([])) == 0
    with pytest.raises(ConfigurationError, match="got 1 texts, 2 ids"):
        store.add_texts(["x"], ids=["a", "b"])
    assert np.isfinite(store.similarity_search_with_relevance_scores("two", k=1)[0][1])
