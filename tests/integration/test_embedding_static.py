"""Static models and cross-encoders, compared with what the reference libraries gave for the same tiny models."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file, save_file

import vssnative
from tests.fixtures.embedding.tiny_models import RECIPES, TEXTS, tolerance, write_model
from tests.fixtures.embedding.tiny_static import (
    CROSS,
    MORE_TEXTS,
    PAIRS,
    ROBERTA,
    STATIC,
    write_cross_encoder,
    write_mpnet,
    write_roberta,
    write_static,
)
from vssnative import _core
from vssnative.embedding import (
    OnnxEmbedder,
    Reranker,
    StaticEmbedder,
    Truncation,
    from_config,
    get_embedder,
    split_text,
)
from vssnative.embedding.bert_weights import distance_buckets
from vssnative.embedding.chunking import Chunking
from vssnative.embedding.native_encoder import NativeEncoder
from vssnative.errors import ConfigurationError, EmbeddingError, ModelNotFoundError

ALL_TEXTS = [*TEXTS, *MORE_TEXTS]
# Three products of bfloat16 parts leave out 2^-16 of each product; scores, which are logits, are up to 5.
SCORES_OFF = 2e-4 if "amx" in _core.encoder_levels() else 1e-5


@pytest.fixture(scope="module")
def reference() -> dict[str, npt.NDArray[np.float32]]:
    with np.load(Path(__file__).parents[1] / "fixtures" / "embedding" / "static.npz") as archive:
        return dict(archive)


class TestStatic:
    @pytest.mark.parametrize("name", [name for name in STATIC if name.startswith("model2vec")])
    def test_vectors_are_model2vecs(
        self, name: str, tmp_path: Path, reference: dict[str, npt.NDArray[np.float32]]
    ) -> None:
        embedder = get_embedder(f"static:{write_static(tmp_path / name, name)}")
        # Of float16 rows Model2Vec takes the mean in float16.
        tolerance = 2e-3 if name.endswith("half") else 1e-6
        for embed in (embedder.embed_documents, embedder.embed_queries):
            # In float16 its zeros divided by their length are no numbers.
            expected = np.nan_to_num(reference[f"{name}/model2vec"])
            np.testing.assert_allclose(embed(ALL_TEXTS), expected, atol=tolerance)

    @pytest.mark.parametrize("name", STATIC)
    def test_vectors_by_modules_are_those_of_sentence_transformers(
        self, name: str, tmp_path: Path, reference: dict[str, npt.NDArray[np.float32]]
    ) -> None:
        embedder = get_embedder(f"onnx:{write_static(tmp_path / name, name)}")
        tolerance = 2e-3 if name.endswith("half") else 1e-6
        expected = np.nan_to_num(reference[f"{name}/modules"])
        np.testing.assert_allclose(embedder.embed_documents(ALL_TEXTS), expected, atol=tolerance)

    def test_what_it_says_about_itself(self, tmp_path: Path) -> None:
        directory = write_static(tmp_path / "tiny", "model2vec_short")
        embedder = get_embedder(f"static:{directory}")
        assert isinstance(embedder, StaticEmbedder)
        assert (embedder.name, embedder.dim, embedder.metric, embedder.max_tokens) == (
            "tiny",
            12,
            "cosine",
            6,
        )
        assert embedder.config() == {"kind": "static", "name": "tiny", "path": str(directory)}
        # Model2Vec cuts characters first: 6 tokens of 3 characters, its vocabulary's median.
        assert embedder.encode(["fox", "a b c d e f g h"]).truncation == Truncation(1, 2)
        np.testing.assert_array_equal(embedder.count_tokens(["a b c d e f g h i j", ""]), [10, 0])
        passages = split_text("fox " * 40, Chunking(10, 2), embedder.tokenizer)
        assert len(passages) == 5

    def test_configs_and_digests(self, tmp_path: Path) -> None:
        digests = set()
        for name in STATIC:
            directory = write_static(tmp_path / name, name)
            for embedder in (
                get_embedder(f"static:{directory}"),
                get_embedder(f"onnx:{directory}"),
                get_embedder(f"static:{directory}", dim=5),
            ):
                digests.add(embedder.digest)
                again = from_config(json.loads(json.dumps(embedder.config())))
                assert (again.name, again.dim, again.digest) == (embedder.name, embedder.dim, embedder.digest)
        # What sentence-transformers wrote is the same read either way, and modules.json knows no length.
        assert len(digests) == 3 * len(STATIC) - 3
        embedder = get_embedder(f"static:{tmp_path / 'model2vec'}")
        assert get_embedder(f"static:{tmp_path / 'model2vec'}", digest=embedder.digest).dim == 12
        with pytest.raises(ConfigurationError, match="expected digest 00"):
            get_embedder(f"static:{tmp_path / 'model2vec'}", digest="00")

    def test_fewer_values_have_unit_length(self, tmp_path: Path) -> None:
        directory = write_static(tmp_path / "tiny", "model2vec")
        whole, short = (
            get_embedder(f"static:{directory}", dim=dim).embed_documents(["fox"]) for dim in (12, 5)
        )
        np.testing.assert_allclose(short, whole[:, :5] / np.linalg.norm(whole[:, :5]), atol=1e-6)

    def test_a_table_is_kept_in_step(self, tmp_path: Path, db: sqlite3.Connection) -> None:
        directory = write_static(tmp_path / "tiny", "model2vec")
        db.execute("create table posts(id integer primary key, title text)")
        db.executemany("insert into posts(title) values (?)", [("the quick fox",), ("vector search",)])
        db.commit()
        vssnative.add_embeddings(db, "posts", columns=["title"], model=f"static:{directory}")
        vssnative.sync(db)
        hits = vssnative.search(db, "posts", "search the vector", k=1)
        assert [hit.row["title"] for hit in hits] == ["vector search"]
        assert vssnative.verify(db, "posts").ok

    def test_files_that_make_no_sense(self, tmp_path: Path) -> None:
        good = write_static(tmp_path / "good", "model2vec_mapped")
        tensors = load_file(good / "model.safetensors")

        def refused(words: str, changes: dict[str, npt.NDArray[np.generic]]) -> None:
            bad = tmp_path / "bad"
            shutil.copytree(good, bad, dirs_exist_ok=True)
            save_file({**tensors, **changes}, bad / "model.safetensors")
            with pytest.raises(ConfigurationError, match=words):
                get_embedder(f"static:{bad}")

        refused("mapping must name rows from 0 to 19", {"mapping": tensors["mapping"] + 5})
        refused("mapping must name rows", {"mapping": tensors["mapping"] - 30})
        refused("weights must have", {"weights": tensors["weights"][:-1]})
        refused(
            "rows for the tokenizer's", {"mapping": tensors["mapping"][:9], "weights": tensors["weights"][:9]}
        )
        refused("expected a matrix", {"embeddings": tensors["embeddings"][0]})
        refused("no finite number", {"embeddings": tensors["embeddings"] * np.float32(np.nan)})
        with pytest.raises(ModelNotFoundError, match="no model directory at"):
            get_embedder("static:/nowhere")
        with pytest.raises(ConfigurationError, match="expected static:/path"):
            get_embedder("static:")
        with pytest.raises(ConfigurationError, match="dim must be from 1 to the model's 12, not 13"):
            get_embedder(f"static:{good}", dim=13)
        encoder = write_model(tmp_path / "encoder", RECIPES["mean"])
        with pytest.raises(ConfigurationError, match="expected StaticEmbedding"):
            get_embedder(f"static:{encoder}")
        with pytest.raises(EmbeddingError):
            get_embedder(f"static:{good}").embed_documents([3])  # type: ignore[list-item]

    @pytest.mark.parametrize(
        ("ids", "lengths", "shape", "error"),
        [
            ([0, 5], [2], (1, 4), IndexError),
            ([0, -1], [2], (1, 4), IndexError),
            ([0, 1], [3], (1, 4), ValueError),
            ([0, 1], [-1, 3], (2, 4), ValueError),
            ([0, 1], [2], (2, 4), ValueError),
            ([0, 1], [2], (1, 5), ValueError),
            ([[0, 1]], [2], (1, 4), ValueError),
        ],
    )
    def test_the_core_checks_what_it_is_given(
        self, ids: list[int], lengths: list[int], shape: tuple[int, int], error: type[Exception]
    ) -> None:
        table = np.ones((5, 4), dtype=np.float32)
        with pytest.raises(error):
            _core.mean_of_rows(
                table,
                np.array(ids, dtype=np.int32),
                np.array(lengths, dtype=np.int64),
                True,
                np.empty(shape, dtype=np.float32),
            )


class TestRoberta:
    @pytest.mark.parametrize("backend", ["native", "onnxruntime", "openvino"])
    @pytest.mark.parametrize("name", ROBERTA)
    def test_vectors_are_those_of_sentence_transformers(
        self,
        name: str,
        backend: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        reference: dict[str, npt.NDArray[np.float32]],
    ) -> None:
        monkeypatch.setenv("VSSNATIVE_CACHE", str(tmp_path / "cache"))
        embedder = get_embedder(f"onnx:{write_roberta(tmp_path / name, name)}", backend=backend)
        np.testing.assert_allclose(
            embedder.embed_documents(TEXTS), reference[f"roberta/{name}"], atol=tolerance()
        )

    def test_a_config_without_a_padding_token_is_refused(self, tmp_path: Path) -> None:
        directory = write_roberta(tmp_path / "roberta", "roberta")
        config = json.loads((directory / "config.json").read_text())
        for wrong in (None, -1, "0", 40):
            (directory / "config.json").write_text(json.dumps(config | {"pad_token_id": wrong}))
            with pytest.raises(ConfigurationError, match="pad_token_id must be|positions, expected more"):
                get_embedder(f"onnx:{directory}", backend="native")


class TestMpnet:
    @pytest.mark.parametrize("level", [*_core.encoder_levels(), "tiles model"])
    def test_vectors_are_those_of_sentence_transformers(
        self, level: str, tmp_path: Path, reference: dict[str, npt.NDArray[np.float32]]
    ) -> None:
        directory = write_mpnet(tmp_path / "mpnet")
        embedder = get_embedder(f"onnx:{directory}")
        assert isinstance(embedder, OnnxEmbedder)
        embedder._encoder = NativeEncoder(directory, level)
        atol = tolerance(level)
        np.testing.assert_allclose(embedder.embed_documents(TEXTS), reference["mpnet"], atol=atol)

    def test_distances_share_rows_as_in_the_reference(
        self, reference: dict[str, npt.NDArray[np.float32]]
    ) -> None:
        np.testing.assert_array_equal(distance_buckets(np.arange(-511, 512), 32), reference["mpnet/buckets"])

    def test_what_cannot_be_biases_is_refused(self, tmp_path: Path) -> None:
        directory = write_mpnet(tmp_path / "mpnet")
        tensors = load_file(directory / "model.safetensors")
        for shape, message in (((31, 1), "has 31 rows"), ((2, 1), "has 2 rows"), ((32, 2), "expected")):
            biases = np.zeros(shape, dtype=np.float32)
            changed = tensors | {"encoder.relative_attention_bias.weight": biases}
            save_file(changed, directory / "model.safetensors", metadata={"format": "pt"})
            with pytest.raises(ConfigurationError, match=message):
                get_embedder(f"onnx:{directory}")

    def test_other_backends_say_that_they_have_no_graph_of_it(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="not 'mpnet'"):
            get_embedder(f"onnx:{write_mpnet(tmp_path / 'mpnet')}", backend="onnxruntime")


class TestReranker:
    @pytest.mark.parametrize("name", CROSS)
    def test_scores_are_those_of_sentence_transformers(
        self, name: str, tmp_path: Path, reference: dict[str, npt.NDArray[np.float32]]
    ) -> None:
        reranker = Reranker(write_cross_encoder(tmp_path / name, name))
        expected = reference[f"cross/{name}"].reshape(len(PAIRS), -1)
        np.testing.assert_allclose(reranker.score_pairs(PAIRS), expected, atol=SCORES_OFF)
        if reranker.labels == 1:
            for (query, text), value in zip(PAIRS, expected[:, 0], strict=True):
                assert reranker.score(query, [text])[0] == pytest.approx(value, abs=SCORES_OFF)

    def test_raw_scores_are_those_before_the_sigmoid(
        self, tmp_path: Path, reference: dict[str, npt.NDArray[np.float32]]
    ) -> None:
        raw = Reranker(write_cross_encoder(tmp_path / "one", "one"), raw=True).score_pairs(PAIRS)[:, 0]
        np.testing.assert_allclose(raw, reference["cross/one_raw"], atol=SCORES_OFF)
        assert np.ptp(raw) > 0.1

    def test_texts_are_ranked_best_first(self, tmp_path: Path) -> None:
        reranker = Reranker(write_cross_encoder(tmp_path / "one", "one"), threads=2)
        texts = ["fox", "the row", "vector search", "fox", *(f"file {number}" for number in range(60))]
        scores = reranker.score("quick", texts)
        ranked = reranker.rank("quick", texts, 5)
        assert [score for _, score in ranked] == sorted(scores.tolist(), reverse=True)[:5]
        assert [scores[position] for position, _ in ranked] == [np.float32(score) for _, score in ranked]
        order = [position for position, _ in reranker.rank("quick", texts)]
        assert order.index(0) < order.index(3)  # equal scores stay as given
        assert reranker.rank("quick", []) == []

    def test_refusals(self, tmp_path: Path) -> None:
        several = Reranker(write_cross_encoder(tmp_path / "three", "three"))
        with pytest.raises(ConfigurationError, match="3 labels for a pair, not one score"):
            several.score("a", ["b"])
        with pytest.raises(ModelNotFoundError, match=r"expected config.json of a cross-encoder"):
            Reranker(tmp_path)
        with pytest.raises(ConfigurationError, match="weight pooler.dense.weight is missing"):
            encoder = write_model(tmp_path / "encoder", RECIPES["mean"])
            Reranker(encoder)
        one = write_cross_encoder(tmp_path / "one", "one")
        with pytest.raises(ConfigurationError, match="max_tokens must be from 4 to the model's 40, not 41"):
            Reranker(one, max_tokens=41)
        with pytest.raises(ConfigurationError, match="threads must be at least 1"):
            Reranker(one, threads=0)
        config = json.loads((one / "config.json").read_text())
        config["sbert_ce_default_activation_function"] = "my.module.Softplus"
        (one / "config.json").write_text(json.dumps(config))
        with pytest.raises(ConfigurationError, match="'my.module.Softplus' is not known"):
            Reranker(one)
        with pytest.raises(EmbeddingError):
            several.score_pairs([("a", 3)])  # type: ignore[list-item]
