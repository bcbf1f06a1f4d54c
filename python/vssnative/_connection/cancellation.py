"""Ending the work of another thread: what Ctrl-C is to the main thread, for any thread and any time.

A ``Cancellation`` is active in the thread that works. ``cancel`` ends the statement that runs there, or else the next one
before it begins, or a wait; once, by an exception that is no ``Exception``, so that code which tidies up and then goes
on with it works as it does for ``KeyboardInterrupt``, and its own statements run.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

_LOOK_SECONDS = 0.05


class Cancelled(BaseException):
    """The work in this thread was cancelled from another one."""


class Cancellation:
    """One piece of work that may be cancelled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = False
        self._delivered = False
        self._shields = 0
        self._interrupt: Callable[[], object] | None = None

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """The block is the work; in this thread."""
        before = _here.cancellation
        _here.cancellation = self
        try:
            self.check()
            yield
        finally:
            _here.cancellation = before

    @contextlib.contextmanager
    def interrupting(self, interrupt: Callable[[], object]) -> Iterator[None]:
        """The block uses a connection, whose statements `interrupt` ends."""
        with self._lock:
            self._interrupt = interrupt
        try:
            yield
        finally:
            with self._lock:
                self._interrupt = None

    def cancel(self) -> None:
        """Ask for the end. Call it again until the work has ended: SQLite forgets an interrupt that comes before the
        statement begins."""
        with self._lock:
            self._wanted = True
            if self._interrupt is not None and not self._delivered and not self._shields:
                self._interrupt()

    def check(self) -> None:
        """Raise ``Cancelled``, if that is wanted and was not done yet."""
        if self._wanted and not self._delivered and not self._shields:
            with self._lock:
                self._delivered = True
            raise Cancelled

    @contextlib.contextmanager
    def statement(self, error: type[Exception]) -> Iterator[None]:
        """The block runs one statement, which an interrupt ends with an exception of `error`."""
        self.check()
        try:
            yield
        except error as raised:
            if is_interrupted(raised):
                try:
                    self.check()
                except Cancelled as cancelled:
                    raise cancelled from raised
            raise

    @contextlib.contextmanager
    def shielded(self) -> Iterator[None]:
        """The block is not ended."""
        with self._lock:
            self._shields += 1
        try:
            yield
        finally:
            with self._lock:
                self._shields -= 1


class _Here(threading.local):
    # A default on the class: without it, a thread that has none would cost every statement an AttributeError.
    cancellation: Cancellation | None = None


_here = _Here()


def current() -> Cancellation | None:
    """What may cancel the work of this thread."""
    return _here.cancellation


def check_cancelled() -> None:
    """Raise ``Cancelled`` where the work of this thread was cancelled: for loops that wait without a statement."""
    found = current()
    if found is not None:
        found.check()


def shielded() -> contextlib.AbstractContextManager[None]:
    """A block that tidies up, so that cancelling the work of this thread waits until it has ended."""
    found = current()
    return contextlib.nullcontext() if found is None else found.shielded()


def sleep(seconds: float) -> None:
    """``time.sleep``, ended where the work of this thread is cancelled."""
    deadline = time.monotonic() + seconds
    check_cancelled()
    while current() is not None and (left := deadline - time.monotonic()) > _LOOK_SECONDS:
        time.sleep(min(left, _LOOK_SECONDS))
        check_cancelled()
    time.sleep(max(0.0, deadline - time.monotonic()))


def is_interrupted(error: BaseException) -> bool:
    """Whether a driver's error says that the statement was ended by an interrupt."""
    code = getattr(error, "sqlite_errorcode", None)  # Python 3.11
    if code is None:
        code = getattr(error, "result", None)  # apsw
    return code & 0xFF == 9 if isinstance(code, int) else "interrupted" in str(error)
