"""Stops asking a provider that does not answer, for a while.

The circuit breaker of Nygard, "Release It!", 2007: after several failures in a row the circuit opens and calls fail at
once; when the pause is over one call is let through to try, and its outcome closes or opens the circuit again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import ProviderError
from ._locks import ForkSafeLock


class CircuitBreaker:
    """Safe to use from several threads.

    Args:
        failures: failures in a row that open the circuit.
        pause: seconds that it stays open.
        clock: monotonic seconds.
    """

    def __init__(self, failures: int, pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = failures
        self._pause = pause
        self._clock = clock
        self._lock = ForkSafeLock()
        self._failures = 0
        self._cause = ""
        self._open_until: float | None = None
        self._trying = False

    def check(self, who: str) -> None:
        """Call before asking.

        Raises:
            ProviderError: (transient, with ``retry_after``) while the circuit is open.
        """
        with self._lock:
            if self._open_until is None:
                return
            left = self._open_until - self._clock()
            if left <= 0 and not self._trying:
                self._trying = True
                return
            raise ProviderError(
                f"{who} failed {self._failures} times in a row, the last time: {self._cause};"
                f" not asked again for {max(left, 0):.1f} s",
                retry_after=max(left, 0.0),
                transient=True,
                asked=False,
            )

    def succeeded(self) -> None:
        """The provider answered, be it with a refusal of these texts."""
        with self._lock:
            self._failures = 0
            self._open_until = None
            self._trying = False

    def failed(self, cause: str = "no answer") -> None:
        """The provider did not answer, or failed."""
        with self._lock:
            self._cause = cause.rstrip(".")
            self._failures += 1
            self._trying = False
            if self._failures >= self._limit:
                self._open_until = self._clock() + self._pause

    def close(self) -> None:
        """Somebody says that the provider is well again: let calls through."""
        self.succeeded()

    def abandoned(self) -> None:
        """The call that was let through ended without an outcome, for example by Ctrl-C."""
        with self._lock:
            self._trying = False
