"""Searches, with and without a filter, beside sqlite-vec and vec1, in one run: rows returned, recall, queries a second.

100,000 x 384 real vectors where benchmarks/data.py has made them (else clustered random ones), a metadata column of
random integers, k = 10, one thread, one query at a time, through SQL in apsw:

    pytest benchmarks/test_filters.py --benchmark-only -s
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import apsw
import apsw.sqlite_extra
import numpy as np
import pytest

import vssnative

DIM, K, QUERIES = 384, 10, 20
SHARES = [1.0, 0.5, 0.1, 0.01, 0.001]  # of the rows that match; 1.0: no filter
STEPS = 10_000


def _vectors() -> tuple[np.ndarray, np.ndarray]:
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("vssnative")) / "datasets" / "debian"
    for name in ("vectors.npy", "vectors_50k.npy"):
        if (folder / name).is_file():
            return np.load(folder / name, mmap_mode="r")[:100_000].copy(), np.load(folder / "queries.npy")[
                :QUERIES
            ]
    random = np.random.default_rng(3)
    centers = random.standard_normal((500, DIM), dtype=np.float32)
    rows = centers[random.integers(0, 500, 100_000)] + 0.7 * random.standard_normal(
        (100_000, DIM), dtype=np.float32
    )
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[QUERIES:], rows[:QUERIES]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    import sqlite_vec

    vssnative.configure(threads=1)
    matrix, queries = _vectors()
    groups = np.random.default_rng(4).integers(0, STEPS, len(matrix))
    folder = tmp_path_factory.mktemp("filters")
    made = {
        "vssnative": (None, f"create virtual table v using vss0(e({DIM}), g integer)"),
        "sqlite-vec": (
            sqlite_vec.loadable_path(),
            f"create virtual table v using vec0(e float[{DIM}], g integer)",
        ),
        "vec1": (apsw.sqlite_extra.path("vec1"), "create virtual table v using vec1(e, g)"),
    }
    connections = {}
    for name, (extension, create) in made.items():
        conn = apsw.Connection(str(folder / f"{name}.db"))
        if extension is None:
            vssnative.load(conn)
        else:
            conn.enable_load_extension(True)
            conn.load_extension(extension)
        conn.execute(create)
        with conn:
            conn.executemany(
                "insert into v(rowid, e, g) values(?, ?, ?)",
                ((i, row.tobytes(), int(g)) for i, (row, g) in enumerate(zip(matrix, groups, strict=True))),
            )
        connections[name] = conn
    return {"matrix": matrix, "queries": queries, "groups": groups, "connections": connections}


SQL = {
    "vssnative": f"select rowid from v where e match ? and k = {K} and g < ?",
    "sqlite-vec": f"select rowid from v where e match ? and k = {K} and g < ?",
    "vec1": f"select rowid from v(?, {K}) where g < ?",
}


@pytest.mark.parametrize("share", SHARES)
def test_search(world: dict[str, Any], share: float, benchmark: Any) -> None:
    limit = int(share * STEPS)
    values = () if share == 1.0 else (limit,)
    matching = np.flatnonzero(world["groups"] < limit)
    rows = world["matrix"][matching]
    lines = []
    for name, conn in world["connections"].items():
        sql = SQL[name] if values else SQL[name].replace("and g < ?", "").replace("where g < ?", "")
        returned, hits, seconds = [], [], []
        for query in world["queries"]:
            blob = query.tobytes()
            start = time.perf_counter()
            found = [row[0] for row in conn.execute(sql, (blob, *values))]
            seconds.append(time.perf_counter() - start)
            distances = ((rows - query) ** 2).sum(axis=1)
            kth = np.partition(distances, K - 1)[K - 1]
            by_id = dict(zip(matching.tolist(), distances.tolist(), strict=True))
            returned.append(len(found))
            hits.append(sum(by_id[i] <= kth * (1 + 1e-5) for i in found) / K)
        per_second = 1 / statistics.median(seconds)
        recall = statistics.mean(hits)
        lines.append(
            f"{name}: {min(returned)} to {max(returned)} rows, recall {recall:.3f}, {per_second:,.0f} q/s"
        )
        benchmark.extra_info[name] = {"rows": min(returned), "recall": recall, "q/s": round(per_second)}
        if name == "vssnative":
            assert min(returned) == min(K, len(matching))
            assert recall >= 0.95
    print(
        f"\n{share:.1%} of {len(world['matrix']):,} rows ({len(matching):,} match)\n  " + "\n  ".join(lines)
    )
    benchmark.pedantic(lambda: None, rounds=1)
