"""The small parts of the embedding layer: hashing, batches, threads, cache, registry."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vssnative.embedding import Embedder, HashEmbedder, Truncation, embed, from_config, get_embedder
from vssnative.embedding.batching import packed_batches, padded_batches
from vssnative.embedding.storage import atomic_file, cache_directory, cached_digest, file_digest
from vssnative.embedding.threads import cgroup_quota, default_threads
from vssnative.errors import ConfigurationError, EmbeddingError, ModelNotFoundError


class TestHash:
    def test_the_same_text_has_the_same_unit_vector(self) -> None:
        texts = ["a fox", "", "!?", "a fox", "Ein Fuchs"]
        vectors = HashEmbedder(32).embed_documents(texts)
        assert vectors.shape == (5, 32)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
        np.testing.assert_array_equal(vectors[0], vectors[3])
        np.testing.assert_array_equal(vectors, HashEmbedder(32).embed_queries(texts))

    def test_its_vectors_are_fixed_for_good(self) -> None:
        # Databases of tests elsewhere hold these vectors: they must not change between versions.
        vector = HashEmbedder(8).embed_documents(["The quick brown fox"])[0]
        np.testing.assert_allclose(vector, HASHED, atol=1e-6)
        assert HashEmbedder(8).digest == HASH_DIGEST

    def test_texts_that_share_words_are_nearer(self) -> None:
        a, b, c = HashEmbedder(256).embed_documents(["red fox runs", "a red fox sleeps", "tax law"])
        assert a @ b > a @ c + 0.2

    def test_one_dimension_works(self) -> None:
        vectors = HashEmbedder(1).embed_documents(["a b", "c", ""])
        np.testing.assert_array_equal(np.abs(vectors), 1)

    @pytest.mark.parametrize("dim", [0, -1, True, "8", 1.5])
    def test_a_dim_that_makes_no_sense(self, dim: object) -> None:
        with pytest.raises(ConfigurationError, match="dim must be"):
            HashEmbedder(dim)  # type: ignore[arg-type]

    def test_words_are_its_tokens(self) -> None:
        np.testing.assert_array_equal(HashEmbedder().count_tokens(["", "a b", "x-y z"]), [0, 2, 3])


HASHED = [0.0, -0.5773503, -0.5773503, 0.0, 0.2886751, -0.2886751, 0.2886751, 0.2886751]
HASH_DIGEST = "34a5427fc64541aa71a7f3ae60478cba5e5d36a8c321d5f2523729a3688543ea"


class TestTexts:
    @pytest.mark.parametrize("texts", ["one", b"one"])
    def test_one_string_is_no_sequence_of_strings(self, texts: object) -> None:
        with pytest.raises(EmbeddingError, match=r"write \[text\]"):
            HashEmbedder().embed_documents(texts)  # type: ignore[arg-type]

    @pytest.mark.parametrize("bad", [None, 3, b"bytes", ["nested"]])
    def test_a_text_that_is_no_string_is_named(self, bad: object) -> None:
        with pytest.raises(EmbeddingError, match=r"texts\[1\] must be a string"):
            HashEmbedder().embed_documents(["fine", bad])  # type: ignore[list-item]

    def test_a_lone_surrogate_is_named(self) -> None:
        with pytest.raises(
            EmbeddingError, match=r"texts\[1\] is no valid Unicode text: lone surrogate at character 2"
        ):
            HashEmbedder().embed_documents(["fine", "ab\ud800"])

    def test_any_sequence_will_do(self) -> None:
        vectors = HashEmbedder().embed_documents(("a", "b"))
        np.testing.assert_array_equal(HashEmbedder().embed_documents(np.array(["a", "b"])), vectors)


class TestRegistry:
    def test_hash_by_name(self) -> None:
        assert get_embedder("hash").dim == 64
        assert get_embedder("hash:7").dim == 7
        assert get_embedder("hash", dim=5).dim == 5
        assert isinstance(get_embedder("hash"), Embedder)

    def test_an_embedder_is_returned_as_it_is(self) -> None:
        embedder = HashEmbedder(3)
        assert get_embedder(embedder) is embedder
        with pytest.raises(ConfigurationError, match="exists already"):
            get_embedder(embedder, dim=4)

    def test_a_config_gives_an_equal_embedder(self) -> None:
        embedder = get_embedder("hash:9")
        again = from_config(json.loads(json.dumps(embedder.config())))
        assert (again.name, again.dim, again.metric, again.digest) == (
            embedder.name,
            embedder.dim,
            embedder.metric,
            embedder.digest,
        )

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            (
                "nonsense",
                "unknown embedder 'nonsense'; known are cohere, gemini, hash, hf, llm, local, minilm, mistral, onnx, openai, static, voyage",
            ),
            (
                "BAAI/bge-small-en-v1.5",
                r"'BAAI/bge-small-en-v1\.5', did you mean 'hf:BAAI/bge-small-en-v1\.5'\?; known",
            ),
            ("sentence-transformers/all-MiniLM-L6-v2", r"did you mean 'minilm'\?"),
            ("all-MiniLM-L6-v2", r"did you mean 'minilm'\?"),
            ("text-embedding-3-small", r"did you mean 'openai:text-embedding-3-small'\?"),
            ("./models/a/b", r"unknown embedder './models/a/b'; known"),
            (str(Path(__file__).parent), rf"did you mean 'onnx:{re.escape(str(Path(__file__).parent))}'\?"),
            ("hash:many", "expected hash:DIM with a number"),
            ("hash:0", "at least 1"),
            ("onnx:", "expected onnx:/path"),
            ("minilm:large", "takes no argument"),
            ("openai:", "expected the name of a model"),
        ],
    )
    def test_names_that_say_nothing(self, name: str, words: str) -> None:
        with pytest.raises(ConfigurationError, match=words):
            get_embedder(name)

    def test_unknown_options_are_told(self) -> None:
        with pytest.raises(ConfigurationError, match="colour"):
            get_embedder("hash", colour="red")

    @pytest.mark.parametrize("model", [None, 3, object()])
    def test_what_is_no_embedder(self, model: object) -> None:
        with pytest.raises(ConfigurationError, match="model must be a name, a function"):
            get_embedder(model)  # type: ignore[arg-type]

    @pytest.mark.parametrize("config", [{}, {"kind": 3}, {"kind": "nonsense"}, {"kind": "onnx"}])
    def test_configs_that_say_nothing(self, config: dict[str, object]) -> None:
        with pytest.raises(ConfigurationError):
            from_config(config)

    def test_a_missing_directory_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFoundError, match="no model directory at .*/nowhere"):
            get_embedder(f"onnx:{tmp_path}/nowhere")

    def test_an_entry_point_is_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package = tmp_path / "site"
        info = package / "their_models-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-models\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[vssnative.embedders]\ntheirs = their_models:Theirs\n")
        (package / "their_models.py").write_text(
            "from vssnative.embedding import HashEmbedder\n"
            "class Theirs(HashEmbedder):\n"
            "    def __init__(self, argument='4'):\n"
            "        super().__init__(int(argument))\n"
            "    def config(self):\n"
            "        return {'kind': 'theirs', 'size': self.dim}\n"
            "    @classmethod\n"
            "    def from_config(cls, config):\n"
            "        return cls(str(config['size']))\n"
        )
        monkeypatch.syspath_prepend(str(package))
        assert get_embedder("theirs").dim == 4
        embedder = get_embedder("theirs:6")
        assert embedder.dim == 6
        assert from_config(embedder.config()).dim == 6

    def test_embed_uses_a_named_model_or_an_embedder(self) -> None:
        np.testing.assert_array_equal(embed(["a"], model="hash:6"), embed(["a"], model=HashEmbedder(6)))
        assert embed([], model="hash:6").shape == (0, 6)


class TestBatches:
    @given(
        st.lists(st.integers(1, 300), max_size=200),
        st.integers(1, 2000),
        st.integers(1, 5),
    )
    def test_every_text_is_in_one_batch_within_the_budget(
        self, sizes: list[int], budget: int, parts: int
    ) -> None:
        lengths = np.array(sizes, dtype=np.int64)
        batches = list(padded_batches(lengths, budget, parts))
        assert sorted(int(row) for batch in batches for row in batch) == list(range(len(sizes)))
        for batch in batches:
            assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
        assert len(batches) >= min(parts, len(sizes))

    @given(
        st.lists(st.integers(0, 300), max_size=60),
        st.integers(1, 500),
        st.integers(1, 4),
    )
    def test_every_text_is_in_one_batch_about_as_large_as_the_others(
        self, sizes: list[int], budget: int, parts: int
    ) -> None:
        lengths = np.array(sizes, dtype=np.int64)
        batches = list(packed_batches(lengths, budget, parts))
        assert sorted(int(row) for batch in batches for row in batch) == list(range(len(sizes)))
        for batch in batches:
            assert 0 < len(batch)
            assert lengths[batch].sum() <= max(budget, lengths.mean()) + lengths[batch].max()

    def test_threads_have_as_many_batches_each(self) -> None:
        lengths = np.full(100, 10, dtype=np.int64)
        sums = [int(lengths[batch].sum()) for batch in packed_batches(lengths, 350, 4)]
        assert sums == [250] * 4

    def test_the_last_batch_of_each_thread_is_cut_so_that_they_end_together(self) -> None:
        lengths = np.full(160, 10, dtype=np.int64)
        sums = [int(lengths[batch].sum()) for batch in packed_batches(lengths, 400, 2)]
        assert sums == [400] * 2 + [100] * 8

    def test_texts_of_like_length_are_together(self) -> None:
        batches = list(padded_batches(np.array([5, 100, 6, 90], dtype=np.int64), 200))
        assert [sorted(batch.tolist()) for batch in batches] == [[1, 3], [0, 2]]


class TestThreads:
    def test_the_environment_decides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VSSNATIVE_THREADS", "3")
        assert default_threads() == 3

    @pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²"])
    def test_a_number_that_is_none(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VSSNATIVE_THREADS", value)
        with pytest.raises(ConfigurationError, match="VSSNATIVE_THREADS must be a positive integer"):
            default_threads()

    def test_affinity_is_honoured(self) -> None:
        code = (
            "import os; os.environ.pop('VSSNATIVE_THREADS', None);"
            "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
            "from vssnative.embedding.threads import default_threads; print(default_threads())"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert result.stdout == "1\n"

    @pytest.mark.parametrize(
        ("files", "expected"),
        [
            ({"cpu.max": "150000 100000\n"}, 2),
            ({"cpu.max": "50000 100000\n"}, 1),
            ({"cpu.max": "max 100000\n"}, None),
            ({"cpu.max": "rubbish"}, None),
            ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
            ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
            ({}, None),
        ],
    )
    def test_a_control_group_limits(
        self, files: dict[str, str], expected: int | None, tmp_path: Path
    ) -> None:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert cgroup_quota(tmp_path) == expected


class TestCache:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("VSSNATIVE_CACHE", str(tmp_path / "cache"))
        return tmp_path / "cache"

    def test_the_environment_names_it(self, cache: Path) -> None:
        assert cache_directory("a", "b") == cache / "a" / "b"
        assert (cache / "a" / "b").is_dir()

    def test_a_place_that_cannot_be_one_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("VSSNATIVE_CACHE", str(tmp_path / "file" / "cache"))
        with pytest.raises(ConfigurationError, match="cannot make the cache directory .*set VSSNATIVE_CACHE"):
            cache_directory("graphs")

    def test_a_file_appears_whole_or_not_at_all(self, tmp_path: Path) -> None:
        target = tmp_path / "file"
        with atomic_file(target) as file:
            file.write(b"old")
        with pytest.raises(KeyboardInterrupt), atomic_file(target) as file:
            file.write(b"half of the n")
            raise KeyboardInterrupt
        assert target.read_bytes() == b"old"
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_a_digest_is_remembered_until_the_file_changes(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"one")
        first = cached_digest(path)
        assert first == file_digest(path) == cached_digest(path)
        path.write_bytes(b"other")
        assert cached_digest(path) == file_digest(path) != first

    def test_a_damaged_record_is_not_believed(self, cache: Path, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"one")
        digest = cached_digest(path)
        (record,) = (cache / "digests").iterdir()
        record.write_bytes(b"\xff" * 10)
        assert cached_digest(path) == digest


def test_truncations_add_up() -> None:
    assert Truncation(1, 10) + Truncation(2, 5) == Truncation(3, 15)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, vssnative, vssnative.embedding;"
        "heavy = {'onnxruntime', 'tokenizers', 'onnx', 'safetensors', 'httpx', 'tenacity', 'huggingface_hub', 'rich'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_a_very_long_text_is_cut_before_it_is_tokenized(tmp_path: Path) -> None:
    from vssnative.embedding.tokenization import TextTokenizer

    from ..fixtures.embedding.tiny_models import tiny_tokenizer

    tiny_tokenizer().save(str(tmp_path / "tokenizer.json"))
    tokenizer = TextTokenizer(tmp_path, 32)
    for text in ("some words and others " * 40_000, "x" * 500_000, " " * 300_000 + "some words " * 100):
        expected = tokenizer._tokenizer.encode(text)
        lost = sum(len(rest.ids) - tokenizer.special_tokens for rest in expected.overflowing)
        tokens = tokenizer.encode(["short", text])
        assert tokens.ids[1] == expected.ids
        assert tokens.truncation.tokens == pytest.approx(lost, rel=0.02)


def test_a_child_forked_while_a_thread_loads_a_model_can_load_one() -> None:
    code = """if True:
        import os, threading, time
        from vssnative._catalog import models
        from vssnative._connection import statements
        from vssnative.embedding import own, simple

        held = [simple._lock, models._built_lock, own._given_lock]
        ready, done = threading.Event(), threading.Event()

        def hold():
            with held[0], held[1], held[2]:
                ready.set()
                done.wait(20)

        threading.Thread(target=hold).start()
        ready.wait()
        child = os.fork()
        if child == 0:
            threading.Timer(10, lambda: os._exit(3)).start()
            vectors = simple.embed(["a"], "hash:8")
            own.own_embedder(lambda texts: vectors)
            os._exit(0 if vectors.shape == (1, 8) else 2)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        done.set()
        print(code)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "0\n", done.stderr
