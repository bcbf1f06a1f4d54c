"""Faiss's factories in a table beside faiss-cpu's own index of the same string, in one run: recall and queries a second.

Real vectors where benchmarks/data.py has made them (else clustered random ones), k = 10, one thread, one query at a
time, in turns; queries a second of processor time, the median of the turns. faiss-cpu is given the search parameter
(nprobe, efSearch, and where it refines, candidates) that the table learned for recall 0.95; else it measures no
candidates on the vectors, so that its recall is that of its codes. Both train product quantizers without the step that
only searches by Hamming distance need. Those of PQ96, which faiss-cpu trains for minutes on one thread, it is given
trained (Index.to_faiss).

``VSSNATIVE_BENCH_FAISS`` is the number of rows (20,000), ``VSSNATIVE_BENCH_FAISS_KEEP`` a folder that keeps what was
built, so that a second run only searches.

    pytest benchmarks/test_faiss.py --benchmark-only -s
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vssnative

DIM, K, QUERIES, TURNS = 384, 10, 200, 5
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


def _turn(search: Any, queries: np.ndarray) -> tuple[float, np.ndarray]:
    began = time.process_time()
    found = np.array([search(query) for query in queries])
    return len(queries) / (time.process_time() - began), found


def _leave_hamming_out(faiss: Any, index: Any) -> None:
    """No sorting of centroids for searches by Hamming distance, as vss0 does without it: PQ96 took minutes more."""
    inner = faiss.downcast_index(index)
    while hasattr(inner, "chain") or hasattr(inner, "id_map"):
        inner = faiss.downcast_index(inner.index)
    if hasattr(inner, "do_polysemous_training"):
        inner.do_polysemous_training = False


def _kept(folder: Path, name: str, build: Any) -> float:
    """Seconds of processor time that `build` took, which is run if it was not before."""
    path = folder / f"{name}.json"
    if not path.exists():
        began = time.process_time()
        build()
        path.write_text(json.dumps(time.process_time() - began))
    return float(json.loads(path.read_text()))


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
    folder = Path(os.environ.get("VSSNATIVE_BENCH_FAISS_KEEP", tmp_path)) / factory.replace(",", "+")
    folder.mkdir(parents=True, exist_ok=True)
    conn = vssnative.connect(str(folder / "t.db"))
    try:
        index = vssnative.Index(conn, "t", "a", factory=factory)

        def build() -> None:
            index.add(np.arange(len(rows)), rows)
            conn.commit()

        built = _kept(folder, "ours", build)
        told = index.stats()
        assert told["search"] == "faiss", told
        setting = told["settings_for_recall_at_10"]["0.95"]

        def build_peer() -> None:
            peer = faiss.index_factory(DIM, factory)
            _leave_hamming_out(faiss, peer)
            if factory.endswith("PQ96"):
                peer = index.to_faiss()
            elif factory.startswith("IDMap"):
                peer.add_with_ids(rows, np.arange(len(rows)))
            else:
                peer.train(rows)
                peer.add(rows)
            faiss.write_index(peer, str(folder / "peer.faiss"))

        peer_built = _kept(folder, "peer", build_peer)
        peer = faiss.read_index(str(folder / "peer.faiss"))
        for name in ("nprobe", "efSearch"):
            if name in setting:
                faiss.ParameterSpace().set_index_parameter(peer, name, setting[name])
        if factory.endswith("RFlat"):
            peer.k_factor = setting["candidates"]
        rates: dict[str, list[float]] = {"ours": [], "theirs": []}
        found = {}
        for turn in range(TURNS + 1):
            for who, search in (
                ("ours", lambda query: index.search(query, k=K)[0]),
                ("theirs", lambda query: peer.search(query[None], K)[1][0]),
            ):
                rate, found[who] = _turn(search, queries)
                if turn > 0:
                    rates[who].append(rate)
        ours, theirs = np.median(rates["ours"]), np.median(rates["theirs"])

        def recall(who: str) -> float:
            shared = [len(set(a) & set(b)) / K for a, b in zip(truth, found[who], strict=True)]
            return float(np.mean(shared))

        benchmark.extra_info.update(setting=setting, recall=recall("ours"), peer_recall=recall("theirs"))
        print(
            f"\n{factory}: {ours:.0f} q/s at {recall('ours'):.3f} (built in {built:.1f} s, {setting}); "
            f"faiss-cpu {theirs:.0f} q/s at {recall('theirs'):.3f} (built in {peer_built:.1f} s); "
            f"{ours / theirs:.2f}"
        )
        assert recall("ours") >= 0.93
        benchmark.pedantic(lambda: index.search(queries[0], k=K), rounds=5, iterations=10)
    finally:
        conn.close()
        vssnative.configure(threads=0, memory="256MB")
