"""Cells: approximate search of larger tables, kept by every write, exact where asked.

Small tables get cells early here: `t_config` says from how many rows on, and how many rows a cell has.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vssnative

DIM = 16
Opener = Callable[..., sqlite3.Connection]


def clustered(random: np.random.Generator, n: int, dim: int = DIM, clusters: int = 20) -> np.ndarray:
    """Vectors with neighbours, as embeddings have them; each call around the same centres."""
    centres = np.random.default_rng(5).standard_normal((clusters, dim))
    rows = centres[random.integers(0, clusters, n)] + 0.4 * random.standard_normal((n, dim))
    return np.ascontiguousarray(rows, np.float32)


def celled(
    open_db: Opener, columns: str = f"a({DIM}), g integer", rows: int = 60, cell: int = 8
) -> sqlite3.Connection:
    first = open_db(isolation_level=None)
    first.execute(f"create virtual table t using vss0({columns})")
    first.execute("update t_config set value = ? where key like 'cells_from%'", (rows,))
    first.execute("update t_config set value = ? where key like 'cell_rows%'", (cell,))
    first.close()
    return open_db(isolation_level=None)


def nearest(model: dict[int, np.ndarray], query: np.ndarray, k: int) -> list[int]:
    if not model:
        return []
    ids = np.array(sorted(model))
    matrix = np.stack([model[int(i)] for i in ids]).astype(np.float64)
    distances = ((matrix - query.astype(np.float64)) ** 2).sum(axis=1).astype(np.float32)
    return [int(ids[i]) for i in np.lexsort((ids, distances))[:k]]


def search(db: sqlite3.Connection, query: np.ndarray, k: int, recall: float, more: str = "") -> list[int]:
    sql = f"select rowid from t where a match ? and k = ? and recall = ? {more}"
    return [row[0] for row in db.execute(sql, (query.tobytes(), k, recall))]


def stats(db: sqlite3.Connection) -> dict[str, object]:
    found = json.loads(db.execute("select vss_stats('t', 'a')").fetchone()[0])
    assert isinstance(found, dict)
    return found


def check(db: sqlite3.Connection) -> None:
    assert db.execute("select vss_check('t')").fetchone()[0] == "ok"


def test_a_table_becomes_celled_by_itself_and_reaches_its_recall(
    db: sqlite3.Connection, random: np.random.Generator
) -> None:
    n, dim = 6000, 32
    matrix = clustered(random, n, dim, 100)
    index = vssnative.Index(db, dim=dim)
    index.add(np.arange(3000), matrix[:3000])
    assert (
        json.loads(db.execute("select vss_stats('vss_vectors', 'embedding')").fetchone()[0])["search"]
        == "exact"
    )
    index.add(np.arange(3000, n), matrix[3000:])
    db.commit()
    found = json.loads(db.execute("select vss_stats('vss_vectors', 'embedding')").fetchone()[0])
    assert found["search"] == "cells" and found["cells"] > 30 and found["rows"] == n
    queries = clustered(random, 100, dim, 100)
    exact, distances = index.search(queries, 10, recall=1.0)
    wide = matrix.astype(np.float64)
    for i, query in enumerate(queries.astype(np.float64)):
        truth = ((wide - query) ** 2).sum(axis=1).astype(np.float32)
        assert exact[i].tolist() == np.lexsort((np.arange(n), truth))[:10].tolist()
    for recall in (0.9, 0.95, 0.99):
        _, near = index.search(queries, 10, recall=recall)
        assert (near <= distances[:, -1:]).mean() >= recall - 0.03


def test_random_writes_savepoints_and_rollbacks(open_db: Opener, random: np.random.Generator) -> None:
    db = celled(open_db)
    other = open_db(isolation_level=None)
    committed: dict[int, np.ndarray] = {}
    model: dict[int, np.ndarray] = {}
    marks: list[dict[int, np.ndarray]] = []
    seen_celled = False
    for turn in range(2500):
        action = random.integers(0, 100)
        vector = clustered(random, 1)[0]
        rowid = int(random.integers(0, 400))
        shrinking = turn % 1000 > 700
        if action < (20 if shrinking else 55):
            db.execute(
                "insert or replace into t(rowid, a, g) values(?, ?, ?)", (rowid, vector.tobytes(), rowid % 3)
            )
            model[rowid] = vector
        elif action < 65:
            db.execute("delete from t where rowid = ?", (rowid,))
            model.pop(rowid, None)
        elif action < 72 and rowid in model:
            db.execute("update t set a = ? where rowid = ?", (vector.tobytes(), rowid))
            model[rowid] = vector
        elif action < 80:
            if not db.in_transaction:
                db.execute("begin")
                marks = []
            elif len(marks) < 3:
                db.execute(f"savepoint s{len(marks)}")
                marks.append(dict(model))
        elif action < 84 and marks:
            model = dict(marks[-1])
            db.execute(f"rollback to s{len(marks) - 1}")
        elif action < 86 and db.in_transaction:
            db.execute("rollback")
            model, marks = dict(committed), []
        elif action < 92 and db.in_transaction:
            db.execute("commit")
            marks = []
        if not db.in_transaction:
            committed = dict(model)
        if turn % 10 == 0:
            query = clustered(random, 1)[0]
            assert search(db, query, 7, 1.0) == nearest(model, query, 7)
            approximate = search(db, query, 7, 0.9)
            assert len(approximate) == len(set(approximate)) == min(7, len(model))
            assert set(approximate) <= set(model)
            assert search(other, query, 7, 1.0) == nearest(committed, query, 7)
        if turn % 100 == 0 and not db.in_transaction:
            check(db)
            seen_celled |= stats(db)["search"] == "cells"
    if db.in_transaction:
        db.execute("commit")
    check(db)
    assert seen_celled
    assert {row[0] for row in db.execute("select rowid from t")} == set(model)


@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_so_few_rows_are_left_that_there_is_little_to_learn(
    open_db: Opener, random: np.random.Generator, left: int
) -> None:
    db = celled(open_db, rows=4, cell=4)

    def add(first: int) -> None:
        db.execute("begin")
        db.executemany(
            "insert into t(rowid, a) values(?, ?)",
            [(first + i, vector.tobytes()) for i, vector in enumerate(clustered(random, 60))],
        )
        db.execute("commit")

    add(0)
    for _ in range(2):
        rowids = [rowid for (rowid,) in db.execute("select rowid from t order by rowid")]
        # Learning is due where cells became fewer.
        for rowid in rowids[left:]:
            db.execute("delete from t where rowid = ?", (rowid,))
        assert left == 0 or stats(db)["search"] == "cells"
        check(db)
        db.execute("select vss_relearn('t', 'a')")
        assert len(search(db, clustered(random, 1)[0], 5, 0.9)) == left
        add(1000)
        assert len(search(db, clustered(random, 1)[0], 5, 0.9)) == 5
        check(db)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.01, 0.002])
def test_filters_hold_k(open_db: Opener, random: np.random.Generator, share: float) -> None:
    db = celled(open_db, rows=200, cell=16)
    n = 3000
    matrix = clustered(random, n)
    groups = random.random(n)
    db.execute("begin")
    db.executemany(
        "insert into t(rowid, a, g) values(?, ?, ?)",
        ((i, matrix[i].tobytes(), int(groups[i] * 1000)) for i in range(n)),
    )
    db.execute("commit")
    limit = int(share * 1000)
    matching = {i: matrix[i] for i in range(n) if int(groups[i] * 1000) < limit}
    hits = wanted = 0
    for query in clustered(random, 20):
        truth = nearest(matching, query, 10)
        found = search(db, query, 10, 0.95, f"and g < {limit}")
        assert len(found) == len(truth) and set(found) <= set(matching)
        assert search(db, query, 10, 1.0, f"and g < {limit}") == truth
        hits += len(set(found) & set(truth))
        wanted += len(truth)
    assert hits >= 0.9 * wanted


def test_reading_on_without_k_gives_every_row_once(open_db: Opener, random: np.random.Generator) -> None:
    db = celled(open_db)
    matrix = clustered(random, 500)
    db.executemany(
        "insert into t(rowid, a) values(?, ?)", ((i, row.tobytes()) for i, row in enumerate(matrix))
    )
    assert stats(db)["search"] == "cells"
    query = matrix[3].tobytes()
    rows = [row[0] for row in db.execute("select rowid from t where a match ?", (query,))]
    assert sorted(rows) == list(range(500))
    for recall in (0.8, 0.99, 1.0):
        sql = "select rowid from t where a match ? and k = ? and recall = ?"
        rows = [row[0] for row in db.execute(sql, (query, 2**63 - 1, recall))]
        assert sorted(rows) == list(range(500))


def test_deleting_gives_cells_and_codes_back(open_db: Opener, random: np.random.Generator) -> None:
    db = celled(open_db)
    matrix = clustered(random, 1000)
    db.executemany(
        "insert into t(rowid, a) values(?, ?)", ((i, row.tobytes()) for i, row in enumerate(matrix))
    )
    many = stats(db)["cells"]
    chunks = db.execute("select count(*) from t_codes0").fetchone()[0]
    db.execute("delete from t where rowid % 10 > 0")
    few = stats(db)["cells"]
    assert isinstance(many, int) and isinstance(few, int) and few < many / 3
    assert db.execute("select count(*) from t_codes0").fetchone()[0] < chunks / 3
    check(db)
    db.execute("delete from t")
    check(db)
    assert search(db, matrix[0], 5, 0.9) == []


@pytest.mark.parametrize("metric", ["l2", "inner_product"])
@pytest.mark.parametrize("length", [1e16, 3e37])
def test_vectors_whose_squares_overflow(
    open_db: Opener, random: np.random.Generator, metric: str, length: float
) -> None:
    """Estimates of such say nothing: they are measured, and ranked beyond float32 too."""
    db = celled(open_db, f"a({DIM}) metric={metric}")
    matrix = clustered(random, 300)
    matrix[::3] *= np.float32(length)
    db.executemany(
        "insert into t(rowid, a) values(?, ?)", ((i, row.tobytes()) for i, row in enumerate(matrix))
    )
    check(db)
    assert stats(db)["search"] == "cells"
    exact = matrix.astype(np.float64)
    for query in (matrix[3], matrix[4], np.zeros(DIM, np.float32)):
        at = query.astype(np.float64)
        distances = -(exact @ at) if metric == "inner_product" else ((exact - at) ** 2).sum(axis=1)
        with np.errstate(over="ignore"):
            rounded = distances.astype(np.float32)
        # What float32 cannot tell apart, being too large or too small for it, double precision does.
        tiny = np.finfo(np.float32).tiny
        beyond = np.where(np.isfinite(rounded) & (np.abs(rounded) >= tiny), 0, distances)
        expected = np.lexsort((np.arange(300), beyond, rounded))[:12].tolist()
        assert search(db, query, 12, 1.0) == expected
        assert len(search(db, query, 12, 0.9)) == 12
    db.execute("select vss_optimize('t', 'a', 0)")
    db.execute("delete from t where rowid % 2 = 0")
    check(db)


def test_optimize_step_by_step_keeps_every_row(open_db: Opener, random: np.random.Generator) -> None:
    db = celled(open_db)
    matrix = clustered(random, 600)
    db.executemany(
        "insert into t(rowid, a) values(?, ?)", ((i, row.tobytes()) for i, row in enumerate(matrix))
    )
    start: int | None = 0
    calls = 0
    while start is not None:
        answer = json.loads(db.execute("select vss_optimize('t', 'a', ?)", (start,)).fetchone()[0])
        assert answer["next"] is None or answer["next"] > start
        start = answer["next"]
        calls += 1
    assert calls > 2
    check(db)
    query = clustered(random, 1)[0]
    assert search(db, query, 9, 1.0) == nearest(dict(enumerate(matrix)), query, 9)


@pytest.mark.parametrize("function", ["vss_optimize('t', 'a', 0)", "vss_repair('t')"])
def test_what_writes_waits_for_another_writer(
    open_db: Opener, random: np.random.Generator, function: str
) -> None:
    """A function that reads before it writes would be told "database is locked" at once, whatever the timeout."""
    db = celled(open_db)
    db.executemany(
        "insert into t(rowid, a) values(?, ?)", enumerate(row.tobytes() for row in clustered(random, 300))
    )
    other = open_db(isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")
    other.execute("delete from t where rowid = 7")
    if "repair" in function:
        other.execute("delete from t_codes0 where chunk = 0")  # something to mend
    started = time.monotonic()
    later = threading.Timer(0.5, lambda: other.execute("commit"))
    later.start()
    db.execute(f"select {function}").fetchall()
    later.join()
    assert time.monotonic() - started >= 0.4
    assert db.execute("select count(*) from t").fetchone() == (299,)


def test_explain_tells_what_was_looked_at(open_db: Opener, random: np.random.Generator) -> None:
    db = celled(open_db)
    matrix = clustered(random, 400)
    db.executemany(
        "insert into t(rowid, a) values(?, ?)", ((i, row.tobytes()) for i, row in enumerate(matrix))
    )
    sql = "select vss_explain('t', 'a', ?, 5, ?)"
    seen = json.loads(db.execute(sql, (matrix[0].tobytes(), 0.9)).fetchone()[0])
    assert 0 <= seen["recall"] <= 1
    # Which way is cheaper depends on the machine.
    assert (seen["cells"] >= 1 and seen["codes_scanned"] > 0) or seen["plan"].startswith("exact")
    exact = json.loads(db.execute(sql, (matrix[0].tobytes(), 1.0)).fetchone()[0])
    assert exact["recall"] == 1 and exact["cells"] == 0
    with pytest.raises(sqlite3.OperationalError, match="no vector column"):
        db.execute("select vss_explain('t', 'nope', ?, 5, 0.9)", (matrix[0].tobytes(),))
    with pytest.raises(sqlite3.OperationalError, match="expected k of 1 or more"):
        db.execute(sql, (matrix[0].tobytes(), 1.5))


def test_index_tells_and_optimizes(open_db: Opener, random: np.random.Generator) -> None:
    db = celled(open_db)
    index = vssnative.Index(db, table="t", column="a")
    index.add(np.arange(500), clustered(random, 500))
    assert index.stats()["search"] == "cells" and index.stats()["rows"] == 500
    query = clustered(random, 1)[0]
    assert index.explain(query, 5, recall=1.0)["recall"] == 1
    with pytest.raises(vssnative.QueryError, match="one query"):
        index.explain(np.stack([query, query]), 5)
    before, _ = index.search(query, 10, recall=1.0)
    steps: list[tuple[int, int]] = []
    index.optimize(progress=lambda cell, cells: steps.append((cell, cells)))
    assert steps and steps[-1][0] == steps[-1][1]
    assert index.search(query, 10, recall=1.0)[0].tolist() == before.tolist()
    check(db)
    assert vssnative.Index(db, table="none").stats() == {"search": "exact", "rows": 0}


def test_a_row_in_a_commit_of_its_own_writes_few_pages(tmp_path: Path, random: np.random.Generator) -> None:
    """At most two and a half times what a plain table writes that gets the same bytes, cells kept."""
    n, dim, commits = 4500, 384, 200
    matrix = random.standard_normal((n + commits, dim), dtype=np.float32)
    logged = {}
    for kind in ("cells", "plain"):
        path = tmp_path / f"{kind}.db"
        conn = vssnative.connect(path)
        conn.isolation_level = None
        if kind == "cells":
            vssnative.Index(conn, "t", "a").add(np.arange(n), matrix[:n])
        else:
            conn.execute("create table t(rowid integer primary key, a blob)")
            conn.execute("begin")
            conn.executemany("insert into t values(?, ?)", ((i, matrix[i].tobytes()) for i in range(n)))
            conn.execute("commit")
        conn.execute("pragma wal_autocheckpoint = 0").fetchall()
        conn.execute("pragma wal_checkpoint(truncate)").fetchall()
        for i in range(n, n + commits):
            conn.execute("insert into t(rowid, a) values(?, ?)", (i, matrix[i].tobytes()))
        logged[kind] = os.path.getsize(f"{path}-wal")
        if kind == "cells":
            found = stats(conn)
            assert found["search"] == "cells" and found["batched"] == commits - found["tail"]  # type: ignore[operator]
            check(conn)
        conn.close()
    assert logged["cells"] < 2.5 * logged["plain"]


def test_readers_see_what_waits_in_batches(open_db: Opener, random: np.random.Generator) -> None:
    """A reader that read the directory before, one that did not, and after each batch went to its cells."""
    writer = celled(open_db)
    old = open_db(isolation_level=None)
    rows = dict(enumerate(clustered(random, 700)))
    seen: set[int] = set()
    for i, row in rows.items():
        writer.execute("insert into t(rowid, a) values(?, ?)", (i, row.tobytes()))
        seen.add(i)
        if i % 9 == 0 and i > 100:
            gone = int(random.choice(sorted(seen)))
            writer.execute("delete from t where rowid = ?", (gone,))
            seen.remove(gone)
        if i % 40 == 39:
            query = clustered(random, 1)[0]
            expected = nearest({k: rows[k] for k in seen}, query, 12)
            new = open_db(isolation_level=None)
            for reader in (old, new, writer):
                assert search(reader, query, 12, 1.0) == expected
                assert len(set(search(reader, query, 12, 0.99)) & set(expected)) >= 9
            assert stats(old).get("batched") == stats(writer).get("batched")
            new.close()
    found = stats(writer)
    assert isinstance(found["batched"], int) and 0 < found["batched"] < 40
    check(writer)


@pytest.mark.parametrize("table", ["t_segments0", "t_cells0", "t_codes0"])
@pytest.mark.parametrize("what", ["flip", "truncate", "delete"])
def test_damaged_cells_are_noticed_and_made_anew(
    open_db: Opener, random: np.random.Generator, table: str, what: str
) -> None:
    db = celled(open_db)
    matrix = clustered(random, 400)
    db.executemany(
        "insert into t(rowid, a) values(?, ?)", ((i, row.tobytes()) for i, row in enumerate(matrix))
    )
    db.close()
    db = open_db(isolation_level=None)
    vssnative.configure(memory=0)  # nothing of before may answer
    try:
        key = db.execute(f"select max(rowid) from {table}").fetchone()[0]
        data = bytearray(db.execute(f"select data from {table} where rowid = ?", (key,)).fetchone()[0])
        if what == "flip":
            data[len(data) // 2] ^= 0x10
            db.execute(f"update {table} set data = ? where rowid = ?", (bytes(data), key))
        elif what == "truncate":
            db.execute(f"update {table} set data = ? where rowid = ?", (bytes(data[:-5]), key))
        else:
            db.execute(f"delete from {table} where rowid = ?", (key,))
        db.close()
        db = open_db(isolation_level=None)
        assert db.execute("select vss_check('t')").fetchone()[0] != "ok"
        said = db.execute("select vss_repair('t')").fetchone()[0]
        assert "clustered again" in said
        check(db)
        query = clustered(random, 1)[0]
        assert search(db, query, 9, 1.0) == nearest(dict(enumerate(matrix)), query, 9)
    finally:
        vssnative.configure(memory="256MB")


WRITER = """
import sys, numpy as np, vssnative
conn = vssnative.connect(sys.argv[1], isolation_level=None)
random = np.random.default_rng(int(sys.argv[2]))
print("ready", flush=True)
while True:
    conn.execute("begin")
    for _ in range(40):
        rowid = int(random.integers(0, 600))
        if random.random() < 0.7:
            conn.execute("insert or replace into t(rowid, a) values(?, ?)",
                         (rowid, random.standard_normal(16, dtype=np.float32).tobytes()))
        else:
            conn.execute("delete from t where rowid = ?", (rowid,))
    conn.execute("commit")
"""


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_killed_writers_leave_sound_cells(open_db: Opener, tmp_path: Path, mode: str) -> None:
    db = celled(open_db)
    db.execute(f"pragma journal_mode = {mode}")
    db.close()
    for seed in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "test.db"), str(seed)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(0.2 + 0.07 * seed)
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
        db = open_db(isolation_level=None)
        check(db)
        assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
        rows = {int(i): np.frombuffer(a, np.float32) for i, a in db.execute("select rowid, a from t")}
        query = np.random.default_rng(seed).standard_normal(16, dtype=np.float32)
        assert search(db, query, 10, 1.0) == nearest(rows, query, 10)
        db.close()


def test_codes_of_another_column_are_noticed(db: sqlite3.Connection) -> None:
    random = np.random.default_rng(8)
    db.execute("create virtual table t using vss0(a(64), b(64))")
    for column in ("a", "b"):
        vssnative.Index(db, "t", column).add(
            np.arange(5000), random.standard_normal((5000, 64), dtype=np.float32)
        )
    db.commit()
    query = random.standard_normal(64, dtype=np.float32)
    before = vssnative.Index(db, "t", "b").search(query, k=10)
    for table in ("codes", "cells"):
        db.execute("begin")
        db.execute(
            f"update t_{table}1 set data = other.data from t_{table}0 as other where other.rowid = t_{table}1.rowid"
        )
        db.commit()
        with vssnative.connect(db.execute("pragma database_list").fetchone()[2]) as fresh:
            words = [row[0] for row in fresh.execute("select vss_check('t')")]
            assert words != ["ok"] and any("checksum" in sentence for sentence in words), words
            fresh.execute("select vss_repair('t')").fetchall()
            assert fresh.execute("select vss_check('t')").fetchall() == [("ok",)]
            fresh.commit()
    after = vssnative.Index(db, "t", "b").search(query, k=10, recall=1.0)
    assert len(after[0]) == len(before[0]) == 10


def test_a_new_rowid_alone_is_seen_by_the_next_search(open_db: Opener) -> None:
    db = celled(open_db)
    other = open_db(isolation_level=None)
    matrix = clustered(np.random.default_rng(3), 200)
    db.executemany(
        "insert into t(rowid, a) values(?, ?)", [(i, row.tobytes()) for i, row in enumerate(matrix)]
    )
    for recall in (0.9, 1.0):
        sql = f"select rowid from t where a match ? and k = 1 and recall = {recall}"
        for moved, wanted in ((1000, 1000), (7, 7)):
            for conn in (db, other):  # both remember what the table held
                assert conn.execute(sql, (matrix[7].tobytes(),)).fetchone() is not None
            db.execute("update t set rowid = ? where rowid in (7, 1000)", (moved,))
            for conn in (db, other):
                assert conn.execute(sql, (matrix[7].tobytes(),)).fetchone() == (wanted,)
    db.close()
    other.close()


def test_cells_without_rows_among_those_that_are_fetched_ahead(open_db: Opener) -> None:
    """The scan fetched what comes next from an empty cell's address, which is none; dev builds assert it."""
    for trial in range(3):
        db = open_db(f"{trial}.db", isolation_level=None)
        db.execute("create virtual table t using vss0(a(4))")
        db.execute("update t_config set value = 10 where key like 'cells_from%'")
        db.execute("update t_config set value = 4 where key like 'cell_rows%'")
        db.execute("alter table t rename to u")
        db.execute("alter table u rename to t")
        db.execute(
            "with recursive c(i) as (select 1 union all select i + 1 from c where i < 60) "
            "insert into t(rowid, a) select i, json_array(i % 5, i % 7, 1, i) from c"
        )
        for _ in range(3):
            db.execute("insert into t(a) select a from t where rowid < 70")
        db.execute("delete from t where rowid % 3 = 0")
        for q in range(5):
            query = np.array([q, q, 1, 9 * q], np.float32)
            assert len(search(db, query, 5, 0.9)) == 5
        check(db)


def test_the_memory_of_a_writer_does_not_grow_with_its_commits(tmp_path: Path) -> None:
    """It kept what each commit had changed, until its budget was full of what nobody could ask for any more."""
    random = np.random.default_rng(8)
    conn = vssnative.connect(tmp_path / "many.db")
    index = vssnative.Index(conn, "t", "a", dim=64)
    index.add(np.arange(5_000), random.standard_normal((5_000, 64), dtype=np.float32))
    conn.commit()
    used = []
    for _ in range(45):
        ids = random.choice(5_000, 200, replace=False)
        index.add(ids, random.standard_normal((200, 64), dtype=np.float32), replace=True)
        conn.commit()
        index.search(random.standard_normal(64, dtype=np.float32))
        used.append(index.stats()["cache_bytes"])
    assert used[-1] - used[14] < 5_000_000  # 58 MB before
    conn.close()
