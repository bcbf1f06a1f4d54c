"""Embedding a batch of texts so that a bad one stands alone, and a dead provider is told from a bad text.

No database here: this runs in the worker's second thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..embedding.limits import Limits, call_limits
from ..embedding.protocol import Embedder
from ..embedding.wire import without_texts
from ..errors import EmbeddingError, MissingDependencyError, ModelNotFoundError, ProviderError

Vector = npt.NDArray[np.float32]

# The provider refuses whoever asks, whatever the text: no money, no permission, no such model.
_REFUSES_ALL = frozenset({401, 402, 403, 404, 405, 407})
_CANARY = "vssnative"
_LONGEST_REASON = 500


@runtime_checkable
class _Partial(Protocol):
    """An embedder that can say for each text what came of it."""

    def try_embed(self, texts: Sequence[str]) -> Any: ...


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
    deadline: float | None = None,
    patience_ends: float | None = None,
) -> Embedded:
    """Embed texts, given by their hashes.

    What a failing call did embed is kept; the rest is halved until the failing text stands alone. Whether a failure is
    the texts' or the provider's is not told by a status code: a harmless text is tried, after each failure that may
    pass, and after any while nothing at all has worked. If that fails too it is the provider.

    Args:
        alone: hashes of texts that failed before; each gets a call of its own.
        stop: when set, what is left is not tried.
        deadline: the same from this moment on, by ``time.monotonic``.
        patience_ends: a call that has not worked by then is an outage, whatever else may be tried.
    """
    result = Embedded()
    limits = Limits(stop, deadline)
    ends = [moment for moment in (deadline, patience_ends) if moment is not None]
    apart = set(alone) & set(texts)
    together = [key for key in texts if key not in apart]
    # A stack of groups, next one last.
    groups = [[key] for key in sorted(apart, reverse=True)]
    if together:
        groups.append(together)
    # Failures are tried again by the queue, with pauses that all workers know of.
    with call_limits(stop=stop, deadline=min(ends, default=None), attempts=1):
        while groups and not limits.over:
            group = groups.pop()
            if rate_limit is not None:
                rate_limit.wait(len(group), stop)
                if limits.over:
                    break
            result.calls += 1
            failed = _call(embedder, group, texts, result)
            if not failed:
                continue
            error = next(iter(failed.values()))
            if limits.over and isinstance(error, ProviderError) and error.transient:
                break  # nobody waited for the answer
            outage = _outage(error)
            if _may_pass(error) and patience_ends is not None and time.monotonic() >= patience_ends:
                outage = outage or Outage(str(error), None, False, error)
            if outage is None and (_may_pass(error) or (len(failed) == 1 and not result.vectors)):
                outage = _canary_dies(embedder, result, error)
            if outage is not None:
                result.outage = outage
                break
            keys = list(failed)
            if len(keys) == 1:
                result.failures[keys[0]] = reason_of(error, [texts[keys[0]]])
            else:
                half = len(keys) // 2
                groups += [keys[half:], keys[:half]]
    return result


def reason_of(error: BaseException, texts: Sequence[str]) -> str:
    """What an error says, for dead letters and logs: its kind first, nothing of the texts, and not too much of it."""
    words = f"{type(error).__name__}: {error}"
    return without_texts(words[:_LONGEST_REASON], texts)


def _call(
    embedder: Embedder, group: Sequence[str], texts: Mapping[str, str], result: Embedded
) -> dict[str, Exception]:
    """One call of the model. Keeps good vectors and bad ones' reasons in `result`; returns what has to be tried again."""
    rows = [texts[key] for key in group]
    failed: dict[str, Exception] = {}
    try:
        if isinstance(embedder, _Partial):
            attempt = embedder.try_embed(rows)
            failed = {group[position]: error for position, error in sorted(attempt.failures.items())}
            matrix = attempt.vectors
            if len(failed) == len(group):
                return failed
        else:
            matrix = embedder.embed_documents(rows)
        matrix = _checked(embedder, matrix, len(group))
    except Exception as error:  # noqa: BLE001 - whatever a model raises belongs to a text or its provider
        return dict.fromkeys(group, error)
    problems = _problems(matrix, embedder.metric)
    if not failed and not problems:
        result.vectors.update(zip(group, matrix, strict=True))
        return failed
    for position, key in enumerate(group):
        if key in failed:
            continue
        if position in problems:
            result.failures[key] = problems[position]
        else:
            result.vectors[key] = matrix[position]
    return failed


def _checked(embedder: Embedder, given: object, count: int) -> npt.NDArray[np.float32]:
    try:
        matrix = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EmbeddingError(
            f"model {embedder.name} answered a {type(given).__name__} that is no array of ({count}, {embedder.dim})"
            f" numbers: {error}"
        ) from error
    if matrix.shape != (count, embedder.dim):
        raise EmbeddingError(
            f"model {embedder.name} answered an array of shape {matrix.shape} for {count} texts, expected"
            f" ({count}, {embedder.dim})"
        )
    return np.ascontiguousarray(matrix, dtype=np.float32)


def _problems(matrix: npt.NDArray[np.float32], metric: str) -> dict[int, str]:
    """Position to reason, of the vectors that no table takes."""
    finite = np.isfinite(matrix).all(axis=1)
    found = dict.fromkeys(np.flatnonzero(~finite).tolist(), "the model's vector holds NaN or infinity")
    if metric == "cosine":
        nothing = "the model's vector is all zeros, which has no cosine"
        found |= dict.fromkeys(np.flatnonzero(~matrix.any(axis=1)).tolist(), nothing)
    return found


def _outage(error: Exception) -> Outage | None:
    """Whether an error is about the provider, whatever the text: a limit, or a refusal of whoever asks."""
    if isinstance(error, ProviderError):
        if error.status == 429 or not error.asked:
            return Outage(str(error), error.retry_after, False, error)
        if error.status in _REFUSES_ALL:
            return Outage(str(error), error.retry_after, True, error)
    if isinstance(error, (ModelNotFoundError, MissingDependencyError)):
        return Outage(str(error), None, True, error)
    return None


def _may_pass(error: Exception) -> bool:
    return isinstance(error, ProviderError) and error.transient


def _canary_dies(embedder: Embedder, result: Embedded, first: Exception) -> Outage | None:
    """The outage that a harmless text meets too; it is told by the error that came first."""
    result.calls += 1
    try:
        _checked(embedder, embedder.embed_documents([_CANARY]), 1)
    except Exception as error:  # noqa: BLE001 - as above
        again = _outage(error)
        if again is not None and again.permanent:
            return again
        if isinstance(first, ProviderError):
            asked = [e.retry_after or 0.0 for e in (first, error) if isinstance(e, ProviderError) and e.asked]
            pause = max(asked, default=0.0) or None
            return Outage(str(first), pause, not first.transient, first)
        return again or Outage(reason_of(error, []), None, False, error)
    return None
