"""ShardedIndex on processes of this machine: answers, publishing, staging, refusals, and what damage says."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import vssnative
from vssnative import _cli as cli
from vssnative.sharded import ShardedIndex
from vssnative.sharded import catalog as catalogs
from vssnative.sharded.local import LocalEngine
from vssnative.sharded.routing import shard_of
from vssnative.sharded.store import open_store

from ..conftest import brute_force, vectors

DIM = 24
N = 3000
COMPANIES = ("acme", "other", None)


@pytest.fixture(scope="module")
def rows() -> tuple[Any, Any, dict[str, list[Any]]]:
    random = np.random.default_rng(20261128)
    ids = random.permutation(np.arange(-N, 2 * N))[:N].astype(np.int64)
    columns = {
        "company": [COMPANIES[i % 3] for i in range(N)],
        "year": [2000 + i % 30 for i in range(N)],
    }
    return ids, vectors(random, N, DIM), columns


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, rows: Any) -> Iterator[ShardedIndex]:
    """An index that no test changes."""
    path = tmp_path_factory.mktemp("sharded") / "index"
    columns = {"company": "text", "year": "integer indexed"}
    with ShardedIndex.create(path, DIM, shards=5, columns=columns, engine="local", replicas=2) as index:
        ids, matrix, values = rows
        index.add(ids, matrix, values)
        yield index


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[ShardedIndex]:
    with ShardedIndex.create(tmp_path / "index", DIM, shards=3, engine="local", workers=1) as index:
        yield index


@pytest.fixture
def opened() -> Iterator[Callable[..., ShardedIndex]]:
    """`opened(url)`: another reader or writer of the same index."""
    indexes: list[ShardedIndex] = []

    def open_(url: str, **options: Any) -> ShardedIndex:
        indexes.append(ShardedIndex(url, engine="local", **{"workers": 1, **options}))
        return indexes[-1]

    yield open_
    for index in indexes:
        index.close()


# --- answers ----------------------------------------------------------------------------------------------------------


def test_exact_answers_are_those_of_one_file(
    filled: ShardedIndex, rows: Any, random: np.random.Generator
) -> None:
    ids, matrix, _ = rows
    queries = vectors(random, 20, DIM)
    found, distances = filled.search(queries, 15, recall=1.0)
    expected, expected_distances = brute_force(queries, ids, matrix, 15)
    assert found.tolist() == expected.tolist()
    assert np.allclose(distances, expected_distances, rtol=1e-6)
    assert found.dtype == np.int64 and distances.dtype == np.float32


def test_one_query_gives_one_row(filled: ShardedIndex, rows: Any) -> None:
    ids, matrix, _ = rows
    found, distances = filled.search(matrix[7], 3)
    assert found.shape == distances.shape == (3,)
    assert found[0] == ids[7] and distances[0] == 0


def test_more_rows_than_there_are_is_padded(filled: ShardedIndex, random: np.random.Generator) -> None:
    found, distances = filled.search(vectors(random, 2, DIM), N + 5, recall=1.0)
    assert found.shape == (2, N + 5)
    assert (found[:, N:] == -1).all() and np.isinf(distances[:, N:]).all()
    assert np.isfinite(distances[:, :N]).all()
    assert (np.diff(distances[:, :N], axis=1) >= 0).all()


def test_equal_distances_come_by_id(empty: ShardedIndex) -> None:
    ids = np.array([9, 3, 7, 1, 5, 8], np.int64)
    empty.add(ids, np.ones((6, DIM), np.float32))
    assert empty.search(np.ones(DIM, np.float32), 6)[0].tolist() == sorted(ids.tolist())


def test_where_holds_k_in_every_shard(filled: ShardedIndex, rows: Any, random: np.random.Generator) -> None:
    ids, matrix, columns = rows
    queries = vectors(random, 5, DIM)
    found, _ = filled.search(
        queries, 10, where="company = ? and year >= ?", params=("acme", 2015), recall=1.0
    )
    meets = np.array(
        [c == "acme" and y >= 2015 for c, y in zip(columns["company"], columns["year"], strict=True)]
    )
    expected, _ = brute_force(queries, ids[meets], matrix[meets], 10)
    assert found.tolist() == expected.tolist()
    missing, _ = filled.search(queries[0], 10, where="company is null and id < 0", recall=1.0)
    nulls = np.array([c is None for c in columns["company"]]) & (ids < 0)
    assert missing.tolist() == brute_force(queries[:1], ids[nulls], matrix[nulls], 10)[0][0].tolist()


def test_no_queries_and_no_rows(empty: ShardedIndex) -> None:
    found, distances = empty.search(np.zeros((0, DIM), np.float32), 4)
    assert found.shape == distances.shape == (0, 4)
    found, distances = empty.search(np.ones(DIM, np.float32), 2)
    assert found.tolist() == [-1, -1] and np.isinf(distances).all()
    assert empty.publish() == 0 and len(empty) == 0


def test_a_shard_is_a_file_that_anybody_opens(filled: ShardedIndex) -> None:
    shard = filled.status().shards[0]
    conn = vssnative.connect(Path(filled.url) / shard.name, wal=False)
    try:
        assert len(vssnative.Index(conn)) == shard.rows
        assert conn.execute("select vss_check('vss_vectors')").fetchone() == ("ok",)
    finally:
        conn.close()


def test_ids_keep_their_shard_for_ever() -> None:
    ids = np.array([0, 1, -1, 2**63 - 1, -(2**63), 12345], np.int64)
    # As computed with Python's integers: catalogs of every version rely on these.
    assert shard_of(ids, 1000).tolist() == [0, 789, 67, 533, 50, 873]


# --- changing ---------------------------------------------------------------------------------------------------------


def test_readers_keep_the_version_they_began_with(
    empty: ShardedIndex, opened: Callable[..., ShardedIndex], random: np.random.Generator
) -> None:
    matrix = vectors(random, 30, DIM)
    assert empty.add(range(20), matrix[:20]) == 1
    reader = opened(empty.url)
    assert empty.add(range(20, 30), matrix[20:]) == 2
    assert empty.remove([0, 1, 777]) == 3
    assert len(reader) == 20 and len(empty) == 28
    assert sorted(reader.search(matrix[0], 30, recall=1.0)[0][:20].tolist()) == list(range(20))
    assert reader.refresh() == 3
    assert sorted(reader.search(matrix[0], 28, recall=1.0)[0].tolist()) == list(range(2, 30))
    assert [version.number for version in empty.versions()] == [0, 1, 2, 3]


def test_replace_keeps_columns_that_are_not_named(tmp_path: Path, random: np.random.Generator) -> None:
    matrix = vectors(random, 4, DIM)
    with ShardedIndex.create(
        tmp_path / "index", DIM, shards=2, columns={"a": "text", "b": "integer"}, engine="local", workers=1
    ) as index:
        index.add([1, 2], matrix[:2], {"a": ["x", "y"], "b": [1, 2]})
        index.add([2, 3], matrix[2:], {"b": [5, 6]}, replace=True)
        assert len(index) == 3
        assert index.search(matrix[2], 1, where="a = 'y' and b = 5")[0].tolist() == [2]
        assert index.search(matrix[3], 2, where="a is null")[0].tolist() == [3, -1]


def test_an_id_that_is_there_publishes_nothing(empty: ShardedIndex, random: np.random.Generator) -> None:
    matrix = vectors(random, 40, DIM)
    empty.add(range(20), matrix[:20])
    before = sorted(path.name for path in (Path(empty.url) / "shards").iterdir())
    with pytest.raises(vssnative.DuplicateIdError, match="row 19 exists already.*nothing was published"):
        empty.add(range(19, 39), matrix[:20])
    assert empty.version == 1 and len(empty) == 20
    assert sorted(path.name for path in (Path(empty.url) / "shards").iterdir()) == before
    assert not list((Path(empty.url) / "tmp").iterdir())


def test_an_error_behind_the_last_step_leaves_what_was_published(
    empty: ShardedIndex, monkeypatch: pytest.MonkeyPatch, random: np.random.Generator
) -> None:
    matrix = vectors(random, 30, DIM)
    publish = catalogs.publish

    def published_and_failed(*arguments: Any) -> None:
        publish(*arguments)
        raise TimeoutError("no answer, though it was done")

    with monkeypatch.context() as patch:
        patch.setattr(catalogs, "publish", published_and_failed)
        with pytest.raises(TimeoutError):
            empty.add(range(30), matrix)
    assert empty.refresh() == 1 and empty.verify().problems == ()
    with monkeypatch.context() as patch:
        patch.setattr(catalogs, "publish", lambda *_: (_ for _ in ()).throw(TimeoutError("not done")))
        with pytest.raises(TimeoutError):
            empty.remove(range(10))
    assert empty.refresh() == 1
    named = {Path(shard.name).name for shard in empty.status().shards}
    assert {path.name for path in (Path(empty.url) / "shards").iterdir()} == named


def test_staged_changes_count_once_and_in_their_order(
    empty: ShardedIndex, opened: Callable[..., ShardedIndex], random: np.random.Generator
) -> None:
    matrix = vectors(random, 10, DIM)
    assert empty.add(range(5), matrix[:5], publish=False) == 0
    assert empty.add([4, 5], matrix[5:7], replace=True, publish=False) == 0
    assert empty.remove([0], publish=False) == 0
    assert empty.status().staged == 3 and len(empty) == 0
    assert opened(empty.url).publish() == 1
    assert empty.refresh() == 1 and len(empty) == 5
    assert empty.search(matrix[5], 1)[0].tolist() == [4]
    assert empty.publish() == 1 and empty.status().staged == 0


def test_rebalance_and_rollback(empty: ShardedIndex, random: np.random.Generator) -> None:
    matrix = vectors(random, 200, DIM)
    empty.add(range(200), matrix)
    before = empty.search(matrix[:20], 12, recall=1.0)
    assert empty.rebalance(7) == 2
    assert empty.status().of == 7 and len(empty) == 200
    assert np.array_equal(before[0], empty.search(matrix[:20], 12, recall=1.0)[0])
    empty.remove(range(100))
    assert empty.rollback(1) == 1 and empty.status().of == 3
    assert np.array_equal(before[0], empty.search(matrix[:20], 12, recall=1.0)[0])
    assert empty.add([1000], matrix[:1]) == 4  # upon what was rolled back to
    assert len(empty) == 201
    with pytest.raises(vssnative.ConfigurationError, match="no version 9; the catalog keeps 0, 1, 2, 3, 4"):
        empty.rollback(9)


def test_vacuum_removes_what_nobody_names(
    empty: ShardedIndex, opened: Callable[..., ShardedIndex], random: np.random.Generator
) -> None:
    matrix = vectors(random, 60, DIM)
    empty.add(range(20), matrix[:20])
    reader = opened(empty.url)
    for start in (20, 40):
        empty.add(range(start, start + 20), matrix[start : start + 20])
    orphan = Path(empty.url) / "shards" / "00000-orphan.sqlite"
    orphan.write_bytes(b"a publisher may be at work")
    empty.vacuum(keep=1)
    assert orphan.exists()
    assert empty.vacuum(keep=1, grace=0) == 1 and not orphan.exists()
    named = {shard.name for shard in empty.status().shards}
    assert {f"shards/{path.name}" for path in (Path(empty.url) / "shards").iterdir()} == named
    assert len(empty.search(matrix[:3], 60)[0]) == 3
    with pytest.raises(vssnative.DamagedError, match=r"is missing; a vacuum may have removed.*refresh\(\)"):
        reader.search(matrix[0])
    reader.refresh()
    assert reader.search(matrix[0], 1)[0].tolist() == [0]


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_refusals_name_what_was_expected(filled: ShardedIndex, tmp_path: Path, rows: Any) -> None:
    ids, matrix, _ = rows
    cases: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (
            vssnative.ConfigurationError,
            "there is no sharded index here",
            lambda: ShardedIndex(tmp_path / "none"),
        ),
        (vssnative.ConfigurationError, "sharded index already", lambda: ShardedIndex.create(filled.url, DIM)),
        (
            vssnative.ConfigurationError,
            "shards: expected 1",
            lambda: ShardedIndex.create(tmp_path / "a", 3, shards=0),
        ),
        (
            vssnative.ConfigurationError,
            "'id' is a column of every shard",
            lambda: ShardedIndex.create(tmp_path / "a", 3, columns={"id": "text"}),
        ),
        (
            vssnative.ConfigurationError,
            "got 'blob'",
            lambda: ShardedIndex.create(tmp_path / "a", 3, columns={"a": "blob"}),
        ),
        (
            vssnative.ConfigurationError,
            "expected 'ray' or 'local', got 'dask'",
            lambda: ShardedIndex(filled.url, engine="dask"),  # type: ignore[arg-type]
        ),
        (
            vssnative.DimensionError,
            r"expected shape \(nq, 24\)",
            lambda: filled.search(np.ones(23, np.float32)),
        ),
        (vssnative.DimensionError, "as many ids as rows", lambda: filled.add([1], matrix[:2])),
        (vssnative.DimensionError, r"expected shape \(n, 24\)", lambda: filled.add([1], matrix[:1, :5])),
        (vssnative.DuplicateIdError, "70000 comes 2 times", lambda: filled.add([70000, 70000], matrix[:2])),
        (
            vssnative.InvalidVectorError,
            r"row 1 \(id 70001\) holds NaN",
            lambda: filled.add([70000, 70001], np.array([matrix[0], matrix[1] * np.nan])),
        ),
        (vssnative.InvalidVectorError, "ids: expected integers", lambda: filled.add([1.5], matrix[:1])),
        (
            vssnative.ConfigurationError,
            "no 'nope'; the index has company, year",
            lambda: filled.add([70000], matrix[:1], {"nope": [1]}),
        ),
        (
            vssnative.ConfigurationError,
            "'company' takes text, numbers and None, not bytes",
            lambda: filled.add([70000], matrix[:1], {"company": [b"x"]}),
        ),
        (vssnative.QueryError, "no such column: nope", lambda: filled.search(matrix[0], where="nope = 1")),
        (
            vssnative.QueryError,
            "expected a value for each of the 1 ",
            lambda: filled.search(matrix[0], where="year = ?"),
        ),
        (vssnative.QueryError, "recall: expected", lambda: filled.search(matrix[0], recall=95)),
        (vssnative.QueryError, "timeout: expected", lambda: filled.search(matrix[0], timeout=0)),
        (vssnative.QueryError, "search with vectors, not texts", lambda: filled.search("words")),
    ]
    for kind, words, call in cases:
        with pytest.raises(kind, match=words):
            call()
    assert filled.version == 1


def test_a_catalog_of_a_newer_version_is_refused(empty: ShardedIndex) -> None:
    path = Path(empty.url) / catalogs.latest(open_store(empty.url)).name
    path.chmod(0o644)
    with sqlite3.connect(path) as conn:
        conn.execute("update settings set value = 2 where key = 'format'")
    conn.close()
    with pytest.raises(vssnative.SchemaVersionError, match="has format 2, this vssnative reads up to 1"):
        empty.refresh()


@pytest.mark.parametrize("damage", ["rubbish", "empty", "no versions", "points nowhere"])
def test_a_damaged_catalog_says_what_to_do(empty: ShardedIndex, damage: str) -> None:
    path = Path(empty.url) / catalogs.latest(open_store(empty.url)).name
    if damage in ("rubbish", "empty"):
        path.write_bytes(b"\1\2\3" * 3000 if damage == "rubbish" else b"")
    else:
        with sqlite3.connect(path) as conn:
            conn.execute(
                "delete from versions"
                if damage == "no versions"
                else "update settings set value = 5 where key = 'current'"
            )
        conn.close()
    with pytest.raises(vssnative.DamagedError, match="removing this file puts the one before in force"):
        empty.refresh()


# --- damage and lateness ----------------------------------------------------------------------------------------------


def test_a_damaged_or_missing_shard_is_never_passed_over(
    empty: ShardedIndex, opened: Callable[..., ShardedIndex], random: np.random.Generator
) -> None:
    matrix = vectors(random, 300, DIM)
    empty.add(range(300), matrix)
    shard = empty.status().shards[1]
    path = Path(empty.url) / shard.name
    whole = path.read_bytes()
    there = [id for id in range(300) if shard_of(np.array([id]), 3)[0] != shard.shard]
    for content in (whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:], None):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        words = "does not have the checksum" if content is not None else "is missing"
        reader = opened(empty.url)
        with pytest.raises(vssnative.DamagedError, match=words):
            reader.search(matrix[0])
        ids, _, missing = reader.search(matrix[0], 300, partial=True, recall=1.0)
        assert list(missing) == [shard.shard] and words in missing[shard.shard]
        assert sorted(ids[ids >= 0].tolist()) == there
        with pytest.raises(vssnative.DamagedError, match=words):
            reader.add([1000, 1001, 1002, 1003, 1004, 1005], matrix[:6])
        assert any(words in problem for problem in reader.verify().problems)
        path.unlink(missing_ok=True)
        path.write_bytes(whole)
    assert opened(empty.url).verify().problems == ()


def test_a_damaged_copy_is_fetched_again(
    empty: ShardedIndex, opened: Callable[..., ShardedIndex], tmp_path: Path, random: np.random.Generator
) -> None:
    matrix = vectors(random, 50, DIM)
    empty.add(range(50), matrix)
    cache = tmp_path / "cache"
    assert opened(empty.url, copy=True, cache=cache).search(matrix[3], 1)[0].tolist() == [3]
    copies = list(cache.iterdir())
    assert len(copies) == len(empty.status().shards)
    copies[0].write_bytes(b"torn")
    assert opened(empty.url, copy=True, cache=cache).search(matrix, 1)[0].ravel().tolist() == list(range(50))


def test_verify_measures_recall(filled: ShardedIndex) -> None:
    found = filled.verify(40)
    assert found.problems == () and found.rows == N and found.queries == 40
    assert found.recall is not None and found.recall >= 0.9


def test_a_killed_server_is_replaced(filled: ShardedIndex, rows: Any) -> None:
    ids, matrix, _ = rows
    engine = filled.engine
    assert isinstance(engine, LocalEngine)
    filled.search(matrix[:2])
    for pid in engine.pids():
        os.kill(pid, signal.SIGKILL)
    assert filled.search(matrix[:50], 1, recall=1.0)[0].ravel().tolist() == ids[:50].tolist()


def test_a_late_shard_fails_the_search_or_is_named(empty: ShardedIndex, random: np.random.Generator) -> None:
    matrix = vectors(random, 30, DIM)
    empty.add(range(30), matrix)
    empty.search(matrix[0])
    engine = empty.engine
    assert isinstance(engine, LocalEngine)
    [pid] = engine.pids()
    os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(
            vssnative.ShardError, match=r"3 of 3 shards gave no answer.*partial=True"
        ) as caught:
            empty.search(matrix[0], timeout=0.3)
        assert caught.value.shards == (0, 1, 2)
        ids, distances, missing = empty.search(matrix[0], timeout=0.3, partial=True)
        assert sorted(missing) == [0, 1, 2] and (ids == -1).all() and np.isinf(distances).all()
        assert time.monotonic() - started < 30
    finally:
        os.kill(pid, signal.SIGCONT)
    assert empty.search(matrix[4], 1)[0].tolist() == [4]


def test_a_late_replica_is_made_up_for(tmp_path: Path, random: np.random.Generator) -> None:
    matrix = vectors(random, 30, DIM)
    with ShardedIndex.create(
        tmp_path / "index", DIM, shards=2, engine="local", workers=2, replicas=2
    ) as index:
        index.add(range(30), matrix)
        for _ in range(2):
            index.search(matrix[0])
        engine = index.engine
        assert isinstance(engine, LocalEngine)
        stopped = engine.pids()[0]
        os.kill(stopped, signal.SIGSTOP)
        try:
            assert index.search(matrix, 1, timeout=15, recall=1.0)[0].ravel().tolist() == list(range(30))
        finally:
            os.kill(stopped, signal.SIGCONT)


# --- texts ------------------------------------------------------------------------------------------------------------


def test_embed_stages_resumes_and_passes_over_what_is_unchanged(tmp_path: Path) -> None:
    rows = [{"id": i, "body": f"text number {i}", "company": f"c{i % 3}"} for i in range(40)]
    with ShardedIndex.create(
        tmp_path / "index", 16, "cosine", shards=2, columns={"company": "text"}, engine="local", workers=1
    ) as index:
        options: dict[str, Any] = {
            "text": "body",
            "columns": ["company"],
            "model": "hash:16",
            "batch_size": 8,
        }
        seen: list[int] = []

        def interrupt(done: int) -> None:
            seen.append(done)
            if done >= 16:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            index.embed(rows, progress=interrupt, **options)
        assert seen == [8, 16] and len(index) == 0 and index.status().staged == 2
        report = index.embed(rows, **options)
        assert (report.embedded, report.resumed, report.unchanged) == (24, 16, 16)
        assert len(index) == 40 and index.status().model == "hash:16"
        assert index.search("text number 7", 1)[0].tolist() == [7]
        assert index.search(["text number 7"], 1, where="company <> 'c1'")[0][0, 0] != 7
        rows[5]["body"] = "something else"
        rows[6]["company"] = "moved"
        report = index.embed(rows, **options)
        assert (report.embedded, report.resumed, report.unchanged) == (2, 0, 38)
        assert index.search("something else", 1)[0].tolist() == [5]
        assert index.search("text number 6", 1, where="company = 'moved'")[0].tolist() == [6]
        assert index.embed(rows, **options).embedded == 0
        with pytest.raises(vssnative.ConfigurationError, match="vectors of hash:16.*make a new index"):
            index.embed(rows, **{**options, "model": "hash:32"})
        with pytest.raises(vssnative.ConfigurationError, match="a row has no 'words'"):
            index.embed(rows, text="words", model="hash:16")


# --- places, commands -------------------------------------------------------------------------------------------------


def test_a_url_is_served_from_copies(tmp_path: Path, random: np.random.Generator) -> None:
    matrix = vectors(random, 60, DIM)
    url = (tmp_path / "remote").as_uri()
    with ShardedIndex.create(
        url, DIM, shards=2, engine="local", workers=1, cache=tmp_path / "cache"
    ) as index:
        index.add(range(50), matrix[:50])
        index.add(range(50, 60), matrix[50:])
        assert index.search(matrix, 1, recall=1.0)[0].ravel().tolist() == list(range(60))
        assert index.vacuum(keep=1, grace=0) > 0
        assert index.verify().problems == ()
        store = open_store(url)
        catalog = catalogs.latest(store)
        with pytest.raises(FileExistsError):
            catalogs.publish(store, catalog)
        with pytest.raises(vssnative.ConfigurationError, match="a sharded index already"):
            ShardedIndex.create(url, DIM)


def test_the_command_line(tmp_path: Path, random: np.random.Generator) -> None:
    matrix = vectors(random, 20, DIM)
    np.save(tmp_path / "m.npy", matrix)
    np.save(tmp_path / "i.npy", np.arange(20))
    (tmp_path / "c.json").write_text(json.dumps({"company": ["acme", "other"] * 10}))
    url = tmp_path / "index"

    def run(*arguments: object, code: int = 0) -> str:
        result = CliRunner().invoke(cli.app, ["shards", *(str(argument) for argument in arguments)])
        assert result.exit_code == code, (result.output, result.exception)
        return result.output

    assert "2 shards, 24 dimensions, l2" in run(
        "create", url, "--dim", DIM, "--shards", 2, "--column", "company:text"
    )
    assert "20 rows staged" in run(
        "add",
        url,
        tmp_path / "m.npy",
        "--ids",
        tmp_path / "i.npy",
        "--columns",
        tmp_path / "c.json",
        "--stage",
    )
    assert json.loads(run("status", url, "--json"))["staged"] == 1
    assert "version 1 with 20 rows" in run("publish", url)
    found = [
        json.loads(line) for line in run("search", url, tmp_path / "m.npy", "-k", 1, "--json").splitlines()
    ]
    assert [row["id"] for row in found] == list(range(20))
    output = run("search", url, tmp_path / "m.npy", "-k", 1, "--where", "company = 'acme'", "--json")
    found = [json.loads(line) for line in output.splitlines()]
    assert {row["id"] % 2 for row in found} == {0}
    assert "version 2 has 3 shards, 20 rows" in run("rebalance", url, 3)
    assert "version 1 is current, with 20 rows" in run("rollback", url, 1)
    assert "of 2" in run("status", url)
    assert "all well; 2 shards, 20 rows; recall 1.000 for 0.95 asked" in run("verify", url)
    assert "files removed" in run("vacuum", url, "--keep", 1)
    shard = json.loads(run("status", url, "--json"))["shards"][0]["name"]
    (url / shard).unlink()
    assert "is missing" in run("verify", url, code=1)
    assert "error: " in run("rollback", url, 7, code=2)
    for content, words in (("[1]", "got a list"), ("{", "expected a JSON object")):
        (tmp_path / "c.json").write_text(content)
        arguments = (
            "add",
            url,
            tmp_path / "m.npy",
            "--ids",
            tmp_path / "i.npy",
            "--columns",
            tmp_path / "c.json",
        )
        assert words in run(*arguments, code=2)
    assert "none.npy: there is no such file" in run("search", url, tmp_path / "none.npy", code=2)
