"""Publishing: the files of new shards first, then a catalog that names them; nothing of it shows before, all of it after.

Publishers do not lock each other out. Each starts from the newest catalog; whose number is taken by then starts again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import replace
from typing import Any

from ..errors import PublishConflictError, ShardError, VssError
from . import catalog as catalogs
from .catalog import Catalog, FileRecord
from .changes import STAGED, Changes
from .engine import Engine, WorkerDied
from .shard import Writing, write_shard
from .store import Store

__all__ = ["Build", "Publisher"]

# From a catalog: the changes to make upon it, and the names of the staged files that hold them.
Build = Callable[[Catalog], tuple[Sequence[Changes], frozenset[str]]]

# Others may publish first so often before it is an error.
_TRIES = 8
# Times that a writer is started; a writer that dies leaves nothing that anybody sees.
_WRITER_TRIES = 3


class Publisher:
    """Makes catalogs and the files that they name, on an engine."""

    def __init__(self, store: Store, engine: Engine) -> None:
        self._store = store
        self._engine = engine

    def publish(self, build: Build, note: str) -> Catalog:
        """Put the changes that `build` names in force as one version, all or none.

        Raises:
            DamagedError: a shard to be changed is damaged or missing.
            DuplicateIdError, InvalidVectorError: the changes cannot be made.
            PublishConflictError, ShardError: as of `put_in_force` and `written`.
        """

        def change(base: Catalog) -> Catalog:
            changes, applied = build(base)
            if not any(len(one.ids) for one in changes) and not applied:
                return base
            parts: dict[int, list[Changes]] = {}
            for one in changes:
                for shard, part in one.by_shard(base.version.shards).items():
                    parts.setdefault(shard, []).append(part)
            tasks = [
                Writing(self._store.url, shard, base.settings, base.version.files.get(shard), tuple(own))
                for shard, own in sorted(parts.items())
            ]
            files = {
                **{shard: record for shard, record in base.version.files.items() if shard not in parts},
                **self.written(write_shard, tasks),
            }
            # What is not staged any more need not be remembered.
            still = frozenset(name for name in self._store.names(STAGED) if name in base.applied)
            return replace(base.with_version(files, note), applied=still | applied)

        return self.put_in_force(change)

    def put_in_force(self, change: Callable[[Catalog], Catalog]) -> Catalog:
        """Make the next catalog from the newest, and again from a newer one where somebody else was first.

        Args:
            change: from the newest catalog to the next; the same object means that there is nothing to do.

        Raises:
            PublishConflictError: somebody else was first each time.
        """
        for attempt in range(_TRIES):
            base = catalogs.latest(self._store)
            try:
                catalog = change(base)
            except FileNotFoundError:  # a staged file, which somebody else has published meanwhile
                self._pause(attempt)
                continue
            if catalog is base:
                return base
            try:
                catalogs.publish(self._store, catalog)
            except FileExistsError:
                self._discard(catalog, base)
                self._pause(attempt)
                continue
            except BaseException:
                self._discard(catalog, base)
                raise
            return catalog
        raise PublishConflictError(
            f"{self._store.url}: others published first {_TRIES} times; nothing was changed"
        )

    def written(
        self, function: Callable[[Any], FileRecord | None], tasks: Sequence[Any]
    ) -> dict[int, FileRecord]:
        """Run a writer for each task; all of their files stay, or none.

        Raises:
            ShardError: a writer died again and again.
            Whatever a writer raised.
        """
        done: dict[int, FileRecord] = {}
        error: BaseException | None = None
        waiting = list(tasks)
        tries = _WRITER_TRIES
        while waiting and error is None:
            tries -= 1
            futures = [self._engine.run(function, task) for task in waiting]
            try:
                wait(futures)
            except BaseException as interruption:
                # Their files are to be removed, so they must have ended.
                error = interruption
                wait(futures)
            died = []
            for task, future in zip(waiting, futures, strict=True):
                failure = future.exception()
                if failure is None:
                    record = future.result()
                    if record is not None:
                        done[task.shard] = record
                elif isinstance(failure, WorkerDied) and tries > 0:
                    died.append(task)
                elif isinstance(failure, WorkerDied):
                    error = error or ShardError(
                        f"shard {task.shard}: its writer died {_WRITER_TRIES} times ({failure}); nothing was published",
                        (task.shard,),
                    )
                else:
                    error = error or failure
            waiting = died
        if error is not None:
            for record in done.values():
                self._store.remove(record.name)
            raise error
        return done

    @staticmethod
    def _pause(attempt: int) -> None:
        time.sleep(min(0.05 * 2**attempt, 2.0) * random.uniform(0.5, 1.5))

    def _discard(self, catalog: Catalog, base: Catalog) -> None:
        """Remove shards that were written for a catalog that never came into force.

        An error can come after the step that put it in force (a time-out, Ctrl-C): what a catalog names stays. Files
        that stay for nothing are a vacuum's work.
        """
        try:
            named = catalogs.latest(self._store).file_names()
        except (VssError, OSError):
            return
        for name in catalog.file_names() - base.file_names() - named:
            self._store.remove(name)
