"""The work on a window of tokenized texts, done by as many threads as take part in it."""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from .. import _core
from ..errors import EmbeddingError
from .finishing import Finisher
from .protocol import Float32Matrix, Int64Vector
from .tokenization import Tokens


class Work(Protocol):
    """Batches of texts, each computed by one of the threads that call ``run``."""

    @property
    def done(self) -> int:
        """Texts that are computed."""
        ...

    def run(self, most: int = 0) -> bool:
        """Compute batches until none is left or ``stop`` was called, at most `most` where that is not 0.

        Returns:
            Whether there may be more to do.

        Raises:
            EmbeddingError: if a value is not finite, or the model does not take the tokens.
        """
        ...

    def stop(self) -> None:
        """Let nobody begin another batch."""
        ...

    def end(self) -> None:
        """What is left to do when all batches are computed."""
        ...


class NativeWork:
    """Work of the C++ core, which its threads do without Python between batches."""

    def __init__(
        self,
        encoder: _core.BertEncoder,
        tokens: Tokens,
        batches: Sequence[Int64Vector],
        finisher: Finisher,
        skip: int,
        out: Float32Matrix,
    ) -> None:
        count = int(tokens.lengths.sum())
        ids = np.fromiter(itertools.chain.from_iterable(tokens.ids), dtype=np.int32, count=count)
        self._finisher, self._out = finisher, out
        self._pooled = finisher.pooled(out)
        normalize = finisher.normalizes and self._pooled is out
        try:
            self._run = _core.EncoderRun(
                encoder, ids, tokens.lengths, batches, skip, finisher.modes, normalize, self._pooled
            )
        except (ValueError, IndexError) as error:
            raise EmbeddingError(f"the tokenizer gave what the model does not take: {error}") from None

    @property
    def done(self) -> int:
        return self._run.done

    def run(self, most: int = 0) -> bool:
        return self._run.work(most)

    def stop(self) -> None:
        self._run.stop()

    def end(self) -> None:
        self._finisher.end(self._pooled, self._out, self._run.finite)


class Session(ABC):
    """What computes token vectors of texts by a library of others, on the calling thread.

    Attributes:
        batch_tokens: tokens that it computes at once, about.
        padded: whether a batch's texts are all as long as the longest.
    """

    batch_tokens: int
    padded: bool

    @abstractmethod
    def token_vectors(self, texts: Sequence[list[int]], lengths: Int64Vector) -> Float32Matrix:
        """float32 ``(batch, sequence, hidden)`` from the token ids of each text."""

    def start(
        self,
        tokens: Tokens,
        batches: Sequence[Int64Vector],
        finisher: Finisher,
        skip: int,
        out: Float32Matrix,
    ) -> Work:
        """The work of writing each text's vector into its row of `out`."""
        return SessionWork(self, tokens, batches, finisher, skip, out)


class SessionWork:
    """Work of another library's session, a call for each batch."""

    def __init__(
        self,
        session: Session,
        tokens: Tokens,
        batches: Sequence[Int64Vector],
        finisher: Finisher,
        skip: int,
        out: Float32Matrix,
    ) -> None:
        self._session, self._tokens, self._batches = session, tokens, batches
        self._finisher, self._skip, self._out = finisher, skip, out
        self._next = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.done = 0

    def run(self, most: int = 0) -> bool:
        for number in itertools.count(1):
            with self._lock:
                if self._stopped.is_set() or self._next == len(self._batches):
                    return False
                rows = self._batches[self._next]
                self._next += 1
            try:
                self._compute(rows)
            except BaseException:
                self.stop()
                raise
            with self._lock:
                self.done += len(rows)
            if number == most:
                break
        return self._next < len(self._batches)

    def stop(self) -> None:
        self._stopped.set()

    def end(self) -> None:
        pass

    def _compute(self, rows: Int64Vector) -> None:
        lengths = self._tokens.lengths[rows]
        hidden = self._session.token_vectors([self._tokens.ids[row] for row in rows], lengths)
        self._finisher.finish(hidden, lengths, self._skip, self._out, rows)
