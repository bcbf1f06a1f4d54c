"""Who runs the servers of the shards and the tasks that write them: what `ShardedIndex` asks of an engine.

The code that runs is the same everywhere (``shard.py``); an engine places it, restarts it, and carries calls.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

__all__ = ["Engine", "WorkerDied"]

_T = TypeVar("_T")


class WorkerDied(Exception):
    """The process behind a call is gone, or its machine is; another may answer."""


class Engine(Protocol):
    """Futures fail with the exception that the code raised, or with `WorkerDied`."""

    @property
    def replicas(self) -> int:
        """Servers of each shard; they are numbered from 0 on."""
        ...

    def ask(self, shard: int, replica: int, method: str, *args: Any) -> Future[Any]:
        """Call a method of the `ShardServer` of that shard and replica. Never blocks for the answer."""
        ...

    def restart(self, shard: int, replica: int) -> None:
        """Make sure that a server whose call failed with `WorkerDied` is not asked again, but a new one."""
        ...

    def run(self, function: Callable[..., _T], *args: Any) -> Future[_T]:
        """Run a function somewhere, once."""
        ...

    def close(self) -> None:
        """End all processes that this engine started."""
        ...
