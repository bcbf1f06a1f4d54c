"""Adds, searches and embeds, and compares with numpy: what must work on a CPU without AVX.

    qemu-x86_64 -cpu Nehalem .venv/bin/python -W error tools/old_cpu.py

Exit code 1 if an answer is wrong; an instruction that the CPU does not have ends the process by SIGILL.
"""

from __future__ import annotations

import contextlib
import sys

import numpy as np

import vssnative
from vssnative import _core

ROWS, DIM, K = 6000, 64, 10


def vectors() -> bool:
    """Whether exact searches are those of numpy, and approximate ones find each row itself."""
    matrix = np.random.default_rng(0).standard_normal((ROWS, DIM), dtype=np.float32)
    queries = matrix[:20]
    nearest = ((matrix[None] - queries[:, None]) ** 2).sum(axis=2).argsort(axis=1)[:, :K]
    with contextlib.closing(vssnative.connect(":memory:")) as conn:
        index = vssnative.Index(conn)
        index.add(np.arange(ROWS), matrix)
        exact, _ = index.search(queries, K, recall=1.0)
        near, _ = index.search(queries, K)
    return bool((exact == nearest).all() and (near[:, 0] == np.arange(len(queries))).all())


def factories() -> bool:
    """Whether Faiss, made for such a CPU, is taken, and finds nearly every row itself."""
    matrix = np.random.default_rng(1).standard_normal((1500, 16), dtype=np.float32)
    right = True
    for factory in ("IVF8,SQ8", "PQ8x4fs,RFlat", "HNSW8"):
        with contextlib.closing(vssnative.connect(":memory:")) as conn:
            index = vssnative.Index(conn, factory=factory)
            index.add(np.arange(len(matrix)), matrix)
            conn.execute("select vss_rebuild(?, ?)", (index.table, index.column))
            told = index.stats()
            level = "avx2" if _core.simd_level() in ("avx2", "avx512") else "baseline"
            found, _ = index.search(matrix[:20], 1)
            right &= told["search"] == "faiss" and told["instructions"] == level
            right &= float((found[:, 0] == np.arange(20)).mean()) >= 0.9
    return right


def texts() -> bool:
    """Whether the story from a table of texts to a search finds the right row."""
    with contextlib.closing(vssnative.connect(":memory:")) as conn:
        conn.execute("create table posts(id integer primary key, title text)")
        conn.execute("insert into posts(title) values ('baking bread'), ('nearest neighbours'), ('tomatoes')")
        conn.commit()
        vssnative.add_embeddings(conn, "posts", columns=["title"])
        vssnative.sync(conn)
        found = vssnative.search(conn, "posts", "vector search", k=1)
    return [hit.row["title"] for hit in found] == ["nearest neighbours"]


def main() -> int:
    right = {"vectors": vectors(), "factories": factories(), "texts": texts()}
    sys.stdout.write(f"kernels: {_core.simd_level()}; right: {right}\n")
    return 0 if all(right.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
