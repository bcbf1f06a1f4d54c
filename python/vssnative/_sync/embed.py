"""Embedding a batch of texts so that a bad one stands alone, and a dead provider is told from a bad text.

No database here: this runs in the worker's second thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..embedding.protocol import Embedder
from ..errors import EmbeddingError, MissingDependencyError, ModelNotFoundError, ProviderError

Vector = npt.NDArray[np.float32]

# The provider refuses whoever asks, whatever the text: no money, no permission, no such model.
_REFUSES_ALL = frozenset({401, 402, 403, 404, 405, 407})
_CANARY = "vssnative"


@dataclass(frozen=True)
class Outage:
    """The provider cannot be used for now, whatever the text.

    Attributes:
        permanent: asking again will not help until somebody changes something.
    """

    reason: str
    retry_after: float | None
    permanent: bool
    error: Exception


@dataclass
class Embedded:
    """What came of one model's texts. A text in neither mapping was not tried, because of the outage."""

    vectors: dict[str, Vector] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    outage: Outage | None = None
    calls: int = 0


class RateLimit:
    """At most so many texts per second, over all models of a worker; one second's worth may go at once."""

    def __init__(self, texts_per_second: float) -> None:
        self._rate = texts_per_second
        self._free_at = time.monotonic()

    def wait(self, texts: int, stop: threading.Event) -> None:
        """Wait for the turn of `texts` texts, or until `stop` is set."""
        now = time.monotonic()
        self._free_at = max(self._free_at, now - 1.0)
        delay = self._free_at - now
        self._free_at += texts / self._rate
        if delay > 0:
            stop.wait(delay)


def embed_texts(
    embedder: Embedder,
    texts: Mapping[str, str],
    alone: Sequence[str],
    rate_limit: RateLimit | None,
    stop: threading.Event,
) -> Embedded:
    """Embed texts, given by their hashes.

    A failing call is halved until the failing text stands alone. If then nothing at all has worked, a harmless text
    is tried: if that fails too it is the provider, not the text.

    Args:
        alone: hashes of texts that failed before; each gets a call of its own.
        stop: when set, what is left is not tried.
    """
    result = Embedded()
    apart = set(alone) & set(texts)
    together = [key for key in texts if key not in apart]
    # A stack of groups, next one last.
    groups = [[key] for key in sorted(apart, reverse=True)]
    if together:
        groups.append(together)
    while groups and not stop.is_set():
        group = groups.pop()
        if rate_limit is not None:
            rate_limit.wait(len(group), stop)
            if stop.is_set():
                break
        result.calls += 1
        try:
            matrix = _checked(embedder, embedder.embed_documents([texts[key] for key in group]), len(group))
        except Exception as error:  # noqa: BLE001 - whatever a model raises belongs to a text or its provider
            outage = _outage(error)
            if outage is None and len(group) == 1 and not result.vectors:
                outage = _canary_dies(embedder, result)
            if outage is not None:
                result.outage = outage
                break
            if len(group) == 1:
                result.failures[group[0]] = f"{type(error).__name__}: {error}"
            else:
                half = len(group) // 2
                groups += [group[half:], group[:half]]
            continue
        for key, vector in zip(group, matrix, strict=True):
            problem = _problem(vector, embedder.metric)
            if problem is None:
                result.vectors[key] = vector
            else:
                result.failures[key] = problem
    return result


def _checked(embedder: Embedder, matrix: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    if matrix.shape != (count, embedder.dim):
        raise EmbeddingError(
            f"model {embedder.name} answered an array of shape {matrix.shape} for {count} texts, expected"
            f" ({count}, {embedder.dim})"
        )
    return np.ascontiguousarray(matrix, dtype=np.float32)


def _problem(vector: Vector, metric: str) -> str | None:
    if not np.isfinite(vector).all():
        return "the model's vector holds NaN or infinity"
    if metric == "cosine" and not vector.any():
        return "the model's vector is all zeros, which has no cosine"
    return None


def _outage(error: Exception) -> Outage | None:
    """Whether an error is about the provider, not the texts."""
    if isinstance(error, ProviderError):
        if error.transient or error.status == 429:
            return Outage(str(error), error.retry_after, False, error)
        if error.status in _REFUSES_ALL:
            return Outage(str(error), error.retry_after, True, error)
    if isinstance(error, (ModelNotFoundError, MissingDependencyError)):
        return Outage(str(error), None, True, error)
    return None


def _canary_dies(embedder: Embedder, result: Embedded) -> Outage | None:
    result.calls += 1
    try:
        _checked(embedder, embedder.embed_documents([_CANARY]), 1)
    except Exception as error:  # noqa: BLE001 - as above
        return _outage(error) or Outage(f"{type(error).__name__}: {error}", None, False, error)
    return None
