"""ShardedIndex on a Ray cluster of two simulated nodes: the same answers, and what becomes of actors and nodes that die."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

import vssnative
from vssnative.sharded import ShardedIndex
from vssnative.sharded.on_ray import RayEngine

from ..conftest import brute_force, vectors
from ..reliability.campaign import count, scaled

DIM = 16
N = 1200

# Ray's own code warns, and leaves sockets to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("default::ResourceWarning"),
    pytest.mark.filterwarnings("default::FutureWarning"),
    pytest.mark.filterwarnings("default::DeprecationWarning"),
    pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    ray.init(address=cluster.address, configure_logging=False, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def rows(random: np.random.Generator) -> tuple[Any, Any]:
    return np.arange(N, dtype=np.int64) - 100, vectors(random, N, DIM)


@pytest.fixture
def index(cluster: Any, tmp_path: Path, rows: tuple[Any, Any]) -> Iterator[ShardedIndex]:
    with ShardedIndex.create(
        tmp_path / "index", DIM, shards=3, columns={"parity": "integer"}, engine="ray"
    ) as index:
        index.add(*rows, {"parity": (rows[0] % 2)})
        yield index


def test_answers_and_publishing_are_those_of_one_machine(
    index: ShardedIndex, rows: tuple[Any, Any], random: np.random.Generator
) -> None:
    ids, matrix = rows
    queries = vectors(random, 10, DIM)
    assert (
        index.search(queries, 12, recall=1.0)[0].tolist() == brute_force(queries, ids, matrix, 12)[0].tolist()
    )
    odd = ids % 2 == 1
    found, _ = index.search(queries, 12, where="parity = ?", params=[1], recall=1.0)
    assert found.tolist() == brute_force(queries, ids[odd], matrix[odd], 12)[0].tolist()
    with pytest.raises(vssnative.DuplicateIdError, match="nothing was published"):
        index.add(ids[:1], matrix[:1])
    with pytest.raises(vssnative.QueryError, match="no such column"):
        index.search(queries, where="nope")
    assert index.rebalance(2) == 2
    assert (
        index.search(queries, 12, recall=1.0)[0].tolist() == brute_force(queries, ids, matrix, 12)[0].tolist()
    )
    assert index.verify(20).problems == ()


def test_an_actor_that_is_killed_comes_back(index: ShardedIndex, rows: tuple[Any, Any]) -> None:
    ids, matrix = rows
    engine = index.engine
    assert isinstance(engine, RayEngine)
    wanted = ids[:200].tolist()
    stop = threading.Event()
    killed = []

    def kill() -> None:
        while not stop.is_set():
            for shard in range(3):
                try:
                    pid = ray.get(engine.actor(shard, 0).pid.remote(), timeout=30)
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                except (ray.exceptions.RayError, ProcessLookupError):
                    pass
                time.sleep(0.5)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for _ in range(scaled(5, 40)):
            assert index.search(matrix[:200], 1, recall=1.0)[0].ravel().tolist() == wanted
    finally:
        stop.set()
        killer.join()
    assert killed
    count("sharded actors", kills=len(killed), searches=scaled(5, 40))


@pytest.mark.parametrize("run", range(scaled(1, 40)))
def test_a_node_that_is_removed_is_made_up_for(
    cluster: Any, index: ShardedIndex, rows: tuple[Any, Any], run: int
) -> None:
    ids, matrix = rows
    node = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    with ShardedIndex(index.url, engine="ray", replicas=2) as reader:
        assert reader.search(matrix[:50], 1, recall=1.0)[0].ravel().tolist() == ids[:50].tolist()
        cluster.remove_node(node, allow_graceful=False)
        for _ in range(3):
            assert reader.search(matrix[:50], 1, recall=1.0)[0].ravel().tolist() == ids[:50].tolist()


def test_ray_data_is_embedded_and_passed_over_when_it_comes_again(cluster: Any, tmp_path: Path) -> None:
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    dataset = ray.data.from_items([{"id": i, "body": f"text number {i}", "kind": i % 2} for i in range(60)])
    with ShardedIndex.create(
        tmp_path / "index", 16, "cosine", shards=2, columns={"kind": "integer"}, engine="ray"
    ) as index:
        report = index.embed(dataset, text="body", columns=["kind"], model="hash:16", batch_size=16)
        assert (report.embedded, report.unchanged, len(index)) == (60, 0, 60)
        assert index.search("text number 7", 1, where="kind = 1")[0].tolist() == [7]
        report = index.embed(dataset, text="body", columns=["kind"], batch_size=16)
        assert (report.embedded, report.unchanged) == (0, 60)
