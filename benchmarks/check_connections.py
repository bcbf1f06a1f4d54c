"""Bulk add and exact search on each of the four kinds of connection, and the memory that adding takes.

    python benchmarks/check_connections.py [--rows 100000] [--dim 384]

Each kind runs in a process of its own: add all rows through Index.add, close, open again, search 100 queries, compare
with numpy's brute force. Exit code 1 if a kind is missing or differs.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

K = 10
QUERIES = 100
Truth = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


def brute_force(matrix: npt.NDArray[np.float32], queries: npt.NDArray[np.float32]) -> Truth:
    ids = np.empty((len(queries), K), np.int64)
    distances = np.empty((len(queries), K), np.float32)
    for i, query in enumerate(queries):
        all_distances = ((matrix - query) ** 2).sum(axis=1)
        ids[i] = np.argsort(all_distances, kind="stable")[:K]
        distances[i] = all_distances[ids[i]]
    return ids, distances


def memory(name: str) -> float:
    """MB of this process, by its line in /proc: VmRSS is now, VmHWM the most since the last reset."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
    raise LookupError(name)


def worker(folder: Path, driver: str) -> dict[str, Any]:
    """One kind of connection, in a process of its own."""
    import vssnative
    from vssnative._connection import execute, load_by, transaction

    module = importlib.import_module(driver)
    connect = module.Connection if driver == "apsw" else module.connect
    matrix = np.load(folder / "matrix.npy")
    queries = np.load(folder / "queries.npy")
    path = folder / "vectors.db"
    path.unlink(missing_ok=True)
    with contextlib.closing(connect(str(path))) as conn:
        way = load_by(conn)
        [(version,)] = execute(conn, "select sqlite_version()")
        index = vssnative.Index(conn, dim=matrix.shape[1])
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        started = time.perf_counter()
        with transaction(conn):
            index.add(np.arange(len(matrix)), matrix)
        seconds = time.perf_counter() - started
        extra = memory("VmHWM") - before
    with contextlib.closing(connect(str(path))) as conn:
        vssnative.load(conn)
        started = time.perf_counter()
        ids, distances = vssnative.Index(conn).search(queries, K, recall=1.0)
        search_seconds = time.perf_counter() - started
    truth = np.load(folder / "truth.npz")
    return {
        "python": f"{sys.version.split()[0]} ({sys.executable})",
        "sqlite": version,
        "way": way,
        "add_seconds": seconds,
        "extra_mb": extra,
        "search_seconds": search_seconds,
        "equal": bool((ids == truth["ids"]).all() and np.allclose(distances, truth["distances"], rtol=1e-5)),
    }


def has_loader(python: str) -> bool | None:
    """Whether a Python's sqlite3 has load_extension; None if it cannot run this package's build."""
    code = "import sqlite3, sys; print(sys.implementation.cache_tag, hasattr(sqlite3.Connection, 'load_extension'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None
    tag, found = done.stdout.split()
    return found == "True" if tag == sys.implementation.cache_tag else None


def find_python(with_loader: bool) -> str | None:
    candidates = [
        sys.executable,
        "/usr/bin/python3",
        *glob.glob("/usr/bin/python3.*[0-9]"),
        *glob.glob(os.path.expanduser("~/.pyenv/versions/*/bin/python3")),
    ]
    return next((python for python in candidates if has_loader(python) is with_loader), None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(worker(Path(options.worker[0]), options.worker[1])))
        return 0
    kinds = {
        "sqlite3 without load_extension": (find_python(with_loader=False), "sqlite3"),
        "sqlite3 with load_extension": (find_python(with_loader=True), "sqlite3"),
        "pysqlite3": (sys.executable, "pysqlite3"),
        "apsw": (sys.executable, "apsw"),
    }
    rng = np.random.default_rng(1)
    faults = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        matrix = rng.standard_normal((options.rows, options.dim), dtype=np.float32)
        queries = rng.standard_normal((QUERIES, options.dim), dtype=np.float32)
        np.save(folder / "matrix.npy", matrix)
        np.save(folder / "queries.npy", queries)
        ids, distances = brute_force(matrix, queries)
        np.savez(folder / "truth.npz", ids=ids, distances=distances)
        print(f"{options.rows:,} x {options.dim} float32: {matrix.nbytes / 2**20:.0f} MB")
        del matrix
        for kind, (python, driver) in kinds.items():
            if python is None:
                print(f"{kind}: no such Python of version {sys.version.split()[0]} was found")
                faults += 1
                continue
            # A venv's packages for an interpreter outside of it; .pth files count only in site directories.
            start = "import site, sys; [site.addsitedir(p) for p in sys.argv.pop(1).split(':')];"
            start += "import runpy; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
            packages = ":".join(p for p in sys.path if p.endswith("-packages"))
            command = [python, "-c", start, packages, __file__, "--worker", name, driver]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                print(f"{kind}: failed\n{done.stderr}")
                faults += 1
                continue
            found = json.loads(done.stdout)
            faults += not found["equal"]
            print(
                f"{kind}: Python {found['python']}, SQLite {found['sqlite']}, loaded {found['way']}; added in"
                f" {found['add_seconds']:.2f} s with {found['extra_mb']:.0f} MB beside the matrix; {QUERIES} exact"
                f" queries in {found['search_seconds']:.2f} s,"
                f" {'equal to' if found['equal'] else 'DIFFERENT FROM'} numpy's brute force"
            )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
