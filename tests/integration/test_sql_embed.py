"""vss_embed: a text's vector in SQL, where the user asked for it. And a user's program under mypy --strict."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vssnative
from vssnative.embedding import HashEmbedder


@pytest.mark.parametrize("driver", ["sqlite3", "apsw", "pysqlite3"])
def test_searches_by_words_in_plain_sql(driver: str) -> None:
    conn = vssnative.connect(":memory:", driver=importlib.import_module(driver))
    cursor = conn.cursor()
    cursor.execute("create table posts(id integer primary key, body text)")
    cursor.execute("insert into posts(body) values ('red fruit'), ('steel parts'), ('fast cars')")
    if driver != "apsw":
        conn.commit()
    vssnative.add_embeddings(conn, "posts", ["body"], model="hash:32")
    vssnative.sync(conn)
    with pytest.raises(Exception, match="no such function: vss_embed"):
        cursor.execute("select vss_embed('x')")
    vssnative.load(conn, embed=True)
    sql = "select rowid from vss_posts where body_embedding match vss_embed('steel parts') and k = 1"
    assert list(cursor.execute(sql)) == [(2,)]
    [(blob, nothing)] = list(cursor.execute("select vss_embed('red', 'hash:8'), vss_embed(null)"))
    assert nothing is None
    np.testing.assert_array_equal(np.frombuffer(blob, "<f4"), HashEmbedder(8).embed_queries(["red"])[0])
    cursor.execute("create table other(id integer primary key, body text)")
    vssnative.add_embeddings(conn, "other", ["body"], model="hash:16")
    for bad in ("vss_embed('x')", "vss_embed()", "vss_embed(3)"):  # two models now: which one?
        with pytest.raises(Exception, match=r"user-defined function raised|vss_embed"):
            list(cursor.execute(f"select {bad}"))
    conn.close()


PROGRAM = """
import sqlite3
import apsw
import vssnative
from vssnative import Index, Result, Results, Settings, Status, Worker

conn: sqlite3.Connection = vssnative.connect("x.db")
vssnative.load(apsw.Connection("x.db"), embed=True)
vssnative.add_embeddings(conn, "posts", columns=["title"], chunk=(200, 40), full_text=True)
done = vssnative.sync(conn, progress=True, settings=Settings(batch_texts=64))
print(done.rows + 1)
results: Results = vssnative.search(conn, "posts", "bread", k=5, where="year > ?", params=[2020], mode="hybrid")
for result in results:
    one: Result = result
    print(one.rank, one.key, round(one.distance, 3), one.row["title"], one.score > 0.5)
for many in vssnative.search_many(conn, "posts", ["a", "b"], 3):
    print(len(many), many.next_page)
states: list[Status] = vssnative.status(conn)
print([state.waiting_for for state in states])
Worker("x.db", "posts").stop()
index = Index(conn)
index.add([1, 2], [[0.5, 1.0], [1.0, 0.5]])
ids, distances = index.search([0.5, 1.0], k=1)
print(ids.tolist(), distances.tolist())
vssnative.embed(["a"], lambda texts: [[1.0]] * len(texts), kind="query")
"""


def test_a_users_program_passes_mypy_strict(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "program.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout
