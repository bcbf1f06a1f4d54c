"""asyncio: pools, aiosqlite and SQLAlchemy's asynchronous sessions; readers beside writers, and cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiosqlite
import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

import vssnative
from vssnative import Pool, aio
from vssnative._connection import execute, in_transaction

FOREVER = "with recursive c(n) as (select 1 union all select n + 1 from c) select count(*) from c"
TITLES = ["red shoes", "blue shoes", "a green tree", "the sea"]


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Pool]:
    pool = Pool(tmp_path / "a.db")
    await aio.run(pool, make_posts, write=True)
    yield pool
    await aio.close(pool)


@pytest.fixture
async def engine(pool: Pool, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
    yield engine
    await engine.dispose()


def make_posts(conn: Any) -> None:
    execute(conn, "create table posts(id integer primary key, title text)")
    for title in TITLES:
        execute(conn, "insert into posts(title) values (?)", (title,))


def on_statement(conn: Any, began: threading.Event) -> str:
    """SQL that never ends, and says when it has begun."""
    conn.create_function("began", 0, began.set)
    return f"select began() union all select * from ({FOREVER})"


async def cancelled(
    coroutine: Any, began: threading.Event, then: Callable[[], object] = lambda: None
) -> None:
    task = asyncio.create_task(coroutine)
    assert await asyncio.to_thread(began.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    then()


async def test_the_whole_story(pool: Pool) -> None:
    config = await aio.add_embeddings(pool, "posts", ["title"], model="hash:32")
    assert config.name == "posts"
    assert (await aio.status(pool))[0].pending == 4
    assert (await aio.sync(pool)).rows == 4
    found = await aio.search(pool, "posts", "red shoes", k=2, where="id < ?", params=[3])
    assert [result.key for result in found] == [1, 2]
    both = await aio.search_many(pool, "posts", ["the sea", "blue shoes"], k=1)
    assert [results[0].key for results in both] == [4, 2]
    with pytest.raises(vssnative.QueryError):
        await aio.search(pool, "posts", "")
    with pytest.raises(vssnative.ConfigurationError, match="plan_embeddings"):
        await aio.add_embeddings(pool, "posts", ["title"], plan=True)


async def test_a_path_is_opened_for_the_call(pool: Pool, tmp_path: Path) -> None:
    await aio.add_embeddings(tmp_path / "a.db", "posts", ["title"], model="hash:32")
    assert (await aio.sync(str(tmp_path / "a.db"))).rows == 4


async def test_an_index_beside_readers_and_writers(tmp_path: Path) -> None:
    rows = np.eye(64, dtype=np.float32)
    async with aio.AsyncIndex(tmp_path / "b.db", dim=64) as index:
        stop = asyncio.Event()

        async def read() -> int:
            rounds = 0
            while not stop.is_set():
                ids, distances = await index.search(rows[0], k=64)
                there = ids[ids >= 0]
                assert len(there) % 4 == 0  # four at a time, or none of the four
                rounds += 1
            return rounds

        async def write(first: int) -> None:
            await index.add(np.arange(first, first + 4), rows[first : first + 4])

        await index.add([1000], rows[:1])
        assert await index.remove([1000]) == 1
        readers = [asyncio.create_task(read()) for _ in range(4)]
        await asyncio.gather(*(write(first) for first in range(0, 64, 4)))
        stop.set()
        assert all(rounds > 0 for rounds in await asyncio.gather(*readers))
        assert await index.count() == 64
        assert await index.contains(63) and not await index.contains(64)
        np.testing.assert_array_equal(await index.get([5]), rows[5:6])
        assert (await index.run(lambda plain: plain.stats()))["rows"] == 64
        with pytest.raises(vssnative.DuplicateIdError):
            await index.add([1], rows[:1])
        await index.add([1], rows[1:2], replace=True)


async def test_cancelling_ends_the_statement(pool: Pool) -> None:
    began = threading.Event()

    def write_for_ever(conn: Any) -> None:
        execute(conn, "insert into posts(title) values ('never')")
        execute(conn, on_statement(conn, began))

    await cancelled(aio.run(pool, write_for_ever, write=True), began)

    def after(conn: Any) -> list[Any]:
        assert not in_transaction(conn)
        return execute(conn, "select count(*) from posts")

    assert await aio.run(pool, after) == [(4,)]
    assert len(pool._state.in_use) == 0 and len(pool._state.idle) == 1  # the same connection goes on


async def test_cancelling_ends_sql_of_the_users_own(pool: Pool) -> None:
    began = threading.Event()
    await cancelled(aio.run(pool, lambda conn: conn.execute(on_statement(conn, began)).fetchall()), began)
    assert await aio.run(pool, lambda conn: conn.execute("select count(*) from posts").fetchall()) == [(4,)]


async def test_cancelling_ends_a_wait_for_the_turn(pool: Pool) -> None:
    with pool.transaction() as conn:
        execute(conn, "insert into posts(title) values ('mine')")
        waiting = asyncio.create_task(aio.run(pool, make_posts, write=True))
        while not pool._writers._waiting:
            await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not pool._writers._waiting
    assert await aio.run(pool, lambda conn: execute(conn, "select count(*) from posts"), write=True) == [(5,)]


async def test_cancelling_what_has_not_begun(pool: Pool) -> None:
    began, ran = threading.Event(), threading.Event()

    def first(conn: Any) -> None:
        execute(conn, on_statement(conn, began))

    task = asyncio.create_task(aio.run(pool, first, write=True))
    assert await asyncio.to_thread(began.wait, 10)
    behind = asyncio.create_task(aio.run(pool, lambda conn: ran.set(), write=True))
    await asyncio.sleep(0)
    behind.cancel()
    with pytest.raises(asyncio.CancelledError):
        await behind  # does not wait for the first
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await aio.run(pool, lambda conn: None, write=True)
    assert not ran.is_set()


async def test_cancelled_at_any_moment_a_write_is_whole_or_not_there(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((3000, 32), dtype=np.float32)
    outcomes = set()
    async with aio.AsyncIndex(tmp_path / "b.db", dim=32) as index:
        await index.add([-1], rows[:1])
        for turn in range(40):
            task = asyncio.create_task(index.add(np.arange(3000) + 3000 * turn, rows))
            await asyncio.sleep(0.001 * (turn % 20))
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            count = await index.count()
            assert (count - 1) % 3000 == 0
            outcomes.add(count)
            await index.add([-2 - turn], rows[:1])
            await index.remove([-2 - turn])
        checked = await index.run(lambda plain: execute(plain.conn, "pragma integrity_check"))
        assert checked == [("ok",)]


async def test_a_cancelled_sync_gives_its_rows_back(pool: Pool) -> None:
    began, go_on = threading.Event(), threading.Event()

    def model(texts: list[str]) -> Any:
        if len(texts) > 1:
            began.set()
            go_on.wait(10)
        return np.ones((len(texts), 8), np.float32)

    await aio.add_embeddings(pool, "posts", ["title"], model=model)
    try:
        await cancelled(aio.sync(pool), began)
    finally:
        go_on.set()
    [status] = await aio.status(pool)
    assert (status.pending, status.leased) == (4, 0)
    assert (await aio.sync(pool)).rows == 4


async def test_timeouts(pool: Pool) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(aio.run(pool, lambda conn: execute(conn, FOREVER)), 0.05)
    assert await aio.run(pool, lambda conn: execute(conn, "select 1")) == [(1,)]


async def test_closing_while_busy(tmp_path: Path) -> None:
    pool = Pool(tmp_path / "c.db")
    began = threading.Event()
    task = asyncio.create_task(aio.run(pool, lambda conn: execute(conn, on_statement(conn, began))))
    assert await asyncio.to_thread(began.wait, 10)
    await aio.close(pool, interrupt=True)
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        await task
    with pytest.raises(vssnative.ConnectionSetupError, match="closed"):
        await aio.status(pool)


async def test_an_aiosqlite_connection_is_used_in_its_own_thread(pool: Pool, tmp_path: Path) -> None:
    async with aiosqlite.connect(tmp_path / "a.db") as conn:
        await aio.add_embeddings(conn, "posts", ["title"], model="hash:32")
        await conn.execute("insert into posts(title) values ('mine alone')")
        index = aio.AsyncIndex(conn, "vss_mine", dim=4)
        await index.add([1], np.ones((1, 4), np.float32))
        assert await index.count() == 1
        await conn.rollback()
        assert await index.count() == 0
        assert (await aio.sync(conn)).rows == 4
        assert (await aio.search(conn, "posts", "the sea", k=1))[0].key == 4
        began = threading.Event()
        await cancelled(aio.run(conn, lambda raw: execute(raw, on_statement(raw, began))), began)
        assert (await aio.search(conn, "posts", "the sea", k=1))[0].key == 4
        task = asyncio.create_task(aio.run(conn, lambda raw: execute(raw, on_statement(raw, began))))
        began.clear()
        assert await asyncio.to_thread(began.wait, 10)
        other = asyncio.create_task(aio.status(conn))  # waits in the connection's queue
        await asyncio.sleep(0)
        other.cancel()
        with pytest.raises(asyncio.CancelledError):
            await other
        await asyncio.sleep(0.02)
        assert not task.done()  # what is cancelled is not what runs
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    with pytest.raises(vssnative.ConnectionSetupError, match="cannot be used"):
        await aio.status(conn)


async def test_sqlalchemys_sessions(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        await aio.add_embeddings(session, "posts", ["title"], model="hash:32")
        await session.commit()
        assert (await aio.sync(session)).rows == 4
        await session.execute(text("delete from posts where id = 4"))
        assert [r.key for r in await aio.search(session, "posts", "the sea", k=4)] != [4]
        assert 4 not in {r.key for r in await aio.search(session, "posts", "the sea", k=4)}
        began = threading.Event()
        await cancelled(aio.run(session, lambda raw: execute(raw, on_statement(raw, began))), began)
        await session.rollback()
        assert (await aio.search(session, "posts", "the sea", k=1))[0].key == 4
    async with engine.connect() as connection:
        assert (await aio.status(connection))[0].embedded == 4


async def test_what_belongs_to_one_thread_is_refused(tmp_path: Path) -> None:
    conn = vssnative.connect(":memory:")
    with pytest.raises(vssnative.ConnectionSetupError, match="call the function of vssnative itself"):
        await aio.status(conn)
    conn.close()
    with pytest.raises(vssnative.ConfigurationError, match="expected a path, a Pool, an aiosqlite"):
        await aio.status(object())


async def test_a_worker_in_the_background(pool: Pool) -> None:
    await aio.add_embeddings(pool, "posts", ["title"], model="hash:32")
    async with aio.background(vssnative.Worker(pool, poll=0.01)):
        while (await aio.status(pool))[0].pending:
            await asyncio.sleep(0.01)
        await aio.run(
            pool, lambda conn: execute(conn, "insert into posts(title) values ('a purple cow')"), write=True
        )
        while (await aio.status(pool))[0].pending:
            await asyncio.sleep(0.01)
        assert (await aio.search(pool, "posts", "a purple cow", k=1))[0].key == 5
    broken = vssnative.Worker(lambda: (_ for _ in ()).throw(OSError("no disk")))
    with pytest.raises(OSError, match="no disk"):
        async with aio.background(broken):
            await asyncio.sleep(0.01)
