"""One call from texts to vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from .._extras import need
from ..errors import ConfigurationError
from ._locks import ForkSafeLock
from .precision import default_precision
from .protocol import Embedder, Float32Matrix
from .registry import get_embedder

_models: dict[tuple[str, str], Embedder] = {}
_lock = ForkSafeLock()


def shared_embedder(model: Any) -> Embedder:
    """The embedder of that name, made once per process and precision."""
    if not isinstance(model, str):
        return get_embedder(model)
    key = (model, default_precision())
    with _lock:
        if key not in _models:
            _models[key] = get_embedder(model)
        return _models[key]


def embed(
    texts: Sequence[str] | Any,
    model: Any = "minilm",
    progress: bool | Callable[[int, int], None] = False,
    *,
    kind: Literal["document", "query"] = "document",
) -> Float32Matrix:
    """Embed texts, as stored documents or as queries.

    Args:
        texts: strings, any number: a list, a pandas or polars Series, an Arrow array, a numpy array.
        model: whatever ``get_embedder`` takes: a name, a function, a model. A named model is loaded once per process.
        progress: True shows a progress bar on standard error; a function is called with the numbers of texts done and
            of all.
        kind: ``"query"`` for what is searched for: many models have a prompt for it.

    Returns:
        float32 ``(len(texts), dim)``, C-contiguous, ready for ``Index.add``. Ctrl-C stops between two batches.

    Raises:
        EmbeddingError: if a text is no string, or the model fails.
        ModelNotFoundError: if the model is not on this machine.
    """
    if kind not in ("document", "query"):
        raise ConfigurationError(f"kind must be 'document' or 'query', not {kind!r}")
    embedder = shared_embedder(model)
    if kind == "query":
        return embedder.embed_queries(texts)
    if progress is False or not hasattr(embedder, "encode"):
        return embedder.embed_documents(texts)
    if callable(progress):
        vectors: Float32Matrix = embedder.encode(texts, progress=progress).vectors
        return vectors
    return _with_bar(embedder, texts)


def _with_bar(embedder: Embedder, texts: Sequence[str]) -> Float32Matrix:
    need("rich.progress", "cli", "progress bars")
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("embedding", total=len(texts))
        encode = getattr(embedder, "encode")  # noqa: B009
        vectors: Float32Matrix = encode(
            texts, progress=lambda done, _: bar.update(task, completed=done)
        ).vectors
    return vectors
