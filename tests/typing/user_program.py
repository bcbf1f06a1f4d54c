"""A small program of a user's: `mypy --strict` must accept it where only a wheel is installed (tools/check_types.sh).

The annotations say what a user may count on; it is run as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

import vssnative
import vssnative.aio
from vssnative.embedding import Chunking, Embedder, get_embedder, split_text


def vectors_of_mine(conn: vssnative.Connection) -> list[int]:
    index = vssnative.Index(conn, "mine", dim=4, metric="cosine")
    ids: npt.NDArray[np.int64] = np.arange(1, 11, dtype=np.int64)
    matrix: npt.NDArray[np.float32] = np.random.default_rng(1).random((10, 4), dtype=np.float32)
    index.add(ids, matrix)
    found, distances = index.search(matrix[0], k=3, where="rowid > ?", params=[0])
    nearest: npt.NDArray[np.float32] = distances
    removed: int = index.remove([10])
    back: npt.NDArray[Any] = index.get(ids[:2])
    recall: dict[str, Any] = index.measure_recall(k=2)
    assert len(index) == 9 and removed == 1 and back.shape == (2, 4) and recall["k"] == 2
    assert float(nearest[0]) < 1e-6
    return [int(each) for each in found]


def length_and_vowels(texts: list[str], kind: str = "document") -> list[list[float]]:
    return [[1.0 + len(text), sum(map(text.count, "aeiou"))] for text in texts]


def posts(conn: sqlite3.Connection) -> list[str]:
    conn.execute("create table posts(id integer primary key, title text, body text)")
    conn.executemany("insert into posts(title, body) values (?, ?)", [("apples", "red"), ("pears", "green")])
    conn.commit()
    model: Embedder = get_embedder("hash:16")
    vssnative.add_embeddings(conn, "posts", ["title", "body"], model=model, full_text=True)

    def told(event: vssnative.Event) -> None:
        print(event.kind)

    done: vssnative.SyncResult = vssnative.sync(conn, "posts", on_event=told, settings=vssnative.Settings())
    assert done.rows == 2 and done.remaining == 0
    results: vssnative.Results = vssnative.search(
        conn, "posts", "apples", k=2, where="id < :most", params={"most": 10}, select=["title"], mode="hybrid"
    )
    titles: list[str] = []
    for hit in results:
        result: vssnative.Result = hit
        rank: int = result.rank
        distance: float = result.distance
        key: Any = result.key
        assert rank >= 1 and distance >= 0 and key in (1, 2)
        titles.append(str(result.row["title"]))
    both: list[vssnative.Results] = vssnative.search_many(conn, "posts", ["apples", "pears"], k=1)
    assert len(both) == 2
    states: Sequence[vssnative.Status] = vssnative.status(conn)
    coverage: float | None = states[0].coverage
    assert coverage == 1.0
    report: vssnative.Report = vssnative.verify(conn, "posts", sample=1)
    assert report.ok
    letters: list[vssnative.DeadLetter] = vssnative.dead_letters(conn, "posts")
    assert letters == []
    plan = vssnative.plan_embeddings(conn, "posts", ["title"], name="again", model="hash")
    rows: int = plan.estimate.rows
    assert rows == 2
    vssnative.change_model(conn, "posts", length_and_vowels)
    vssnative.migrations.cancel_change(conn, "posts")
    vssnative.drop_embeddings(conn, "posts")
    return titles


async def asynchronously(path: Path) -> int:
    found: vssnative.Results = await vssnative.aio.search(path, "notes", "apples", k=1)
    return len(found)


def main() -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "user.db"
        conn = vssnative.connect(path)
        try:
            assert vectors_of_mine(conn)[0] == 1
            assert posts(conn)[0] == "apples"
            conn.execute("create table notes(id integer primary key, body text)")
            conn.execute("insert into notes(body) values ('apples')")
            conn.commit()
            vssnative.add_embeddings(conn, "notes", ["body"], model="hash:16")
            vssnative.sync(conn)
            assert asyncio.run(asynchronously(path)) == 1
        finally:
            conn.close()
    chunks = split_text("some words of a longer text", Chunking(4, 1))
    assert len(chunks) > 1
    matrix: npt.NDArray[np.float32] = vssnative.embed(["a", "b"], "hash:8", kind="query")
    assert matrix.shape == (2, 8)
    with contextlib.closing(sqlite3.connect(":memory:")) as empty:
        try:
            vssnative.search(empty, "nothing", "x")
        except vssnative.VssError as error:
            print(f"fine: {error}")


if __name__ == "__main__":
    main()
