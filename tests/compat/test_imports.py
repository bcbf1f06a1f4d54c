"""Vectors out of other packages' files: sqlite-vec, vec1, sqlite-vector, Chroma, Faiss.

tests/fixtures/peers has a file of each, made by the package itself (make.py there), and what it reads from it.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import vssnative
from vssnative._cli import app
from vssnative._import import chroma, load, sqlite_vec
from vssnative.errors import ConfigurationError

FIXTURES = Path(__file__).parent.parent / "fixtures" / "peers"
EXPECTED: dict[str, Any] = json.loads((FIXTURES / "expected.json").read_text())


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    def call(*arguments: str | Path, fails: bool = False) -> str:
        result = CliRunner().invoke(app, ["import", str(tmp_path / "new.db"), "t", *map(str, arguments)])
        assert (result.exit_code != 0) == fails, result.output
        return result.output

    return call


@pytest.fixture
def new(open_db: Callable[..., sqlite3.Connection]) -> Callable[[], sqlite3.Connection]:
    return lambda: open_db("new.db")


def value(told: Any) -> Any:
    return bytes.fromhex(told["blob"]) if isinstance(told, dict) else told


def theirs(peer: str, table: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(map(value, row)) for row in EXPECTED[peer]["rows"][table])


@pytest.mark.parametrize("table", ["everything", "keyed", "bare"])
def test_sqlite_vec(run: Callable[..., str], new: Callable[[], sqlite3.Connection], table: str) -> None:
    told = run(FIXTURES / "sqlite_vec.db", "--source", table)
    conn = new()
    rows = conn.execute(f"select {'rowid, ' if table == 'bare' else ''}* from t").fetchall()
    # There, `*` has the rowid too.
    assert sorted(rows) == [row[1:] if table == "bare" else row for row in theirs("sqlite-vec", table)]
    assert f"{len(rows)} rows of {table} (sqlite-vec) imported" in told
    assert conn.execute("select vss_check('t')").fetchone() == ("ok",)
    # The same distances, under the metric that the table had.
    queries = {
        "everything": ("doc_id", "emb", (3, 2, 1, 1)),
        "keyed": ("id", "e", (2.2, 0)),
        "bare": ("rowid", "e", (2.2, 0)),
    }
    key, column, query = queries[table]
    wanted = EXPECTED["sqlite-vec"]["found"][table]
    found = conn.execute(
        f"select {key}, distance from t where {column} match ? and k = ?",
        [struct.pack(f"<{len(query)}f", *query), len(wanted)],
    ).fetchall()
    assert [row[0] for row in found] == [row[0] for row in wanted]
    np.testing.assert_allclose([row[1] for row in found], [row[1] for row in wanted], rtol=1e-5, atol=1e-6)


def test_filters_work_on_what_was_metadata_and_partitions(
    run: Callable[..., str], new: Callable[[], sqlite3.Connection]
) -> None:
    run(FIXTURES / "sqlite_vec.db", "--source", "everything")
    found = new().execute(
        "select doc_id, user_id, region, draft from t where emb match ? and k = 3 and user_id = 1 and region = 'south'"
        " and year > 2010 and not draft",
        [struct.pack("<4f", 30, 2, 0.1, 4)],
    )
    rows = found.fetchall()
    assert len(rows) == 3
    assert {row[1:] for row in rows} == {(1, "south", 0)}


def test_vec1(run: Callable[..., str], new: Callable[[], sqlite3.Connection]) -> None:
    run(FIXTURES / "vec1.db", "--metric", "COSINE")
    conn = new()
    assert conn.execute("select rowid, embedding, kind, year from t order by rowid").fetchall() == theirs(
        "vec1", "docs"
    )
    [(described,)] = conn.execute("select vss_describe('t')")
    assert json.loads(described)["columns"][0]["metric"] == "COSINE"


def test_sqlite_vector(run: Callable[..., str], new: Callable[[], sqlite3.Connection]) -> None:
    given = (FIXTURES / "sqlite_vector.db", "--format", "sqlite-vector", "--source", "images")
    run(*given, "--column", "h", "--type", "float16")
    expected = [(rowid, h) for rowid, _, h in theirs("sqlite-vector", "images") if h is not None]
    assert new().execute("select rowid, h from t order by rowid").fetchall() == expected
    assert "already a table 't'" in run(*given, "--column", "e", fails=True)
    assert "expected --source (the table) and --column" in run(*given[:3], fails=True)
    assert "no table 'images' with a column 'nothing'" in run(*given, "--column", "nothing", fails=True)
    assert "expected float32, float16" in run(*given, "--column", "e", "--type", "uint3", fails=True)


@pytest.mark.parametrize("collection", ["small", "synced"])
def test_chroma(run: Callable[..., str], new: Callable[[], sqlite3.Connection], collection: str) -> None:
    run(FIXTURES / "chroma", "--source", collection)
    conn = new()
    conn.row_factory = sqlite3.Row
    rows = {row["id"]: row for row in conn.execute("select * from t")}
    expected = EXPECTED["chroma"]["rows"][collection]
    assert set(rows) == {row["id"] for row in expected}
    for row in expected:
        found = rows[row["id"]]
        np.testing.assert_allclose(np.frombuffer(found["embedding"], np.float32), row["embedding"], rtol=1e-6)
        assert found["document"] == row["document"]
        for key, told in (row["metadata"] or {}).items():
            assert found["distance_" if key == "distance" else key] == told


def test_chroma_spaces(run: Callable[..., str], new: Callable[[], sqlite3.Connection]) -> None:
    run(FIXTURES / "chroma", "--source", "small")
    [(described,)] = new().execute("select vss_describe('t')")
    columns = {column["name"]: column for column in json.loads(described)["columns"]}
    assert columns["embedding"]["metric"] == "COSINE"
    assert columns["id"]["kind"] == "key"
    assert [columns[name]["declared"] for name in ("year", "score", "draft", "mixed")] == [
        "integer",
        "real",
        "boolean",
        "",
    ]


class _Harm:
    def __reduce__(self) -> Any:
        return os.system, ("touch harm",)


def test_a_pickle_of_chroma_calls_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "chroma"
    shutil.copytree(FIXTURES / "chroma", folder)
    [described] = folder.glob("*/index_metadata.pickle")
    described.write_bytes(pickle.dumps({"id_to_label": _Harm()}))
    monkeypatch.chdir(tmp_path)
    conn = sqlite3.connect(folder / "chroma.sqlite3")
    try:
        with pytest.raises(ConfigurationError, match=r"system is not expected here"):
            chroma.open_source(conn, folder, "synced")
        for name, content in {"header.bin": b"\0" * 100, "data_level0.bin": b"short"}.items():
            shutil.copytree(FIXTURES / "chroma", folder, dirs_exist_ok=True)
            (described.parent / name).write_bytes(content)
            with pytest.raises(ConfigurationError):
                chroma.open_source(conn, folder, "synced")
    finally:
        conn.close()
    assert not (tmp_path / "harm").exists()


FAST_SCANS = ["fast_scan", "fast_scan_ivf", "fast_scan_residual"]


@pytest.mark.parametrize(
    "name", ["flat", "no_ids", "hnsw", "ivf", "pq", "sq", "fast_scan_refine", *FAST_SCANS]
)
def test_faiss(run: Callable[..., str], new: Callable[[], sqlite3.Connection], name: str) -> None:
    told = run(FIXTURES / f"{name}.faiss")
    assert ("codes" in told) == (name in ("pq", "sq", *FAST_SCANS))
    expected = EXPECTED["faiss"]["rows"][name]
    rows = new().execute("select rowid, embedding from t order by rowid").fetchall()
    assert [rowid for rowid, _ in rows] == expected["ids"]
    np.testing.assert_allclose(
        np.array([np.frombuffer(blob, np.float32) for _, blob in rows]),
        expected["vectors"],
        rtol=1e-5,
        atol=1e-5,
    )


def test_faiss_kinds_without_vectors_and_damage(run: Callable[..., str], tmp_path: Path) -> None:
    told = run(FIXTURES / "additive.faiss", fails=True)
    assert "of kind IxRq, an additive quantizer, does not give its vectors back here" in told
    assert "add them to a new table, or to an index such as Flat, SQ8 or PQ first" in told
    for name in FAST_SCANS:
        whole = (FIXTURES / f"{name}.faiss").read_bytes()
        for size in (len(whole) - 1, len(whole) // 2):
            (tmp_path / "cut.faiss").write_bytes(whole[:size])
            assert "is damaged" in run(tmp_path / "cut.faiss", fails=True)
    (tmp_path / "cut.faiss").write_bytes((FIXTURES / "ivf.faiss").read_bytes()[:500])
    assert "is damaged" in run(tmp_path / "cut.faiss", fails=True)
    (tmp_path / "empty.faiss").write_bytes(b"")
    run(tmp_path / "empty.faiss", fails=True)


def test_the_wrong_file_or_source_is_named(run: Callable[..., str], tmp_path: Path) -> None:
    assert "expected one vec0 table, or --source, got 3" in run(FIXTURES / "sqlite_vec.db", fails=True)
    assert "no vec0 table 'x'" in run(FIXTURES / "sqlite_vec.db", "--source", "x", fails=True)
    assert "got 2: small, synced" in run(FIXTURES / "chroma", fails=True)
    assert "expected one vec0 table, or --source, got none" in run(
        FIXTURES / "vec1.db", "--format", "sqlite-vec", fails=True
    )
    (tmp_path / "text.db").write_text("no database")
    assert "expected an SQLite database" in run(tmp_path / "text.db", "--format", "vec1", fails=True)
    assert "expected a .csv, .jsonl or .parquet" in run(tmp_path / "text.db", fails=True)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("update everything_chunks set validity = x'00'", "expected 32 rows, read"),
        ("update everything_chunks set rowids = x'00'", "expected 64 bytes, got 1 bytes"),
        ("delete from everything_vector_chunks01", "expected 16 bytes, got NoneType"),
        ("update everything_metadatachunks01 set data = zeroblob(9)", "expected 64 bytes, got 9"),
        ("delete from everything_metadatatext00", "the long text of row"),
        (
            "update everything_vector_chunks00 set vectors = zeroblob(128)",
            "expected a vector with a direction",
        ),
    ],
)
def test_damaged_tables_leave_nothing_behind(
    tmp_path: Path, new: Callable[[], sqlite3.Connection], damage: str, words: str
) -> None:
    path = tmp_path / "vec.db"
    shutil.copy(FIXTURES / "sqlite_vec.db", path)
    source = sqlite3.connect(path, isolation_level=None)
    conn = new()
    try:
        source.execute(damage)
        with pytest.raises(ConfigurationError, match=words):
            load(conn, "t", sqlite_vec.open_source(source, "everything"))
    finally:
        source.close()
    assert conn.execute("select count(*) from sqlite_master").fetchone() == (0,)


KILLED = """
import os, signal, sqlite3, sys, vssnative
from vssnative._import import load, sqlite_vec, target
target._BATCH = 8
source = sqlite3.connect(sys.argv[1])
conn = vssnative.connect(sys.argv[2])
def progress(done, total):
    assert total == 32
    if done > 16:
        os.kill(os.getpid(), signal.SIGKILL)
load(conn, "t", sqlite_vec.open_source(source, "everything"), progress=progress)
"""


def test_a_kill_leaves_nothing_behind(tmp_path: Path, new: Callable[[], sqlite3.Connection]) -> None:
    given = [sys.executable, "-c", KILLED, str(FIXTURES / "sqlite_vec.db"), str(tmp_path / "new.db")]
    assert subprocess.run(given, check=False).returncode < 0
    assert new().execute("select count(*) from sqlite_master").fetchone() == (0,)


def test_an_import_beside_other_tables_in_the_same_file(
    tmp_path: Path, open_db: Callable[..., sqlite3.Connection]
) -> None:
    path = tmp_path / "new.db"
    shutil.copy(FIXTURES / "sqlite_vec.db", path)
    result = CliRunner().invoke(app, ["import", str(path), "t", str(path), "--source", "keyed"])
    assert result.exit_code == 0, result.output
    index = vssnative.Index(open_db("new.db"), "t", "e")
    assert len(index) == 9
