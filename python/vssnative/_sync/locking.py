"""Short write transactions that wait for their turn, and leave others theirs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from .._connection import Connection, driver_error, execute, in_transaction, is_busy, sleep, transaction
from ..errors import SyncError

_T = TypeVar("_T")

_PATIENCE_SECONDS = 60.0
# A commit is to hold the write lock about so long at most.
_TARGET_HOLD_SECONDS = 0.1
_LONGEST_COURTESY = 0.5
# The longest pause of SQLite's busy handler.
_LONGEST_POLL_SECONDS = 0.1
_REMEMBERED_SECONDS = 10.0
_SHARE_FOR_NOBODY = 0.2
_FIRST_ROWS = 32
_FEWEST_ROWS = 16
_SMOOTHING = 0.3


def require_no_transaction(conn: Connection, what: str, otherwise: str = "") -> None:
    """Refuse to work on a connection that has a transaction open: it is not ours to commit.

    Raises:
        SyncError: one is open.
    """
    if in_transaction(conn):
        raise SyncError(
            f"{what} needs the connection outside of a transaction, and one is open: commit or roll back first."
            " (Under Python 3.12's autocommit=False one is always open: use autocommit=True, or another connection.)"
            f"{otherwise}"
        )


def write(conn: Connection, work: Callable[[], _T]) -> _T:
    """Run `work` in one BEGIN IMMEDIATE transaction, all of it again where another connection held the lock.

    The connection's own busy timeout may be 0; waiting is up to a minute all the same.

    Raises:
        The driver's "database is locked" after that minute.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with transaction(conn, "IMMEDIATE"):
                return work()
        except driver_error(conn) as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        sleep(random.uniform(0.002, 0.02))


def read(conn: Connection, work: Callable[[], _T]) -> _T:
    """Run `work`, which only reads, in one snapshot; again where another connection held the lock."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with transaction(conn, "DEFERRED"):
                return work()
        except driver_error(conn) as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        sleep(random.uniform(0.002, 0.02))


class Turns:
    """The write transactions of one worker: short ones, that leave the lock to others for some of the time.

    SQLite's waiting writers poll, up to 100 ms apart, and have no queue: a worker that came back at once would starve
    them, and nobody sees that they wait. While others commit, the lock is left alone for about as long as it was held;
    by chance, as turns of a fixed length could fall in with somebody's polls for ever. Where nobody has committed for
    a while, it is left alone for a fifth of that, saved up until it is as long as the time between two polls: so whoever
    comes is let in within about half a second, and is given their share from then on. Time in which it was free before
    counts, up to a commit's: that costs nothing where the model takes longer than the commits.
    """

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._released = 0.0
        self._held = 0.0
        # Seconds for which the lock was free beyond what was owed; below 0: is owed.
        self._free = 0.0
        self._seconds_per_row = 0.0
        # SQLite's data_version changes with every commit of another connection.
        self._version: int | None = None
        self._others_at = -_REMEMBERED_SECONDS

    def write(self, work: Callable[[], _T]) -> _T:
        """As the function ``write``, in its turn."""
        free = self._free + time.monotonic() - self._released
        self._free = min(free, self._share() * _TARGET_HOLD_SECONDS)
        if self._free < (0.0 if self._others() else -_LONGEST_POLL_SECONDS):
            sleep(-self._free)
            self._free = 0.0
        began = 0.0

        def timed() -> _T:
            nonlocal began
            began = time.monotonic()
            [(version,)] = execute(self._conn, "pragma main.data_version")
            if self._version is not None and version != self._version:
                self._others_at = began
            self._version = version
            return work()

        result = write(self._conn, timed)
        self._released = time.monotonic()
        self._held = self._released - began
        self._free -= self._share() * min(self._held, _LONGEST_COURTESY) * random.uniform(0.75, 1.5)
        return result

    def _others(self) -> bool:
        """Whether others write, as far as is known."""
        return time.monotonic() - self._others_at < _REMEMBERED_SECONDS

    def _share(self) -> float:
        return 1.0 if self._others() else _SHARE_FOR_NOBODY

    def write_rows(self, rows: int, work: Callable[[], _T]) -> _T:
        """``write`` of so many rows; learns how long a row holds the lock, here and now: the machine may be busy."""
        result = self.write(work)
        per_row = self._held / rows
        known = self._seconds_per_row
        self._seconds_per_row = per_row if known == 0.0 else (1 - _SMOOTHING) * known + _SMOOTHING * per_row
        return result

    @property
    def rows(self) -> int:
        """Rows that a commit may have, to hold the lock for a short time only."""
        if self._seconds_per_row == 0.0:
            return _FIRST_ROWS
        return max(_FEWEST_ROWS, int(_TARGET_HOLD_SECONDS / self._seconds_per_row))

    def portion(self, left: int) -> int:
        """How many of `left` rows to commit next: equal shares, rather than a tiny last one."""
        return -(-left // -(-left // self.rows))
