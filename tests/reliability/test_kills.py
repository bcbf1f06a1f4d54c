"""A writer killed (SIGKILL) while it commits: the file holds the last commit it told of, or the one after."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import vssnative
from tests.reliability.campaign import count, scaled, seed
from tests.reliability.oracle import Oracle, create, insert, random_row

WRITER = """
import sys, numpy as np, vssnative
from tests.reliability.test_kills import change
from tests.reliability.oracle import Oracle
path, wal, seed, first = sys.argv[1], sys.argv[2] == "wal", int(sys.argv[3]), int(sys.argv[4])
conn = vssnative.connect(path, wal=wal, isolation_level=None, synchronous="OFF" if wal else "NORMAL")
oracle = Oracle()
for step in range(first):
    change(None, oracle, seed, step)
step = first
while True:
    conn.execute("begin immediate")
    change(conn, oracle, seed, step)
    conn.execute("commit")
    step += 1
    print(step, flush=True)
"""


def change(conn: sqlite3.Connection | None, oracle: Oracle, seed: int, step: int) -> None:
    """Transaction number `step`: the same in the table and in the model, a function of seed and step alone."""
    random = np.random.default_rng((seed, step))
    for _ in range(int(random.integers(1, 30))):
        rowid = int(random.integers(150))
        if random.random() < 0.35:
            oracle.rows.pop(rowid, None)
            if conn is not None:
                conn.execute("delete from t where rowid = ?", (rowid,))
        else:
            row = random_row(random)
            oracle.rows[rowid] = row
            if conn is not None:
                insert(conn.execute, rowid, row, verb="replace")


@pytest.mark.parametrize("kind", ["plain", "celled"])
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_kills_while_committing(tmp_path: Path, journal: str, kind: str) -> None:
    chosen = seed()
    random = np.random.default_rng(chosen)
    path = tmp_path / "killed.db"
    conn = vssnative.connect(path, wal=journal == "wal")
    create(conn.execute, celled=kind == "celled")
    conn.commit()
    conn.close()
    oracle = Oracle()
    done = 0  # transactions that the file holds
    kills = scaled(6, 100)
    unheard = 0  # commits that reached the file though the writer could not tell any more
    for kill in range(kills):
        where = f"seed {chosen}, {journal}, {kind}, kill {kill}"
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), journal, str(chosen), str(done)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == f"{done + 1}\n", where  # it has started
        time.sleep(float(random.exponential(0.04)))
        writer.kill()
        told = done + 1
        for line in writer.stdout:
            if line.endswith("\n"):
                told = int(line)
        writer.stdout.close()
        writer.wait()
        for step in range(done, told):
            change(None, oracle, chosen, step)
        conn = vssnative.connect(path, wal=journal == "wal")
        found = conn.execute("select count(*), total(year), total(length(note)) from t").fetchone()
        later = oracle.copy()
        change(None, later, chosen, told)
        if found != _sums(oracle):
            assert found == _sums(later), where
            oracle, told = later, told + 1
            unheard += 1
        try:
            oracle.check(conn.execute, seed=kill)
            assert conn.execute("pragma integrity_check").fetchall() == [("ok",)]
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
        conn.close()
        done = told
    assert done > kills
    count("kills", journal=journal, kind=kind, kills=kills, commits=done, unheard=unheard, seed=chosen)


def _sums(oracle: Oracle) -> tuple[int, float, float]:
    rows = oracle.rows.values()
    return (
        len(rows),
        float(sum(row.year or 0 for row in rows)),
        float(sum(len(row.note or "") for row in rows)),
    )
