"""Other connections create and drop tables of their own while this one looks after its vectors: no crash, no false alarm.

SQLite reloads a connection's schema at the next statement after any other connection changed it, and lets go of every
virtual table meanwhile: also in the middle of a SQL function that runs statements. Each test runs in a process of its own,
since what it looks for ends the process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.campaign import count, scaled

COMMON = """
import json, sqlite3, sys, threading, time
import apsw
import numpy as np
import vssnative
from vssnative import _core
_core.set_verification(0)
path, driver_name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
driver = {"sqlite3": sqlite3, "apsw": apsw}[driver_name]
rng = np.random.default_rng(5)
DIM = 16
def connect(**more):
    conn = vssnative.connect(path, driver=driver, **more)
    return conn
maker = vssnative.connect(path, driver=driver)
maker.execute("create virtual table e using vss0(a(16), kind text)")
maker.execute("update e_config set value = 200 where key = 'cells_from0'")
maker.execute("update e_config set value = 20 where key = 'cell_rows0'")
if driver is sqlite3:
    maker.commit()
maker.close()
maker = vssnative.connect(path, driver=driver)
index = vssnative.Index(maker, "e", "a")
index.add(np.arange(1, 1001), rng.standard_normal((1000, DIM)).astype(np.float32))
if driver is sqlite3:
    maker.commit()
stop = threading.Event()
problems = []
def beside(body):
    def run():
        try:
            conn = vssnative.connect(path, driver=driver, timeout=20)
            if driver is sqlite3:
                conn.isolation_level = None
            n = 0
            while not stop.is_set():
                body(conn, n)
                n += 1
            conn.close()
            done[body.__name__] = n
        except Exception as error:
            problems.append(f"{body.__name__}: {error!r}")
    thread = threading.Thread(target=run)
    thread.start()
    return thread
done = {}
def ddl(conn, n):
    conn.execute("create table x(a)")
    conn.execute("drop table x")
    # At 8,000 changes a second SQLite's own 50 tries run out, for its own tables too.
    time.sleep(0.001)
def finish(*threads):
    stop.set()
    for thread in threads:
        thread.join()
    print(json.dumps({"done": done, "problems": problems[:5], "n_problems": len(problems)}))
"""


def run(tmp_path: Path, driver: str, body: str, seconds: float) -> dict[str, Any]:
    child = subprocess.run(
        [sys.executable, "-c", COMMON + body, str(tmp_path / "schema.db"), driver, str(seconds)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert child.returncode == 0, f"ended with {child.returncode}: {child.stderr[-2000:]}"
    result: dict[str, Any] = json.loads(child.stdout)
    assert result["problems"] == [], result
    return result


DRIVERS = pytest.mark.parametrize("driver", ["sqlite3", "apsw"])

FUNCTIONS = """
calls = [
    ("select vss_check('e')", "ok"),
    ("select vss_stats('e', 'a')", None),
    ("select vss_explain('e', 'a', zeroblob(64), 5, 0.9)", None),
    ("select vss_describe('e')", None),
    ("select vss_count('e', 'a')", 1000),
    ("select count(*) from (select rowid from e where a match zeroblob(64) and k = 7)", 7),
    ("select count(*) from e where kind is null", 1000),
]
conn = vssnative.connect(path, driver=driver, timeout=20)
thread = beside(ddl)
n = 0
end = time.monotonic() + seconds
while time.monotonic() < end:
    for sql, expected in calls:
        try:
            [(answer,)] = conn.execute(sql).fetchall()
            if expected is not None and answer != expected:
                problems.append(f"{sql}: {answer}")
        except Exception as error:
            problems.append(f"{sql}: {error!r}")
        n += 1
done["calls"] = n
finish(thread)
"""


@DRIVERS
def test_functions_beside_create_and_drop(tmp_path: Path, driver: str) -> None:
    result = run(tmp_path, driver, FUNCTIONS, scaled(6, 60))
    count(f"schema changes: {driver}", **result["done"])
    assert result["done"]["calls"] > 50 and result["done"]["ddl"] > 50


OPTIMIZE = """
def slow(conn, n):
    # The commit for which optimize waits holds a change of the schema.
    conn.execute("begin immediate")
    conn.execute("create table x(a)")
    conn.execute("drop table x") if n % 2 else None
    time.sleep(0.02)
    conn.execute("commit")
    if not n % 2:
        conn.execute("drop table x")
    time.sleep(0.03)  # else nobody else ever finds it free
conn = vssnative.connect(path, driver=driver, timeout=20)
if driver is sqlite3:
    conn.isolation_level = None
thread = beside(slow)
n = 0
end = time.monotonic() + seconds
while time.monotonic() < end:
    for sql in ("select vss_optimize('e', 'a', 0)", "select vss_repair('e')", "select vss_optimize('e', 'a', 8)"):
        try:
            [(answer,)] = conn.execute(sql).fetchall()
            if "repair" in sql and answer != "ok":
                problems.append(f"{sql}: {answer}")
        except Exception as error:
            problems.append(f"{sql}: {error!r}")
        n += 1
        time.sleep(0.02)
done["calls"] = n
finish(thread)
assert conn.execute("select vss_check('e')").fetchall() == [("ok",)]
"""


@DRIVERS
def test_optimize_and_repair_wait_for_a_commit_that_changes_the_schema(tmp_path: Path, driver: str) -> None:
    result = run(tmp_path, driver, OPTIMIZE, scaled(6, 60))
    assert result["done"]["calls"] > 5 and result["done"]["slow"] > 5


BESIDE_A_WRITER = """
def write(conn, n):
    conn.execute("begin immediate")
    conn.execute("insert into e(rowid, a) values(?, ?)", (5000 + n, rng.standard_normal(DIM).astype(np.float32).tobytes()))
    conn.execute("delete from e where rowid = ?", (5000 + n - 50,))
    conn.execute("update e set a = ? where rowid = ?", (rng.standard_normal(DIM).astype(np.float32).tobytes(), n % 900 + 1))
    conn.execute("commit")
conn = vssnative.connect(path, driver=driver, timeout=20)
thread = beside(write)
n = 0
end = time.monotonic() + seconds
while time.monotonic() < end:
    for sql in ("select vss_check('e')", "select vss_explain('e', 'a', zeroblob(64), 5, 0.9)", "select vss_stats('e', 'a')"):
        try:
            [(answer,)] = conn.execute(sql).fetchall()
            if "check" in sql and answer != "ok":
                problems.append(f"{sql}: {answer}")
        except Exception as error:
            problems.append(f"{sql}: {error!r}")
        n += 1
done["calls"] = n
finish(thread)
"""


@DRIVERS
def test_no_false_alarm_beside_a_writer(tmp_path: Path, driver: str) -> None:
    result = run(tmp_path, driver, BESIDE_A_WRITER, scaled(6, 60))
    count(f"beside a writer: {driver}", **result["done"])
    assert result["done"]["calls"] > 20 and result["done"]["write"] > 20


FAILING_REPAIR = """
conn = vssnative.connect(path, driver=driver, timeout=20)
if driver is sqlite3:
    conn.isolation_level = None
conn.execute("drop table e_codes0")
conn.execute("drop table e_free0")
conn.execute("vacuum")
[(pages,)] = conn.execute("pragma page_count").fetchall()
failed = 0
for more in range(0, 12):
    conn.execute(f"pragma max_page_count = {pages + more}").fetchall()
    try:
        conn.execute("select vss_repair('e')").fetchall()
    except Exception as error:
        failed += "full" in str(error)
    try:
        conn.execute("select vss_stats('e', 'a')").fetchall()
    except Exception as error:
        pass
    assert not (conn.in_transaction), "a transaction is left open"
conn.execute("pragma max_page_count = 1000000").fetchall()
conn.execute("select vss_repair('e')").fetchall()
[(answer,)] = conn.execute("select vss_check('e')").fetchall()
if answer != "ok":
    problems.append(answer)
if failed == 0:
    problems.append("no repair failed")
done["failed"] = failed
finish()
"""


@DRIVERS
def test_a_repair_that_makes_a_table_and_then_fails(tmp_path: Path, driver: str) -> None:
    assert run(tmp_path, driver, FAILING_REPAIR, 0)["done"]["failed"] > 0
