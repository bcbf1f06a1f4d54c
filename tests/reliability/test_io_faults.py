"""Every I/O call failing, once and for good, and power cuts that lose or tear unsynced writes.

After each: integrity_check is ok, and the contents are those before or after the commit, in rows and in searches.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

import vssnative
from tests.reliability.campaign import IS_LONG, count, scaled, seed
from tests.reliability.faulty_vfs import FaultyVFS
from tests.reliability.oracle import Oracle, blob, insert, loaded, random_row

_names = itertools.count()


@pytest.fixture
def vfs() -> Iterator[FaultyVFS]:
    faulty = FaultyVFS(f"faulty{next(_names)}")
    yield faulty
    faulty.unregister()


@pytest.fixture(params=["delete", "truncate", "wal"])
def journal(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["plain", "celled"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def base(tmp_path: Path, journal: str, kind: str) -> tuple[Path, Oracle]:
    path = tmp_path / "base.db"
    conn = vssnative.connect(path, wal=journal == "wal", synchronous="OFF", driver=apsw)
    oracle = loaded(np.random.default_rng(5), conn.execute, 40, celled=kind == "celled")
    conn.execute("delete from t where rowid in (5, 6, 7)")
    for rowid in (5, 6, 7):
        del oracle.rows[rowid]
    conn.close()
    return path, oracle


def open_faulty(path: Path, vfs: FaultyVFS, journal: str) -> Any:
    # The VFS offers no shared memory, so the write-ahead log needs the file for itself.
    conn = apsw.Connection(str(path), vfs=vfs.vfs_name)
    vssnative.load(conn)
    conn.execute("pragma cache_spill = 2; pragma cache_size = 5; pragma synchronous = extra")
    if journal == "wal":
        conn.execute("pragma locking_mode = exclusive")
    conn.execute(f"pragma journal_mode = {journal}")
    conn.execute("select vss_check('t')").fetchall()
    return conn


def change(execute: Any, oracle: Oracle, step: int) -> None:
    """One transaction with each kind of write, a savepoint rolled back, and searches."""
    random = np.random.default_rng(step)
    execute("begin")
    for rowid in random.integers(0, 80, 12).tolist():
        oracle.rows[rowid] = random_row(random)
        insert(execute, rowid, oracle.rows[rowid], verb="replace")
    execute("savepoint s")
    execute("delete from t where rowid < 60")
    execute("rollback to s")
    query = (0,) * 6
    sql = "select rowid, distance from t where a match ? and k = 9 and recall = 1.0"
    assert execute(sql, (blob(query),)).fetchall() == oracle.nearest("a", query, 9)
    first = min(oracle.rows)
    execute("update t set rowid = ? where rowid = ?", (1000 + step, first))
    oracle.rows[1000 + step] = oracle.rows.pop(first)
    execute("update t set year = 1 where rowid > 30")
    oracle.rows = {i: row.changed(year=1) if i > 30 else row for i, row in oracle.rows.items()}
    execute("delete from t where rowid % 7 = 1")
    oracle.rows = {i: row for i, row in oracle.rows.items() if i % 7 != 1}
    execute("commit")


def is_held(conn: Any, oracles: list[Oracle], words: str) -> int:
    """Which of the states the file holds; it must be one of them, whole."""
    assert conn.execute("pragma integrity_check").fetchall() == [("ok",)], words
    rows = conn.execute("select rowid, a, b, company, year, user_id, note from t order by rowid").fetchall()
    for i, oracle in enumerate(oracles):
        if rows == [(rowid, *row.values()) for rowid, row in sorted(oracle.rows.items())]:
            oracle.check(conn.execute)
            return i
    raise AssertionError(f"{words}: the file holds none of the {len(oracles)} states that it may hold")


@pytest.mark.parametrize("for_good", [False, True])
def test_every_io_call_failing(
    base: tuple[Path, Oracle], vfs: FaultyVFS, journal: str, kind: str, for_good: bool, tmp_path: Path
) -> None:
    path, before = base
    copy = tmp_path / "copy.db"
    faults, committed = 0, 0
    step = 1 if IS_LONG else 5 if kind == "plain" else 25
    n = 1 + seed() % step
    while True:
        words = f"{journal}, {kind}, call {n} failing {'for good' if for_good else 'once'}"
        shutil.copy(path, copy)
        vfs.disk.clear()
        conn = open_faulty(copy, vfs, journal)
        after = before.copy()
        vfs.fail_at(n, for_good)
        with contextlib.suppress(apsw.Error):
            change(conn.execute, after, 77)
        if vfs.faults == 0:
            vfs.stop_failing()
            after.check(conn.execute)
            conn.close()
            break
        faults += vfs.faults
        if not for_good:
            # The connection itself goes on, after a rollback.
            vfs.stop_failing()
            if conn.in_transaction:
                conn.execute("rollback")
            after = before.copy()
            change(_only_model(after), after, 77)
            held = is_held(conn, [before, after], words)
            now = [before, after][held].copy()
            change(conn.execute, now, 78)
            now.check(conn.execute)
            conn.close()
            plain = vssnative.connect(copy, wal=False, driver=apsw)
            is_held(plain, [now], words)
            plain.close()
            committed += held
        else:
            with contextlib.suppress(apsw.Error):
                conn.close(True)
            vfs.stop_failing()
            after = before.copy()
            change(_only_model(after), after, 77)
            plain = vssnative.connect(copy, wal=False, driver=apsw)
            committed += is_held(plain, [before, after], words)
            plain.close()
        n += step
    assert faults >= 10
    count(
        "i/o faults",
        journal=journal,
        kind=kind,
        for_good=int(for_good),
        faults=faults,
        runs=n // step,
        committed=committed,
    )


def _only_model(oracle: Oracle) -> Any:
    """In place of ``conn.execute``: the model changes, no table does."""
    return lambda *_: _Nothing(oracle)


class _Nothing:
    """Stands for the cursor where only the model runs."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle

    def fetchall(self) -> list[tuple[int, float]]:
        return self._oracle.nearest("a", (0,) * 6, 9)


def test_power_cuts(
    base: tuple[Path, Oracle], vfs: FaultyVFS, journal: str, kind: str, tmp_path: Path
) -> None:
    """Some commits, a cut at a random call in them: what was committed is there, and nothing half."""
    path, before = base
    chosen = seed()
    random = np.random.default_rng(chosen)
    copy = tmp_path / "copy.db"
    cuts = scaled(12, 300)
    calls = 60
    images_checked = 0
    for cut in range(cuts):
        words = f"{journal}, {kind}, seed {chosen}, cut {cut}"
        for suffix in ("", "-journal", "-wal"):
            Path(f"{copy}{suffix}").unlink(missing_ok=True)
        shutil.copy(path, copy)
        vfs.disk.clear()
        vfs.deleted.clear()
        conn = open_faulty(copy, vfs, journal)
        # What was there before the cut is on the disk.
        for file in vfs.disk.values():
            file.sync()
        vfs.fail_at(int(random.integers(1, calls)), for_good=True)
        states = [before.copy()]
        with contextlib.suppress(apsw.Error):
            for step in range(4):
                now = states[-1].copy()
                change(conn.execute, now, 100 + step)
                states.append(now)
        calls = max(calls, vfs.calls)
        done = len(states) - 1
        later = states[-1].copy()
        change(_only_model(later), later, 100 + done)
        states.append(later)
        images = vfs.crash_images(random)
        vfs.stop_failing()
        with contextlib.suppress(apsw.Error):
            conn.close(True)
        folder = tmp_path / f"disk{cut}"
        folder.mkdir()
        for name, data in images.items():
            (folder / Path(name).name).write_bytes(data)
        plain = vssnative.connect(folder / "copy.db", wal=False, driver=apsw)
        is_held(plain, states[done:], words)
        plain.close()
        shutil.rmtree(folder)
        images_checked += 1
    count("power cuts", journal=journal, kind=kind, cuts=images_checked, seed=chosen)
