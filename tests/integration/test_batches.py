"""Batches of queries on several threads: each query gets what it gets alone, whatever is in memory."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import vssnative

DIM = 384
ROWS = 6000
Opener = Callable[..., sqlite3.Connection]


def clustered(seed: int, n: int) -> np.ndarray:
    centres = np.random.default_rng(5).standard_normal((60, DIM))
    random = np.random.default_rng(seed)
    rows = centres[random.integers(0, 60, n)] + 0.8 * random.standard_normal((n, DIM))
    return np.ascontiguousarray(rows, np.float32)


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    vssnative.configure(memory="256MB")
    yield
    vssnative.configure(memory="256MB", threads=0)


@pytest.fixture
def index(open_db: Opener) -> vssnative.Index:
    conn = open_db(isolation_level=None)
    conn.execute(f"create virtual table t using vss0(a({DIM}), g integer)")
    index = vssnative.Index(conn, "t", "a")
    index.add(np.arange(ROWS), clustered(1, ROWS))
    conn.execute("update t set g = rowid % 10")
    return index


def alone(index: vssnative.Index, queries: np.ndarray, **how: object) -> list[list[int]]:
    return [index.search(query, k=10, **how)[0].tolist() for query in queries]  # type: ignore[arg-type]


@pytest.mark.parametrize("memory", ["0MB", "1MB", "5MB", "256MB"])
def test_any_number_of_threads_finds_what_one_query_finds(index: vssnative.Index, memory: str) -> None:
    queries = clustered(2, 70)
    expected = alone(index, queries)
    filtered = alone(index, queries, where="g < 5")
    few = alone(index, queries, where="rowid between 100 and 130")
    for threads in (1, 2, 3, 8):
        vssnative.configure(threads=threads, memory=0)
        vssnative.configure(memory=memory)
        for _ in range(3):  # what was read is in memory the next time
            assert index.search(queries, k=10)[0].tolist() == expected
        assert index.search(queries, k=10, where="g < 5")[0].tolist() == filtered
        assert index.search(queries, k=10, where="rowid between 100 and 130")[0].tolist() == few
        assert index.search(queries[:3], k=10)[0].tolist() == expected[:3]


def test_more_rows_than_cells_bring(index: vssnative.Index) -> None:
    vssnative.configure(threads=2)
    ids, distances = index.search(clustered(3, 12), k=ROWS + 10, recall=0.8)
    assert (ids[:, :ROWS] >= 0).all() and (ids[:, ROWS:] == -1).all()
    assert (np.diff(distances[:, :ROWS]) >= 0).all()


def test_a_transaction_sees_its_own_rows(index: vssnative.Index) -> None:
    vssnative.configure(threads=2)
    queries = clustered(4, 40)
    index.search(queries, k=3)
    index.conn.execute("begin")
    index.add(np.arange(ROWS, ROWS + 40), queries)
    assert index.search(queries, k=1)[0][:, 0].tolist() == list(range(ROWS, ROWS + 40))
    index.conn.execute("rollback")
    assert (index.search(queries, k=1)[0] < ROWS).all()
    index.add(np.arange(ROWS, ROWS + 40), queries)
    assert index.search(queries, k=1)[0][:, 0].tolist() == list(range(ROWS, ROWS + 40))
    index.conn.execute("delete from t where rowid >= ?", (ROWS,))
    assert (index.search(queries, k=1)[0] < ROWS).all()


def test_damage_is_told_from_any_thread(index: vssnative.Index) -> None:
    queries = clustered(5, 60)
    [chunk, data] = index.conn.execute(
        "select chunk, data from t_codes0 where chunk >= ? order by chunk limit 1 offset 3", (1 << 55,)
    ).fetchone()
    index.conn.execute("update t_codes0 set data = ? where chunk = ?", (data[:-7] + b"wrong!!", chunk))
    vssnative.configure(threads=2, memory=0)
    vssnative.configure(memory="256MB")
    with pytest.raises(vssnative.DamagedError, match="does not match its bytes"):
        for seed in range(20):
            index.search(clustered(seed, 200), k=100)
    index.conn.execute("update t_codes0 set data = ? where chunk = ?", (data, chunk))
    assert index.search(queries, k=10)[0].tolist() == alone(index, queries)


def test_threads_that_look_at_every_row_ask_no_tables(open_db: Opener) -> None:
    conn = open_db(isolation_level=None)
    conn.execute(f"create virtual table t using vss0(a({DIM}))")
    conn.execute("insert into t_config values('slot_codes0', 1)")  # so that every row is looked at by codes
    index = vssnative.Index(conn, "t", "a")
    rows = np.random.default_rng(1).standard_normal((ROWS, DIM)).astype(np.float32)
    index.add(np.arange(ROWS), rows)
    queries = np.random.default_rng(2).standard_normal((40, DIM)).astype(np.float32)
    index.search(queries[0], k=200, recall=0.999)  # learns
    for seed in range(6):
        vssnative.configure(threads=2, memory=0)
        vssnative.configure(memory="256MB")
        # Cells are in memory, what stands for rows is not.
        index.search(rows[seed], k=1, recall=0.5)
        ids, _ = index.search(queries, k=200, recall=0.999)
        nearest = np.argsort(((rows - queries[:, None]) ** 2).sum(axis=2), axis=1)[:, :200]
        found = [len(set(a) & set(b)) / 200 for a, b in zip(ids.tolist(), nearest.tolist(), strict=True)]
        assert min(found) > 0.98


def test_batches_can_be_interrupted(index: vssnative.Index) -> None:
    vssnative.configure(threads=2)
    queries = clustered(6, 20000)
    timer = threading.Timer(0.05, index.conn.interrupt)
    timer.start()
    with pytest.raises(sqlite3.OperationalError, match="interrupt"):
        for _ in range(50):
            index.search(queries, k=100, recall=0.99)
    timer.join()
    assert index.search(queries[:20], k=5)[0].tolist() == [
        index.search(query, k=5)[0].tolist() for query in queries[:20]
    ]


def test_connections_in_threads_of_their_own(index: vssnative.Index, open_db: Opener) -> None:
    vssnative.configure(threads=2)
    queries = clustered(7, 80)
    expected = alone(index, queries)
    connections = [open_db(isolation_level=None, check_same_thread=False) for _ in range(3)]
    wrong: list[int] = []

    def work(number: int) -> None:
        own = vssnative.Index(connections[number], "t", "a")
        for _ in range(5):
            if own.search(queries, k=10)[0].tolist() != expected:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_rows_that_memory_has_no_room_for_are_read_by_every_thread(
    index: vssnative.Index, journal: str
) -> None:
    index.conn.execute(f"pragma journal_mode = {journal}")
    queries = clustered(2, 70)
    expected = alone(index, queries)
    for memory in ("1MB", "5MB"):
        vssnative.configure(threads=3, memory=memory)
        for _ in range(2):
            assert index.search(queries, k=10)[0].tolist() == expected
    # Nobody else holds the file afterwards.
    index.conn.execute("pragma journal_mode = delete")
    index.conn.execute("pragma locking_mode = exclusive")
    index.conn.execute("begin exclusive")
    assert index.search(queries, k=10)[0].tolist() == expected
    index.conn.execute("commit")


def test_every_thread_sees_what_the_statement_sees(index: vssnative.Index, open_db: Opener) -> None:
    """What another connection commits meanwhile, and what this one has not committed."""
    vssnative.configure(threads=3, memory="1MB")
    queries = clustered(2, 60)
    before = alone(index, queries)
    index.conn.execute("begin")
    assert index.search(queries, k=10)[0].tolist() == before
    other = vssnative.Index(open_db(isolation_level=None), "t", "a")
    other.add(np.arange(ROWS, ROWS + 60), queries)
    other.remove(np.array(before)[:, 3])
    after = alone(other, queries)
    assert after != before
    for _ in range(2):
        assert index.search(queries, k=10)[0].tolist() == before
        assert other.search(queries, k=10)[0].tolist() == after
    index.conn.execute("commit")
    assert index.search(queries, k=10)[0].tolist() == after
    index.conn.execute("begin")
    index.remove(np.arange(ROWS, ROWS + 60))
    assert not np.isin(index.search(queries, k=10)[0], np.arange(ROWS, ROWS + 60)).any()
    index.conn.execute("rollback")
    assert index.search(queries, k=10)[0].tolist() == after


def test_tables_in_memory_and_in_attached_files(open_db: Opener, tmp_path: Path) -> None:
    conn = open_db(":memory:", isolation_level=None)
    conn.execute("attach ? as more", (str(tmp_path / "more.db"),))
    rows, queries = clustered(1, ROWS), clustered(2, 60)
    vssnative.configure(threads=3, memory="1MB")
    found = []
    for schema in ("main", "temp", "more"):
        conn.execute(f"create virtual table {schema}.t using vss0(a({DIM}))")
        index = vssnative.Index(conn, "t", "a", schema=schema)
        index.add(np.arange(ROWS), rows)
        expected = alone(index, queries)
        assert index.search(queries, k=10)[0].tolist() == expected
        found.append(expected)
    overlap = [len(set(a) & set(b)) for a, b in zip(*found[::2], strict=True)]
    assert np.mean(overlap) > 9
