"""sqlite3_interrupt() at any moment of what changes a table: all of it is done, or nothing, and no transaction stays open."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

import vssnative
from tests.reliability.campaign import count, scaled
from vssnative import _core

DIM = 16


def make(path: Path, driver: Any) -> Any:
    """400 rows in cells of some ten."""
    conn = vssnative.connect(path, driver=driver)
    conn.execute(f"create virtual table e using vss0(a({DIM}))")
    conn.execute("update e_config set value = 100 where key = 'cells_from0'")
    conn.execute("update e_config set value = 10 where key = 'cell_rows0'")
    if driver is sqlite3:
        conn.commit()
    conn.close()
    conn = vssnative.connect(path, driver=driver)
    matrix = np.random.default_rng(3).standard_normal((400, DIM)).astype(np.float32)
    vssnative.Index(conn, "e", "a").add(np.arange(1, 401), matrix)
    if driver is sqlite3:
        conn.commit()
        conn.isolation_level = None
    conn.execute("create table mine(x)")
    return conn


@pytest.fixture(autouse=True)
def unverified() -> Any:
    verifying = _core.verification()
    _core.set_verification(0)
    yield
    _core.set_verification(verifying)


class Interrupter:
    """Interrupts the connection once, some microseconds after it is asked to."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.delay = 0.0
        self.go = threading.Event()
        self.stop = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while True:
            self.go.wait()
            if self.stop:
                return
            end = time.perf_counter() + self.delay
            while time.perf_counter() < end:
                time.sleep(0)
            self.conn.interrupt()
            self.go.clear()

    def after(self, delay: float) -> None:
        self.delay = delay
        self.go.set()

    def settle(self) -> None:
        while self.go.is_set():
            time.sleep(0)

    def close(self) -> None:
        self.settle()
        self.stop = True
        self.go.set()
        self.thread.join()


DAMAGE = "update e_segments0 set live = live + 1 where data is null"
CALLS = {
    "optimize": "select vss_optimize('e', 'a', 0)",
    "repair": "select vss_repair('e')",
}


@pytest.mark.parametrize("driver", [sqlite3, apsw], ids=["sqlite3", "apsw"])
@pytest.mark.parametrize("inside", ["alone", "a transaction", "savepoints"])
@pytest.mark.parametrize("call", CALLS)
def test_interrupted_at_any_time(tmp_path: Path, driver: Any, inside: str, call: str) -> None:
    path = tmp_path / "interrupted.db"
    conn = make(path, driver)
    other = vssnative.connect(path, timeout=0)
    other.isolation_level = None
    interrupter = Interrupter(conn)
    random = np.random.default_rng(17)
    # How long one takes.
    start = time.perf_counter()
    conn.execute(CALLS[call]).fetchall()
    whole = time.perf_counter() - start
    interrupted = kept = 0
    expected = 0
    tries = scaled(40, 400)
    for i in range(tries):
        if inside != "alone":
            conn.execute("begin")
            conn.execute("insert into mine values(1)")
            if inside == "savepoints":
                conn.execute("savepoint one")
                conn.execute("insert into mine values(2)")
                conn.execute("savepoint two")
        interrupter.after(float(random.random()) * whole * 2)
        try:
            conn.execute(CALLS[call]).fetchall()
            ended = True
        except (sqlite3.OperationalError, apsw.InterruptError) as error:
            assert "interrupt" in str(error), error
            ended = False
        interrupter.settle()
        if inside == "alone":
            in_transaction = conn.in_transaction
            assert not in_transaction, f"try {i}: a transaction is left open"
        else:
            # As SQLite does where an INSERT is interrupted: the whole transaction is rolled back, or none of it.
            if conn.in_transaction:
                expected += 1 + (inside == "savepoints")
                conn.execute("commit")
            else:
                assert not ended
        interrupted += not ended
        kept += ended
        whole *= 0.9 if ended else 1.1  # so that both keep happening, whatever else the machine does
        # Nobody is locked out, and what comes next lasts.
        other.execute("insert into mine values(3)")
        conn.execute("insert into mine values(4)")
        expected += 2
        assert other.execute("select count(*) from mine").fetchone() == (expected,)
        if i % 5 == 0:
            [(words,)] = conn.execute("select vss_check('e')").fetchall()
            assert words == "ok"
            assert conn.execute("select count(*) from e").fetchall() == [(400,)]
            [(words,)] = other.execute("select vss_check('e')").fetchall()
            assert words == "ok"
    interrupter.close()
    count(f"interrupts: {call}, {inside}", tries=tries, interrupted=interrupted)
    assert interrupted > 0 and kept > 0
    other.close()
    conn.close()


@pytest.mark.parametrize("driver", [sqlite3, apsw], ids=["sqlite3", "apsw"])
def test_an_interrupted_search_does_not_spoil_the_commit(tmp_path: Path, driver: Any) -> None:
    """A search brings the cells up to date first; interrupted in the middle of that, it leaves them as they were."""
    path = tmp_path / "searched.db"
    conn = make(path, driver)
    interrupter = Interrupter(conn)
    random = np.random.default_rng(23)
    query = random.standard_normal(DIM).astype(np.float32).tobytes()
    search = "select rowid from e where a match ? and k = 5"
    interrupted = answered = 0
    rowid = 1000
    for i in range(scaled(60, 400)):
        conn.execute("begin")
        for _ in range(70):  # enough for cells to take them in
            rowid += 1
            conn.execute(
                "insert into e(rowid, a) values(?, ?)",
                (rowid, random.standard_normal(DIM).astype(np.float32).tobytes()),
            )
        conn.execute("delete from e where rowid between ? and ?", (rowid - 69 - 30, rowid - 69))
        interrupter.after(float(random.random()) * 0.003)
        try:
            conn.execute(search, (query,)).fetchall()
            answered += 1
        except (sqlite3.OperationalError, apsw.InterruptError) as error:
            assert "interrupt" in str(error), error
            interrupted += 1
        interrupter.settle()
        assert conn.in_transaction
        assert len(conn.execute(search, (query,)).fetchall()) == 5
        conn.execute("commit")
        if i % 5 == 0:
            [(words,)] = conn.execute("select vss_check('e')").fetchall()
            assert words == "ok", words
    interrupter.close()
    count("interrupts: searches in a transaction", interrupted=interrupted, answered=answered)
    assert interrupted > 0 and answered > 0
    conn.close()


@pytest.mark.parametrize("call", ["repair", "optimize"])
def test_the_connection_goes_on_seeing_what_others_commit(tmp_path: Path, call: str) -> None:
    path = tmp_path / "seen.db"
    conn = make(path, sqlite3)
    other = vssnative.connect(path)
    other.isolation_level = None
    query = np.zeros(DIM, np.float32).tobytes()
    everything = "select rowid from e where a match ? and k = 1000"
    if call == "repair":
        conn.execute(DAMAGE)
        assert conn.execute("select vss_repair('e')").fetchone() != ("ok",)
    conn.execute(CALLS[call]).fetchall()
    for i in range(1, 100):
        other.execute("delete from e where rowid = ?", (i,))
        found = {rowid for (rowid,) in conn.execute(everything, (query,))}
        assert found == set(range(i + 1, 401))
    assert conn.execute("select vss_check('e')").fetchone() == ("ok",)
    other.close()
    conn.close()


def test_a_repair_reports_all_that_it_mends(tmp_path: Path) -> None:
    conn = make(tmp_path / "mended.db", sqlite3)
    conn.execute("delete from e where rowid between 50 and 90")
    before = conn.total_changes
    assert conn.execute("select vss_repair('e')").fetchone() == ("ok",)
    assert conn.total_changes == before, "a sound table was written to"
    for damage, words in (
        (DAMAGE, "segment 0 counted 360 rows and holds 359"),
        ("delete from e_free0 where slot % 2", "free slots were not listed"),
        ("insert into e_free0 select _slot0 from e_rows limit 3", "3 were listed that are not free"),
        ("delete from e_segments0 where data is null", "segment 0 holds 359 rows and was not listed"),
    ):
        conn.execute(damage)
        [(told,)] = conn.execute("select vss_repair('e')").fetchall()
        assert words in told, (damage, told)
        assert conn.execute("select vss_check('e')").fetchone() == ("ok",)
        assert conn.execute("select vss_repair('e')").fetchone() == ("ok",)
    conn.close()


@pytest.mark.parametrize("call", CALLS)
def test_functions_that_change_a_table_are_refused_inside_other_statements(tmp_path: Path, call: str) -> None:
    conn = make(tmp_path / "refused.db", sqlite3)
    function = CALLS[call].removeprefix("select ")
    for sql in (
        f"select {function} from e",
        f"select {function} from e where a match zeroblob(64) and k = 3",
        f"select rowid from e where {function} is null",
        f"insert into mine select {function}",
        f"create table copy as select {function} as x",
        f"update e set a = a where {function} is not null",
        f"delete from mine where {function} is null",
    ):
        conn.execute("insert into mine values(1)")
        with pytest.raises(
            sqlite3.OperationalError, match=f'vss_{call} changes table "e".*call it by itself'
        ):
            conn.execute(sql).fetchall()
        assert not conn.in_transaction
    reading = conn.execute("select rowid from e")
    reading.fetchone()
    with pytest.raises(sqlite3.OperationalError, match="which is being read"):
        conn.execute(CALLS[call]).fetchall()
    reading.close()
    conn.execute(CALLS[call]).fetchall()
    # Another table's rows may be read meanwhile.
    assert len(conn.execute(f"select {function} from mine limit 2").fetchall()) == 2
    assert conn.execute("select vss_check('e')").fetchone() == ("ok",)
    conn.close()


def test_what_an_abandoned_object_of_the_table_gathered_is_not_lost(tmp_path: Path) -> None:
    """SQLite forgets every virtual table when ATTACH fails, also in the middle of a transaction that wrote to one."""
    conn = make(tmp_path / "attached.db", sqlite3)
    (tmp_path / "garbage.db").write_bytes(b"no database" * 1000)
    conn.execute("begin")
    vector = np.ones(DIM, np.float32).tobytes()
    conn.execute("insert into e(rowid, a) values(5000, ?)", (vector,))
    with pytest.raises(sqlite3.DatabaseError):
        conn.execute("attach ? as x", (str(tmp_path / "garbage.db"),))
    assert conn.execute("select rowid from e where a match ? and k = 1", (vector,)).fetchone() == (5000,)
    conn.execute("insert into e(rowid, a) values(5001, ?)", (vector,))
    conn.execute("delete from e where rowid = 3")
    conn.execute("commit")
    assert conn.execute("select vss_check('e')").fetchone() == ("ok",)
    assert conn.execute("select rowid from e where a match ? and k = 2", (vector,)).fetchall() == [
        (5000,),
        (5001,),
    ]
    conn.close()
