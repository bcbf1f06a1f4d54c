"""How much more a worn table scans: rows scanned for recall 0.95 beside a fresh global clustering with as many cells.

    python benchmarks/cells/wear.py TRIAL VECTORS.npy QUERIES.npy [rows]

TRIAL is the program that the CMake target ``cells_trial`` builds. After loading row by row, sorted by nearness, after
5-fold churn and after 90 % was deleted; each also after ``optimize``. A line of the trial is a number of cells with its
recall and share of entries scanned; what 0.95 takes is interpolated.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys

ORDERS = ("rows", "sorted", "churn", "deleted")
RECALL = 0.95


def run(trial: str, arguments: list[str]) -> tuple[int, int, float]:
    """Cells, rows, and the share of entries scanned for the recall, in percent of rows."""
    output = subprocess.run([trial, *arguments], capture_output=True, text=True, check=True).stdout
    head = re.search(r"^(\d+) cells, (\d+) rows", output, re.M)
    assert head is not None, output
    points = sorted(
        (math.log(1 - min(float(recall), 0.9999)), float(scanned))
        for cells, recall, scanned in re.findall(
            r"^asked \S+ cells +(\d+) recall (\S+) scanned +(\S+) %", output, re.M
        )
    )
    wanted = math.log(1 - RECALL)
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if x0 <= wanted <= x1 and x1 > x0:
            return int(head[1]), int(head[2]), y0 + (y1 - y0) * (wanted - x0) / (x1 - x0)
    raise SystemExit(f"recall {RECALL} lies outside the settings tried:\n{output}")


def main() -> None:
    trial, vectors, queries = sys.argv[1:4]
    rows = sys.argv[4] if len(sys.argv) > 4 else "100000"
    for order in ORDERS:
        # The rows that the order leaves.
        same = f"bulk-{order}" if order in ("churn", "deleted") else "bulk"
        for suffix in ("", "+optimize"):
            cells, left, scanned = run(trial, [vectors, queries, rows, order + suffix])
            # A fresh clustering of as many rows into about as many cells.
            fresh_rows = max(left / cells, 1)
            for _ in range(2):
                fresh_cells, _, fresh = run(
                    trial, [vectors, queries, rows, same, str(max(round(fresh_rows), 1)), "100000"]
                )
                fresh_rows *= fresh_cells / cells
            print(
                f"{order + suffix:18} {left} rows, {cells} cells: {scanned:.2f} % scanned for recall {RECALL};"
                f" fresh, {fresh_cells} cells: {fresh:.2f} %; {scanned / fresh:.3f} times",
                flush=True,
            )


if __name__ == "__main__":
    main()
