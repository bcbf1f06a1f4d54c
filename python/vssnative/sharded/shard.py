"""One shard: an ordinary file with a vss0 table, read by a server and written by a task. Neither knows of other shards.

Table ``vss_vectors(embedding)`` holds the vectors, ``items(id, content_hash, ...)`` the columns that `where` can use.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._connection import connect, is_corrupt, load
from .._index import Index
from .._sql import quote_identifier
from ..errors import DamagedError, DuplicateIdError, QueryError, ShardError
from .catalog import FileRecord, Settings
from .changes import Changes
from .routing import Ids, shard_of
from .store import Store, cache_directory, digest_of, open_store

__all__ = ["Rebalancing", "ShardServer", "Writing", "rebalanced_shard", "write_shard"]

_TABLE = "vss_vectors"
_ROWS_AT_ONCE = 20_000
# Files that a server keeps open. More only means to open one again.
_OPEN_FILES = 64


# --- writing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Writing:
    """What `write_shard` needs: where, which shard, the file it starts from (None: an empty one), and the changes."""

    url: str
    shard: int
    settings: Settings
    base: FileRecord | None
    changes: Sequence[Changes]


@dataclass(frozen=True, slots=True)
class Rebalancing:
    """What `rebalanced_shard` needs: the files of the old version, and the number of shards of the new one."""

    url: str
    shard: int
    shards: int
    settings: Settings
    sources: Sequence[FileRecord]


def write_shard(task: Writing) -> FileRecord | None:
    """Make the next file of a shard; None if no row is left. The file is visible, but no catalog names it yet.

    Raises:
        DamagedError: the file it starts from is not what the catalog says.
        DuplicateIdError, InvalidVectorError: the changes cannot be made; nothing was written.
    """
    store = open_store(task.url)
    with store.workspace() as directory:
        path = directory / "shard.sqlite"
        if task.base is not None:
            _fetch_checked(store, task.base, path)
        with _writable(path, task.settings, new=task.base is None) as conn:
            index = _index(conn, task.settings)
            for changes in task.changes:
                _apply(conn, index, task.settings, changes, task.shard)
            rows = len(index)
        return _stored(store, path, task.shard, rows)


def rebalanced_shard(task: Rebalancing) -> FileRecord | None:
    """Make the file of one shard of a version with another number of shards; None if it gets no row."""
    store = open_store(task.url)
    with store.workspace() as directory:
        path = directory / "shard.sqlite"
        with _writable(path, task.settings, new=True) as conn:
            index = _index(conn, task.settings)
            for record in task.sources:
                source = store.path_of(record.name)
                if source is None:
                    source = directory / "source.sqlite"
                    _fetch_checked(store, record, source)
                elif digest_of(source) != record.sha256:
                    raise _damaged(store, record)
                _copy_rows(source, conn, index, task)
            rows = len(index)
        return _stored(store, path, task.shard, rows)


def _copy_rows(source: Path, conn: sqlite3.Connection, index: Index, task: Rebalancing) -> None:
    names = ["id", "content_hash", *(quote_identifier(name) for name in task.settings.columns)]
    with _readable(source) as reader:
        old = Index(reader, _TABLE)
        ids = np.fromiter((id for (id,) in reader.execute("select id from items order by id")), np.int64)
        ids = ids[shard_of(ids, task.shards) == task.shard]
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            some = ids[start : start + _ROWS_AT_ONCE]
            index.add(some, old.get(some))
            rows = [
                reader.execute(f"select {', '.join(names)} from items where id = ?", (int(id),)).fetchone()
                for id in some
            ]
            conn.executemany(f"insert into items({', '.join(names)}) values ({_marks(names)})", rows)


def _apply(conn: sqlite3.Connection, index: Index, settings: Settings, changes: Changes, shard: int) -> None:
    ids = [(int(id),) for id in changes.ids]
    if changes.kind == "remove":
        index.remove(changes.ids)
        conn.executemany("delete from items where id = ?", ids)
        return
    assert changes.matrix is not None
    try:
        index.add(changes.ids, np.ascontiguousarray(changes.matrix), replace=changes.kind == "replace")
    except DuplicateIdError as error:
        raise DuplicateIdError(f"shard {shard}: {error}; nothing was published") from None
    hashes = [None] * len(ids) if changes.hashes is None else changes.hashes.tolist()
    names = ["id", "content_hash", *(quote_identifier(name) for name in changes.columns)]
    rows = zip(changes.ids.tolist(), hashes, *changes.columns.values(), strict=True)
    # Replacing a row's vector keeps the columns that the call does not name.
    updates = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
    conn.executemany(
        f"insert into items({', '.join(names)}) values ({_marks(names)}) on conflict(id) do update set {updates}",
        rows,
    )


def _marks(names: Sequence[str]) -> str:
    return ", ".join("?" * len(names))


@contextlib.contextmanager
def _writable(path: Path, settings: Settings, *, new: bool) -> Iterator[sqlite3.Connection]:
    """The file, open for one transaction; where anything fails the caller throws the file away."""
    conn = connect(path, wal=False, synchronous="OFF")
    try:
        conn.execute("pragma journal_mode = memory")
        if new:
            columns = "".join(
                f", {quote_identifier(name)} {_declared(kind)}" for name, kind in settings.columns.items()
            )
            conn.execute(f"create table items(id integer primary key, content_hash integer{columns})")
            for name, kind in settings.columns.items():
                if kind.split()[1:] == ["indexed"]:
                    by = quote_identifier(f"items_by_{name}")
                    conn.execute(f"create index {by} on items({quote_identifier(name)})")
        yield conn
        conn.commit()
    finally:
        conn.close()


def _declared(kind: str) -> str:
    return kind.split()[0]


def _index(conn: sqlite3.Connection, settings: Settings) -> Index:
    return Index(
        conn, _TABLE, dim=settings.dim, metric=settings.metric, type=settings.type, index=settings.index
    )


def _stored(store: Store, path: Path, shard: int, rows: int) -> FileRecord | None:
    if rows == 0:
        return None
    name = f"shards/{shard:05d}-{uuid.uuid4().hex}.sqlite"
    record = FileRecord(shard, name, rows, path.stat().st_size, digest_of(path))
    store.put(name, path)
    return record


def _fetch_checked(store: Store, record: FileRecord, target: Path) -> None:
    try:
        store.fetch(record.name, target)
    except FileNotFoundError:
        raise _missing(store, record) from None
    if digest_of(target) != record.sha256:
        raise _damaged(store, record)


def _missing(store: Store, record: FileRecord) -> DamagedError:
    return DamagedError(
        f"shard {record.shard}: {store.url}/{record.name} is missing; a vacuum may have removed this version"
        " (refresh() reads the newest), else restore the file or roll back to a version that is whole"
    )


def _damaged(store: Store, record: FileRecord) -> DamagedError:
    return DamagedError(
        f"shard {record.shard}: {store.url}/{record.name} does not have the checksum that the catalog names;"
        " restore the file or roll back to a version that is whole"
    )


# --- reading ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[sqlite3.Connection]:
    conn = _open_immutable(path)
    try:
        yield conn
    finally:
        conn.close()


def _open_immutable(path: Path) -> sqlite3.Connection:
    """No file that was published ever changes, so SQLite need not lock it nor look for a journal."""
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    conn = sqlite3.connect(uri, uri=True, check_same_thread=False)
    try:
        conn.execute(f"pragma mmap_size = {path.stat().st_size}")
        load(conn)
    except BaseException:
        conn.close()
        raise
    return conn


class ShardServer:
    """Answers for the shards that it is asked about. All it knows can be read again from their files.

    Args:
        url: of the store.
        copy: keep a copy on this machine even where the store can be opened in place.
        cache: the directory for copies; None: this machine's usual one.
    """

    def __init__(self, url: str, copy: bool = False, cache: str | None = None) -> None:
        self._store = open_store(url)
        self._copy = copy
        self._cache = cache_directory() if cache is None else Path(cache)
        self._open: dict[str, sqlite3.Connection] = {}
        self._lock = threading.Lock()

    def search(
        self,
        record: FileRecord,
        queries: npt.NDArray[Any],
        k: int,
        where: str | None,
        params: Sequence[Any],
        recall: float | None,
        timeout: float | None,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """As ``Index.search`` over the shard; ended after `timeout` seconds, if given, with a ShardError."""
        with self._lock:
            conn = self._connection(record)
            condition = None if where is None else f"rowid in (select id from items where (\n{where}\n))"
            with _interrupted_after(conn, timeout):
                try:
                    found = Index(conn, _TABLE).search(
                        queries, k, where=condition, params=params, recall=recall
                    )
                except sqlite3.Error as error:
                    if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT" or "interrupted" in str(
                        error
                    ):
                        raise ShardError(
                            f"shard {record.shard}: no answer within {timeout:g} s", (record.shard,)
                        ) from None
                    if is_corrupt(error):
                        raise DamagedError(f"shard {record.shard}: {error}") from error
                    raise QueryError(f"where: {error}: {where!r}") from error
        return found

    def hashes(self, record: FileRecord) -> tuple[Ids, Ids]:
        """Ids of the rows that were embedded from a text, and the hashes of their texts: int64 (n,) each."""
        with self._lock:
            sql = "select id, content_hash from items where content_hash is not null order by id"
            rows = np.array(self._connection(record).execute(sql).fetchall(), np.int64).reshape(-1, 2)
        return rows[:, 0].copy(), rows[:, 1].copy()

    def sample(self, record: FileRecord, n: int, seed: int) -> npt.NDArray[Any]:
        """Vectors of up to n rows, at random: (n, dim)."""
        with self._lock:
            conn = self._connection(record)
            ids = np.fromiter((id for (id,) in conn.execute("select id from items order by id")), np.int64)
            chosen = np.random.default_rng(seed).choice(ids, min(n, len(ids)), replace=False)
            return Index(conn, _TABLE).get(chosen)

    def check(self, record: FileRecord) -> list[str]:
        """What is wrong with the shard, a sentence each: its checksum, its counts, and what ``vss_check`` finds."""
        with self._lock:
            self._forget(record.name)
            try:
                conn = self._connection(record)
            except DamagedError as error:
                return [str(error)]
            problems = []
            [(items,)] = conn.execute("select count(*) from items").fetchall()
            counts = {"the catalog": record.rows, "items": items, "vectors": len(Index(conn, _TABLE))}
            if len(set(counts.values())) > 1:
                words = ", ".join(f"{who} {count}" for who, count in counts.items())
                problems.append(f"shard {record.shard}: row counts differ: {words}")
            for (text,) in conn.execute("select vss_check(?)", (_TABLE,)):
                if text not in (None, "", "ok"):
                    problems.append(f"shard {record.shard}: {text}")
            return problems

    def _connection(self, record: FileRecord) -> sqlite3.Connection:
        conn = self._open.pop(record.name, None)
        if conn is None:
            conn = _open_immutable(self._path(record))
            while len(self._open) >= _OPEN_FILES:
                self._forget(next(iter(self._open)))
        self._open[record.name] = conn  # the last one used is the last to go
        return conn

    def _forget(self, name: str) -> None:
        conn = self._open.pop(name, None)
        if conn is not None:
            conn.close()

    def _path(self, record: FileRecord) -> Path:
        """The shard's file on this machine, with the checksum that the catalog names."""
        in_place = self._store.path_of(record.name)
        if in_place is not None and not self._copy:
            if not in_place.is_file():
                raise _missing(self._store, record)
            if digest_of(in_place) != record.sha256:
                raise _damaged(self._store, record)
            return in_place
        self._cache.mkdir(parents=True, exist_ok=True)
        path = self._cache / f"{record.sha256}.sqlite"
        if not path.is_file() or digest_of(path) != record.sha256:
            part = self._cache / f".{uuid.uuid4().hex}"
            try:
                _fetch_checked(self._store, record, part)
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
        return path


@contextlib.contextmanager
def _interrupted_after(conn: sqlite3.Connection, timeout: float | None) -> Iterator[None]:
    if timeout is None:
        yield
        return
    timer = threading.Timer(timeout, conn.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
