"""LlamaIndex's vector store, compared with its own in-memory ``SimpleVectorStore`` on the same nodes and filters."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

with warnings.catch_warnings():  # of libraries that it imports
    warnings.simplefilter("ignore")
    from llama_index.core import StorageContext, VectorStoreIndex
    from llama_index.core.embeddings import MockEmbedding
    from llama_index.core.schema import (
        ImageNode,
        IndexNode,
        NodeRelationship,
        RelatedNodeInfo,
        TextNode,
    )
    from llama_index.core.vector_stores import SimpleVectorStore
    from llama_index.core.vector_stores.types import (
        FilterCondition,
        FilterOperator,
        MetadataFilter,
        MetadataFilters,
        VectorStoreQuery,
        VectorStoreQueryMode,
    )
    from llama_index.core.vector_stores.utils import build_metadata_filter_fn

import vssnative
from vssnative.integrations.llamaindex import VssVectorStore, _condition, _of_documents

DIM = 24
FIELDS: dict[str, list[Any]] = {
    "kind": ["a", "b", "ab", "", "Ärger", None],
    "n": [0, 1, 2, 3, -1, 1.5, None],
    "mixed": [1, "1", "x", True, None],
    "tags": [["p"], ["p", "q"], ["q", "pq"], [], [1, 2], None],
    "a.b": ["ä", "ß", "a"],
}
OPERANDS: dict[FilterOperator, list[Any]] = {
    FilterOperator.TEXT_MATCH: ["a", "b", "", "Ä"],
    FilterOperator.TEXT_MATCH_INSENSITIVE: ["A", "ä", "B"],
    FilterOperator.IN: [["a", "b"], [1, 2], [1.5], ["1"], [], "ab"],
    FilterOperator.NIN: [["a", "b"], [1, 2], [1.5], ["1"], [], "ab"],
    FilterOperator.ANY: [["p"], ["q", "a"], [1], []],
    FilterOperator.ALL: [["p"], ["p", "q"], [1, 2], []],
    FilterOperator.IS_EMPTY: [None],
}
COMPARISONS = (FilterOperator.GT, FilterOperator.GTE, FilterOperator.LT, FilterOperator.LTE)
TEXT_ONLY = (FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE)
LISTS = (FilterOperator.IN, FilterOperator.NIN)
SCALARS = ["a", "ab", "", "1", "p", "ß", 0, 1, 2, 1.5, -1]


# What is compared: before 0.14.23 SimpleVectorStore had no NOT, let nothing in for a missing value, and text_match in any case.
OPERATORS, CONDITIONS = list(FilterOperator), list(FilterCondition)
if not build_metadata_filter_fn(
    lambda _: {}, MetadataFilters(filters=[MetadataFilter(key="a", value=1, operator=FilterOperator.NE)])
)("x"):
    OPERATORS = [one for one in OPERATORS if one not in (FilterOperator.NE, FilterOperator.NIN, *TEXT_ONLY)]
    CONDITIONS = [FilterCondition.AND, FilterCondition.OR]


def nodes_of(random: np.random.Generator, n: int) -> list[TextNode]:
    nodes = []
    for number in range(n):
        about = {
            name: values[random.integers(len(values))]
            for name, values in FIELDS.items()
            if random.random() < 0.8
        }
        node = TextNode(
            id_=f"node {number}",
            text=f"word{number} of {number % 5}",
            metadata=about,
            embedding=random.standard_normal(DIM).tolist(),
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"doc{number % 7}")},
        )
        nodes.append(node)
    return nodes


@pytest.fixture
def nodes(random: np.random.Generator) -> list[TextNode]:
    return nodes_of(random, 80)


@pytest.fixture
def simple(nodes: list[TextNode]) -> SimpleVectorStore:
    store = SimpleVectorStore()
    store.add(nodes)
    return store


@pytest.fixture
def store(nodes: list[TextNode], tmp_path: Path) -> Iterator[VssVectorStore]:
    store = VssVectorStore(tmp_path / "a.db", recall=1.0)
    assert store.add(nodes) == [node.node_id for node in nodes]
    yield store
    store.close()


def leaf(random: np.random.Generator) -> MetadataFilter:
    operator = OPERATORS[random.integers(len(OPERATORS))]
    values = OPERANDS.get(operator, SCALARS)
    value = values[random.integers(len(values))]
    names = [*FIELDS, "missing"]
    if random.random() < 0.9:  # mostly what SimpleVectorStore takes
        if operator in COMPARISONS:
            names = ["kind", "a.b"] if isinstance(value, str) else ["n"]
        elif (
            operator in TEXT_ONLY or isinstance(value, str) and operator in (*LISTS, FilterOperator.CONTAINS)
        ):
            names = ["kind", "a.b", "missing"]
        elif operator in (FilterOperator.ANY, FilterOperator.ALL, FilterOperator.CONTAINS):
            names = ["tags"]
    return MetadataFilter(key=names[random.integers(len(names))], operator=operator, value=value)


def filters(random: np.random.Generator, depth: int) -> MetadataFilters:
    parts = [
        leaf(random) if depth == 0 or random.random() < 0.6 else filters(random, depth - 1)
        for _ in range(random.integers(1, 4))
    ]
    return MetadataFilters(filters=parts, condition=CONDITIONS[random.integers(len(CONDITIONS))])


def expected(store: SimpleVectorStore, wanted: MetadataFilters) -> set[str]:
    """By LlamaIndex's own reading of each filter; it does not take nested ones, so their conditions are joined here."""
    sets = []
    for one in wanted.filters:
        if isinstance(one, MetadataFilters):
            sets.append(expected(store, one))
        else:
            accepts = build_metadata_filter_fn(
                lambda key: store.data.metadata_dict[key], MetadataFilters(filters=[one])
            )
            sets.append({key for key in store.data.embedding_dict if accepts(key)})
    every = set(store.data.embedding_dict)
    if wanted.condition == FilterCondition.AND:
        return every.intersection(*sets)
    return set().union(*sets) if wanted.condition == FilterCondition.OR else every - set().union(*sets)


def test_filters_mean_what_they_mean_to_llamaindex(
    store: VssVectorStore, simple: SimpleVectorStore, random: np.random.Generator
) -> None:
    counted: Counter[str] = Counter()
    operators: Counter[FilterOperator] = Counter()
    for turn in range(int(os.environ.get("VSSNATIVE_FILTERS", "300"))):
        wanted = filters(random, depth=turn % 3)
        flat = not any(isinstance(one, MetadataFilters) for one in wanted.filters)
        query = VectorStoreQuery(
            query_embedding=random.standard_normal(DIM).tolist(), similarity_top_k=5, filters=wanted
        )
        try:
            ids = expected(simple, wanted)
            theirs = simple.query(query) if flat else None
        except TypeError:  # a number compared with a text, a part of a number
            counted["refused by SimpleVectorStore"] += 1
            store.query(query)
            continue
        ours = store.query(query)
        condition = _condition(None, None, wanted)
        with store.client.connection() as conn:
            everything = {row.key for row in store._documents.select(conn, condition)}
        assert everything == ids, wanted
        assert len(ours.ids or []) == min(5, len(ids))
        if theirs is not None:
            assert ours.ids == theirs.ids, wanted
            np.testing.assert_allclose(ours.similarities or [], theirs.similarities or [], atol=1e-6)
        counted["flat" if flat else "nested"] += 1
        counted["with answers"] += bool(ids)
        operators.update(one.operator for one in wanted.filters if isinstance(one, MetadataFilter))
    print(dict(counted))
    assert set(operators) == set(OPERATORS)
    assert counted["flat"] > 80 and counted["nested"] > 40 and counted["with answers"] > 100


@pytest.mark.parametrize("mode", [VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.MMR])
async def test_searches_find_what_llamaindex_finds(
    store: VssVectorStore, simple: SimpleVectorStore, random: np.random.Generator, mode: VectorStoreQueryMode
) -> None:
    for k in (1, 3, 10, 100):
        ids = [f"node {number}" for number in random.choice(80, 40, replace=False)]
        for node_ids in (None, ids):
            query = VectorStoreQuery(
                query_embedding=random.standard_normal(DIM).tolist(),
                similarity_top_k=k,
                mode=mode,
                node_ids=node_ids,
            )
            options = {"mmr_threshold": 0.4, "mmr_prefetch_k": 100}
            if node_ids is not None and mode == VectorStoreQueryMode.MMR:
                options["mmr_threshold"] = 0.8
            ours, theirs = store.query(query, **options), simple.query(query, **options)
            assert ours.ids == theirs.ids
            np.testing.assert_allclose(ours.similarities or [], theirs.similarities or [], atol=1e-5)
            assert (await store.aquery(query, **options)).ids == ours.ids
            assert [node.node_id for node in ours.nodes or []] == ours.ids


async def test_nodes_come_back_as_they_were(store: VssVectorStore, nodes: list[TextNode]) -> None:
    keys = ["node 7", "node 3", "nothing", "node 7"]
    for found in (store.get_nodes(keys), await store.aget_nodes(keys)):
        assert [node.node_id for node in found] == ["node 7", "node 3"]
        for node, number in zip(found, (7, 3), strict=True):
            assert node.metadata == nodes[number].metadata and node.ref_doc_id == f"doc{number % 7}"
            assert node.get_content() == f"word{number} of {number % 5}"
    vector = [1.0] * DIM
    odd = [
        IndexNode(id_="i", text="to an index", index_id="other", embedding=vector),
        ImageNode(id_="p", text="a picture", image_url="http://localhost/x.png", embedding=vector),
    ]
    store.add(odd)
    index_node, image = store.get_nodes(["i", "p"])
    assert isinstance(index_node, IndexNode) and index_node.index_id == "other"
    assert isinstance(image, ImageNode) and image.image_url == "http://localhost/x.png"
    with pytest.raises(ValueError, match="embedding not set"):
        store.add([TextNode(text="no vector")])


async def test_deleting_as_llamaindex_does(store: VssVectorStore, simple: SimpleVectorStore) -> None:
    def same() -> int:
        ids = {node.node_id for node in store.get_nodes()}
        assert ids == set(simple.data.embedding_dict)
        query = VectorStoreQuery(query_embedding=[1.0] * DIM, similarity_top_k=200)
        assert store.query(query).ids == simple.query(query).ids
        return len(ids)

    small = MetadataFilters(filters=[MetadataFilter(key="n", value=1, operator=FilterOperator.LTE)])
    # SimpleVectorStore compares a missing value with nothing.
    before = same()
    for each in (store, simple):
        each.delete("doc3")
    assert same() < before
    await store.adelete("doc4")
    simple.delete("doc4")
    store.delete("no such document")
    same()
    for each in (store, simple):
        each.delete_nodes(["node 0", "node 1", "nothing"])
        each.delete_nodes(["node 8", "node 9", "node 12"], small)
        each.delete_nodes(filters=small)
    left = same()
    await store.adelete_nodes(["node 2"])
    simple.delete_nodes(["node 2"])
    assert 0 < same() <= left
    await store.aclear()
    simple.clear()
    assert same() == 0
    store.add(nodes_of(np.random.default_rng(1), 3))
    store.clear()
    assert store.get_nodes() == []


@pytest.mark.parametrize("inner", [[], [MetadataFilters(filters=[]), MetadataFilters(filters=[])]])
async def test_empty_filters_delete_nothing(
    store: VssVectorStore, nodes: list[TextNode], inner: list[Any]
) -> None:
    empty = MetadataFilters(filters=inner)
    with pytest.raises(vssnative.QueryError, match=r"clear\(\) deletes all"):
        store.delete_nodes(filters=empty)
    with pytest.raises(vssnative.QueryError, match="hold for every node"):
        await store.adelete_nodes(filters=empty)
    store.delete_nodes(["node 0"], empty)
    assert len(store.get_nodes()) == len(nodes) - 1


async def test_an_unknown_argument_deletes_nothing(store: VssVectorStore, nodes: list[TextNode]) -> None:
    with pytest.raises(vssnative.ConfigurationError, match="delete_nodes: unknown argument 'filter'"):
        store.delete_nodes(filter=MetadataFilters(filters=[]))
    with pytest.raises(vssnative.ConfigurationError, match="unknown argument 'filter'"):
        await store.adelete_nodes(filter=MetadataFilters(filters=[]))
    with pytest.raises(vssnative.ConfigurationError, match="expected a list of texts, got '.*' alone"):
        store.delete_nodes(nodes[0].node_id)  # type: ignore[arg-type]
    with pytest.raises(vssnative.ConfigurationError, match="query: unknown argument 'mmr_treshold'"):
        store.query(VectorStoreQuery(query_embedding=nodes[0].get_embedding(), mode="mmr"), mmr_treshold=1)  # type: ignore[arg-type]
    assert len(store.get_nodes()) == len(nodes)


def test_words_and_both(store: VssVectorStore, nodes: list[TextNode]) -> None:
    def ask(mode: VectorStoreQueryMode, **options: Any) -> Any:
        query = VectorStoreQuery(
            query_embedding=nodes[10].get_embedding(), query_str="word20", mode=mode, **options
        )
        return store.query(query)

    assert ask(VectorStoreQueryMode.TEXT_SEARCH, similarity_top_k=5).ids == ["node 20"]
    assert ask(VectorStoreQueryMode.SPARSE, similarity_top_k=5).similarities[0] > 0
    both = ask(VectorStoreQueryMode.HYBRID, similarity_top_k=2)
    assert set(both.ids) == {"node 10", "node 20"}
    assert ask(VectorStoreQueryMode.HYBRID, similarity_top_k=1, alpha=1.0).ids == ["node 10"]
    assert ask(VectorStoreQueryMode.HYBRID, similarity_top_k=5, alpha=0.0).ids == ["node 20"]
    assert len(ask(VectorStoreQueryMode.SEMANTIC_HYBRID, similarity_top_k=2, hybrid_top_k=7).ids) == 7
    of_doc = ask(VectorStoreQueryMode.HYBRID, similarity_top_k=50, doc_ids=["doc6"])
    assert set(of_doc.ids) == {node.node_id for node in nodes if node.ref_doc_id == "doc6"}
    store.delete_nodes(["node 20"])
    assert ask(VectorStoreQueryMode.TEXT_SEARCH, similarity_top_k=5).ids == []
    store.add([TextNode(id_="node 10", text="word20 now", embedding=nodes[10].get_embedding())])
    assert ask(VectorStoreQueryMode.TEXT_SEARCH, similarity_top_k=5).ids == ["node 10"]


def test_what_is_refused(store: VssVectorStore) -> None:
    for query, message in (
        (VectorStoreQuery(mode=VectorStoreQueryMode.SVM, query_embedding=[1.0] * DIM), "got svm"),
        (VectorStoreQuery(), "needs query_embedding"),
        (VectorStoreQuery(mode=VectorStoreQueryMode.SPARSE), "needs query_str"),
        # Modes are texts, too, as LlamaIndex does not turn them into its own.
        (VectorStoreQuery(mode="svm", query_embedding=[1.0] * DIM), "got svm"),  # type: ignore[arg-type]
        (VectorStoreQuery(mode="nearest", query_embedding=[1.0] * DIM), "got nearest"),  # type: ignore[arg-type]
        (VectorStoreQuery(mode="hybrid", query_embedding=[1.0] * DIM), "mode hybrid needs query_str"),  # type: ignore[arg-type]
        (VectorStoreQuery(mode="text_search"), "mode text_search needs query_str"),  # type: ignore[arg-type]
    ):
        with pytest.raises(vssnative.QueryError, match=message):
            store.query(query)
    with pytest.raises(vssnative.DimensionError):
        store.query(VectorStoreQuery(query_embedding=[1.0]))


async def test_under_llamaindexs_own_index(tmp_path: Path) -> None:
    with vssnative.Pool(tmp_path / "a.db") as pool:
        store = VssVectorStore(pool, table="nodes", metric="l2")
        nodes = [TextNode(id_=str(number), text=f"text {number}") for number in range(4)]
        context = StorageContext.from_defaults(vector_store=store)
        index = VectorStoreIndex(nodes, storage_context=context, embed_model=MockEmbedding(embed_dim=8))
        found = await index.as_retriever(similarity_top_k=2).aretrieve("text 2")
        assert len(found) == 2 and all(found_one.score == 1.0 for found_one in found)
        again = VectorStoreIndex.from_vector_store(
            VssVectorStore(pool, table="nodes"), embed_model=MockEmbedding(embed_dim=8)
        )
        assert len(again.as_retriever(similarity_top_k=9).retrieve("text")) == 4
        assert store.client is pool and store.class_name() == "VssVectorStore"


def test_a_document_is_found_by_an_index(store: VssVectorStore) -> None:
    condition = _of_documents(["doc1"])
    with store.client.connection() as conn:
        plan = conn.execute(
            f"explain query plan select id from llamaindex where {condition.sql}", condition.params
        ).fetchall()
    assert "vss_ref_doc_id_llamaindex" in str(plan)


def test_words_without_spaces_between_them(tmp_path: Path) -> None:
    texts = [
        "東京で食べたラーメン",
        "京都の寺を見て、東京へ帰った。東京は雨",
        "SQLite keeps a file",
        "大阪城公園",
    ]
    store = VssVectorStore(tmp_path / "a.db", tokenizer="trigram")
    store.add(
        [TextNode(id_=str(n), text=t, metadata={"n": n}, embedding=[1.0, n]) for n, t in enumerate(texts)]
    )

    def found(words: str, **options: Any) -> list[str]:
        query = VectorStoreQuery(
            query_str=words, mode=VectorStoreQueryMode.TEXT_SEARCH, similarity_top_k=3, **options
        )
        return store.query(query).ids or []

    assert found("東京") == ["1", "0"]
    assert found("東京ラーメン") == ["0"]
    assert found("大阪城 東京") == ["3", "1", "0"] or set(found("大阪城 東京")) == {"0", "1", "3"}
    assert found("sqlite") == ["2"] and found("無") == []
    only = MetadataFilters(filters=[MetadataFilter(key="n", value=0)])
    assert found("東京", filters=only) == ["0"]
    hybrid = VectorStoreQuery(
        query_embedding=[0.0, 1.0], query_str="雨", mode=VectorStoreQueryMode.HYBRID, similarity_top_k=1
    )
    assert store.query(hybrid).ids == ["1"]
    store.close()
