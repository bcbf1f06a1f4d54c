"""``sync``: work until nothing is pending."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._advice import Advice, command
from .._catalog.conditions import check_condition, condition_of
from .._catalog.records import load_embeddings
from .._connection import Connection, in_its_thread, load, sleep
from ..embedding.registry import get_embedder
from ..errors import ConfigurationError, MigrationError, SyncError
from .engine import Engine, Settings, surface
from .events import Listener, emit
from .health import mend
from .locking import require_no_transaction
from .progress import Progress, no_progress, rich_progress

_LOOK_AGAIN_SECONDS = 0.2
# Columns of the queue, which a condition over the user's table must not reach.
_HIDDEN = (
    "embedding",
    "row_id",
    "generation",
    "priority",
    "gone",
    "attempts",
    "ready_at",
    "lease",
    "queued_at",
)


@dataclass(frozen=True)
class SyncResult:
    """What a ``sync`` did.

    Attributes:
        rows: rows whose vectors are now those of their text.
        texts: texts embedded for them.
        reused: texts that needed no embedding: in the cache, or equal to another one of the same batch.
        unchanged: rows, among `rows`, whose vectors were right already.
        removed: rows, among `rows`, that had been deleted.
        failed: failures of single texts, each attempt counted.
        dead: rows given up; ``status`` and the view ``vssnative_dead`` show them.
        remaining: rows still pending, because of `limit`, `where`, `timeout`, ``pause``, or work that others hold.
        calls: calls to models.
        seconds: time taken.
    """

    rows: int
    texts: int
    reused: int
    unchanged: int
    removed: int
    failed: int
    dead: int
    remaining: int
    calls: int
    seconds: float


@in_its_thread
def sync(
    conn: Connection,
    table: str | None = None,
    *,
    progress: bool = False,
    limit: int | None = None,
    where: Any = None,
    params: Sequence[object] | Mapping[str, object] | None = (),
    timeout: float | None = None,
    patience: float = 60.0,
    settings: Settings | None = None,
    embedder: Any = None,
    on_event: Listener | None = None,
    within: bool = False,
) -> SyncResult:
    """Bring vectors in step with rows until nothing is pending. Stop it whenever you like: it goes on from there.

    Lost triggers are put back first. Rows that failed are tried again after their pause, until they succeed or are
    given up. Several may run at once, in threads (each with a connection of its own) and processes.

    Args:
        conn: any supported connection to the file, with no transaction open; vss0 is loaded into it.
        table: embeddings by their name, or all those of a table; None for all of the file.
        progress: show a bar with rate and time left.
        limit: rows to work on at most.
        where: SQL over the user's table, with values in `params`, as for ``search``: only rows for which it holds.
            Needs `table`.
        timeout: seconds after which to return with what is done; a call of a model that takes longer is given up.
        patience: seconds for which a model's provider may be down before this raises. What needs somebody to act
            (a refused key, a model that is not installed) raises at once, and so does a provider that asks for a
            longer pause.
        within: work inside the transaction that is open on the connection, which the caller then commits or rolls
            back: for tests that roll back all they did (Django's TestCase, fixtures). The model is called while the
            transaction holds the write lock.
        settings: batch sizes, leases, attempts, rate limit.
        embedder: the model, where it cannot be built from its record.
        on_event: called with each ``Event``, in this thread.

    Raises:
        SyncError: a transaction is open on the connection, or the provider cannot be used.
        QueryError: SQLite refuses `where`, or `params` are not the values that it needs.
        MigrationError: there are no embeddings of that name, or a table or column of theirs is gone; those of other
            tables are in step then.
        ConfigurationError: `limit` is negative.
    """
    load(conn)
    if not within:
        require_no_transaction(
            conn, "sync", "; in a test that rolls back, sync(conn, within=True) works inside of it"
        )
    if where is not None and table is None:
        raise SyncError(
            "where is a condition on one table",
            advice=Advice(
                "say which: sync(conn, 'posts', where=...)",
                f"say which: {command('sync', 'TABLE')} --where ...",
            ),
        )
    condition = condition_of(where, params)
    if limit is not None and limit < 0:
        raise ConfigurationError(f"limit must be a number of rows, 0 or more, not {limit!r}")
    started = time.monotonic()
    embeddings = load_embeddings(conn, table)
    if not embeddings:  # perhaps not even our own tables
        return SyncResult(0, 0, 0, 0, 0, 0, 0, 0, 0, time.monotonic() - started)
    broken: dict[int, MigrationError] = {}
    for embedding in embeddings:
        try:
            mend(conn, embedding, on_event)
        except MigrationError as error:
            broken[embedding.id] = error
            emit(on_event, "broken", embedding.name, reason=str(error))
            continue
        if condition is not None:
            check_condition(conn, embedding, condition, _HIDDEN)
    stop = threading.Event()
    given = () if embedder is None else (get_embedder(embedder),)
    engine = Engine(
        conn,
        table,
        settings=settings,
        given=given,
        condition=condition,
        limit=limit,
        on_event=on_event,
        stop=stop,
    )
    engine.skip = frozenset(broken)
    bar = rich_progress(engine.pending) if progress else no_progress()
    engine.deadline = None if timeout is None else started + timeout
    engine.patience = patience
    try:
        engine.heal()
        with bar as shown:
            _until_done(engine, shown, patience, once=limit is not None or condition is not None)
        remaining = engine.pending(paused=True)
    finally:
        stop.set()
        engine.close()
    if broken:
        raise next(iter(broken.values()))
    totals = engine.totals
    return SyncResult(
        totals.rows,
        totals.texts,
        totals.reused,
        totals.unchanged,
        totals.removed,
        totals.failed,
        totals.dead,
        remaining,
        totals.calls,
        time.monotonic() - started,
    )


def _pauses_by_itself(engine: Engine) -> bool:
    return engine.outage is not None and engine.outage.retry_after is None and not engine.outage.permanent


def _until_done(engine: Engine, bar: Progress, patience: float, *, once: bool) -> None:
    def after_batch() -> None:
        bar.advance(engine.totals.rows)
        if engine.deadline is not None and time.monotonic() >= engine.deadline:
            engine.stop.set()

    while True:
        began = time.monotonic()
        engine.drain(after_batch)
        now = time.monotonic()
        if engine.deadline is not None and now >= engine.deadline:
            return
        if engine.outage is None:
            engine.down_since = None
        else:
            engine.down_since = engine.down_since or began
            if engine.outage.permanent or now - engine.down_since >= patience:
                raise surface(engine.outage) from engine.outage.error
        when = engine.next_ready()
        if when is None:
            return
        pause = max(0.0, when - time.time())
        waiting = engine.waits_for()
        if waiting is None:
            if once and engine.outage is None:
                return
        else:
            until, reason = waiting
            left = patience - (0.0 if engine.down_since is None else now - engine.down_since)
            beyond = engine.deadline is not None and now + left > engine.deadline
            if until - time.time() > left and not beyond and _pauses_by_itself(engine) and left > 0:
                # The provider did not ask for so long a pause: it is asked once more when patience ends.
                bar.waiting(reason)
                sleep(left)
                engine.ask_again()
                continue
            if until - time.time() > left and not beyond:
                cause = None if engine.outage is None else engine.outage.error
                raise SyncError(
                    f"{reason}; that is longer than the {patience:g} s of patience. What is embedded so far is kept",
                    advice=Advice(
                        "resume(conn, table) lets the model be asked again at once",
                        f"{command('resume', 'TABLE')} lets the model be asked again at once",
                    ),
                ) from cause
        bar.waiting(None if waiting is None else waiting[1])
        # Somebody else may finish those rows, or edit them, before that.
        if engine.deadline is not None:
            pause = min(pause, max(0.0, engine.deadline - now))
        if engine.down_since is not None:
            pause = min(pause, max(0.0, engine.down_since + patience - now))
        sleep(min(pause, _LOOK_AGAIN_SECONDS))
