"""The package for asyncio: the same functions, awaited.

    pool = vssnative.Pool("blog.db")
    found = await aio.search(pool, "posts", "sqlite vector search", k=5)
    index = aio.AsyncIndex(pool, "vectors")
    await index.add(ids, matrix)

What they work on is a path, a ``Pool`` (threads of ours, each with a connection of its own), or a connection that the
caller has: aiosqlite's, or SQLAlchemy's ``AsyncSession`` and ``AsyncConnection`` over it, used in its own thread and
within its own transaction. A task that is cancelled interrupts the statement that runs for it; what was done so far is
rolled back as SQLite does, and the connection stays usable.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ._connection import Cancellation, Cancelled, Pool, load, require_file, send_to_aiosqlite
from ._index import Distances, Ids, Index
from ._search import Results
from ._search import search as _search
from ._search import search_many as _search_many
from ._sync import Status, SyncResult, Worker
from ._sync import status as _status
from ._sync import sync as _sync
from .embedding.daemons import DaemonPool
from .errors import ConfigurationError, ConnectionSetupError
from .migrations import add_embeddings as _add_embeddings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from ._catalog.records import EmbeddingConfig

__all__ = [
    "AsyncIndex",
    "Source",
    "add_embeddings",
    "background",
    "close",
    "run",
    "search",
    "search_many",
    "status",
    "sync",
]

_T = TypeVar("_T")

Source: TypeAlias = Any
"""A path, a ``Pool``, an aiosqlite connection, a SQLAlchemy ``AsyncSession`` or ``AsyncConnection`` over aiosqlite. (They
share no type.) A path is opened for the one call: keep a ``Pool`` where there are more. Only ``run`` and ``AsyncIndex`` make the file
where there is none."""

_READERS = 8
_CANCEL_SECONDS = 0.005


async def run(
    source: Source, function: Callable[..., _T], *args: Any, write: bool = False, **options: Any
) -> _T:
    """Call ``function(conn, *args, **options)`` with a connection, in a thread that may use it.

    Args:
        source: see ``Source``.
        function: any of this package that takes a connection, or one of yours.
        write: within a write transaction, one at a time; for a connection of the caller's, whose transactions are the
            caller's, it makes no difference.

    Raises:
        asyncio.CancelledError: the task was cancelled; the function has ended by then.
        ConfigurationError: `source` is none of these.
        Whatever `function` raises.
    """
    if isinstance(source, (str, os.PathLike)):
        pool = await asyncio.to_thread(Pool, source)
        try:
            return await _run_in_pool(pool, lambda conn: function(conn, *args, **options), write)
        finally:
            await close(pool)
    if isinstance(source, Pool):
        return await _run_in_pool(source, lambda conn: function(conn, *args, **options), write)
    connection = await _aiosqlite_connection(source)

    def work(cancellation: Cancellation) -> _T:
        raw = connection._conn
        with cancellation.interrupting(raw.interrupt):
            load(raw)
            return function(raw, *args, **options)

    return await _run_in_thread(lambda task: send_to_aiosqlite(connection, task), work)


async def _run_there(source: Source, function: Callable[..., _T], *args: Any, **options: Any) -> _T:
    """``run``, for what makes no sense in a file that is yet to be made."""
    if isinstance(source, (str, os.PathLike)):
        require_file(source)
    return await run(source, function, *args, **options)


async def search(source: Source, table: str, query: Any = None, k: int = 10, **options: Any) -> Results:
    """``vssnative.search``, awaited. An ``AsyncSession`` is flushed first, and the search sees its transaction.

    Args, warnings and errors are those of ``vssnative.search``, except that `source` may be what ``run`` takes.
    """
    return await _run_there(source, _search, table, query, k, **options)


async def search_many(
    source: Source, table: str, queries: Sequence[Any], k: int = 10, **options: Any
) -> list[Results]:
    """``vssnative.search_many``, awaited; see ``search``."""
    return await _run_there(source, _search_many, table, queries, k, **options)


async def sync(source: Source, table: str | None = None, **options: Any) -> SyncResult:
    """``vssnative.sync``, awaited. A task that is cancelled gives its rows back; what is committed stays.

    Args and errors are those of ``vssnative.sync``; ``on_event`` is called in the thread that works.
    """
    return await _run_there(source, _sync, table, **options)


async def add_embeddings(source: Source, table: str, *args: Any, **options: Any) -> EmbeddingConfig:
    """``vssnative.add_embeddings``, awaited. On a connection of the caller's it is part of an open transaction.

    Args and errors are those of ``vssnative.add_embeddings``; ``plan=True`` is answered by ``run``.
    """
    if options.get("plan"):
        raise ConfigurationError("for a plan write: await aio.run(source, vssnative.plan_embeddings, ...)")
    added: EmbeddingConfig = await _run_there(source, _add_embeddings, table, *args, write=True, **options)
    return added


async def status(source: Source, table: str | None = None) -> list[Status]:
    """``vssnative.status``, awaited."""
    return await _run_there(source, _status, table)


async def close(pool: Pool, *, interrupt: bool = False) -> None:
    """``Pool.close``, awaited: until the last of its connections is closed."""
    await asyncio.to_thread(pool.close, interrupt=interrupt)


@contextlib.asynccontextmanager
async def background(worker: Worker) -> AsyncIterator[Worker]:
    """A block during which a ``Worker`` runs in a thread of its own, for the lifespan of an application.

        async with aio.background(vssnative.Worker(pool, poll=0.2)):
            yield

    Raises:
        What ended the worker before the block did, at the end of the block.
    """
    failed: list[BaseException] = []

    def work() -> None:
        try:
            worker.run()
        except BaseException as error:  # noqa: BLE001 - raised at the end of the block
            failed.append(error)

    thread = threading.Thread(target=work, name="vssnative-worker", daemon=True)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        await asyncio.to_thread(thread.join)
    if failed:
        raise failed[0]


class AsyncIndex:
    """``vssnative.Index`` for asyncio. Each call works in a thread; writes are transactions of their own, one at a time.

    Over a connection of the caller's (aiosqlite, SQLAlchemy) writes belong to its transaction, which the caller commits.

    Args:
        source: see ``Source``. A path gets a pool that ``close`` closes.
        table, column, dim, metric, **options: as for ``Index``.

    Attributes:
        source: the pool, or the connection.
    """

    def __init__(
        self,
        source: Source,
        table: str = "vss_vectors",
        column: str = "embedding",
        dim: int | None = None,
        metric: str | None = None,
        **options: Any,
    ) -> None:
        self._own = isinstance(source, (str, os.PathLike))
        self.source: Source = Pool(source) if self._own else source
        self.table = table
        self._args = (table, column, dim, metric)
        self._options = options

    async def __aenter__(self) -> AsyncIndex:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the pool that was made for a path; what was handed over stays open."""
        if self._own:
            await close(self.source)

    async def _call(self, function: Callable[[Index], _T], write: bool = False) -> _T:
        def work(conn: Any) -> _T:
            return function(Index(conn, *self._args, **self._options))

        return await run(self.source, work, write=write)

    async def add(self, ids: Any, matrix: Any, *, replace: bool = False) -> None:
        """As ``Index.add``, committed (over a connection of the caller's: in its transaction)."""
        await self._call(lambda index: index.add(ids, matrix, replace=replace), write=True)

    async def remove(self, ids: Any) -> int:
        """As ``Index.remove``, committed likewise."""
        return await self._call(lambda index: index.remove(ids), write=True)

    async def get(self, ids: Any) -> npt.NDArray[Any]:
        """As ``Index.get``: (n, dim)."""
        return await self._call(lambda index: index.get(ids))

    async def search(
        self,
        queries: npt.ArrayLike,
        k: int = 10,
        *,
        where: str | None = None,
        params: Sequence[Any] | None = (),
        recall: float | None = None,
        settings: Mapping[str, int] | None = None,
    ) -> tuple[Ids, Distances]:
        """As ``Index.search``: ids and distances, (nq, k) or (k,)."""
        return await self._call(
            lambda index: index.search(
                queries, k, where=where, params=params, recall=recall, settings=settings
            )
        )

    async def count(self) -> int:
        """Vectors in the column."""
        return await self._call(len)

    async def contains(self, id: object) -> bool:
        """Whether a row of this id has a vector in the column."""
        return await self._call(lambda index: id in index)

    async def run(self, function: Callable[[Index], _T], *, write: bool = False) -> _T:
        """Call ``function(index)`` with an ``Index``, in a thread: for its other methods."""
        return await self._call(function, write)


class _Threads:
    """The threads of a pool: some for reading, and one for writing, so that waiting writers take none from readers."""

    def __init__(self) -> None:
        self.readers = DaemonPool(_READERS, "vssnative-read", wait_at_exit=True)
        self.writer = DaemonPool(1, "vssnative-write", wait_at_exit=True)

    def close(self) -> None:
        self.readers.close(wait=False)
        self.writer.close(wait=False)


# They end with the pool; a closed one still answers, by an error.
_threads_of: weakref.WeakKeyDictionary[Pool, _Threads] = weakref.WeakKeyDictionary()


async def _run_in_pool(pool: Pool, function: Callable[[Any], _T], write: bool) -> _T:
    threads = _threads_of.get(pool)
    if threads is None:
        threads = _threads_of[pool] = _Threads()
        weakref.finalize(pool, threads.close)

    def work(cancellation: Cancellation) -> _T:
        with pool.connection() as conn, cancellation.interrupting(conn.interrupt):
            if not write:
                return function(conn)
            with pool.transaction():
                return function(conn)

    return await _run_in_thread((threads.writer if write else threads.readers).submit, work)


async def _run_in_thread(
    submit: Callable[[Callable[[], None]], object], work: Callable[[Cancellation], _T]
) -> _T:
    """Have `work` done where `submit` puts it. A task that is cancelled waits until it has ended, if it has begun."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()
    cancellation = Cancellation()
    beginning = threading.Lock()
    begun = dropped = False

    def finish(result: _T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]
        elif isinstance(error, Cancelled):
            done.cancel()
        else:
            done.set_exception(error)

    def task() -> None:
        nonlocal begun
        with beginning:
            if dropped:
                return
            begun = True
        result, error = None, None
        try:
            with cancellation.active():
                result = work(cancellation)
        except BaseException as raised:  # noqa: BLE001 - raised again where it is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(finish, result, error)

    submit(task)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        with beginning:
            dropped = not begun
        while not dropped and not done.done():
            cancellation.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({done}, timeout=_CANCEL_SECONDS)
        if done.done() and not done.cancelled():
            done.exception()  # it is looked at: nobody else will
        raise


async def _aiosqlite_connection(source: Source) -> Any:
    """The aiosqlite connection that is `source`, or inside it."""
    conn = source
    for _ in range(6):
        packages = {base.__module__.partition(".")[0] for base in type(conn).__mro__}
        if "aiosqlite" in packages:
            return conn
        if "sqlalchemy" not in packages:
            break
        inner: Any = None
        if hasattr(conn, "sync_session"):
            await conn.flush()
            inner = await conn.connection()
        elif hasattr(conn, "get_raw_connection"):
            inner = await conn.get_raw_connection()
        elif hasattr(conn, "driver_connection"):
            inner = conn.driver_connection
        if inner is None:
            break
        conn = inner
    if hasattr(conn, "cursor") and not hasattr(conn, "sync_session"):
        raise ConnectionSetupError(
            f"expected a path, a Pool, or an asynchronous connection, got {type(source).__module__}."
            f"{type(source).__qualname__}, which belongs to one thread: call the function of vssnative itself"
        )
    raise ConfigurationError(
        "expected a path, a Pool, an aiosqlite connection, or SQLAlchemy's AsyncSession or AsyncConnection over"
        f" aiosqlite, got {type(source).__module__}.{type(source).__qualname__}"
    )
