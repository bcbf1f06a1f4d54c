"""ShardedIndex: one index over many files, which processes of one machine or of a Ray cluster serve."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from ..connection import connect
from ..errors import (
    ConfigurationError,
    DamagedError,
    DimensionError,
    InvalidVectorError,
    PublishConflictError,
    QueryError,
    ShardError,
)
from ..index import Index
from ..sql import check_params, quote_identifier
from . import catalog as catalogs
from .catalog import Catalog, FileRecord, Settings, Version
from .changes import STAGED, Changes, Kind, checked, read_staged, stage, staged_names
from .engine import Engine, WorkerDied
from .fan_out import Answers, ask_all
from .routing import Ids
from .shard import Rebalancing, Writing, rebalanced_shard, write_shard
from .store import Store, open_store

if TYPE_CHECKING:
    from .embed import EmbedReport

__all__ = ["SearchResult", "ShardStatus", "ShardedIndex", "Status", "Verification"]

Distances = npt.NDArray[np.float32]
EngineName = Literal["ray", "local"]
_T = TypeVar("_T")

_COLUMN_TYPES = ("text", "integer", "real", "numeric")
_OWN_NAMES = ("id", "content_hash", "rowid")
# Others may publish first so often before it is an error.
_PUBLISH_TRIES = 8
# Files that no catalog names are removed by a vacuum once they are so old (seconds): a publish may be under way.
_GRACE = 3600.0
# Queries that one message carries at most.
_QUERIES_AT_ONCE = 4096


class SearchResult(NamedTuple):
    """What ``search(..., partial=True)`` returns.

    Attributes:
        ids: int64 (nq, k), padded with -1.
        distances: float32 (nq, k), padded with infinity.
        missing: shards whose rows were not looked at, and why, by number.
    """

    ids: Ids
    distances: Distances
    missing: dict[int, str]


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """One shard: its number, file, rows and bytes."""

    shard: int
    name: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """The index as its catalog describes it.

    Attributes:
        url, dim, metric, model: of the index; `model` is a name or None.
        version: that is read; `newest`: the one in force.
        versions: that are kept.
        shards: with rows in them; `of`: the number that ids are hashed into.
        rows, bytes: of all shards.
        staged: changes that wait for ``publish()``.
    """

    url: str
    dim: int
    metric: str
    model: str | None
    version: int
    newest: int
    versions: tuple[int, ...]
    shards: tuple[ShardStatus, ...]
    of: int
    rows: int
    bytes: int
    staged: int


@dataclass(frozen=True, slots=True)
class Verification:
    """What ``verify`` found.

    Attributes:
        problems: a sentence each; empty if all is well.
        shards, rows: that were looked at.
        recall: of searches at `asked`, against exact ones, over `queries` of the index's own vectors; None without rows.
    """

    problems: tuple[str, ...]
    shards: int
    rows: int
    recall: float | None
    asked: float
    queries: int


class ShardedIndex:
    """An index over shards that anybody can open as vss0 files, and a catalog that says which.

    The object reads one version, the newest when it was made, until `refresh`; its own publishes move it on.

    Args:
        url: a directory, or a URL that fsspec knows.
        engine: ``"ray"``, ``"local"`` (processes of this machine), or an engine made by the caller; None takes Ray
            where it is installed.
        replicas: servers of each shard.
        copy: serve copies on the local disk even where the shard can be opened in place (URLs always are copied).
        cache: the directory for copies; None takes this machine's usual one.
        memory: budget of each serving process for decoded codes, as of ``vssnative.configure``.
        options: further arguments of the engine: ``workers`` (local), ``actor_options``, ``task_options`` (Ray).

    Raises:
        ConfigurationError: there is no sharded index at `url`.
        DamagedError, SchemaVersionError: its catalog cannot be read.
        MissingDependencyError: Ray or fsspec is needed and not installed.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        *,
        engine: EngineName | Engine | None = None,
        replicas: int = 1,
        copy: bool = False,
        cache: str | os.PathLike[str] | None = None,
        memory: str | int | None = None,
        **options: Any,
    ) -> None:
        if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 1:
            raise ConfigurationError(f"replicas: expected 1 or more, got {replicas!r}")
        self._store: Store = open_store(url)
        self._catalog: Catalog = catalogs.latest(self._store)
        cache_text = None if cache is None else os.fspath(cache)
        self._engine = _engine(
            engine,
            self._store.url,
            dict(options, replicas=replicas, copy=copy, cache=cache_text, memory=memory),
        )
        self._calls = 0

    @classmethod
    def create(
        cls,
        url: str | os.PathLike[str],
        dim: int,
        metric: str = "l2",
        *,
        shards: int = 8,
        type: str = "float32",
        index: str = "cells",
        columns: Mapping[str, str] | None = None,
        **options: Any,
    ) -> ShardedIndex:
        """Make an empty index and open it.

        Args:
            url: where; the directory need not exist.
            dim, metric, type, index: as of ``vssnative.Index``.
            shards: how many; ``rebalance`` changes it. 100,000 to 10,000,000 rows each serve well.
            columns: names and types (``"text"``, ``"integer"``, ``"real"``, ``"numeric"``; ``"text indexed"`` for
                one that is searched by its value) of what `where` can use beside ``id``.
            options: as of the class.

        Raises:
            ConfigurationError: an argument cannot be, or there is an index at `url` already.
        """
        if isinstance(shards, bool) or not isinstance(shards, int) or not 1 <= shards <= 65536:
            raise ConfigurationError(f"shards: expected 1 to 65536, got {shards!r}")
        settings = _checked_settings(dim, metric, type, index, columns or {})
        store = open_store(url)
        taken = ConfigurationError(f"{store.url}: there is a sharded index already")
        if store.names(catalogs.FOLDER):
            raise taken
        try:
            catalogs.publish(store, catalogs.first(settings, shards))
        except FileExistsError:
            raise taken from None
        return cls(url, **options)

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self._store.url

    @property
    def settings(self) -> Settings:
        """Dimensions, metric, element type, columns and model."""
        return self._catalog.settings

    @property
    def version(self) -> int:
        """The version that this object reads; 0: nothing was published yet."""
        return self._catalog.current

    @property
    def engine(self) -> Engine:
        """Who runs the servers."""
        return self._engine

    def __len__(self) -> int:
        """Rows of the version that this object reads."""
        return self._version.rows

    def __repr__(self) -> str:
        return (
            f"ShardedIndex({self.url!r}, dim={self.settings.dim}, metric={self.settings.metric!r},"
            f" version={self.version}, shards={self._version.shards}, rows={len(self)})"
        )

    def __enter__(self) -> ShardedIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the servers. The files stay."""
        self._engine.close()

    def refresh(self) -> int:
        """Read the newest version from now on; returns its number."""
        self._catalog = catalogs.latest(self._store)
        return self.version

    def versions(self) -> list[Version]:
        """The versions that are kept, oldest first."""
        return [version for _, version in sorted(catalogs.latest(self._store).versions.items())]

    def status(self) -> Status:
        """What the catalog says; no shard is asked."""
        newest = catalogs.latest(self._store)
        version = self._version
        shards = [ShardStatus(f.shard, f.name, f.rows, f.bytes) for f in version.files.values()]
        model = self.settings.model
        waiting = [name for name in staged_names(self._store) if name not in newest.applied]
        return Status(
            url=self.url,
            dim=self.settings.dim,
            metric=self.settings.metric,
            model=None if model is None else str(model["name"]),
            version=version.number,
            newest=newest.current,
            versions=tuple(sorted(newest.versions)),
            shards=tuple(shards),
            of=version.shards,
            rows=version.rows,
            bytes=version.bytes,
            staged=len(waiting),
        )

    # --- changing -----------------------------------------------------------------------------------------------------

    def add(
        self,
        ids: npt.ArrayLike,
        matrix: npt.NDArray[Any],
        columns: Mapping[str, Any] | None = None,
        *,
        replace: bool = False,
        publish: bool = True,
    ) -> int:
        """Add rows and publish them, all or none.

        Args:
            ids: integers (n,).
            matrix: (n, dim), float32 or of the element type.
            columns: n values of each named column; others are NULL.
            replace: where an id is there already, replace its vector and the columns named instead of raising.
            publish: False keeps the rows in a staged file until `publish` is called.

        Returns:
            The version that holds them (of this object still, if they are only staged).

        Raises:
            DuplicateIdError: an id is there already. Nothing was published.
            PublishConflictError: others published first, again and again.
            ShardError: a writer died repeatedly.
        """
        return self._change("replace" if replace else "add", ids, matrix, columns, publish)

    def remove(self, ids: npt.ArrayLike, *, publish: bool = True) -> int:
        """Remove rows and publish; ids that are not there are passed over. Returns the version."""
        return self._change("remove", ids, None, None, publish)

    def publish(self) -> int:
        """Publish all staged changes, in their order, as one version; returns it. Nothing staged: nothing is done.

        A publish that was interrupted is simply called again: what is staged counts exactly once.
        """

        def build(base: Catalog) -> tuple[Sequence[Changes], frozenset[str]]:
            waiting = [name for name in staged_names(self._store) if name not in base.applied]
            return [read_staged(self._store, name) for name in waiting], frozenset(waiting)

        version = self._publish(build, "staged changes")
        for name in staged_names(self._store):
            if name in self._catalog.applied:
                self._store.remove(name)
        return version

    def rebalance(self, shards: int) -> int:
        """Hash the rows into another number of shards, as a version of its own; returns it."""
        if isinstance(shards, bool) or not isinstance(shards, int) or not 1 <= shards <= 65536:
            raise ConfigurationError(f"shards: expected 1 to 65536, got {shards!r}")

        def publish(base: Catalog) -> Catalog:
            sources = tuple(base.version.files.values())
            tasks = [
                Rebalancing(self.url, shard, shards, base.settings, sources)
                for shard in range(shards)
                if sources
            ]
            files = self._written(rebalanced_shard, tasks)
            return base.with_version(files, f"{base.version.shards} shards become {shards}", shards=shards)

        return self._published(publish)

    def rollback(self, version: int) -> int:
        """Make an older version the current one again; it and the newer ones stay. Returns its number.

        Raises:
            ConfigurationError: that version is not kept.
        """
        return self._published(lambda base: base.pointing_to(version))

    def vacuum(self, keep: int = 2, *, grace: float = _GRACE) -> int:
        """Remove versions but the newest `keep` and the current one, and files that no catalog names.

        Args:
            keep: versions, 1 or more. Readers of removed versions must `refresh`.
            grace: files that no catalog names are left alone for so many seconds: a publish may be under way.

        Returns:
            How many files were removed.
        """
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ConfigurationError(f"keep: expected 1 or more, got {keep!r}")
        catalog = catalogs.latest(self._store)
        named_before = catalog.file_names()
        if set(catalog.keeping(keep).versions) != set(catalog.versions):
            self._published(lambda base: base.keeping(keep))
            catalog = self._catalog
        kept = catalog.file_names()
        removed = 0
        for name in catalogs.numbers_before(self._store, catalog.number):
            self._store.remove(name)
            removed += 1
        for name in self._store.names("shards"):
            if name in kept:
                continue
            with contextlib.suppress(FileNotFoundError):
                if name in named_before or self._store.age(name) >= grace:
                    self._store.remove(name)
                    removed += 1
        for name in staged_names(self._store):
            if name in catalog.applied:
                self._store.remove(name)
                removed += 1
        return removed

    def embed(
        self,
        data: Any,
        *,
        text: str = "text",
        id: str = "id",
        columns: Sequence[str] = (),
        model: Any = None,
        batch_size: int = 1024,
        concurrency: int = 1,
        progress: Callable[[int], object] | None = None,
        actor_options: dict[str, Any] | None = None,
    ) -> EmbedReport:
        """Embed texts and add their vectors, as one version at the end; rows that have not changed are passed over.

        What was embedded is staged batch by batch, so a run that was stopped goes on where it was when called again.

        Args:
            data: a Ray dataset; the path of a Parquet file or directory; an Arrow table, a pandas or polars frame;
                or rows as mappings.
            text, id: names of the columns that hold the text and the integer id.
            columns: further columns of the data to keep for `where`.
            model: as of ``vssnative.embed``; None takes the one that the index was made with, else ``"minilm"``.
            batch_size: texts that are embedded and staged together.
            concurrency: embedding actors, for Ray datasets.
            progress: called as ``progress(rows embedded so far)``.
            actor_options: Ray's ``.options()`` for the embedding actors, for example ``{"num_gpus": 1}``.

        Raises:
            ConfigurationError: the index holds vectors of another model, or columns are missing.
        """
        from .embed import embed

        return embed(
            self,
            data,
            text=text,
            id=id,
            columns=columns,
            model=model,
            batch_size=batch_size,
            concurrency=concurrency,
            progress=progress,
            actor_options=actor_options,
        )

    # --- reading ------------------------------------------------------------------------------------------------------

    def search(
        self,
        queries: npt.ArrayLike | str | list[str],
        k: int = 10,
        *,
        where: str | None = None,
        params: Sequence[Any] = (),
        recall: float | None = None,
        timeout: float | None = None,
        partial: bool = False,
    ) -> Any:
        """The k nearest rows of each query over all shards, nearest first, equal distances by id.

        Args:
            queries: (nq, dim), or (dim,) for one; a text or a list of texts where the index was made by `embed`.
            k: how many; fewer rows than k are padded.
            where: a condition in SQL over ``id`` and the index's columns; each shard applies it inside its search, so
                k rows come back whenever k rows meet it.
            params: the values of its ``?``.
            recall: the share of true neighbours wanted, asked of every shard, so that it holds for the merged answer;
                1.0 is exact and gives what one file would.
            timeout: seconds; a shard that has not answered by then has failed.
            partial: return what the other shards found where one failed, and say so; else that is an error.

        Returns:
            ``(ids, distances)`` as of ``Index.search``; with ``partial=True`` a `SearchResult`, which also names the
            shards that are missing.

        Raises:
            ShardError: a shard did not answer, and `partial` was not asked for.
            DamagedError: a shard's file is missing or damaged, likewise.
            QueryError, DimensionError, InvalidVectorError: as of ``Index.search``.
        """
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 0:
            raise QueryError(f"k: expected an integer of 0 or more, got {k!r}")
        if recall is not None and not 0 < recall <= 1:
            raise QueryError(f"recall: expected a number above 0 and at most 1, got {recall!r}")
        if timeout is not None and not timeout > 0:
            raise QueryError(f"timeout: expected seconds above 0, got {timeout!r}")
        check_params(where, params)
        deadline = None if timeout is None else time.monotonic() + timeout
        array, single = self._checked_queries(queries)
        # No shard can give more rows than there are.
        wanted = min(int(k), len(self))
        parts = []
        missing: dict[int, str] = {}
        for start in range(0, max(len(array), 1), _QUERIES_AT_ONCE):
            some = array[start : start + _QUERIES_AT_ONCE]
            answers = self._ask(some, wanted, where, tuple(params), recall, deadline)
            if answers.failed and not partial:
                raise _failure(answers)
            missing |= {shard: str(error) for shard, error in answers.failed.items()}
            parts.append(_merged(list(answers.results.values()), len(some), wanted, int(k)))
        ids = np.concatenate([part[0] for part in parts])
        distances = np.concatenate([part[1] for part in parts])
        if single:
            ids, distances = ids[0], distances[0]
        return SearchResult(ids, distances, missing) if partial else (ids, distances)

    def verify(self, sample: int = 100, *, k: int = 10, recall: float = 0.95, seed: int = 0) -> Verification:
        """Compare every shard with the catalog, check its tables, and measure the recall of a sample of searches.

        Args:
            sample: of the index's own vectors to search with; 0 measures no recall.
            k, recall: of those searches.
            seed: of the choice.
        """
        files = self._version.files
        answers = ask_all(self._engine, "check", {shard: (record,) for shard, record in files.items()})
        problems = [text for _, found in sorted(answers.results.items()) for text in found]
        problems += [f"shard {shard}: {error}" for shard, error in sorted(answers.failed.items())]
        reached, queries = None, 0
        if not problems and sample and files:
            each = -(-sample // len(files))
            drawn = ask_all(
                self._engine, "sample", {s: (record, each, seed + s) for s, record in files.items()}
            )
            vectors = np.concatenate([drawn.results[shard] for shard in sorted(drawn.results)])[:sample]
            k = min(k, len(self))
            _, exact = self.search(vectors, k, recall=1.0)
            _, found = self.search(vectors, k, recall=recall)
            # By distance: equally near rows are equally good.
            reached, queries = float(np.mean(found <= exact[:, -1:])), len(vectors)
        return Verification(tuple(problems), len(files), len(self), reached, recall, queries)

    # --- inner workings -----------------------------------------------------------------------------------------------

    @property
    def _version(self) -> Version:
        return self._catalog.version

    def _checked_queries(self, queries: Any) -> tuple[npt.NDArray[Any], bool]:
        settings = self.settings
        if isinstance(queries, str) or (
            isinstance(queries, list) and queries and isinstance(queries[0], str)
        ):
            if settings.model is None:
                raise QueryError(
                    "queries: this index holds vectors of the caller's own; search with vectors, not texts"
                )
            from .embed import embedder_of

            texts = [queries] if isinstance(queries, str) else queries
            return embedder_of(settings).embed_queries(texts), isinstance(queries, str)
        array = np.asarray(queries)
        if settings.type == "float32" and array.dtype != np.float32 and array.dtype.kind in "fiub":
            array = array.astype(np.float32)
        single = array.ndim == 1
        if array.dtype.kind not in "fiuV":
            raise InvalidVectorError(f"queries: expected numbers, got {array.dtype}")
        width = (settings.dim + 7) // 8 if settings.type == "bit" else settings.dim
        if array.ndim not in (1, 2) or array.shape[-1] != width:
            raise DimensionError(f"queries: expected shape (nq, {width}) or ({width},), got {array.shape}")
        return (array[None] if single else array), single

    def _ask(
        self,
        queries: npt.NDArray[Any],
        k: int,
        where: str | None,
        params: tuple[Any, ...],
        recall: float | None,
        deadline: float | None,
    ) -> Answers:
        if k == 0 or len(queries) == 0:
            return Answers()
        self._calls += 1
        left = None if deadline is None else max(0.001, deadline - time.monotonic())
        arguments = {
            shard: (record, queries, k, where, params, recall, left)
            for shard, record in self._version.files.items()
        }
        return ask_all(self._engine, "search", arguments, first_replica=self._calls, deadline=deadline)

    def _change(
        self,
        kind: Kind,
        ids: npt.ArrayLike,
        matrix: npt.NDArray[Any] | None,
        columns: Mapping[str, Any] | None,
        publish: bool,
    ) -> int:
        changes = checked(self.settings, kind, ids, matrix, columns)
        if not publish:
            self._stage(changes)
            return self.version
        return self._publish(lambda base: ([changes], frozenset()), f"{kind} {len(changes.ids)} rows")

    def _stage(self, changes: Changes) -> str:
        return stage(self._store, changes)

    def _staged_changes(self) -> Iterator[Changes]:
        waiting = catalogs.latest(self._store).applied
        for name in staged_names(self._store):
            if name not in waiting:
                yield read_staged(self._store, name)

    def _record_model(self, settings: Settings) -> None:
        """Record the model of the vectors to come, before the first of them is staged."""

        def change(base: Catalog) -> Catalog:
            if base.settings.model is None:
                return replace(base, number=base.number + 1, settings=settings)
            if base.settings.model != settings.model:
                raise ConfigurationError(
                    f"the index holds vectors of {base.settings.model['name']}; make a new index"
                )
            return base

        self._published(change)

    def _publish(
        self, build: Callable[[Catalog], tuple[Sequence[Changes], frozenset[str]]], note: str
    ) -> int:
        def publish(base: Catalog) -> Catalog:
            changes, applied = build(base)
            if not any(len(change.ids) for change in changes) and not applied:
                return base
            parts: dict[int, list[Changes]] = {}
            for change in changes:
                for shard, part in change.by_shard(base.version.shards).items():
                    parts.setdefault(shard, []).append(part)
            tasks = [
                Writing(self.url, shard, base.settings, base.version.files.get(shard), tuple(own))
                for shard, own in sorted(parts.items())
            ]
            files = {
                **{shard: record for shard, record in base.version.files.items() if shard not in parts},
                **self._written(write_shard, tasks),
            }
            # What is not staged any more need not be remembered.
            still = frozenset(name for name in self._store.names(STAGED) if name in base.applied)
            return replace(base.with_version(files, note), applied=still | applied)

        return self._published(publish)

    def _published(self, change: Callable[[Catalog], Catalog]) -> int:
        """Make the next catalog from the newest, and again from a newer one where somebody else was first."""
        for attempt in range(_PUBLISH_TRIES):
            base = catalogs.latest(self._store)
            catalog = change(base)
            if catalog is base:
                self._catalog = base
                return base.current
            try:
                catalogs.publish(self._store, catalog)
            except FileExistsError:
                self._discard(catalog, base)
                time.sleep(min(0.05 * 2**attempt, 2.0) * (0.5 + np.random.default_rng().random()))
                continue
            except BaseException:
                self._discard(catalog, base)
                raise
            self._catalog = catalog
            return catalog.current
        raise PublishConflictError(
            f"{self.url}: others published first {_PUBLISH_TRIES} times; nothing was changed"
        )

    def _discard(self, catalog: Catalog, base: Catalog) -> None:
        """Remove shards that were written for a catalog that never came into force."""
        for name in catalog.file_names() - base.file_names():
            self._store.remove(name)

    def _written(
        self, function: Callable[[Any], FileRecord | None], tasks: Sequence[Any]
    ) -> dict[int, FileRecord]:
        """Run a writer for each shard; all or none of their files stay."""
        done: dict[int, FileRecord] = {}
        error: BaseException | None = None
        waiting = list(tasks)
        tries = 3
        while waiting and error is None:
            tries -= 1
            futures = [self._engine.run(function, task) for task in waiting]
            try:
                wait(futures)
            except BaseException as interruption:
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
                        f"shard {task.shard}: its writer died three times ({failure}); nothing was published",
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


def _engine(engine: EngineName | Engine | None, url: str, options: dict[str, Any]) -> Engine:
    if engine is not None and not isinstance(engine, str):
        return engine
    if engine is None:
        import importlib.util

        engine = "ray" if importlib.util.find_spec("ray") is not None else "local"
    try:
        if engine == "ray":
            from .on_ray import RayEngine

            return RayEngine(url, **options)
        if engine == "local":
            from .local import LocalEngine

            return LocalEngine(url, **options)
    except TypeError as error:
        raise ConfigurationError(f"engine {engine!r}: {str(error).partition('() ')[2] or error}") from None
    raise ConfigurationError(f"engine: expected 'ray' or 'local', got {engine!r}")


def _checked_settings(dim: int, metric: str, type: str, index: str, columns: Mapping[str, str]) -> Settings:
    with contextlib.closing(connect(":memory:", wal=False)) as conn:
        rules = Index(conn, dim=dim, metric=metric, type=type, index=index)
        checked_metric, checked_type = rules.metric, rules.type
    for name, kind in columns.items():
        quote_identifier(name)
        if name.lower() in _OWN_NAMES:
            raise ConfigurationError(f"columns: {name!r} is a column of every shard; choose another name")
        words = kind.lower().split()
        if not words or words[0] not in _COLUMN_TYPES or words[1:] not in ([], ["indexed"]):
            kinds = ", ".join(_COLUMN_TYPES)
            raise ConfigurationError(
                f"columns: {name!r}: expected {kinds}, with or without ' indexed', got {kind!r}"
            )
    return Settings(
        dim=int(dim),
        metric=checked_metric,
        type=checked_type,
        index=index.lower(),
        columns={name: " ".join(kind.lower().split()) for name, kind in columns.items()},
    )


def _merged(parts: Iterable[tuple[Ids, Distances]], nq: int, found: int, k: int) -> tuple[Ids, Distances]:
    """The best k of all shards' answers by (distance, id)."""
    ids = np.full((nq, k), -1, np.int64)
    distances = np.full((nq, k), np.inf, np.float32)
    parts = list(parts)
    if not parts or not found or not nq:
        return ids, distances
    all_ids = np.concatenate([part[0].reshape(nq, -1) for part in parts], axis=1)
    all_distances = np.concatenate([part[1].reshape(nq, -1) for part in parts], axis=1)
    # Padding comes last, behind any row at an infinite distance.
    by_id = np.where((all_ids == -1) & np.isinf(all_distances), np.iinfo(np.int64).max, all_ids)
    order = np.lexsort((by_id, all_distances), axis=1)[:, :k]
    width = order.shape[1]
    ids[:, :width] = np.take_along_axis(all_ids, order, axis=1)
    distances[:, :width] = np.take_along_axis(all_distances, order, axis=1)
    return ids, distances


def _failure(answers: Answers) -> Exception:
    damaged = [error for error in answers.failed.values() if isinstance(error, DamagedError)]
    if damaged:
        return damaged[0]
    shards = tuple(sorted(answers.failed))
    first = answers.failed[shards[0]]
    some = ", ".join(map(str, shards[:10])) + (", ..." if len(shards) > 10 else "")
    return ShardError(
        f"{len(shards)} of {len(shards) + len(answers.results)} shards gave no answer ({some}): {first};"
        " partial=True returns what the others found",
        shards,
    )
