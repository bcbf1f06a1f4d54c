"""Texts into shards: batches are embedded, staged one by one, and published together.

The same function embeds a batch in this process and in Ray Data's actors. A row's content hash covers the model, the
text and the kept columns; rows whose hash is in the index or among the staged changes are not embedded again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..embedding.protocol import Embedder
from ..embedding.registry import from_config, get_embedder
from ..errors import ConfigurationError, MissingDependencyError, ShardError
from .catalog import Settings
from .changes import checked
from .fan_out import ask_all
from .routing import Ids

if TYPE_CHECKING:
    from .index import ShardedIndex

__all__ = ["EmbedReport", "embed", "embedder_of"]

Batch = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class EmbedReport:
    """What a run did.

    Attributes:
        embedded: rows that got a vector in this run.
        resumed: rows that a run before had staged, and this one published.
        unchanged: rows that were passed over.
        version: that holds them.
    """

    embedded: int
    resumed: int
    unchanged: int
    version: int


@dataclass(frozen=True, slots=True)
class _Known:
    """Ids in ascending order, and the hash of each."""

    ids: Ids
    hashes: Ids

    def covers(self, ids: Ids, hashes: Ids) -> npt.NDArray[np.bool_]:
        if not len(self.ids):
            return np.zeros(len(ids), bool)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        same: npt.NDArray[np.bool_] = (self.ids[at] == ids) & (self.hashes[at] == hashes)
        return same


def embedder_of(settings: Settings) -> Embedder:
    """The embedder that made the index's vectors.

    Raises:
        ConfigurationError: the model here is another one by its digest.
    """
    assert settings.model is not None
    key = json.dumps(dict(settings.model), sort_keys=True)
    if key not in _embedders:
        embedder = from_config(settings.model["config"])
        if embedder.digest != settings.model["digest"]:
            raise ConfigurationError(
                f"the index holds vectors of {settings.model['name']} with digest {settings.model['digest'][:12]};"
                f" the model on this machine has {embedder.digest[:12]}"
            )
        _embedders[key] = embedder
    return _embedders[key]


_embedders: dict[str, Embedder] = {}


def embed(
    index: ShardedIndex,
    data: Any,
    *,
    text: str,
    id: str,
    columns: Sequence[str],
    model: Any,
    batch_size: int,
    concurrency: int,
    progress: Callable[[int], object] | None,
    actor_options: dict[str, Any] | None,
) -> EmbedReport:
    """As ``ShardedIndex.embed``."""
    index.refresh()
    settings, embedder = _with_model(index.settings, model)
    unknown = set(columns) - set(settings.columns)
    if unknown:
        raise ConfigurationError(
            f"columns: the index has no {sorted(unknown)[0]!r}; it has {list(settings.columns)}"
        )
    index._record_model(settings)
    known, resumed = _known(index)
    names = _Names(id, text, tuple(columns))
    assert settings.model is not None
    if _is_ray_dataset(data):
        batches = _by_ray(
            data, names, dict(settings.model), known, batch_size, concurrency, actor_options or {}
        )
    else:
        work = _Embedding(names, dict(settings.model), known, embedder)
        batches = (work(batch) for batch in _batches(data, names, batch_size))
    embedded = unchanged = 0
    for batch in batches:
        unchanged += int(batch["unchanged"].sum())
        new = {name: values[batch["is_new"]] for name, values in batch.items()}
        if len(new["id"]):
            values = {name: new[f"column:{name}"].tolist() for name in columns}
            matrix = np.ascontiguousarray(np.stack(list(new["vector"])), np.float32)
            index._stage(checked(settings, "replace", new["id"], matrix, values, new["hash"]))
            embedded += len(new["id"])
        if progress is not None:
            progress(embedded)
    version = index.publish()
    return EmbedReport(embedded, resumed, unchanged, version)


@dataclass(frozen=True, slots=True)
class _Names:
    id: str
    text: str
    columns: tuple[str, ...]


class _Embedding:
    """Embeds the rows of a batch that are new; what Ray Data runs in its actors.

    Batches come and go as columns of numpy arrays. All rows go through, since Ray Data cannot carry a batch without
    any: ``is_new`` says which have a vector.
    """

    def __init__(
        self, names: _Names, model: Mapping[str, Any], known: Any, embedder: Embedder | None = None
    ) -> None:
        if not isinstance(known, _Known):
            import ray

            known = ray.get(known)
        self._names = names
        self._digest = str(model["digest"])
        self._known: _Known = known
        settings = Settings(dim=1, model=model)
        self._embedder = embedder_of(settings) if embedder is None else embedder

    def __call__(self, batch: Batch) -> Batch:
        names = self._names
        ids = _ids_of(batch[names.id], names.id)
        texts = [_text_of(value, names.text) for value in batch[names.text]]
        kept = {name: np.asarray(batch[name], object) for name in names.columns}
        hashes = np.fromiter(
            (
                _hash(self._digest, row, [kept[name][i] for name in names.columns])
                for i, row in enumerate(texts)
            ),
            np.int64,
            len(texts),
        )
        is_new = ~self._known.covers(ids, hashes)
        vectors = np.zeros((len(ids), self._embedder.dim), np.float32)
        if is_new.any():
            vectors[is_new] = self._embedder.embed_documents([texts[i] for i in np.flatnonzero(is_new)])
        return {
            "id": ids,
            "hash": hashes,
            "is_new": is_new,
            "unchanged": ~is_new,
            "vector": vectors,
            **{f"column:{name}": values for name, values in kept.items()},
        }


def _with_model(settings: Settings, model: Any) -> tuple[Settings, Embedder]:
    if settings.model is not None:
        embedder = embedder_of(settings)
        if model is not None and get_embedder(model).digest != embedder.digest:
            raise ConfigurationError(
                f"the index holds vectors of {settings.model['name']}; vectors of another model cannot be compared with"
                " them: make a new index"
            )
        return settings, embedder
    embedder = get_embedder("minilm" if model is None else model)
    if embedder.dim != settings.dim:
        raise ConfigurationError(
            f"{embedder.name} returns {embedder.dim} dimensions, the index has {settings.dim}"
        )
    described = {"name": embedder.name, "config": embedder.config(), "digest": embedder.digest}
    return replace(settings, model=described), embedder


def _known(index: ShardedIndex) -> tuple[_Known, int]:
    """What need not be embedded: the index's rows, and those that are staged (how many)."""
    files = index._version.files
    answers = ask_all(index.engine, "hashes", {shard: (record,) for shard, record in files.items()})
    if answers.failed:
        shard, error = next(iter(answers.failed.items()))
        raise ShardError(f"shard {shard}: {error}", (shard,))
    newest: dict[int, int] = {}
    for ids, hashes in answers.results.values():
        newest.update(zip(ids.tolist(), hashes.tolist(), strict=True))
    staged = set()
    for changes in index._staged_changes():
        for at, id in enumerate(changes.ids.tolist()):
            staged.discard(id)
            newest.pop(id, None)
            if changes.hashes is not None:
                newest[id] = int(changes.hashes[at])
                staged.add(id)
    ids = np.array(sorted(newest), np.int64)
    return _Known(ids, np.array([newest[id] for id in ids.tolist()], np.int64)), len(staged)


def _hash(digest: str, text: str, values: Sequence[Any]) -> int:
    content = json.dumps([digest, text, [_plain(value) for value in values]], ensure_ascii=False)
    raw = hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(raw, "little", signed=True)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _ids_of(values: npt.NDArray[Any], name: str) -> Ids:
    ids = np.asarray(values)
    if not np.issubdtype(ids.dtype, np.integer):
        raise ConfigurationError(f"column {name!r}: expected integer ids, got {ids.dtype}")
    return ids.astype(np.int64)


def _text_of(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ConfigurationError(f"column {name!r}: expected texts, got {type(value).__name__}")
    return value


# --- where the rows come from -----------------------------------------------------------------------------------------


def _is_ray_dataset(data: Any) -> bool:
    return type(data).__module__.startswith("ray.data")


def _by_ray(
    dataset: Any,
    names: _Names,
    model: dict[str, Any],
    known: _Known,
    batch_size: int,
    concurrency: int,
    actor_options: dict[str, Any],
) -> Iterator[Batch]:
    import ray

    embedded = dataset.map_batches(
        _Embedding,
        fn_constructor_args=(names, model, ray.put(known)),
        batch_size=batch_size,
        concurrency=concurrency,
        **actor_options,
    )
    yield from embedded.iter_batches(batch_size=batch_size, batch_format="numpy")


def _batches(data: Any, names: _Names, batch_size: int) -> Iterator[Batch]:
    wanted = [names.id, names.text, *names.columns]
    if isinstance(data, (str, os.PathLike)):
        data = _parquet(Path(data), wanted, batch_size)
    elif hasattr(data, "to_batches"):  # Arrow
        data = data.to_batches(max_chunksize=batch_size)
    elif hasattr(data, "iter_slices"):  # polars
        data = ({name: part[name].to_list() for name in wanted} for part in data.iter_slices(batch_size))
    elif hasattr(data, "iloc"):  # pandas
        starts = range(0, len(data), batch_size)
        data = ({name: data[name].iloc[at : at + batch_size].tolist() for name in wanted} for at in starts)
    else:
        data = _gathered(data, wanted, batch_size)
    for part in data:
        columns = part.to_pydict() if hasattr(part, "to_pydict") else part
        missing = [name for name in wanted if name not in columns]
        if missing:
            raise ConfigurationError(f"data: there is no column {missing[0]!r}; it has {', '.join(columns)}")
        batch = {name: np.asarray(columns[name], object) for name in wanted}
        batch[names.id] = np.asarray(columns[names.id])
        if len(batch[names.id]):
            yield batch


def _parquet(path: Path, wanted: list[str], batch_size: int) -> Iterator[Any]:
    try:
        import pyarrow.dataset
    except ImportError:
        raise MissingDependencyError(f"{path}: Parquet needs pyarrow; pip install pyarrow") from None
    dataset = pyarrow.dataset.dataset(path)
    missing = [name for name in wanted if name not in dataset.schema.names]
    if missing:
        raise ConfigurationError(
            f"{path}: there is no column {missing[0]!r}; it has {', '.join(dataset.schema.names)}"
        )
    yield from dataset.to_batches(columns=wanted, batch_size=batch_size)


def _gathered(
    rows: Iterable[Mapping[str, Any]], wanted: list[str], batch_size: int
) -> Iterator[dict[str, list[Any]]]:
    batch: dict[str, list[Any]] = {name: [] for name in wanted}
    for row in rows:
        missing = [name for name in wanted if name not in row]
        if missing:
            raise ConfigurationError(f"data: a row has no {missing[0]!r}; it has {', '.join(row)}")
        for name in wanted:
            batch[name].append(row[name])
        if len(batch[wanted[0]]) == batch_size:
            yield batch
            batch = {name: [] for name in wanted}
    yield batch
