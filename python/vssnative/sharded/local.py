"""The engine of one machine: processes of the standard library, nothing to install.

Each worker is a process of its own with one `ShardServer`, which serves several shards; a replica of a shard is served
by another worker where there is one. As with every use of ``multiprocessing``, a script must guard its own start with
``if __name__ == "__main__":``.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from .._index import configure
from .engine import WorkerDied
from .shard import ShardServer

__all__ = ["LocalEngine"]

_T = TypeVar("_T")

# In a worker: its server.
_server: ShardServer | None = None


def _end_with_parent() -> None:
    """A worker would wait for ever for a parent that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _start(url: str, copy: bool, cache: str | None, memory: str | int | None, threads: int) -> None:
    global _server
    _end_with_parent()
    configure(memory=memory, threads=threads)
    _server = ShardServer(url, copy, cache)


def _call(method: str, *args: Any) -> Any:
    assert _server is not None
    return getattr(_server, method)(*args)


class LocalEngine:
    """Args as of `ShardedIndex`; `workers`: processes that serve shards; None: one for each core."""

    def __init__(
        self,
        url: str,
        *,
        replicas: int = 1,
        copy: bool = False,
        cache: str | None = None,
        memory: str | int | None = None,
        workers: int | None = None,
    ) -> None:
        self._replicas = replicas
        self._arguments = (url, copy, cache, memory, 1)
        self._lock = threading.Lock()
        self._workers: list[ProcessPoolExecutor | None] = [None] * (workers or _cores())
        self._writers: ProcessPoolExecutor | None = None

    @property
    def replicas(self) -> int:
        return self._replicas

    def ask(self, shard: int, replica: int, method: str, *args: Any) -> Future[Any]:
        return self._submit(self._worker_of(shard, replica), method, args)

    def restart(self, shard: int, replica: int) -> None:
        # A worker that died was forgotten when it did, with all the shards that it served; the next call starts another.
        pass

    def run(self, function: Callable[..., _T], *args: Any) -> Future[_T]:
        with self._lock:
            if self._writers is None:
                self._writers = ProcessPoolExecutor(
                    _cores(), mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent
                )
            writers = self._writers
        try:
            inner = writers.submit(function, *args)
        except BrokenProcessPool as error:
            self._forget_writers(writers)
            return _failed(error)
        return _translated(inner, lambda: self._forget_writers(writers))

    def close(self) -> None:
        with self._lock:
            ended = [*self._workers, self._writers]
            self._workers = [None] * len(self._workers)
            self._writers = None
        for executor in ended:
            if executor is not None:
                _end(executor)

    def pids(self) -> list[int]:
        """Processes that serve shards now."""
        return [pid for worker in self._workers if worker is not None for pid in worker._processes]

    def _worker_of(self, shard: int, replica: int) -> int:
        return (shard + replica) % len(self._workers)

    def _submit(self, at: int, method: str, args: tuple[Any, ...]) -> Future[Any]:
        with self._lock:
            worker = self._workers[at]
            if worker is None:
                worker = self._workers[at] = ProcessPoolExecutor(
                    1,
                    mp_context=multiprocessing.get_context("spawn"),
                    initializer=_start,
                    initargs=self._arguments,
                )
            try:
                inner = worker.submit(_call, method, *args)
            except BrokenProcessPool as error:
                self._workers[at] = None
                return _failed(error)
        return _translated(inner, lambda: self._forget_worker(at, worker))

    def _forget_worker(self, at: int, broken: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._workers[at] is broken:
                self._workers[at] = None

    def _forget_writers(self, broken: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._writers is broken:
                self._writers = None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end(executor: ProcessPoolExecutor) -> None:
    # A process that hangs would be waited for.
    for process in list((executor._processes or {}).values()):
        process.kill()
    executor.shutdown(wait=True, cancel_futures=True)


def _failed(error: BaseException) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(WorkerDied(str(error)))
    return future


def _translated(inner: Future[_T], broken: Callable[[], None]) -> Future[_T]:
    """A future that fails with `WorkerDied` where the pool broke."""
    outer: Future[_T] = Future()

    def done(future: Future[_T]) -> None:
        if future.cancelled():
            outer.set_exception(WorkerDied("the worker was ended"))
            return
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            broken()
            outer.set_exception(WorkerDied(str(error)))
        elif error is not None:
            outer.set_exception(error)
        else:
            outer.set_result(future.result())

    inner.add_done_callback(done)
    return outer
