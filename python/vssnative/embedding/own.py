"""Models of the user's own: a function, or an object of another library, as an embedder.

What an import path leads to, ``"package.module:name"``, is recorded by it, so that a worker process finds it again. The
vectors are those of the name: nobody can see into the object, so a model that changes needs another name.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ConfigurationError, EmbeddingError, ModelNotFoundError
from ._locks import ForkSafeLock
from ._texts import checked_texts
from .protocol import Embedder, Float32Matrix, Int64Vector

_KIND = "python"
_BYTES_PER_TOKEN = 4
# Given in this process, and by no import path: digest to embedder.
_given: dict[str, Embedder] = {}
_given_lock = ForkSafeLock()

Call = Callable[[list[str]], Any]


class OwnEmbedder:
    """An embedder around what the user has.

    Args:
        documents, queries: functions from a list of texts to as many vectors.
        name: for people.
        path: ``"module:attribute"`` from which the object can be imported again, or None.
        keep: remember one without a path for this process.
    """

    def __init__(
        self, documents: Call, queries: Call, name: str, path: str | None, *, keep: bool = True
    ) -> None:
        self._calls = {"document": documents, "query": queries}
        self._name = name
        self._path = path
        self._dim = int(self._call("document", ["dimension"], None).shape[1])
        facts = json.dumps([_KIND, path or f"given:{name}", self._dim])
        self._digest = hashlib.sha256(facts.encode()).hexdigest()
        if path is None and keep:
            with _given_lock:
                _given[self._digest] = self

    @property
    def name(self) -> str:
        return self._name

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def metric(self) -> str:
        return "cosine"

    @property
    def max_tokens(self) -> int | None:
        return None

    @property
    def digest(self) -> str:
        return self._digest

    def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
        """float32 ``(n, dim)``, C-contiguous.

        Raises:
            EmbeddingError: a text is no string, or the answer is no such array.
        """
        return self._all("document", texts)

    def embed_queries(self, texts: Sequence[str]) -> Float32Matrix:
        """float32 ``(n, dim)``, C-contiguous."""
        return self._all("query", texts)

    def count_tokens(self, texts: Sequence[str]) -> Int64Vector:
        """An estimate from the length in bytes: int64 ``(n,)``."""
        return np.array(
            [1 + len(text.encode()) // _BYTES_PER_TOKEN for text in checked_texts(texts)], dtype=np.int64
        )

    def config(self) -> dict[str, Any]:
        return {"kind": _KIND, "path": self._path, "name": self._name, "digest": self._digest}

    def _all(self, kind: str, texts: Sequence[str]) -> Float32Matrix:
        rows = checked_texts(texts)
        if not rows:
            return np.empty((0, self._dim), dtype=np.float32)
        return self._call(kind, rows, self._dim)

    def _call(self, kind: str, rows: list[str], dim: int | None) -> Float32Matrix:
        answer = self._calls[kind](rows)
        if inspect.isgenerator(answer):
            answer = list(answer)
        expected = f"({len(rows)}, {'dim' if dim is None else dim})"
        try:
            matrix = np.ascontiguousarray(answer, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise EmbeddingError(
                f"model {self._name}: expected an array of shape {expected} for {len(rows)} texts, got a"
                f" {type(answer).__name__}: {error}"
            ) from error
        if matrix.ndim != 2 or len(matrix) != len(rows) or matrix.shape[1] != (dim or matrix.shape[1]):
            raise EmbeddingError(
                f"model {self._name}: expected an array of shape {expected} for {len(rows)} texts, got one of shape"
                f" {matrix.shape}"
            )
        return matrix


def own_embedder(model: Any, path: str | None = None) -> Embedder:
    """An embedder for a function from texts to vectors, or for a model of sentence-transformers, fastembed, LangChain,
    or llm.

    Args:
        path: the import path that led to it, where one did; else it is looked for.

    Raises:
        ConfigurationError: it is nothing of these.
        EmbeddingError: it gives no vectors.
    """
    if isinstance(model, Embedder) and not isinstance(model, type):
        return model
    from .of_llm import LlmEmbedder, is_of_llm

    if path is None and is_of_llm(model):
        return LlmEmbedder(model)
    found = _calls_of(model)
    if found is None:
        raise ConfigurationError(
            "model must be a name, a function from a list of texts to their vectors, an embedder, or a model of"
            f" sentence-transformers, fastembed, LangChain or llm, not {type(model).__name__}"
        )
    documents, queries, name = found
    path = path or _path_of(model)
    return OwnEmbedder(documents, queries, path or name, path)


def from_path(path: str) -> Embedder:
    """The embedder that ``"module:attribute"`` leads to.

    Raises:
        ModelNotFoundError: it leads to nothing.
        ConfigurationError: what is there is no model.
    """
    module, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ModelNotFoundError(f"model {path!r}: {error}") from error
    return own_embedder(found, path)


def from_own_config(config: dict[str, Any]) -> Embedder:
    """The embedder that ``OwnEmbedder.config()`` described."""
    path = config.get("path")
    if isinstance(path, str):
        return from_path(path)
    with _given_lock:
        known = _given.get(str(config.get("digest")))
    if known is None:
        raise ModelNotFoundError(
            f"model {config.get('name')!r} was given as an object, and no import path leads to it: hand it over"
            " (embedder=... of the functions of Python), or keep it in a module and name it 'module:attribute'"
        )
    return known


def _calls_of(model: Any) -> tuple[Call, Call, str] | None:
    """How to call it, for documents and for queries, and what it is called."""
    if isinstance(model, type):
        return None
    name = str(
        getattr(model, "model_name", None)
        or getattr(model, "model_id", None)
        or getattr(model, "__qualname__", None)
        or type(model).__name__
    )
    if callable(getattr(model, "embed_documents", None)) and callable(getattr(model, "embed_query", None)):
        return model.embed_documents, lambda texts: [model.embed_query(t) for t in texts], name  # LangChain
    if callable(getattr(model, "encode", None)) and hasattr(model, "get_sentence_embedding_dimension"):
        queries = getattr(model, "encode_query", model.encode)
        return getattr(model, "encode_document", model.encode), queries, name  # sentence-transformers
    if callable(getattr(model, "query_embed", None)) and callable(getattr(model, "embed", None)):
        return (
            lambda texts: list(model.embed(texts)),
            lambda texts: list(model.query_embed(texts)),
            name,
        )  # fastembed
    if callable(getattr(model, "embed_multi", None)):
        return (
            lambda texts: list(model.embed_multi(texts)),
            lambda texts: list(model.embed_multi(texts)),
            name,
        )  # llm
    if not callable(model):
        return None
    if _takes_kind(model):
        return lambda texts: model(texts, kind="document"), lambda texts: model(texts, kind="query"), name
    return model, model, name


def _takes_kind(function: Any) -> bool:
    try:
        parameter = inspect.signature(function).parameters.get("kind")
    except (TypeError, ValueError):
        return False
    return parameter is not None and parameter.kind in (
        parameter.KEYWORD_ONLY,
        parameter.POSITIONAL_OR_KEYWORD,
    )


def _path_of(model: Any) -> str | None:
    """The import path that leads to the very object, or None."""
    module, name = getattr(model, "__module__", None), getattr(model, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return None
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return f"{module}:{name}" if found is model else None
