"""Turns of writing: others get the lock, and a worker that has left it alone meanwhile does not wait."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from vssnative._sync import locking
from vssnative._sync.locking import Turns


class Clock:
    """Time that passes only where it is said to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(locking, "time", made)
    monkeypatch.setattr(locking, "sleep", made.sleep)
    monkeypatch.setattr(locking.random, "uniform", lambda low, high: (low + high) / 2)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "turns.db"
    with contextlib.closing(sqlite3.connect(place)) as conn:
        conn.execute("create table t(x)")
    yield place


def test_the_lock_is_left_to_others_as_long_as_it_was_held(clock: Clock, file: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(file)) as conn,
        contextlib.closing(sqlite3.connect(file)) as other,
    ):
        turns = Turns(conn)
        for _ in range(21):
            turns.write(lambda: clock.pass_by(0.1))
            other.execute("insert into t values (1)")
            other.commit()
    # But for what was free before the first, and for the one commit at which nobody else was known of: a fifth of each.
    assert clock.slept == pytest.approx(19 * 0.1125 - 0.02 + 0.0225, abs=0.02)


def test_where_nobody_writes_the_lock_is_left_alone_seldom_and_for_as_long_as_polls_are_apart(
    clock: Clock, file: Path
) -> None:
    pauses: list[float] = []
    with contextlib.closing(sqlite3.connect(file)) as conn:
        turns = Turns(conn)
        for _ in range(100):
            before = clock.slept
            turns.write(lambda: clock.pass_by(0.1))
            if clock.slept > before:
                pauses.append(clock.slept - before)
    assert all(pause > 0.1 for pause in pauses)
    # A fifth of 10 s, so that whoever waits is let in after 0.6 s at the latest.
    assert sum(pauses) == pytest.approx(0.2 * 1.125 * 10, abs=0.25)


def test_others_are_remembered_for_a_while(clock: Clock, file: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(file)) as conn,
        contextlib.closing(sqlite3.connect(file)) as other,
    ):
        turns = Turns(conn)
        turns.write(lambda: clock.pass_by(0.1))
        other.execute("insert into t values (1)")
        other.commit()
        slept = []
        for _ in range(60):
            before = clock.slept
            turns.write(lambda: clock.pass_by(0.1))
            slept.append(clock.slept - before)
    assert all(seconds > 0.1 for seconds in slept[2:40])
    assert slept[-5:].count(0.0) >= 3


def test_time_in_which_the_lock_was_free_counts(clock: Clock) -> None:
    turns = Turns(sqlite3.connect(":memory:"))
    for _ in range(20):
        turns.write(lambda: clock.pass_by(0.1))
        clock.pass_by(0.12)  # a model computes
    assert clock.slept == 0


def test_an_hour_of_rest_is_no_leave_to_hold_the_lock_for_long(clock: Clock) -> None:
    turns = Turns(sqlite3.connect(":memory:"))
    clock.pass_by(3600)
    began = clock.now
    while clock.slept == 0:
        turns.write(lambda: clock.pass_by(0.05))
    assert clock.now - clock.slept - began < 0.65
