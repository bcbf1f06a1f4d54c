"""The engine of a cluster: Ray places an actor for each shard and replica, restarts it, and runs the writers as tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ..errors import MissingDependencyError
from .engine import WorkerDied
from .shard import ShardServer

__all__ = ["RayEngine"]

_T = TypeVar("_T")


class _Actor(ShardServer):
    """A `ShardServer` with a cache of its own size; Ray gives each actor a process."""

    def __init__(self, url: str, copy: bool, cache: str | None, memory: str | int | None) -> None:
        from .._index import configure

        configure(memory=memory, threads=1)
        super().__init__(url, copy, cache)

    def pid(self) -> int:
        import os

        return os.getpid()


class RayEngine:
    """Args as of `ShardedIndex`; `actor_options`, `task_options`: as of Ray's ``.options()``, for servers and writers.

    Unless `actor_options` say otherwise a server reserves no processor (the shards of one machine share its cores), is
    restarted whenever it dies, repeats a call three times, and is spread over the nodes.
    """

    def __init__(
        self,
        url: str,
        *,
        replicas: int = 1,
        copy: bool = False,
        cache: str | None = None,
        memory: str | int | None = None,
        actor_options: dict[str, Any] | None = None,
        task_options: dict[str, Any] | None = None,
    ) -> None:
        try:
            import ray
        except ImportError:
            raise MissingDependencyError(
                "the engine ray: Ray is not installed; pip install 'vssnative[ray]'"
            ) from None
        self._ray: Any = ray
        if not ray.is_initialized():
            ray.init(configure_logging=False, log_to_driver=False)
        self._replicas = replicas
        self._arguments = (url, copy, cache, memory)
        options = {
            "num_cpus": 0,
            "max_restarts": -1,
            "max_task_retries": 3,
            "scheduling_strategy": "SPREAD",
            **(actor_options or {}),
        }
        self._actor_class = ray.remote(_Actor).options(**options)
        self._task_options = {"max_retries": 3, "scheduling_strategy": "SPREAD", **(task_options or {})}
        self._actors: dict[tuple[int, int], Any] = {}
        self._lock = threading.Lock()

    @property
    def replicas(self) -> int:
        return self._replicas

    def ask(self, shard: int, replica: int, method: str, *args: Any) -> Future[Any]:
        return self._future(getattr(self.actor(shard, replica), method).remote(*args))

    def restart(self, shard: int, replica: int) -> None:
        with self._lock:
            actor = self._actors.pop((shard, replica), None)
        if actor is not None:
            self._ray.kill(actor)

    def run(self, function: Callable[..., _T], *args: Any) -> Future[_T]:
        return self._future(self._ray.remote(function).options(**self._task_options).remote(*args))

    def close(self) -> None:
        with self._lock:
            actors, self._actors = list(self._actors.values()), {}
        if self._ray.is_initialized():
            for actor in actors:
                self._ray.kill(actor)

    def actor(self, shard: int, replica: int) -> Any:
        """Ray's handle of a server."""
        with self._lock:
            actor = self._actors.get((shard, replica))
            if actor is None:
                actor = self._actors[shard, replica] = self._actor_class.remote(*self._arguments)
        return actor

    def _future(self, reference: Any) -> Future[Any]:
        outer: Future[Any] = Future()
        exceptions = self._ray.exceptions
        dead = (
            exceptions.RayActorError,
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
            exceptions.TaskUnschedulableError,
            exceptions.ActorUnschedulableError,
        )

        def done(inner: Future[Any]) -> None:
            error = inner.exception()
            if error is None:
                outer.set_result(inner.result())
            elif isinstance(error, exceptions.RayTaskError):
                outer.set_exception(error.cause if isinstance(error.cause, Exception) else error)
            elif isinstance(error, dead):
                outer.set_exception(WorkerDied(str(error).partition("\n")[0]))
            else:
                outer.set_exception(error)

        reference.future().add_done_callback(done)
        return outer
