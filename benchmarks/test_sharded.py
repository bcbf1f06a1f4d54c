"""Shards on a local Ray cluster of simulated nodes beside one file, on the same cores and rows.

1,000,000 x 384 clustered random vectors over 8 shards (``VSSNATIVE_BENCH_SHARDED`` says how many rows), three nodes:
equality under recall 1, recall at 0.95, queries a second one by one and in a batch, latency, bytes sent for a query,
times of a publish. 100,000 texts (``VSSNATIVE_BENCH_SHARDED_TEXTS``) through Ray Data beside this process alone. With
``VSSNATIVE_BENCH_SAVE=1`` the figures go to ``benchmarks/results/sharded.txt``:

    pytest benchmarks/test_sharded.py --benchmark-only -s
"""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

import vssnative
from vssnative.sharded import ShardedIndex

ROWS = int(os.environ.get("VSSNATIVE_BENCH_SHARDED", "1000000"))
TEXTS = int(os.environ.get("VSSNATIVE_BENCH_SHARDED_TEXTS", "100000"))
DIM, K, SHARDS, NODES = 384, 10, 8, 3
QUERIES, ONE_BY_ONE = 500, 200

pytestmark = pytest.mark.filterwarnings("default")


def say(words: str) -> None:
    print(words)
    if os.environ.get("VSSNATIVE_BENCH_SAVE") == "1":
        path = Path(__file__).parent / "results" / "sharded.txt"
        with path.open("a", encoding="utf-8") as file:
            file.write(words + "\n")


def processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{names[0].partition(':')[2].strip()}, {len(names)} cores" if names else "unknown"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    nodes = {"num_cpus": 1, "object_store_memory": 1 << 30}
    cluster = Cluster(initialize_head=True, head_node_args=nodes)
    for _ in range(NODES - 1):
        cluster.add_node(**nodes)
    ray.init(address=cluster.address, configure_logging=False, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def rows() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    centers = random.standard_normal((2000, DIM), dtype=np.float32)
    matrix = centers[random.integers(0, 2000, ROWS + QUERIES)]
    for start in range(0, len(matrix), 100_000):
        part = matrix[start : start + 100_000]
        part += random.standard_normal(part.shape, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return matrix[QUERIES:], matrix[:QUERIES]


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def latencies(search: Callable[[np.ndarray], Any], queries: np.ndarray) -> str:
    for query in queries[:20]:
        search(query)
    times = np.array([timed(lambda q=query: search(q))[0] for query in queries[:ONE_BY_ONE]]) * 1e3
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    return f"{1e3 / times.mean():,.0f} q/s one by one, {p50:.2f} / {p95:.2f} / {p99:.2f} ms (50, 95, 99 %)"


def test_shards_beside_one_file(cluster: Any, tmp_path: Path, benchmark: Any) -> None:
    matrix, queries = rows()
    ids = np.arange(len(matrix), dtype=np.int64)
    say(f"{processor()}: {len(matrix):,} x {DIM}, {SHARDS} shards on {NODES} nodes, k = {K}")
    conn = vssnative.connect(tmp_path / "one.db")
    one = vssnative.Index(conn, metric="cosine")
    seconds, _ = timed(lambda: (one.add(ids, matrix), conn.commit()))
    say(f"one file: added in {seconds:.1f} s")
    index = ShardedIndex.create(tmp_path / "many", DIM, "cosine", shards=SHARDS, engine="ray")
    seconds, _ = timed(lambda: index.add(ids, matrix))
    say(
        f"shards: added and published in {seconds:.1f} s, {index.status().bytes / matrix.nbytes:.3f} of the raw bytes"
    )
    seconds, _ = timed(lambda: index.add(ids[:1000] + len(ids), matrix[:1000]))
    say(f"publish of 1,000 more rows: {seconds:.1f} s (all {SHARDS} files are written again)")
    index.rollback(1)
    exact_one = one.search(queries, K, recall=1.0)
    exact_many = index.search(queries, K, recall=1.0)
    assert np.array_equal(exact_one[0], exact_many[0]) and np.array_equal(exact_one[1], exact_many[1])
    say(f"recall 1: the same {exact_one[0].size:,} ids and distances as one file")
    for name, which in (("one file", one), ("shards", index)):
        which.search(queries, K)
        seconds, (_, distances) = timed(lambda w=which: w.search(queries, K))
        recall = float((distances <= exact_one[1][:, -1:]).mean())
        say(f"{name}: recall {recall:.3f} for 0.95 asked, {len(queries) / seconds:,.0f} q/s in a batch")
        say(f"{name}: {latencies(lambda q, w=which: w.search(q, K), queries)}")
    record = next(iter(index._version.files.values()))
    sent = len(pickle.dumps((record, queries[:1], K, None, (), None, None)))
    back = len(pickle.dumps((exact_one[0][:1], exact_one[1][:1])))
    say(f"bytes for a query: {sent:,} to each shard and {back:,} back, {SHARDS * (sent + back):,} in all")
    benchmark.pedantic(lambda: index.search(queries[:1], K), rounds=50)
    index.close()
    conn.close()


def test_texts_through_ray_data(cluster: Any, tmp_path: Path, benchmark: Any) -> None:
    import ray.data

    from vssnative.embedding import get_embedder
    from vssnative.embedding.storage import cache_directory

    path = cache_directory("datasets", "debian") / "sources.json"
    if not path.is_file():
        pytest.skip("benchmarks/data.py has fetched no texts")
    sources = json.loads(path.read_text(encoding="utf-8"))
    texts = [*sources["sentence"], *sources["short"]][:TEXTS]
    embedder = get_embedder("minilm")
    embedder.embed_documents(texts[:64])
    alone = min(len(texts), 10_000)
    seconds, _ = timed(lambda: embedder.embed_documents(texts[:alone]))
    say(f"{processor()}: one process: {alone / seconds:,.0f} texts/s over {alone:,}")
    ray.data.DataContext.get_current().enable_progress_bars = False
    dataset = ray.data.from_items([{"id": i, "body": text} for i, text in enumerate(texts)])
    index = ShardedIndex.create(tmp_path / "index", embedder.dim, "cosine", shards=4, engine="ray")
    # One actor embeds on both cores.
    options = {"text": "body", "model": "minilm", "actor_options": {"num_cpus": 1}}

    class Killed(Exception):
        pass

    def halfway(done: int) -> None:
        if done >= len(texts) // 2:
            raise Killed

    def first() -> None:
        with pytest.raises(Killed):
            index.embed(dataset, progress=halfway, **options)

    before, _ = timed(first)
    after, report = timed(lambda: index.embed(dataset, **options))
    say(
        f"Ray Data: {len(texts) / (before + after):,.0f} texts/s over {len(texts):,}, stopped half-way after"
        f" {before:.0f} s; the second run resumed {report.resumed:,}, embedded {report.embedded:,} in {after:.0f} s"
    )
    assert report.resumed + report.embedded == len(index) == len(texts)
    benchmark.pedantic(lambda: index.search("a text editor", K), rounds=20)
    index.close()
