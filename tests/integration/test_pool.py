"""The pool: a connection for each thread, writers in turn, everything closed with its owner."""

from __future__ import annotations

import gc
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

import vssnative
from vssnative import Pool
from vssnative._connection import execute, in_transaction, transaction

FOREVER = "with recursive c(n) as (select 1 union all select n + 1 from c) select count(*) from c"
MEMORY = ("memory", ":memory:")
SHARED = ("shared", "file:of_test_pool?mode=memory&cache=shared")


def in_threads(n: int, work: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(n) as threads:
        return list(threads.map(work, range(n)))


def test_each_thread_has_a_connection_of_its_own(tmp_path: Path) -> None:
    together = threading.Barrier(4)
    with Pool(tmp_path / "a.db") as pool:

        def work(_: int) -> int:
            with pool.connection() as outer, pool.connection() as inner:
                assert outer is inner
                together.wait(10)
                return id(outer)

        assert len(set(in_threads(4, work))) == 4
        with pool.connection() as conn:
            assert execute(conn, "pragma journal_mode") == [("wal",)]
            assert execute(conn, "select vss_version()")


@pytest.mark.parametrize("path", ["file", MEMORY[1], SHARED[1], "apsw", "delete"])
def test_writers_take_turns_beside_readers(tmp_path: Path, path: str) -> None:
    options: dict[str, Any] = {"timeout": 0.5}
    if path == "apsw":
        options["driver"] = apsw
    if path == "delete":
        options = {"wal": False, "timeout": 30.0}
    name = path if path.startswith((":", "file:")) else tmp_path / "a.db"
    with Pool(name, **options) as pool:
        with pool.transaction() as conn:
            execute(conn, "create table t(a integer, b integer)")
            execute(conn, "insert into t values (0, 0)")
            vssnative.Index(conn).add([0], np.ones((1, 4), np.float32))
        stop = threading.Event()
        seen: list[int] = []

        def read() -> None:
            while not stop.is_set():
                with pool.connection() as conn:
                    with transaction(conn, "DEFERRED"):
                        [(a, b)] = execute(conn, "select a, b from t")
                        ids, _ = vssnative.Index(conn).search(np.ones(4, np.float32), k=100)
                    assert a == b == (ids >= 0).sum() - 1
                    seen.append(a)

        def write(number: int) -> None:
            for i in range(10):
                with pool.transaction() as conn:
                    execute(conn, "update t set a = a + 1")
                    vssnative.Index(conn).add([1 + 10 * number + i], np.ones((1, 4), np.float32))
                    execute(conn, "update t set b = b + 1")

        with ThreadPoolExecutor(6) as threads:
            readers = [threads.submit(read) for _ in range(2)]
            writers = [threads.submit(write, number) for number in range(4)]
            for writer in writers:
                writer.result(60)
            stop.set()
            for reader in readers:
                reader.result(60)
        with pool.connection() as conn:
            assert execute(conn, "select a, b from t") == [(40, 40)]
        assert seen


def test_waiting_writers_have_their_order(tmp_path: Path) -> None:
    order: list[int] = []
    with Pool(tmp_path / "a.db") as pool:
        threads = []
        with pool.transaction():
            for number in range(5):

                def write(number: int = number) -> None:
                    with pool.transaction():
                        order.append(number)

                threads.append(threading.Thread(target=write))
                threads[-1].start()
                while len(pool._writers._waiting) <= number:
                    time.sleep(0.001)
        for thread in threads:
            thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_a_writer_does_not_wait_for_ever(tmp_path: Path) -> None:
    with Pool(tmp_path / "a.db", wait=0.05) as pool, pool.transaction():

        def write(_: int) -> None:
            with pool.transaction():
                pass

        with pytest.raises(sqlite3.OperationalError, match="locked: another thread has been writing"):
            in_threads(1, write)
        assert not pool._writers._waiting


def test_an_exception_takes_all_back_and_leaves_no_transaction(tmp_path: Path) -> None:
    with Pool(tmp_path / "a.db") as pool:
        with pool.transaction() as conn:
            execute(conn, "create table t(a)")
        with pytest.raises(ZeroDivisionError), pool.transaction() as conn:
            execute(conn, "insert into t values (1)")
            _ = 1 / 0
        with pool.connection() as conn:
            execute(conn, "begin")
            execute(conn, "insert into t values (2)")
        with pool.connection() as again:
            assert again is conn and not in_transaction(again)
            assert execute(again, "select count(*) from t") == [(0,)]
        with pool.transaction() as conn:
            with pytest.raises(ZeroDivisionError), pool.transaction():
                execute(conn, "insert into t values (3)")
                _ = 1 / 0
            execute(conn, "insert into t values (4)")
        with pool.connection() as conn:
            assert execute(conn, "select a from t") == [(4,)]


def test_a_connection_closed_by_its_user_is_replaced(tmp_path: Path) -> None:
    with Pool(tmp_path / "a.db") as pool:
        with pool.connection() as conn:
            conn.close()
        with pool.connection() as conn:
            assert execute(conn, "select 1") == [(1,)]


def test_closing_waits_for_those_at_work(tmp_path: Path) -> None:
    pool = Pool(tmp_path / "a.db")
    began, go_on = threading.Event(), threading.Event()
    held: list[Any] = []

    def work() -> None:
        with pool.connection() as conn:
            held.append(conn)
            began.set()
            go_on.wait(10)
            assert execute(conn, "select 1") == [(1,)]

    worker = threading.Thread(target=work)
    worker.start()
    began.wait(10)
    closer = threading.Thread(target=pool.close)
    closer.start()
    while not pool.is_closed:
        time.sleep(0.001)
    with pytest.raises(vssnative.ConnectionSetupError, match="the pool is closed"), pool.connection():
        pass
    assert closer.is_alive()
    go_on.set()
    closer.join(10)
    worker.join(10)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        held[0].execute("select 1")
    pool.close()


def test_closing_can_interrupt(tmp_path: Path) -> None:
    pool = Pool(tmp_path / "a.db")
    began = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with pool.connection() as conn:
                conn.create_function("began", 0, began.set)
                execute(conn, f"select began() union all select * from ({FOREVER})")
        except sqlite3.OperationalError as error:
            failed.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    began.wait(10)
    pool.close(interrupt=True)
    worker.join(10)
    assert [str(error) for error in failed] == ["interrupted"]


def test_a_pool_that_is_forgotten_closes_its_connections(tmp_path: Path) -> None:
    pool = Pool(tmp_path / "a.db")
    with pool.connection() as conn:
        pass
    del pool
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        conn.execute("select 1")


def test_memory_is_each_pools_own_and_lives_as_long() -> None:
    with Pool(":memory:") as one, Pool(":memory:") as other:
        with one.transaction() as conn:
            execute(conn, "create table t(a)")

        def tables(pool: Pool) -> list[Any]:
            def work(_: int) -> list[Any]:
                with pool.connection() as conn:
                    return execute(conn, "select name from sqlite_master")

            return in_threads(1, work)[0]  # type: ignore[no-any-return]

        assert (tables(one), tables(other)) == ([("t",)], [])


def test_a_function_may_open_the_connections(tmp_path: Path) -> None:
    opened: list[Any] = []

    def open_one() -> Any:
        opened.append(vssnative.connect(tmp_path / "a.db", check_same_thread=False, isolation_level=None))
        return opened[-1]

    with Pool(open_one, idle=1) as pool, pool.connection():
        in_threads(1, lambda _: pool.connection().__enter__())
    assert len(opened) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_opens_its_own(tmp_path: Path) -> None:
    with Pool(tmp_path / "a.db") as pool:
        with pool.transaction() as conn:
            execute(conn, "create table t(a)")
            of_parent = id(conn)
        child = os.fork()
        if child == 0:
            try:
                with pool.transaction() as conn:
                    execute(conn, "insert into t values (1)")
                os._exit(0 if id(conn) != of_parent else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        with pool.connection() as conn:
            assert id(conn) == of_parent
            assert execute(conn, "select a from t") == [(1,)]


def test_a_worker_takes_a_pool(tmp_path: Path) -> None:
    with Pool(tmp_path / "a.db") as pool:
        with pool.transaction() as conn:
            execute(conn, "create table posts(id integer primary key, title text)")
            vssnative.add_embeddings(conn, "posts", ["title"], model="hash:16")
        worker = vssnative.Worker(pool, poll=0.01)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            for number in range(20):
                with pool.transaction() as conn:
                    execute(conn, "insert into posts(title) values (?)", (f"title {number}",))
            deadline = time.monotonic() + 30
            with pool.connection() as conn:
                while vssnative.status(conn)[0].pending and time.monotonic() < deadline:
                    time.sleep(0.01)
                assert vssnative.search(conn, "posts", "title 7", k=1)[0].key == 8
        finally:
            worker.stop()
            thread.join()


def test_a_worker_that_is_woken_does_not_wait(tmp_path: Path) -> None:
    with Pool(tmp_path / "a.db") as pool:
        with pool.transaction() as conn:
            execute(conn, "create table posts(id integer primary key, title text)")
            vssnative.add_embeddings(conn, "posts", ["title"], model="hash:16")
        worker = vssnative.Worker(pool, poll=3600)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            for number in range(5):
                with pool.transaction() as conn:
                    execute(conn, "insert into posts(title) values (?)", (f"title {number}",))
                worker.wake()
                deadline = time.monotonic() + 60
                with pool.connection() as conn:
                    while vssnative.status(conn)[0].pending and time.monotonic() < deadline:
                        time.sleep(0.005)
                    assert vssnative.status(conn)[0].pending == 0
        finally:
            worker.stop()
            thread.join(60)
        assert not thread.is_alive()
