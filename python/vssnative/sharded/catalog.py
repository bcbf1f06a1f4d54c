"""The catalog of a sharded index: which files are its shards, in every version that is kept.

Each state of the catalog is a SQLite file of its own, ``catalog/<number>.sqlite``, written whole and never changed; the
largest number is in force. To publish is to write the files of the new shards, and then to put the catalog with the
next number: one step, which fails if somebody else took that number first. A reader keeps the catalog that it read.

    settings(key text primary key, value)         format, dim, metric, type, columns (JSON), model (JSON), current
    versions(version, published, note, shards)    `shards`: the number that ids are hashed into
    files(version, shard, name, rows, bytes, sha256)
    applied(name)                                 staged changes that the versions hold already
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .._advice import Advice
from ..errors import ConfigurationError, DamagedError, SchemaVersionError
from .store import Store

__all__ = ["Catalog", "FileRecord", "Settings", "Version", "latest", "publish"]

FORMAT = 1
FOLDER = "catalog"
_DIGITS = 12

_SCHEMA = """
create table settings(key text primary key, value) without rowid;
create table versions(version integer primary key, published real not null, note text not null, shards integer not null);
create table files(version integer not null, shard integer not null, name text not null, rows integer not null,
                   bytes integer not null, sha256 text not null, primary key(version, shard)) without rowid;
create table applied(name text primary key) without rowid;
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What all shards have in common.

    Attributes:
        dim: dimensions of a vector.
        metric, type, index: as of ``vssnative.Index``.
        columns: names and declared types of the columns that ``where`` can use.
        model: name, config and digest of the embedder that made the vectors; None where the caller brought them.
    """

    dim: int
    metric: str = "l2"
    type: str = "float32"
    index: str = "cells"
    columns: Mapping[str, str] = field(default_factory=dict)
    model: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One shard's file.

    Attributes:
        shard: its number.
        name: its name in the store.
        rows: vectors in it.
        bytes: its size.
        sha256: of the whole file, hexadecimal.
    """

    shard: int
    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Version:
    """One published state.

    Attributes:
        number: from 1 on; 0 is the empty state before the first publish.
        published: seconds since 1970.
        note: what was done, in a few words.
        shards: the number of shards that ids are hashed into.
        files: the shards that hold rows, by number.
    """

    number: int
    published: float
    note: str
    shards: int
    files: Mapping[int, FileRecord]

    @property
    def rows(self) -> int:
        return sum(record.rows for record in self.files.values())

    @property
    def bytes(self) -> int:
        return sum(record.bytes for record in self.files.values())


@dataclass(frozen=True, slots=True)
class Catalog:
    """One state of the catalog.

    Attributes:
        number: of its file.
        current: the version that a new reader gets.
        settings: of all shards.
        versions: those that are kept, by number.
        applied: names of staged changes that are in a version already.
    """

    number: int
    current: int
    settings: Settings
    versions: Mapping[int, Version]
    applied: frozenset[str] = frozenset()

    @property
    def version(self) -> Version:
        return self.versions[self.current]

    @property
    def name(self) -> str:
        return f"{FOLDER}/{self.number:0{_DIGITS}d}.sqlite"

    def with_version(
        self, files: Mapping[int, FileRecord], note: str, *, shards: int | None = None
    ) -> Catalog:
        """The catalog after a publish of these files."""
        number = max(self.versions) + 1
        version = Version(number, time.time(), note, shards or self.version.shards, dict(files))
        return replace(
            self,
            number=self.number + 1,
            current=number,
            versions={**self.versions, number: version},
        )

    def pointing_to(self, version: int) -> Catalog:
        """The catalog whose current version is that one.

        Raises:
            ConfigurationError: there is no such version.
        """
        if version not in self.versions:
            kept = ", ".join(map(str, sorted(self.versions)))
            raise ConfigurationError(f"there is no version {version}; the catalog keeps {kept}")
        return replace(self, number=self.number + 1, current=version)

    def keeping(self, versions: int) -> Catalog:
        """The catalog without all but the newest `versions` and the current one."""
        kept = {*sorted(self.versions)[-versions:], self.current}
        return replace(
            self,
            number=self.number + 1,
            versions={number: version for number, version in self.versions.items() if number in kept},
        )

    def file_names(self) -> set[str]:
        """The shards of all versions that are kept."""
        return {record.name for version in self.versions.values() for record in version.files.values()}


def first(settings: Settings, shards: int) -> Catalog:
    """The catalog of an empty index."""
    empty = Version(0, time.time(), "created", shards, {})
    return Catalog(1, 0, settings, {0: empty})


def latest(store: Store) -> Catalog:
    """The catalog that is in force.

    Raises:
        ConfigurationError: there is no catalog.
        DamagedError: its file does not hold what a catalog must hold.
        SchemaVersionError: a newer vssnative wrote it.
    """
    for _ in range(20):
        names = [name for name in store.names(FOLDER) if name.endswith(".sqlite")]
        if not names:
            raise ConfigurationError(
                f"{store.url}: there is no sharded index here",
                advice=Advice(
                    "make one with ShardedIndex.create",
                    f"vssnative shards create {shlex.quote(store.url)} --dim DIM makes one",
                ),
            )
        with contextlib.suppress(FileNotFoundError):  # a vacuum removed it, so there is a newer one
            return _fetched(store, names[-1])
    raise ConfigurationError(f"{store.url}: the catalog changes faster than it can be read")


def publish(store: Store, catalog: Catalog) -> None:
    """Put the catalog in force.

    Raises:
        FileExistsError: somebody else published first; nothing has changed.
    """
    with store.workspace() as directory:
        path = directory / "catalog.sqlite"
        _write(path, catalog)
        store.put(catalog.name, path)


def numbers_before(store: Store, number: int) -> list[str]:
    """Names of older catalogs."""
    return [name for name in store.names(FOLDER) if name < f"{FOLDER}/{number:0{_DIGITS}d}"]


def _fetched(store: Store, name: str) -> Catalog:
    where = f"{store.url}/{name}"
    try:
        number = int(name.rpartition("/")[2].partition(".")[0])
    except ValueError:
        raise DamagedError(f"{where}: not the name of a catalog; remove the file") from None
    with store.workspace() as directory:
        path = directory / "catalog.sqlite"
        store.fetch(name, path)
        try:
            return _read(path, number, where)
        except (sqlite3.Error, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(
                f"{where}: the catalog is damaged ({error}); removing this file puts the one before in force"
            ) from error


def _write(path: Path, catalog: Catalog) -> None:
    settings = catalog.settings
    values: dict[str, Any] = {
        "format": FORMAT,
        "current": catalog.current,
        "dim": settings.dim,
        "metric": settings.metric,
        "type": settings.type,
        "index": settings.index,
        "columns": json.dumps(dict(settings.columns)),
        "model": None if settings.model is None else json.dumps(dict(settings.model)),
    }
    with _opened(path) as conn:
        conn.executescript(_SCHEMA)
        conn.executemany("insert into settings values (?, ?)", values.items())
        for version in catalog.versions.values():
            conn.execute(
                "insert into versions values (?, ?, ?, ?)",
                (version.number, version.published, version.note, version.shards),
            )
            conn.executemany(
                "insert into files values (?, ?, ?, ?, ?, ?)",
                [
                    (version.number, f.shard, f.name, f.rows, f.bytes, f.sha256)
                    for f in version.files.values()
                ],
            )
        conn.executemany("insert into applied values (?)", [(name,) for name in sorted(catalog.applied)])
        conn.commit()


def _read(path: Path, number: int, where: str) -> Catalog:
    with _opened(path) as conn:
        values = dict(conn.execute("select key, value from settings"))
        if int(values["format"]) > FORMAT:
            raise SchemaVersionError(
                f"{where}: the catalog has format {values['format']}, this vssnative reads up to {FORMAT}; upgrade it"
            )
        files: dict[int, dict[int, FileRecord]] = {}
        for version, *record in conn.execute(
            "select version, shard, name, rows, bytes, sha256 from files order by version, shard"
        ):
            files.setdefault(version, {})[record[0]] = FileRecord(*record)
        versions = {
            row[0]: Version(row[0], float(row[1]), str(row[2]), int(row[3]), files.get(row[0], {}))
            for row in conn.execute("select version, published, note, shards from versions order by version")
        }
        settings = Settings(
            dim=int(values["dim"]),
            metric=str(values["metric"]),
            type=str(values["type"]),
            index=str(values["index"]),
            columns=json.loads(values["columns"]),
            model=None if values["model"] is None else json.loads(values["model"]),
        )
        applied = frozenset(name for (name,) in conn.execute("select name from applied"))
    current = int(values["current"])
    if current not in versions:
        raise ValueError(f"it points to version {current}, which it does not hold")
    return Catalog(number, current, settings, versions, applied)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    conn = sqlite3.connect(path)
    try:
        yield conn
    finally:
        conn.close()
