"""What a connection that threads may share costs a thread that is alone: time of the processor, best of seven.

python benchmarks/shared_connection.py
"""

from __future__ import annotations

import sqlite3
import time
import timeit
from collections.abc import Callable

import vssnative

ROWS = 10_000


def opened(factory: type[sqlite3.Connection]) -> sqlite3.Connection:
    conn = sqlite3.connect(":memory:", check_same_thread=False, factory=factory)
    conn.execute("create table t(id integer primary key, body text)")
    conn.executemany("insert into t values (?, ?)", [(i, str(i)) for i in range(ROWS)])
    conn.commit()
    return conn


def one_row(conn: sqlite3.Connection) -> None:
    conn.execute("select body from t where id = ?", (77,)).fetchone()


def all_rows(conn: sqlite3.Connection) -> None:
    conn.execute("select id, body from t").fetchall()


def loop(conn: sqlite3.Connection) -> None:
    for _ in conn.execute("select id, body from t"):
        pass


def microseconds(work: Callable[[], None], times: int) -> float:
    return min(timeit.repeat(work, number=times, repeat=7, timer=time.thread_time)) / times * 1e6


def main() -> None:
    plain, shared = opened(sqlite3.Connection), opened(vssnative.SharedConnection)
    for name, work, times in (
        ("execute and fetchone", one_row, 20_000),
        (f"fetchall of {ROWS}", all_rows, 20),
        (f"loop over {ROWS}", loop, 20),
    ):
        before = microseconds(lambda work=work: work(plain), times)  # type: ignore[misc]
        after = microseconds(lambda work=work: work(shared), times)  # type: ignore[misc]
        print(f"{name}: plain {before:.2f} us, shared {after:.2f} us")


if __name__ == "__main__":
    main()
