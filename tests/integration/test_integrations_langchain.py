"""LangChain: the vector store, retriever, embeddings, record manager. (Its standard suite: test_langchain_standard.py.)"""

from __future__ import annotations

import datetime
import decimal
import inspect
import json
import sqlite3
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiosqlite
import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.indexing import aindex, index

import vssnative
from vssnative.embedding.hashing import HashEmbedder
from vssnative.errors import ConfigurationError
from vssnative.integrations.langchain import VssEmbeddings, VssRecordManager, VssRetriever, VssVectorStore


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


ABOUT: list[dict[str, Any]] = [
    {"kind": "a", "n": 1, "x": 0.5, "tags": ["p", "q"], "deep": {"u": 1}},
    {"kind": "b", "n": 2, "x": None, "flag": True, "m": [1, 2, "2"]},
    {"kind": "A%", "n": 3, "x": -1, "flag": False, "a.b": 1, "m": [2, [3], {"u": [1]}]},
    {"kind": None, "n": "4", "é\n": "ü", 'q"': 1},
    {'odd"': ["p", "r"], "flag": 1, "m": [True, False, 0]},
]
FILTERS: list[tuple[Any, list[int]]] = [
    (None, [0, 1, 2, 3, 4]),
    ({}, [0, 1, 2, 3, 4]),
    ({"kind": "a"}, [0]),
    ({"kind": None}, [3, 4]),
    ({"kind": {"$eq": None}}, [3, 4]),
    ({"kind": {"$ne": None}}, [0, 1, 2]),
    ({"kind": {"$ne": "a"}}, [1, 2, 3, 4]),
    ({"kind": {"$in": ["a", "b"]}}, [0, 1]),
    ({"kind": {"$in": ["a", None]}}, [0, 3, 4]),
    ({"kind": {"$in": []}}, []),
    ({"kind": {"$nin": ["a", "b"]}}, [2, 3, 4]),
    ({"kind": {"$nin": ["a", None]}}, [1, 2]),
    ({"n": 4}, []),
    ({"n": "4"}, [3]),
    ({"n": {"$in": [1, "4", 2.0]}}, [0, 1, 3]),
    ({"n": {"$gt": 1}}, [1, 2]),
    ({"n": {"$gte": 1, "$lt": 3}}, [0, 1]),
    ({"n": {"$lte": 2}}, [0, 1]),
    ({"n": {"$gt": "3"}}, [3]),
    ({"n": {"$not": {"$gt": 1}}}, [0, 3, 4]),
    ({"x": {"$lt": 0.25}}, [2]),
    ({"x": {"$exists": True}}, [0, 1, 2]),
    ({"x": {"$exists": False}}, [3, 4]),
    ({"flag": True}, [1]),
    ({"flag": False}, [2]),
    ({"flag": 1}, [4]),
    ({"flag": {"$ne": 1}}, [0, 1, 2, 3]),
    ({"flag": {"$in": [1, 7]}}, [4]),
    ({"flag": {"$in": [True, 7]}}, [1]),
    ({"flag": {"$in": [True, 1]}}, [1, 4]),
    ({"flag": {"$gte": 0}}, [4]),
    ({"tags": ["p", "q"]}, [0]),
    ({"tags": '["p","q"]'}, []),
    ({"tags": "p"}, [0]),
    ({"tags": {"$eq": "q"}}, [0]),
    ({"tags": "x"}, []),
    ({"tags": {"$ne": "p"}}, [1, 2, 3, 4]),
    ({"tags": {"$in": ["x", "q"]}}, [0]),
    ({"tags": {"$in": [["p", "q"]]}}, [0]),
    ({"tags": {"$in": ["x", None]}}, [1, 2, 3, 4]),
    ({"tags": {"$in": ["x", 1]}}, []),
    ({"tags": {"$nin": ["q"]}}, [1, 2, 3, 4]),
    ({"tags": {"$contains": "p"}}, [0]),
    ({"tags": {"$contains": 1}}, []),
    ({"tags": {"$all": ["q", "p"]}}, [0]),
    ({"tags": {"$all": ["q", "z"]}}, []),
    ({"tags": {"$not": {"$all": ["q"]}}}, [1, 2, 3, 4]),
    ({"m": 2}, [1, 2]),
    ({"m": True}, [4]),
    ({"m": 1}, [1]),
    ({"m": 0}, [4]),
    ({"m": {"$in": [False, 3]}}, [4]),
    ({"m": {"$in": [1.0]}}, [1]),
    ({"m": {"$contains": True}}, [4]),
    ({"m": {"$all": [0, False]}}, [4]),
    ({"m": {"$all": [1, True]}}, []),
    ({"m": {"$in": [2.5, "2"]}}, [1]),
    ({"m": [1, 2, "2"]}, [1]),
    ({"m": {"$in": [[3]]}}, [2]),
    ({"m": {"u": [1]}}, [2]),
    ({"m": {"$contains": 2}}, [1, 2]),
    ({"kind": {"$contains": "%"}}, [2]),
    ({'q"': {"$in": [1]}}, [3]),
    ({'odd"': "p"}, [4]),
    ({'odd"': {"$all": ["p", "r"]}}, [4]),
    ({"tags": {"$ne": ["p"]}}, [0, 1, 2, 3, 4]),
    ({"deep": {"u": 1}}, [0]),
    ({"a.b": 1}, [2]),
    ({"é\n": "ü"}, [3]),
    ({'q"': {"$gte": 1}}, [3]),
    ({"kind": {"$like": "a%"}}, [0, 2]),
    ({"kind": {"$like": "_"}}, [0, 1]),
    ({"$and": [{"kind": "a"}, {"n": 1}]}, [0]),
    ({"$or": [{"kind": "a"}, {"n": {"$gte": 3}}]}, [0, 2]),
    ({"$or": []}, []),
    ({"$not": {"kind": "a"}}, [1, 2, 3, 4]),
    ({"$not": [{"kind": "a"}, {"kind": "b"}]}, [2, 3, 4]),
    ({"$and": [{"$or": [{"n": 1}, {"n": 2}]}, {"$not": {"flag": {"$exists": True}}}]}, [0]),
    ({"n": {"$or": [{"$lt": 2}, {"$gt": 2}]}}, [0, 2]),
]


@pytest.fixture(scope="module")
def filtered() -> Iterator[VssVectorStore]:
    with vssnative.Pool(":memory:") as pool:
        store = VssVectorStore(pool, Words())
        store.add_texts([f"word{n}" for n in range(5)], ABOUT, ids=[str(n) for n in range(5)])
        yield store


@pytest.mark.parametrize(("filter", "expected"), FILTERS, ids=lambda value: json.dumps(value)[:60])
def test_filters(filtered: VssVectorStore, filter: Any, expected: list[int]) -> None:
    found = filtered.similarity_search("word0", k=10, filter=filter)
    assert sorted(int(document.id or "") for document in found) == expected
    nearest = filtered.similarity_search("word0", k=2, filter=filter)
    assert len(nearest) == min(2, len(expected))


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ({"$xor": []}, r"expected \$and, \$or, \$not or a name, got \$xor"),
        ({"n": {"$near": 1}}, r"got \$near"),
        ({"n": {"$gt": None}}, r"filter on 'n': \$gt expects a number or a text, got NoneType"),
        ({"n": {"$lte": True}}, r"\$lte expects a number or a text, got bool"),
        ({"n": {"$in": "ab"}}, r"filter on 'n': \$in expects a list, got str"),
        ({"n": {"$nin": {"a": 1}}}, r"filter on 'n': \$nin expects a list, got dict"),
        ({"n": {"$like": 1}}, r"\$like expects a text"),
        ({"tags": {"$contains": ["p"]}}, r"\$contains expects a text or a number, got list; \$all and \$in"),
        ({"tags": {"$all": "p"}}, r"\$all expects a list"),
        ({"tags": {"$size": 1}}, r"got \$size"),
        ({"n": {"$exists": 1}}, "expects True or False"),
        ({"$or": {"n": 1}}, "expects a list of filters, got dict"),
        ("kind = 'a'", "expected a dict, got str"),
        ({1: 2}, "expected names as keys"),
    ],
)
def test_filters_that_mean_nothing(filtered: VssVectorStore, filter: Any, message: str) -> None:
    with pytest.raises(vssnative.QueryError, match=message):
        filtered.similarity_search("x", filter=filter)


def test_a_filter_takes_values_that_can_be_read_once(filtered: VssVectorStore) -> None:
    for operator, expected in (("$in", [0]), ("$nin", None)):
        values = ["x", "q"]
        once = filtered.similarity_search("word0", k=10, filter={"tags": {operator: iter(values)}})
        again = filtered.similarity_search("word0", k=10, filter={"tags": {operator: values}})
        assert [document.id for document in once] == [document.id for document in again]
        assert expected is None or [int(document.id or "") for document in once] == expected


def test_metadata_that_json_cannot_hold(filtered: VssVectorStore) -> None:
    for value in (float("nan"), np.float32("nan"), {1, 2}, b"x", [b"x"]):
        with pytest.raises(vssnative.QueryError, match="metadata: 'a': expected what JSON can hold"):
            filtered.add_texts(["x"], [{"b": 1, "a": value}], ids=["new"])
    for value, instead in (
        (datetime.date(2026, 12, 1), r"got date 2026-12-01; give value\.isoformat\(\)"),
        (datetime.datetime(2026, 12, 1), r"value\.isoformat\(\)"),
        (uuid.uuid4(), r"give str\(value\)"),
        (decimal.Decimal(1), r"give float\(value\)"),
    ):
        with pytest.raises(vssnative.QueryError, match=instead):
            filtered.add_texts(["x"], [{"a": value}], ids=["new"])
        for filter in (
            {"a": value},
            {"a": {"$gte": value}},
            {"a": {"$in": [value]}},
            {"a": {"$all": [value]}},
        ):
            with pytest.raises(vssnative.QueryError, match=instead):
                filtered.similarity_search("x", filter=filter)
    assert filtered.get_by_ids(["new"]) == []


def test_numbers_of_numpy_are_numbers(filtered: VssVectorStore) -> None:
    about = {"whole": np.int64(3), "part": np.float32(0.5), "set": np.bool_(True), "list": [np.int8(1)]}
    filtered.add_texts(["numbers"], [about], ids=["new"])
    [document] = filtered.get_by_ids(["new"])
    assert document.metadata == {"whole": 3, "part": 0.5, "set": True, "list": [1]}
    for filter in (
        {"whole": np.int64(3)},
        {"whole": {"$lte": np.float64(3)}},
        {"whole": {"$in": np.array([3, 4])}},
        {"part": np.float32(0.5)},
        {"set": np.bool_(True)},
        {"list": {"$contains": np.int64(1)}},
        {"list": {"$all": [np.int64(1)]}},
    ):
        assert [d.id for d in filtered.similarity_search("numbers", filter=filter)] == ["new"], filter


def test_delete_by_filter(store: VssVectorStore) -> None:
    store.delete(filter={"kind": "odd"})
    assert {d.metadata["kind"] for d in store.similarity_search("note", k=20)} == {"even"}
    with pytest.raises(ConfigurationError, match="either ids or filter"):
        store.delete(["a"], filter={})


async def test_an_unknown_argument_is_refused(store: VssVectorStore) -> None:
    """`where=` is what other stores call a filter: left out without a word, delete would take all texts."""
    before = len(store.similarity_search("note", k=50))
    vector = Words().embed_query("note")
    calls: list[Any] = [
        lambda **options: store.delete(**options),
        lambda **options: store.add_texts(["x"], **options),
        lambda **options: store.similarity_search("note", **options),
        lambda **options: store.similarity_search_with_score("note", **options),
        lambda **options: store.similarity_search_by_vector(vector, **options),
        lambda **options: store.similarity_search_with_score_by_vector(vector, **options),
        lambda **options: store.similarity_search_with_relevance_scores("note", **options),
        lambda **options: store.max_marginal_relevance_search("note", **options),
        lambda **options: store.max_marginal_relevance_search_by_vector(vector, **options),
        lambda **options: store.as_retriever(search_kwargs=options).invoke("note"),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError, match="unknown argument 'where'; expected one of"):
            call(where={"kind": "odd"})
    awaited: list[Any] = [
        lambda **options: store.adelete(**options),
        lambda **options: store.aadd_texts(["x"], **options),
        lambda **options: store.asimilarity_search("note", **options),
        lambda **options: store.asimilarity_search_by_vector(vector, **options),
        lambda **options: store.amax_marginal_relevance_search("note", **options),
        lambda **options: store.as_retriever(search_kwargs=options).ainvoke("note"),
    ]
    for call in awaited:
        with pytest.raises(ConfigurationError, match="unknown argument 'where'"):
            await call(where={"kind": "odd"})
    assert len(store.similarity_search("note", k=50)) == before == 20


def test_a_text_is_no_list(store: VssVectorStore) -> None:
    """A text is a sequence of its letters: they would be stored, or deleted, one by one."""
    calls: list[Any] = [
        lambda: store.add_texts("two words"),
        lambda: store.add_texts(["a", "b"], ids="ab"),
        lambda: store.delete("id1"),  # type: ignore[arg-type]
        lambda: store.get_by_ids("id1"),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError, match="expected a list of texts, got '.*' alone"):
            call()
    others: list[Any] = [
        lambda: store.add_texts(["a"], ids=[7]),  # type: ignore[list-item]
        lambda: store.delete([7]),  # type: ignore[list-item]
        lambda: store.get_by_ids([7]),  # type: ignore[list-item]
        lambda: store.add_texts([None]),  # type: ignore[list-item]
    ]
    for call in others:
        with pytest.raises(ConfigurationError, match=r"\[0\]: expected a text, got (7 \(int\)|NoneType)"):
            call()
    for k in (None, "3", 2.5):
        with pytest.raises(vssnative.QueryError, match="expected a whole number of rows"):
            store.similarity_search("note", k=k)  # type: ignore[arg-type]
    assert len(store.similarity_search("note", k=np.int64(50))) == 20  # type: ignore[arg-type]
    assert store.add_texts(["a", "b"], ids=[None, "b"])[1] == "b"


async def test_vectors_that_are_there_already(tmp_path: Path) -> None:
    model = Words()
    with vssnative.Pool(tmp_path / "a.db") as pool:
        store = VssVectorStore(pool, model)
        pairs = [(text, model.embed_query(text)) for text in ("ponds", "birds")]
        assert store.add_embeddings(pairs[:1], [{"n": 1}], ids=["a"]) == ["a"]
        assert await store.aadd_embeddings(iter(pairs[1:]), ids=["b"]) == ["b"]
        [(found, distance)] = store.similarity_search_with_score_by_vector(pairs[0][1], k=1)
        assert (found.id, found.metadata, distance) == ("a", {"n": 1}, pytest.approx(0, abs=1e-6))
        again = await store.asimilarity_search_with_score_by_vector(pairs[1][1], k=1, filter={"n": None})
        assert [document.id for document, _ in again] == ["b"]
        with pytest.raises(ConfigurationError, match="as many ids and metadatas as texts"):
            store.add_embeddings(pairs, ids=["a"])
        assert store.add_embeddings([]) == []


def test_a_table_of_another_kind_is_refused(db: sqlite3.Connection) -> None:
    db.execute("create table posts(id integer primary key, title text)")
    store = VssVectorStore(db, Words(), table="posts")
    for attempt in (
        lambda: store.add_texts(["x"]),
        lambda: store.similarity_search("x"),
        lambda: store.delete(),
        lambda: store.get_by_ids(["x"]),
    ):
        with pytest.raises(ConfigurationError, match="not a vector store's: expected columns id, key, text"):
            attempt()
    assert [row[0] for row in db.execute("select name from sqlite_master")] == ["posts"]


def test_a_model_is_no_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="expected a model of LangChain's, got 'minilm'"):
        VssVectorStore(tmp_path / "a.db", "minilm")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="metric"):
        VssVectorStore(tmp_path / "a.db", Words(), metric="nearness")
    assert not (tmp_path / "a.db").exists()


def test_a_store_that_is_empty_takes_other_dimensions(db: sqlite3.Connection) -> None:
    VssVectorStore(db, VssEmbeddings("hash:32")).add_texts(["ponds"])
    other = VssVectorStore(db, VssEmbeddings("hash:64"))
    with pytest.raises(vssnative.DimensionError, match="holds vectors of 32 dimensions, and these have 64"):
        other.add_texts(["birds"])
    with pytest.raises(ConfigurationError, match="made by model hash:32"):
        other.similarity_search("birds")
    other.delete()
    other.add_texts(["birds"], ids=["b"])
    assert [document.id for document in other.similarity_search("birds")] == ["b"]


@pytest.mark.parametrize("filter", [{}, {"$and": []}, {"$and": [{}, {}]}, {"$or": [{"kind": "odd"}, {}]}])
async def test_an_empty_filter_deletes_nothing(store: VssVectorStore, filter: dict[str, Any]) -> None:
    before = len(store.similarity_search("note", k=50))
    with pytest.raises(vssnative.QueryError, match=r"delete\(\) deletes all"):
        store.delete(filter=filter)
    with pytest.raises(vssnative.QueryError, match="holds for every text"):
        await store.adelete(filter=filter)
    assert len(store.similarity_search("note", k=50, filter=filter)) == before > 0


class Other(HashEmbedder):
    """A model of this package's kind with as many dimensions, whose vectors are others."""

    name = "other"
    digest = "0123456789abcdef"


def test_another_model_is_refused(db: sqlite3.Connection) -> None:
    made = VssVectorStore(db, VssEmbeddings("hash:64"), table="notes")
    made.add_texts(["ponds", "birds"], ids=["a", "b"])
    other = VssVectorStore(db, VssEmbeddings(Other(64)), table="notes")
    for attempt in (lambda: other.add_texts(["stones"]), lambda: other.similarity_search("ponds")):
        with pytest.raises(ConfigurationError, match=r"made by model hash.* not by other with digest 0123"):
            attempt()
    again = VssVectorStore(db, VssEmbeddings("hash:64"), table="notes")
    again.add_texts(["stones"], ids=["c"])
    assert [d.id for d in again.similarity_search("stones", k=1)] == ["c"]
    foreign = VssVectorStore(db, Words(), table="notes")  # of these nothing but the dimensions is known
    assert len(foreign.similarity_search("stones", k=9)) == 3
    again.delete()
    other.add_texts(["stones"])
    with pytest.raises(ConfigurationError, match=r"made by model other"):
        again.similarity_search("stones")


def test_a_store_without_a_recorded_model_takes_the_next(db: sqlite3.Connection) -> None:
    VssVectorStore(db, VssEmbeddings("hash:64")).add_texts(["ponds"])
    db.execute("drop table vss_model_langchain")  # as earlier versions left it
    other = VssVectorStore(db, VssEmbeddings(Other(64)))
    assert len(other.similarity_search("ponds")) == 1
    assert not db.execute("select 1 from sqlite_master where name = 'vss_model_langchain'").fetchall()
    other.add_texts(["stones"])
    assert db.execute("select * from vss_model_langchain").fetchall() == [("other", Other.digest)]


def test_another_metric_is_refused(db: sqlite3.Connection) -> None:
    VssVectorStore(db, Words(), metric="l2").add_texts(["ponds"])
    other = VssVectorStore(db, Words(), metric="cosine")
    for attempt in (lambda: other.add_texts(["stones"]), lambda: other.similarity_search("ponds")):
        with pytest.raises(ConfigurationError, match=r"metric='l2', not 'cosine'"):
            attempt()
    for metric in (None, "l2"):
        assert len(VssVectorStore(db, Words(), metric=metric).similarity_search("ponds")) == 1


async def test_diverse_results(tmp_path: Path) -> None:
    with vssnative.Pool(tmp_path / "a.db") as pool:
        store = VssVectorStore(pool, Words())
        await store.aadd_texts(["red shoes", "red shoes!", "red shoes?", "red boats"], ids=list("abcd"))
        near = [d.id for d in store.max_marginal_relevance_search("red shoes", k=2, lambda_mult=1)]
        far = [d.id for d in store.max_marginal_relevance_search("red shoes", k=2, lambda_mult=0.1)]
        assert near[0] == far[0] == "a" and near[1] in "bc" and far[1] == "d"
        assert far == [
            d.id for d in await store.amax_marginal_relevance_search("red shoes", k=2, lambda_mult=0.1)
        ]
        vector = Words().embed_query("red shoes")
        by_vector = await store.amax_marginal_relevance_search_by_vector(vector, k=2, lambda_mult=0.1)
        assert [d.id for d in by_vector] == far
        assert store.max_marginal_relevance_search("red shoes", k=2, fetch_k=2, lambda_mult=0.1)[1].id != "d"
        assert store.max_marginal_relevance_search("x", filter={"no": 1}) == []
        retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "lambda_mult": 0.1})
        assert [d.id for d in await retriever.ainvoke("red shoes")] == far


@pytest.mark.parametrize("metric", ["cosine", "l2", "inner_product"])
async def test_relevance_is_between_0_and_1(tmp_path: Path, metric: str) -> None:
    with vssnative.Pool(tmp_path / "a.db") as pool:
        store = VssVectorStore(pool, Words(), metric=metric)
        await store.aadd_texts([f"text {n}" for n in range(20)])
        found = store.similarity_search_with_relevance_scores("text 3", k=20)
        scores = [score for _, score in found]
        assert found[0][0].page_content == "text 3" and scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores) and scores[0] == pytest.approx(1)
        assert found == await store.asimilarity_search_with_relevance_scores("text 3", k=20)


async def test_made_from_texts_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = await VssVectorStore.afrom_texts(["one"], Words(), [{"n": 1}], ids=["1"], path=path)
    store.close()
    store = VssVectorStore.from_texts(["two"], Words(), ids=["2"], path=path)
    assert [d.id for d in await store.asimilarity_search("two", k=5)] == ["2", "1"]
    store.close()
    from_documents = VssVectorStore.from_documents([Document("three", id="3")], Words())
    assert from_documents.similarity_search("three")[0].id == "3"
    from_documents.close()


def test_threads_share_a_store(tmp_path: Path) -> None:
    with vssnative.Pool(tmp_path / "a.db") as pool:
        store = VssVectorStore(pool, Words())

        def work(number: int) -> str | None:
            store.add_texts([f"text {number}"], ids=[str(number)])
            return store.as_retriever(search_kwargs={"k": 1}).batch([f"text {number}"])[0][0].id

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(work, range(40))) == [str(number) for number in range(40)]


async def test_on_an_aiosqlite_connection(tmp_path: Path) -> None:
    async with aiosqlite.connect(tmp_path / "a.db") as conn:
        store = VssVectorStore(conn, Words())
        await store.aadd_texts(["one", "two"], ids=["1", "2"])
        assert [d.id for d in await store.asimilarity_search("two", k=1)] == ["2"]
        with pytest.raises(vssnative.ConnectionSetupError, match="its own thread"):
            store.similarity_search("two")


async def test_a_retriever_over_a_table(tmp_path: Path) -> None:
    with vssnative.Pool(tmp_path / "a.db") as pool:
        with pool.transaction() as conn:
            conn.execute("create table posts(slug text primary key, title text, body text, year int)")
            conn.executemany(
                "insert into posts values (?, ?, ?, ?)",
                [
                    ("a", "red shoes", "to walk", 2020),
                    ("b", "blue sea", None, 2021),
                    ("c", "sea", "deep", 2022),
                ],
            )
            vssnative.add_embeddings(conn, "posts", ["title", "body"], model="hash:64")
        with pool.connection() as conn:
            vssnative.sync(conn)
        retriever = VssRetriever(source=pool, table="posts", k=2)
        found = retriever.invoke("blue sea")
        assert (found[0].id, found[0].page_content) == ("b", "blue sea")
        assert found[0].metadata == {
            "slug": "b",
            "year": 2021,
            "distance": pytest.approx(0, abs=1e-6),
            "score": pytest.approx(1, abs=1e-6),
        }
        assert await retriever.ainvoke("blue sea") == found
        later = VssRetriever(
            source=tmp_path / "a.db",
            table="posts",
            content=["title"],
            search_options={"where": "year > ?", "params": [2020]},
        )
        assert {d.page_content for d in await later.ainvoke("red shoes")} == {"blue sea", "sea"}
        assert [d.id for d in later.invoke("sea", k=1)] == ["c"]
        later.close()
        with pool.transaction() as conn:
            conn.execute("update posts set title = 'green hills' where slug = 'b'")
        assert [d.metadata.get("stale") for d in retriever.invoke("blue sea")][0] is True
        assert (
            VssRetriever(source=pool, table="posts", search_options={"stale": False}).invoke("blue sea")[0].id
            != "b"
        )


async def test_models_go_both_ways(db: sqlite3.Connection) -> None:
    ours = VssEmbeddings("hash:64")
    assert ours.embed_documents(["x", "y"]) == Words().embed_documents(["x", "y"])
    assert await ours.aembed_query("x") == ours.embed_query("x")
    assert await ours.aembed_documents(["x"]) == ours.embed_documents(["x"])
    db.execute("create table posts(id integer primary key, title text)")
    db.execute("insert into posts values (1, 'x')")
    db.commit()
    vssnative.add_embeddings(db, "posts", ["title"], model=Words())
    db.commit()
    vssnative.sync(db)
    assert vssnative.search(db, "posts", "x")[0].distance == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_langchains_indexing(tmp_path: Path, asynchronous: bool) -> None:
    def document(source: str, text: str) -> Document:
        return Document(page_content=text, metadata={"source": source})

    with vssnative.Pool(tmp_path / "a.db") as pool:
        store, records = VssVectorStore(pool, Words()), VssRecordManager(pool, "notes")
        other = VssRecordManager(pool, "other")

        async def run(documents: list[Document], cleanup: Any) -> Any:
            options: dict[str, Any] = {"cleanup": cleanup, "source_id_key": "source"}
            if "key_encoder" in inspect.signature(index).parameters:
                options["key_encoder"] = "sha256"
            if asynchronous:
                return await aindex(documents, records, store, **options)
            return index(documents, records, store, **options)

        def counts(result: Any) -> tuple[int, int, int]:
            return result["num_added"], result["num_skipped"], result["num_deleted"]

        if asynchronous:
            await records.acreate_schema()
        records.create_schema()
        first = [document("a", "one"), document("a", "two"), document("b", "three")]
        assert counts(await run(first, "incremental")) == (3, 0, 0)
        assert counts(await run(first, "incremental")) == (0, 3, 0)
        time.sleep(0.005)  # the clock's step is a millisecond
        changed = [document("a", "one"), document("a", "two, changed")]
        assert counts(await run(changed, "incremental")) == (1, 1, 1)
        time.sleep(0.005)
        assert counts(await run([document("b", "three")], "full")) == (0, 1, 2)
        assert [d.page_content for d in store.similarity_search("three", k=9)] == ["three"]
        [key] = records.list_keys()
        assert records.exists([key, "no"]) == await records.aexists([key, "no"]) == [True, False]
        assert records.list_keys(group_ids=["b"], limit=5) == await records.alist_keys(after=1.0) == [key]
        assert records.list_keys(group_ids=["a"]) == records.list_keys(before=1.0) == other.list_keys() == []
        assert abs(records.get_time() - time.time()) < 5 and await records.aget_time() > 1e9
        with pytest.raises(ValueError, match="the database's clock says"):
            records.update(["x"], time_at_least=records.get_time() + 1000)
        with pytest.raises(ValueError, match="got 2 and 1"):
            await records.aupdate(["x"], group_ids=["a", "b"])
        other.update([key])
        await records.adelete_keys([key])
        records.delete_keys(["no"])
        assert (records.list_keys(), other.list_keys()) == ([], [key])
