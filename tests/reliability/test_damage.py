"""Shadow tables damaged in every way: each path answers rightly or with an error in words, never wrongly in silence.

Two limits, both of them SQLite's own for any table. Metadata and auxiliary values in t_rows carry no checksum of ours: a
changed one cannot be told from a user's change. And a row of t_rows that is lost, or names no vector or another row's, is
noticed by whatever reads that vector or row, while a search or a count that reads neither goes on; ``vss_check`` and
``pragma integrity_check`` then tell of it, which is what these tests demand at least.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

import vssnative
from tests.reliability.campaign import count, scaled, seed
from tests.reliability.oracle import NAMES, Oracle, Row, blob, insert, loaded, random_row
from vssnative import _core

QUERY_A, QUERY_B = (1, -2, 3, 0, 5, -1), (2, -1, 3)


@pytest.fixture(autouse=True)
def no_cache() -> Iterator[None]:
    """The process's cache would go on giving right answers: damage shows in a fresh process, or without it."""
    vssnative.configure(memory=0)
    # And the second way of answering would notice what the first must notice by itself.
    verifying = _core.verification()
    _core.set_verification(0)
    yield
    _core.set_verification(verifying)
    vssnative.configure(memory="256MB")


@pytest.fixture(scope="module", params=["plain", "celled"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Oracle]:
    path = tmp_path_factory.mktemp("damage") / "base.db"
    conn = vssnative.connect(path, wal=False, driver=apsw)
    oracle = loaded(np.random.default_rng(11), conn.execute, 150, celled=request.param == "celled")
    conn.execute("delete from t where rowid % 5 = 0 or rowid between 50 and 80")
    oracle.rows = {i: row for i, row in oracle.rows.items() if i % 5 and not 50 <= i <= 80}
    if request.param == "celled":
        add_batches(conn, oracle)
    conn.close()
    return path.read_bytes(), oracle


def add_batches(conn: Any, oracle: Oracle) -> None:
    """Rows of which some wait in batches, in both columns: splits, which fall as they may, can have emptied all."""
    random = np.random.default_rng(12)
    batches = "select (select count(*) from t_codes0 where chunk >= (1 << 55)) > 0 and "
    batches += "(select count(*) from t_codes1 where chunk >= (1 << 55)) > 0"
    for rowid in range(301, 351):
        if conn.execute(batches).fetchall() == [(1,)]:
            return
        oracle.rows[rowid] = random_row(random, nulls=False)
        insert(conn.execute, rowid, oracle.rows[rowid])
    raise AssertionError("no batches in both columns after 50 rows")


def open_copy(data: bytes, path: Path) -> Any:
    path.write_bytes(data)
    return vssnative.connect(path, wal=False, synchronous="OFF", driver=apsw)


class Finding(Exception):
    """A wrong answer without a word."""


def same(conn: Any, sql: str, parameters: tuple[Any, ...], expected: list[Any]) -> bool:
    """False if it was refused in words."""
    try:
        found = conn.execute(sql, parameters).fetchall()
    except apsw.Error as error:
        assert str(error).strip(), "an error without words"
        return False
    if found != expected:
        raise Finding(
            f"{sql}: {len(found)} rows instead of {len(expected)}" if len(found) != len(expected) else sql
        )
    return True


def right(conn: Any, oracle: Oracle, column: str, query: tuple[int, ...]) -> bool:
    """A search by the default recall; false if it was refused in words."""
    try:
        oracle.check_approximate(conn.execute, column, query, 10)
    except apsw.Error as error:
        assert str(error).strip(), "an error without words"
        return False
    except AssertionError as error:
        raise Finding(str(error)) from None
    return True


def try_reads(conn: Any, oracle: Oracle, few: bool = False) -> int:
    """Every way to read, or the main ones; how many were refused."""
    answered = []
    rows = sorted(oracle.rows.items())
    answered.append(same(conn, "select count(*) from t", (), [(len(rows),)]))
    answered.append(
        same(
            conn,
            f"select rowid, {', '.join(NAMES)} from t order by rowid",
            (),
            [(i, *r.values()) for i, r in rows],
        )
    )
    for column, query in (("a", QUERY_A), ("b", QUERY_B)):
        everything = oracle.nearest(column, query, 10**6)
        sql = f"select rowid, distance from t where {column} match ? and k = ? and recall = 1.0"
        answered.append(same(conn, sql, (blob(query), 10), everything[:10]))
        answered.append(same(conn, sql, (blob(query), 10**6), everything))
        answered.append(right(conn, oracle, column, query))
        if few:
            continue
        answered.append(
            same(
                conn,
                sql + " and company = 'acme'",
                (blob(query), 20),
                oracle.nearest(column, query, 20, lambda i, row: row.company == "acme"),
            )
        )
        first = [i for i, _ in rows[:3]]
        answered.append(
            same(
                conn,
                sql + " and rowid in (select value from json_each(?))",
                (blob(query), 5, json.dumps(first)),
                oracle.nearest(column, query, 5, lambda i, row, first=first: i in first),  # type: ignore[misc]
            )
        )
    for i, row in rows[:: max(1, len(rows) // (2 if few else 8))]:
        answered.append(same(conn, "select a, b from t where rowid = ?", (i,), [(blob(row.a), blob(row.b))]))
    return answered.count(False)


def try_writes(conn: Any, oracle: Oracle) -> int:
    """Every way to write, each undone; an accepted one must show in what is read next. How many were refused."""
    refused = 0
    rows = sorted(oracle.rows.items())
    some, other = rows[0][0], rows[-1][0]
    new = Row(a=QUERY_A, b=QUERY_B, company="new")
    writes: list[tuple[str, tuple[Any, ...], Callable[[dict[int, Row]], None]]] = [
        (
            "insert into t(rowid, a, b, company) values(9000, ?, ?, 'new')",
            (blob(new.a), blob(new.b)),
            lambda r: r.update({9000: new}),
        ),
        (
            "update t set a = ? where rowid = ?",
            (blob(new.a), some),
            lambda r: r.update({some: r[some].changed(a=new.a)}),
        ),
        (
            "update t set b = null where rowid = ?",
            (other,),
            lambda r: r.update({other: r[other].changed(b=None)}),
        ),
        ("update t set rowid = 9001 where rowid = ?", (some,), lambda r: r.update({9001: r.pop(some)})),
        ("delete from t where rowid = ?", (other,), lambda r: r.update({}) or r.pop(other)),  # type: ignore[func-returns-value]
        ("delete from t where rowid < 40", (), lambda r: [r.pop(i) for i in list(r) if i < 40] and None),
        (
            "replace into t(rowid, a) values(?, ?)",
            (some, blob(new.a)),
            lambda r: r.update({some: Row(a=new.a)}),
        ),
        (
            "insert into t(operation, rowid, b) values('upsert', ?, ?)",
            (some, blob(new.b)),
            lambda r: r.update({some: r[some].changed(b=new.b)}),
        ),
        (
            "insert into t(operation, rowid, a) values('remove', ?, 1)",
            (other,),
            lambda r: r.update({other: r[other].changed(a=None)}) if r[other].b else r.pop(other) and None,
        ),
    ]
    for sql, parameters, effect in writes:
        conn.execute("begin")
        try:
            conn.execute(sql, parameters)
            conn.execute("savepoint flushed")
        except apsw.Error as error:
            assert str(error).strip(), "an error without words"
            refused += 1
        else:
            later = oracle.copy()
            effect(later.rows)
            try:
                try_reads(conn, later, few=True)
            except Finding as finding:
                raise Finding(f"after [{sql}]: {finding}") from None
        conn.execute("rollback")
    return refused


def examine(
    data: bytes, oracle: Oracle, path: Path, damage: Callable[[Any], None], lenient: bool
) -> tuple[str, int]:
    """What vss_check says of the damage, and how many paths refused.

    Raises Finding for a wrong answer without a word; where ``lenient``, unless vss_check has a word.
    """
    conn = open_copy(data, path)
    try:
        damage(conn)
    finally:
        conn.close()
    conn = vssnative.connect(path, wal=False, synchronous="OFF", driver=apsw)
    try:
        finding = None
        refused = 0
        try:
            refused = try_reads(conn, oracle) + try_writes(conn, oracle)
        except Finding as found:
            finding = found
        if conn.in_transaction:
            conn.execute("rollback")
        try:
            words = conn.execute("select vss_check('t')").fetchone()[0]
        except apsw.Error as error:
            words = str(error)
        if finding is not None and not (lenient and words != "ok"):
            raise finding
        try:
            conn.execute("drop table t")
        except apsw.Error as error:
            assert str(error).strip()
        return words, refused + (finding is not None)
    finally:
        conn.close()


VALUES = {
    "null": "null",
    "zero": "0",
    "minus one": "-1",
    "huge": "9223372036854775807",
    "text": "'words'",
    "number as text": "'3'",
    "real": "0.5",
    "empty blob": "x''",
    "blob": "randomblob(200)",
    "a megabyte": "zeroblob(1000000)",
}

COLUMNS = [
    *(
        ("config", "value", f"key = '{key}'")
        for key in ("format", "columns", "block_slots0", "segment_slots0", "name0")
    ),
    ("config", "key", "key = 'block_slots1'"),
    *((f"vectors{c}", "data", f"block = (select {{pick}}(block) from t_vectors{c})") for c in (0, 1)),
    *((f"vectors{c}", "block", f"block = (select {{pick}}(block) from t_vectors{c})") for c in (0, 1)),
    *((f"segments{c}", column, "1") for c in (0, 1) for column in ("segment", "version", "live")),
    *(
        (f"segments{c}", column, "segment = (select max(segment) from t_segments0)")
        for c in (0, 1)
        for column in ("segment", "version", "live", "data")
    ),
    *(
        (f"cells{c}", column, f"cell = (select {{pick}}(cell) from t_cells{c})")
        for c in (0, 1)
        for column in ("cell", "data")
    ),
    *(
        (f"codes{c}", column, f"chunk = (select {{pick}}(chunk) from t_codes{c})")
        for c in (0, 1)
        for column in ("chunk", "data")
    ),
    *((f"free{c}", "slot", f"slot = (select {{pick}}(slot) from t_free{c})") for c in (0, 1)),
    *(
        ("rows", column, "_rowid = (select {pick}(_rowid) from t_rows)")
        for column in ("_rowid", "_slot0", "_slot1")
    ),
]


@pytest.mark.parametrize("value", VALUES)
def test_each_column_overwritten(base: tuple[bytes, Oracle], tmp_path: Path, value: str) -> None:
    data, oracle = base
    findings: list[str] = []
    done = 0
    for table, column, where in COLUMNS:
        for pick in ("min", "max"):
            if pick == "max" and "{pick}" not in where:
                continue
            sql = f"update t_{table} set {column} = {VALUES[value]} where {where.format(pick=pick)}"

            def damage(conn: Any, sql: str = sql) -> None:
                try:
                    conn.execute(sql)
                except apsw.Error:  # SQLite's own constraints refuse it
                    raise _NotDone from None

            try:
                examine(data, oracle, tmp_path / "damaged.db", damage, lenient=table == "rows")
                done += 1
            except _NotDone:
                continue
            except Finding as finding:
                findings.append(f"{sql}: {finding}")
    count("damage: columns", damages=done, silent=len(findings))
    assert not findings, "\n".join(findings)
    assert done > 5


class _NotDone(Exception):
    pass


TABLES = ("config", "rows", "vectors0", "segments0", "free0", "cells0", "codes0")
STATEMENTS = [
    *(f"delete from t_{table}" for table in TABLES),
    *(f"drop table t_{table}" for table in TABLES),
    "delete from t_vectors0 where block = (select min(block) from t_vectors0)",
    "delete from t_vectors1 where block = (select max(block) from t_vectors1)",
    "delete from t_config where key like 'segment_slots%'",
    "delete from t_rows where _rowid = 1",
    "delete from t_free0 where slot % 2",
    "insert into t_rows(_rowid, _slot0) values(77777, 3)",
    "insert into t_rows(_rowid, _slot0) values(77777, 3000000)",
    "insert into t_vectors0 select block + 500, data from t_vectors0 where block < 3",
    "insert into t_vectors0 select block + 100000000, data from t_vectors0 where block < 3",
    "insert into t_vectors0 select -1 - block, data from t_vectors0 where block < 3",
    "insert into t_segments0(segment, version, live) values(1, 5, 3)",
    "insert into t_segments0(segment, version, live) values(-1, 5, 3)",
    "insert into t_segments0(segment, version, live) values(4000000000, 5, 3)",
    "insert into t_free0 select _slot0 from t_rows where _slot0 is not null limit 3",
    "insert or ignore into t_free0 values(70), (-5), (5000000000), (9223372036854775807)",
    "update t_vectors0 set data = substr(data, 1, length(data) - 1) where block = 0",
    "update t_vectors0 set data = data || x'00' where block = 0",
    "update t_vectors0 set data = cast(data as text) where block = 0",
    "update t_vectors0 set data = zeroblob(length(data)) where block = 0",
    "update t_vectors0 set data = (select data from t_vectors0 where block = 2) where block = 0",
    "update t_rows set _slot0 = _slot1",
    "update t_rows set _slot0 = (select _slot0 from t_rows where _rowid = 4) where _rowid = 3",
    "update t_config set value = 2 * value where key = 'block_slots0'",
    "update t_config set value = value / 2 where key = 'segment_slots0'",
    "update t_config set value = 99 where key = 'format'",
    "update t_config set value = -7 where key like 'cell%'",
    "update t_config set value = 9223372036854775807 where key like 'cell%'",
    "delete from t_config where key like 'cell%'",
    "delete from t_segments0 where data is not null",
    "update t_segments0 set segment = segment + 1 where data is not null",
    "update t_segments0 set data = substr(data, 1, 71) where data is not null",
    "insert into t_segments0 select segment + 1, version, live, data from t_segments0 where data is not null",
    "delete from t_cells0 where cell = (select max(cell) from t_cells0)",
    "update t_segments0 set data = (select data from t_segments1 where data is not null) where data is not null",
    "update t_cells0 set data = (select data from t_cells1 where cell = 0) where cell = 0",
    "update t_cells0 set data = (select max(data) from t_cells1 where cell > 0) where cell > 0",
    "update t_cells0 set cell = cell + 100 where cell = (select max(cell) from t_cells0)",
    "update t_cells0 set cell = cell - 100 where cell = (select max(cell) from t_cells0)",
    "insert into t_cells0 select cell + 1000000000, data from t_cells0",
    "insert into t_cells0 select cell + 50, data from t_cells0",
    "insert into t_cells0 select cell + 1, data from t_cells0 where cell = 0",
    "insert into t_cells0 select -1 - cell, data from t_cells0",
    "delete from t_codes0 where chunk = (select max(chunk) from t_codes0)",
    "update t_codes0 set data = (select data from t_codes1 limit 1)",
    "insert into t_codes0 select -1 - chunk, data from t_codes0",
    "delete from t_codes0 where chunk >= (1 << 55)",
    "update t_codes0 set chunk = chunk + 5 where chunk = (select max(chunk) from t_codes0)",
    "update t_codes0 set data = (select data from t_codes1 where chunk >= (1 << 55)) where chunk >= (1 << 55)",
    "update t_codes0 set data = substr(data, 1, length(data) - 8) where chunk >= (1 << 55)",
    "insert or ignore into t_codes0 select chunk + 1, data from t_codes0",
]


@pytest.mark.parametrize("sql", STATEMENTS)
def test_rows_lost_doubled_and_moved(base: tuple[bytes, Oracle], tmp_path: Path, sql: str) -> None:
    data, oracle = base
    words, refused = examine(
        data, oracle, tmp_path / "damaged.db", lambda conn: conn.execute(sql), "t_rows" in sql
    )
    count("damage: rows", damages=1, refused=refused)
    if sql.startswith("delete from t_free0") or refused:
        assert words != "ok", "vss_check found nothing"


def test_flipped_bytes(base: tuple[bytes, Oracle], tmp_path: Path) -> None:
    """One bit of a blob of vectors, cells or codes, anywhere: header, checksum, vector or padding."""
    data, oracle = base
    chosen = seed()
    random = np.random.default_rng(chosen)
    findings = []
    flips, refusals = scaled(60, 3000), 0
    for _ in range(flips):
        c = int(random.integers(2))
        where = random.random()
        bit = int(random.integers(8))

        def damage(conn: Any, c: int = c, where: float = where, bit: int = bit) -> None:
            blobs = [
                (table, rowid, data)
                for table in (f"t_vectors{c}", f"t_cells{c}", f"t_codes{c}")
                for rowid, data in conn.execute(f"select rowid, data from {table}")
            ]
            at = int(where * sum(len(data) for _, _, data in blobs))
            for table, rowid, data in blobs:
                if at < len(data):
                    changed = bytearray(data)
                    changed[at] ^= 1 << bit
                    conn.execute(f"update {table} set data = ? where rowid = ?", (bytes(changed), rowid))
                    return
                at -= len(data)

        try:
            refusals += examine(data, oracle, tmp_path / "damaged.db", damage, False)[1] > 0
        except Finding as finding:
            findings.append(f"column {c}, at {where}, bit {bit}: {finding}")
    count("damage: flipped bits", damages=flips, noticed=refusals, silent=len(findings), seed=chosen)
    assert findings == [], f"seed {chosen}"
    assert refusals > 0


def test_any_byte_of_the_file(base: tuple[bytes, Oracle], tmp_path: Path) -> None:
    """Bytes of the file overwritten at random, below SQLite: no crash, and no wrong vector or distance."""
    data, oracle = base
    chosen = seed()
    random = np.random.default_rng(chosen)
    known = {blob(row.a) for row in oracle.rows.values()} | {blob(row.b) for row in oracle.rows.values()}
    errors = 0
    rounds = scaled(40, 3000)
    for _ in range(rounds):
        damaged = bytearray(data)
        for _ in range(int(random.integers(1, 30))):
            at = int(random.integers(100, len(damaged)))
            length = int(random.choice([1, 1, 4, 64]))
            damaged[at : at + length] = random.bytes(length)
        path = tmp_path / "damaged.db"
        path.write_bytes(damaged)
        try:
            conn = vssnative.connect(path, wal=False, driver=apsw)
        except apsw.Error:
            errors += 1
            continue
        for sql, parameters in (
            ("select rowid, a, b, company from t", ()),
            ("select rowid, distance from t where a match ? and k = 10", (blob(QUERY_A),)),
            ("select rowid, distance, a from t where b match ? and k = 10", (blob(QUERY_B),)),
            (
                "select rowid, distance from t where a match ? and k = 10 and company = 'acme'",
                (blob(QUERY_A),),
            ),
            ("update t set year = 1, a = ?", (blob(QUERY_A),)),
            ("delete from t where rowid % 3 = 0", ()),
            ("insert into t(a, b) values(?, ?)", (blob(QUERY_A), blob(QUERY_B))),
            ("select vss_check('t')", ()),
            ("select vss_repair('t')", ()),
            ("drop table t", ()),
        ):
            try:
                for row in conn.execute(sql, parameters):
                    if len(row) == 4:  # the scan: a vector that comes back is one that was put there
                        assert row[1] in known and row[2] in known, (
                            f"seed {chosen}: a vector that nobody stored"
                        )
            except apsw.Error as error:
                errors += 1
                assert str(error).strip()
            except UnicodeDecodeError:  # the driver's word for a damaged text
                errors += 1
        conn.close()
    count("damage: bytes of the file", damages=rounds, errors=errors, seed=chosen)
    assert errors > 0


def test_repair_after_each_kind_of_damage(base: tuple[bytes, Oracle], tmp_path: Path) -> None:
    """What can be derived is there again; what is lost is told, row by row; the check is content afterwards."""
    data, oracle = base
    derived = [
        "delete from t_segments0",
        "update t_segments1 set live = 1, version = 4",
        "delete from t_free0",
        "insert into t_free1 select _slot1 from t_rows where _slot1 is not null limit 5",
        "update t_rows set _slot0 = null",
        "update t_rows set _slot0 = 0, _slot1 = 'x'",
    ]
    for sql in derived:
        conn = open_copy(data, tmp_path / "damaged.db")
        conn.execute(sql)
        conn.close()
        conn = vssnative.connect(tmp_path / "damaged.db", wal=False, driver=apsw)
        conn.execute("select vss_repair('t')").fetchone()
        oracle.check(conn.execute)
        conn.close()
    conn = open_copy(data, tmp_path / "damaged.db")
    [(rowid, slot)] = conn.execute(
        "select _rowid, _slot0 from t_rows where _slot0 is not null limit 1 offset 20"
    )
    [(slots_of_block,)] = conn.execute("select value from t_config where key = 'block_slots0'")
    [(block, old)] = conn.execute(
        "select block, data from t_vectors0 where block = ?", (slot // slots_of_block,)
    )
    damaged = bytearray(old)
    damaged[slot % slots_of_block * (len(old) // slots_of_block) + 20] ^= 1
    conn.execute("update t_vectors0 set data = ? where block = ?", (bytes(damaged), block))
    conn.close()
    conn = vssnative.connect(tmp_path / "damaged.db", wal=False, driver=apsw)
    [(words,)] = conn.execute("select vss_repair('t')")
    repaired = oracle.copy()
    assert f"the vector of row {rowid} is lost" in words
    repaired.rows[rowid] = repaired.rows[rowid].changed(a=None)
    repaired.check(conn.execute)
    insert(conn.execute, 5555, Row(a=QUERY_A))
    repaired.rows[5555] = Row(a=QUERY_A)
    repaired.check(conn.execute)
    conn.close()
