"""Factory strings of Faiss: trained, searched, changed, rolled back, reopened, damaged; exchanged with faiss-cpu."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vssnative
from tests.conftest import brute_force, needs_faiss, vectors
from vssnative import ConfigurationError, Index, InvalidVectorError, QueryError, _core

pytestmark = needs_faiss

Open = Callable[..., sqlite3.Connection]

DIM = 16
ROWS = 600
# Each trains on 600 rows.
FACTORIES = [
    "Flat",
    "IVF16,Flat",
    "HNSW8",
    "PQ4x4",
    "SQ8",
    "SQ4",
    "SQfp16",
    "IVF8,SQ8",
    "IVF8,PQ4x4",
    "HNSW8_SQ8",
    "OPQ4_8,IVF8,PQ4x4",
    "PCA8,Flat",
    "PCAR8,SQ8",
    "PQ8x4fs,RFlat",
    "IVF8,PQ8x4fs,RFlat",
    "IDMap2,Flat",
    "IVF16,Flat,IDMap2",
    "RR16,Flat",
    "IVF16_HNSW8,Flat",
]


def clustered(random: np.random.Generator, n: int) -> np.ndarray:
    centers = vectors(np.random.default_rng(7), 20, DIM) * 3
    return (centers[random.integers(0, 20, n)] + vectors(random, n, DIM)).astype(np.float32)


def filled(db: sqlite3.Connection, factory: str, matrix: np.ndarray, metric: str = "l2") -> Index:
    index = Index(db, "t", "a", factory=factory, metric=metric)
    index.add(np.arange(len(matrix)), matrix)
    db.execute("select vss_rebuild('t', 'a')")
    db.commit()
    return index


def found_share(index: Index, queries: np.ndarray, ids: np.ndarray, matrix: np.ndarray, **how: Any) -> float:
    truth, _ = brute_force(queries, ids, matrix, 10)
    got, _ = index.search(queries, k=10, **how)
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, got, strict=True)]))


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_factory_is_searched_and_follows_every_change(
    open_db: Open, random: np.random.Generator, factory: str
) -> None:
    db = open_db()
    matrix = clustered(random, ROWS)
    index = filled(db, factory, matrix)
    told = index.stats()
    assert told["search"] == "faiss", told
    assert told["indexed"] == ROWS and told["factory"] == factory
    queries = clustered(random, 20)
    ids = np.arange(ROWS)
    assert found_share(index, queries, ids, matrix) >= 0.85
    assert found_share(index, queries, ids, matrix, recall=1.0) == 1.0
    # k and filters hold.
    for where, allowed in (("rowid % 2 = 0", ids % 2 == 0), ("rowid < 40", ids < 40)):
        got, _ = index.search(queries, k=10, where=where)
        assert allowed[got].all()
        assert found_share(index, queries, ids[allowed], matrix[allowed], where=where) >= 0.8
    # New, changed and deleted rows, before and after the commit.
    matrix[:30] = clustered(random, 30)
    index.add(ids[:30], matrix[:30], replace=True)
    index.remove(ids[100:130])
    more = clustered(random, 50)
    index.add(np.arange(ROWS, ROWS + 50), more)
    now_ids = np.concatenate([ids[:100], ids[130:], np.arange(ROWS, ROWS + 50)])
    now = np.concatenate([matrix[:100], matrix[130:], more])
    for state in ("open", "committed"):
        got, distances = index.search(now[::29], k=1)
        assert got[:, 0].tolist() == now_ids[::29].tolist(), state
        assert found_share(index, queries, now_ids, now) >= 0.8, state
        db.commit()
    assert db.execute("select vss_check('t')").fetchone() == ("ok",)
    # Reopened, then with everything taken in.
    db.close()
    db = open_db()
    index = Index(db, "t", "a")
    assert index.stats()["search"] == "faiss"
    assert found_share(index, queries, now_ids, now) >= 0.8
    index.optimize()
    db.commit()
    told = index.stats()
    assert (told["indexed"], told["outdated"], told["newer"]) == (len(now), 0, 0)
    assert found_share(index, queries, now_ids, now) >= 0.85


@pytest.mark.parametrize("metric", ["l2", "inner_product", "cosine"])
@pytest.mark.parametrize("type", ["float32", "float16", "int8"])
def test_metrics_and_element_types(
    db: sqlite3.Connection, random: np.random.Generator, metric: str, type: str
) -> None:
    matrix = clustered(random, ROWS)
    if type == "int8":
        matrix = np.clip(np.round(matrix * 10), -128, 127)
    elif type == "float16":
        matrix = matrix.astype(np.float16).astype(np.float32)
    index = Index(db, "t", "a", factory="IVF8,Flat", metric=metric, type=type)
    index.add(np.arange(ROWS), matrix.astype(type))
    db.execute("select vss_rebuild('t', 'a')")
    exact, _ = index.search(matrix[:20].astype(type), k=10, recall=1.0)
    got, _ = index.search(matrix[:20].astype(type), k=10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, got, strict=True)]) >= 0.85
    assert index.stats()["search"] == "faiss"


def test_training_leaves_out_what_only_hamming_distances_need(
    open_db: Open, random: np.random.Generator
) -> None:
    """Faiss sorts the centroids of "PQ.." and not of "PQ..np": of PQ96 that took more than five minutes."""
    faiss = pytest.importorskip("faiss")
    matrix = clustered(random, ROWS)
    for with_it, without in (("PQ4x4", "PQ4x4np"), ("IVF8,PQ4x4", "IVF8,PQ4x4np")):
        centroids = []
        for number, factory in enumerate((with_it, without)):
            db = open_db(f"{number}{with_it}.db")
            index = filled(db, factory, matrix).to_faiss()
            inner = faiss.downcast_index(index.index)
            centroids.append(faiss.vector_to_array(inner.pq.centroids))
        assert np.array_equal(*centroids), with_it


def test_a_graph_of_vectors_measures_no_more_rows_than_it_needs(
    db: sqlite3.Connection, random: np.random.Generator
) -> None:
    """Its distances are those of the rows: where the search reaches 80 rows, not all 80 are read again."""
    matrix = clustered(random, 4000)
    index = filled(db, "HNSW8", matrix)
    learned = index.stats()["settings_for_recall_at_10"]
    told = index.explain(matrix[0], k=10, recall=0.99)
    assert learned["0.99"]["efSearch"] > 10 * learned["0.99"]["candidates"] == told["measured"], learned


def test_it_is_made_by_itself_when_there_are_rows_enough(
    db: sqlite3.Connection, random: np.random.Generator
) -> None:
    index = Index(db, "t", "a", factory="IVF16,SQ8")
    index.add(np.arange(2000), clustered(random, 2000))
    db.commit()
    assert index.stats()["search"] == "exact"
    index.add(np.arange(2000, 5000), clustered(random, 3000))
    db.commit()
    assert index.stats()["indexed"] == 5000
    index.add(np.arange(5000, 5500), clustered(random, 500))
    db.commit()
    told = index.stats()
    assert (told["indexed"], told["newer"]) == (5000, 500)
    index.add(np.arange(5500, 7000), clustered(random, 1500))
    db.commit()
    assert index.stats()["indexed"] == 7000


def test_training_as_sqlite_vss_asks_for_it(db: sqlite3.Connection, random: np.random.Generator) -> None:
    matrix = clustered(random, ROWS)
    db.execute(f'create virtual table t using vss0(a({DIM}) factory="IVF8,Flat,IDMap2")')
    db.execute("insert into t(operation, a) values('training', ?)", (matrix[0].tobytes(),))
    db.executemany(
        "insert into t(rowid, a) values(?, ?)", ((i, row.tobytes()) for i, row in enumerate(matrix))
    )
    db.execute("insert into t(operation) values('training')")
    db.commit()
    assert json.loads(db.execute("select vss_stats('t', 'a')").fetchone()[0])["indexed"] == ROWS
    sql = "select rowid from t where vss_search(a, vss_search_params(?, 5))"
    assert db.execute(sql, (matrix[9].tobytes(),)).fetchone() == (9,)


def test_a_rollback_takes_the_image_back(db: sqlite3.Connection, random: np.random.Generator) -> None:
    matrix = clustered(random, ROWS)
    index = filled(db, "IVF8,Flat", matrix)
    index.remove(np.arange(100))
    db.execute("savepoint s")
    index.add(np.arange(1000, 1100), clustered(random, 100))
    db.execute("insert into t(operation) values('training')")
    assert index.stats()["indexed"] == 600
    db.execute("rollback to s")
    told = index.stats()
    assert (told["indexed"], told["outdated"]) == (600, 100)
    db.rollback()
    assert index.stats()["outdated"] == 0
    assert index.search(matrix[5], k=1)[0].tolist() == [5]
    assert db.execute("select vss_check('t')").fetchone() == ("ok",)


def test_other_connections_see_what_was_committed(open_db: Open, random: np.random.Generator) -> None:
    db, other = open_db(), open_db()
    matrix = clustered(random, ROWS)
    index = filled(db, "HNSW8", matrix)
    theirs = Index(other, "t", "a")
    assert theirs.search(matrix[3], k=1)[0].tolist() == [3]
    new = clustered(random, 1)
    index.add([9999], new)
    assert theirs.search(new[0], k=1)[0].tolist() != [9999]
    db.commit()
    assert theirs.search(new[0], k=1)[0].tolist() == [9999]


@pytest.mark.parametrize("part", [0, 1])
def test_a_damaged_image_is_bypassed_told_and_mended(
    open_db: Open, random: np.random.Generator, part: int
) -> None:
    db = open_db()
    matrix = clustered(random, ROWS)
    filled(db, "IVF8,Flat", matrix)
    [(data,)] = db.execute("select data from t_faiss0 where part = ?", (part,))
    broken = bytearray(data)
    broken[len(broken) // 2] ^= 0x10
    db.close()
    # As another file: the process knows the image of this one.
    db = open_db("copy.db")
    with sqlite3.connect(
        db.execute("pragma database_list").fetchone()[2].replace("copy.db", "test.db")
    ) as source:
        source.backup(db)
    db.execute("update t_faiss0 set data = ? where part = ?", (bytes(broken), part))
    db.commit()
    index = Index(db, "t", "a")
    assert found_share(index, clustered(random, 10), np.arange(ROWS), matrix) == 1.0
    assert index.stats()["search"] == "exact"
    assert "checksum" in db.execute("select vss_check('t')").fetchone()[0]
    assert "rebuilt" in db.execute("select vss_repair('t')").fetchone()[0]
    db.commit()
    assert db.execute("select vss_check('t')").fetchone() == ("ok",)
    db.execute("select vss_rebuild('t', 'a')")
    assert index.stats()["search"] == "faiss"


def test_rename_drop_and_another_kind(db: sqlite3.Connection, random: np.random.Generator) -> None:
    matrix = clustered(random, ROWS)
    filled(db, "IVF8,Flat", matrix)
    db.execute("alter table t rename to u")
    assert Index(db, "u", "a").search(matrix[8], k=1)[0].tolist() == [8]
    db.execute("select vss_set_index('u', 'a', 'flat')")
    names = {name for (name,) in db.execute("select name from sqlite_master")}
    assert "u_faiss0" not in names
    assert Index(db, "u", "a").stats()["search"] == "exact"
    db.execute("select vss_set_index('u', 'a', 'faiss')")
    assert Index(db, "u", "a").stats()["search"] == "faiss"
    db.execute("drop table u")
    assert db.execute("select count(*) from sqlite_master").fetchone() == (0,)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("Nonsense", "Faiss"),
        ("IVF99999999,Flat", "no factory string"),
        ("PQ5", "multiple"),
        ("LSH", "not kept"),
        ("", "no value"),
    ],
)
def test_a_bad_factory_is_refused_in_words(db: sqlite3.Connection, factory: str, words: str) -> None:
    with pytest.raises(sqlite3.OperationalError, match=words) as caught:
        db.execute(f'create virtual table t using vss0(a({DIM}) factory="{factory}")')
    if factory:
        assert f'table "t", column "a", factory "{factory}"' in str(caught.value)
    assert db.execute("select count(*) from sqlite_master").fetchone() == (0,)


def test_too_few_rows_to_train_are_an_error_only_where_training_is_asked_for(
    db: sqlite3.Connection, random: np.random.Generator
) -> None:
    matrix = clustered(random, 20)
    index = Index(db, "t", "a", factory="IVF64,Flat")
    index.add(np.arange(20), matrix)
    db.commit()
    with pytest.raises(
        sqlite3.OperationalError, match='table "t", column "a", factory "IVF64,Flat": Faiss, training'
    ):
        db.execute("select vss_rebuild('t', 'a')")
    with pytest.raises(sqlite3.OperationalError, match="training points"):
        db.execute("insert into t(operation) values('training')")
    assert index.search(matrix[4], k=1)[0].tolist() == [4]


def test_training_can_be_interrupted(db: sqlite3.Connection, random: np.random.Generator) -> None:
    index = Index(db, "t", "a", factory="IVF128,PQ8x8")
    index.add(np.arange(4000), clustered(random, 4000))
    db.commit()
    calls = 0

    def stop() -> int:
        nonlocal calls
        calls += 1
        if calls == 200:
            db.interrupt()
        return 0

    db.set_progress_handler(stop, 10)
    with pytest.raises(sqlite3.OperationalError, match="interrupt"):
        db.execute("select vss_rebuild('t', 'a')")
    db.set_progress_handler(None, 0)
    db.rollback()
    assert index.stats()["search"] == "exact"
    assert db.execute("select vss_check('t')").fetchone() == ("ok",)


def spread(open_db: Open, factory: str) -> tuple[sqlite3.Connection, Index, np.ndarray, np.ndarray]:
    """Rows without clusters, of which a narrow search finds few."""
    random = np.random.default_rng(5)
    db = open_db()
    matrix = vectors(random, 3000, DIM)
    return db, filled(db, factory, matrix), matrix, vectors(random, 30, DIM)


@pytest.mark.parametrize(
    ("factory", "narrow", "wide", "told"),
    [
        ("IVF32,Flat", {"nprobe": 1}, {"nprobe": 32}, ("nprobe", 1, 32)),
        ("HNSW4", {"efSearch": 1}, {"efSearch": 800}, ("efSearch", 1, 800)),
        ("PQ4x4", {"k_factor": 1}, {"k_factor": 100}, ("candidates", 10, 1000)),
        (
            "IVF32,PQ4x4fs,RFlat",
            {"nprobe": 1, "k_factor": 20},
            {"NPROBE": 32, "k_factor": 100},
            ("nprobe", 1, 32),
        ),
        (
            "IVF64_HNSW8,Flat",
            {"nprobe": 8, "quantizer_efSearch": 1},
            {"nprobe": 64, "quantizer_efSearch": 200},
            None,
        ),
        (
            "IVF64_HNSW8,PQ4x4fs",
            {"nprobe": 1, "quantizer_efSearch": 1},
            {"nprobe": 64, "k_factor": 200},
            None,
        ),
    ],
)
def test_settings_of_one_search_override_what_was_learned(
    open_db: Open,
    factory: str,
    narrow: dict[str, int],
    wide: dict[str, int],
    told: tuple[str, int, int] | None,
) -> None:
    _, index, matrix, queries = spread(open_db, factory)
    ids = np.arange(len(matrix))
    little = found_share(index, queries, ids, matrix, settings=narrow)
    much = found_share(index, queries, ids, matrix, settings=wide)
    assert little < 0.9 * much and much > 0.95, (little, much)
    assert index.measure_recall(queries, settings=narrow)["recall"] == pytest.approx(little, abs=0.02)
    if told is not None:
        name, few, many = told
        assert index.explain(queries[0], settings=narrow)[name] == few
        assert index.explain(queries[0], settings=wide)[name] == many
    # Filters hold k whatever was said.
    got, _ = index.search(queries, k=10, where="rowid % 3 = 0", settings=narrow)
    assert (got >= 0).all() and (got % 3 == 0).all()


def test_settings_in_sql(open_db: Open) -> None:
    db, index, matrix, queries = spread(open_db, "IVF32,Flat")
    query = queries[0].tobytes()

    def found(arguments: str, form: str = "a match {}") -> list[int]:
        call = form.format(f"vss_search_params(?, 10{arguments})")
        return [rowid for (rowid,) in db.execute(f"select rowid from t where {call}", (query,))]

    for settings in ({"nprobe": 1}, {"nprobe": 2, "k_factor": 3}):
        text = ", ".join(f"{name} = {value}" for name, value in settings.items())
        expected = index.search(queries[0], k=10, settings=settings)[0].tolist()
        for arguments in (f", '{text}'", f", 0.9, '{text}'", f", null, null, '{text}'", f", null, '{text}'"):
            assert found(arguments) == expected
        assert found(f", '{text}'", "vss_search(a, {})") == expected
    assert found(", 'nprobe=1'") != found(", 'nprobe=32'")
    # One query after the other in one statement: the second is not taken for the first.
    rows = db.execute(
        'select s.value, t.rowid from json_each(\'["nprobe=1", "nprobe=32"]\') s '
        "cross join t on a match vss_search_params(?, 10, s.value)",
        (query,),
    ).fetchall()
    assert [row for name, row in rows if name == "nprobe=1"] == found(", 'nprobe=1'")
    assert [row for name, row in rows if name == "nprobe=32"] == found(", 'nprobe=32'")
    # Rows among which is searched, beside settings.
    some = json.dumps(list(range(0, 3000, 2)))
    got = db.execute(
        "select rowid from t where a match vss_search_params(?, 10, 0.9, ?, 'nprobe=4')", (query, some)
    ).fetchall()
    assert len(got) == 10 and all(rowid % 2 == 0 for (rowid,) in got)
    assert index.search(matrix[:3], k=1, settings=None)[0].tolist() == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            "nprobes=4",
            'search settings: an index of factory "IVF32,Flat" has no nprobes; it has nprobe, k_factor',
        ),
        ("efSearch=40", "has no efSearch; it has nprobe, k_factor"),
        ("nprobe=33", "expected nprobe from 1 to 32, got 33"),
        ("nprobe=0", "expected nprobe from 1 to 32, got 0"),
        ("k_factor=5000", "expected k_factor from 1 to 4096, got 5000"),
        ("nprobe=4, nprobe=5", "said twice"),
        ("nprobe=4.5", "a name and an integer of 0 or more"),
        ("nprobe=-1", "a name and an integer of 0 or more"),
        ("nprobe=99999999999999999999", "a name and an integer of 0 or more"),
        ("nprobe=", "a name and an integer of 0 or more"),
        ("nprobe=4,,", "expected search settings such as"),
        (",".join(f"a{i}=1" for i in range(17)), "too many"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_words(open_db: Open, settings: str, words: str) -> None:
    db = open_db()
    random = np.random.default_rng(5)
    filled(db, "IVF32,Flat", vectors(random, 1300, DIM))
    query = vectors(random, 1, DIM).tobytes()
    with pytest.raises(sqlite3.OperationalError) as caught:
        db.execute("select rowid from t where a match vss_search_params(?, 5, ?)", (query, settings))
    assert words in str(caught.value)


def test_settings_where_there_is_nothing_to_set(db: sqlite3.Connection, random: np.random.Generator) -> None:
    matrix = clustered(random, 20)
    cells = Index(db, "cells", "a")
    cells.add(np.arange(20), matrix)
    with pytest.raises(QueryError, match="its index has none, and was given nprobe; a column of factory="):
        cells.search(matrix[0], settings={"nprobe": 4})
    # Not made yet: known by its factory, and searched exactly.
    index = Index(db, "t", "a", factory="HNSW8")
    index.add(np.arange(20), matrix)
    assert index.search(matrix[7], k=1, settings={"efSearch": 5})[0].tolist() == [7]
    with pytest.raises(QueryError, match='factory "HNSW8" has no nprobe; it has efSearch, k_factor'):
        index.search(matrix[0], settings={"nprobe": 4})
    with pytest.raises(QueryError, match="recall 1 looks at every row, so that efSearch has nothing to say"):
        index.search(matrix[0], recall=1.0, settings={"efSearch": 4})
    for settings in ({"nprobe": 1.5}, {"nprobe": True}, {"nprobe": -1}, {"n'--": 1}):
        with pytest.raises(QueryError, match="settings: expected"):
            index.search(matrix[0], settings=settings)
    with pytest.raises(sqlite3.OperationalError, match="as a text such as 'nprobe=16'"):
        db.execute(
            "select rowid from t where a match vss_search_params(?, 5, null, null, 7)", (matrix[0].tobytes(),)
        )
    # A default of 1 gives way, a batch and an empty mapping are as ever.
    exact = Index(db, "exact", "a", factory="Flat", recall=1.0)
    exact.add(np.arange(20), matrix)
    assert exact.search(matrix[:2], k=1, settings={"k_factor": 2})[0].tolist() == [[0], [1]]
    assert exact.search(matrix[:2], k=1, settings={})[0].tolist() == [[0], [1]]


def test_a_commit_that_trains_tells_how_far_it_is(
    db: sqlite3.Connection, random: np.random.Generator
) -> None:
    told: list[tuple[str, str, str, int, int]] = []
    vssnative.watch_builds(db, lambda *step: told.append(step))
    index = Index(db, "t", "a", factory="IVF16,SQ8")
    index.add(np.arange(5000), clustered(random, 5000))
    assert told == []
    db.commit()
    assert index.stats()["search"] == "faiss"
    assert {step[:2] for step in told} == {("t", "a")}
    stages = [step[2] for step in told]
    assert list(dict.fromkeys(stages)) == ["training", "adding", "measuring"]
    added = [(done, total) for _, _, stage, done, total in told if stage == "adding"]
    assert added[0] == (0, 5000) and added[-1] == (5000, 5000) and added == sorted(added)
    assert told[0][3:] == (0, 0)
    told.clear()
    db.execute("select vss_rebuild('t', 'a')")
    assert told[0][2:] == ("training", 0, 0)
    told.clear()
    vssnative.watch_builds(db, None)
    db.execute("select vss_rebuild('t', 'a')")
    assert told == []


def test_an_exception_of_who_watches_ends_the_commit(
    db: sqlite3.Connection, random: np.random.Generator
) -> None:
    index = Index(db, "t", "a", factory="IVF16,SQ8")
    index.add(np.arange(10), clustered(random, 10))
    db.commit()

    def refuse(table: str, column: str, stage: str, done: int, total: int) -> None:
        if stage == "adding":
            raise RuntimeError("enough")

    vssnative.watch_builds(db, refuse)
    index.add(np.arange(10, 5000), clustered(random, 4990))
    with pytest.raises(sqlite3.OperationalError, match="user-defined function raised exception"):
        db.commit()
    db.rollback()
    assert len(index) == 10
    assert db.execute("select vss_check('t')").fetchone() == ("ok",)
    vssnative.watch_builds(db, None)
    index.add(np.arange(10, 5000), clustered(random, 4990))
    db.commit()
    assert index.stats()["indexed"] == 5000


def test_a_commit_that_trains_can_be_interrupted(db: sqlite3.Connection, random: np.random.Generator) -> None:
    index = Index(db, "t", "a", factory="IVF64,PQ8x8")
    index.add(np.arange(11000), clustered(random, 11000))

    def stop(table: str, column: str, stage: str, done: int, total: int) -> None:
        if stage == "training":
            db.interrupt()

    vssnative.watch_builds(db, stop)
    with pytest.raises(sqlite3.OperationalError, match="interrupt"):
        db.commit()
    db.rollback()
    assert len(Index(db, "t", "a")) == 0


@pytest.mark.parametrize("factory", ["IVF16,SQ8", "PQ8x4fs,RFlat", "HNSW8", "OPQ4_8,IVF8,PQ4x4"])
def test_each_instruction_level_reads_what_another_wrote(
    open_db: Open, random: np.random.Generator, tmp_path: Path, factory: str
) -> None:
    db = open_db()
    matrix = clustered(random, ROWS)
    index = filled(db, factory, matrix)
    expected = "avx2" if _core.simd_level() in ("avx2", "avx512") else "baseline"
    assert index.stats()["instructions"] == expected
    queries = clustered(random, 20)
    truth, _ = brute_force(queries, np.arange(ROWS), matrix, 10)
    np.save(tmp_path / "queries.npy", queries)
    path = db.execute("pragma database_list").fetchone()[2]
    db.close()
    program = (
        "import sys, json, numpy as np, vssnative\n"
        "db = vssnative.connect(sys.argv[1])\n"
        "index = vssnative.Index(db, 't', 'a')\n"
        "found = index.search(np.load(sys.argv[2]), k=10)[0].tolist()\n"
        "told = index.stats()\n"
        "print(json.dumps([told['instructions'], told['search'], found]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path, str(tmp_path / "queries.npy")],
        env={**os.environ, "VSSNATIVE_SIMD": "scalar"},
        capture_output=True,
        text=True,
        check=True,
    )
    level, search, found = json.loads(done.stdout)
    assert (level, search) == ("baseline", "faiss")
    share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)])
    assert share >= 0.85


def test_options_of_index() -> None:
    db = vssnative.connect(":memory:")
    with pytest.raises(ConfigurationError, match="factory string"):
        Index(db, "t", "a", factory='x" evil')
    with pytest.raises(ConfigurationError, match="index='faiss'"):
        Index(db, "t", "a", factory="Flat", index="cells")
    Index(db, "t", "a", factory="Flat").add([1], [[1, 2]])
    with pytest.raises(ConfigurationError, match="factory='Flat', not 'SQ8'"):
        Index(db, "t", "a", factory="SQ8")
    db.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what SWIG makes of faiss-cpu
def test_exchange_with_the_faiss_package(db: sqlite3.Connection, random: np.random.Generator) -> None:
    import faiss

    matrix = clustered(random, ROWS)
    index = filled(db, "IVF8,Flat", matrix)
    index.remove([5])
    theirs = index.to_faiss()
    ids = theirs.search(matrix[[7, 300]], 1)[1]
    assert ids[:, 0].tolist() == [7, 300]
    assert -1 in faiss.vector_to_array(theirs.id_map)

    flat = faiss.IndexFlatIP(DIM)
    flat.add(matrix)
    back = Index.from_faiss(db, flat, np.arange(ROWS) + 50, table="flat", column="v")
    assert back.metric == "inner_product" and np.array_equal(back.get([50, 51]), matrix[:2])
    mapped = faiss.index_factory(DIM, "IDMap2,SQ8")
    mapped.train(matrix)
    mapped.add_with_ids(matrix, np.arange(ROWS) * 3)
    back = Index.from_faiss(db, mapped, table="mapped", factory="SQ8")
    assert len(back) == ROWS and np.abs(back.get([3]) - matrix[1]).max() < 0.1
    ivf = faiss.index_factory(DIM, "IVF8,Flat")
    ivf.train(matrix)
    ivf.add(matrix)
    assert np.array_equal(Index.from_faiss(db, ivf, table="ivf").get([11]), matrix[11:12])
    with pytest.raises(InvalidVectorError, match="no form of its own"):
        Index.from_faiss(db, flat, table="cells").to_faiss()
