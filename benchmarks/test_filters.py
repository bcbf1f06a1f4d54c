"""Searches, with and without a filter, beside sqlite-vec and vec1, in one run: rows returned, recall, queries a second.

Real vectors where benchmarks/data.py has made them (else clustered random ones), k = 10, one thread, one query at a
time, through SQL in apsw. A filter asks a metadata column of random integers, or one that is against the queries: it lets
through the rows that point away from them. ``VSSNATIVE_BENCH_FILTERS`` is the number of rows (100,000), and
``VSSNATIVE_BENCH_SAVE=1`` writes what came out to ``benchmarks/results``:

    pytest benchmarks/test_filters.py --benchmark-only -s
"""

from __future__ import annotations

import os
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
ROWS = int(os.environ.get("VSSNATIVE_BENCH_FILTERS", "100000"))
SHARES = [1.0, 0.5, 0.1, 0.01, 0.001]  # of the rows that match; 1.0: no filter
AGAINST = [0.5, 0.1, 0.01, 0.001]
STEPS = 10_000


def _vectors() -> tuple[np.ndarray, np.ndarray]:
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("vssnative")) / "datasets" / "debian"
    for name in ("vectors.npy", "vectors_50k.npy"):
        if (folder / name).is_file():
            return np.load(folder / name, mmap_mode="r")[:ROWS].copy(), np.load(folder / "queries.npy")
    random = np.random.default_rng(3)
    centers = random.standard_normal((500, DIM), dtype=np.float32)
    rows = centers[random.integers(0, 500, ROWS)] + 0.7 * random.standard_normal(
        (ROWS, DIM), dtype=np.float32
    )
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[1000:], rows[:1000]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    import sqlite_vec

    vssnative.configure(threads=1)
    matrix, queries = _vectors()
    groups = np.random.default_rng(4).integers(0, STEPS, len(matrix))
    # The queries that lie farthest one way, and the rows in the order of how far they lie that way.
    one_way = np.linalg.svd(queries - queries.mean(axis=0), full_matrices=False)[2][0]
    places = np.argsort(np.argsort(matrix @ one_way)) * STEPS // len(matrix)
    against = queries[np.argsort(queries @ one_way)[-QUERIES:]]
    folder = tmp_path_factory.mktemp("filters")
    made = {
        "vssnative": (None, f"create virtual table v using vss0(e({DIM}), g integer, p integer)"),
        "sqlite-vec": (
            sqlite_vec.loadable_path(),
            f"create virtual table v using vec0(e float[{DIM}], g integer, p integer)",
        ),
        "vec1": (apsw.sqlite_extra.path("vec1"), "create virtual table v using vec1(e, g, p)"),
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
                "insert into v(rowid, e, g, p) values(?, ?, ?, ?)",
                (
                    (i, row.tobytes(), int(g), int(p))
                    for i, (row, g, p) in enumerate(zip(matrix, groups, places, strict=True))
                ),
            )
        connections[name] = conn
    return {
        "matrix": matrix,
        "g": (groups, queries[:QUERIES]),
        "p": (places, against),
        "connections": connections,
    }


SQL = {
    "vssnative": f"select rowid from v where e match ? and k = {K} and g < ?",
    "sqlite-vec": f"select rowid from v where e match ? and k = {K} and g < ?",
    "vec1": f"select rowid from v(?, {K}) where g < ?",
}


@pytest.mark.parametrize(("column", "share"), [("g", x) for x in SHARES] + [("p", x) for x in AGAINST])
def test_search(world: dict[str, Any], column: str, share: float, benchmark: Any) -> None:
    limit = int(share * STEPS)
    values = () if share == 1.0 else (limit,)
    asked, queries = world[column]
    matching = np.flatnonzero(asked < limit)
    rows = world["matrix"][matching]
    lines = []
    for name, conn in world["connections"].items():
        sql = SQL[name].replace("g <", f"{column} <")
        sql = sql if values else sql.replace("and g < ?", "").replace("where g < ?", "")
        returned, hits, seconds = [], [], []
        for query in queries:
            blob = query.tobytes()
            start = time.perf_counter()
            found = [row[0] for row in conn.execute(sql, (blob, *values))]
            seconds.append(time.perf_counter() - start)
            distances = ((rows - query) ** 2).sum(axis=1)
            kth = np.sort(distances)[min(K, len(distances)) - 1]
            by_id = dict(zip(matching.tolist(), distances.tolist(), strict=True))
            returned.append(len(found))
            hits.append(sum(by_id[i] <= kth * (1 + 1e-5) for i in found) / min(K, len(distances)))
        per_second = 1 / statistics.median(seconds)
        recall = statistics.mean(hits)
        lines.append(
            f"{name}: {min(returned)} to {max(returned)} rows, recall {recall:.3f}, {per_second:,.0f} q/s"
        )
        benchmark.extra_info[name] = {"rows": min(returned), "recall": recall, "q/s": round(per_second)}
        if name == "vssnative":
            assert min(returned) == min(K, len(matching))
            assert recall >= 0.95
    told = "" if column == "g" else ", away from the queries"
    text = f"{share:.1%} of {len(world['matrix']):,} rows ({len(matching):,} match{told})\n  " + "\n  ".join(
        lines
    )
    print("\n" + text)
    if os.environ.get("VSSNATIVE_BENCH_SAVE"):
        path = Path(__file__).parent / "results" / f"filters-{ROWS}.txt"
        path.parent.mkdir(exist_ok=True)
        first = (column, share) == ("g", SHARES[0])
        with path.open("w" if first else "a") as file:
            file.write(text + "\n")
    benchmark.pedantic(lambda: None, rounds=1)
