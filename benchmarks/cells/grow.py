"""More rows with the neighbour structure of real ones, for runs at scales that the real data does not reach.

    python benchmarks/cells/grow.py VECTORS.npy ROWS OUT.npy

A new row is a real one moved along the difference of two of its ten nearest neighbours: x + s (y - z), scaled to
length 1. So rows are added where rows are, and vary in the directions in which their neighbourhood varies. s is drawn
evenly from 0.25 to 0.75. docs/measurements/cells.md compares what searches need on grown and on real rows.
"""

from __future__ import annotations

import sys

import apsw
import numpy as np

import vssnative

NEIGHBORS = 10
STEP = 50_000


def neighbors(matrix: np.ndarray) -> np.ndarray:
    """The nearest rows of each row, int64 (n, NEIGHBORS)."""
    conn = apsw.Connection(":memory:")
    vssnative.load(conn)
    vssnative.configure(memory="2GB", threads=2)
    index = vssnative.Index(conn)
    index.add(np.arange(len(matrix)), matrix)
    found = np.empty((len(matrix), NEIGHBORS), np.int64)
    for first in range(0, len(matrix), STEP):
        ids, _ = index.search(matrix[first : first + STEP], NEIGHBORS + 1, recall=0.9)
        found[first : first + STEP] = ids[:, 1:]
    conn.close()
    return found


def main() -> None:
    source, rows, target = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    real = np.load(source)[:rows].astype(np.float32)
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    near = neighbors(real)
    random = np.random.default_rng(11)
    grown = np.lib.format.open_memmap(target, mode="w+", dtype=np.float32, shape=(rows, real.shape[1]))
    grown[: len(real)] = real
    for first in range(len(real), rows, STEP):
        n = min(STEP, rows - first)
        at = random.integers(0, len(real), n)
        pair = np.array([random.choice(NEIGHBORS, 2, replace=False) for _ in range(n)])
        step = random.uniform(0.25, 0.75, (n, 1)).astype(np.float32)
        made = real[at] + step * (real[near[at, pair[:, 0]]] - real[near[at, pair[:, 1]]])
        grown[first : first + n] = made / np.linalg.norm(made, axis=1, keepdims=True)
    grown.flush()


if __name__ == "__main__":
    main()
