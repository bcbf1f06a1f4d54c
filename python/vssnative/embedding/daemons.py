"""Threads that do not hold up the end of the process.

``concurrent.futures`` joins its threads at exit, however long a server keeps them waiting. These are left behind
there, unless their task is native code, which must not run while the interpreter goes down.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

_T = TypeVar("_T")

_LONGEST_WAIT_AT_EXIT = 10.0


class DaemonPool:
    """Runs functions in up to so many daemon threads, in the order in which they came.

    Args:
        name: of the threads.
        wait_at_exit: whether the process waits for a task under way when it ends, for 10 seconds at most.
    """

    def __init__(self, threads: int, name: str, *, wait_at_exit: bool) -> None:
        self._most = threads
        self._name = name
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._wait_at_exit = wait_at_exit
        _pools.add(self)

    def submit(self, task: Callable[[], _T]) -> Future[_T]:
        """Queue a task."""
        future: Future[_T] = Future()
        self._tasks.put((future, task))
        if len(self._threads) < self._most:
            thread = threading.Thread(
                target=_work, args=(self._tasks,), name=f"{self._name}-{len(self._threads)}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        return future

    def close(self, *, wait: bool) -> None:
        """Let the threads end after what is queued; what nobody wants any more is to be cancelled before."""
        for _ in self._threads:
            self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def join_at_exit(self) -> None:
        if self._wait_at_exit:
            self.close(wait=False)
            deadline = time.monotonic() + _LONGEST_WAIT_AT_EXIT
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))


_pools: weakref.WeakSet[DaemonPool] = weakref.WeakSet()


@atexit.register
def _join_all() -> None:
    for pool in list(_pools):
        pool.join_at_exit()


def _work(tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]) -> None:
    while (item := tasks.get()) is not None:
        future, task = item
        if not future.set_running_or_notify_cancel():
            continue
        try:
            result = task()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever asks for the result
            future.set_exception(error)
        else:
            future.set_result(result)
        del item, future, task
