"""One call of a hosted model: its batches, side by side, and what became of each text."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from ..errors import ProviderError
from .daemons import DaemonPool
from .limits import Limits
from .protocol import Float32Matrix

# A token is rarely shorter than this many bytes of UTF-8 text: estimates err on the side of too many tokens.
_BYTES_PER_TOKEN = 3
# Statuses by which a server says that it did not like these texts, not that it is unwell.
_REFUSALS = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class Usage:
    """What all calls of an embedder have used so far.

    Attributes:
        requests: requests sent, failed ones included.
        retries: requests among them that repeated a failed one.
        texts: texts embedded.
        tokens: tokens that the server counted; estimated where it did not say.
        cost: ``tokens`` at the price given, None without a price.
    """

    requests: int = 0
    retries: int = 0
    texts: int = 0
    tokens: int = 0
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """Outcome of ``try_embed``.

    Attributes:
        vectors: float32 ``(n, dim)``; rows of texts that failed are zero.
        failures: position of each text that has no vector, with the reason.
    """

    vectors: Float32Matrix
    failures: dict[int, ProviderError]


class Run:
    """Embeds the batches of one call and sorts out what became of each text."""

    def __init__(
        self,
        embed: Callable[[list[str], threading.Event, Limits], Float32Matrix],
        rows: list[str],
        found: dict[int, Float32Matrix],
        failures: dict[int, ProviderError],
        limits: Limits,
    ) -> None:
        self._embed = embed
        self._limits = limits
        self._rows = rows
        self._found = found
        self._failures = failures
        self._stopped: ProviderError | None = None
        self._interrupted = threading.Event()

    def parallel(self, batches: list[range], threads: int) -> None:
        pool = DaemonPool(threads, "vssnative-hosted", wait_at_exit=False)
        pending: list[Future[None]] = []
        try:
            pending = [pool.submit(partial(self.batch, batch)) for batch in batches]
            for future in pending:
                future.result()
        except BaseException:
            self._interrupted.set()
            self._stopped = ProviderError("interrupted", transient=True)
            raise
        finally:
            for future in pending:
                future.cancel()
            pool.close(wait=False)

    def batch(self, batch: range) -> None:
        if self._stopped is not None:
            self._report(batch, self._stopped)
            return
        try:
            vectors = self._embed(
                [self._rows[position] for position in batch], self._interrupted, self._limits
            )
        except ProviderError as error:
            if error.status in _REFUSALS and len(batch) > 1:
                middle = batch.start + len(batch) // 2
                self.batch(range(batch.start, middle))
                self.batch(range(middle, batch.stop))
                return
            if error.status not in _REFUSALS:
                self._stopped = error
            self._report(batch, error)
            return
        self._found[batch.start] = vectors

    def _report(self, batch: range, error: ProviderError) -> None:
        self._failures.update(dict.fromkeys(batch, error))


def batches_of(rows: list[str], most_texts: int, most_tokens: int) -> list[range]:
    """Positions of the texts of each request: at most so many texts and, estimated, tokens; one text at least."""
    batches = []
    start = tokens = 0
    for position, text in enumerate(rows):
        size = estimated_tokens(text)
        if position > start and (position - start >= most_texts or tokens + size > most_tokens):
            batches.append(range(start, position))
            start, tokens = position, 0
        tokens += size
    if rows:
        batches.append(range(start, len(rows)))
    return batches


def estimated_tokens(text: str) -> int:
    """Tokens of a text by its length in bytes, on the high side."""
    return 1 + (len(text) if text.isascii() else len(text.encode())) // _BYTES_PER_TOKEN
