"""The user's own ordered steps, for projects without Alembic: up, down, recorded, atomic.

steps = [
    Step("001 posts", "create table posts(id integer primary key, title text)", "drop table posts"),
    Step("002 embeddings", lambda conn: add_embeddings(conn, "posts", columns=["title"]),
         lambda conn: drop_embeddings(conn, "posts")),
]
upgrade(conn, steps)
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .._catalog.schema import ensure_schema, installed_version
from .._connection import Connection, execute, in_its_thread, load, told_error, transaction
from ..errors import ConfigurationError, MigrationError

Action = str | Callable[[Connection], object]


@dataclass(frozen=True)
class Step:
    """One change of the schema.

    Attributes:
        name: unique among the steps; what is recorded.
        up: SQL, of one or several statements, or a function of the connection. It must not commit.
        down: the way back, or None where there is none.
    """

    name: str
    up: Action
    down: Action | None = None


@dataclass(frozen=True)
class Applied:
    """A step that the file records as done, and when, in seconds since 1970."""

    name: str
    applied_at: float


@in_its_thread
def applied(conn: Connection) -> list[Applied]:
    """The steps that are done, in the order in which they were."""
    if installed_version(conn) == 0:
        return []
    rows = execute(
        conn, "select name, applied_at from vssnative_migrations where scope = 'steps' order by id"
    )
    return [Applied(*row) for row in rows]


@in_its_thread
def upgrade(
    conn: Connection, steps: Sequence[Step], to: str | None = None, *, dry_run: bool = False
) -> list[str]:
    """Do the steps that are not done yet, in order, each in one transaction together with its record.

    Args:
        conn: any supported connection; vss0 is loaded into it.
        steps: all steps there are, oldest first.
        to: the name of the last step to do; None for all.
        dry_run: do them, all in one transaction, and take everything back.

    Returns:
        The names of the steps done; those that another process did meanwhile are left out.

    Raises:
        MigrationError: what the file records as done is no beginning of `steps`; or a step failed, and was taken back
            as a whole.
        ConfigurationError: `to` is none of the steps, or two have one name.
    """
    load(conn)
    done = _checked(conn, steps)
    end = len(steps) if to is None else _position(steps, to) + 1
    todo = list(steps[len(done) : end])
    if not dry_run:
        ensure_schema(conn)
        did = []
        for step in todo:
            with transaction(conn):
                # Asked again: another process may be doing the same steps.
                if len(_checked(conn, steps)) > _position(steps, step.name):
                    continue
                did.append(step.name)
                _run(conn, step, step.up, "up")
                execute(
                    conn,
                    "insert into vssnative_migrations(scope, name, action, applied_at) values ('steps', ?, 'up', ?)",
                    (step.name, time.time()),
                )
        return did
    try:
        with transaction(conn):
            for step in todo:
                _run(conn, step, step.up, "up")
            raise _TakeBack
    except _TakeBack:
        pass
    return [step.name for step in todo]


@in_its_thread
def downgrade(conn: Connection, steps: Sequence[Step], to: str | None, *, dry_run: bool = False) -> list[str]:
    """Undo the steps after `to`, latest first, each in one transaction together with its record.

    Args:
        to: the name of the last step to keep; None to undo all.
        dry_run: as for ``upgrade``.

    Returns:
        The names of the steps undone.

    Raises:
        MigrationError: a step has no way back (then none is undone), or failed.
        ConfigurationError: `to` is none of the steps done.
    """
    load(conn)
    done = _checked(conn, steps)
    keep = 0 if to is None else _position(steps, to) + 1
    todo = list(reversed(steps[keep : len(done)]))
    for step in todo:
        if step.down is None:
            raise MigrationError(f"step {step.name!r} has no down, so it cannot be undone")
    if not dry_run:
        for step in todo:
            with transaction(conn):
                _undo(conn, step)
        return [step.name for step in todo]
    try:
        with transaction(conn):
            for step in todo:
                _undo(conn, step)
            raise _TakeBack
    except _TakeBack:
        pass
    return [step.name for step in todo]


class _TakeBack(Exception):
    pass


def _undo(conn: Connection, step: Step) -> None:
    assert step.down is not None
    _run(conn, step, step.down, "down")
    execute(conn, "delete from vssnative_migrations where scope = 'steps' and name = ?", (step.name,))


def _run(conn: Connection, step: Step, action: Action, direction: str) -> None:
    try:
        if callable(action):
            action(conn)
        else:
            for statement in split_statements(action):
                execute(conn, statement)
    except MigrationError:
        raise
    except Exception as error:
        told = told_error(conn, error)
        raise MigrationError(f"step {step.name!r} failed on the way {direction}: {told}") from told


def split_statements(sql: str) -> list[str]:
    """The statements of a script; semicolons inside literals, comments and triggers end none."""
    statements: list[str] = []
    current = ""
    for part in _keep_separators(sql):
        current += part
        if part == ";" and sqlite3.complete_statement(current):
            statements.append(current.strip())
            current = ""
    if current.strip():
        statements.append(current.strip())
    return [s for s in statements if s.strip("; \n\t")]


def _keep_separators(sql: str) -> list[str]:
    parts: list[str] = []
    for number, piece in enumerate(sql.split(";")):
        if number:
            parts.append(";")
        parts.append(piece)
    return parts


def _checked(conn: Connection, steps: Sequence[Step]) -> list[Applied]:
    names = [step.name for step in steps]
    if len(set(names)) != len(names):
        raise ConfigurationError("two steps have the same name")
    done = applied(conn)
    for number, record in enumerate(done):
        if number >= len(steps) or steps[number].name != record.name:
            there = steps[number].name if number < len(steps) else "nothing"
            raise MigrationError(
                f"the file has step {record.name!r} done as number {number + 1}, where the given steps have {there!r};"
                " steps may only be added at the end"
            )
    return done


def _position(steps: Sequence[Step], name: str) -> int:
    for number, step in enumerate(steps):
        if step.name == name:
            return number
    raise ConfigurationError(f"there is no step {name!r}; there are {', '.join(step.name for step in steps)}")
