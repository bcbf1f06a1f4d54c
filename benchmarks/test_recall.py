"""What is asked for is what is got: each kind of data of ``benchmarks/recall/kinds.py``.

    pytest benchmarks/test_recall.py -s        # 11 minutes on a loaded machine; the real vectors come from benchmarks/data.py

prints one line for each k and recall: asked, got, half of its 95 % interval, share scanned, queries a second, and those
of exact searches. ``tests/integration/test_recall.py`` has a short form.

Those kinds are known to whoever changes the rule. So as many as ``VSSNATIVE_BENCH_DRAWN`` (6) are made up anew in each run
(``benchmarks/recall/drawn.py``), from seeds that nobody has seen, which are printed; ``VSSNATIVE_BENCH_SEED`` is the first
of them where a run is to be repeated:

    VSSNATIVE_BENCH_DRAWN=40 pytest benchmarks/test_recall.py -s -k anew

As many tables are filled and asked in ways that searches have not learned from (``benchmarks/recall/uses.py``).
"""

from __future__ import annotations

import os
import secrets

import numpy as np
import pytest
from benchmarks.recall.drawn import drawn
from benchmarks.recall.kinds import KINDS, Kind
from benchmarks.recall.measure import Table
from benchmarks.recall.uses import Table as UsedTable
from benchmarks.recall.uses import shares, use

ROWS, QUERIES = 20_000, 500
ASKED = {1: (0.95,), 10: (0.8, 0.9, 0.95, 0.99), 100: (0.95,), 1000: (0.95,)}
POINT = 0.01
FIRST = int(os.environ.get("VSSNATIVE_BENCH_SEED", secrets.randbits(32)))
SEEDS = range(FIRST, FIRST + int(os.environ.get("VSSNATIVE_BENCH_DRAWN", "6")))


@pytest.mark.parametrize("name", KINDS)
def test_recall_is_kept(name: str) -> None:
    assert not missed(name, KINDS[name])


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_recall_is_kept_on_data_made_up_anew(number: int) -> None:
    kind, words = drawn(SEEDS[number])
    print(f"\nseed {SEEDS[number]}: {words}")
    assert not missed(f"drawn-{SEEDS[number]}", kind, seed=SEEDS[number])


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_recall_is_kept_in_uses_made_up_anew(number: int) -> None:
    drawn_use = use(SEEDS[number], ROWS, QUERIES)
    print(f"\nseed {SEEDS[number]}: {drawn_use.words}")
    table = UsedTable(drawn_use)
    asked = drawn_use.fill(table)
    out = []
    for k, recall in ((1, 0.95), (10, 0.8), (10, 0.95), (100, 0.95)):
        got = np.fromiter(shares(table, asked, k, recall), float)
        interval = 1.96 * got.std() / np.sqrt(len(got))
        print(f"| {k} | {recall} | {got.mean():.3f} | {interval:.3f} |")
        if got.mean() + interval < recall - POINT:
            out.append((k, recall, got.mean()))
    table.conn.close()
    assert not out


def missed(name: str, kind: Kind, seed: int = 1) -> list[tuple[int, float, float]]:
    """Prints what was got; where that is less than was asked: k, asked, got."""
    table = Table(kind, ROWS, QUERIES, seed)
    table.add()
    out = []
    for k, recalls in ASKED.items():
        for recall in recalls:
            got = table.ask(k, recall, looked_into=20)
            print(
                f"| {name} | {k} | {recall} | {got.recall:.3f} | {got.interval:.3f} | {got.scanned:.3f} | "
                f"{got.speed:.0f} | {table.exact_speed(k):.0f} |"
            )
            # What chance alone explains is no miss: the interval is that of this sample of queries.
            if got.recall + got.interval < recall - POINT:
                out.append((k, recall, got.recall))
    table.close()
    return out
