"""Recall by kind of data: what was asked for, what was got, its interval, the share scanned, and the speed.

    python -m benchmarks.recall.measure [--rows 20000] [--queries 500] [--k 10] [--recall 0.8 0.95 0.99] [KIND ...]

Truth is brute force in the same table (a batch at recall 1). A row as near as the k-th true neighbour counts as found.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.recall.kinds import KINDS, Kind

import vssnative

TIMED = 100  # queries
DTYPES: dict[str, Any] = {"float32": np.float32, "float16": np.float16, "int8": np.int8}


def dtype_of(name: str) -> Any:
    """numpy's type of a column's."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(DTYPES[name])


@dataclass(frozen=True)
class Got:
    """What searches of one k and recall reached."""

    recall: float
    interval: float  # half the width of the 95 % interval
    scanned: float
    speed: float  # queries a second of one thread, one at a time, by its own time


class Table:
    """A table of one kind, and queries from outside."""

    def __init__(self, kind: Kind, rows: int, queries: int, seed: int = 1, path: str | None = None) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.conn = vssnative.connect(path or str(Path(self.directory.name) / "recall.db"))
        table, asked = kind.make(np.random.default_rng(seed), rows, queries)
        self.dtype = dtype_of(kind.dtype)
        self.rows = np.ascontiguousarray(table.astype(self.dtype))
        self.queries = np.ascontiguousarray(asked.astype(self.dtype))
        self.index = vssnative.Index(
            self.conn, "t", "a", dim=table.shape[1], metric=kind.metric, type=kind.dtype
        )
        self.truth: dict[int, Any] = {}
        self.exact_speeds: dict[int, float] = {}

    def add(self) -> float:
        """All rows in one go; seconds."""
        started = time.perf_counter()
        self.index.add(np.arange(len(self.rows)), self.rows)
        self.conn.commit()
        return time.perf_counter() - started

    def kth(self, k: int) -> Any:
        """Of each query, the distance of the k-th true neighbour."""
        if k not in self.truth:
            _, distances = self.index.search(self.queries, k, recall=1.0)
            self.truth[k] = distances[:, min(k, len(self.rows)) - 1]
        return self.truth[k]

    def exact_speed(self, k: int, count: int = 30) -> float:
        """Exact searches a second of one thread, one query at a time."""
        if k not in self.exact_speeds:
            for query in self.queries[:5]:
                self.index.search(query, k, recall=1.0)
            started = time.thread_time()
            for query in self.queries[:count]:
                self.index.search(query, k, recall=1.0)
            self.exact_speeds[k] = min(count, len(self.queries)) / (time.thread_time() - started)
        return self.exact_speeds[k]

    def ask(self, k: int, recall: float, looked_into: int = 40, **where: Any) -> Got:
        """All queries, one at a time."""
        kth = self.kth(k)
        shares = np.empty(len(self.queries))
        for i, query in enumerate(self.queries):
            _, distances = self.index.search(query, k, recall=recall, **where)
            shares[i] = np.count_nonzero(distances <= kth[i]) / min(k, len(self.rows))
        # Timed once memory holds what searches use.
        timed = self.queries[:TIMED]
        started = time.thread_time()
        for query in timed:
            self.index.search(query, k, recall=recall, **where)
        speed = len(timed) / (time.thread_time() - started)
        entries = 2.0 * len(self.rows)
        scanned = [
            self.index.explain(query, k, recall=recall).get("codes_scanned", entries) / entries
            for query in self.queries[:looked_into]
        ]
        # A query's share is at most 1: more may count where there are ties.
        shares = np.minimum(shares, 1)
        return Got(
            float(shares.mean()),
            float(1.96 * shares.std() / np.sqrt(len(shares))),
            float(np.mean(scanned)) if scanned else float("nan"),
            speed,
        )

    def close(self) -> None:
        """The file goes."""
        self.conn.close()
        self.directory.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--k", type=int, nargs="+", default=[10])
    parser.add_argument("--recall", type=float, nargs="+", default=[0.8, 0.95, 0.99])
    parser.add_argument("--looked-into", type=int, default=40)
    arguments = parser.parse_args()
    print("| kind | k | asked | got | +- | scanned | q/s | exact q/s | add s |", flush=True)
    for name in arguments.kinds or KINDS:
        table = Table(KINDS[name], arguments.rows, arguments.queries)
        added = table.add()
        for k in arguments.k:
            table.kth(k)
            for recall in arguments.recall:
                got = table.ask(k, recall, arguments.looked_into)
                flag = " <<" if got.recall < recall - 0.01 else ""
                flag += " slow" if got.speed < 0.9 * table.exact_speed(k) else ""
                print(
                    f"| {name} | {k} | {recall} | {got.recall:.3f} | {got.interval:.3f} | {got.scanned:.3f} | "
                    f"{got.speed:.0f} | {table.exact_speed(k):.0f} | {added:.1f} |{flag}",
                    flush=True,
                )
        table.close()


if __name__ == "__main__":
    main()
