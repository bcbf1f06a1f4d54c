"""Publishers that are killed at any moment, and publishers that meet: whole versions only, and none lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.reliability.campaign import count, scaled, seed
from vssnative.sharded import ShardedIndex

DIM = 8
ROWS = 50

# Adds batch after batch; says each version once it is published.
PUBLISHER = """
import sys
from tests.reliability.test_sharded_faults import batch
from vssnative.sharded import ShardedIndex

if __name__ == "__main__":
    url, first, step, end = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    with ShardedIndex(url, engine="local", workers=1) as index:
        print("ready", flush=True)
        for at in range(first, end, step):
            index.add(*batch(at))
            print(at, flush=True)
"""

# Dies between the two steps of a publish, or right after the second.
DIES_IN_PUBLISH = """
import os, signal, sys
from tests.reliability.test_sharded_faults import batch
from vssnative.sharded import ShardedIndex, catalog

if __name__ == "__main__":
    url, when = sys.argv[1], sys.argv[2]
    publish = catalog.publish

    def dying(store, new):
        if when == "after":
            publish(store, new)
        os.kill(os.getpid(), signal.SIGKILL)

    catalog.publish = dying
    with ShardedIndex(url, engine="local", workers=1) as index:
        index.add(*batch(1))
"""


def batch(at: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Batch number `at`, a function of the number alone."""
    matrix = np.random.default_rng(at).standard_normal((ROWS, DIM), dtype=np.float32)
    return np.arange(at * ROWS, (at + 1) * ROWS, dtype=np.int64), matrix


def start(tmp_path: Path, script: str, *arguments: object) -> subprocess.Popen[str]:
    """In a process of its own; the script is a file, since its workers import it."""
    path = tmp_path / "publisher.py"
    path.write_text(script)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(path), *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def batches_in(index: ShardedIndex) -> list[int]:
    """The batches that the index holds; a batch in part is an error."""
    assert index.verify(0).problems == ()
    ids, _ = index.search(np.zeros(DIM, np.float32), max(len(index), 1), recall=1.0)
    held = sorted(ids[ids >= 0].tolist())
    whole = sorted({id // ROWS for id in held})
    assert held == [id for at in whole for id in range(at * ROWS, (at + 1) * ROWS)]
    return whole


def works_on(index: ShardedIndex, at: int) -> None:
    """The next publisher finds nothing in its way, and a vacuum finds what was left behind."""
    index.add(*batch(at))
    index.vacuum(keep=1, grace=0)
    named = {Path(shard.name).name for shard in index.status().shards}
    assert {path.name for path in (Path(index.url) / "shards").iterdir()} == named
    ids, matrix = batch(at)
    assert index.search(matrix, 1, recall=1.0)[0].ravel().tolist() == ids.tolist()


@pytest.mark.parametrize("run", range(scaled(2, 40)))
def test_a_publisher_killed_at_any_moment(tmp_path: Path, run: int) -> None:
    chosen = seed()
    random = np.random.default_rng(chosen)
    url = tmp_path / "index"
    with ShardedIndex.create(url, DIM, shards=3, engine="local", workers=1) as index:
        index.add(*batch(0))
        with start(tmp_path, PUBLISHER, url, 1, 1, 10_000) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(float(random.uniform(0.3, 2.5)))
            process.send_signal(signal.SIGKILL)
            said = [int(line) for line in process.stdout.read().split()]
        index.refresh()
        held = batches_in(index)
        assert held == list(range(len(held))), chosen
        assert len(said) + 1 <= len(held) <= len(said) + 2, (chosen, said, held)
        works_on(index, 100_000)
        count("sharded kills", kills=1, published=len(held))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_publisher_killed_between_the_two_steps(tmp_path: Path, when: str) -> None:
    url = tmp_path / "index"
    with ShardedIndex.create(url, DIM, shards=3, engine="local", workers=1) as index:
        index.add(*batch(0))
        with start(tmp_path, DIES_IN_PUBLISH, url, when) as process:
            assert process.wait() == -signal.SIGKILL
        index.refresh()
        assert batches_in(index) == ([0] if when == "before" else [0, 1])
        works_on(index, 7)


@pytest.mark.parametrize("run", range(scaled(1, 40)))
def test_two_publishers_at_once(tmp_path: Path, run: int) -> None:
    url = tmp_path / "index"
    with ShardedIndex.create(url, DIM, shards=3, engine="local", workers=1) as index:
        publishers = [start(tmp_path, PUBLISHER, url, first, 2, 8) for first in (0, 1)]
        for publisher in publishers:
            output, _ = publisher.communicate()
            assert publisher.returncode == 0, output
        assert index.refresh() == 8
        assert batches_in(index) == list(range(8))
        works_on(index, 8)
        count("sharded publishers", publishes=8)


# Embeds texts batch by batch; says how many are staged.
EMBEDDER = """
import sys
from tests.reliability.test_sharded_faults import TEXTS
from vssnative.sharded import ShardedIndex

if __name__ == "__main__":
    with ShardedIndex(sys.argv[1], engine="local", workers=1) as index:
        index.embed(TEXTS, model="hash:8", batch_size=10, progress=lambda done: print(done, flush=True))
"""
TEXTS = [{"id": i, "text": f"text number {i}"} for i in range(3000)]


@pytest.mark.parametrize("run", range(scaled(1, 40)))
def test_embedding_that_is_killed_goes_on(tmp_path: Path, run: int) -> None:
    url = tmp_path / "index"
    with ShardedIndex.create(url, DIM, "cosine", shards=2, engine="local", workers=1) as index:
        with start(tmp_path, EMBEDDER, url) as process:
            assert process.stdout is not None
            said = [int(process.stdout.readline()) for _ in range(3 + run)]
            process.send_signal(signal.SIGKILL)
            said += [int(line) for line in process.stdout.read().split()]
        assert len(index) == index.refresh() == 0
        report = index.embed(TEXTS, model="hash:8", batch_size=500)
        assert report.embedded + report.resumed == len(index) == len(TEXTS)
        assert said[-1] <= report.resumed <= said[-1] + 10
        assert index.search("text number 7", 1)[0].tolist() == [7]
        count("sharded embedding kills", kills=1, resumed=report.resumed)
