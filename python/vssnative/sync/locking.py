"""Short write transactions that wait for their turn."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from ..connection import Connection, driver_error, in_transaction, is_busy, transaction
from ..errors import SyncError

_T = TypeVar("_T")

_PATIENCE_SECONDS = 60.0


def require_no_transaction(conn: Connection, what: str) -> None:
    """Refuse to work on a connection that has a transaction open: it is not ours to commit.

    Raises:
        SyncError: one is open.
    """
    if in_transaction(conn):
        raise SyncError(
            f"{what} needs the connection outside of a transaction, and one is open: commit or roll back first."
            " (Under Python 3.12's autocommit=False one is always open: use autocommit=True, or another connection.)"
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
        time.sleep(random.uniform(0.002, 0.02))


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
        time.sleep(random.uniform(0.002, 0.02))
