"""Tables of sqlite-vec (``using vec0``), read from their shadow tables.

``t_chunks`` has a row for each chunk of `size` places: which are taken (a bit each, the least significant first), their
rowids, and the partition's values. The n-th vector column is in ``t_vector_chunks<n>``, the n-th metadata column in
``t_metadatachunks<n>`` (texts of more than 12 bytes in ``t_metadatatext<n>``), both by chunk; auxiliary values are in
``t_auxiliary``, keys that are texts in ``t_rowids``, both by rowid.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .. import _connection as connection
from .._sql import quote_identifier
from ..errors import ConfigurationError
from .declared import arguments, unquoted
from .source import Column, Source, free_names

_METRICS = {"l2": "EUCLIDEAN", "cosine": "COSINE", "l1": "L1", "hamming": "HAMMING"}
_TYPES = {
    "text": "text",
    "integer": "integer",
    "int": "integer",
    "float": "real",
    "double": "real",
    "boolean": "boolean",
    "blob": "blob",
}
_WIDTHS = {"integer": 8, "real": 8, "text": 16}
_INLINE = 12  # bytes of a text in its chunk


@dataclass(frozen=True)
class _Vector:
    name: str
    bits: int  # of one
    declared: str


@dataclass
class _Table:
    key: str | None = None
    key_is_text: bool = False
    vectors: list[_Vector] = field(default_factory=list)
    metadata: list[tuple[str, str]] = field(default_factory=list)
    partitions: list[tuple[str, str]] = field(default_factory=list)
    auxiliary: list[tuple[str, str]] = field(default_factory=list)
    order: list[tuple[str, int]] = field(default_factory=list)


def tables(conn: Any) -> list[str]:
    """Names of the file's vec0 tables."""
    found = connection.execute(
        conn,
        "select name from sqlite_master where type = 'table' and sql like 'create virtual table%using%vec0%'",
    )
    return [name for (name,) in found]


def open_source(conn: Any, table: str) -> Source:
    """The table as a source.

    Raises:
        ConfigurationError: it is none that is known, or its tables are damaged.
    """
    [(sql,)] = connection.execute(conn, "select sql from sqlite_master where name = ?", [table])
    parsed = _parse(table, sql)
    names = free_names([_name(parsed, kind, at) for kind, at in parsed.order])
    columns = []
    if parsed.key is not None:
        columns.append(Column(parsed.key, f"{'text' if parsed.key_is_text else 'integer'} primary key"))
    vectors = {}
    [(count,)] = connection.execute(conn, f"select count(*) from {_shadow(table, 'rowids')}")
    for name, (kind, at) in zip(names, parsed.order, strict=True):
        if kind == "vector":
            columns.append(Column(name, parsed.vectors[at].declared, is_vector=True))
            vectors[name] = count
        elif kind == "partition":
            columns.append(Column(name, f"{parsed.partitions[at][1]} partition key"))
        elif kind == "auxiliary":
            columns.append(Column(name, parsed.auxiliary[at][1], is_auxiliary=True))
        else:
            columns.append(Column(name, parsed.metadata[at][1]))
    return Source(
        f"{table} (sqlite-vec)",
        columns,
        parsed.key is None,
        lambda: _rows(conn, table, parsed),
        count,
        vectors,
    )


def _name(parsed: _Table, kind: str, at: int) -> str:
    if kind == "vector":
        return parsed.vectors[at].name
    return {"metadata": parsed.metadata, "partition": parsed.partitions, "auxiliary": parsed.auxiliary}[kind][
        at
    ][0]


def _shadow(table: str, suffix: str) -> str:
    return quote_identifier(f"{table}_{suffix}")


def _parse(table: str, sql: str) -> _Table:
    out = _Table(vectors=[], metadata=[], partitions=[], auxiliary=[], order=[])
    for text in arguments(sql, "vec0"):
        vector = re.match(
            r"(\S+)\s+(float|f32|int8|i8|bit)\s*\[\s*(\d+)\s*\](.*)\Z", text, re.IGNORECASE | re.DOTALL
        )
        if vector:
            out.order.append(("vector", len(out.vectors)))
            out.vectors.append(_vector(unquoted(vector[1]), vector[2].lower(), int(vector[3]), vector[4]))
            continue
        if re.match(r"\w+\s*=", text):
            continue  # chunk_size=...
        words = text.lstrip("+ ").split()
        name, kind = unquoted(words[0]), " ".join(words[1:]).lower()
        declared = _TYPES.get(words[1].lower() if len(words) > 1 else "", "")
        if "primary key" in kind:
            out.key, out.key_is_text = name, declared == "text"
        elif text.startswith("+"):
            out.order.append(("auxiliary", len(out.auxiliary)))
            out.auxiliary.append((name, declared))
        elif "partition key" in kind:
            out.order.append(("partition", len(out.partitions)))
            out.partitions.append((name, declared))
        elif declared:
            out.order.append(("metadata", len(out.metadata)))
            out.metadata.append((name, declared))
        else:
            raise ConfigurationError(f"{table} (sqlite-vec): the column {text!r} is of an unknown kind")
    return out


def _vector(name: str, element: str, dim: int, options: str) -> _Vector:
    metric = re.search(r"distance_metric\s*=\s*(\w+)", options, re.IGNORECASE)
    told = _METRICS.get(metric[1].lower() if metric else "l2", "EUCLIDEAN")
    if element == "bit":
        return _Vector(name, dim, f"({dim}) type=bit")
    if element in ("int8", "i8"):
        return _Vector(name, dim * 8, f"({dim}) type=int8 metric_type={told}")
    return _Vector(name, dim * 32, f"({dim}) metric_type={told}")


def _rows(conn: Any, table: str, parsed: _Table) -> Iterator[tuple[Any, ...]]:
    partitions = [f"partition{at:02d}" for at in range(len(parsed.partitions))]
    chunks = connection.execute(
        conn,
        f"select {', '.join(['chunk_id', 'size', *partitions])} from {_shadow(table, 'chunks')} order by chunk_id",
    )
    for chunk, size, *values in chunks:
        [(validity, rowids)] = connection.execute(
            conn, f"select validity, rowids from {_shadow(table, 'chunks')} where chunk_id = ?", [chunk]
        )
        _expect(table, chunk, validity, (size + 7) // 8)
        _expect(table, chunk, rowids, size * 8)
        vectors = [
            _blob(conn, table, f"vector_chunks{at:02d}", "vectors", chunk, (size * one.bits + 7) // 8)
            for at, one in enumerate(parsed.vectors)
        ]
        metadata = [
            _blob(conn, table, f"metadatachunks{at:02d}", "data", chunk, _metadata_bytes(declared, size))
            for at, (_, declared) in enumerate(parsed.metadata)
        ]
        for place in range(size):
            if not validity[place // 8] >> (place % 8) & 1:
                continue
            (rowid,) = struct.unpack_from("<q", rowids, place * 8)
            row: list[Any] = [_key(conn, table, parsed, rowid)]
            auxiliary = _auxiliary(conn, table, parsed, rowid)
            for kind, at in parsed.order:
                if kind == "vector":
                    width = parsed.vectors[at].bits // 8
                    row.append(bytes(vectors[at][place * width : (place + 1) * width]))
                elif kind == "partition":
                    row.append(values[at])
                elif kind == "auxiliary":
                    row.append(auxiliary[at])
                else:
                    row.append(_metadata(conn, table, at, parsed.metadata[at][1], metadata[at], place, rowid))
            yield tuple(row)


def _expect(table: str, chunk: int, blob: Any, size: int) -> None:
    if not isinstance(blob, bytes) or len(blob) != size:
        found = f"{len(blob)} bytes" if isinstance(blob, bytes) else type(blob).__name__
        raise ConfigurationError(f"{table} (sqlite-vec), chunk {chunk}: expected {size} bytes, got {found}")


def _blob(conn: Any, table: str, suffix: str, column: str, chunk: int, size: int) -> bytes:
    found = connection.execute(
        conn, f"select {column} from {_shadow(table, suffix)} where rowid = ?", [chunk]
    )
    blob: Any = found[0][0] if found else None
    _expect(table, chunk, blob, size)
    return bytes(blob)


def _metadata_bytes(declared: str, size: int) -> int:
    return (size + 7) // 8 if declared == "boolean" else size * _WIDTHS[declared]


def _metadata(
    conn: Any, table: str, at: int, declared: str, data: bytes, place: int, rowid: int
) -> int | float | str | None:
    if declared == "boolean":
        return data[place // 8] >> (place % 8) & 1
    if declared == "integer":
        return int(struct.unpack_from("<q", data, place * 8)[0])
    if declared == "real":
        return float(struct.unpack_from("<d", data, place * 8)[0])
    (length,) = struct.unpack_from("<i", data, place * 16)
    if 0 <= length <= _INLINE:
        return data[place * 16 + 4 : place * 16 + 4 + length].decode()
    found = connection.execute(
        conn, f"select data from {_shadow(table, f'metadatatext{at:02d}')} where rowid = ?", [rowid]
    )
    if not found:
        raise ConfigurationError(f"{table} (sqlite-vec): the long text of row {rowid} is missing")
    return str(found[0][0])


def _key(conn: Any, table: str, parsed: _Table, rowid: int) -> Any:
    if not parsed.key_is_text:
        return rowid
    found = connection.execute(conn, f"select id from {_shadow(table, 'rowids')} where rowid = ?", [rowid])
    if not found:
        raise ConfigurationError(f"{table} (sqlite-vec): row {rowid} has no key")
    return found[0][0]


def _auxiliary(conn: Any, table: str, parsed: _Table, rowid: int) -> tuple[Any, ...]:
    if not parsed.auxiliary:
        return ()
    names = ", ".join(f"value{at:02d}" for at in range(len(parsed.auxiliary)))
    found = connection.execute(
        conn, f"select {names} from {_shadow(table, 'auxiliary')} where rowid = ?", [rowid]
    )
    return tuple(found[0]) if found else (None,) * len(parsed.auxiliary)
