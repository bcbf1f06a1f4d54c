"""How the stores of other worlds reach a database: by a path, a pool, or a connection of the caller's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any, TypeVar

from .. import aio
from .._connection import Pool, explained, load, require_file, transaction

_T = TypeVar("_T")


class Access:
    """Runs functions with a connection, from any thread and any event loop where `source` allows it.

    Args:
        source: a path or a ``Pool``: for threads and asyncio. A connection: for the thread that it belongs to, where
            asynchronous calls hold up the event loop. An aiosqlite connection, ``AsyncSession`` or ``AsyncConnection``: for
            asynchronous calls. Transactions of a connection are the caller's, if one is open.
        must_exist: a path is refused where there is no file, which would be made empty.
    """

    def __init__(self, source: Any, *, must_exist: bool = False) -> None:
        self._own = isinstance(source, (str, os.PathLike))
        if self._own and must_exist:
            require_file(source)
        self.source: Any = Pool(source) if self._own else source
        self._is_async = any(hasattr(source, name) for name in ("_execute_fetchall", "run_sync"))
        if not self._is_async and not isinstance(self.source, Pool):
            load(self.source)

    def call(self, function: Callable[[Any], _T], *, write: bool = False) -> _T:
        """``function(conn)``, with `write` in a transaction, or a savepoint of the caller's."""
        source = self.source
        if isinstance(source, Pool):
            with source.transaction() if write else source.connection() as conn, explained(conn):
                return function(conn)
        with explained(source), transaction(source) if write else contextlib.nullcontext():
            return function(source)

    async def acall(self, function: Callable[[Any], _T], *, write: bool = False) -> _T:
        """``call``, awaited: in a thread, but for a connection of this one's."""
        if isinstance(self.source, Pool):
            return await aio.run(self.source, _explained(function), write=write)
        if not self._is_async:
            return self.call(function, write=write)

        def work(conn: Any) -> _T:
            with explained(conn), transaction(conn) if write else contextlib.nullcontext():
                return function(conn)

        return await aio.run(self.source, work)

    def close(self) -> None:
        """Close the pool that was made for a path; what was handed over stays open."""
        if self._own:
            self.source.close()


def _explained(function: Callable[[Any], _T]) -> Callable[[Any], _T]:
    def call(conn: Any) -> _T:
        with explained(conn):
            return function(conn)

    return call
