"""One model for many callers: texts that arrive within a moment of each other are embedded together.

A model works on a batch faster than on its texts one by one, and threads that embed side by side only take the
processor from each other. Here a few worker threads own the model; callers, threads and coroutines alike, put their
texts in a bounded queue and wait for their vectors.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from ..errors import ConfigurationError, EmbeddingError
from ._texts import checked_texts
from .protocol import Embedder, Float32Matrix
from .simple import shared_embedder

KINDS = ("document", "query")


@dataclass(slots=True, eq=False)
class _Request:
    texts: list[str]
    kind: str
    future: Future[Float32Matrix] = field(default_factory=Future)
    arrival: float = field(default_factory=time.monotonic)


class EmbeddingService:
    """Serves an embedder to many callers at once.

    Args:
        model: a name that ``get_embedder`` knows, or an embedder. A named model is loaded once per process, however
            many services use it.
        max_delay: seconds that a text may wait for company while a worker is free, counted from its arrival. It waits
            no longer than until as many texts are there as the last batch had: one caller at a time does not wait.
        max_batch: most texts computed together; one request with more of them is computed alone.
        max_waiting: most texts in the queue. Callers beyond that wait for room (coroutines without holding up their
            event loop).

    A service is closed by ``close()`` or at the end of a ``with`` block, and when the interpreter exits. It cannot be
    used in a forked child: make a new one there.

    Raises:
        ConfigurationError: if a limit makes no sense.
    """

    def __init__(
        self,
        model: str | Embedder = "minilm",
        *,
        max_delay: float = 0.002,
        max_batch: int = 256,
        max_waiting: int = 4096,
    ) -> None:
        if not max_delay >= 0 or max_batch < 1 or max_waiting < 1:
            raise ConfigurationError(
                "embedding service: expected max_delay >= 0, max_batch >= 1 and max_waiting >= 1, "
                f"got {max_delay}, {max_batch} and {max_waiting}"
            )
        self._embedder = shared_embedder(model)
        self._max_delay = max_delay
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._queue: deque[_Request] = deque()
        self._waiting = 0
        self._closed = False
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        # Coroutines that wait for room: each is told through its own loop.
        self._room_async: deque[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = deque()
        # One worker for each batch that the embedder can compute at once, each batch on its worker's own thread: a
        # batch need not wait for another's end. An embedder that says nothing of threads gets one worker.
        self._idle = 0
        # Texts of the last batch, and how many must wait before a worker is woken. Of the first batch nothing is known.
        self._expected = max_batch
        self._wake_at = 1
        self._threads = [
            threading.Thread(target=self._work, name=f"vssnative-embedding-service-{number}", daemon=True)
            for number in range(max(1, getattr(self._embedder, "threads", 1)))
        ]
        for thread in self._threads:
            thread.start()
        # A daemon thread inside native code at interpreter exit can crash it: let it end first.
        self._at_exit = _close_at_exit(weakref.ref(self))
        atexit.register(self._at_exit)

    @property
    def embedder(self) -> Embedder:
        """The embedder that is served."""
        return self._embedder

    @property
    def waiting(self) -> int:
        """Texts in the queue, those being computed not counted."""
        with self._lock:
            return self._waiting

    def submit(
        self, texts: Sequence[str], *, kind: str = "document", timeout: float | None = None
    ) -> Future[Any]:
        """Queue texts; the future's result is float32 ``(len(texts), dim)``.

        Waits while the queue is full. A future that is cancelled before its turn costs nothing.

        Args:
            texts: strings.
            kind: ``"document"`` or ``"query"``.
            timeout: seconds to wait for room in the queue; None waits as long as it takes.

        Raises:
            EmbeddingError: if a text is no string, the service is closed, or there was no room in time.
        """
        request = self._request(texts, kind)
        if not request.texts:
            request.future.set_result(self._embedder.embed_documents([]))
            return request.future
        with self._lock:
            if not self._room.wait_for(lambda: self._closed or self._fits(request), timeout):
                raise EmbeddingError(
                    f"embedding service: no room for {len(request.texts)} texts within {timeout} s; "
                    f"{self._waiting} are waiting"
                )
            self._put(request)
        return request.future

    def embed(
        self, texts: Sequence[str], *, kind: str = "document", timeout: float | None = None
    ) -> Float32Matrix:
        """Embed texts together with those of other callers: float32 ``(len(texts), dim)``, C-contiguous.

        Args:
            texts: strings.
            kind: ``"document"`` or ``"query"``.
            timeout: seconds for the whole call.

        Raises:
            EmbeddingError: if the model fails on these texts, the service is closed, or the time is over.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        future = self.submit(texts, kind=kind, timeout=timeout)
        try:
            result: Float32Matrix = future.result(
                None if deadline is None else max(0.0, deadline - time.monotonic())
            )
        except FutureTimeoutError as error:  # TimeoutError itself since Python 3.11
            if future.done():
                raise
            raise EmbeddingError(f"embedding service: no vectors within {timeout} s") from error
        finally:
            # Whoever stops waiting (timeout, Ctrl-C) takes the texts back, unless they are being computed.
            future.cancel()
        return result

    async def embed_async(self, texts: Sequence[str], *, kind: str = "document") -> Float32Matrix:
        """As ``embed``, for coroutines; cancelling the task takes the texts back."""
        request = self._request(texts, kind)
        if not request.texts:
            return self._embedder.embed_documents([])
        loop = asyncio.get_running_loop()
        while True:
            with self._lock:
                if self._closed or self._fits(request):
                    self._put(request)
                    break
                event = asyncio.Event()
                self._room_async.append((loop, event))
            await event.wait()
        result: Float32Matrix = await asyncio.wrap_future(request.future)
        return result

    def close(self, *, wait: bool = True) -> None:
        """Stop. Texts that are being computed are finished, those in the queue get an ``EmbeddingError``.

        Args:
            wait: return only when the worker threads have ended.
        """
        with self._lock:
            self._closed = True
            abandoned = list(self._queue)
            self._queue.clear()
            self._waiting = 0
            self._arrived.notify_all()
            self._wake()
        for request in abandoned:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(
                    EmbeddingError("embedding service: closed before these texts' turn")
                )
        if wait and self._process == os.getpid() and threading.current_thread() not in self._threads:
            for thread in self._threads:
                thread.join()
        atexit.unregister(self._at_exit)

    def __enter__(self) -> EmbeddingService:  # noqa: PYI034 - Self is younger than Python 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _request(self, texts: Sequence[str], kind: str) -> _Request:
        if kind not in KINDS:
            raise ConfigurationError(f'kind must be "document" or "query", not {kind!r}')
        if self._process != os.getpid():
            raise EmbeddingError("embedding service: made in another process; make one after the fork")
        return _Request(checked_texts(texts), kind)

    def _fits(self, request: _Request) -> bool:
        # A request larger than the whole queue goes in when the queue is empty.
        return self._waiting == 0 or self._waiting + len(request.texts) <= self._max_waiting

    def _put(self, request: _Request) -> None:
        if self._closed:
            raise EmbeddingError("embedding service: closed")
        self._queue.append(request)
        self._waiting += len(request.texts)
        if self._waiting >= self._wake_at:
            self._arrived.notify()

    def _wake(self) -> None:
        """Tell those who wait for room to look again."""
        self._room.notify_all()
        while self._room_async:
            loop, event = self._room_async.popleft()
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            for kind in KINDS:
                requests = [request for request in batch if request.kind == kind]
                if requests:
                    self._serve(requests, kind)

    def _next_batch(self) -> list[_Request] | None:
        """The requests to compute together now; None when the service is closed."""
        with self._lock:
            self._idle += 1
            self._gather()
            # The other idle workers get their share.
            share = min(self._max_batch, -(-self._waiting // self._idle))
            self._idle -= 1
            if self._closed:
                return None
            self._expected = share
            batch: list[_Request] = []
            taken = 0
            while self._queue and (not batch or taken + len(self._queue[0].texts) <= share):
                request = self._queue.popleft()
                taken += len(request.texts)
                self._waiting -= len(request.texts)
                if request.future.set_running_or_notify_cancel():
                    batch.append(request)
            if self._queue:
                self._arrived.notify()
            self._wake()
            return batch

    def _gather(self) -> None:
        """Wait, holding the lock, until a batch is due, or the service is closed.

        Callers who were answered together come back within a moment of each other. So a batch is due when as many
        texts wait as the last batch had, or the first of them has waited long enough.
        """
        while not self._closed:
            if not self._queue:
                self._arrived.wait()
                continue
            wanted = min(self._max_batch, self._expected)
            left = self._queue[0].arrival + self._max_delay - time.monotonic()
            if self._waiting >= wanted or left <= 0:
                return
            # Not for every text: each time, this thread would take the interpreter from those who bring them.
            self._wake_at = wanted
            self._arrived.wait(left)
            self._wake_at = 1

    def _serve(self, requests: list[_Request], kind: str) -> None:
        texts = [text for request in requests for text in request.texts]
        try:
            vectors = self._vectors(texts, kind)
        except Exception as error:  # noqa: BLE001 - every kind of failure belongs to the callers
            if len(requests) == 1:
                requests[0].future.set_exception(error)
                return
            # One caller's text must not fail the others' with it.
            for request in requests:
                self._serve([request], kind)
            return
        start = 0
        for request in requests:
            stop = start + len(request.texts)
            # A copy, so that a caller who keeps one vector does not keep the whole batch.
            request.future.set_result(vectors[start:stop].copy())
            start = stop

    def _vectors(self, texts: list[str], kind: str) -> Float32Matrix:
        vectors: Float32Matrix
        if len(self._threads) > 1 and len(texts) <= self._max_batch and hasattr(self._embedder, "encode"):
            # Several workers share the cores; a text alone may have what the others leave.
            vectors = self._embedder.encode(texts, kind=kind, threads=1 if len(texts) > 1 else None).vectors
        elif kind == "document":
            vectors = self._embedder.embed_documents(texts)
        else:
            vectors = self._embedder.embed_queries(texts)
        if vectors.shape != (len(texts), self._embedder.dim):
            raise EmbeddingError(
                f"{self._embedder.name} gave vectors of shape {vectors.shape}; "
                f"expected {(len(texts), self._embedder.dim)}"
            )
        return vectors


def _close_at_exit(service: weakref.ref[EmbeddingService]) -> Any:
    def close() -> None:
        if (alive := service()) is not None:
            alive.close()

    return close
