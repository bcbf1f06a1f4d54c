"""Changes what stands in a table's own tables and makes the checksums right again, as anybody can who writes a file.

Run by itself, it forges files at random and uses each in every way: ``python forge.py DIRECTORY FILES SEED``. The file in use
is DIRECTORY/forged.db, so that what ended the process is there to be looked at.
"""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

STATE = 1 << 32
CENTROIDS = 1 << 32
BATCHES = 1 << 55
PART_CELLS = 100
FIGURES = {
    "version": (0, "Q"),
    "primaries": (8, "I"),
    "entries": (12, "I"),
    "retry_at": (16, "I"),
    "scale": (20, "f"),
}
FIGURES |= {"norm": (24, "f"), "centroid_crc": (28, "I"), "taken_to": (32, "I")}
FIGURE_BYTES, FIGURES_HEADER = 40, 8


def _table() -> list[int]:
    table = []
    for i in range(256):
        c = i
        for _ in range(8):
            c = (c >> 1) ^ (0x82F63B78 if c & 1 else 0)
        table.append(c)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _tag(row: int, column: int) -> bytes:
    return struct.pack("<Q", (row + (column << 56)) & (2**64 - 1))


class Shadow:
    """The own tables of one vector column."""

    def __init__(self, conn: Any, table: str = "t", column: int = 0) -> None:
        self.conn, self.table, self.column = conn, table, column
        config = dict(conn.execute(f"select key, value from {table}_config").fetchall())
        self.block_slots = config[f"block_slots{column}"]

    def name(self, word: str) -> str:
        return f"{self.table}_{word}{self.column}"

    def fix_block(self, block: int, data: bytearray) -> None:
        slot_bytes = len(data) // self.block_slots
        if slot_bytes < 16 or len(data) % self.block_slots:
            return
        vector_bytes = (
            slot_bytes - 16
        )  # padding included where it is; the dimensions of these tests need none
        for i in range(self.block_slots):
            at = i * slot_bytes
            rowid, _, state = struct.unpack_from("<qII", data, at)
            head = struct.pack("<qqI", block * self.block_slots + i, rowid, state)
            body = bytes(data[at + 16 : at + 16 + vector_bytes]) if state == 1 else b""
            if state != 0:
                struct.pack_into("<I", data, at + 8, crc32c(head + body))

    def fix_state(self) -> None:
        row = self.conn.execute(
            f"select version, live, data from {self.name('segments')} where segment = {STATE}"
        ).fetchone()
        if row is None or not isinstance(row[2], bytes) or len(row[2]) < 112:
            return
        version, live, old = row
        data = bytearray(old)
        struct.pack_into("<I", data, 4, 0)
        crc = crc32c(_tag(0, self.column) + struct.pack("<qq", version, live) + bytes(data))
        struct.pack_into("<I", data, 4, crc)
        self.conn.execute(
            f"update {self.name('segments')} set data = ? where segment = {STATE}", (bytes(data),)
        )

    def fix_part(self, part: int) -> None:
        cells = self.name("cells")
        figures = self.conn.execute(f"select data from {cells} where cell = ?", (part,)).fetchone()
        centroids = self.conn.execute(
            f"select data from {cells} where cell = ?", (CENTROIDS + part,)
        ).fetchone()
        if (
            figures is None
            or centroids is None
            or len(figures[0]) != FIGURES_HEADER + PART_CELLS * FIGURE_BYTES
        ):
            return
        data, padded = bytearray(figures[0]), len(centroids[0]) // PART_CELLS
        for i in range(PART_CELLS):
            at = FIGURES_HEADER + i * FIGURE_BYTES
            if struct.unpack_from("<Q", data, at)[0] != 0:
                centroid = bytes(centroids[0][i * padded : (i + 1) * padded])
                crc = crc32c(_tag(part * PART_CELLS + i, self.column) + centroid)
                struct.pack_into("<I", data, at + 28, crc)
        struct.pack_into("<I", data, 0, crc32c(_tag(part, self.column) + bytes(data[8:])))
        self.conn.execute(f"update {cells} set data = ? where cell = ?", (bytes(data), part))

    def fix_chunk(self, chunk: int, data: bytearray) -> None:
        first = 4 if chunk >= BATCHES else 8
        if len(data) >= 16:
            struct.pack_into("<I", data, 0, crc32c(_tag(chunk, self.column) + bytes(data[first:])))

    def put(self, word: str, rowid: int, data: bytearray) -> None:
        """Writes a blob back with its checksums made right."""
        if word == "vectors":
            self.fix_block(rowid, data)
        elif word == "codes":
            self.fix_chunk(rowid, data)
        self.conn.execute(f"update {self.name(word)} set data = ? where rowid = ?", (bytes(data), rowid))
        if word == "cells":
            self.fix_part(rowid - CENTROIDS if rowid >= CENTROIDS else rowid)
        elif word == "segments":
            self.fix_state()


def set_element(conn: Any, slot: int, element: int, value: float) -> None:
    shadow = Shadow(conn)
    block, at = divmod(slot, shadow.block_slots)
    [(old,)] = conn.execute("select data from t_vectors0 where block = ?", (block,))
    data = bytearray(old)
    struct.pack_into("<f", data, at * (len(data) // shadow.block_slots) + 16 + 4 * element, value)
    shadow.put("vectors", block, data)


def set_figure(conn: Any, cell: int, field: str, value: int) -> None:
    shadow = Shadow(conn)
    part, i = divmod(cell, PART_CELLS)
    [(old,)] = conn.execute("select data from t_cells0 where cell = ?", (part,))
    data = bytearray(old)
    offset, kind = FIGURES[field]
    struct.pack_into("<" + kind, data, FIGURES_HEADER + i * FIGURE_BYTES + offset, value)
    shadow.put("cells", part, data)


# Of the state: where what was learned begins, and its floats (the mean of cosines first), by FORMAT.md.
LEARNED_BYTES = 168
LEARNED_FLOATS = {"mean": 132, "misses": 136, "cells": 220, "scanned": 248, "variance": 276}


def _change_state(conn: Any, change: Callable[[bytearray], bytearray]) -> None:
    [(old,)] = conn.execute(f"select data from t_segments0 where segment = {STATE}")
    Shadow(conn).put("segments", STATE, change(bytearray(old)))


def set_learned(conn: Any, field: str, value: float) -> None:
    def change(data: bytearray) -> bytearray:
        struct.pack_into("<f", data, LEARNED_FLOATS[field], value)
        return data

    _change_state(conn, change)


def take_all_cells_away(conn: Any) -> None:
    """The state says that there are cells, and that every row waits to enter one; there is none."""
    slots = [slot for (slot,) in conn.execute("select _slot0 from t_rows order by 1")]

    def change(data: bytearray) -> bytearray:
        [floats] = struct.unpack_from("<I", data, 28)
        struct.pack_into("<I", data, 32, len(slots))
        struct.pack_into("<II", data, 96, 0, 0)
        return data[: 112 + LEARNED_BYTES + 4 * floats] + struct.pack(f"<{len(slots)}I", *slots)

    conn.execute("delete from t_cells0")
    conn.execute("delete from t_codes0")
    _change_state(conn, change)


def _state_words(conn: Any, table: str) -> tuple[int, tuple[Any, ...]]:
    generation, data = conn.execute(
        f"select version, data from {table}_segments0 where segment = {STATE}"
    ).fetchone()
    return generation, (data[8:16], data[104:112])


def _versions(conn: Any, table: str) -> tuple[Any, ...]:
    segments = conn.execute(f"select segment, version from {table}_segments0 where data is null").fetchall()
    parts = conn.execute(f"select cell, data from {table}_cells0 where cell < {CENTROIDS}").fetchall()
    return segments, parts, _state_words(conn, table)


def _give_versions(conn: Any, table: str, versions: tuple[Any, ...]) -> None:
    segments, parts, (generation, (directory, of_parts)) = versions
    shadow = Shadow(conn, table)
    for segment, version in segments:
        conn.execute(f"update {table}_segments0 set version = ? where segment = ?", (version, segment))
    for part, theirs in parts:
        row = conn.execute(f"select data from {table}_cells0 where cell = ?", (part,)).fetchone()
        if row is None:
            continue
        data = bytearray(row[0])
        for at in range(FIGURES_HEADER, len(data), FIGURE_BYTES):
            if data[at : at + 8] != bytes(8) and theirs[at : at + 8] != bytes(8):
                data[at : at + 8] = theirs[at : at + 8]
        shadow.put("cells", part, data)
    [(old,)] = conn.execute(f"select data from {table}_segments0 where segment = {STATE}")
    data = bytearray(old)
    data[8:16], data[104:112] = directory, of_parts
    conn.execute(
        f"update {table}_segments0 set version = ?, data = ? where segment = {STATE}",
        (generation, bytes(data)),
    )
    shadow.fix_state()


def take_versions(conn: Any, of: str, to: str) -> None:
    _give_versions(conn, to, _versions(conn, of))


def copy_versions_between(source: Path, conn: Any) -> None:
    other = sqlite3.connect(source)
    _give_versions(conn, "t", _versions(other, "t"))
    other.close()


# --- at random --------------------------------------------------------------------------------------------------------

DECLARATIONS = [
    "a(8)",
    "a(8) metric_type=COSINE",
    "a(8) metric_type=INNER_PRODUCT",
    "a(8) type=int8",
    "a(320)",
]
WORDS = [
    0,
    1,
    2,
    0x7F,
    0x7FC00000,
    0x7F800000,
    0xFF800000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0x7F7FFFFF,
    1 << 20,
]
NUMBERS = [0, 1, -1, 2, 63, 64, 1 << 20, 1 << 31, 1 << 32, (1 << 63) - 1, -(1 << 63)]


def damage(conn: Any, random: np.random.Generator) -> str:
    shadow = Shadow(conn)
    word = str(random.choice(["vectors", "cells", "cells", "cells", "codes", "codes", "segments", "number"]))
    if word == "number":
        table, column, where = [
            ("t_segments0", "live", "1"),
            ("t_segments0", "version", "1"),
            ("t_segments0", "live", f"segment = {STATE}"),
            ("t_rows", "_slot0", "_rowid % 7 = 0"),
            ("t_rows", "_slot0", "_rowid = 3"),
            ("t_free0", "slot", "slot = (select max(slot) from t_free0)"),
            ("t_config", "value", "key = 'cells_from0'"),
            ("t_config", "value", "key = 'cell_rows0'"),
            ("t_config", "value", "key = 'segment_slots0'"),
        ][int(random.integers(9))]
        value = int(random.choice(np.array(NUMBERS, dtype=object)))
        conn.execute(f"update or ignore {table} set {column} = ? where {where}", (value,))
        shadow.fix_state()
        return f"{table}.{column} = {value} where {where}"
    rows = conn.execute(
        f"select rowid, data from {shadow.name(word)} where data is not null order by rowid"
    ).fetchall()
    rowid, old = rows[int(random.integers(len(rows)))]
    data = bytearray(old)
    told = []
    for _ in range(int(random.integers(1, 4))):
        at = int(random.integers(len(data)))
        if random.random() < 0.5:
            # Figures and headers lie close to the beginning.
            at = min(at, int(random.integers(112)))
        if random.random() < 0.7:
            at = at // 4 * 4
            struct.pack_into("<I", data, min(at, len(data) - 4), WORDS[int(random.integers(len(WORDS)))])
        else:
            data[at] ^= 1 << int(random.integers(8))
        told.append(at)
    how = random.random()
    if how < 0.04:
        data = data[: int(random.integers(len(data)))]
    elif how < 0.08 and len(rows) > 1:
        data = bytearray(rows[int(random.integers(len(rows)))][1])
    shadow.put(word, rowid, data)
    return f"{shadow.name(word)} {rowid} at {told}"


def base(path: Path, declaration: str) -> None:
    import vssnative

    conn = vssnative.connect(path, wal=False)
    conn.isolation_level = None
    conn.execute(f"create virtual table t using vss0({declaration})")
    conn.execute("update t_config set value = 100 where key = 'cells_from0'")
    conn.execute("update t_config set value = 10 where key = 'cell_rows0'")
    conn.close()
    conn = vssnative.connect(path, wal=False)
    conn.isolation_level = None
    dim = int(declaration.split("(")[1].split(")")[0])
    random = np.random.default_rng(4)

    def insert(first: int, n: int) -> None:
        conn.execute("begin")
        for i in range(first, first + n):
            vector = json.dumps([int(x) or 1 for x in random.integers(-100, 101, dim)])
            conn.execute("insert into t(rowid, a) values(?, ?)", (i, vector))
        conn.execute("commit")

    insert(1, 250)
    conn.execute("delete from t where rowid between 30 and 60")
    for i in range(12):  # some of them wait in batches, some in the tail
        insert(1000 + 9 * i, 9)
    conn.close()


BATCH = "a batch"


def ask_batch(conn: Any, dim: int) -> list[Any]:
    """Queries that several threads share."""
    from vssnative import _core

    [(declared,)] = conn.execute("select sql from sqlite_master where name = 't'")
    dtype = np.int8 if "int8" in declared else np.float32
    queries = (np.arange(24 * dim).reshape(24, dim) % 7 + 1).astype(dtype)
    ticket = _core.register_search(queries, 5, 0.9)
    with ticket:
        conn.execute("select rowid from t where a match vss_batch(?, null)", (ticket.number,)).fetchall()
    return list(ticket.ids)


def uses(dim: int) -> list[tuple[str, tuple[Any, ...]]]:
    some, other = json.dumps([1] * dim), json.dumps([i % 5 + 1 for i in range(dim)])
    search = "select rowid, distance from t where a match ? and k = "
    many = json.dumps([json.dumps([i + 1] * dim) for i in range(80)])
    return [
        ("select vss_check('t')", ()),
        ("select rowid, a from t", ()),
        (search + "5", (some,)),
        (search + "5 and recall = 1.0", (other,)),
        (search + "400", (some,)),
        (search + "5 and rowid in (1, 2, 3, 70, 80, 90, 1000)", (some,)),
        ("select rowid from t where a match ? limit 3", (other,)),
        (search + "9 and rowid % 2 = 0", (other,)),
        (BATCH, ()),
        ("select vss_explain('t', 'a', ?, 5, 0.9), vss_stats('t', 'a')", (some,)),
        ("select vss_relearn('t', 'a')", ()),
        ("insert into t(a) select value from json_each(?)", (many,)),
        ("update t set a = ? where rowid < 20", (other,)),
        ("update t set rowid = rowid + 5000 where rowid < 6", ()),
        ("delete from t where rowid % 4 = 0", ()),
        (search + "5", (other,)),
        ("select vss_optimize('t', 'a', 0)", ()),
        ("select vss_rebuild('t', 'a')", ()),
        ("select vss_repair('t')", ()),
        (search + "5", (other,)),
        ("select vss_check('t')", ()),
        ("drop table t", ()),
    ]


def main(directory: Path, files: int, seed: int) -> None:
    import vssnative
    from vssnative import _core

    _core.set_verification(0)
    random = np.random.default_rng(seed)
    bases = []
    for i, declaration in enumerate(DECLARATIONS):
        bases.append((directory / f"base{i}.db", int(declaration.split("(")[1].split(")")[0])))
        base(bases[-1][0], declaration)
    path = directory / "forged.db"
    refused = noticed = after_repair = 0
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for n in range(files):
        source, dim = bases[int(random.integers(len(bases)))]
        shutil.copy(source, path)
        raw = sqlite3.connect(path)
        told = [damage(raw, random) for _ in range(int(random.integers(1, 4)))]
        raw.commit()
        raw.close()
        (directory / "forged.txt").write_text(f"file {n} of seed {seed}, from {source.name}: {told}\n")
        vssnative.configure(memory="0" if n % 3 == 0 else "64MB")
        conn = vssnative.connect(path, wal=False, synchronous="OFF")
        conn.isolation_level = None
        here = 0
        checks = []
        for sql, parameters in uses(dim):
            try:
                rows = ask_batch(conn, dim) if sql == BATCH else conn.execute(sql, parameters).fetchall()
                if "vss_check" in sql:
                    checks.append(rows[0][0])
            except (sqlite3.Error, MemoryError) as error:
                assert str(error).strip(), f"no words: {sql}"
                assert "out of memory" not in str(error), f"{sql}: {error}; {told}"
                here += 1
        conn.close()
        refused += here > 0
        noticed += bool(checks) and checks[0] != "ok"
        after_repair += len(checks) > 1 and checks[-1] == "ok"
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start
        assert grown < 600 << 10, f"{grown} KB after file {n}: {told}"
    print(
        json.dumps(
            {"files": files, "refused": refused, "noticed": noticed, "sound_after_repair": after_repair}
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
