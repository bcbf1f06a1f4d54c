"""What is asked for is what is got: each kind of data of ``benchmarks/recall/kinds.py``.

    pytest benchmarks/test_recall.py -s        # 11 minutes on a loaded machine; the real vectors come from benchmarks/data.py

prints one line for each k and recall: asked, got, half of its 95 % interval, share scanned, queries a second, and those
of exact searches. ``tests/integration/test_recall.py`` has a short form.
"""

from __future__ import annotations

import pytest
from benchmarks.recall.kinds import KINDS
from benchmarks.recall.measure import Table

ROWS, QUERIES = 20_000, 500
ASKED = {1: (0.95,), 10: (0.8, 0.9, 0.95, 0.99), 100: (0.95,), 1000: (0.95,)}
POINT = 0.01


@pytest.mark.parametrize("name", KINDS)
def test_recall_is_kept(name: str) -> None:
    table = Table(KINDS[name], ROWS, QUERIES)
    table.add()
    missed = []
    for k, recalls in ASKED.items():
        for recall in recalls:
            got = table.ask(k, recall, looked_into=20)
            print(
                f"| {name} | {k} | {recall} | {got.recall:.3f} | {got.interval:.3f} | {got.scanned:.3f} | "
                f"{got.speed:.0f} | {table.exact_speed(k):.0f} |"
            )
            # What chance alone explains is no miss: the interval is that of this sample of queries.
            if got.recall + got.interval < recall - POINT:
                missed.append((k, recall, got.recall))
    table.close()
    assert not missed
