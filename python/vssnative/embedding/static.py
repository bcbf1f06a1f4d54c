"""Static embeddings: a text's vector is the mean of its tokens' rows of a matrix. No transformer, thousands of texts in a
blink; less exact than one.

Two libraries write such models, and read them a little differently: Model2Vec (M. van Dongen and S. Tulkens, "Model2Vec:
Fast State-of-the-Art Static Embeddings", 2024) leaves unknown tokens out and cuts long texts, sentence-transformers'
``StaticEmbedding`` does neither. Both formats may have a row for several tokens (``mapping``) and a weight for each token.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from .._extras import need
from ..errors import ConfigurationError, EmbeddingError, ModelNotFoundError
from ._texts import checked_texts
from .layout import read_json, read_modules
from .protocol import Float32Matrix, Int64Vector, Truncation
from .storage import cached_digest
from .tensors import load_tensors

_MAX_TOKENS = 512  # Model2Vec's own, where a model's files say nothing
_WINDOW = 8192


class StaticEmbedder:
    """A static model of a directory. Safe to call from several threads.

    Args:
        directory: ``tokenizer.json`` and ``model.safetensors``: ``embeddings`` of Model2Vec, beside them ``config.json``;
            or what ``modules.json`` names, whose first module is a ``StaticEmbedding``.
        modules: read it as ``modules.json`` says even where it is Model2Vec's.
        name: for people; the directory's name by default.
        dim: keep only the first ``dim`` values.
        digest: refuse the model unless its digest is this one.

    Raises:
        ModelNotFoundError: if a file of the model is missing.
        ConfigurationError: if a file makes no sense.
        MissingDependencyError: if tokenizers or safetensors is not installed.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        modules: bool = False,
        name: str | None = None,
        dim: int | None = None,
        digest: str | None = None,
        source: dict[str, Any] | None = None,
    ) -> None:
        root = Path(directory)
        if not root.is_dir():
            raise ModelNotFoundError(f"no model directory at {root}")
        self._name = name or root.resolve().name
        self._source: dict[str, Any] = dict(source) if source is not None else {"path": str(root.resolve())}
        if modules:
            self._source["modules"] = True
        tensors = None if modules else _tensors(root)
        if tensors is not None and "embeddings" in tensors:
            config = read_json(root / "config.json")
            self._normalize = bool(config.get("normalize", False))
            stated = config.get("max_length", _MAX_TOKENS)
            self._max_tokens = stated if isinstance(stated, int) else None
            self._tokens = _Tokens(root, self._max_tokens, leave_out_unknown=True)
        else:
            root, self._normalize = _static_module(root)
            tensors = _tensors(root)
            self._max_tokens = None
            self._tokens = _Tokens(root, None, leave_out_unknown=False)
        if tensors is None:
            raise ModelNotFoundError(f"{root}: expected model.safetensors")
        self._table = _table(root, tensors, self._tokens.vocabulary)
        if dim is not None and not 1 <= dim <= self._table.shape[1]:
            raise ConfigurationError(f"dim must be from 1 to the model's {self._table.shape[1]}, not {dim}")
        self._dim = dim
        facts = {
            "kind": "static",
            "weights": cached_digest(root / "model.safetensors"),
            "tokenizer": cached_digest(root / "tokenizer.json"),
            "normalize": self._normalize,
            "max_tokens": self._max_tokens,
            "leave_out_unknown": self._tokens.unknown is not None,
            "dim": self.dim,
        }
        self._digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        if digest is not None and digest != self._digest:
            raise ConfigurationError(
                f"model {self._name}: expected digest {digest}, its files give {self._digest}"
            )

    @property
    def name(self) -> str:
        return self._name

    @property
    def dim(self) -> int:
        return int(self._table.shape[1]) if self._dim is None else self._dim

    @property
    def metric(self) -> str:
        return "cosine"

    @property
    def max_tokens(self) -> int | None:
        return self._max_tokens

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def tokenizer(self) -> _Tokens:
        """The model's tokenizer, for splitting long texts."""
        return self._tokens

    def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed texts: float32 ``(n, dim)``, C-contiguous. A text without a known token has zeros alone."""
        vectors: Float32Matrix = self.encode(texts).vectors
        return vectors

    def embed_queries(self, texts: Sequence[str]) -> Float32Matrix:
        """As ``embed_documents``: these models know no prompts."""
        return self.embed_documents(texts)

    def encode(self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> Any:
        """Embed texts and report what was cut: an ``Encoding``.

        Raises:
            EmbeddingError: if a text is no string, or the tokenizer and the matrix do not fit.
        """
        from .onnx_model import Encoding

        rows = checked_texts(texts)
        out = np.empty((len(rows), self.dim), dtype=np.float32)
        cut = lost = 0
        for start in range(0, len(rows), _WINDOW):
            ids, beyond = self._tokens.encode(rows[start : start + _WINDOW])
            lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
            flat = np.fromiter(itertools.chain.from_iterable(ids), dtype=np.int32, count=int(lengths.sum()))
            try:
                _core.mean_of_rows(self._table, flat, lengths, self._normalize, out[start : start + _WINDOW])
            except IndexError as error:
                raise EmbeddingError(
                    f"model {self._name}: tokenizer and matrix do not fit: {error}"
                ) from None
            cut += sum(count > 0 for count in beyond)
            lost += sum(beyond)
            if progress is not None:
                progress(min(start + _WINDOW, len(rows)), len(rows))
        return Encoding(out, Truncation(cut, lost))

    def count_tokens(self, texts: Sequence[str]) -> Int64Vector:
        """Tokens of each text before truncation: int64 ``(n,)``."""
        return self._tokens.count(checked_texts(texts))

    def config(self) -> dict[str, Any]:
        extra = {} if self._dim is None else {"dim": self._dim}
        return {"kind": "static", "name": self._name, **self._source, **extra}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> StaticEmbedder:
        """An equal embedder from what ``config()`` returned."""
        options = {key: config[key] for key in ("name", "dim", "modules") if key in config}
        if "repository" in config:
            return static_of_hub(config["repository"], revision=config.get("revision"), **options)
        if "path" not in config:
            raise ConfigurationError(f"embedder config {config!r}: expected a path or a repository")
        return cls(config["path"], **options)


def static_of_hub(repository: str, *, revision: str | None = None, **options: Any) -> StaticEmbedder:
    """A static model of the hub; ``config()`` records its commit.

    Raises:
        ModelNotFoundError: if it cannot be found or downloaded.
    """
    from .hub import fetch

    directory = fetch(repository, revision=revision, weights="safetensors")
    source = {"repository": repository, "revision": directory.name}
    return StaticEmbedder(directory, source=source, **{"name": repository, **options})


def is_static(directory: Path) -> bool:
    """Whether ``modules.json`` names a StaticEmbedding first."""
    path = directory / "modules.json"
    return path.is_file() and [kind for kind, _ in read_modules(path)][:1] == ["StaticEmbedding"]


def _static_module(root: Path) -> tuple[Path, bool]:
    """Where the first module of ``modules.json`` is, and whether vectors are normalized."""
    path = root / "modules.json"
    if not path.is_file():
        raise ModelNotFoundError(f"{root}: expected embeddings in model.safetensors, or modules.json")
    modules = read_modules(path)
    kinds = [kind for kind, _ in modules]
    if kinds not in (["StaticEmbedding"], ["StaticEmbedding", "Normalize"]):
        raise ConfigurationError(
            f"{path}: expected StaticEmbedding, and Normalize or nothing behind, got {kinds}"
        )
    return modules[0][1], len(modules) == 2


def _tensors(directory: Path) -> dict[str, npt.NDArray[Any]] | None:
    path = directory / "model.safetensors"
    return load_tensors(path) if path.is_file() else None


def _table(directory: Path, tensors: dict[str, npt.NDArray[Any]], vocabulary: int) -> Float32Matrix:
    """The row of each token: ``embeddings[mapping[token]] * weights[token]``."""
    path = directory / "model.safetensors"
    matrix = tensors.get("embedding.weight", tensors.get("embeddings"))
    if matrix is None or matrix.ndim != 2 or 0 in matrix.shape:
        raise ConfigurationError(
            f"{path}: expected a matrix embedding.weight or embeddings, got {sorted(tensors)}"
        )
    table: Float32Matrix = matrix.astype(np.float32)
    if (mapping := tensors.get("mapping")) is not None:
        if mapping.ndim != 1 or mapping.size == 0 or mapping.min() < 0 or mapping.max() >= len(table):
            raise ConfigurationError(f"{path}: mapping must name rows from 0 to {len(table) - 1}")
        table = table[mapping]
    if (weights := tensors.get("weights")) is not None:
        if weights.shape != (len(table),):
            raise ConfigurationError(
                f"{path}: weights must have {len(table)} values, not shape {weights.shape}"
            )
        table = table * weights.astype(np.float32)[:, None]
    if len(table) < vocabulary:
        raise ConfigurationError(f"{path}: {len(table)} rows for the tokenizer's {vocabulary} tokens")
    if not np.isfinite(table).all():
        raise ConfigurationError(f"{path}: a value is no finite number")
    return np.ascontiguousarray(table, dtype=np.float32)


class _Tokens:
    """The tokenizer of a static model: no special tokens."""

    def __init__(self, directory: Path, max_tokens: int | None, leave_out_unknown: bool) -> None:
        need("tokenizers", "local", "embeddings on this machine")
        from tokenizers import Tokenizer

        path = directory / "tokenizer.json"
        if not path.is_file():
            raise ModelNotFoundError(f"no tokenizer.json in {directory}")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # noqa: BLE001 - the library raises bare Exception
            raise ConfigurationError(f"{path}: no usable tokenizer: {error}") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if max_tokens is not None:
            self._tokenizer.enable_truncation(max_tokens)
        words = self._tokenizer.get_vocab()
        self.vocabulary = max(words.values(), default=-1) + 1
        model = json.loads(self._tokenizer.to_str())["model"]
        unknown = model.get("unk_token")
        number = self._tokenizer.token_to_id(unknown) if unknown is not None else model.get("unk_id")
        self.unknown: int | None = number if leave_out_unknown else None
        # As Model2Vec does, which so bounds the time that a long text takes.
        self._characters = (
            None if max_tokens is None else max_tokens * int(np.median([len(word) for word in words]))
        )

    def encode(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Ids of each text, and how many were cut off each."""
        encodings = self._tokenizer.encode_batch_fast(
            [text[: self._characters] for text in texts], add_special_tokens=False
        )
        ids = [encoding.ids for encoding in encodings]
        beyond = [sum(len(rest.ids) for rest in encoding.overflowing) for encoding in encodings]
        if self.unknown is not None:
            ids = [
                [token for token in row if token != self.unknown] if self.unknown in row else row
                for row in ids
            ]
        return ids, beyond

    def count(self, texts: Sequence[str]) -> Int64Vector:
        """Tokens of each text before truncation: int64 ``(n,)``."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return np.array(
            [len(e.ids) + sum(len(rest.ids) for rest in e.overflowing) for e in encodings], dtype=np.int64
        )

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        """int64 ``(tokens, 2)``: start and end of each token, in characters."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        spans = [*encoding.offsets, *(span for rest in encoding.overflowing for span in rest.offsets)]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    @property
    def special_tokens(self) -> int:
        """Tokens that are added to every text."""
        return 0
