"""What `search` costs beside its parts: embedding the query, the vss0 search, the FTS5 search. Run it on a quiet machine.

python benchmarks/search_overhead.py [rows]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import vssnative
from vssnative._connection import execute
from vssnative.embedding import HashEmbedder

REPEATS = 300


def median_us(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        conn = vssnative.connect(Path(folder) / "o.db")
        conn.execute("create table posts(id integer primary key, title text, body text)")
        conn.executemany(
            "insert into posts(title, body) values (?, ?)",
            ((f"title {n}", f"word{n % 977} word{n % 31} and number{n}") for n in range(rows)),
        )
        conn.commit()
        vssnative.add_embeddings(conn, "posts", ["body"], model="hash:384", full_text=True)
        vssnative.sync(conn)
        embedder = HashEmbedder(384)
        query = "word120 number77"
        vector = embedder.embed_queries([query])[0].tobytes()
        match = " OR ".join(f'"{word}"' for word in query.split())

        def by_vector(k: int) -> object:
            sql = f"select rowid, distance from vss_posts where body_embedding match ? and k = {k}"
            return execute(conn, sql, (vector,))

        def by_words() -> object:
            sql = "select rowid, rank from vss_text_posts where vss_text_posts match ? order by rank limit 50"
            return execute(conn, sql, (match,))

        parts = {
            "embedding (hash)": median_us(lambda: embedder.embed_queries([query])),
            "vss0, k = 11": median_us(lambda: by_vector(11)),
            "vss0, k = 50": median_us(lambda: by_vector(50)),
            "FTS5, 50 rows": median_us(by_words),
        }
        whole = {
            mode: median_us(lambda mode=mode: vssnative.search(conn, "posts", query, k=10, mode=mode))  # type: ignore[misc]
            for mode in ("vector", "text", "hybrid")
        }
        for name, value in parts.items():
            print(f"{name:20} {value:8.0f} us")
        needs = {"vector": (0, 1), "text": (3,), "hybrid": (0, 2, 3)}
        for mode, value in whole.items():
            beside = value - sum(list(parts.values())[part] for part in needs[mode])
            print(f"search, {mode:12} {value:8.0f} us, {beside:6.0f} beside its parts")
        conn.close()


if __name__ == "__main__":
    main()
