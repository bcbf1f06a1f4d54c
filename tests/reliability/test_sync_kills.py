"""Workers killed with SIGKILL while they and a writer are at work: nothing lost, nothing twice, no lease for good.

``VSSNATIVE_KILLS=100`` makes it 100 kills per journal mode; a few are enough for every day.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sqlite3
import time
from pathlib import Path

import pytest

import vssnative
from vssnative.embedding.hashing import HashEmbedder

from . import sync_processes
from .sync_oracle import assert_in_step

_KILLS = int(os.environ.get("VSSNATIVE_KILLS", "6"))


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_workers_killed_at_any_moment(tmp_path: Path, journal: str) -> None:
    path = str(tmp_path / "app.db")
    setup = vssnative.connect(path, wal=journal == "wal")
    setup.execute("create table posts(id integer primary key, slug text unique, title text, body text)")
    setup.executemany(
        "insert into posts(title, body) values (?, ?)", [(f"red {n}", f"blue {n}") for n in range(300)]
    )
    setup.commit()
    vssnative.add_embeddings(setup, "posts", columns=["title", "body"], model="hash:16")
    assert setup.execute("pragma journal_mode").fetchone() == (journal,)

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vssnative._sync", "tests.reliability.sync_processes"])
    stop, report = context.Event(), tmp_path / "report"
    writer = context.Process(target=sync_processes.write, args=(path, 1, stop, str(report)))
    workers = [context.Process(target=sync_processes.work, args=(path,)) for _ in range(2)]
    chance = random.Random(2)
    try:
        for process in [writer, *workers]:
            process.start()
        for _ in range(_KILLS):
            time.sleep(chance.uniform(0.02, 0.4))
            victim = chance.randrange(len(workers))
            workers[victim].kill()
            workers[victim].join()
            assert workers[victim].exitcode == -9  # alive until then: no worker had died by itself
            workers[victim].close()
            workers[victim] = context.Process(target=sync_processes.work, args=(path,))
            workers[victim].start()
        stop.set()
        writer.join()
        deadline = time.monotonic() + 60
        while setup.execute("select count(*) from vssnative_queue").fetchone() != (0,):
            assert time.monotonic() < deadline, setup.execute(
                "select * from vssnative_queue limit 5"
            ).fetchall()
            time.sleep(0.05)
    finally:
        stop.set()
        for process in [*workers, writer]:
            process.kill()
            process.join()
    statements, longest, *errors = report.read_text().splitlines()
    assert errors == []  # "database is locked" reached nobody
    assert int(statements) > 0
    assert_in_step(setup, "posts", HashEmbedder(16))
    assert vssnative.verify(setup, "posts", sample=50).ok
    assert setup.execute("pragma integrity_check").fetchone() == ("ok",)
    assert setup.execute("select count(*) from vssnative_dead_letters").fetchone() == (0,)
    [(rows,)] = setup.execute("select count(*) from posts").fetchall()
    [(embedded,)] = setup.execute(
        "select count(*) from (select distinct row_id from vssnative_provenance)"
    ).fetchall()
    assert embedded == rows
    setup.close()
    print(f"{journal}: {_KILLS} kills, {statements} writes, longest {longest} s, {rows} rows")


def test_a_writer_with_the_default_timeout_never_sees_a_lock_while_a_big_backfill_runs(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "app.db")
    conn = vssnative.connect(path, wal=False)
    conn.execute("create table posts(id integer primary key, title text)")
    conn.executemany("insert into posts(title) values (?)", [(f"post number {n}",) for n in range(5000)])
    conn.commit()
    vssnative.add_embeddings(conn, "posts", columns=["title"], model="hash:256")
    app = sqlite3.connect(path)
    edits = 0

    def edit(_event: object) -> None:
        nonlocal edits
        if edits == 20:  # each edit makes a batch, and each batch would make an edit
            return
        edits += 1
        app.execute("update posts set title = title || '!' where id = ?", (edits,))
        app.commit()

    vssnative.sync(conn, on_event=edit)
    assert edits == 20
    assert_in_step(conn, "posts", HashEmbedder(256))
    app.close()
    conn.close()
