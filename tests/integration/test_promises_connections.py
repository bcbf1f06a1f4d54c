"""SQLite's promises about several connections, threads and processes (docs/reliability.md lists them)."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

import vssnative
from tests.reliability.oracle import Oracle, Row, blob, create, insert, loaded, random_row

OpenDb = Callable[..., sqlite3.Connection]
ZERO = (0,) * 6


@pytest.fixture
def oracle(db: sqlite3.Connection, random: np.random.Generator) -> Oracle:
    oracle = loaded(random, db.execute, 60)
    db.commit()
    return oracle


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_others_see_exactly_what_is_committed(
    open_db: OpenDb, random: np.random.Generator, journal: str
) -> None:
    writer = open_db("seen.db", wal=False)
    writer.execute(f"pragma journal_mode = {journal}")
    oracle = loaded(random, writer.execute)
    writer.commit()
    reader = open_db("seen.db", wal=False)
    for round in range(10):
        committed = oracle.copy()
        for _ in range(4):
            rowid = int(random.integers(80))
            if rowid in oracle.rows and random.random() < 0.5:
                writer.execute("delete from t where rowid = ?", (rowid,))
                del oracle.rows[rowid]
            else:
                oracle.rows[rowid] = random_row(random)
                insert(writer.execute, rowid, oracle.rows[rowid], verb="replace")
            oracle.check_searches(writer.execute, seed=round)
            committed.check_searches(reader.execute, seed=round)
        if round % 3 == 2:
            writer.rollback()
            oracle = committed
        else:
            writer.commit()
        oracle.check(reader.execute, seed=round)
        oracle.check(writer.execute, seed=round)


def test_a_reader_keeps_its_snapshot(db: sqlite3.Connection, oracle: Oracle, open_db: OpenDb) -> None:
    reader = open_db()
    reader.isolation_level = None
    reader.execute("begin")
    snapshot = oracle.copy()
    snapshot.check(reader.execute)
    for i in range(100, 130):
        oracle.rows[i] = Row(a=(i % 7,) * 6)
        insert(db.execute, i, oracle.rows[i])
        del oracle.rows[i - 90]
        db.execute("delete from t where rowid = ?", (i - 90,))
        db.commit()
        snapshot.check_searches(reader.execute, seed=i)
        oracle.check_searches(db.execute, seed=i)
    snapshot.check(reader.execute)
    with pytest.raises(sqlite3.OperationalError, match="locked"):  # SQLITE_BUSY_SNAPSHOT
        reader.execute("delete from t where rowid = 1")
    reader.execute("rollback")
    oracle.check(reader.execute)


def test_a_commit_that_is_busy_is_retried(open_db: OpenDb, random: np.random.Generator) -> None:
    """A reader's lock in a rollback journal makes COMMIT fail; the transaction is whole and commits later."""
    writer = open_db("busy.db", wal=False, timeout=0.01)
    oracle = loaded(random, writer.execute)
    writer.commit()
    reader = open_db("busy.db", wal=False)
    reader.isolation_level = None
    reader.execute("begin")
    before = oracle.copy()
    before.check(reader.execute)
    for i in range(100, 120):
        oracle.rows[i] = random_row(random)
        insert(writer.execute, i, oracle.rows[i])
    for attempt in range(3):
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            writer.commit()
        assert writer.in_transaction
        oracle.check(writer.execute, seed=attempt)
        # and it can grow between the attempts
        oracle.rows[200 + attempt] = random_row(random)
        insert(writer.execute, 200 + attempt, oracle.rows[200 + attempt])
        writer.execute("delete from t where rowid = ?", (attempt + 1,))
        del oracle.rows[attempt + 1]
    before.check(reader.execute)
    reader.execute("commit")
    writer.commit()
    oracle.check(writer.execute)
    oracle.check(reader.execute)


def test_two_writers_take_turns(db: sqlite3.Connection, oracle: Oracle, open_db: OpenDb) -> None:
    other = open_db(timeout=0.01)
    insert(db.execute, 500, Row(a=ZERO))
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        insert(other.execute, 501, Row(a=ZERO))
    oracle.check(other.execute)
    other.rollback()
    db.commit()
    insert(other.execute, 501, Row(a=ZERO))
    other.commit()
    # Each used the slots that the other had not.
    oracle.rows |= {500: Row(a=ZERO), 501: Row(a=ZERO)}
    for conn in (db, other):
        oracle.check(conn.execute)


def test_threads_with_connections_of_their_own(tmp_path: Path, random: np.random.Generator) -> None:
    """Writers move rows between two values in one transaction; readers never see half of it."""
    path = tmp_path / "threads.db"
    first = vssnative.connect(path)
    create(first.execute)
    for i in range(200):
        insert(first.execute, i, Row(a=(0,) * 6, year=0))
    first.commit()
    stop = threading.Event()
    failures: list[BaseException] = []
    reads = [0]

    def write(seed: int) -> None:
        conn = vssnative.connect(path, timeout=60)
        try:
            for i in range(15):
                value = seed * 100 + i + 1
                conn.execute("begin immediate")
                conn.execute("update t set a = ?, year = ?", (blob((value,) * 6), value))
                conn.commit()
        except BaseException as error:
            failures.append(error)
        finally:
            conn.close()

    def read() -> None:
        conn = vssnative.connect(path, timeout=60)
        try:
            while not stop.is_set():
                rows = conn.execute(
                    "select rowid, distance, year from t where a match ? and k = 500", (blob(ZERO),)
                ).fetchall()
                years = {year for _, _, year in rows}
                assert [i for i, _, _ in rows] == list(range(200)), "rows lost, doubled or out of order"
                assert len(years) == 1, "half of a transaction seen"
                assert {d for _, d, _ in rows} == {float(6 * years.pop() ** 2)}
                reads[0] += 1
        except BaseException as error:
            failures.append(error)
        finally:
            conn.close()

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(2)]
    for thread in [*readers, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    while reads[0] < 4 and not failures:
        time.sleep(0.01)
    stop.set()
    for thread in readers:
        thread.join()
    first.close()
    assert failures == []


def test_one_connection_used_by_threads_in_turn(tmp_path: Path, random: np.random.Generator) -> None:
    conn = vssnative.connect(tmp_path / "turns.db", check_same_thread=False)
    oracle = loaded(random, conn.execute)
    failures: list[BaseException] = []

    def work(i: int) -> None:
        try:
            oracle.rows[i] = random_row(random)
            insert(conn.execute, i, oracle.rows[i])
            oracle.check(conn.execute, seed=i)
        except BaseException as error:
            failures.append(error)

    for i in range(100, 108):
        thread = threading.Thread(target=work, args=(i,))
        thread.start()
        thread.join()
    conn.commit()
    oracle.check(conn.execute)
    conn.close()
    assert failures == []


IN_ANOTHER_PROCESS = """
import sys, numpy as np, vssnative
from tests.reliability.oracle import insert, random_row, blob
conn = vssnative.connect(sys.argv[1])
for line in sys.stdin:
    word, *rest = line.split()
    if word == "put":
        insert(conn.execute, int(rest[0]), random_row(np.random.default_rng(int(rest[1]))), verb="replace")
    elif word == "delete":
        conn.execute("delete from t where rowid = ?", (int(rest[0]),))
    elif word in ("commit", "rollback"):
        getattr(conn, word)()
    elif word == "search":
        query = blob(tuple(map(int, rest)))
        rows = conn.execute("select rowid from t where a match ? and k = 20", (query,)).fetchall()
        print(*(i for (i,) in rows))
    print("done", flush=True)
conn.close()
"""


def test_processes_see_what_others_commit(db: sqlite3.Connection, oracle: Oracle, tmp_path: Path) -> None:
    """Both processes keep decoded rows in memory; neither is ever stale, also after a rollback."""
    process = subprocess.Popen(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, str(tmp_path / "test.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None

    def tell(words: str) -> str:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(words + "\n")
        process.stdin.flush()
        answer = ""
        while (line := process.stdout.readline().strip()) != "done":
            answer = line
            assert process.poll() is None
        return answer

    random = np.random.default_rng(4)
    with process:
        for round in range(12):
            query = tuple(map(int, random.integers(-8, 9, 6)))
            before = oracle.copy()
            if round % 2:
                rowid = int(random.integers(70))
                tell(f"put {rowid} {round}")
                oracle.rows[rowid] = random_row(np.random.default_rng(round))
                tell(f"delete {round}")
                oracle.rows.pop(round, None)
                before.check_searches(db.execute, seed=round)
                if round % 4 == 1:
                    tell("rollback")
                    oracle = before
                else:
                    tell("commit")
            else:
                rowid = int(random.integers(70))
                oracle.rows[rowid] = random_row(random)
                insert(db.execute, rowid, oracle.rows[rowid], verb="replace")
                db.commit()
            oracle.check(db.execute, seed=round)
            expected = " ".join(str(i) for i, _ in oracle.nearest("a", query, 20))
            assert tell("search " + " ".join(map(str, query))) == expected
        process.stdin.close()
        assert process.wait() == 0


def _search_after_fork(path: str, expected: list[tuple[int, float]], answer: Any) -> None:
    conn = vssnative.connect(path)
    found = conn.execute("select rowid, distance from t where a match ? and k = 20", (blob(ZERO),)).fetchall()
    conn.execute("insert into t(rowid, a) values(7777, ?)", (blob(ZERO),))
    conn.commit()
    conn.close()
    answer.put(found == expected)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_with_a_connection_of_its_own(
    db: sqlite3.Connection, oracle: Oracle, tmp_path: Path
) -> None:
    """The child inherits the parent's cache, and draws other versions than the parent does."""
    expected = oracle.nearest("a", ZERO, 20)
    assert (
        db.execute("select rowid, distance from t where a match ? and k = 20", (blob(ZERO),)).fetchall()
        == expected
    )
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    child = context.Process(target=_search_after_fork, args=(str(tmp_path / "test.db"), expected, answer))
    child.start()
    assert answer.get(timeout=60)
    child.join()
    answer.close()
    oracle.rows[7777] = Row(a=ZERO)
    oracle.check(db.execute)


def test_interrupt_ends_a_search(db: sqlite3.Connection) -> None:
    db.execute("create virtual table big using vss0(a(64))")
    matrix = np.random.default_rng(1).integers(-8, 9, (4000, 64)).astype(np.float32)
    vssnative.Index(db, "big", "a").add(np.arange(4000), matrix)
    db.commit()
    sql = "select count(*) from (select rowid from big where a match ? and k = 5), generate(1)"

    interruptions = 0

    def generate(_: int) -> int:
        nonlocal interruptions
        interruptions += 1
        db.interrupt()
        return 1

    db.create_function("interrupts", 1, generate)
    sql = "select rowid from big where a match ? and k = 5 and rowid in (select rowid + interrupts(1) - 1 from big)"
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        db.execute(sql, (matrix[0].tobytes(),)).fetchall()
    assert interruptions > 0
    found = db.execute("select rowid from big where a match ? and k = 1", (matrix[7].tobytes(),)).fetchall()
    assert found == [(7,)]


def test_interrupt_undoes_a_write(db: sqlite3.Connection, oracle: Oracle) -> None:
    def stop(i: int) -> int:
        if i == 40:
            db.interrupt()
        return i

    db.create_function("stop", 1, stop)
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        db.execute("update t set year = stop(rowid)")
    db.rollback()
    oracle.check(db.execute)
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        db.execute("update t set a = ?, year = stop(rowid)", (blob(ZERO),))
    db.rollback()
    oracle.check(db.execute)


def test_progress_handler_and_authorizer(db: sqlite3.Connection, oracle: Oracle) -> None:
    calls = [0]

    def progress() -> int:
        calls[0] += 1
        return 0

    db.set_progress_handler(progress, 1)
    oracle.check_searches(db.execute)
    db.set_progress_handler(None, 1)
    assert calls[0] > 0

    def nothing_written(action: int, *_: Any) -> int:
        return (
            sqlite3.SQLITE_DENY
            if action in (sqlite3.SQLITE_DELETE, sqlite3.SQLITE_INSERT)
            else sqlite3.SQLITE_OK
        )

    db.set_authorizer(nothing_written)
    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        db.execute("delete from t where rowid = 1")
    db.set_authorizer(None)
    oracle.check(db.execute)


def test_apsw_and_json_of_many_queries_at_once(
    db: sqlite3.Connection, oracle: Oracle, tmp_path: Path
) -> None:
    """Several searches open at a time on one connection, read in turns."""
    conn = vssnative.connect(tmp_path / "test.db", driver=apsw)
    queries = [tuple(map(int, q)) for q in np.random.default_rng(3).integers(-8, 9, (5, 6))]
    sql = "select rowid, distance from t where a match ?"
    cursors = [conn.execute(sql, (json.dumps(query),)) for query in queries]
    found: list[list[Any]] = [[] for _ in queries]
    for _ in range(60):
        for rows, cursor in zip(found, cursors, strict=True):
            if (row := next(cursor, None)) is not None:
                rows.append(row)
    assert found == [oracle.nearest("a", query, 60) for query in queries]
    conn.close()
