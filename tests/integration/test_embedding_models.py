"""Models run from their files: the reference's vectors, whatever the layout, and nothing that reaches outside."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from tests.fixtures.embedding.tiny_graphs import write_onnx
from tests.fixtures.embedding.tiny_models import HIDDEN, RECIPES, TEXTS, Recipe, tolerance, write_model
from vssnative import _core
from vssnative.embedding import (
    Chunking,
    OnnxEmbedder,
    Truncation,
    embed,
    from_config,
    get_embedder,
    split_text,
)
from vssnative.embedding import onnx_model as onnx_model_module
from vssnative.errors import ConfigurationError, EmbeddingError, ModelNotFoundError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "embedding"


@pytest.fixture(scope="module")
def minilm() -> OnnxEmbedder:
    embedder = get_embedder("minilm")
    assert isinstance(embedder, OnnxEmbedder)
    return embedder


@pytest.fixture(scope="module")
def texts() -> list[str]:
    values: list[str] = json.loads((FIXTURES / "texts.json").read_text(encoding="utf-8"))
    return values


@pytest.fixture(scope="module")
def reference() -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = np.load(FIXTURES / "vectors.npy")
    return values


@pytest.fixture(scope="module")
def tiny_reference() -> dict[str, npt.NDArray[np.float32]]:
    with np.load(FIXTURES / "tiny.npz") as archive:
        return dict(archive)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VSSNATIVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class TestMiniLM:
    def test_its_vectors_are_those_of_sentence_transformers(
        self, minilm: OnnxEmbedder, texts: list[str], reference: npt.NDArray[np.float32]
    ) -> None:
        assert len(texts) >= 1000
        result = minilm.encode(texts)
        cosines = (result.vectors.astype(np.float64) * reference).sum(axis=1)
        assert cosines.min() >= 0.99999
        np.testing.assert_allclose(result.vectors, reference, atol=2e-5)
        assert result.vectors.dtype == np.float32
        assert result.vectors.flags.c_contiguous

    def test_what_it_says_about_itself(self, minilm: OnnxEmbedder) -> None:
        assert (minilm.name, minilm.dim, minilm.metric, minilm.max_tokens) == ("minilm", 384, "cosine", 256)
        # Changes only when the vectors may: then it must change, and with it what databases have recorded.
        assert minilm.digest == "41c3c9a12a5e16fc6c7fb907842a56ba294d968dbcb1b2f603aa701525f310b7"

    def test_a_text_alone_has_the_vector_it_has_in_company(
        self, minilm: OnnxEmbedder, texts: list[str], reference: npt.NDArray[np.float32]
    ) -> None:
        for row in range(0, 60, 7):
            np.testing.assert_allclose(minilm.embed_documents([texts[row]])[0], reference[row], atol=2e-5)

    def test_truncation_is_reported(self, minilm: OnnxEmbedder) -> None:
        before = minilm.truncation
        result = minilm.encode(["word " * 254, "word " * 255, "word " * 300, ""])
        assert result.truncation == Truncation(texts=2, tokens=1 + 46)
        assert minilm.truncation == before + result.truncation
        np.testing.assert_array_equal(minilm.count_tokens(["word " * 300, "", "a b"]), [302, 2, 4])

    def test_several_windows_keep_their_order(
        self,
        minilm: OnnxEmbedder,
        texts: list[str],
        reference: npt.NDArray[np.float32],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(onnx_model_module, "_WINDOW", 37)
        seen: list[tuple[int, int]] = []
        result = minilm.encode(texts[:200], progress=lambda done, total: seen.append((done, total)))
        np.testing.assert_allclose(result.vectors, reference[:200], atol=2e-5)
        assert seen[-1] == (200, 200)
        assert [done for done, _ in seen] == sorted({done for done, _ in seen})

    def test_threads_may_call_it_at_once(
        self, minilm: OnnxEmbedder, texts: list[str], reference: npt.NDArray[np.float32]
    ) -> None:
        results: dict[int, npt.NDArray[np.float32]] = {}

        def call(part: int) -> None:
            results[part] = minilm.embed_documents(texts[part * 25 : part * 25 + 25])

        threads = [threading.Thread(target=call, args=(part,)) for part in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        np.testing.assert_allclose(np.concatenate([results[i] for i in range(8)]), reference[:200], atol=2e-5)

    def test_an_interruption_stops_it(self, minilm: OnnxEmbedder, texts: list[str]) -> None:
        def interrupt(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            minilm.encode(texts[:300], progress=interrupt)
        assert minilm.embed_documents(["and works after"]).shape == (1, 384)
        assert not [t for t in threading.enumerate() if t.name.startswith("vssnative-embed_")]

    def test_fewer_values_are_cut_and_scaled(
        self, minilm: OnnxEmbedder, reference: npt.NDArray[np.float32]
    ) -> None:
        short = get_embedder("minilm", dim=128)
        assert short.dim == 128
        assert short.digest != minilm.digest
        texts = json.loads((FIXTURES / "texts.json").read_text(encoding="utf-8"))[:50]
        expected = reference[:50, :128] / np.linalg.norm(reference[:50, :128], axis=1, keepdims=True)
        np.testing.assert_allclose(short.embed_documents(texts), expected, atol=3e-5)
        again = from_config(json.loads(json.dumps(short.config())))
        assert (again.dim, again.digest) == (128, short.digest)

    def test_a_config_gives_an_equal_embedder(self, minilm: OnnxEmbedder) -> None:
        again = from_config(json.loads(json.dumps(minilm.config())))
        assert (again.name, again.digest) == (minilm.name, minilm.digest)

    def test_embed_is_the_short_way(self, reference: npt.NDArray[np.float32], texts: list[str]) -> None:
        np.testing.assert_allclose(embed(texts[:20]), reference[:20], atol=2e-5)
        assert embed([]).shape == (0, 384)

    def test_a_progress_bar_goes_to_standard_error(
        self, capfd: pytest.CaptureFixture[str], reference: npt.NDArray[np.float32], texts: list[str]
    ) -> None:
        np.testing.assert_allclose(embed(texts[:20], progress=True), reference[:20], atol=2e-5)
        printed = capfd.readouterr()
        assert printed.out == ""
        assert "20/20" in printed.err

    def test_passages_fit_the_model(self, minilm: OnnxEmbedder, texts: list[str]) -> None:
        chunking = Chunking(48, 12)
        for text in texts[:200:5]:
            passages = split_text(text, chunking, minilm.tokenizer)
            counts = minilm.count_tokens([passage.text for passage in passages])
            assert (counts <= 50).all()

    def test_a_long_texts_tokens_are_where_they_are_in_one_piece(
        self, minilm: OnnxEmbedder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = ('Naïve words, "unbelievable" & all.\n' * 9 + "x" * 300 + " 漢字" * 40 + "\t") * 12
        expected = minilm.tokenizer.offsets(text)
        monkeypatch.setattr("vssnative.embedding.tokenization._PIECE", 1000)
        np.testing.assert_array_equal(minilm.tokenizer.offsets(text), expected)
        monkeypatch.setattr("vssnative.embedding.tokenization._LONGEST_WORD", 1)
        assert minilm.tokenizer.offsets("漢" * 2500).shape == (2500, 2)
        assert minilm.tokenizer.offsets("").shape == (0, 2)

    def test_a_kind_that_is_unknown(self, minilm: OnnxEmbedder) -> None:
        with pytest.raises(ConfigurationError, match='"document" or "query"'):
            minilm.encode(["a"], kind="title")


class TestCache:
    def test_processes_that_start_at_once_make_one_graph(self, cache: Path) -> None:
        code = (
            "from vssnative.embedding import get_embedder;"
            "print(get_embedder('minilm', backend='onnxruntime').digest)"
        )
        children = [
            subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        outputs = {child.communicate()[0] for child in children}
        assert {child.returncode for child in children} == {0}
        assert len(outputs) == 1
        assert not list(cache.rglob(".*"))
        (graph,) = (cache / "graphs").glob("*.onnx")
        assert onnx.load(str(graph)).graph.name == "bert_encoder"

    def test_a_damaged_graph_is_made_again(self, cache: Path, tmp_path: Path) -> None:
        model = write_model(tmp_path / "model", RECIPES["mean"])
        vectors = OnnxEmbedder(model).embed_documents(TEXTS)
        (graph,) = (cache / "graphs").glob("*.onnx")
        whole = graph.read_bytes()
        for damaged in (whole[:-200], whole[:2000] + b"\x7f" + whole[2001:], b""):
            graph.write_bytes(damaged)
            np.testing.assert_array_equal(OnnxEmbedder(model).embed_documents(TEXTS), vectors)
            assert graph.read_bytes() == whole


@pytest.mark.parametrize("name", RECIPES)
def test_each_layout_gives_the_reference_vectors(
    name: str, tmp_path: Path, cache: Path, tiny_reference: dict[str, npt.NDArray[np.float32]]
) -> None:
    embedder = OnnxEmbedder(write_model(tmp_path / "model", RECIPES[name]))
    assert embedder.dim == tiny_reference[f"{name}/query"].shape[1]
    np.testing.assert_allclose(
        embedder.embed_queries(TEXTS), tiny_reference[f"{name}/query"], atol=tolerance()
    )
    np.testing.assert_allclose(
        embedder.embed_documents(TEXTS), tiny_reference[f"{name}/document"], atol=tolerance()
    )


class TestBackends:
    @pytest.mark.parametrize("backend", ["native", "onnxruntime", "openvino"])
    def test_all_give_the_vectors_of_sentence_transformers(
        self, backend: str, texts: list[str], reference: npt.NDArray[np.float32]
    ) -> None:
        vectors = get_embedder("minilm", backend=backend).embed_documents(texts)
        assert (vectors.astype(np.float64) * reference).sum(axis=1).min() >= 0.999999
        np.testing.assert_allclose(vectors, reference, atol=2e-5)

    @pytest.mark.parametrize("name", RECIPES)
    def test_all_give_the_same_vectors_for_each_layout(self, name: str, tmp_path: Path, cache: Path) -> None:
        model = write_model(tmp_path / "model", RECIPES[name])
        config = json.loads((model / "config.json").read_text())
        # One head, which is as wide as the core's kernels want it.
        (model / "config.json").write_text(json.dumps(config | {"num_attention_heads": 1}))
        native = OnnxEmbedder(model, backend="native")
        for backend in ("onnxruntime", "openvino"):
            other = OnnxEmbedder(model, backend=backend)
            assert native.digest == other.digest
            assert native.config() == other.config()
            for kind in ("query", "document"):
                found, expected = (each.encode(TEXTS, kind=kind).vectors for each in (native, other))
                # Weights that no training made calm carry the rounding of tiles far: see test_levels_agree.
                atol = 4e-4 if _core.encoder_levels()[-1] == "amx" else 1e-5
                np.testing.assert_allclose(found, expected, atol=atol)
                norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
                assert ((found * expected).sum(axis=1) / norms).min() >= 0.999999

    @pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
    def test_onnx_files_of_others_have_the_reference_vectors(
        self, backend: str, tmp_path: Path, cache: Path, tiny_reference: dict[str, npt.NDArray[np.float32]]
    ) -> None:
        model = write_model(tmp_path / "model", RECIPES["mean"])
        graph = OnnxEmbedder(model, backend="onnxruntime")
        (made,) = (cache / "graphs").glob("*.onnx")
        shutil.copy(made, model / "model.onnx")
        embedder = OnnxEmbedder(model, backend=backend, threads=3)
        assert embedder.digest != graph.digest  # other weights' bytes
        vectors = embedder.embed_documents(TEXTS * 40)
        np.testing.assert_allclose(
            vectors, np.tile(tiny_reference["mean/document"], (40, 1)), atol=tolerance()
        )

    def test_openvino_rounds_only_when_asked(
        self, texts: list[str], reference: npt.NDArray[np.float32]
    ) -> None:
        some = [number for number, text in enumerate(texts) if 0 < len(text) < 200][:60]
        chosen = [texts[number] for number in some]
        for precision, least in (("float32", 0.99999), ("bfloat16", 0.9999)):
            vectors = get_embedder("minilm", backend="openvino", precision=precision).embed_documents(chosen)
            assert (vectors.astype(np.float64) * reference[some]).sum(axis=1).min() >= least
        if "avx512bf16" in _core.encoder_levels():
            assert np.abs(vectors - reference[some]).max() > 1e-4

    def test_threads_may_call_openvino_at_once(
        self, texts: list[str], reference: npt.NDArray[np.float32]
    ) -> None:
        embedder = get_embedder("minilm", backend="openvino", threads=2)
        with ThreadPoolExecutor(6) as pool:
            parts = list(
                pool.map(lambda part: embedder.embed_documents(texts[part * 8 : part * 8 + 8]), range(12))
            )
        np.testing.assert_allclose(np.concatenate(parts), reference[:96], atol=2e-5)

    def test_providers_are_onnx_runtimes(self, tmp_path: Path, cache: Path) -> None:
        model = write_model(tmp_path / "model", RECIPES["mean"])
        by_name = OnnxEmbedder(model, providers=["CPUExecutionProvider"])
        with_options = OnnxEmbedder(model, providers=[("CPUExecutionProvider", {"use_arena": "0"})])
        np.testing.assert_array_equal(by_name.embed_documents(TEXTS), with_options.embed_documents(TEXTS))
        for missing in (["CUDAExecutionProvider", "CPUExecutionProvider"], ["NoSuchProvider"]):
            with pytest.raises(
                ConfigurationError, match=f"has no provider {missing[0]}; it has .*CPU.*onnxruntime-gpu"
            ):
                OnnxEmbedder(model, providers=missing)
        with pytest.raises(ConfigurationError, match="has no provider named"):
            OnnxEmbedder(model, providers=[])
        with pytest.raises(
            ConfigurationError, match="providers are ONNX Runtime's; backend 'openvino' has none"
        ):
            OnnxEmbedder(model, backend="openvino", providers=["CPUExecutionProvider"])

    def test_auto_takes_what_is_installed(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Two heads of 8 values, which the core does not take.
        model = write_model(tmp_path / "model", RECIPES["mean"])
        native = write_model(tmp_path / "native", RECIPES["mean"])
        config = json.loads((native / "config.json").read_text())
        (native / "config.json").write_text(json.dumps(config | {"num_attention_heads": 1}))
        find_spec = onnx_model_module.importlib.util.find_spec

        def chosen(directory: Path, *missing: str) -> str:
            monkeypatch.setattr(
                onnx_model_module.importlib.util,
                "find_spec",
                lambda name, *rest: None if name in missing else find_spec(name, *rest),
            )
            return type(OnnxEmbedder(directory)._encoder).__name__

        if _core.encoder_levels()[-1] != "scalar":
            assert chosen(native) == "NativeEncoder"
        assert chosen(native, "onnx", "onnxruntime", "openvino") == "NativeEncoder"
        assert chosen(model, "openvino") == "OnnxSession"
        assert chosen(model, "onnxruntime") == "OpenVinoSession"
        faster = "avx512" in _core.encoder_levels()
        assert chosen(model) == ("OpenVinoSession" if faster else "OnnxSession")

    def test_openvino_says_what_it_cannot_read(self, tmp_path: Path, cache: Path) -> None:
        model = write_model(tmp_path / "model", RECIPES["mean"])

        def rename(graph: onnx.ModelProto) -> None:
            graph.graph.input[0].name = "words"
            for node in graph.graph.node:
                for number, name in enumerate(node.input):
                    if name == "input_ids":
                        node.input[number] = "words"

        write_onnx(model / "model.onnx", change=rename)
        with pytest.raises(ConfigurationError, match="unexpected graph inputs"):
            OnnxEmbedder(model, backend="openvino")

    def test_the_core_needs_no_graph(self, tmp_path: Path, cache: Path) -> None:
        code = (
            "import sys; sys.modules['onnx'] = sys.modules['onnxruntime'] = None;"
            "from vssnative.embedding import get_embedder;"
            "print(get_embedder('minilm', backend='native').embed_queries(['a fox']).shape)"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert result.stdout == "(1, 384)\n"
        assert not (cache / "graphs").exists()

    def test_models_that_the_core_does_not_take(self, tmp_path: Path, cache: Path) -> None:
        model = write_model(tmp_path / "model", RECIPES["mean"])
        with pytest.raises(ConfigurationError, match="the core cannot run this model: .*sizes"):
            OnnxEmbedder(model, backend="native")
        with pytest.raises(
            ConfigurationError, match='"auto", "native", "onnxruntime" or "openvino", not \'torch\''
        ):
            OnnxEmbedder(model, backend="torch")
        write_onnx(model / "model.onnx")
        with pytest.raises(ConfigurationError, match="reads model.safetensors"):
            OnnxEmbedder(model, backend="native")

    @pytest.mark.parametrize("backend", ["native", "onnxruntime", "openvino"])
    def test_a_text_longer_than_the_positions(self, backend: str, tmp_path: Path, cache: Path) -> None:
        model = write_model(tmp_path / "model", RECIPES["mean"])
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"num_attention_heads": 1}))
        (model / "sentence_bert_config.json").write_text('{"max_seq_length": 60}')
        embedder = OnnxEmbedder(model, backend=backend)
        with pytest.raises(EmbeddingError):
            embedder.embed_documents(["file " * 50])
        assert embedder.embed_documents(["file"]).shape == (1, HIDDEN)


class TestOptions:
    def test_prompts_can_be_given(
        self, tmp_path: Path, cache: Path, tiny_reference: dict[str, npt.NDArray[np.float32]]
    ) -> None:
        model = write_model(tmp_path / "model", RECIPES["mean"])
        plain = OnnxEmbedder(model)
        prompted = OnnxEmbedder(model, query_prompt="query: ", document_prompt="passage: ")
        assert prompted.digest != plain.digest
        np.testing.assert_allclose(
            prompted.embed_queries(TEXTS), tiny_reference["prompts/query"], atol=tolerance()
        )
        again = from_config(json.loads(json.dumps(prompted.config())))
        np.testing.assert_allclose(
            again.embed_documents(TEXTS), tiny_reference["prompts/document"], atol=tolerance()
        )

    def test_every_fact_that_decides_the_vectors_is_in_the_digest(self, tmp_path: Path, cache: Path) -> None:
        base = Recipe(["mean"], dense=[(8, "Tanh")])
        digests = set()
        for number, recipe in enumerate(
            [
                base,
                Recipe(["max"], dense=[(8, "Tanh")]),
                Recipe(["mean"], dense=[(8, "ReLU")]),
                Recipe(["mean"], dense=[(8, "Tanh")], normalize=False),
                Recipe(["mean"], dense=[(8, "Tanh")], include_prompt=False),
                Recipe(["mean"], dense=[(8, "Tanh")], prompts={"query": "query: "}),
            ]
        ):
            digests.add(OnnxEmbedder(write_model(tmp_path / str(number), recipe)).digest)
        model = tmp_path / "0"
        digests.add(OnnxEmbedder(model, dim=4).digest)
        digests.add(OnnxEmbedder(model, max_tokens=10).digest)
        tensors = load_file(model / "model.safetensors")
        tensors["encoder.layer.0.output.dense.bias"][0] += 1
        save_file(tensors, model / "model.safetensors")
        digests.add(OnnxEmbedder(model).digest)
        assert len(digests) == 9

    def test_a_digest_can_be_demanded(self, tmp_path: Path, cache: Path) -> None:
        model = write_model(tmp_path / "model", RECIPES["mean"])
        digest = OnnxEmbedder(model).digest
        assert OnnxEmbedder(model, digest=digest).digest == digest
        with pytest.raises(ConfigurationError, match="expected digest 00"):
            OnnxEmbedder(model, digest="00")

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"dim": 0}, "dim must be from 1 to the model's 16"),
            ({"dim": 17}, "not 17"),
            ({"max_tokens": 25}, "max_tokens must be from 1 to the model's 24"),
            ({"max_tokens": 2}, "more than the 2 special tokens"),
            ({"threads": 0}, "threads must be at least 1"),
        ],
    )
    def test_options_that_make_no_sense(
        self, options: dict[str, int], words: str, tmp_path: Path, cache: Path
    ) -> None:
        model = write_model(tmp_path / "model", RECIPES["mean"])
        with pytest.raises(ConfigurationError, match=words):
            OnnxEmbedder(model, **options)  # type: ignore[arg-type]

    def test_lower_case_is_the_tokenizers_matter(self, tmp_path: Path, cache: Path) -> None:
        model = write_model(tmp_path / "model", RECIPES["mean"])
        tokenizer = json.loads((model / "tokenizer.json").read_text())
        tokenizer["normalizer"]["lowercase"] = False
        (model / "tokenizer.json").write_text(json.dumps(tokenizer))
        cased = OnnxEmbedder(model).embed_documents(["FOX", "fox"])
        assert not np.allclose(cased[0], cased[1], atol=1e-3)
        (model / "sentence_bert_config.json").write_text('{"max_seq_length": 24, "do_lower_case": true}')
        lowered = OnnxEmbedder(model).embed_documents(["FOX", "fox"])
        np.testing.assert_allclose(lowered[0], lowered[1], atol=1e-6)
        np.testing.assert_allclose(lowered[1], cased[1], atol=1e-6)


class TestBrokenModels:
    @pytest.fixture
    def model(self, tmp_path: Path, cache: Path) -> Path:
        return write_model(tmp_path / "model", RECIPES["dense_tanh"])

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("config.json", "no config.json"),
            ("tokenizer.json", "no tokenizer.json"),
            ("model.safetensors", "expected onnx/model.onnx, model.onnx or model.safetensors"),
        ],
    )
    def test_a_file_that_is_missing(self, name: str, words: str, model: Path) -> None:
        (model / name).unlink()
        with pytest.raises(ModelNotFoundError, match=words):
            OnnxEmbedder(model)

    @pytest.mark.parametrize(
        "name",
        ["config.json", "tokenizer.json", "model.safetensors", "modules.json", "2_Dense/model.safetensors"],
    )
    @pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[]", b"{}", b"[1]", b'"text"'])
    def test_a_file_that_is_no_such_file(self, name: str, content: bytes, model: Path) -> None:
        (model / name).write_bytes(content)
        with pytest.raises((ConfigurationError, ModelNotFoundError), match=r"model|tokenizer"):
            OnnxEmbedder(model)

    def test_a_tokenizer_whose_template_names_no_token(self, model: Path) -> None:
        """The tokenizers library panics at the first text, with what is no Exception."""
        tokenizer = json.loads((model / "tokenizer.json").read_text())
        tokenizer["post_processor"]["single"][0]["SpecialToken"]["id"] = "[NOWHERE]"
        (model / "tokenizer.json").write_text(json.dumps(tokenizer))
        with pytest.raises(ConfigurationError, match="no usable tokenizer"):
            OnnxEmbedder(model)

    @pytest.mark.parametrize(
        ("file", "change", "words"),
        [
            ("config.json", {"layer_norm_eps": "small"}, "layer_norm_eps must be a number from 0 to 1"),
            ("config.json", {"model_type": "gpt2"}, "of a model with model_type bert, .* not 'gpt2'"),
            ("config.json", {"hidden_act": "relu"}, "hidden_act gelu, not 'bert' and 'relu'"),
            ("config.json", {"position_embedding_type": "relative_key"}, "absolute position"),
            ("config.json", {"hidden_size": 32}, "expects 16 values"),
            ("config.json", {"hidden_size": "16"}, "hidden_size must be a positive integer"),
            ("config.json", {"num_attention_heads": 3}, "do not divide into 3 heads"),
            (
                "config.json",
                {"num_hidden_layers": 3},
                "encoder.layer.2.attention.self.query.weight is missing",
            ),
            ("config.json", {"intermediate_size": 64}, r"has shape \(32, 16\), expected \(64, 16\)"),
            ("1_Pooling/config.json", {"pooling_mode": "loudest"}, "pooling must be among"),
            ("1_Pooling/config.json", {"pooling_mode": []}, "pooling must be among"),
            (
                "2_Dense/config.json",
                {"in_features": 8},
                "Dense expects 8 values, the module before it gives 16",
            ),
            ("2_Dense/config.json", {"out_features": 9}, "linear.weight must be"),
            (
                "2_Dense/config.json",
                {"activation_function": "os.system"},
                "activation 'os.system' is not known",
            ),
            ("2_Dense/config.json", {"use_residual": True}, "use_residual is not supported"),
            ("config_sentence_transformers.json", {"prompts": {"query": 3}}, "prompts must be"),
        ],
    )
    def test_a_config_that_says_something_else(
        self, file: str, change: dict[str, object], words: str, model: Path
    ) -> None:
        path = model / file
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(ConfigurationError, match=words):
            OnnxEmbedder(model)

    def test_a_module_of_another_kind(self, model: Path) -> None:
        path = model / "modules.json"
        path.write_text(path.read_text().replace("models.Dense", "models.CNN"))
        with pytest.raises(ConfigurationError, match="module 'CNN' is not supported"):
            OnnxEmbedder(model)

    def test_a_module_outside_the_model(self, model: Path, tmp_path: Path) -> None:
        shutil.copytree(model / "2_Dense", tmp_path / "outside")
        path = model / "modules.json"
        path.write_text(path.read_text().replace("2_Dense", "../outside"))
        with pytest.raises(ConfigurationError, match="leaves the model"):
            OnnxEmbedder(model)

    def test_weights_that_are_no_numbers(self, model: Path) -> None:
        tensors = load_file(model / "model.safetensors")
        tensors["encoder.layer.0.output.dense.bias"][0] = np.nan
        save_file(tensors, model / "model.safetensors")
        with pytest.raises(EmbeddingError, match="no finite number"):
            OnnxEmbedder(model).embed_documents(["fox"])


class TestPackages:
    def test_a_package_that_is_missing_or_holds_no_model(self) -> None:
        for name in ("no_such_package_anywhere", "json", "not.a.name", "../etc"):
            with pytest.raises(ModelNotFoundError, match="not installed, or carries no model"):
                OnnxEmbedder.from_package(name)

    def test_the_packages_code_is_not_run(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_model(tmp_path / "site" / "tiny_model" / "model", RECIPES["mean"])
        (tmp_path / "site" / "tiny_model" / "__init__.py").write_text("raise SystemExit('imported')\n")
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        embedder = OnnxEmbedder.from_package("tiny_model")
        assert embedder.config() == {"kind": "onnx", "name": "tiny_model", "package": "tiny_model"}
        assert from_config(embedder.config()).digest == embedder.digest
