"""``Worker``: sync without end, in a process or thread of its own."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from .._catalog.records import load_embeddings
from .._connection import Connection, Pool, connect, driver_error, execute, explained, require_file
from ..embedding.registry import get_embedder
from ..errors import MigrationError
from .engine import Engine, Settings
from .events import Listener, emit
from .health import mend
from .locking import require_no_transaction

_MEND_EVERY_SECONDS = 30.0


class Worker:
    """Keeps vectors in step with rows until it is stopped. Any number of them may work on one file.

    Args:
        path: the database file, which must be there; a ``Pool``, whose other threads it shares turns of writing with; or a function that
            opens a connection with vss0 loaded, called in the thread that runs the worker.
        table: embeddings by their name, or all those of a table; None for all of the file, also later ones.
        poll: seconds between looks at the queue while there is nothing to do.
        settings: batch sizes, leases, attempts, rate limit.
        embedder: the model, where it cannot be built from its record.
        on_event: called with each ``Event``, in the worker's thread.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Pool | Callable[[], Connection],
        table: str | None = None,
        *,
        poll: float = 0.5,
        settings: Settings | None = None,
        embedder: Any = None,
        on_event: Listener | None = None,
    ) -> None:
        self._path = path
        self._table = table
        self._poll = poll
        self._settings = settings
        self._given = () if embedder is None else (get_embedder(embedder),)
        self._on_event = on_event
        # The last reasons told by `broken` events, of the table and of embeddings by name. Each is told once.
        self._missing: str | None = None
        self._broken: dict[str, str] = {}
        self._stop = threading.Event()
        # A queue, as its put may come from a signal handler in the midst of its get.
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()

    def wake(self) -> None:
        """Look at the queue now, rather than when `poll` is over: after a write, so that its vectors follow at once. Safe
        from any thread."""
        self._woken.put(None)

    def stop(self) -> None:
        """Let ``run`` end after the batch it is at, or without it where that takes longer than a second: its rows go
        back. Safe from any thread and from a signal handler."""
        self._stop.set()
        self._woken.put(None)

    def run(self) -> None:
        """Work until ``stop``. In the main thread, SIGINT and SIGTERM end it cleanly: no lease is left behind.

        A provider that fails is paused and asked again later; a table that is gone is reported by one event and
        looked for again. Errors of SQLite other than a lock are raised.

        Raises:
            ConnectionSetupError: there is no such file.
        """
        with self._connection() as conn, explained(conn):
            require_no_transaction(conn, "a worker")
            with _signals(self.stop):
                self._work(conn)

    def _connection(self) -> contextlib.AbstractContextManager[Any]:
        if isinstance(self._path, Pool):
            return self._path.connection()
        return contextlib.closing(self._open(self._path))

    def _open(self, path: str | os.PathLike[str] | Callable[[], Connection]) -> Any:
        if callable(path):
            return path()
        require_file(path)
        # An existing file keeps its journal mode: that is its owner's to choose. Only in WAL is NORMAL safe.
        conn = connect(path, wal=False, synchronous=None)
        if execute(conn, "pragma journal_mode") == [("wal",)]:
            execute(conn, "pragma synchronous = normal")
        return conn

    def _work(self, conn: Connection) -> None:
        engine = Engine(
            conn,
            self._table,
            settings=self._settings,
            given=self._given,
            on_event=self._on_event,
            stop=self._stop,
        )
        mended_at: float | None = None
        try:
            while not self._stop.is_set():
                if mended_at is None or time.monotonic() - mended_at >= _MEND_EVERY_SECONDS:
                    mended_at = time.monotonic()
                    self._mend(conn, engine)
                when = None
                try:
                    engine.drain()
                    when = engine.next_ready()
                    self._missing = None
                except MigrationError as error:
                    self._tell_missing(error)
                except driver_error(conn):
                    # A table may have been dropped since the last look; anything else is not ours to swallow.
                    before = engine.skip
                    self._mend(conn, engine)
                    if engine.skip == before:
                        raise
                wait = self._poll if when is None else min(max(0.0, when - time.time()), self._poll)
                self._wait(wait)
        finally:
            engine.close()

    def _wait(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._woken.get(timeout=seconds)
            while True:
                self._woken.get_nowait()

    def _tell_missing(self, error: MigrationError) -> None:
        """The table has no embeddings yet, or not any more: others may give it some."""
        if self._missing != str(error):
            self._missing = str(error)
            emit(self._on_event, "broken", str(self._table), reason=str(error))

    def _mend(self, conn: Connection, engine: Engine) -> None:
        """Mend what can be mended, and leave alone what cannot, until the next look."""
        broken = set()
        reasons: dict[str, str] = {}
        try:
            embeddings = load_embeddings(conn, self._table)
        except MigrationError as error:
            self._tell_missing(error)
            return
        for embedding in embeddings:
            try:
                mend(conn, embedding, self._on_event)
            except MigrationError as error:
                broken.add(embedding.id)
                reasons[embedding.name] = str(error)
                if self._broken.get(embedding.name) != str(error):
                    emit(self._on_event, "broken", embedding.name, reason=str(error))
        self._broken = reasons
        engine.skip = frozenset(broken)
        engine.heal()


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM call `stop` within the block; only the main thread can have it so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_signal: int, _frame: FrameType | None) -> None:
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
