"""A table larger than the gigabyte at which other extensions stop; in the short form it is a smaller one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import vssnative
from tests.reliability.campaign import count, scaled

DIM = 4096
STEP = 1000


def test_more_than_a_gigabyte(tmp_path: Path, random: np.random.Generator) -> None:
    rows = scaled(2_000, 70_000)
    path = tmp_path / "large.db"
    conn = vssnative.connect(path, wal=False, synchronous="OFF")
    conn.execute(f"create virtual table t using vss0(a({DIM}) metric_type=L1, g integer)")
    index = vssnative.Index(conn, "t", "a")
    planted = []
    for first in range(0, rows, STEP):
        matrix = random.integers(-100, 100, (STEP, DIM)).astype(np.float32)
        planted.append(matrix[first // STEP % STEP].copy())
        index.add(np.arange(first, first + STEP), matrix)
        conn.commit()
    assert len(index) == rows
    for batch, vector in list(enumerate(planted))[:: max(1, len(planted) // 5)]:
        rowid = batch * STEP + batch % STEP
        found = conn.execute(
            "select rowid, distance from t where a match ? and k = 1", (vector.tobytes(),)
        ).fetchall()
        assert found == [(rowid, 0.0)]
        assert conn.execute("select a from t where rowid = ?", (rowid,)).fetchone() == (vector.tobytes(),)
    moved = random.integers(-100, 100, DIM).astype(np.float32)
    conn.execute("update t set a = ? where rowid = ?", (moved.tobytes(), rows - 2))
    found = conn.execute(
        "select rowid, distance from t where a match ? and k = 1", (moved.tobytes(),)
    ).fetchall()
    assert found == [(rows - 2, 0.0)]
    conn.execute("delete from t where rowid % 2")
    conn.commit()
    assert conn.execute("select vss_check('t')").fetchone() == ("ok",)
    conn.close()
    size = path.stat().st_size
    assert size > rows * DIM * 4
    count("large table", rows=rows, bytes=size)
