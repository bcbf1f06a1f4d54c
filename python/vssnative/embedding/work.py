"""The work on a window of tokenized texts, done by as many threads as take part in it."""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .. import _core
from ..errors import EmbeddingError
from .finishing import Finisher
from .protocol import Float32Matrix, Int64Vector
from .tokenization import Tokens


@dataclass(frozen=True)
class Task:
    """What there is to compute.

    Attributes:
        batches: positions of the texts that go through the model together; each text is in one.
        skip: leading tokens (of a prompt) that pooling leaves out.
        out: float32 ``(n, dim)``, a row for each text's vector.
        threads: at most so many compute a single batch together.
    """

    tokens: Tokens
    batches: Sequence[Int64Vector]
    finisher: Finisher
    skip: int
    out: Float32Matrix
    threads: int = 1


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

    def __init__(self, encoder: _core.BertEncoder, task: Task) -> None:
        tokens, finisher = task.tokens, task.finisher
        count = int(tokens.lengths.sum())
        self._task = task
        self._pooled = finisher.pooled(task.out)
        try:
            ids = np.fromiter(itertools.chain.from_iterable(tokens.ids), dtype=np.int32, count=count)
            self._run = _core.EncoderRun(
                encoder,
                ids,
                tokens.lengths,
                task.batches,
                task.skip,
                finisher.modes,
                finisher.scales_poolings,
                self._pooled,
                task.threads,
            )
        except (ValueError, IndexError, OverflowError) as error:
            raise EmbeddingError(f"the tokenizer gave what the model does not take: {error}") from None

    @property
    def done(self) -> int:
        return self._run.done

    def run(self, most: int = 0) -> bool:
        return self._run.work(most)

    def stop(self) -> None:
        self._run.stop()

    def end(self) -> None:
        self._task.finisher.end(self._pooled, self._task.out, self._run.finite)


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

    def start(self, task: Task) -> Work:
        """The work of writing the texts' vectors."""
        return SessionWork(self, task)


class SessionWork:
    """Work of another library's session, a call for each batch."""

    def __init__(self, session: Session, task: Task) -> None:
        self._session, self._task = session, task
        self._lock = threading.Lock()
        self._next = 0
        self._stopped = False
        self.done = 0

    def run(self, most: int = 0) -> bool:
        batches = self._task.batches
        for number in itertools.count(1):
            with self._lock:
                if self._stopped or self._next == len(batches):
                    return False
                rows = batches[self._next]
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
        return self._next < len(batches)

    def stop(self) -> None:
        self._stopped = True

    def end(self) -> None:
        pass

    def _compute(self, rows: Int64Vector) -> None:
        task = self._task
        lengths = task.tokens.lengths[rows]
        hidden = self._session.token_vectors([task.tokens.ids[row] for row in rows], lengths)
        task.finisher.finish(hidden, lengths, task.skip, task.out, rows)
