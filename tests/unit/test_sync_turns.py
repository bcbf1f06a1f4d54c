"""Turns of writing: others get the lock, and a worker that has left it alone meanwhile does not wait."""

from __future__ import annotations

import sqlite3

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


def test_the_lock_is_left_to_others_as_long_as_it_was_held(clock: Clock) -> None:
    turns = Turns(sqlite3.connect(":memory:"))
    for _ in range(20):
        turns.write(lambda: clock.pass_by(0.1))
    # But for what was free before the first.
    assert clock.slept == pytest.approx(19 * 0.1125 - 0.1, abs=0.02)


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
    assert clock.now - clock.slept - began < 0.25
