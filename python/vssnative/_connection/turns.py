"""The turns of the threads that write one file: SQLite's waiting writers poll, these are woken, in their order."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from .cancellation import check_cancelled

_LOOK_SECONDS = 0.05


class WriteTurn:
    """A lock that one thread holds, as often as it likes; those who wait have it in the order in which they came.

    Args:
        patience: seconds after which waiting ends with an error.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._depth = 0
        self._waiting: deque[tuple[int, threading.Event]] = deque()

    @contextlib.contextmanager
    def taken(self, error: Callable[[str], BaseException]) -> Iterator[None]:
        """A block in which no other thread has the turn.

        Raises:
            What `error` makes of a sentence, where another thread has it for too long.
        """
        self._take(error)
        try:
            yield
        finally:
            self._give()

    def _take(self, error: Callable[[str], BaseException]) -> None:
        me = threading.get_ident()
        with self._lock:
            if self._owner is None or self._owner == me:
                self._owner = me
                self._depth += 1
                return
            mine = (me, threading.Event())
            self._waiting.append(mine)
        deadline = time.monotonic() + self.patience
        try:
            while not mine[1].wait(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic()))):
                check_cancelled()
                if time.monotonic() >= deadline:
                    raise error(
                        f"database is locked: another thread has been writing for {self.patience:g} s"
                    )
        except BaseException:
            with self._lock:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                    raise
            self._give()  # it came in the last moment
            raise

    def _give(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth:
                return
            self._owner = None
            if self._waiting:
                self._owner, event = self._waiting.popleft()
                self._depth = 1
                event.set()
