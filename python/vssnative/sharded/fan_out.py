"""One call to every shard: on another replica where one dies, is late or finds its file damaged; then a decision.

Late shards are asked a second time ("hedged requests", Dean and Barroso, The Tail at Scale, 2013); the first answer
counts. A shard that never answers fails the whole call, unless the caller asked for what there is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .._advice import Advice
from ..errors import DamagedError, ShardError
from .engine import Engine, WorkerDied
from .routing import Ids

Distances = npt.NDArray[np.float32]

__all__ = ["Answers", "ask_all", "failure_of", "merged"]

# Calls that wait for an answer at a time.
_IN_FLIGHT = 64
# Times that a shard is asked before it counts as failed, beside once for each replica.
_RETRIES = 3
# Share of the deadline after which a late shard is asked a second time; without a deadline, seconds.
_HEDGE_SHARE = 0.4
_HEDGE_SECONDS = 10.0


@dataclass(slots=True)
class Answers:
    """What came back.

    Attributes:
        results: by shard.
        failed: by shard that gave none, why.
        asked: calls that were made, repeated ones included.
    """

    results: dict[int, Any] = field(default_factory=dict)
    failed: dict[int, Exception] = field(default_factory=dict)
    asked: int = 0


@dataclass(slots=True)
class _Asked:
    shard: int
    replica: int
    hedge_at: float


@dataclass(slots=True)
class _Progress:
    attempts: int = 0
    waiting: int = 0
    is_hedged: bool = False
    last: Exception | None = None


def ask_all(
    engine: Engine,
    method: str,
    arguments: Mapping[int, Sequence[Any]],
    *,
    first_replica: int = 0,
    deadline: float | None = None,
) -> Answers:
    """Call `method` of each shard's server.

    Args:
        engine: who carries the calls.
        method: of ``ShardServer``.
        arguments: by shard.
        first_replica: the replica to begin with, so that calls are shared out.
        deadline: of ``time.monotonic()``; shards without an answer by then have failed.

    Raises:
        Whatever a server raised that another replica would raise as well.
    """
    answers = Answers()
    queue = deque(arguments)
    progress = {shard: _Progress() for shard in arguments}
    waiting: dict[Future[Any], _Asked] = {}
    attempts = engine.replicas + _RETRIES

    def start(shard: int) -> None:
        state = progress[shard]
        replica = (first_replica + state.attempts) % engine.replicas
        state.attempts += 1
        state.waiting += 1
        answers.asked += 1
        now = time.monotonic()
        pause = _HEDGE_SECONDS if deadline is None else max(0.0, (deadline - now) * _HEDGE_SHARE)
        waiting[engine.ask(shard, replica, method, *arguments[shard])] = _Asked(shard, replica, now + pause)

    while queue or waiting:
        while queue and len(waiting) < _IN_FLIGHT:
            start(queue.popleft())
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            break
        done, _ = wait(
            waiting, timeout=_pause(waiting, progress, engine, deadline, now), return_when=FIRST_COMPLETED
        )
        for future in done:
            asked = waiting.pop(future)
            state = progress[asked.shard]
            state.waiting -= 1
            if asked.shard in answers.results or asked.shard in answers.failed:
                continue
            error = future.exception()
            if error is None:
                answers.results[asked.shard] = future.result()
                continue
            if isinstance(error, WorkerDied):
                engine.restart(asked.shard, asked.replica)
            elif not isinstance(error, (DamagedError, ShardError)):
                raise error
            state.last = error if isinstance(error, Exception) else None
            if state.attempts < attempts and not (
                isinstance(error, DamagedError) and state.attempts >= engine.replicas
            ):
                start(asked.shard)
            elif state.waiting == 0:
                answers.failed[asked.shard] = (
                    error if isinstance(error, Exception) else ShardError(str(error))
                )
        now = time.monotonic()
        for asked in list(waiting.values()):
            state = progress[asked.shard]
            is_open = asked.shard not in answers.results and asked.shard not in answers.failed
            if is_open and engine.replicas > 1 and not state.is_hedged and now >= asked.hedge_at:
                state.is_hedged = True
                start(asked.shard)
        if all(shard in answers.results or shard in answers.failed for shard in progress):
            break  # what is still under way repeats what has been answered
    for shard, state in progress.items():
        if shard not in answers.results and shard not in answers.failed:
            answers.failed[shard] = state.last or ShardError(f"shard {shard}: no answer in time", (shard,))
    return answers


def _pause(
    waiting: dict[Future[Any], _Asked],
    progress: dict[int, _Progress],
    engine: Engine,
    deadline: float | None,
    now: float,
) -> float | None:
    """Seconds until something is to be done without an answer; None: nothing is."""
    moments = [] if deadline is None else [deadline]
    if engine.replicas > 1:
        moments += [asked.hedge_at for asked in waiting.values() if not progress[asked.shard].is_hedged]
    return max(0.0, min(moments) - now) if moments else None


def failure_of(answers: Answers) -> Exception:
    """The error of a call that some shard did not answer."""
    damaged = [error for error in answers.failed.values() if isinstance(error, DamagedError)]
    if damaged:
        return damaged[0]
    shards = tuple(sorted(answers.failed))
    first = answers.failed[shards[0]]
    some = ", ".join(map(str, shards[:10])) + (", ..." if len(shards) > 10 else "")
    return ShardError(
        f"{len(shards)} of {len(shards) + len(answers.results)} shards gave no answer ({some}): {first}",
        shards,
        advice=Advice("partial=True returns what the others found", "--partial shows what the others found"),
    )


def merged(parts: Iterable[tuple[Ids, Distances]], nq: int, found: int, k: int) -> tuple[Ids, Distances]:
    """The best k of all shards' answers by (distance, id)."""
    ids = np.full((nq, k), -1, np.int64)
    distances = np.full((nq, k), np.inf, np.float32)
    parts = list(parts)
    if not parts or not found or not nq:
        return ids, distances
    all_ids = np.concatenate([part[0].reshape(nq, -1) for part in parts], axis=1)
    all_distances = np.concatenate([part[1].reshape(nq, -1) for part in parts], axis=1)
    # Padding comes last, behind any row at an infinite distance.
    by_id = np.where((all_ids == -1) & np.isposinf(all_distances), np.iinfo(np.int64).max, all_ids)
    order = np.lexsort((by_id, all_distances), axis=1)[:, :k]
    width = order.shape[1]
    ids[:, :width] = np.take_along_axis(all_ids, order, axis=1)
    distances[:, :width] = np.take_along_axis(all_distances, order, axis=1)
    return ids, distances
