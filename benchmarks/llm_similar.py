"""``llm similar`` beside ``llm vss-similar``: seconds a search, by their own Python calls, and how far they agree.

    python benchmarks/llm_similar.py [ROWS]

MiniLM vectors of Debian's package descriptions, where they are at hand; else independent normals of 384 dimensions.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llm
import numpy as np
import sqlite_utils
from llm.models import EmbeddingModel

from vssnative.integrations.llm import VssCollection

DEBIAN = Path.home() / ".cache/vssnative/datasets/debian"
QUERIES = 20


class NoModel(EmbeddingModel):
    """Vectors are given, texts are not embedded."""

    model_id = "none"

    def embed_batch(self, items: Any, **_: Any) -> Iterator[list[float]]:
        raise NotImplementedError


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    if (DEBIAN / "vectors_50k.npy").exists():
        print("MiniLM vectors of Debian's package descriptions")
        matrix = np.load(DEBIAN / "vectors_50k.npy", mmap_mode="r")[:rows]
        queries = np.load(DEBIAN / "queries.npy", mmap_mode="r")[:QUERIES]
    else:
        print("independent normals")
        random = np.random.default_rng(1)
        matrix = random.standard_normal((rows, 384), dtype=np.float32)
        queries = random.standard_normal((QUERIES, 384), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        db = sqlite_utils.Database(Path(folder) / "embeddings.db")
        ours = VssCollection("docs", db, model=NoModel())
        with db.conn:
            db.conn.executemany(
                "insert into embeddings(collection_id, id, embedding) values (?, ?, ?)",
                (
                    (ours.id, str(number), np.asarray(row, "<f4").tobytes())
                    for number, row in enumerate(matrix)
                ),
            )
        theirs = llm.Collection("docs", db, model=NoModel())
        began = time.perf_counter()
        ours.catch_up()
        print(f"{len(matrix):,} rows: the index is made in {time.perf_counter() - began:.1f} s")
        times: dict[str, list[float]] = {"similar": [], "vss-similar": []}
        shared = 0
        for query in queries.tolist():
            found = {}
            for name, collection in (("similar", theirs), ("vss-similar", ours)):
                began = time.perf_counter()
                found[name] = {entry.id for entry in collection.similar_by_vector(query, 10)}
                times[name].append(time.perf_counter() - began)
            shared += len(found["similar"] & found["vss-similar"])
        for name, seconds in times.items():
            print(f"llm {name}: median {1000 * statistics.median(seconds):.2f} ms a search")
        print(f"of llm's own 10 nearest, vss-similar finds {shared / (10 * len(queries)):.3f}")
        db.close()


if __name__ == "__main__":
    main()
