"""Collections in the folder of a ``chromadb.PersistentClient``.

``chroma.sqlite3`` has ids, documents and metadata. Vectors are in ``embeddings_queue``, a log of changes, and, once a
collection has grown, in the folder of its vector segment: ``header.bin`` and ``data_level0.bin`` are hnswlib's, and
``index_metadata.pickle`` says which id has which label. The log goes on where the segment ends. (With the space
``cosine`` hnswlib keeps vectors scaled to length 1.)
"""

from __future__ import annotations

import json
import mmap
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import _connection as connection
from ..errors import ConfigurationError
from .source import Column, Source, free_names

_METRICS = {"l2": "L2", "cosine": "COSINE", "ip": "INNER_PRODUCT"}
_DOCUMENT = "chroma:document"
_ADD, _UPDATE, _UPSERT, _DELETE = 0, 1, 2, 3
# Of hnswlib: version, offset of level 0, most elements, elements, bytes of one, offset of its label, of its vector, ...
_HEADER = struct.Struct("<iQQQQQQ")


def collections(conn: Any) -> list[str]:
    """Names of the collections."""
    return [name for (name,) in connection.execute(conn, "select name from collections order by name")]


def open_source(conn: Any, folder: Path, collection: str) -> Source:
    """A collection as a source: key ``id``, vectors ``embedding``, ``document``, and a column for each metadata key.

    Args:
        conn: a connection to ``chroma.sqlite3``.
        folder: the client's folder.
        collection: its name.

    Raises:
        ConfigurationError: it is empty, or its files do not fit each other.
    """
    found = connection.execute(conn, "select * from collections where name = ?", [collection])
    names = [
        name for (name,) in connection.execute(conn, "select name from pragma_table_info('collections')")
    ]
    if len(found) != 1:
        raise ConfigurationError(f"expected one collection {collection!r}, got {len(found)}")
    described = dict(zip(names, found[0], strict=True))
    segments = dict(
        connection.execute(conn, "select scope, id from segments where collection = ?", [described["id"]])
    )
    if not {"METADATA", "VECTOR"} <= set(segments):
        raise ConfigurationError(f"collection {collection!r}: it has no segments")
    ids = connection.execute(
        conn,
        "select id, embedding_id from embeddings where segment_id = ? order by id",
        [segments["METADATA"]],
    )
    vectors = _vectors(conn, folder, described["id"], segments["VECTOR"])
    missing = [key for _, key in ids if key not in vectors]
    if missing or not ids:
        what = f"row {missing[0]!r} has no vector" if missing else "it is empty"
        raise ConfigurationError(f"collection {collection!r}: {what}")
    dims = {len(vectors[key]) // 4 for _, key in ids}
    if len(dims) != 1:
        raise ConfigurationError(f"collection {collection!r}: vectors of {sorted(dims)} dimensions")
    keys = _metadata_keys(conn, segments["METADATA"])
    renamed = free_names(["id", "embedding", "document", *keys])
    metric = _METRICS.get(_space(conn, described), "L2")
    columns = [
        Column("id", "text primary key"),
        Column("embedding", f"({dims.pop()}) metric_type={metric}", is_vector=True),
        Column("document", "text", is_auxiliary=True),
        *(Column(name, declared) for name, declared in zip(renamed[3:], keys.values(), strict=True)),
    ]

    def rows() -> Iterator[tuple[Any, ...]]:
        for number, key in ids:
            values = _metadata(conn, number)
            yield (key, vectors[key], values.get(_DOCUMENT), *(values.get(name) for name in keys))

    return Source(f"{collection} (Chroma)", columns, False, rows, len(ids), {"embedding": len(ids)})


def _space(conn: Any, described: dict[str, Any]) -> str:
    """Where the versions of Chroma keep it, the newest first."""
    for text in (described.get("config_json_str"), described.get("schema_str")):
        found = _find_space(json.loads(text)) if text else None
        if found is not None:
            return found
    old = connection.execute(
        conn,
        "select str_value from collection_metadata where collection_id = ? and key = 'hnsw:space'",
        [described["id"]],
    )
    return str(old[0][0]) if old else "l2"


def _find_space(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("space"), str):
        return str(value["space"])
    # The collection's own setting goes before the defaults beside it.
    for key in ("#embedding", "keys", *value):
        found = _find_space(value.get(key))
        if found is not None:
            return found
    return None


def _metadata_keys(conn: Any, segment: str) -> dict[str, str]:
    """Each key and the type of its column: none where values are of several types."""
    kinds = connection.execute(
        conn,
        "select m.key, max(m.string_value is not null), max(m.int_value is not null), max(m.float_value is not null),"
        " max(m.bool_value is not null) from embedding_metadata m join embeddings e on e.id = m.id"
        f" where e.segment_id = ? and m.key <> '{_DOCUMENT}' group by m.key order by m.key",
        [segment],
    )
    types = ("text", "integer", "real", "boolean")
    keys = {}
    for key, *there in kinds:
        of = [declared for declared, is_there in zip(types, there, strict=True) if is_there]
        keys[key] = of[0] if len(of) == 1 else ""
    if _has_arrays(conn):
        arrays = connection.execute(
            conn,
            "select distinct m.key from embedding_metadata_array m join embeddings e on e.id = m.id"
            " where e.segment_id = ? order by 1",
            [segment],
        )
        keys.update({key: "text" if key not in keys else "" for (key,) in arrays})
    return keys


def _has_arrays(conn: Any) -> bool:
    return bool(
        connection.execute(conn, "select 1 from sqlite_master where name = 'embedding_metadata_array'")
    )


def _metadata(conn: Any, number: int) -> dict[str, Any]:
    """Of one row; arrays as JSON."""
    values: dict[str, Any] = dict(
        connection.execute(
            conn,
            "select key, coalesce(string_value, int_value, float_value, bool_value) from embedding_metadata where id = ?",
            [number],
        )
    )
    if _has_arrays(conn):
        arrays: dict[str, list[Any]] = {}
        for key, value in connection.execute(
            conn,
            "select key, coalesce(string_value, int_value, float_value, bool_value) from embedding_metadata_array"
            " where id = ? order by rowid",
            [number],
        ):
            arrays.setdefault(key, []).append(value)
        values.update({key: json.dumps(array, ensure_ascii=False) for key, array in arrays.items()})
    return values


def _vectors(conn: Any, folder: Path, collection: str, segment: str) -> dict[str, bytes]:
    """The vector of each id: the segment's, and what the log changed since."""
    vectors = _segment_vectors(folder / segment)
    seen = connection.execute(conn, "select seq_id from max_seq_id where segment_id = ?", [segment])
    last = seen[0][0] if seen and vectors else -1
    if isinstance(last, bytes):  # of older versions
        last = int.from_bytes(last, "big")
    log = connection.execute(
        conn,
        "select operation, id, vector, encoding from embeddings_queue where topic like ? and seq_id > ? order by seq_id",
        [f"%{collection}", last],
    )
    for operation, key, vector, encoding in log:
        if operation == _DELETE:
            vectors.pop(key, None)
        elif vector is not None and (
            operation == _UPSERT
            or (operation == _ADD and key not in vectors)
            or (operation == _UPDATE and key in vectors)
        ):
            if encoding != "FLOAT32":
                raise ConfigurationError(f"row {key!r}: expected FLOAT32 in the log, got {encoding}")
            vectors[key] = bytes(vector)
    return vectors


class _PersistentData:
    """What versions before 0.6 wrote into index_metadata.pickle."""


class _Unpickler(pickle.Unpickler):
    """Knows that one class, and calls nothing."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("chromadb.segment.impl.vector.local_persistent_hnsw", "PersistentData"):
            return _PersistentData
        raise pickle.UnpicklingError(f"{module}.{name} is not expected here")


def _segment_vectors(folder: Path) -> dict[str, bytes]:
    described = folder / "index_metadata.pickle"
    if not described.is_file():
        return {}
    try:
        with described.open("rb") as stream:
            told = _Unpickler(stream).load()
        told = vars(told) if isinstance(told, _PersistentData) else told
        labels = {int(label): str(key) for key, label in told["id_to_label"].items()}
        header = (folder / "header.bin").read_bytes()
        _, _, _, count, size, at_label, at_vector = _HEADER.unpack_from(header)
        with (folder / "data_level0.bin").open("rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if count else b""
    except (
        OSError,
        pickle.UnpicklingError,
        struct.error,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
    ) as error:
        raise ConfigurationError(f"{folder}: it cannot be read: {error}") from None
    # An element ends with its label, 8 bytes.
    if not at_vector < at_label <= size - 8 or (at_label - at_vector) % 4 or count * size > len(data):
        raise ConfigurationError(f"{folder}: header.bin does not fit data_level0.bin")
    vectors = {}
    for at in range(0, count * size, size):
        (label,) = struct.unpack_from("<Q", data, at + at_label)
        if label in labels:
            vectors[labels[label]] = bytes(data[at + at_vector : at + at_label])
    if len(vectors) != len(labels):
        raise ConfigurationError(f"{folder}: {len(labels) - len(vectors):,} of its ids have no vector")
    return vectors
