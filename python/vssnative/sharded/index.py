"""ShardedIndex: one index over many files, which processes of one machine or of a Ray cluster serve."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from .._sql import check_params
from .._words import counted
from ..errors import (
    ConfigurationError,
    DimensionError,
    InvalidVectorError,
    QueryError,
)
from . import catalog as catalogs
from .catalog import Catalog, Settings, Version
from .changes import Changes, Kind, checked, checked_settings, read_staged, stage, staged_names
from .engine import Engine
from .fan_out import Answers, ask_all, failure_of, merged
from .publishing import Publisher
from .routing import Ids
from .shard import Rebalancing, rebalanced_shard
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
        self._publisher = Publisher(self._store, self._engine)
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
            ConfigurationError: an argument is invalid, or there is an index at `url` already.
        """
        if isinstance(shards, bool) or not isinstance(shards, int) or not 1 <= shards <= 65536:
            raise ConfigurationError(f"shards: expected 1 to 65536, got {shards!r}")
        settings = checked_settings(dim, metric, type, index, columns or {})
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
        """Remove rows and publish; ids that are not there are ignored. Returns the version."""
        return self._change("remove", ids, None, None, publish)

    def publish(self) -> int:
        """Publish all staged changes, in their order, as one version; returns it. Nothing staged: nothing is done.

        A publish that was interrupted is simply called again: what is staged counts exactly once.
        """

        def build(base: Catalog) -> tuple[Sequence[Changes], frozenset[str]]:
            waiting = [name for name in staged_names(self._store) if name not in base.applied]
            return [read_staged(self._store, name) for name in waiting], frozenset(waiting)

        self._catalog = self._publisher.publish(build, "staged changes")
        for name in staged_names(self._store):
            if name in self._catalog.applied:
                self._store.remove(name)
        return self.version

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
            files = self._publisher.written(rebalanced_shard, tasks)
            return base.with_version(files, f"{base.version.shards} shards become {shards}", shards=shards)

        self._catalog = self._publisher.put_in_force(publish)
        return self.version

    def rollback(self, version: int) -> int:
        """Make an older version the current one again; it and the newer ones stay. Returns its number.

        Raises:
            ConfigurationError: that version is not kept.
        """
        self._catalog = self._publisher.put_in_force(lambda base: base.pointing_to(version))
        return self.version

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
            catalog = self._catalog = self._publisher.put_in_force(lambda base: base.keeping(keep))
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
        """Embed texts and add their vectors, as one version at the end; rows that have not changed are skipped.

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
        params: Sequence[Any] | None = (),
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
        params = () if params is None else params
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
                raise failure_of(answers)
            missing |= {shard: str(error) for shard, error in answers.failed.items()}
            parts.append(merged(list(answers.results.values()), len(some), wanted, int(k)))
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
        note = f"{kind} {counted(len(changes.ids), 'row')}"
        self._catalog = self._publisher.publish(lambda base: ([changes], frozenset()), note)
        return self.version

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

        self._catalog = self._publisher.put_in_force(change)


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
