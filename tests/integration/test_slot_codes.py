"""4-bit codes that lie in the tables: kept by every write, read by the first searches of a process, checked, mended."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import vssnative

DIM = 16
ROWS = 700
CHUNKS = (1 << 55) + (1 << 48)
Opener = Callable[..., sqlite3.Connection]


def clustered(random: np.random.Generator, n: int, dim: int = DIM) -> np.ndarray:
    centres = np.random.default_rng(5).standard_normal((20, dim))
    rows = centres[random.integers(0, 20, n)] + 0.4 * random.standard_normal((n, dim))
    return np.ascontiguousarray(rows, np.float32)


def nearest(model: dict[int, np.ndarray], query: np.ndarray, k: int) -> list[int]:
    ids = np.array(sorted(model))
    matrix = np.stack([model[int(i)] for i in ids]).astype(np.float64)
    distances = ((matrix - query.astype(np.float64)) ** 2).sum(axis=1).astype(np.float32)
    return [int(ids[i]) for i in np.lexsort((ids, distances))[:k]]


def search(db: sqlite3.Connection, query: np.ndarray, k: int, recall: float, more: str = "") -> list[int]:
    sql = f"select rowid from t where a match ? and k = ? and recall = ? {more}"
    return [row[0] for row in db.execute(sql, (query.tobytes(), k, recall))]


def chunks(db: sqlite3.Connection) -> list[int]:
    return [row[0] - CHUNKS for row in db.execute("select chunk from t_codes0 where chunk >= ?", (CHUNKS,))]


def check(db: sqlite3.Connection) -> str:
    said = db.execute("select vss_check('t')").fetchone()[0]
    assert isinstance(said, str)
    return said


class Table:
    """A small table whose codes are kept though its vectors are short, and what is in it."""

    def __init__(self, open_db: Opener, seed: int, journal: str = "wal") -> None:
        self.open = lambda: open_db(isolation_level=None)
        self.random = np.random.default_rng(seed)
        first = self.open()
        first.execute(f"pragma journal_mode = {journal}")
        first.execute(f"create virtual table t using vss0(a({DIM}))")
        first.execute("update t_config set value = 100 where key = 'cells_from0'")
        first.execute("update t_config set value = 8 where key = 'cell_rows0'")
        first.execute("insert into t_config values('slot_codes0', 1)")
        first.close()
        self.db = self.open()
        self.model: dict[int, np.ndarray] = {}
        self.put(range(ROWS))

    def put(self, rowids: range) -> None:
        for rowid, row in zip(rowids, clustered(self.random, len(rowids)), strict=True):
            self.model[rowid] = row
        self.db.executemany(
            "insert or replace into t(rowid, a) values(?, ?)", ((i, self.model[i].tobytes()) for i in rowids)
        )

    def delete(self, rowids: list[int]) -> None:
        self.db.executemany("delete from t where rowid = ?", ((i,) for i in rowids))
        for rowid in rowids:
            del self.model[rowid]

    def is_right(self, db: sqlite3.Connection, model: dict[int, np.ndarray] | None = None) -> None:
        model = self.model if model is None else model
        for query in clustered(self.random, 4):
            expected = nearest(model, query, 12)
            assert search(db, query, 12, 1.0) == expected
            assert len(set(search(db, query, 12, 0.99)) & set(expected)) >= 10
            few = sorted(model)[:: max(len(model) // 40, 1)]
            named = ",".join(map(str, few))
            assert search(db, query, 5, 1.0, f"and rowid in ({named})") == nearest(
                {i: model[i] for i in few}, query, 5
            )


@pytest.fixture
def table(open_db: Opener) -> Iterator[Table]:
    vssnative.configure(memory="256MB")
    yield Table(open_db, 1)
    vssnative.configure(memory="256MB")


def forget() -> None:
    """What the process remembers, so that the tables answer."""
    vssnative.configure(memory=0)
    vssnative.configure(memory="256MB")


def test_codes_are_written_with_the_rows_and_read_by_the_first_search(db: sqlite3.Connection) -> None:
    random = np.random.default_rng(3)
    matrix = clustered(random, 6000, 384)
    index = vssnative.Index(db, "t", "a")
    index.add(np.arange(6000), matrix)
    db.commit()
    per_chunk = 4048 // 202
    assert 6000 / per_chunk <= len(chunks(db)) <= 6000 / per_chunk + 10
    forget()
    explained = index.explain(clustered(random, 1, 384)[0], 10)
    assert explained["refined"] >= 50
    assert explained["code_chunks_read"] >= 10
    assert explained["rows_read_from_pages"] < explained["refined"]  # without codes each candidate is read
    assert check(db) == "ok"


def test_short_vectors_are_read_in_place_of_codes(db: sqlite3.Connection) -> None:
    random = np.random.default_rng(3)
    matrix = clustered(random, 5000, 64)
    index = vssnative.Index(db, "t", "a")
    index.add(np.arange(5000), matrix)
    db.commit()
    assert chunks(db) == []
    model = dict(enumerate(matrix))
    for query in clustered(random, 5, 64):
        expected = nearest(model, query, 10)
        assert index.search(query, k=10, recall=1.0)[0].tolist() == expected
        assert len(set(index.search(query, k=10, recall=0.99)[0].tolist()) & set(expected)) >= 8


def test_every_kind_of_write_keeps_them(table: Table) -> None:
    assert len(chunks(table.db)) >= ROWS // 29
    for step in range(6):
        table.delete(sorted(table.model)[step :: 9 + step][:60])
        table.put(range(step * 40, step * 40 + 50))
        table.put(range(2000 + 70 * step, 2070 + 70 * step))
        table.db.execute("update t set rowid = rowid + 100000 where rowid = (select max(rowid) from t)")
        last = max(table.model)
        table.model[last + 100000] = table.model.pop(last)
        assert check(table.db) == "ok"
        table.is_right(table.db)
        forget()
        other = table.open()
        table.is_right(other)
        other.close()
    table.delete(sorted(table.model)[30:])
    assert check(table.db) == "ok"
    table.is_right(table.db)
    assert len(chunks(table.db)) <= 31


@pytest.mark.parametrize("searched", [False, True])
def test_rollback_and_savepoints(table: Table, searched: bool) -> None:
    before = dict(table.model)
    stored = table.db.execute("select chunk, data from t_codes0 order by chunk").fetchall()
    table.db.execute("begin")
    table.put(range(1000, 1200))
    table.delete(list(range(200)))
    if searched:
        table.is_right(table.db)
    table.db.execute("savepoint one")
    inner = dict(table.model)
    table.put(range(150))
    table.delete(list(range(1000, 1100)))
    if searched:
        table.is_right(table.db)
    table.db.execute("rollback to one")
    table.is_right(table.db, inner)
    reader = table.open()
    table.is_right(reader, before)
    table.db.execute("rollback")
    table.model = before
    table.is_right(table.db)
    assert check(table.db) == "ok"
    assert table.db.execute("select chunk, data from t_codes0 order by chunk").fetchall() == stored

    table.db.execute("begin")
    table.put(range(1000, 1200))
    table.db.execute("savepoint one")
    kept = dict(table.model)
    table.delete(list(range(100)))
    table.db.execute("rollback to one")
    table.model = kept
    table.db.execute("commit")
    for connection in (table.db, reader):
        assert check(connection) == "ok"
        table.is_right(connection)
    reader.close()


def test_readers_of_an_older_snapshot_keep_theirs(table: Table) -> None:
    reader = table.open()
    reader.execute("begin")
    old = dict(table.model)
    table.is_right(reader, old)
    for step in range(3):
        table.put(range(step * 30, step * 30 + 60))
        table.delete(sorted(table.model)[-40:])
        forget()
        table.is_right(table.db)
        table.is_right(reader, old)
    reader.execute("commit")
    table.is_right(reader)
    reader.close()


def test_all_rows_rewritten_in_one_transaction(table: Table) -> None:
    table.db.execute("begin")
    table.delete(sorted(table.model))
    table.put(range(3000, 3000 + 2 * ROWS))
    table.is_right(table.db)
    table.db.execute("commit")
    assert check(table.db) == "ok"
    forget()
    table.is_right(table.db)


@pytest.mark.parametrize("what", ["flip", "truncate", "copy"])
def test_damage_is_noticed_and_mended(table: Table, what: str) -> None:
    first, second = chunks(table.db)[:2]
    [data] = table.db.execute("select data from t_codes0 where chunk = ?", (CHUNKS + first,)).fetchone()
    bad = bytearray(data)
    if what == "flip":
        bad[300] ^= 4
    elif what == "truncate":
        bad = bad[:-10]
    else:
        [bad] = table.db.execute("select data from t_codes0 where chunk = ?", (CHUNKS + second,)).fetchone()
    table.db.execute("update t_codes0 set data = ? where chunk = ?", (bytes(bad), CHUNKS + first))
    forget()
    db = table.open()
    words = f"the checksum of chunk {first} of the 4-bit codes does not match its bytes"
    assert words in check(db)
    with pytest.raises(sqlite3.DatabaseError, match=words):
        search(db, table.model[0], 10, 1.0)
    assert "clustered again" in db.execute("select vss_repair('t')").fetchone()[0]
    assert check(db) == "ok"
    table.is_right(db)
    db.close()


def test_missing_codes_lose_no_rows(table: Table) -> None:
    gone = chunks(table.db)[1]
    table.db.execute("delete from t_codes0 where chunk = ?", (CHUNKS + gone,))
    forget()
    db = table.open()
    table.is_right(db)
    assert "has no 4-bit code" in check(db)
    db.execute("select vss_repair('t')").fetchall()
    assert check(db) == "ok"
    table.is_right(db)
    db.close()


def test_codes_of_other_vectors_are_noticed(table: Table) -> None:
    """Sealed rightly, but of a row that went: what an incomplete restore could leave."""
    first = chunks(table.db)[0]
    [data] = table.db.execute("select data from t_codes0 where chunk = ?", (CHUNKS + first,)).fetchone()
    changed = bytearray(data)
    changed[8:100] = bytes(92)
    changed[:4] = struct.pack("<I", crc32c(struct.pack("<q", CHUNKS + first) + changed[4:]))
    table.db.execute("update t_codes0 set data = ? where chunk = ?", (bytes(changed), CHUNKS + first))
    forget()
    db = table.open()
    assert "is not that of its vector" in check(db)
    db.execute("select vss_repair('t')").fetchall()
    assert check(db) == "ok"
    table.is_right(db)
    db.close()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_files_written_without_codes_are_searched_and_get_them(table: Table) -> None:
    """As a version without them leaves a file: no flag in the state, no chunks, or some that nobody keeps."""
    state = 1 << 32
    [version, live, data] = table.db.execute(
        "select version, live, data from t_segments0 where segment = ?", (state,)
    ).fetchone()
    changed = bytearray(data)
    [flags] = struct.unpack_from("<I", changed, 24)
    assert flags & 2
    struct.pack_into("<I", changed, 24, flags & ~2)
    struct.pack_into("<I", changed, 4, 0)
    crc = crc32c(struct.pack("<qqq", 0, version, live) + changed)
    struct.pack_into("<I", changed, 4, crc)
    table.db.execute("update t_segments0 set data = ? where segment = ?", (bytes(changed), state))
    stale = chunks(table.db)[2:]
    table.db.executemany("delete from t_codes0 where chunk = ?", ((CHUNKS + i,) for i in stale))
    table.db.close()
    forget()
    table.db = table.open()
    assert check(table.db) == "ok"
    table.is_right(table.db)
    table.delete(sorted(table.model)[:50])
    table.put(range(5000, 5040))
    assert check(table.db) == "ok"
    table.is_right(table.db)
    assert len(chunks(table.db)) == 2
    table.db.execute("select vss_optimize('t', 'a', 0)").fetchall()
    assert len(chunks(table.db)) >= len(table.model) // 29
    assert check(table.db) == "ok"
    table.is_right(table.db)
    forget()
    table.is_right(table.db)
