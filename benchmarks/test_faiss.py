"""Faiss's factories in a table beside faiss-cpu's own index of the same string, in one run: recall and queries a second.

Real vectors where benchmarks/data.py has made them (else clustered random ones), k = 10, one thread, one query at a
time. faiss-cpu is given the search parameter (nprobe, efSearch) that the table learned for recall 0.95; it measures
no candidates on the vectors, so that its recall is that of its codes. Both train product quantizers without the step
that only searches by Hamming distance need. ``VSSNATIVE_BENCH_FAISS`` is the number of rows
(20,000).

    pytest benchmarks/test_faiss.py --benchmark-only -s
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vssnative

DIM, K, QUERIES = 384, 10, 200
ROWS = int(os.environ.get("VSSNATIVE_BENCH_FAISS", "20000"))
FACTORIES = [
    "Flat",
    "IVF128,Flat",
    "HNSW32",
    "PQ96",
    "SQ8",
    "OPQ96,IVF128,PQ96",
    "PCA128,Flat",
    "PQ192x4fs,RFlat",
    "IDMap2,Flat",
]


@pytest.fixture(scope="module")
def vectors() -> tuple[np.ndarray, np.ndarray]:
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("vssnative")) / "datasets" / "debian"
    if (folder / "vectors_50k.npy").is_file():
        rows = np.load(folder / "vectors_50k.npy", mmap_mode="r")[:ROWS].copy()
        return rows, np.load(folder / "queries.npy")[:QUERIES]
    random = np.random.default_rng(3)
    centers = random.standard_normal((500, DIM), dtype=np.float32)
    rows = centers[random.integers(0, 500, ROWS + QUERIES)]
    rows = rows + 0.7 * random.standard_normal(rows.shape, dtype=np.float32)
    return rows[QUERIES:], rows[:QUERIES]


def _rate(search: Any, queries: np.ndarray) -> tuple[float, np.ndarray]:
    search(queries[0])
    began = time.perf_counter()
    found = np.array([search(query) for query in queries])
    return len(queries) / (time.perf_counter() - began), found


def _leave_hamming_out(faiss: Any, index: Any) -> None:
    """No sorting of centroids for searches by Hamming distance, as vss0 does without it: PQ96 took minutes more."""
    inner = faiss.downcast_index(index)
    while hasattr(inner, "chain") or hasattr(inner, "id_map"):
        inner = faiss.downcast_index(inner.index)
    if hasattr(inner, "do_polysemous_training"):
        inner.do_polysemous_training = False


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("factory", FACTORIES)
def test_beside_faiss_itself(
    benchmark: Any, vectors: tuple[np.ndarray, np.ndarray], factory: str, tmp_path: Path
) -> None:
    import faiss

    rows, queries = vectors
    truth = np.argsort(((queries**2).sum(1)[:, None] + (rows**2).sum(1) - 2 * queries @ rows.T), axis=1)[
        :, :K
    ]
    faiss.omp_set_num_threads(1)
    vssnative.configure(threads=1, memory="1GB")
    try:
        conn = vssnative.connect(str(tmp_path / "t.db"))
        index = vssnative.Index(conn, "t", "a", factory=factory)
        began = time.perf_counter()
        index.add(np.arange(len(rows)), rows)
        conn.commit()
        built = time.perf_counter() - began
        told = index.stats()
        assert told["search"] == "faiss", told
        ours, found = _rate(lambda query: index.search(query, k=K)[0], queries)
        setting = told["settings_for_recall_at_10"]["0.95"]

        began = time.perf_counter()
        peer = faiss.index_factory(DIM, factory)
        _leave_hamming_out(faiss, peer)
        peer.train(rows)
        if factory.startswith("IDMap"):
            peer.add_with_ids(rows, np.arange(len(rows)))
        else:
            peer.add(rows)
        peer_built = time.perf_counter() - began
        for name in ("nprobe", "efSearch"):
            if name in setting:
                faiss.ParameterSpace().set_index_parameter(peer, name, setting[name])
        theirs, peer_found = _rate(lambda query: peer.search(query[None], K)[1][0], queries)

        def recall(got: np.ndarray) -> float:
            return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(truth, got, strict=True)]))

        benchmark.extra_info.update(setting=setting, recall=recall(found), peer_recall=recall(peer_found))
        print(
            f"\n{factory}: {ours:.0f} q/s at {recall(found):.3f} (built in {built:.1f} s, {setting}); "
            f"faiss-cpu {theirs:.0f} q/s at {recall(peer_found):.3f} (built in {peer_built:.1f} s)"
        )
        assert recall(found) >= 0.93
        benchmark.pedantic(lambda: index.search(queries[0], k=K), rounds=5, iterations=10)
        conn.close()
    finally:
        vssnative.configure(threads=0, memory="256MB")
