"""Threads that share one connection: a call waits for those of other threads, and none waits for ever.

SQLite holds the connection's mutex while it runs a Python function, which needs the GIL; sqlite3 waits for the mutex with
the GIL held. What could hang runs in a process of its own, whose watchdog ends it with the threads' tracebacks.
"""

from __future__ import annotations

import importlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import vssnative

WATCHDOG = """
import faulthandler
faulthandler.dump_traceback_later(60, exit=True)
"""

ONE_CALL_WHILE_ANOTHER_THREAD_IS_INSIDE = (
    WATCHDOG
    + """
import importlib, sys, threading, time
import vssnative

driver = importlib.import_module(sys.argv[1])
conn = vssnative.connect(":memory:", driver=driver, check_same_thread=False, isolation_level=None)
conn.execute("create table t(id integer primary key, body text)")
conn.executemany("insert into t(body) values (?)", [(str(i),) for i in range(10)])
inside = threading.Event()
done = []

def slow(text):
    inside.set()
    time.sleep(0.05)  # the GIL is free: the other thread goes on, and into SQLite
    return text

conn.create_function("slow", 1, slow)

def hold():
    done.append(conn.execute("select slow('x')").fetchall())

def has_error(function):
    try:
        function()
    except driver.Error:
        return True
    return False

reading = conn.execute("select id, body from t")
calls = {
    "execute": lambda: conn.execute("select body from t where id = ?", (3,)).fetchone() == ("3",) or True,
    "error": lambda: has_error(lambda: conn.execute("select * from nowhere")),
    "constraint": lambda: has_error(lambda: conn.execute("insert into t(id) values (?)", (1,))),
    "executemany": lambda: conn.executemany("insert into t(body) values (?)", [("a",), ("b",)]),
    "executescript": lambda: conn.executescript("select 1; select 2"),
    "cursor": lambda: conn.cursor().execute("select ?", (1,)).fetchall() == [(1,)],
    "cursor of a class": lambda: conn.cursor(type("Mine", (driver.Cursor,), {})).execute("select ?", (1,)).fetchall(),
    "next": lambda: next(reading),
    "fetchone": lambda: reading.fetchone(),
    "fetchmany": lambda: reading.fetchmany(2),
    "fetchall": lambda: reading.fetchall(),
    "close of a cursor": lambda: reading.close() is None,
    "commit": lambda: conn.commit() is None,
    "rollback": lambda: conn.rollback() is None,
    "with": lambda: conn.__exit__(None, None, None) is not None,
    "isolation_level": lambda: setattr(conn, "isolation_level", None) is None,
    "create_function": lambda: conn.create_function("another", 1, str) is None,
    "create_collation": lambda: conn.create_collation("other", lambda a, b: 0) is None,
    "set_progress_handler": lambda: conn.set_progress_handler(lambda: 0, 1000) is None,
    "set_authorizer": lambda: conn.set_authorizer(None) is None,
    "set_trace_callback": lambda: conn.set_trace_callback(None) is None,
    "iterdump": lambda: list(conn.iterdump()) if hasattr(conn, "iterdump") else True,  # not in pysqlite3
    "backup": lambda: conn.backup(driver.connect(":memory:")) is None,
    "load": lambda: vssnative.load(conn, embed=True) is None,
    "Index": lambda: vssnative.Index(conn).add([1], [[1.0, 0.5]]) is None,
}
for name, call in calls.items():
    inside.clear()
    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    inside.wait()
    print(name, flush=True)  # the last one before a hang
    assert call(), name
    thread.join()
assert done == [[("x",)]] * len(calls)
conn.close()
print("all of them")
"""
)

MANY_THREADS = (
    WATCHDOG
    + """
import importlib, sys, threading, time
import vssnative

driver = importlib.import_module(sys.argv[1])
conn = vssnative.connect(sys.argv[2], driver=driver, check_same_thread=False, isolation_level=None)
vssnative.load(conn, embed=True)
conn.execute("create table posts(id integer primary key, body text)")
conn.executemany("insert into posts(body) values (?)", [(f"text {i}",) for i in range(50)])
vssnative.add_embeddings(conn, "posts", ["body"], model="hash:32")
vssnative.sync(conn)
search = "select rowid from vss_posts where body_embedding match vss_embed(?) and k = 1"
bound = "select rowid from vss_posts where body_embedding match ? and k = 1"
[(vector,)] = conn.execute("select vss_embed('text 7')")
works = [
    lambda i: conn.execute(search, (f"text {i % 50}",)).fetchall() == [(i % 50 + 1,)],
    lambda i: conn.execute(bound, (vector,)).fetchall() == [(8,)],
    lambda i: len(list(conn.execute("select body from posts where id < ?", (20,)))) == 19,
    lambda i: vssnative.search(conn, "posts", "text 7", k=1)[0].key == 8,
    lambda i: conn.execute("update posts set body = body where id = ?", (i % 50 + 1,)).rowcount == 1,
]
end = time.monotonic() + 3
counts, errors = [0] * len(works), []

def run(at):
    try:
        while time.monotonic() < end:
            assert works[at](counts[at]), at
            counts[at] += 1
    except BaseException as error:
        errors.append(error)
        raise

threads = [threading.Thread(target=run, args=(at,)) for at in range(len(works))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not errors and min(counts) > 10, (errors, counts)
conn.close()
print("all of them")
"""
)


def run(program: str, *arguments: str) -> None:
    """Raises what was last printed and the tracebacks of all threads, where the program hung or failed."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0 and done.stdout.endswith("all of them\n"), done.stdout + done.stderr


@pytest.mark.parametrize("driver", ["sqlite3", "pysqlite3"])
def test_each_call_waits_for_a_python_function_of_another_thread(driver: str) -> None:
    run(ONE_CALL_WHILE_ANOTHER_THREAD_IS_INSIDE, driver)


@pytest.mark.parametrize("driver", ["sqlite3", "pysqlite3"])
def test_threads_that_embed_search_read_and_write_on_one_connection(driver: str, tmp_path: Path) -> None:
    run(MANY_THREADS, driver, str(tmp_path / "x.db"))


def test_every_method_waits_or_need_not() -> None:
    """A method that a later Python brings is not forgotten."""
    free = {
        *("execute", "executemany", "executescript"),  # by the cursor
        *("cursor", "iterdump", "interrupt", "setinputsizes", "setoutputsize", "row_factory", "text_factory"),
        *(
            "in_transaction",
            "total_changes",
            "arraysize",
            "connection",
            "description",
            "lastrowid",
            "rowcount",
        ),
        *("__call__", "__enter__", "__init__", "__new__", "__iter__", "__del__"),
    }
    for shared, plain in (
        (vssnative.SharedConnection, sqlite3.Connection),
        (type(vssnative.SharedConnection(":memory:").cursor()), sqlite3.Cursor),
    ):
        own = {name for name in vars(plain) if not name.startswith("__") and name[0].islower()}
        own |= {"__exit__", "__next__"} & set(vars(plain))
        assert own - set(vars(shared)) <= free, own - set(vars(shared)) - free


def test_which_connections_are_shared(tmp_path: Path) -> None:
    class Mine(sqlite3.Connection):
        pass

    with vssnative.connect(tmp_path / "x.db") as own:
        assert type(own) is sqlite3.Connection  # one thread's: at full speed
    with vssnative.connect(tmp_path / "x.db", check_same_thread=False) as shared:
        assert isinstance(shared, vssnative.SharedConnection)
        assert type(shared.execute("select 1")) is type(shared.cursor())
    with vssnative.connect(tmp_path / "x.db", check_same_thread=False, factory=Mine) as mine:
        assert type(mine) is Mine
    pysqlite3 = importlib.import_module("pysqlite3")
    with vssnative.connect(tmp_path / "x.db", check_same_thread=False, driver=pysqlite3) as other:
        assert isinstance(other, pysqlite3.Connection) and type(other) is not pysqlite3.Connection
    with vssnative.Pool(tmp_path / "x.db") as pool, pool.connection() as pooled:
        assert type(pooled) is sqlite3.Connection
    for conn in (own, shared, mine, other):
        conn.close()


def test_sqlalchemys_one_connection_for_all_threads() -> None:
    """StaticPool, as applications use it for databases in memory."""
    sa = pytest.importorskip("sqlalchemy")
    from vssnative.integrations.sqlalchemy import install

    engine = sa.create_engine(
        "sqlite://",
        poolclass=sa.pool.StaticPool,
        connect_args={"check_same_thread": False, "factory": vssnative.SharedConnection},
    )
    install(engine)
    with engine.connect() as conn:
        vssnative.load(conn, embed=True)
        assert conn.execute(sa.text("select length(vss_embed('a', 'hash:8'))")).scalar() == 32
        assert isinstance(conn.connection.driver_connection, vssnative.SharedConnection)
    engine.dispose()


def test_interrupt_waits_for_nobody() -> None:
    import threading

    conn = vssnative.connect(":memory:", check_same_thread=False)
    started = threading.Event()
    conn.create_function("begun", 0, started.set)
    endless = "with recursive c(n) as (select begun() union all select n from c) select count(*) from c"
    errors: list[Exception] = []

    def work() -> None:
        try:
            conn.execute(endless)
        except sqlite3.Error as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert started.wait(10)
    conn.interrupt()
    thread.join(10)
    assert not thread.is_alive() and str(errors[0]) == "interrupted"
    conn.close()
