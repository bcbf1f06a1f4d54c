"""Changes of rows on their way into shards: checked once, cut up by shard, kept in files where they are staged."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .._connection import connect
from .._index import Index
from .._sql import quote_identifier
from ..errors import ConfigurationError, DamagedError, DimensionError, DuplicateIdError, InvalidVectorError
from .catalog import Settings
from .routing import Ids, shard_of
from .store import Store

__all__ = ["Changes", "Kind", "checked", "checked_settings", "read_staged", "stage", "staged_names"]

STAGED = "staged"
_COLUMN_TYPES = ("text", "integer", "real", "numeric")
_OWN_NAMES = ("id", "content_hash", "rowid")
Kind = Literal["add", "replace", "remove"]
Values = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows to add, replace or remove.

    Attributes:
        kind: what to do; ``"add"`` fails where an id is there already.
        ids: int64 (n,), each once.
        matrix: (n, dim) of the column's element type or float32; None for ``"remove"``.
        columns: values of the columns, n each.
        hashes: int64 (n,), of the texts that were embedded; None where the caller brought vectors.
    """

    kind: Kind
    ids: Ids
    matrix: npt.NDArray[Any] | None
    columns: Values
    hashes: Ids | None = None

    def by_shard(self, shards: int) -> dict[int, Changes]:
        """The part of each shard that gets any."""
        home = shard_of(self.ids, shards)
        return {int(shard): self._taking(np.flatnonzero(home == shard)) for shard in np.unique(home)}

    def _taking(self, rows: npt.NDArray[np.intp]) -> Changes:
        return Changes(
            self.kind,
            self.ids[rows],
            None if self.matrix is None else self.matrix[rows],
            {name: [values[row] for row in rows] for name, values in self.columns.items()},
            None if self.hashes is None else self.hashes[rows],
        )


def checked(
    settings: Settings,
    kind: Kind,
    ids: npt.ArrayLike,
    matrix: npt.NDArray[Any] | None,
    columns: Mapping[str, Any] | None,
    hashes: Ids | None = None,
) -> Changes:
    """The changes, after everything has been checked that can be without reading a shard.

    Raises:
        ConfigurationError: a column that the index does not have.
        DimensionError, DuplicateIdError, InvalidVectorError: ids or matrix.
    """
    rowids = np.asarray(ids)
    if (
        rowids.ndim != 1
        or rowids.dtype == bool
        or (rowids.size and not np.issubdtype(rowids.dtype, np.integer))
    ):
        raise InvalidVectorError(f"ids: expected integers of shape (n,), got {rowids.dtype} {rowids.shape}")
    if rowids.dtype == np.uint64 and rowids.size and rowids.max() > np.iinfo(np.int64).max:
        raise InvalidVectorError(f"ids: {rowids.max()} does not fit into 64 signed bits")
    rowids = rowids.astype(np.int64)
    unique, counts = np.unique(rowids, return_counts=True)
    if len(unique) != len(rowids):
        raise DuplicateIdError(
            f"ids: {unique[counts > 1][0]} comes {counts.max()} times; nothing was changed"
        )
    if kind == "remove":
        return Changes(kind, rowids, None, {})
    array = np.asarray(matrix)
    if array.ndim != 2 or (settings.type != "bit" and array.shape[1] != settings.dim):
        raise DimensionError(f"matrix: expected shape (n, {settings.dim}), got {array.shape}")
    if len(array) != len(rowids):
        raise DimensionError(
            f"ids and matrix: expected as many ids as rows, got {len(rowids)} ids and {len(array)} rows"
        )
    if settings.type == "float32" and array.dtype != np.float32:
        array = array.astype(np.float32)
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise InvalidVectorError(f"matrix: row {row} (id {rowids[row]}) holds NaN or infinity")
    values = {name: list(given) for name, given in (columns or {}).items()}
    unknown = set(values) - set(settings.columns)
    if unknown:
        known = ", ".join(settings.columns) or "none"
        raise ConfigurationError(f"columns: there is no {sorted(unknown)[0]!r}; the index has {known}")
    for name, given in values.items():
        if len(given) != len(rowids):
            raise DimensionError(f"columns: {name!r} has {len(given)} values for {len(rowids)} ids")
        values[name] = [_plain(name, value) for value in given]
    return Changes(kind, rowids, array, values, hashes)


def _plain(name: str, value: Any) -> Any:
    """A value that SQLite and JSON both know."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise ConfigurationError(
        f"columns: {name!r} takes text, numbers and None, not {type(value).__name__} ({value!r:.60})"
    )


def checked_settings(dim: int, metric: str, type: str, index: str, columns: Mapping[str, str]) -> Settings:
    """The settings of a new index.

    Raises:
        ConfigurationError: one of them cannot be.
    """
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


# --- staged files -----------------------------------------------------------------------------------------------------


def stage(store: Store, changes: Changes) -> str:
    """Keep the changes in a file of the store until the next publish; the file's name says their order."""
    name = f"{STAGED}/{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.npz"
    arrays: dict[str, npt.NDArray[Any]] = {"ids": changes.ids}
    if changes.matrix is not None:
        arrays["matrix"] = changes.matrix
    if changes.hashes is not None:
        arrays["hashes"] = changes.hashes
    head = json.dumps({"kind": changes.kind, "columns": dict(changes.columns)}).encode()
    arrays["head"] = np.frombuffer(head, np.uint8)
    with store.workspace() as directory:
        path = directory / "staged.npz"
        np.savez(path, **arrays)  # type: ignore[arg-type]
        store.put(name, path)
    return name


def staged_names(store: Store) -> list[str]:
    """Names of the staged files, in the order in which they count."""
    return [name for name in store.names(STAGED) if name.endswith(".npz")]


def read_staged(store: Store, name: str) -> Changes:
    """What `stage` kept.

    Raises:
        DamagedError: the file holds something else.
        FileNotFoundError: it is not there any more.
    """
    with store.workspace() as directory:
        path = directory / "staged.npz"
        store.fetch(name, path)
        return _read(path, f"{store.url}/{name}")


def _read(path: Path, where: str) -> Changes:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            head = json.loads(arrays["head"].tobytes())
            return Changes(
                head["kind"],
                arrays["ids"],
                arrays["matrix"] if "matrix" in arrays else None,
                head["columns"],
                arrays["hashes"] if "hashes" in arrays else None,
            )
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise DamagedError(
            f"{where}: a staged change is damaged ({error}); remove the file and stage it again"
        ) from error
