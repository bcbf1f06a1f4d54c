"""SQL statements and time of one `search`, by kind. Run it on a quiet machine.

python benchmarks/search_statements.py
"""

from __future__ import annotations

import statistics
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import vssnative

ROWS, DIM, REPEATS = 5_000, 64, 100


class NoTime:
    """An embedder that takes hardly any time: equal texts have equal vectors, others random ones."""

    name, dim, metric, max_tokens, digest = "no-time", DIM, "cosine", None, "no-time:1"

    def embed_documents(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        rows = [np.random.default_rng(zlib.crc32(text.encode())).normal(size=DIM) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(texts), DIM)

    embed_queries = embed_documents

    def count_tokens(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([len(text) for text in texts], dtype=np.int64)

    def config(self) -> dict[str, Any]:
        return {"kind": "no-time"}


def main() -> None:
    embedder = NoTime()
    vector = embedder.embed_documents(["hello word5"])[0]
    with tempfile.TemporaryDirectory() as folder:
        conn = vssnative.connect(Path(folder) / "s.db")
        for table, columns, words in (
            ("notes", ["title"], False),
            ("posts", ["title", "summary"], False),
            ("both", ["title"], True),
        ):
            conn.execute(
                f"create table {table}(id integer primary key, title text, summary text, company text)"
            )
            conn.executemany(
                f"insert into {table}(title, summary, company) values (?, ?, ?)",
                [
                    (f"title word{n % 97} number {n}", f"summary word{n % 89} of {n}", f"c{n % 10}")
                    for n in range(ROWS)
                ],
            )
            conn.commit()
            vssnative.add_embeddings(conn, table, columns=columns, model=embedder, full_text=words)
        vssnative.sync(conn, embedder=embedder)
        tenth: dict[str, Any] = {"where": "company = ?", "params": ["c3"]}
        cases: tuple[tuple[str, str, Any, dict[str, Any]], ...] = (
            ("one column, a vector", "notes", vector, {}),
            ("one column, a text", "notes", "hello word5", {}),
            ("one column, a tenth", "notes", vector, tenth),
            ("two columns, a vector", "posts", vector, {}),
            ("two columns, a text", "posts", "hello word5", {}),
            ("two columns, a tenth", "posts", vector, tenth),
            ("two columns, like", "posts", vector, {"where": "summary like '%1%'"}),
            ("hybrid, a text", "both", "hello word5", {}),
            ("hybrid, a tenth", "both", "hello word5", tenth),
            ("two columns, similar_to", "posts", None, {"similar_to": 7}),
        )
        for name, table, query, options in cases:
            seen: list[str] = []
            times = []
            for turn in range(REPEATS + 5):
                conn.set_trace_callback(seen.append if turn == 4 else None)
                began = time.perf_counter()
                vssnative.search(conn, table, query, embedder=embedder, **options)
                if turn >= 5:
                    times.append(time.perf_counter() - began)
            count = sum(not sql.startswith("--") for sql in seen)
            print(f"{name:24} {count:3} statements {statistics.median(times) * 1e3:6.2f} ms")
        conn.close()


if __name__ == "__main__":
    main()
