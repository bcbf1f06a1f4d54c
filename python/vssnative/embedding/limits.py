"""How long a call of a model may take, set by the caller that waits for it.

A model that asks somebody else (a server) looks here before each attempt and each pause: retries that go on after
nobody waits any more would hold up stops, deadlines and the end of the process.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the calls of models in this context.

    Attributes:
        stop: when set, nothing further is begun, and pauses end.
        deadline: the same from this moment on, by ``time.monotonic``.
        attempts: requests for one batch at most; None for the model's own number.
    """

    stop: threading.Event | None = None
    deadline: float | None = None
    attempts: int | None = None

    @property
    def over(self) -> bool:
        """Whether nobody waits any more."""
        return (self.stop is not None and self.stop.is_set()) or self.left == 0.0

    @property
    def left(self) -> float | None:
        """Seconds to the deadline, 0 from then on; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


_NONE = Limits()
_current: ContextVar[Limits] = ContextVar("vssnative_limits")


def current_limits() -> Limits:
    """Those of this context. Threads of a pool have none of their own: hand them over."""
    return _current.get(_NONE)


@contextlib.contextmanager
def call_limits(
    *, stop: threading.Event | None = None, deadline: float | None = None, attempts: int | None = None
) -> Iterator[None]:
    """Bound the calls of models within the block."""
    token = _current.set(Limits(stop, deadline, attempts))
    try:
        yield
    finally:
        _current.reset(token)
